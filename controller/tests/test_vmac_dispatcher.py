"""The gateways behind our switch: whose bucket is whose, when gateways come, die and are overloaded."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from depot.vmac.dispatcher import Dispatcher
from depot.vmac.settings import Algorithm, VmacError

NAMES = ("a", "b", "c")


def dispatcher(algorithm: Algorithm = Algorithm.BALANCED, capacity: float | None = 100.0) -> Dispatcher:
    found = Dispatcher(64, dict.fromkeys(NAMES, capacity), algorithm, 0.1, 4, random.Random(1))
    for name in NAMES:
        found.set_alive(name, True, 0.0)
    return found


def shares(found: Dispatcher) -> list[int]:
    return sorted(Counter(found.owners).values())


def test_the_first_gets_all_and_the_others_their_shares():
    found = Dispatcher(64, dict.fromkeys(NAMES), Algorithm.BALANCED, 0.1, 4, random.Random(1))
    assert set(found.owners) == {None}
    found.set_alive("b", True, 0.0)
    assert set(found.owners) == {"b"}
    found.set_alive("a", True, 1.0)
    assert shares(found) == [32, 32]
    found.set_alive("c", True, 2.0)
    assert shares(found) == [21, 21, 22]


def test_a_dead_ones_buckets_and_no_others_move():
    found = dispatcher()
    before = found.owners
    found.set_alive("b", False, 1.0)
    moved = [one for one, (old, new) in enumerate(zip(before, found.owners, strict=True)) if old != new]
    assert moved == [one for one, owner in enumerate(before) if owner == "b"]
    assert shares(found) == [32, 32]
    assert found.moves[0].source == "b"


def test_the_last_that_lives_has_all_and_nobody_has_what_nobody_serves():
    found = dispatcher()
    for name in ("a", "b"):
        found.set_alive(name, False, 1.0)
    assert set(found.owners) == {"c"}
    found.set_alive("c", False, 2.0)
    assert found.alive == frozenset()
    found.set_alive("a", True, 3.0)
    assert set(found.owners) == {"a"}


@pytest.mark.parametrize("capacity", [100.0, None])
@pytest.mark.parametrize("algorithm", [Algorithm.RING, Algorithm.BALANCED])
def test_load_that_begins_at_one_ends_at_all(algorithm: Algorithm, capacity: float | None):
    found = dispatcher(algorithm, capacity)
    found.move(range(64), "a", 0.0)
    rates = dict.fromkeys(range(64), 3.0)
    for step in range(60):
        found.measured(rates)
        found.decide(float(step))
    shown = [len(found.owned_by(name)) * 3.0 / 100.0 for name in NAMES]
    assert max(shown) - min(shown) <= 0.13
    assert max(shown) < 1


def test_in_a_ring_each_decides_in_each_round():
    found = dispatcher(Algorithm.RING)
    found.move(range(64), "a", 0.0)
    found.move(range(40, 64), "b", 0.0)
    found.measured(dict.fromkeys(range(64), 3.0))
    found.decide(1.0)
    assert {(move.source, move.to) for move in found.moves if move.at == 1.0} == {("a", "b"), ("b", "c")}


def test_without_an_algorithm_nothing_moves_for_load():
    found = dispatcher(Algorithm.NONE)
    found.move(range(64), "a", 0.0)
    found.measured(dict.fromkeys(range(64), 3.0))
    found.decide(1.0)
    assert set(found.owners) == {"a"}


def test_what_the_switch_does_already_is_adopted():
    found = Dispatcher(64, dict.fromkeys(NAMES), Algorithm.BALANCED, 0.1, 4, random.Random(1))
    found.adopt({one: "b" if one % 2 else "c" for one in range(64)} | {0: "gone"})
    assert found.owners[1] == "b"
    assert found.owners[2] == "c"
    assert found.owners[0] is None
    found.set_alive("b", True, 0.0)  # as before: nothing moves
    assert shares(found)[-1] == 32


def test_orders_that_cannot_be_carried_out_change_nothing():
    found = dispatcher()
    found.set_alive("c", False, 1.0)
    before = found.owners
    with pytest.raises(VmacError, match="there is no gateway d; there are a, b, c"):
        found.move([1], "d", 2.0)
    with pytest.raises(VmacError, match="gateway c does not answer"):
        found.move([1], "c", 2.0)
    with pytest.raises(VmacError, match="there is no bucket 64; they are 0 to 63"):
        found.move([1, 64], "a", 2.0)
    assert found.owners == before
