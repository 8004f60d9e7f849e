"""The largest segment that a SYN announces is made small enough for the tunnels between members of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scapy.layers.inet import TCP
from scapy.packet import Packet

from depot.address import parse_address
from ptf_tests.case import Case, Digest, Entry, PacketIn, PuntReason, Step, Submission, Submit
from ptf_tests.cluster import Flow, Peer
from ptf_tests.network import CLIENT, FAMILIES, FAR, PEER, STRANGER
from ptf_tests.packets import from_switch, ip_header, to_switch
from ptf_tests.services import MEMBER_PORT, MODES, Service, Session

__all__ = ["cases"]

LARGEST = {4: 1420, 6: 1380}
"""What fits, in bytes."""
Options = list[tuple[str | int, int | tuple[int, int] | bytes | None]]
MSS: Options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 7)]


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        for mode in MODES:
            service = Service(family, "tcp", mode)
            yield both_ways(f"mss_ipv{family}_{mode}_both_ways", service)
            yield allocated(f"mss_ipv{family}_{mode}_first_packet", Service(family, "tcp", mode))
            yield released(f"mss_ipv{family}_{mode}_released", Service(family, "tcp", mode))
        yield without_entry(f"mss_ipv{family}_answer_of_nat_member_without_entry", Service(family, "tcp", "nat"))
        for outer in FAMILIES:
            yield through_tunnels(f"mss_{family}in{outer}_to_and_from_peers", Peer(outer), Flow(family, "tcp"))
        yield as_it_is(f"mss_ipv{family}_stays", Service(family, "tcp", "nat"))
        yield values(f"mss_ipv{family}_values", Service(family, "tcp", "nat"))
        yield not_clamped(f"mss_ipv{family}_of_sessions_that_pass", Flow(family, "tcp"))
        yield punted(f"mss_ipv{family}_at_the_controller", Service(family, "tcp", "nat", shared=True))
        yield no_limit(f"mss_ipv{family}_without_a_limit", Service(family, "tcp", "dsr"))


def clamp(family: int, largest: int | None = None) -> Entry:
    """What fits the tunnels, for one family."""
    return Entry("mss_table", {"is_ipv6": int(family == 6)}, "clamp_mss", {"max": largest or LARGEST[family]})


def with_options(packet: Packet, options: Options) -> Packet:
    """The packet with TCP options."""
    changed = packet.copy()
    changed[TCP].options = list(options)
    return changed


def smaller(options: Options, largest: int) -> Options:
    """The options as they leave."""
    return [(name, largest if name == "MSS" else value) for name, value in options]


def arriving(session: Session, flags: str = "S", seq: int = 1000) -> Packet:
    """The client's IP packet."""
    service = session.service
    return ip_header(session.client_address, service.vip) / session.segment_to(service.port, flags, seq)


def leaving(session: Session, index: int, options: Options, flags: str = "S") -> tuple[int, bytes]:
    """What member `index` gets, with these options."""
    service = session.service
    if service.mode == "nat":
        packet = ip_header(session.client_address, service.member_address(index), 63)
        whole = with_options(packet / session.segment_to(MEMBER_PORT, flags), options)
    else:
        inner = ip_header(session.client_address, service.vip, 63) / session.segment_to(service.port, flags)
        whole = service.wrap(index, with_options(inner, options))
    return from_switch(service.members[index], whole)


def answering(session: Session, index: int, options: Options) -> tuple[bytes, Packet]:
    """Member `index`'s SYN-ACK as it arrives, and as it would leave."""
    service = session.service
    nat = service.mode == "nat"
    source, port = (service.member_address(index), MEMBER_PORT) if nat else (service.vip, service.port)
    arrives = ip_header(source, session.client_address) / session.segment_from(port, "SA")
    leaves = ip_header(service.vip, session.client_address, 63) / session.segment_from(service.port, "SA")
    return to_switch(service.members[index], with_options(arrives, options)), leaves


def both_ways(name: str, service: Service) -> Case:
    """SYN and SYN-ACK of a known session, whatever other options follow."""
    session, largest = service.session(), LARGEST[service.family]
    small = smaller(MSS, largest)
    steps = [
        Step(
            to_switch(CLIENT, with_options(arriving(session), MSS)),
            CLIENT.port,
            out=(leaving(session, 1, small),),
            digest=session.tcp_event("S", from_client=True),
        )
    ]
    frame, leaves = answering(session, 1, MSS)
    steps.append(
        Step(
            frame,
            service.members[1].port,
            out=(from_switch(CLIENT, with_options(leaves, small)),),
            digest=session.tcp_event("SA", from_client=False),
        )
    )
    return Case(name, tuple(steps), (*service.entries(), session.known(1), clamp(4), clamp(6)))


def allocated(name: str, service: Service) -> Case:
    """The SYN that begins a session."""
    session = service.session()
    step = Step(
        to_switch(CLIENT, with_options(arriving(session), MSS)),
        CLIENT.port,
        out=(leaving(session, 0, smaller(MSS, LARGEST[service.family])),),
        digest=session.new_flow(0, "S"),
    )
    return Case(name, (step,), (*service.entries(), clamp(4), clamp(6)))


def released(name: str, service: Service) -> Case:
    """A SYN that waited for the peers, and the SYN-ACK too."""
    session, small = service.session(), smaller(MSS, LARGEST[service.family])
    release = Submit(ingress_port=CLIENT.port, submission=Submission.RELEASE, member_id=service.member_id(1))
    steps = [
        Step(to_switch(CLIENT, with_options(arriving(session), MSS)), release, out=(leaving(session, 1, small),)),
    ]
    if service.mode != "nat":
        frame, leaves = answering(session, 1, MSS)
        back = Submit(ingress_port=service.members[1].port, submission=Submission.RELEASE_FROM_MEMBER)
        steps.append(Step(frame, back, out=(from_switch(CLIENT, with_options(leaves, small)),)))
    return Case(name, tuple(steps), (*service.entries(), clamp(4), clamp(6)))


def without_entry(name: str, service: Service) -> Case:
    """A NAT member's SYN-ACK is known by where it comes from."""
    session = service.session()
    frame, leaves = answering(session, 1, MSS)
    step = Step(
        frame,
        service.members[1].port,
        out=(from_switch(CLIENT, with_options(leaves, smaller(MSS, LARGEST[service.family]))),),
        digest=session.tcp_event("SA", from_client=False),
    )
    return Case(name, (step,), (*service.entries(), clamp(4), clamp(6)))


def through_tunnels(name: str, peer: Peer, flow: Flow) -> Case:
    """Towards a peer, both ways; and what a peer brings."""
    small, steps = smaller(MSS, LARGEST[flow.family]), []
    for host, make, flags in ((CLIENT, flow.there, "S"), (STRANGER, flow.back, "SA")):
        whole, leaves = with_options(make(flags), MSS), with_options(make(flags, ttl=63), small)
        out = peer.gets(leaves) if host is CLIENT else from_switch(CLIENT, leaves)
        steps.append(Step(to_switch(host, whole), host.port, out=(out,)))
    own = replace(flow, server_port=81)
    member = Entry(
        "member_table", {"member_id": 17}, "dsr_to_member", {"address": parse_address(FAR.address(flow.family))}
    )
    steps.append(
        Step(
            peer.sends(with_options(own.there("S"), MSS)),
            PEER.port,
            out=(from_switch(FAR, with_options(own.there("S", ttl=63), small)),),
            digest=own.tcp_event("S", from_client=True),
        )
    )
    entries = (flow.at_peer(peer.member_id), own.known(17), member)
    return Case(name, tuple(steps), (*peer.entries(), *entries, clamp(4), clamp(6)))


def no_limit(name: str, service: Service) -> Case:
    """Without an entry of its family every segment fits."""
    session = service.session()
    other = clamp(10 - service.family, 100)
    return Case(name, tuple(_step_of(session, MSS, MSS)), (*service.entries(), session.known(1), other))


def as_it_is(name: str, service: Service) -> Case:
    """No options, another one first, one that is no MSS option for its length, and options that only an ACK has."""
    steps, entries = [], []
    odd: tuple[Options, ...] = (
        [],
        [("NOP", None), ("NOP", None), ("MSS", 1460)],
        [("SAckOK", b""), ("NOP", None), ("NOP", None), ("MSS", 1460)],
        [("WScale", 7), ("MSS", 1460), ("NOP", None)],
        [(2, b"\x05\xb4\x05\xb4"), ("NOP", None), ("NOP", None)],
        [(253, b"\xff\xff")],
        [("EOL", None), ("EOL", None), ("EOL", None), ("EOL", None)],
    )
    for number, options in enumerate(odd):
        session = service.session(number)
        entries.append(session.known(1))
        steps += _step_of(session, options, options)
    frame = to_switch(CLIENT, with_options(arriving(session, "A"), MSS))
    steps.append(Step(frame, CLIENT.port, out=(leaving(session, 1, MSS, "A"),)))
    return Case(name, tuple(steps), (*service.entries(), *entries, clamp(4), clamp(6)))


def _step_of(session: Session, options: Options, leaves: Options) -> list[Step]:
    told = session.tcp_event("S", from_client=True)
    frame = to_switch(CLIENT, with_options(arriving(session), options))
    return [Step(frame, CLIENT.port, out=(leaving(session, 1, leaves),), digest=told)]


def values(name: str, service: Service) -> Case:
    """Only a larger one is changed, and the checksum is right for each."""
    largest, steps, entries = LARGEST[service.family], [], []
    for number, value in enumerate((0, 536, largest - 1, largest, largest + 1, 1460, 8960, 0x8000, 65535)):
        session = service.session(number)
        entries.append(session.known(1))
        steps += _step_of(session, [("MSS", value)], [("MSS", min(value, largest))])
    return Case(name, tuple(steps), (*service.entries(), *entries, clamp(4), clamp(6)))


def not_clamped(name: str, flow: Flow) -> Case:
    """What is only routed, and what is bypassed, stays."""
    other, release = replace(flow, server_port=81), Submit(ingress_port=CLIENT.port, submission=Submission.RELEASE)
    steps = []
    cases_of: tuple[tuple[Flow, int | Submit, Digest | None], ...] = (
        (flow, CLIENT.port, flow.tcp_event("S", from_client=True)),
        (other, CLIENT.port, None),
        (other, release, None),
    )
    for one, port, told in cases_of:
        out = from_switch(STRANGER, with_options(one.there("S", ttl=63), MSS))
        steps.append(Step(to_switch(CLIENT, with_options(one.there("S"), MSS)), port, out=(out,), digest=told))
    return Case(name, tuple(steps), (flow.entry("bypass_connection"), clamp(4), clamp(6)))


def punted(name: str, service: Service) -> Case:
    """What waits at the controller is as it came."""
    session = service.session()
    frame = to_switch(CLIENT, with_options(arriving(session), MSS))
    told = PacketIn(PuntReason.NEW_SESSION, CLIENT.port, frame, service.member_id(0), service.number)
    return Case(name, (Step(frame, CLIENT.port, packet_in=told),), (*service.entries(), clamp(4), clamp(6)))
