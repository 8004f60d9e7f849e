"""Whole sites under a virtual clock: every bucket has one owner, every ask one answer, whatever happens to whom."""

from __future__ import annotations

from functools import partial

import pytest
from controller.tests.vmac_network import Conditions, Node, VmacNetwork

from depot.vmac import (
    BucketsTaken,
    Cause,
    Holding,
    IdentityDisputed,
    MovesAbandoned,
    Phase,
    VmacError,
)
from depot.vmac.moves import BucketState

NAMES = "abcd"
LOSSY = Conditions(loss=0.2, duplication=0.1)
SETTLE = 6.0
"""Seconds after which nothing is under way any more, whatever was lost."""


def site(seed: int, count: int = 8, gateways: int = 3, conditions: Conditions | None = None) -> VmacNetwork:
    """Return a site whose gateways have shared all buckets."""
    network = VmacNetwork(seed, count, conditions)
    network.lost_frames = network.conditions.loss
    network.start(*NAMES[:gateways], peers=NAMES)
    network.run(2.2 if network.conditions.loss == 0 else 4.0)
    assert network.problems() == []
    return network


def move_at_random(network: VmacNetwork, until: float) -> None:
    """Somebody has some buckets moved to somebody, again and again."""
    draws = network.draws
    who, to = draws.choice(list(network.nodes)), draws.choice(list(network.nodes))
    buckets = draws.sample(range(network.virtual_macs.count), draws.randint(1, 4))
    try:
        network.order(who, lambda gateway: gateway.move(buckets, to, network.now))
    except VmacError:
        assert network.conditions.loss or network.deaths  # else everybody is heard
    if network.now < until:
        network.later(draws.uniform(0, 0.7), lambda: move_at_random(network, until))


def die_at_random(network: VmacNetwork, until: float) -> None:
    """Gateways die, and others or new lives of the same are started."""
    draws = network.draws
    network.deaths += 1
    away = [name for name in NAMES if name not in network.nodes]
    if away and (len(network.nodes) == 1 or draws.random() < 0.5):
        network.start(draws.choice(away), peers=NAMES)
    else:
        network.kill(draws.choice(list(network.nodes)))
    if network.now < until:
        network.later(draws.uniform(0, 3), lambda: die_at_random(network, until))


def ask_for_ever(network: VmacNetwork, host: int, until: float) -> None:
    """A host asks every second or a little more, as Linux does."""
    network.ask(host)
    if network.now < until:
        network.later(1.0 + network.draws.uniform(0, 0.3), lambda: ask_for_ever(network, host, until))


@pytest.mark.parametrize("seed", range(40))
def test_every_ask_has_one_answer_while_buckets_move_to_and_fro(seed: int) -> None:
    network = site(seed, gateways=2 + seed % 3)
    until = network.now + 5
    for _ in range(20):
        host = network.draws.getrandbits(40)
        network.later(network.draws.random(), partial(ask_for_ever, network, host, until))
    for _ in range(2):
        move_at_random(network, until)
    network.run(4 + SETTLE)
    assert network.doubles == []
    assert network.problems() == []
    assert [ask for ask in network.asks if len(ask.answers) != 1] == []
    assert len(network.asks) > 40


@pytest.mark.parametrize("seed", range(30))
def test_loss_never_makes_two_owners(seed: int) -> None:
    network = site(seed, gateways=2 + seed % 3, conditions=LOSSY)
    until = network.now + 4
    for _ in range(2):
        move_at_random(network, until)
    network.run(4 + SETTLE)
    assert network.doubles == []
    assert network.problems() == []


@pytest.mark.parametrize("seed", range(40))
def test_all_agree_after_deaths_restarts_joins_and_moves(seed: int) -> None:
    network = site(seed, gateways=2 + seed % 3, conditions=LOSSY if seed % 2 else None)
    until = network.now + 4
    move_at_random(network, until)
    network.later(network.draws.random(), lambda: die_at_random(network, until))
    network.run(4 + SETTLE)
    assert network.problems() == []


STEPS = [
    ("a", BucketState.OFFERED), ("a", BucketState.YIELDING), ("a", BucketState.RELEASED),
    ("b", BucketState.PREPARING), ("b", BucketState.WATCHING), ("b", BucketState.TAKING),
]  # fmt: skip


@pytest.mark.parametrize("dies", ["a", "b"])
@pytest.mark.parametrize(("who", "state"), STEPS)
@pytest.mark.parametrize("seed", range(2))
def test_a_neighbour_that_dies_at_any_step_leaves_one_owner_soon(
    seed: int, who: str, state: BucketState, dies: str
) -> None:
    network = site(seed)
    buckets = [bucket for bucket, owners in enumerate(network.owners()) if owners == ["a"]]
    network.order("a", lambda gateway: gateway.move(buckets, "b", network.now))
    for _ in range(2000):
        if state.value in network.gateway(who).status().under_way.values():
            break
        network.run(0.001)
    else:
        pytest.fail(f"{who} was never {state.value}")
    network.kill(dies)
    network.run(4 * 0.5)
    assert [owners for owners in network.owners() if len(owners) != 1] == []
    network.run(SETTLE)
    assert network.problems() == []


@pytest.mark.parametrize("seed", range(6))
def test_a_dead_gateways_buckets_are_served_within_four_report_intervals(seed: int) -> None:
    network = site(seed, count=32, gateways=4)
    network.run(network.draws.random())
    victim = network.draws.choice(NAMES)
    had = {bucket for bucket, owners in enumerate(network.owners()) if owners == [victim]}
    network.kill(victim)
    network.run(4 * 0.5)
    assert [owners for owners in network.owners() if len(owners) != 1] == []
    taken = [event for node in network.nodes.values() for event in node.events if isinstance(event, BucketsTaken)]
    assert {b for event in taken if event.source == victim for b in event.buckets} == had
    announced = [bucket for node in network.nodes.values() for bucket in node.announced]
    assert had <= set(announced)
    shares = network.shares().values()
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("seed", range(6))
def test_a_join_and_a_leave_move_no_more_than_they_must(seed: int) -> None:
    network = site(seed, count=32, gateways=3, conditions=LOSSY if seed % 2 else None)
    before = network.owners()
    network.start("d", peers=NAMES)
    network.run(SETTLE)
    joined = network.owners()
    assert sorted(network.shares().values()) == [8, 8, 8, 8]
    assert sum(one != other for one, other in zip(before, joined, strict=True)) == 8
    network.order("b", lambda gateway: gateway.leave(network.now))
    network.run(SETTLE)
    assert network.gateway("b").has_left
    network.kill("b")
    left = network.owners()
    assert sum(one != other for one, other in zip(joined, left, strict=True)) == 8
    assert sorted(network.shares().values()) == [10, 11, 11]
    assert network.doubles == []
    assert network.problems() == []


def test_a_gateway_alone_listens_for_three_intervals_then_takes_all() -> None:
    network = VmacNetwork(1)
    network.start("a", peers=NAMES)
    network.run(1.4)
    assert network.gateway("a").status().phase is Phase.LISTENING
    assert network.shares() == {"a": 0}
    network.run(0.4)
    assert network.shares() == {"a": 16}


def test_gateways_that_hear_each_other_begin_at_once() -> None:
    network = VmacNetwork(1)
    network.start(*NAMES)
    network.run(0.6)
    assert network.shares() == dict.fromkeys(NAMES, 4)


def test_switches_learn_the_new_place_and_keep_knowing_it() -> None:
    network = site(3)
    assert {network.learnt[network.virtual_macs.mac(b)] for b in range(8)} == set("abc")
    network.order("c", lambda gateway: gateway.move(range(8), "b", network.now))
    network.run(5)
    assert {network.learnt[network.virtual_macs.mac(b)] for b in range(8)} == {"b"}
    network.learnt.clear()
    network.run(40)
    assert len(network.learnt) == 8


def test_an_offer_that_is_never_acknowledged_is_withdrawn() -> None:
    network = site(1)
    network.lost_frames = 1.0
    owners = network.owners()
    buckets = [bucket for bucket, each in enumerate(owners) if each == ["a"]]
    network.order("a", lambda gateway: gateway.move(buckets, "b", network.now))
    network.run(3)
    assert any(isinstance(event, MovesAbandoned) for event in network.nodes["a"].events)
    network.run(40)
    assert network.owners() == owners
    assert network.problems() == []
    assert network.doubles == []


def test_the_new_owner_takes_what_was_released_even_if_it_has_forgotten_the_offer() -> None:
    network = site(1)
    buckets = [bucket for bucket, each in enumerate(network.owners()) if each == ["a"]]
    network.order("a", lambda gateway: gateway.move(buckets, "b", network.now))
    until(network, network.nodes["a"], BucketState.RELEASED)
    network.conditions = Conditions(loss=1.0)
    network.run(0.4)  # the release that was on its way has come, or the offer is forgotten soon
    network.conditions = Conditions()
    network.run(SETTLE)
    assert [network.owners()[bucket] for bucket in buckets] == [["b"]] * len(buckets)
    assert network.problems() == []


def test_the_last_gateway_may_leave_at_once() -> None:
    network = VmacNetwork(1)
    network.start("a")
    network.run(1)
    assert network.shares() == {"a": 16}
    network.order("a", lambda gateway: gateway.leave(network.now))
    assert network.gateway("a").has_left
    assert network.gateway("a").next_deadline() is None


@pytest.mark.parametrize(
    ("buckets", "to", "complaint"),
    [
        ([1], "nobody", "there is no gateway nobody"),
        ([1], "d", "gateway d is not heard"),
        ([8], "b", "there is no bucket 8, only 0 to 7"),
        ([-1], "b", "there is no bucket -1"),
    ],
)
def test_orders_that_cannot_be_are_refused(buckets: list[int], to: str, complaint: str) -> None:
    network = site(1)
    with pytest.raises(VmacError, match=complaint):
        network.gateway("a").move(buckets, to, network.now)


def test_a_gateway_that_is_leaving_is_given_nothing() -> None:
    network = site(1)
    network.order("c", lambda gateway: gateway.leave(network.now))
    network.run(0.1)
    with pytest.raises(VmacError, match="does not take buckets"):
        network.gateway("a").move([0], "c", network.now)


def test_a_peer_taken_from_the_list_is_gone_at_once() -> None:
    network = site(1)
    network.kill("c")
    for name in "ab":
        network.order(name, lambda gateway: gateway.set_peers(set("ab") - {gateway.status().name}, network.now))
    network.run(0.5)
    assert [owners for owners in network.owners() if len(owners) != 1] == []
    with pytest.raises(VmacError, match="twice"):
        network.gateway("a").set_peers(["a"], network.now)


def test_a_cut_heals_to_one_owner_each() -> None:
    network = site(1)
    network.conditions, network.lost_frames = Conditions(loss=1.0), 1.0
    network.run(5)
    assert {len(owners) for owners in network.owners()} == {3}
    network.conditions, network.lost_frames = Conditions(), 0.0
    network.run(SETTLE)
    assert network.problems() == []


def test_a_gateway_whose_name_is_taken_serves_nothing_and_says_so() -> None:
    network = site(1, count=256)
    network.run(30)
    late = start_rival_of_b(network)
    for _ in range(20):
        network.run(0.2)
        assert late.entries == {}
    assert IdentityDisputed("b") in late.events
    assert late.gateway.status().is_disputed
    assert network.gateway("a").status().counters["duplicate identity"] > 5
    assert [owners for owners in network.owners() if len(owners) != 1] == []


def test_a_gateway_that_learns_late_that_its_name_is_taken_yields() -> None:
    network = site(1)
    late = start_rival_of_b(network)
    network.run(3)  # no port-learning frame of the other came while it listened
    network.run(3)
    assert late.entries == {}
    assert IdentityDisputed("b") in late.events
    network.run(SETTLE)
    assert {len(owners) for owners in network.owners()} == {1}


def start_rival_of_b(network: VmacNetwork) -> Node:
    """Start another gateway b that has no other address: datagrams to b reach the first."""
    first = network.nodes["b"]
    network.start("b", peers=NAMES)
    late = network.nodes["b"]
    network.nodes = {"a": network.nodes["a"], "b": first, "c": network.nodes["c"], "elsewhere": late}
    return late


def until(network: VmacNetwork, node: Node, state: BucketState) -> None:
    for _ in range(2000):
        if state.value in node.gateway.status().under_way.values():
            return
        network.run(0.001)
    pytest.fail(f"{node.name} was never {state.value}")


def test_status_tells_all() -> None:
    network = site(1)
    network.order("a", lambda gateway: gateway.measured(0.5, {0: 10.0, 1: 20.0, 7: 5.0}, network.now))
    network.run(1)
    own, others = network.gateway("a").status(), network.gateway("b").status()
    mine = {bucket for bucket, owners in enumerate(network.owners()) if owners == ["a"]}
    assert set(own.rates) == mine & {0, 1, 7}
    assert own.is_leader
    assert not others.is_leader
    view = {gateway.name: gateway for gateway in others.gateways}
    assert (view["a"].load, view["a"].rate, view["a"].buckets) == (0.5, sum(own.rates.values()), len(mine))
    assert view["d"].phase is None
    assert len(own.moves) == 8


def test_status_tells_every_bucket_of_a_large_move() -> None:
    network = VmacNetwork(1, 256)
    network.start("a", "b")
    network.run(3)
    network.order("a", lambda gateway: gateway.move(range(256), "b", network.now))
    network.run(20)
    moves = [move for move in network.gateway("a").status().moves if move.source == "a"]
    assert len(moves) == 128


def test_taken_buckets_say_why() -> None:
    network = site(1)
    network.order("b", lambda gateway: gateway.move([0], "c", network.now))
    network.run(3)
    events = [event for event in network.nodes["c"].events if isinstance(event, BucketsTaken)]
    assert {event.cause for event in events} == {Cause.ASSIGNED, Cause.MOVED}
    assert network.nodes["c"].entries[0] is Holding.OWN
