"""Held packets: in order, for as long as they may be, and never more than the caps allow."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.address import Endpoint, FlowKey, parse_address
from depot.p4runtime.packets import PacketIn, PuntReason, Submission
from depot.switching.holding import LONGEST_RELAY, QUIET_TIME, Holding, HoldingLimits, Target

CLIENT, SERVER = Endpoint(parse_address("10.0.0.1"), 4000), Endpoint(parse_address("192.0.2.1"), 80)
FLOW = FlowKey.between(CLIENT, SERVER, 6)
OTHER = FlowKey.between(Endpoint(CLIENT.address, 4001), SERVER, 6)
PEER = Target(7, is_peer=True)


def packet(payload: bytes = b"x", *, from_peer: bool = False) -> PacketIn:
    return PacketIn(3, PuntReason.UNKNOWN_FLOW, 0, 0, payload, from_peer)


def payloads(holding: Holding) -> list[bytes]:
    found = [one.payload for one in holding.released]
    holding.released.clear()
    return found


def test_what_is_held_leaves_in_order_when_the_owner_is_known() -> None:
    holding = Holding(HoldingLimits())
    for payload in (b"1", b"2", b"3"):
        holding.add(FLOW, SERVER, packet(payload), 0.0)
    holding.add(OTHER, SERVER, packet(b"other"), 0.0)
    assert payloads(holding) == []
    holding.relay(FLOW, PEER, 0.1)
    assert [(one.submit, one.member_id, one.ingress_port) for one in holding.released] == [
        (Submission.RELEASE, 7, 3)
    ] * 3
    assert payloads(holding) == [b"1", b"2", b"3"]
    assert (FLOW in holding, OTHER in holding, holding.packets, holding.octets) == (False, True, 1, 5)


def test_each_packet_waits_for_its_own_hold_time() -> None:
    holding = Holding(HoldingLimits(hold_time=0.2))
    holding.add(FLOW, SERVER, packet(b"1"), 1.0)
    holding.add(FLOW, SERVER, packet(b"2"), 1.1)
    assert holding.next_deadline() == pytest.approx(1.2)
    holding.handle_timer(1.19)
    assert holding.expired == []
    holding.handle_timer(1.2)
    assert [one.packet.payload for one in holding.expired] == [b"1"]
    holding.handle_timer(1.31)
    assert [one.packet.payload for one in holding.expired] == [b"1", b"2"]
    assert (holding.next_deadline(), holding.packets, holding.octets, FLOW in holding) == (None, 0, 0, False)


def test_the_entry_is_due_when_the_flow_is_quiet() -> None:
    holding = Holding(HoldingLimits())
    holding.relay(FLOW, PEER, 0.0)
    holding.add(FLOW, SERVER, packet(b"late"), 0.015)
    assert payloads(holding) == [b"late"]
    holding.handle_timer(QUIET_TIME)
    assert (holding.due, holding.target(FLOW)) == ([], PEER)
    assert holding.next_deadline() == pytest.approx(0.015 + QUIET_TIME)
    holding.handle_timer(0.036)
    assert (holding.due, holding.target(FLOW)) == ([(FLOW, PEER)], None)


def test_a_busy_flow_gets_its_entry_all_the_same() -> None:
    holding = Holding(HoldingLimits())
    holding.relay(FLOW, PEER, 0.0)
    now = 0.0
    while not holding.due:
        now += 0.01
        holding.add(FLOW, SERVER, packet(), now)
        holding.handle_timer(now)
    assert now == pytest.approx(LONGEST_RELAY)


def test_what_comes_alone_needs_no_relay() -> None:
    holding = Holding(HoldingLimits())
    holding.add(FLOW, CLIENT, packet(b"SYN"), 0.0, alone=True)
    holding.relay(FLOW, PEER, 0.0)
    assert (payloads(holding), holding.due, holding.target(FLOW)) == ([b"SYN"], [(FLOW, PEER)], None)
    holding.relay(OTHER, PEER, 0.0, alone=True)
    assert holding.due[1:] == [(OTHER, PEER)]
    holding.add(FLOW, CLIENT, packet(b"SYN"), 0.0, alone=True)
    holding.add(FLOW, CLIENT, packet(b"data"), 0.0)
    holding.relay(FLOW, PEER, 0.0)
    assert (len(holding.due), holding.target(FLOW)) == (2, PEER)


def test_the_far_end_goes_to_the_member_and_the_member_where_its_route_leads() -> None:
    holding = Holding(HoldingLimits())
    holding.relay(FLOW, Target(5, CLIENT), 0.0)
    holding.add(FLOW, CLIENT, packet(), 0.0)
    holding.add(FLOW, SERVER, packet(), 0.0)
    assert [(one.submit, one.member_id) for one in holding.released] == [
        (Submission.RELEASE, 5),
        (Submission.RELEASE_FROM_MEMBER, 0),
    ]


def test_between_members_a_packet_travels_once() -> None:
    holding = Holding(HoldingLimits())
    holding.add(FLOW, CLIENT, packet(b"1", from_peer=True), 0.0)
    holding.relay(FLOW, PEER, 0.0)
    assert (payloads(holding), holding.counts.looped) == ([], 1)
    holding.refuse(FLOW)
    holding.add(FLOW, CLIENT, packet(b"2", from_peer=True), 0.0)
    holding.relay(FLOW, Target(5), 0.0)
    assert payloads(holding) == [b"2"]


def test_what_nobody_can_serve_is_dropped_and_counted() -> None:
    holding = Holding(HoldingLimits())
    for _ in range(3):
        holding.add(FLOW, CLIENT, packet(), 0.0)
    holding.refuse(FLOW)
    assert (holding.counts.refused, holding.packets, holding.octets, holding.next_deadline()) == (3, 0, 0, None)


def test_the_default_holds_a_tenth_of_a_second_of_the_seeds_traffic() -> None:
    holding = Holding(HoldingLimits(total_packets=10**6))
    size, flows = 1000, itertools.cycle(FlowKey.between(Endpoint(1, port), SERVER, 6) for port in range(1, 100))
    for _ in range(3000):
        holding.add(next(flows), CLIENT, packet(bytes(size)), 0.0)
    assert holding.octets == 160_000_000 // 8 // 10
    assert holding.counts.overflowed == 1000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(1, 40)),
        st.tuples(st.just("relay"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("refuse"), st.integers(0, 3), st.none()),
        st.tuples(st.just("wait"), st.integers(1, 250), st.none()),
    ),
    max_size=80,
)


@given(steps=STEPS)
def test_order_is_kept_nothing_is_lost_or_doubled_and_caps_hold(steps: list[tuple[str, int, object]]) -> None:
    limits = HoldingLimits(hold_time=0.2, total_bytes=200, total_packets=12, flow_bytes=90, flow_packets=5)
    holding = Holding(limits)
    flows = [FlowKey.between(Endpoint(9, 1000 + one), SERVER, 17) for one in range(4)]
    now, serial = 0.0, 0
    arrived: dict[int, tuple[FlowKey, float]] = {}
    left: list[int] = []  # released, as a serial number each
    given_up: list[tuple[int, float]] = []
    for verb, which, more in steps:
        if verb == "add":
            assert isinstance(more, int)
            serial += 1
            arrived[serial] = (flows[which], now)
            holding.add(flows[which], SERVER, packet(serial.to_bytes(4, "big") + bytes(more)), now)
        elif verb == "relay":
            holding.relay(flows[which], PEER, now, alone=bool(more))
        elif verb == "refuse":
            holding.refuse(flows[which])
        else:
            now += which / 1000
            holding.handle_timer(now)
        left += [int.from_bytes(payload[:4], "big") for payload in payloads(holding)]
        given_up += [(int.from_bytes(one.packet.payload[:4], "big"), now) for one in holding.expired]
        holding.expired.clear()
        holding.due.clear()
        assert 0 <= holding.octets <= limits.total_bytes
        assert 0 <= holding.packets <= limits.total_packets
        deadline = holding.next_deadline()
        assert deadline is None or deadline <= now + max(limits.hold_time, LONGEST_RELAY)
    out = left + [one for one, _ in given_up]
    assert Counter(out).most_common(1)[:1] == [] or Counter(out).most_common(1)[0][1] == 1
    for flow in flows:
        of_flow = [one for one in left if arrived[one][0] == flow]
        assert of_flow == sorted(of_flow)
    for one, at in given_up:
        assert at - arrived[one][1] >= limits.hold_time - 1e-9
    counts = holding.counts
    assert len(arrived) == len(out) + counts.overflowed + counts.looped + counts.refused + holding.packets
