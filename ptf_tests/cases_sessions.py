"""Sessions: allocated, remembered, known; both families, both protocols, each mode, both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from ptf_tests.case import Case, DropReason, Entry, PacketIn, PuntReason, Step
from ptf_tests.network import CLIENT, FAMILIES, STRANGER
from ptf_tests.packets import from_switch, ip_header, to_switch
from ptf_tests.services import MEMBER_PORT, MODES, PROTOCOLS, Service

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        for protocol in PROTOCOLS:
            for mode in MODES:
                kind = f"{mode}_ipv{family}_{protocol}"
                yield allocated(f"{kind}_new_sessions_take_turns", Service(family, protocol, mode))
                yield known(f"{kind}_entry_decides", Service(family, protocol, mode))
                yield way_back(f"{kind}_way_back", Service(family, protocol, mode))
                yield traffic_class(f"{kind}_traffic_class_stays", Service(family, protocol, mode))
            hashing = Service(family, protocol, "dsr", schedule=(0, 1, 1, 0, 1), by_hash=True)
            yield hashed(f"ipv{family}_{protocol}_slots_by_hash", hashing)
            yield strict_entries(f"ipv{family}_{protocol}_denied_and_reset", Service(family, protocol, "nat"))
            yield empty_schedule(f"ipv{family}_{protocol}_no_member", Service(family, protocol, "nat", schedule=()))
            yield member_gone(f"ipv{family}_{protocol}_member_gone", Service(family, protocol, "nat"))
            yield from_afar(f"ipv{family}_{protocol}_client_behind_a_router", Service(family, protocol, "nat"))
        yield checksum_becomes_zero(f"ipv{family}_udp_checksum_becomes_zero", Service(family, "udp", "nat"))
        yield flags(f"ipv{family}_tcp_flags_are_told", Service(family, "tcp", "nat"))
        yield flags_of_remembered(f"ipv{family}_tcp_flags_before_the_entry", Service(family, "tcp", "nat"))
        yield retransmitted(f"ipv{family}_tcp_syn_again", Service(family, "tcp", "dsr"))
        yield closing(f"ipv{family}_tcp_ports_used_again_while_closing", Service(family, "tcp", "nat"))
        yield too_far(f"ipv{family}_tcp_syn_that_may_not_go_on", Service(family, "tcp", "nat"))
        yield unknown(f"ipv{family}_tcp_of_no_session", Service(family, "tcp", "nat"))
        yield weighted(f"ipv{family}_weighted_schedule", Service(family, "udp", "dsr", schedule=(0, 0, 1)))
    yield no_checksum("ipv4_udp_without_checksum", Service(4, "udp", "nat"))


def allocated(name: str, service: Service) -> Case:
    """Three sessions go to member 0, 1, 0; the second packets follow the first ones without a digest."""
    opening = "S" if service.protocol == "tcp" else ""
    steps = []
    for number, member in enumerate((0, 1, 0)):
        session = service.session(number)
        steps.append(
            Step(
                session.request(opening),
                CLIENT.port,
                out=(session.delivered(member, opening),),
                digest=session.new_flow(member, opening),
            )
        )
    for number, member in ((1, 1), (0, 0)):
        session = service.session(number)
        data = b"x" * 1201
        out = session.delivered(member, seq=1001, payload=data)
        steps.append(Step(session.request(seq=1001, payload=data), CLIENT.port, out=(out,)))
    return Case(name, tuple(steps), service.entries())


def known(name: str, service: Service) -> Case:
    """An entry names member 1: its packets go there, and the schedule's turn stays with new sessions."""
    session, other = service.session(), service.session(1)
    opening = "S" if service.protocol == "tcp" else ""
    entry, (vip, *_), gets = session.known(1), service.entries(), _member_entries(service)
    first, last, opened = session.request(), session.request(payload=b""), other.request(opening)
    return Case(
        name,
        (
            Step(first, CLIENT.port, out=(session.delivered(1),)),
            Step(opened, CLIENT.port, out=(other.delivered(0, opening),), digest=other.new_flow(0, opening)),
            Step(last, CLIENT.port, out=(session.delivered(1, payload=b""),)),
        ),
        (*service.entries(), entry),
        (
            (entry, _count(first, last)),
            (vip, _count(opened)),
            (gets[0], _count(opened)),
            (gets[1], _count(first, last)),
        ),
    )


def _member_entries(service: Service) -> list[Entry]:
    return [entry for entry in service.entries() if entry.table == "member_table"]


def _count(*frames: bytes) -> tuple[int, int]:
    """What an entry's counter shows after these frames."""
    return len(frames), sum(map(len, frames))


def way_back(name: str, service: Service) -> Case:
    """What the member sends: with and without an entry it leaves as the VIP's, for NAT after a rewrite."""
    session, unknown_session = service.session(), service.session(1)
    member, replies = service.members[1], (session.reply(1), unknown_session.reply(1))
    sources = [entry for entry in service.entries() if entry.table == "nat_source_table"]
    return Case(
        name,
        (
            Step(replies[0], member.port, out=(session.returned(),)),
            Step(replies[1], member.port, out=(unknown_session.returned(),)),
        ),
        (*service.entries(), session.known(1)),
        tuple(zip(sources, (_count(), _count(*replies)), strict=False)),
    )


def strict_entries(name: str, service: Service) -> Case:
    """`deny_connection` drops, `reset_connection` asks the controller for a reset."""
    denied, reset = service.session(0), service.session(1)
    punted = PacketIn(PuntReason.RESET_SESSION, CLIENT.port, reset.request())
    return Case(
        name,
        (
            Step(denied.request(), CLIENT.port, drop=DropReason.DENIED),
            Step(reset.request(), CLIENT.port, packet_in=punted),
        ),
        (*service.entries(), denied.entry("deny_connection"), reset.entry("reset_connection")),
    )


def empty_schedule(name: str, service: Service) -> Case:
    opening = "S" if service.protocol == "tcp" else ""
    step = Step(service.session().request(opening), CLIENT.port, drop=DropReason.NO_MEMBER)
    return Case(name, (step, step), service.entries())


def member_gone(name: str, service: Service) -> Case:
    session = service.session()
    entries = tuple(entry for entry in service.entries() if entry.table != "member_table")
    return Case(
        name,
        (Step(session.request(), CLIENT.port, drop=DropReason.MEMBER_GONE),),
        (*entries, session.known(0)),
    )


def from_afar(name: str, service: Service) -> Case:
    """A client behind the uplink's router: answers take the route back."""
    session = service.session(client=STRANGER)
    opening, answer = ("S", "SA") if service.protocol == "tcp" else ("", "")
    told = session.tcp_event("SA", from_client=False) if service.protocol == "tcp" else None
    return Case(
        name,
        (
            Step(
                session.request(opening),
                STRANGER.port,
                out=(session.delivered(0, opening),),
                digest=session.new_flow(0, opening),
            ),
            Step(session.reply(0, answer), service.members[0].port, out=(session.returned(answer),), digest=told),
        ),
        service.entries(),
    )


def flags(name: str, service: Service) -> Case:
    """SYN, SYN-ACK, FIN of each way and RST of an installed session are digests; others are not."""
    session = service.session()
    member = service.members[0]
    steps = [Step(session.request("PA"), CLIENT.port, out=(session.delivered(0, "PA"),))]
    for seen in ("FA", "R", "RA", "S"):
        told = session.tcp_event(seen, from_client=True)
        steps.append(Step(session.request(seen), CLIENT.port, out=(session.delivered(0, seen),), digest=told))
    for seen in ("SA", "FA", "RA"):
        told = session.tcp_event(seen, from_client=False)
        steps.append(Step(session.reply(0, seen), member.port, out=(session.returned(seen),), digest=told))
    return Case(name, tuple(steps), (*service.entries(), session.known(0)))


def flags_of_remembered(name: str, service: Service) -> Case:
    """The same before the controller's entry is there."""
    session = service.session()
    told = session.tcp_event("FA", from_client=True)
    return Case(
        name,
        (
            Step(session.request("S"), CLIENT.port, out=(session.delivered(0, "S"),), digest=session.new_flow(0, "S")),
            Step(session.request("FA"), CLIENT.port, out=(session.delivered(0, "FA"),), digest=told),
        ),
        service.entries(),
    )


def retransmitted(name: str, service: Service) -> Case:
    """The same SYN again is the same session, a SYN with another sequence number is the next one (RFC 9293, 3.8.1)."""
    session = service.session()
    told = session.tcp_event("S", from_client=True)
    return Case(
        name,
        (
            Step(
                session.request("S", 7),
                CLIENT.port,
                out=(session.delivered(0, "S", 7),),
                digest=session.new_flow(0, "S"),
            ),
            Step(session.request("S", 7), CLIENT.port, out=(session.delivered(0, "S", 7),), digest=told),
            Step(
                session.request("S", 9),
                CLIENT.port,
                out=(session.delivered(1, "S", 9),),
                digest=session.new_flow(1, "S"),
            ),
            Step(session.request("A", 10), CLIENT.port, out=(session.delivered(1, "A", 10),)),
        ),
        service.entries(),
    )


def closing(name: str, service: Service) -> Case:
    """An ended session's stray packets keep their member; a SYN on the same ports starts the next session."""
    session = service.session()
    return Case(
        name,
        (
            Step(session.request("A"), CLIENT.port, out=(session.delivered(1),)),
            Step(session.reply(1, "A"), service.members[1].port, out=(session.returned(),)),
            Step(
                session.request("S", 5),
                CLIENT.port,
                out=(session.delivered(0, "S", 5),),
                digest=session.new_flow(0, "S"),
            ),
            Step(session.request("A", 6), CLIENT.port, out=(session.delivered(0, "A", 6),)),
        ),
        (*service.entries(), session.known(1, closing=True)),
    )


def too_far(name: str, service: Service) -> Case:
    """A SYN whose TTL ends here (traceroute's) takes no slot and begins no session."""
    session = service.session()
    last = session.request("S", ttl=1)
    return Case(
        name,
        (
            Step(last, CLIENT.port, packet_in=PacketIn(PuntReason.TTL_EXPIRED, CLIENT.port, last)),
            Step(
                session.request("S"),
                CLIENT.port,
                out=(session.delivered(0, "S"),),
                digest=session.new_flow(0, "S"),
            ),
        ),
        service.entries(),
    )


def unknown(name: str, service: Service) -> Case:
    """Without a session only a pure SYN is let in."""
    session = service.session()
    refused = tuple(
        Step(session.request(seen), CLIENT.port, drop=DropReason.NO_SESSION)
        for seen in ("A", "SA", "FA", "R", "SR", "SF", "PA")
    )
    return Case(name, refused, service.entries())


def weighted(name: str, service: Service) -> Case:
    """Six sessions over slots 0, 0, 1: four and two."""
    steps = []
    for number, member in enumerate((0, 0, 1, 0, 0, 1)):
        session = service.session(number)
        steps.append(
            Step(session.request(), CLIENT.port, out=(session.delivered(member),), digest=session.new_flow(member))
        )
    return Case(name, tuple(steps), service.entries())


def hashed(name: str, service: Service) -> Case:
    """Each session has the slot of its hash, whatever came before."""
    opening = "S" if service.protocol == "tcp" else ""
    steps = []
    for number in range(16):
        session = service.session(number)
        member = service.schedule[session.hashed_slot()]
        out, told = session.delivered(member, opening), session.new_flow(member, opening)
        steps.append(Step(session.request(opening), CLIENT.port, out=(out,), digest=told))
    empty = replace(service, schedule=(), number=service.number + 500)
    refused = Step(empty.session().request(opening), CLIENT.port, drop=DropReason.NO_MEMBER)
    return Case(name, (*steps, refused), (*service.entries(), *empty.entries()[:1]))


def traffic_class(name: str, service: Service) -> Case:
    """Differentiated services and ECN marks pass, and a tunnel's header takes them over (RFC 2983, RFC 6040)."""
    session = service.session()
    steps = []
    for marks in (0xB8, 0x03, 0xFF):
        arrives = ip_header(session.client_address, service.vip, 64, marks) / session.segment_to(service.port)
        if service.mode == "nat":
            inside = ip_header(session.client_address, service.member_address(1), 63, marks)
            leaves = inside / session.segment_to(MEMBER_PORT)
        else:
            inside = ip_header(session.client_address, service.vip, 63, marks)
            leaves = service.wrap(1, inside / session.segment_to(service.port))
        steps.append(Step(to_switch(CLIENT, arrives), CLIENT.port, out=(from_switch(service.members[1], leaves),)))
    return Case(name, tuple(steps), (*service.entries(), session.known(1)))


def no_checksum(name: str, service: Service) -> Case:
    """A UDP datagram over IPv4 may have no checksum, which is a zero that no rewrite may touch (RFC 768)."""
    session = service.session()
    head, member_head = (
        ip_header(session.client_address, dst, ttl) for dst, ttl in ((service.vip, 64), (service.member_address(1), 63))
    )
    arrives, leaves = head / session.segment_to(service.port), member_head / session.segment_to(MEMBER_PORT)
    arrives[UDP].chksum = leaves[UDP].chksum = 0
    step = Step(to_switch(CLIENT, arrives), CLIENT.port, out=(from_switch(service.members[1], leaves),))
    return Case(name, (step,), (*service.entries(), session.known(1)))


def checksum_becomes_zero(name: str, service: Service) -> Case:
    """A sum that comes out as zero is sent as 0xffff, both ways (RFC 768)."""
    session, host = service.session(), service.members[1]

    def payload_for(make: Callable[[bytes], tuple[int, bytes]]) -> bytes:
        """The payload that makes the sum of the packet that leaves zero: the checksum it has with two zero bytes."""
        checksum: int = Ether(make(bytes(2))[1])[UDP].chksum
        return checksum.to_bytes(2, "big")

    there = payload_for(lambda data: session.delivered(1, payload=data))
    back = payload_for(lambda data: session.returned(payload=data))
    assert Ether(session.returned(payload=back)[1])[UDP].chksum == 0xFFFF
    return Case(
        name,
        (
            Step(session.request(payload=there), CLIENT.port, out=(session.delivered(1, payload=there),)),
            Step(session.reply(1, payload=back), host.port, out=(session.returned(payload=back),)),
        ),
        (*service.entries(), session.known(1)),
    )
