"""Packets between members of the cluster, IP-in-IP: put in, taken out, passed on untouched, refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scapy.layers.inet import ICMP, IP, TCP, IPOption_Router_Alert
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from ptf_tests.case import Case, DropReason, Entry, PacketIn, PuntReason, Step, Submission, Submit
from ptf_tests.cluster import Flow, Peer
from ptf_tests.network import CLIENT, FAMILIES, FAR, PEER, ROUTER, STRANGER, Host, mtu_of, our_address, vip_address
from ptf_tests.packets import ERRORS, family_of, from_switch, icmp_error, ip_header, ping, segment, to_switch
from ptf_tests.services import MEMBER_PORT, MODES, PROTOCOLS, Service, Session, outer_header

__all__ = ["cases"]

OVERHEAD = {4: 20, 6: 40}
"""Bytes of an outer header."""
CONGESTED = 3
"""The ECN mark of a router without room (RFC 3168, 5)."""


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for outer in FAMILIES:
        for family in FAMILIES:
            peer = Peer(outer)
            both = f"tunnel_{family}in{outer}"
            for protocol in PROTOCOLS:
                for far_end in ("client", "server"):
                    name = f"{both}_{protocol}_goes_to_the_peer_of_the_{far_end}"
                    yield to_peer(name, Peer(outer), Flow(family, protocol), far_end == "client")
                yield refused_loop(f"{both}_{protocol}_of_a_peer_goes_to_no_peer", peer, Flow(family, protocol))
                for mode in MODES:
                    yield from_peer(
                        f"{both}_{mode}_{protocol}_comes_from_the_peer", peer, Service(family, protocol, mode)
                    )
                yield allocated(f"{both}_{protocol}_opens_in_a_tunnel", peer, Service(family, protocol, "nat"))
                yield errors(f"{both}_{protocol}_icmp_errors_go_to_the_peer", peer, Flow(family, protocol))
                service = Service(family, protocol, "nat")
                yield tunnelled_errors(f"{both}_{protocol}_icmp_errors_come_from_the_peer", peer, service)
            yield too_big_for_peer(f"{both}_too_big_for_the_tunnel", Peer(outer, FAR), Flow(family, "udp"))
            yield controllers(f"{both}_of_a_peer_at_the_controller", peer, family)
            yield strange(f"{both}_strange_tunnels_stay_closed", peer, family)
            yield transit(f"{both}_passes", outer, Flow(family, "tcp"))
            yield congestion(f"{both}_congestion_marks", peer, family)
            yield malformed(f"{both}_malformed_within", peer, family)
            yield other_contents(f"{both}_without_ports", peer, family)
        yield fragments(f"tunnel_ipv{outer}_fragments", Peer(outer))
        yield nested(f"tunnel_ipv{outer}_in_a_tunnel", Peer(outer))
        yield counted(f"tunnel_ipv{outer}_is_counted", Peer(outer, CLIENT))
    yield bad_inner_checksum()
    yield inner_options()


def to_peer(name: str, peer: Peer, flow: Flow, far_end_is_client: bool) -> Case:
    """Another member's flow: the far end's packets go there, the other end's pass; nobody is told of their flags."""
    entry, (gets, _) = flow.at_peer(peer.member_id, far_end_is_client=far_end_is_client), peer.entries()
    steps, there = [], []
    ends = ((CLIENT, STRANGER, flow.there, far_end_is_client), (STRANGER, CLIENT, flow.back, not far_end_is_client))
    for flags in (flow.opening, "A", "FA", "R"):
        for host, other, make, is_far in ends:
            frame, leaves = to_switch(host, make(flags, marks=0xBA)), make(flags, ttl=63, marks=0xBA)
            steps.append(Step(frame, host.port, out=(peer.gets(leaves) if is_far else from_switch(other, leaves),)))
            if is_far:
                there.append(frame)
    counts = ((entry, _count(step.packet for step in steps)), (gets, _count(there)))
    return Case(name, tuple(steps), (*peer.entries(), entry), counts)


def _count(frames: Iterable[bytes]) -> tuple[int, int]:
    """What an entry's counter shows after these frames."""
    sizes = [len(frame) for frame in frames]
    return len(sizes), sum(sizes)


def refused_loop(name: str, peer: Peer, flow: Flow) -> Case:
    """Between members a packet travels once, whatever they believe of each other."""
    steps = [Step(peer.sends(flow.there(flags)), PEER.port, drop=DropReason.PEER_LOOP) for flags in (flow.opening, "A")]
    for submission in (Submission.SUBMIT, Submission.SUBMIT_HELD):  # nor when the controller has had it meanwhile
        again = Submit(ingress_port=PEER.port, submission=submission, from_peer=1)
        steps.append(Step(to_switch(PEER, flow.there("A")), again, drop=DropReason.PEER_LOOP))
    passes = from_switch(CLIENT, flow.back(ttl=63))
    steps.append(Step(peer.sends(flow.back()), PEER.port, out=(passes,)))
    return Case(name, tuple(steps), (*peer.entries(), flow.at_peer(peer.member_id)))


def from_peer(name: str, peer: Peer, service: Service) -> Case:
    """Taken out of its tunnel a packet fares as if it had arrived here: to its member, and the answer to the client."""
    session = service.session()
    answer = session.reply(1)
    return Case(
        name,
        (
            Step(peer.sends(request(session)), PEER.port, out=(session.delivered(1),)),
            Step(answer, service.members[1].port, out=(session.returned(),)),
        ),
        (*service.entries(), *peer.entries(), session.known(1)),
    )


def counted(name: str, peer: Peer) -> Case:
    """The tunnel's entry counts whole frames, whatever becomes of what they hold."""
    good, bad = Flow(4, "udp").there(), Flow(6, "udp").there(ttl=64)
    steps = (
        Step(peer.sends(good), peer.host.port, out=(from_switch(STRANGER, _changed(good.copy(), ttl=63)),)),
        Step(peer.sends(bad)[:-1], peer.host.port, drop=DropReason.MALFORMED),
        Step(peer.sends(_changed(bad, src="ff02::1")), peer.host.port, drop=DropReason.MARTIAN),
    )
    count = (2, sum(len(step.packet) for step in (steps[0], steps[2])))
    return Case(name, steps, peer.entries(), ((peer.entries()[1], count),))


def request(session: Session, flags: str = "A", ttl: int = 64) -> Packet:
    """The IP packet of a session's client."""
    service = session.service
    return ip_header(session.client_address, service.vip, ttl) / session.segment_to(service.port, flags)


def allocated(name: str, peer: Peer, service: Service) -> Case:
    """A session that is nobody's begins here; a peer's word makes no difference to a VIP that is not shared."""
    session = service.session()
    opening = "S" if service.protocol == "tcp" else ""
    steps = [
        Step(
            peer.sends(request(session, opening)),
            PEER.port,
            out=(session.delivered(0, opening),),
            digest=session.new_flow(0, opening),
        ),
        Step(session.request(), CLIENT.port, out=(session.delivered(0),)),
    ]
    return Case(name, tuple(steps), (*service.entries(), *peer.entries()))


def errors(name: str, peer: Peer, flow: Flow) -> Case:
    """An ICMP error for the owner of a peer's flow goes to the peer; one for the far end passes."""
    router = ROUTER.address(flow.family)
    steps = []
    for kind in ERRORS:
        for quoted, target in ((flow.back(ttl=60), flow.server), (flow.there(ttl=60), flow.client)):
            arrives, leaves = (
                icmp_error(kind, router, target.address(flow.family), quoted, ttl=ttl) for ttl in (64, 63)
            )
            out = peer.gets(leaves) if target is flow.server else from_switch(flow.client, leaves)
            steps.append(Step(to_switch(ROUTER, arrives), ROUTER.port, out=(out,)))
    return Case(name, tuple(steps), (*peer.entries(), flow.at_peer(peer.member_id)))


def tunnelled_errors(name: str, peer: Peer, service: Service) -> Case:
    """A peer passes on an error about a session of ours: its NAT member gets it, about its own packet."""
    session, router, member = service.session(), ROUTER.address(service.family), service.member_address(1)
    original = ip_header(service.vip, session.client_address, 60) / session.segment_from(service.port)
    translated = ip_header(member, session.client_address, 60) / session.segment_from(MEMBER_PORT)
    translated.payload.chksum = original.__class__(bytes(original)).payload.chksum
    steps = []
    for kind in ERRORS:
        arrives = icmp_error(kind, router, service.vip, original)
        leaves = icmp_error(kind, router, member, translated, ttl=63)
        steps.append(Step(peer.sends(arrives), PEER.port, out=(from_switch(service.members[1], leaves),)))
    forged = icmp_error("unreachable", router, our_address(1, service.family), original)
    steps.append(Step(peer.sends(forged), PEER.port, drop=DropReason.MALFORMED))
    return Case(name, tuple(steps), (*service.entries(), *peer.entries(), session.known(1)))


def too_big_for_peer(name: str, peer: Peer, flow: Flow) -> Case:
    """The outer header counts; the error's author gets the packet as it came."""
    room = mtu_of(FAR.port) - OVERHEAD[peer.outer]
    fits, big = (b"f" * (room - len(flow.there(payload=b"")) + more) for more in (0, 1))
    frame = to_switch(CLIENT, flow.there(payload=big))
    entry = flow.at_peer(peer.member_id)
    return Case(
        name,
        (
            Step(
                to_switch(CLIENT, flow.there(payload=fits)),
                CLIENT.port,
                out=(peer.gets(flow.there(ttl=63, payload=fits)),),
            ),
            Step(frame, CLIENT.port, packet_in=PacketIn(PuntReason.TOO_BIG, CLIENT.port, frame, detail=room)),
        ),
        (*peer.entries(), entry),
    )


def controllers(name: str, peer: Peer, family: int) -> Case:
    """What the controller gets of a peer's packet is without the tunnel, and says that a peer sent it."""
    expired, big = Flow(family, "udp").there(ttl=1), Flow(family, "udp", server=FAR).there(payload=b"b" * 1400)
    return Case(
        name,
        (
            Step(
                peer.sends(expired),
                PEER.port,
                packet_in=PacketIn(PuntReason.TTL_EXPIRED, PEER.port, peer.unwrapped(expired), from_peer=1),
            ),
            Step(
                peer.sends(big),
                PEER.port,
                packet_in=PacketIn(
                    PuntReason.TOO_BIG, PEER.port, peer.unwrapped(big), detail=mtu_of(FAR.port), from_peer=1
                ),
            ),
        ),
        peer.entries(),
    )


def strange(name: str, peer: Peer, family: int) -> Case:
    """Only the pair of addresses that is agreed on opens a tunnel; one for us that does not is for nobody."""
    service = Service(family, "udp", "nat")
    inner = request(service.session())

    def tunnel(source: Host, target: str) -> Step:
        head = outer_header(source.address(peer.outer), target, inner)
        return Step(to_switch(source, head / inner), source.port, drop=DropReason.NOT_SERVED)

    return Case(
        name,
        (
            tunnel(STRANGER, peer.ours),
            tunnel(CLIENT, peer.ours),
            tunnel(PEER, our_address(2, peer.outer)),
            tunnel(PEER, Service(peer.outer, "udp", "nat").vip),
        ),
        (*service.entries(), *peer.entries(), service.session().known(0)),
    )


def transit(name: str, outer: int, flow: Flow) -> Case:
    """A tunnel of others is one packet: what it holds is nobody's session, and only the outer TTL changes."""
    peer, syn = Peer(outer), flow.there("S")
    syn[TCP].options = [("MSS", 1460)]
    quoted = icmp_error("unreachable", ROUTER.address(flow.family), flow.server.address(flow.family), flow.back())
    steps = []
    for inner in (syn, flow.there("F"), quoted, _with_offset(flow.there(), 4)):
        arrives, leaves = (tunnel_between(CLIENT, FAR, outer, inner, ttl) for ttl in (64, 63))
        steps.append(Step(to_switch(CLIENT, arrives), CLIENT.port, out=(from_switch(FAR, leaves),)))
    last = to_switch(CLIENT, tunnel_between(CLIENT, FAR, outer, syn, 1))
    steps.append(Step(last, CLIENT.port, packet_in=PacketIn(PuntReason.TTL_EXPIRED, CLIENT.port, last)))
    room = mtu_of(FAR.port) - OVERHEAD[outer] - len(flow.there(payload=b""))
    fits, big = (flow.there(payload=b"f" * (room + more)) for more in (0, 1))
    leaves = tunnel_between(CLIENT, FAR, outer, fits, 63)
    steps.append(
        Step(to_switch(CLIENT, tunnel_between(CLIENT, FAR, outer, fits)), CLIENT.port, out=(from_switch(FAR, leaves),))
    )
    frame = to_switch(CLIENT, tunnel_between(CLIENT, FAR, outer, big))
    told = PacketIn(PuntReason.TOO_BIG, CLIENT.port, frame, detail=mtu_of(FAR.port))
    steps.append(Step(frame, CLIENT.port, packet_in=told))
    clamp = Entry("mss_table", {"is_ipv6": int(flow.family == 6)}, "clamp_mss", {"max": 500})
    return Case(name, tuple(steps), (*peer.entries(), flow.entry("deny_connection"), clamp))


def tunnel_between(source: Host, target: Host, outer: int, inner: Packet, ttl: int = 64) -> Packet:
    """A tunnel of two hosts."""
    head = outer_header(source.address(outer), target.address(outer), inner)
    setattr(head, "ttl" if outer == 4 else "hlim", ttl)
    return head / inner


def congestion(name: str, peer: Peer, family: int) -> Case:
    """The outer header's congestion mark goes to the packet within if its ends know of such marks (RFC 6040, 4.2)."""
    flow, steps = Flow(family, "udp"), []
    for outside, inside, right in (
        (CONGESTED, 0xB9, 0xBB),
        (CONGESTED, 0xBA, 0xBB),
        (CONGESTED, 0xBB, 0xBB),
        (0xB8 | CONGESTED, 2, CONGESTED),
        (CONGESTED, 0xB8, 0xB8),
        (0xB9, 0xBA, 0xBA),
        (0, 0xBB, 0xBB),
    ):
        leaves = from_switch(STRANGER, flow.there(ttl=63, marks=right))
        steps.append(Step(peer.sends(flow.there(marks=inside), outside), PEER.port, out=(leaves,)))
    return Case(name, tuple(steps), peer.entries())


def malformed(name: str, peer: Peer, family: int) -> Case:
    """What a peer's tunnel holds is looked at like any packet; no header may be missing, no length be too long."""
    flow = Flow(family, "tcp")
    whole = peer.sends(flow.there(payload=b""))
    begins = 14 + OVERHEAD[peer.outer]
    frames = [whole[:length] for length in (begins - 1, begins, begins + 19, begins + OVERHEAD[family], len(whole) - 1)]
    for change in ({"version": 10 - family}, {"len" if family == 4 else "plen": 2000}):
        frames.append(peer.sends(_changed(flow.there(), **change)))
    longer = "len" if family == 4 else "plen"
    within = len(flow.there()) if family == 4 else len(flow.there()) - 40
    frames.append(peer.sends(_changed(flow.there(), **{longer: within + 4})) + bytes(8))
    frames.append(peer.sends(_changed(flow.there(), **{longer: 19 if family == 4 else 7})))
    frames.append(peer.sends(_with_offset(flow.there(), 4)))
    steps = [Step(frame, PEER.port, drop=DropReason.MALFORMED) for frame in frames]
    martian = _changed(flow.there(), src="127.0.0.1" if family == 4 else "ff02::1")
    steps.append(Step(peer.sends(martian), PEER.port, drop=DropReason.MARTIAN))
    return Case(name, tuple(steps), peer.entries())


def _changed(packet: Packet, **header: int | str) -> Packet:
    """The packet with other fields in its IP header."""
    for name, value in header.items():
        setattr(packet, name, value)
    return packet


def _with_offset(packet: Packet, words: int) -> Packet:
    packet[TCP].dataofs = words
    return packet


def other_contents(name: str, peer: Peer, family: int) -> Case:
    """A packet without ports in a tunnel is routed; pings and neighbour discovery in one are not answered."""
    source, target = CLIENT.address(family), STRANGER.address(family)

    def contents(ttl: int) -> list[Packet]:
        sctp = ip_header(source, target, ttl)
        setattr(sctp, "proto" if family == 4 else "nh", 132)
        return [ping(source, target, ttl=ttl), ping(source, target, reply=True, ttl=ttl), sctp / Raw(b"s" * 30)]

    steps = [
        Step(peer.sends(arrives), PEER.port, out=(from_switch(STRANGER, leaves),))
        for arrives, leaves in zip(contents(64), contents(63), strict=True)
    ]
    ours = our_address(PEER.port, family)
    unanswered: list[Packet] = [ping(source, ours)]
    if family == 6:
        unanswered.append(IPv6(src=source, dst=ours, hlim=255) / ICMPv6ND_NS(tgt=ours))
    else:
        unanswered.append(IP(src=source, dst=ours) / ICMP(type=13) / Raw(bytes(12)))
    steps += [Step(peer.sends(inner), PEER.port, drop=DropReason.NOT_SERVED) for inner in unanswered]
    return Case(name, tuple(steps), peer.entries())


def fragments(name: str, peer: Peer) -> Case:
    """A tunnel in fragments is not opened: for us they are dropped, others' pass."""
    inner = Flow(4, "udp").there()
    steps = []
    for offset, more in ((0, 1), (3, 0)):
        for target, ttl in ((peer.ours, 64), (FAR.address(peer.outer), 64)):
            arrives, leaves = (_fragment(peer, target, inner, offset, more, hops) for hops in (ttl, ttl - 1))
            frame = to_switch(PEER, arrives)
            if target != peer.ours:
                steps.append(Step(frame, PEER.port, out=(from_switch(FAR, leaves),)))
            else:
                reason = DropReason.FRAGMENT if offset else DropReason.NOT_SERVED
                steps.append(Step(frame, PEER.port, drop=reason))
    later = IP(src=CLIENT.ipv4, dst=vip_address(4), id=9, frag=3, proto=17) / Raw(bytes(24))
    steps.append(Step(peer.sends(later), PEER.port, drop=DropReason.FRAGMENT))
    closed = to_switch(STRANGER, outer_header(STRANGER.address(peer.outer), peer.ours, later) / later)
    steps.append(Step(closed, STRANGER.port, drop=DropReason.NOT_SERVED))
    return Case(name, tuple(steps), peer.entries())


def _fragment(peer: Peer, target: str, inner: Packet, offset: int, more: int, ttl: int) -> Packet:
    if family_of(target) == 4:
        return IP(src=peer.address, dst=target, ttl=ttl, id=9, flags=more, frag=offset, proto=4) / Raw(bytes(inner))
    head = IPv6(src=peer.address, dst=target, hlim=ttl)
    return head / IPv6ExtHdrFragment(offset=offset, m=more, id=9, nh=4) / Raw(bytes(inner))


def nested(name: str, peer: Peer) -> Case:
    """A tunnel within a peer's tunnel stays closed: it goes where it is addressed to."""
    steps = []
    for family in FAMILIES:
        flow = Flow(family, "tcp")
        arrives, leaves = (tunnel_between(CLIENT, FAR, 4, flow.there("S"), ttl) for ttl in (64, 63))
        steps.append(Step(peer.sends(arrives), PEER.port, out=(from_switch(FAR, leaves),)))
        again = outer_header(peer.address, peer.ours, flow.there())
        steps.append(Step(peer.sends(again / flow.there()), PEER.port, drop=DropReason.NOT_SERVED))
    return Case(name, tuple(steps), peer.entries())


def bad_inner_checksum() -> Case:
    """A wrong sum of the IPv4 header within counts as one outside does, and the outer one counts too."""
    steps = []
    for outer in FAMILIES:
        peer = Peer(outer)
        for change in (1, 0x8000):
            frame = bytearray(peer.sends(Flow(4, "udp").there()))
            at = 14 + OVERHEAD[outer] + 10
            frame[at : at + 2] = (int.from_bytes(frame[at : at + 2], "big") ^ change).to_bytes(2, "big")
            steps.append(Step(bytes(frame), PEER.port, drop=DropReason.BAD_CHECKSUM))
    frame = bytearray(Peer(4).sends(Flow(6, "udp").there()))
    frame[24] ^= 1
    steps.append(Step(bytes(frame), PEER.port, drop=DropReason.BAD_CHECKSUM))
    return Case("tunnel_bad_checksums", tuple(steps), (*Peer(4).entries(), *Peer(6).entries()))


def inner_options() -> Case:
    """IPv4 with options is refused within a tunnel as outside."""
    inner = IP(src=CLIENT.ipv4, dst=STRANGER.ipv4, options=[IPOption_Router_Alert()]) / segment("udp", 1, 2)
    steps = tuple(Step(Peer(o).sends(inner), PEER.port, drop=DropReason.IP_OPTIONS) for o in FAMILIES)
    return Case("tunnel_ip_options_within", steps, (*Peer(4).entries(), *Peer(6).entries()))
