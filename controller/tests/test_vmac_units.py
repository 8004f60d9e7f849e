"""The parts of a gateway's core, each alone."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.vmac import Algorithm, BucketHash, GatewaySettings, VirtualMacs, VmacError
from depot.vmac.asks import Asks
from depot.vmac.balancing import Measured, balanced, ring
from depot.vmac.claims import Claim, ClaimMap, fill, spread
from depot.vmac.learning import Learning
from depot.vmac.membership import Peer

BASE = 0x028888888800
KEY = bytes(16)

# Hashing.


def test_modulo_is_the_seeds_hash() -> None:
    macs = VirtualMacs(BASE, 256, BucketHash.MOD)
    assert macs.virtual_mac(0x0000030000F7) == 0x0288888888F7
    assert {macs.bucket(0x000003001800 + 0x100 * host) for host in range(224)} == {0}


def test_crc_divides_what_modulo_does_not() -> None:
    macs = VirtualMacs(BASE, 256)
    assert macs.bucket(0x0000030000F7) == zlib.crc32(bytes.fromhex("0000030000f7")) & 0xFF
    assert len({macs.bucket(0x000003001800 + 0x100 * host) for host in range(224)}) > 100


def test_virtual_macs_and_buckets_belong_to_each_other() -> None:
    macs = VirtualMacs(BASE, 16)
    assert [macs.bucket_of(macs.mac(bucket)) for bucket in range(16)] == list(range(16))
    assert macs.bucket_of(BASE + 16) is None
    assert macs.bucket_of(macs.group_mac) is None
    assert macs.group_mac == 0x038888888800


@pytest.mark.parametrize(
    ("base", "count", "complaint"),
    [
        (BASE, 0, "power of two"),
        (BASE, 100, "power of two"),
        (BASE, 8192, "power of two"),
        (1 << 48, 256, "48 bits"),
        (0x008888888800, 256, "locally administered"),
        (0x038888888800, 256, "unicast"),
        (0x028888888880, 256, "no multiple"),
    ],
)
def test_virtual_macs_that_cannot_be_are_refused(base: int, count: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        VirtualMacs(base, count)


# Settings.


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": ""}, "no name"),
        ({"name": "two words"}, "no name"),
        ({"peers": ("a", "b")}, "twice"),
        ({"peers": tuple(f"p{number}" for number in range(65))}, "most"),
        ({"key": b"short"}, "16 is the least"),
        ({"report_interval": 0.0}, "above 0"),
        ({"threshold": 2.0}, "threshold"),
        ({"subset_size": 0}, "subset"),
        ({"capacity": 0.0}, "capacity"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, object], complaint: str) -> None:
    values: dict[str, object] = {"name": "a", "peers": ("b",), "key": KEY, "virtual_macs": VirtualMacs(BASE)} | change
    with pytest.raises(VmacError, match=complaint):
        GatewaySettings(**values)  # type: ignore[arg-type]


# Claims.

claims = st.builds(Claim, st.integers(1, 4), st.sampled_from("abc"))


@given(st.lists(st.tuples(st.integers(0, 3), claims), max_size=12), st.randoms())
def test_maps_that_heard_the_same_are_equal(heard: list[tuple[int, Claim]], draws: random.Random) -> None:
    one, other = ClaimMap(4), ClaimMap(4)
    shuffled = [*heard, *heard[:3]]
    draws.shuffle(shuffled)
    for bucket, claim in heard:
        one.merge(bucket, claim)
    for bucket, claim in shuffled:
        other.merge(bucket, claim)
    assert list(one) == list(other)


def test_the_higher_version_wins_then_the_lower_name() -> None:
    assert Claim(2, "b").outranks(Claim(1, "a"))
    assert Claim(1, "a").outranks(Claim(1, "b"))
    assert not Claim(1, "a").outranks(Claim(1, "a"))
    assert Claim(1, "z").outranks(None)


@given(st.integers(0, 64), st.integers(1, 6))
def test_shares_of_what_is_nobodys_differ_by_one(buckets: int, gateways: int) -> None:
    given_out = spread(range(buckets), dict.fromkeys("abcdef"[:gateways], 0))
    counts = [list(given_out.values()).count(name) for name in "abcdef"[:gateways]]
    assert max(counts) - min(counts) <= 1
    assert len(given_out) == buckets


@given(st.integers(0, 64), st.integers(1, 5), st.integers(1, 3))
def test_a_newcomer_gets_its_share_with_the_fewest_moves(buckets: int, gateways: int, new: int) -> None:
    names = "abcde"[:gateways]
    newcomers = "xyz"[:new]
    owned: dict[str, list[int]] = {name: [] for name in names + newcomers}
    for bucket, name in spread(range(buckets), dict.fromkeys(names, 0)).items():
        owned[name].append(bucket)
    moved = fill(owned, newcomers)
    after = {name: len([b for b in having if b not in moved]) for name, having in owned.items()}
    for name in moved.values():
        after[name] += 1
    assert max(after.values()) - min(after.values()) <= 1
    assert set(moved.values()) <= set(newcomers)
    fewest = new * (buckets // (gateways + new))
    assert fewest <= len(moved) <= fewest + new


# Asks.


@pytest.mark.parametrize("is_news_first", [False, True])
def test_an_ask_that_both_were_handed_is_answered_once(is_news_first: bool) -> None:
    asks = Asks()
    if is_news_first:
        assert asks.told(1, 7, 0.0) is None
        assert asks.handed(1, 7, b"answer", 3, 0.2)
    else:
        assert not asks.handed(1, 7, b"answer", 3, 0.0)
        assert asks.told(1, 7, 0.2) == (3, b"answer")
    assert not asks.handed(1, 7, b"answer", 3, 0.2)


def test_the_ask_before_is_not_the_one_that_is_told() -> None:
    asks = Asks()
    asks.handed(1, 7, b"the old owner answered", 3, 0.0)
    assert asks.told(1, 7, 0.7) is None
    assert asks.told(1, 8, 0.7) is None
    assert asks.told(2, 7, 0.7) is None
    assert asks.handed(1, 7, b"answer", 3, 0.8)


# Port learning.


def test_learning_frames_come_thrice_quickly_then_spread() -> None:
    learning = Learning(30.0, random.Random(1))
    for bucket in range(50):
        learning.start(bucket, 0.0)
    sent: list[list[float]] = [[] for _ in range(50)]
    while (at := learning.next_deadline()) is not None and at < 100:
        for bucket in learning.due(at):
            sent[bucket].append(at)
    assert all(times[0] == 0 and times[2] < 1 and 22 < times[3] < 39 for times in sent)
    assert len({times[3] for times in sent}) == 50


def test_a_bucket_that_is_not_ours_sends_nothing() -> None:
    learning = Learning(30.0, random.Random(1))
    learning.start(1, 0.0)
    learning.stop(1)
    assert learning.next_deadline() is None
    learning.start(1, 1.0)
    learning.start(1, 2.0)
    assert learning.due(2.0) == [1]


# Sequence numbers.


@given(st.lists(st.integers(1, 300), max_size=40))
def test_each_number_is_fresh_once(numbers: list[int]) -> None:
    peer = Peer("a")
    seen: set[int] = set()
    for number in numbers:
        assert peer.is_fresh(number) == (number not in seen)
        seen.add(number)


def test_a_number_of_long_ago_is_not_fresh() -> None:
    peer = Peer("a")
    assert peer.is_fresh(1_000_000)
    assert not peer.is_fresh(10)
    assert peer.is_fresh(999_999)


# Balancing.

DRAWS = random.Random(1)


def test_ring_moves_some_to_the_successor_with_less_to_do() -> None:
    gateways = {"a": Measured(1.0, 0, None), "b": Measured(0.95, 0, None), "c": Measured(0.2, 0, None)}
    assert ring("a", gateways, range(9), 0.1, 4, DRAWS) == {}
    plan = ring("b", gateways, range(9), 0.1, 4, DRAWS)
    assert len(plan) == 4
    assert set(plan.values()) == {"c"}
    assert ring("c", gateways, range(9), 0.1, 4, DRAWS) == {}
    assert len(ring("b", gateways, range(2), 0.1, 4, DRAWS)) == 2
    assert ring("a", {"a": Measured(1.0, 0, None)}, range(9), 0.1, 4, DRAWS) == {}


def test_balanced_serves_all_that_have_room_at_once() -> None:
    gateways = {"a": Measured(1.0, 900, None), "b": Measured(0.0, 0, None), "c": Measured(0.0, 0, None)}
    plan = balanced("a", gateways, dict.fromkeys(range(90), 10.0), 0.1)
    assert sorted(plan.values()) == ["b"] * 30 + ["c"] * 30
    assert balanced("b", gateways, {}, 0.1) == {}


def test_balanced_moves_few_large_buckets_rather_than_many_small() -> None:
    gateways = {"a": Measured(1.0, 100, None), "b": Measured(0.0, 0, None)}
    rates = {0: 50.0} | dict.fromkeys(range(1, 51), 1.0)
    assert balanced("a", gateways, rates, 0.1) == {0: "b"}


def test_balanced_heeds_capacities() -> None:
    gateways = {"a": Measured(1.0, 900, 300.0), "b": Measured(0.0, 0, 600.0)}
    plan = balanced("a", gateways, dict.fromkeys(range(90), 10.0), 0.1)
    assert len(plan) == 60


def test_balanced_leaves_a_bucket_alone_that_would_only_change_the_place() -> None:
    gateways = {"a": Measured(0.9, 100, None), "b": Measured(0.0, 0, None)}
    assert balanced("a", gateways, {3: 100.0}, 0.1) == {}
    gateways["b"] = Measured(0.3, 30, None)
    assert balanced("a", gateways, {3: 60.0, 4: 40.0}, 0.1) == {4: "b"}


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0, 1000), st.floats(0, 1000), st.floats(0.01, 0.5)
)
def test_balanced_never_makes_it_worse(rates: list[float], other: float, third: float, threshold: float) -> None:
    totals = {"a": sum(rates), "b": other, "c": third}
    gateways = {name: Measured(0.0, total, 500.0) for name, total in totals.items()}
    plan = balanced("a", gateways, dict(enumerate(rates)), threshold)
    after = dict(totals)
    for bucket, name in plan.items():
        after["a"] -= rates[bucket]
        after[name] += rates[bucket]
    assert max(after.values()) <= max(totals.values()) + 1e-6
    assert max(after.values()) - min(after.values()) <= max(totals.values()) - min(totals.values()) + 1e-6


def test_the_shipped_algorithm_is_balanced() -> None:
    assert GatewaySettings("a", (), KEY, VirtualMacs(BASE)).algorithm is Algorithm.BALANCED
