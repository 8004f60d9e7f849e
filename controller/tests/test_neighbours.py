"""Next hops: who is asked, what is held, who is given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from depot.address import parse_address, parse_mac
from depot.config import parse
from depot.p4runtime.entry import neighbour_entry
from depot.p4runtime.packets import PacketIn, PacketOut, PuntReason, Submission
from depot.switching.neighbours import HELD_PACKETS, MOST_NEIGHBOURS, NeighbourChange, Neighbours, NeighbourState
from depot.switching.routing import NextHop, Routing

CONFIG = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16", "fd00:1::1/64"]
[[switch.port]]
number = 2
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.1/16"]
[[switch.route]]
prefix = "0.0.0.0/0"
via = "10.2.0.254"
"""
PORT_MAC = parse_mac("02:00:00:00:01:01")
MAC = parse_mac("02:00:00:00:00:09")
A, B = NextHop(1, parse_address("10.1.0.9")), NextHop(1, parse_address("fd00:1::9"))


def routing(text: str = CONFIG) -> Routing:
    return Routing(parse(text).switches[0])


def punt(hop: NextHop, payload: bytes = b"packet") -> PacketIn:
    return PacketIn(2, PuntReason.NEIGHBOUR_UNRESOLVED, hop.port, hop.address, payload)


class Street:
    """Neighbours and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.neighbours = Neighbours(routing())

    def asked(self) -> list[PacketOut]:
        requests = list(self.neighbours.requests)
        self.neighbours.requests.clear()
        return requests

    def wait(self, seconds: float) -> list[PacketOut]:
        """Let time pass; the requests sent meanwhile."""
        end, requests = self.now + seconds, self.asked()
        while (deadline := self.neighbours.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.neighbours.handle_timer(self.now)
            requests += self.asked()
        self.now = end
        return requests

    def answer(self, hop: NextHop, mac: int = MAC) -> None:
        self.neighbours.seen(*hop, mac, self.now)


@pytest.fixture
def street() -> Street:
    return Street()


class TestRequests:
    def test_arp(self, street: Street) -> None:
        street.neighbours.want([A], street.now)
        (request,) = street.asked()
        assert (request.egress_port, request.submit) == (1, False)
        frame = Ether(request.payload)
        assert (frame.dst, frame.src) == ("ff:ff:ff:ff:ff:ff", "02:00:00:00:01:01")
        assert (frame[ARP].op, frame[ARP].psrc, frame[ARP].pdst) == (1, "10.1.0.1", "10.1.0.9")

    def test_neighbour_solicitation(self, street: Street) -> None:
        street.neighbours.want([B], street.now)
        (request,) = street.asked()
        frame = Ether(request.payload)
        assert (frame.dst, frame[IPv6].dst) == ("33:33:ff:00:00:09", "ff02::1:ff00:9")
        assert (frame[IPv6].src, frame[IPv6].hlim) == ("fd00:1::1", 255)
        assert frame[ICMPv6ND_NS].tgt == "fd00:1::9"
        assert frame[ICMPv6NDOptSrcLLAddr].lladdr == "02:00:00:00:01:01"
        total = frame[ICMPv6ND_NS].cksum
        del frame[ICMPv6ND_NS].cksum
        assert Ether(bytes(frame))[ICMPv6ND_NS].cksum == total

    @pytest.mark.parametrize("hop", [A, B])
    def test_three_times_then_again_after_a_while(self, street: Street, hop: NextHop) -> None:
        street.neighbours.want([hop], street.now)
        assert len(street.wait(3.5)) == 3
        assert street.neighbours.state(hop) is NeighbourState.FAILED
        assert len(street.wait(8)) == 3, "who is wanted is never given up"

    def test_who_is_known_is_asked_alone_first(self, street: Street) -> None:
        street.answer(A)
        requests = street.wait(33)
        assert [Ether(request.payload).dst for request in requests[:2]] == ["02:00:00:00:00:09", "ff:ff:ff:ff:ff:ff"]

    def test_who_answers_is_not_asked_for_a_while(self, street: Street) -> None:
        street.neighbours.want([A], street.now)
        street.asked()
        for _ in range(20):
            street.answer(A)
            assert street.wait(29) == []


class TestEntries:
    def test_learnt_kept_and_lost(self, street: Street) -> None:
        street.answer(A)
        entry = neighbour_entry(*A, PORT_MAC, MAC)
        assert street.neighbours.changes == [NeighbourChange(entry, present=True)]
        assert street.neighbours.entries() == [entry]
        street.neighbours.changes.clear()
        street.answer(A)
        assert street.neighbours.changes == [], "what is known is not written again"
        street.wait(31)
        assert street.neighbours.entries() == [entry], "old, asked again, still used"
        street.wait(4)
        assert street.neighbours.changes == [NeighbourChange(entry, present=False)]
        assert street.neighbours.entries() == []
        street.wait(10)
        assert street.neighbours.state(A) is None, "forgotten, since nobody wants it"

    def test_another_mac(self, street: Street) -> None:
        street.answer(A)
        street.answer(A, MAC + 1)
        assert street.neighbours.entries() == [neighbour_entry(*A, PORT_MAC, MAC + 1)]

    @pytest.mark.parametrize(
        ("port", "address", "mac"),
        [
            (1, "10.2.0.9", MAC),
            (1, "10.1.0.1", MAC),
            (3, "10.1.0.9", MAC),
            (1, "fe80::1", MAC),
            (1, "10.1.0.9", 0),
            (1, "10.1.0.9", 0xFFFFFFFFFFFF),
            (1, "10.1.0.9", 0x01005E000001),
        ],
        ids=["elsewhere", "our own address", "no such port", "link-local", "no MAC", "broadcast MAC", "group MAC"],
    )
    def test_what_nobody_may_claim(self, street: Street, port: int, address: str, mac: int) -> None:
        street.neighbours.seen(port, parse_address(address), mac, street.now)
        assert street.neighbours.entries() == []
        assert street.neighbours.next_deadline() is None

    def test_claims_cannot_fill_the_table(self, street: Street) -> None:
        base = parse_address("10.1.1.0")
        for number in range(MOST_NEIGHBOURS + 100):
            street.neighbours.seen(1, base + number, MAC, street.now)
        assert street.neighbours.count() == MOST_NEIGHBOURS
        street.neighbours.want([NextHop(2, parse_address("10.2.0.9"))], street.now)
        street.neighbours.seen(2, parse_address("10.2.0.9"), MAC, street.now)
        assert street.neighbours.count() == MOST_NEIGHBOURS + 1, "members always have room"

    def test_adopted_from_the_switch(self, street: Street) -> None:
        entry = neighbour_entry(*A, PORT_MAC, MAC)
        elsewhere = neighbour_entry(7, A.address, PORT_MAC, MAC)
        street.neighbours.adopt([entry, elsewhere], street.now)
        assert street.neighbours.entries() == [entry]
        assert len(street.wait(1.5)) == 1, "asked soon whether it is still there"
        street.answer(A)
        assert street.neighbours.changes == []

    def test_ports_change(self, street: Street) -> None:
        far = NextHop(2, parse_address("10.2.0.254"))
        for hop in (A, B, far):
            street.answer(hop)
        street.neighbours.changes.clear()
        text = CONFIG.replace("02:00:00:00:01:01", "02:00:00:00:01:02").replace("10.2.0", "10.3.0")
        street.neighbours.reconfigure(routing(text))
        assert set(street.neighbours.changes) == {
            NeighbourChange(neighbour_entry(*A, PORT_MAC + 1, MAC), present=True),
            NeighbourChange(neighbour_entry(*B, PORT_MAC + 1, MAC), present=True),
            NeighbourChange(neighbour_entry(*far, 0, MAC), present=False),
        }


class TestHeldPackets:
    def test_released_when_the_answer_comes(self, street: Street) -> None:
        packets = [punt(A, bytes([number])) for number in range(2)]
        for packet in packets:
            street.neighbours.unresolved(packet, street.now)
        assert len(street.asked()) == 1
        street.answer(A)
        assert street.neighbours.released == [
            PacketOut(packet.payload, ingress_port=2, submit=Submission.SUBMIT) for packet in packets
        ]

    def test_only_the_newest(self, street: Street) -> None:
        for number in range(HELD_PACKETS + 7):
            street.neighbours.unresolved(punt(A, bytes([number])), street.now)
        street.answer(A)
        kept = [bytes([number]) for number in range(7, HELD_PACKETS + 7)]
        assert [packet.payload for packet in street.neighbours.released] == kept

    def test_unreachable_when_nobody_answers(self, street: Street) -> None:
        first, late = punt(A, b"first"), punt(A, b"late")
        street.neighbours.unresolved(first, street.now)
        street.wait(3.5)
        assert street.neighbours.unreachable == [first]
        street.neighbours.unresolved(late, street.now)
        assert street.neighbours.unreachable == [first, late], "known to be dead: told at once"

    def test_one_that_crossed_the_answer(self, street: Street) -> None:
        street.answer(A)
        street.neighbours.unresolved(punt(A), street.now)
        assert len(street.neighbours.released) == 1

    def test_a_switch_without_room_for_it(self, street: Street) -> None:
        """Else the packet would go round for ever."""
        street.neighbours.unresolved(punt(A), street.now)
        street.answer(A)
        street.neighbours.released.clear()
        street.neighbours.refused(A, street.now)
        street.neighbours.unresolved(punt(A), street.now)
        assert street.neighbours.released == []
        assert len(street.neighbours.unreachable) == 1

    def test_a_next_hop_that_cannot_be(self, street: Street) -> None:
        street.neighbours.unresolved(punt(NextHop(9, A.address)), street.now)
        assert street.asked() == []
        assert len(street.neighbours.unreachable) == 1


class TestWanted:
    def test_the_gateway(self) -> None:
        assert routing().gateways == {NextHop(2, parse_address("10.2.0.254"))}
        assert routing().next_hop(parse_address("192.0.2.1")) == NextHop(2, parse_address("10.2.0.254"))
        assert routing().next_hop(parse_address("2001:db8::1")) is None
        assert routing().next_hop(parse_address("10.1.0.1")) is None

    def test_no_longer_wanted(self, street: Street) -> None:
        street.neighbours.want([A], street.now)
        street.neighbours.want([], street.now)
        street.wait(20)
        assert street.neighbours.state(A) is None
        assert street.neighbours.next_deadline() is None


@given(st.lists(st.tuples(st.sampled_from("sunwrt"), st.integers(0, 5)), max_size=60))
def test_what_changes_tell_is_what_entries_say(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: the changes, applied one by one, give the entries."""
    street, held = Street(), {}
    for what, number in steps:
        hop = NextHop(1, A.address + number)
        if what == "s":
            street.neighbours.seen(*hop, MAC + number % 2, street.now)
        elif what == "u":
            street.neighbours.unresolved(punt(hop), street.now)
        elif what == "n":
            street.neighbours.want([hop], street.now)
        elif what == "r":
            street.neighbours.refused(hop, street.now)
        else:
            street.wait(number * 3)
        for entry, present in street.neighbours.changes:
            if present:
                held[entry.key] = entry
            else:
                held.pop(entry.key)
        street.neighbours.changes.clear()
        assert held == {entry.key: entry for entry in street.neighbours.entries()}
