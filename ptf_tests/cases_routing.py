"""Packets that pass: routes, next hops, TTL, packets too big, neighbours unknown, fragments, packet-outs."""

from __future__ import annotations

from collections.abc import Iterator

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from depot.address import parse_address
from ptf_tests.case import Case, DropReason, Entry, PacketIn, PuntReason, Step, Submission, Submit
from ptf_tests.network import CLIENT, FAMILIES, FAR, MEMBER_1, MEMBER_2, ROUTER, STRANGER, UNRESOLVED, Host, mtu_of
from ptf_tests.packets import from_switch, ip_header, ping, segment, to_switch
from ptf_tests.services import MODES, PROTOCOLS, Service

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        yield passing(family)
        yield time_to_live(family)
        yield too_big(family)
        yield unresolved(family)
        yield other_protocols(family)
        yield packet_out(family)
        yield submitted(family)
        for protocol in PROTOCOLS:
            yield session_expired(Service(family, protocol, "nat"))
        for mode in MODES:
            yield session_too_big(Service(family, "udp", mode, members=(MEMBER_1, FAR)))
            yield first_fragment(Service(family, "udp", mode))
        yield later_fragments(family)
    yield bad_packet_out()
    yield default_routes()


def plain(family: int, sender: Host, receiver: Host, ttl: int = 64, size: int = 0) -> Packet:
    """A UDP packet between two hosts; `size` is its whole length in bytes, 0: whatever it comes to."""
    head = ip_header(sender.address(family), receiver.address(family), ttl)
    packet = head / segment("udp", 5000, 6000)
    return packet if size == 0 else head / segment("udp", 5000, 6000, payload=b"z" * (size - len(head) - 8))


def passing(family: int) -> Case:
    """Between networks: to a connected host, through a router, and out of the port it came in."""
    steps = [
        Step(
            to_switch(sender, plain(family, sender, receiver)),
            sender.port,
            out=(from_switch(receiver, plain(family, sender, receiver, ttl=63)),),
        )
        for sender, receiver in ((CLIENT, MEMBER_1), (MEMBER_1, STRANGER), (STRANGER, FAR), (MEMBER_1, MEMBER_2))
    ]
    nowhere = ip_header(CLIENT.address(family), "203.0.113.1" if family == 4 else "2001:db8:bad::1") / segment(
        "udp", 1, 2
    )
    steps.append(Step(to_switch(CLIENT, nowhere), CLIENT.port, drop=DropReason.NO_ROUTE))
    return Case(f"ipv{family}_passes", tuple(steps))


def default_routes() -> Case:
    """An entry keeps IPv4, which the tables hold as IPv6, out of the IPv6 default route."""
    nowhere = {4: "203.0.113.1", 6: "2001:db8:bad::1"}
    arrives, leaves = (
        {family: ip_header(CLIENT.address(family), nowhere[family], ttl) / segment("udp", 1, 2) for family in FAMILIES}
        for ttl in (64, 63)
    )
    via_router = {"port": ROUTER.port, "next_hop": parse_address(ROUTER.ipv6), "mtu": 1500}
    default = Entry("route_table", {"address": (0, 0)}, "route_via", via_router)
    no_ipv4 = Entry("route_table", {"address": (0xFFFF << 32, 96)}, "no_route")
    return Case(
        "ipv6_default_route_is_not_ipv4s",
        (
            Step(to_switch(CLIENT, arrives[6]), CLIENT.port, out=(from_switch(ROUTER, leaves[6]),)),
            Step(to_switch(CLIENT, arrives[4]), CLIENT.port, drop=DropReason.NO_ROUTE),
        ),
        (default, no_ipv4),
    )


def time_to_live(family: int) -> Case:
    steps = []
    for ttl in (1, 0):
        arrives = to_switch(CLIENT, plain(family, CLIENT, STRANGER, ttl=ttl))
        steps.append(Step(arrives, CLIENT.port, packet_in=PacketIn(PuntReason.TTL_EXPIRED, CLIENT.port, arrives)))
    last = to_switch(CLIENT, plain(family, CLIENT, STRANGER, ttl=2))
    steps.append(Step(last, CLIENT.port, out=(from_switch(STRANGER, plain(family, CLIENT, STRANGER, ttl=1)),)))
    return Case(f"ipv{family}_ttl_expires", tuple(steps))


def too_big(family: int) -> Case:
    """One byte more than the far network takes goes to the controller with the size that would fit."""
    mtu = mtu_of(FAR.port)
    fits = to_switch(CLIENT, plain(family, CLIENT, FAR, size=mtu))
    big = to_switch(CLIENT, plain(family, CLIENT, FAR, size=mtu + 1))
    return Case(
        f"ipv{family}_too_big",
        (
            Step(fits, CLIENT.port, out=(from_switch(FAR, plain(family, CLIENT, FAR, ttl=63, size=mtu)),)),
            Step(big, CLIENT.port, packet_in=PacketIn(PuntReason.TOO_BIG, CLIENT.port, big, detail=mtu)),
        ),
    )


def unresolved(family: int) -> Case:
    """The controller gets the packet, and the port and the next hop to ask for."""
    arrives = to_switch(CLIENT, plain(family, CLIENT, UNRESOLVED))
    next_hop = parse_address(UNRESOLVED.address(family))
    told = PacketIn(PuntReason.NEIGHBOUR_UNRESOLVED, CLIENT.port, arrives, UNRESOLVED.port, next_hop)
    return Case(f"ipv{family}_neighbour_unresolved", (Step(arrives, CLIENT.port, packet_in=told),))


def other_protocols(family: int) -> Case:
    """ICMP echoes, protocols without ports and tunnels of others are routed like anything else."""
    source, target = MEMBER_1.address(family), STRANGER.address(family)
    inner = IP(src="10.9.9.9", dst="10.8.8.8") / UDP(sport=1, dport=2)

    def contents(ttl: int) -> list[Packet]:
        head = ip_header(source, target, ttl)
        next_header = "proto" if family == 4 else "nh"
        sctp, tunnel = head.copy(), head.copy()
        setattr(sctp, next_header, 132)
        setattr(tunnel, next_header, 4)
        packets = [ping(source, target, ttl=ttl), sctp / Raw(b"s" * 30), tunnel / inner]
        if family == 6:
            packets.append(head / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2) / Raw(b"u"))
        else:
            packets.append(head / ICMP(type=3, code=1) / Raw(bytes(ip_header(target, source) / ICMP(id=1))))
        return packets

    steps = [
        Step(to_switch(MEMBER_1, arrives), MEMBER_1.port, out=(from_switch(STRANGER, leaves),))
        for arrives, leaves in zip(contents(64), contents(63), strict=True)
    ]
    return Case(f"ipv{family}_other_protocols_pass", tuple(steps))


def packet_out(family: int) -> Case:
    """A packet-out with a port leaves there as it is."""
    packet = to_switch(CLIENT, plain(family, CLIENT, FAR, ttl=1))
    return Case(f"ipv{family}_packet_out", (Step(packet, Submit(egress_port=3), out=((3, packet),)),))


def submitted(family: int) -> Case:
    """A submitted packet-out is treated as one that came in at the port it names: routed, and allocated."""
    service = Service(family, "udp", "nat")
    session = service.session()
    routed = to_switch(CLIENT, plain(family, CLIENT, FAR))
    submit = Submit(ingress_port=CLIENT.port, submission=Submission.SUBMIT)
    expired = to_switch(CLIENT, plain(family, CLIENT, FAR, ttl=1))
    return Case(
        f"ipv{family}_packet_out_submitted",
        (
            Step(routed, submit, out=(from_switch(FAR, plain(family, CLIENT, FAR, ttl=63)),)),
            Step(session.request(), submit, out=(session.delivered(0),), digest=session.new_flow(0)),
            Step(expired, submit, packet_in=PacketIn(PuntReason.TTL_EXPIRED, CLIENT.port, expired)),
        ),
        service.entries(),
    )


def bad_packet_out() -> Case:
    """The controller's own port is no way out."""
    packet = to_switch(CLIENT, plain(4, CLIENT, FAR))
    return Case(
        "packet_out_to_the_controller", (Step(packet, Submit(egress_port=255), drop=DropReason.BAD_PACKET_OUT),)
    )


def session_expired(service: Service) -> Case:
    """A session's packet without hops left goes to the controller as the client sent it."""
    session = service.session()
    arrives = session.request(ttl=1)
    told = PacketIn(PuntReason.TTL_EXPIRED, CLIENT.port, arrives)
    return Case(
        f"ipv{service.family}_{service.protocol}_ttl_expires_in_session",
        (Step(arrives, CLIENT.port, packet_in=told),),
        (*service.entries(), session.known(0)),
    )


def session_too_big(service: Service) -> Case:
    """A tunnel's header counts: what fits is that much smaller than the network's MTU."""
    session = service.session()
    overhead = {"ipip4": 20, "ipip6": 40}.get(service.mode, 0)
    room = mtu_of(FAR.port) - overhead
    head = 28 if service.family == 4 else 48
    fits, big = b"f" * (room - head), b"f" * (room - head + 1)
    arrives = session.request(payload=big)
    told = PacketIn(PuntReason.TOO_BIG, CLIENT.port, arrives, detail=room)
    return Case(
        f"{service.mode}_ipv{service.family}_too_big_for_the_member",
        (
            Step(session.request(payload=fits), CLIENT.port, out=(session.delivered(1, payload=fits),)),
            Step(arrives, CLIENT.port, packet_in=told),
        ),
        (*service.entries(), session.known(1)),
    )


def fragment(packet: Packet, offset: int, more: bool, content: bytes) -> Packet:
    """A fragment with the header of `packet`; offset in bytes, `content` from the UDP header on."""
    if isinstance(packet, IP):
        head = IP(src=packet.src, dst=packet.dst, ttl=packet.ttl, id=77, flags=int(more), frag=offset // 8, proto=17)
        return head / Raw(content)
    head6 = IPv6(src=packet.src, dst=packet.dst, hlim=packet.hlim)
    return head6 / IPv6ExtHdrFragment(offset=offset // 8, m=int(more), id=77, nh=17) / Raw(content)


def first_fragment(service: Service) -> Case:
    """Switched like a whole packet: its UDP checksum, over later ones too, stays right. Those are dropped."""
    session = service.session()
    data = bytes(range(256)) * 2
    client, vip, cut = session.client_address, service.vip, 208
    whole = ip_header(client, vip) / session.segment_to(service.port, payload=data)
    content = _transport(whole)
    inside = ip_header(client, vip, 63)
    if service.mode == "nat":
        target = service.member_address(0)
        translated = ip_header(client, target, 63) / session.segment_to(8080, payload=data)
        leaves = fragment(translated, 0, True, _transport(translated)[:cut])
    else:
        leaves = service.wrap(0, fragment(inside, 0, True, content[:cut]))
    first = to_switch(CLIENT, fragment(whole, 0, True, content[:cut]))
    later = to_switch(CLIENT, fragment(whole, cut, False, content[cut:]))
    return Case(
        f"{service.mode}_ipv{service.family}_first_fragment",
        (
            Step(first, CLIENT.port, out=(from_switch(service.members[0], leaves),), digest=session.new_flow(0)),
            Step(later, CLIENT.port, drop=DropReason.FRAGMENT),
        ),
        service.entries(),
    )


def _transport(packet: Packet) -> bytes:
    """TCP or UDP header with its checksum, and all after it."""
    return bytes(packet)[20 if isinstance(packet, IP) else 40 :]


def later_fragments(family: int) -> Case:
    """Fragments that pass through are routed, whatever their offset."""
    packet = plain(family, CLIENT, STRANGER)
    gone = plain(family, CLIENT, STRANGER, ttl=63)
    content = _transport(packet) + b"more" * 64
    steps = []
    for offset, more in ((0, True), (64, True), (128, False)):
        part = content[offset : offset + 64]
        arrives = to_switch(CLIENT, fragment(packet, offset, more, part))
        leaves = from_switch(STRANGER, fragment(gone, offset, more, part))
        steps.append(Step(arrives, CLIENT.port, out=(leaves,)))
    return Case(f"ipv{family}_fragments_pass", tuple(steps))
