"""The access policy: what it intercepts, lets pass, denies, sends to its holder or holds, and who is not asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from depot.address import parse_address, parse_prefix
from ptf_tests.case import Case, Digest, DropReason, Entry, PacketIn, PuntReason, Step
from ptf_tests.cluster import ALL_ONES, Flow, Peer, policy_rule, unknown_flow
from ptf_tests.network import CLIENT, FAMILIES, FAR, MEMBER_1, PEER, ROUTER, STRANGER, Host
from ptf_tests.packets import from_switch, icmp_error, ip_header, ping, to_switch
from ptf_tests.services import PROTOCOLS, Service

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        for protocol in PROTOCOLS:
            kind = f"policy_ipv{family}_{protocol}"
            yield intercepted(f"{kind}_intercepts", Service(family, protocol, "dsr"))
            yield intercepted_by_hash(f"{kind}_intercepts_by_hash", Service(family, protocol, "dsr", by_hash=True))
            yield intercepted_for_all(f"{kind}_intercepts_for_all", Service(family, protocol, "dsr", shared=True))
            yield denied(f"{kind}_denies", Flow(family, protocol))
            yield bypassed(f"{kind}_lets_pass", Flow(family, protocol))
            yield holders(f"{kind}_is_the_holders", Peer(4), Flow(family, protocol))
            yield priorities(f"{kind}_priorities", Flow(family, protocol))
            yield ranges(f"{kind}_ranges", Flow(family, protocol))
            yield ends(f"{kind}_prefixes", family, protocol)
            yield options(f"{kind}_ports_and_protocols", family, protocol)
            yield not_asked(f"{kind}_is_not_asked", Service(family, protocol, "nat"))
            yield counts(f"{kind}_counts", Flow(family, protocol))
        yield opening(f"policy_ipv{family}_opening", family)
        yield without_ports(f"policy_ipv{family}_without_ports", Flow(family, "udp"))
        yield used_again(f"policy_ipv{family}_ports_used_again", family)
        yield ended(f"policy_ipv{family}_answers_of_an_ended_session", family)


def service_of(interceptor: Service) -> tuple[Entry, ...]:
    """Schedule and members of a service that nobody reaches by an address."""
    return tuple(entry for entry in interceptor.entries() if entry.table != "vip_table")


def routed(flow: Flow, flags: str = "A", digest: Digest | None = None) -> Step:
    """The client's packet goes to the server."""
    out = from_switch(flow.server, flow.there(flags, ttl=63))
    return Step(to_switch(flow.client, flow.there(flags)), flow.client.port, out=(out,), digest=digest)


def dropped(flow: Flow, flags: str = "A", reason: DropReason = DropReason.DENIED) -> Step:
    """The client's packet is dropped."""
    return Step(to_switch(flow.client, flow.there(flags)), flow.client.port, drop=reason)


def begins(service: Service, flow: Flow, index: int, seq: int = 1000) -> Step:
    """The flow's first packet goes to member `index` as it is."""
    out = from_switch(service.members[index], flow.there(flow.opening, ttl=63, seq=seq))
    told = flow.new_flow(service.number, service.member_id(index), flow.opening)
    return Step(to_switch(flow.client, flow.there(flow.opening, seq=seq)), flow.client.port, (out,), digest=told)


def intercepted(name: str, service: Service) -> Case:
    """Connections to anywhere go to proxies, by turns, as they are; what follows finds the same one."""
    flows = [Flow(service.family, service.protocol) for _ in range(3)]
    rule = policy_rule("intercept", params=service.allocation(), dst_port=(80, 80))
    steps = [begins(service, flow, index) for flow, index in zip(flows, (0, 1, 0), strict=True)]
    for flow, index in ((flows[1], 1), (flows[2], 0)):
        out = from_switch(service.members[index], flow.there(ttl=63, seq=1001))
        steps.append(Step(to_switch(CLIENT, flow.there(seq=1001)), CLIENT.port, out=(out,)))
    stray = Flow(service.family, service.protocol)
    if service.protocol == "tcp":
        steps.append(dropped(stray, "A", DropReason.NO_SESSION))
    steps.append(routed(replace(stray, server_port=81)))
    return Case(name, tuple(steps), (*service_of(service), rule))


def intercepted_by_hash(name: str, service: Service) -> Case:
    """The endpoints name the slot: every member of the cluster agrees, whoever came before."""
    rule = policy_rule("intercept_by_hash", params=service.allocation())
    flows = [Flow(service.family, service.protocol) for _ in range(6)]
    steps = tuple(begins(service, flow, service.schedule[flow.hashed_slot(2)]) for flow in flows)
    return Case(name, steps, (*service_of(service), rule))


def intercepted_for_all(name: str, service: Service) -> Case:
    """Of a service that the cluster shares, the controller hears first."""
    flow = Flow(service.family, service.protocol)
    rule = policy_rule("intercept", params=service.allocation())
    frame = to_switch(CLIENT, flow.there(flow.opening))
    if service.protocol == "udp":
        return Case(
            name, (Step(frame, CLIENT.port, packet_in=unknown_flow(CLIENT.port, frame)),), (*service_of(service), rule)
        )
    told = PacketIn(PuntReason.NEW_SESSION, CLIENT.port, frame, service.member_id(0), service.number)
    return Case(name, (Step(frame, CLIENT.port, packet_in=told),), (*service_of(service), rule))


def denied(name: str, flow: Flow) -> Case:
    """Nothing of the flow passes in the rule's direction; the other one is another rule's matter."""
    back = from_switch(CLIENT, flow.back(ttl=63))
    return Case(
        name,
        (
            dropped(flow, flow.opening),
            dropped(flow),
            Step(to_switch(STRANGER, flow.back()), STRANGER.port, out=(back,)),
        ),
        (policy_rule("deny", dst_port=(80, 80)),),
    )


def bypassed(name: str, flow: Flow) -> Case:
    """Routed, without a state, unless the cluster is to know of it."""
    shared = replace(flow, server_port=81)
    frame = to_switch(CLIENT, shared.there(flow.opening))
    told = PacketIn(PuntReason.NEW_SESSION, CLIENT.port, frame)
    rules = (
        policy_rule("bypass", 10, {"shared": 0}, dst_port=(80, 80)),
        policy_rule("bypass", 10, {"shared": 1}, dst_port=(81, 81)),
        policy_rule("deny", 1),
    )
    return Case(
        name,
        (routed(flow, flow.opening), routed(flow, "FA"), Step(frame, CLIENT.port, packet_in=told)),
        rules,
    )


def holders(name: str, peer: Peer, flow: Flow) -> Case:
    """What a peer decides about goes to it, unless a peer sent it here."""
    rule = policy_rule("send_to_holder", params={"member_id": peer.member_id}, dst_port=(80, 80))
    return Case(
        name,
        (
            Step(
                to_switch(CLIENT, flow.there(flow.opening)),
                CLIENT.port,
                out=(peer.gets(flow.there(flow.opening, ttl=63)),),
            ),
            Step(peer.sends(flow.there(flow.opening)), PEER.port, drop=DropReason.PEER_LOOP),
        ),
        (*peer.entries(), rule),
    )


def priorities(name: str, flow: Flow) -> Case:
    """The rule with the highest priority decides, however narrow the others are."""
    source = parse_address(flow.client.address(flow.family))
    target = parse_address(flow.server.address(flow.family))
    protocol = PROTOCOLS[flow.protocol]
    narrow = policy_rule(
        "deny",
        5,
        port=CLIENT.port,
        src_addr=(source, ALL_ONES),
        dst_addr=(target, ALL_ONES),
        src_port=(flow.client_port, flow.client_port),
        dst_port=(flow.server_port, 82),
        protocol=protocol,
    )
    rules = (
        narrow,
        policy_rule("bypass", 7, {"shared": 0}, dst_port=(80, 80)),
        policy_rule("bypass", 3, {"shared": 0}, src_addr=(source, ALL_ONES)),
        policy_rule("deny", 1),
    )
    third = replace(flow, server_port=82)
    return Case(
        name,
        (
            routed(flow, flow.opening),
            dropped(third, flow.opening),
            routed(replace(flow, server_port=83), flow.opening),
            dropped(replace(flow, client=ROUTER, server_port=83), flow.opening),
        ),
        rules,
    )


def ranges(name: str, flow: Flow) -> Case:
    """The ends of a range of ports belong to it."""
    rules = (
        policy_rule("deny", 10, dst_port=(80, 89), src_port=(0, 65534)),
        policy_rule("deny", 20, src_port=(100, 200), dst_port=(8000, 65535)),
    )
    steps = []
    for client_port, server_port, passes in (
        (flow.client_port, 79, True),
        (flow.client_port, 80, False),
        (flow.client_port, 89, False),
        (flow.client_port, 90, True),
        (65535, 80, True),
        (0, 85, False),
        (99, 8000, True),
        (100, 8000, False),
        (200, 65535, False),
        (201, 65535, True),
        (150, 7999, True),
    ):
        one = replace(flow, client_port=client_port, server_port=server_port)
        steps.append((routed if passes else dropped)(one, flow.opening))
    return Case(name, tuple(steps), rules)


def ends(name: str, family: int, protocol: str) -> Case:
    """Prefixes of clients and servers; a rule for all IPv4 is not for IPv6."""
    clients = parse_prefix("10.0.1.0/29" if family == 4 else "2001:db8:1::10/124")
    servers = parse_prefix("198.51.100.0/24" if family == 4 else "2001:db8:ff::/48")
    outside = Host(1, CLIENT.mac, "10.0.1.16", "2001:db8:1::20")
    inside = Host(1, CLIENT.mac, "10.0.1.7", "2001:db8:1::1f")
    mask = parse_prefix("0.0.0.0/0").mask
    rules = (
        policy_rule("deny", 9, src_addr=(clients.network, clients.mask), dst_addr=(servers.network, servers.mask)),
        policy_rule("deny", 8, dst_addr=(0xFFFF << 32, mask), dst_port=(4444, 4444)),
    )
    four = Flow(family, protocol, client=outside, server_port=4444)
    opened = four.opening
    return Case(
        name,
        (
            dropped(Flow(family, protocol, client=inside), opened),
            routed(Flow(family, protocol, client=outside), opened),
            routed(Flow(family, protocol, client=inside, server=FAR), opened),
            dropped(four, opened) if family == 4 else routed(four, opened),
        ),
        rules,
    )


def options(name: str, family: int, protocol: str) -> Case:
    """A rule may be for one port of the switch, or one protocol."""
    other = {"tcp": "udp", "udp": "tcp"}[protocol]
    rules = (
        policy_rule("deny", 9, port=CLIENT.port, dst_port=(80, 80)),
        policy_rule("deny", 8, protocol=PROTOCOLS[protocol], dst_port=(443, 443)),
    )
    named = Flow(family, protocol, server_port=443)
    return Case(
        name,
        (
            dropped(Flow(family, protocol), named.opening),
            routed(Flow(family, protocol, client=MEMBER_1), named.opening),
            dropped(named, named.opening),
            routed(Flow(family, other, server_port=443), "S" if other == "tcp" else ""),
        ),
        rules,
    )


def opening(name: str, family: int) -> Case:
    """A SYN alone opens a connection, and so may any datagram."""
    rules = (
        policy_rule("deny", 9, opens=1, dst_port=(80, 80)),
        policy_rule("hold", 8, opens=0, dst_port=(80, 81)),
    )
    tcp, udp = Flow(family, "tcp"), Flow(family, "udp")
    steps = [dropped(tcp, flags) for flags in ("S", "SP")]
    for flags in ("A", "SA", "SR", "SF", "FA", "R", "PA"):
        frame = to_switch(CLIENT, tcp.there(flags))
        steps.append(Step(frame, CLIENT.port, packet_in=unknown_flow(CLIENT.port, frame)))
    steps += [routed(replace(tcp, server_port=81), "S"), dropped(udp), routed(replace(udp, server_port=81))]
    return Case(name, tuple(steps), rules)


def not_asked(name: str, service: Service) -> Case:
    """VIPs, known sessions, the answers of NAT members and ICMP errors are not the policy's matter."""
    session, flow, later = service.session(), Flow(service.family, service.protocol), service.session(1)
    opened, stray = flow.opening, replace(flow, server_port=82)
    error, passed = (
        icmp_error(
            "unreachable", ROUTER.address(flow.family), CLIENT.address(flow.family), stray.there(ttl=60), ttl=ttl
        )
        for ttl in (64, 63)
    )
    return Case(
        name,
        (
            Step(
                session.request(opened),
                CLIENT.port,
                out=(session.delivered(0, opened),),
                digest=session.new_flow(0, opened),
            ),
            Step(later.reply(1), service.members[1].port, out=(later.returned(),)),
            routed(flow, "FA", digest=flow.tcp_event("FA", from_client=True)),
            Step(to_switch(ROUTER, error), ROUTER.port, out=(from_switch(CLIENT, passed),)),
            dropped(replace(flow, server_port=81), opened),
        ),
        (*service.entries(), policy_rule("deny"), flow.entry("bypass_connection")),
    )


def without_ports(name: str, flow: Flow) -> Case:
    """What has no ports has no flow to decide about: pings and later fragments pass a rule that denies everything."""
    source, target = CLIENT.address(flow.family), STRANGER.address(flow.family)

    def later(ttl: int) -> Packet:
        if flow.family == 4:
            return IP(src=source, dst=target, ttl=ttl, id=5, frag=4, proto=17) / Raw(bytes(24))
        return IPv6(src=source, dst=target, hlim=ttl) / IPv6ExtHdrFragment(offset=4, nh=17, id=5) / Raw(bytes(24))

    steps = [dropped(flow)]
    for arrives, leaves in (
        (ping(source, target), ping(source, target, ttl=63)),
        (later(64), later(63)),
        (ip_header(source, target) / Raw(b"x"), ip_header(source, target, 63) / Raw(b"x")),
    ):
        for packet in (arrives, leaves):
            if packet.payload.name == "Raw":
                setattr(packet, "proto" if flow.family == 4 else "nh", 132)
        steps.append(Step(to_switch(CLIENT, arrives), CLIENT.port, out=(from_switch(STRANGER, leaves),)))
    return Case(name, tuple(steps), (policy_rule("deny"),))


def used_again(name: str, family: int) -> Case:
    """Beside the entry of an ended session only what opens the next one is asked about, and the rule is as ever."""
    service = Service(family, "tcp", "dsr")
    again, gone, passes = (Flow(family, "tcp", server_port=port) for port in (80, 81, 82))
    rules = (
        policy_rule("intercept", params=service.allocation(), dst_port=(80, 80)),
        policy_rule("deny", dst_port=(81, 81)),
        policy_rule("bypass", params={"shared": 0}, dst_port=(82, 82)),
    )
    entries = [flow.known(service.member_id(1), closing=True) for flow in (again, gone, passes)]
    steps = []
    for flow in (again, gone, passes):
        out = from_switch(service.members[1], flow.there(ttl=63))
        steps.append(Step(to_switch(CLIENT, flow.there()), CLIENT.port, out=(out,)))
    steps += [begins(service, again, 0, seq=5), dropped(gone, "S"), routed(passes, "S")]
    out = from_switch(service.members[0], again.there(ttl=63, seq=6))
    steps.append(Step(to_switch(CLIENT, again.there(seq=6)), CLIENT.port, out=(out,)))
    return Case(name, tuple(steps), (*service_of(service), *rules, *entries))


def ended(name: str, family: int) -> Case:
    """What the proxy still answers in a session that has ended goes to the client, whatever is intercepted."""
    service, flow = Service(family, "tcp", "dsr"), Flow(family, "tcp")
    rule = policy_rule("intercept", params=service.allocation())
    steps = []
    for flags in ("A", "SA", "FA", "R"):
        out = from_switch(CLIENT, flow.back(flags, ttl=63))
        frame, told = to_switch(MEMBER_1, flow.back(flags)), flow.tcp_event(flags, from_client=False)
        steps.append(Step(frame, MEMBER_1.port, out=(out,), digest=told))
    return Case(name, tuple(steps), (*service_of(service), rule, flow.known(service.member_id(0), closing=True)))


def counts(name: str, flow: Flow) -> Case:
    """Each rule counts the packets that it decided about."""
    low, high = (policy_rule("deny", priority, dst_port=(flow.client_port, flow.client_port)) for priority in (3, 4))
    asked = replace(flow, server_port=flow.client_port)
    steps = (dropped(asked, flow.opening), dropped(asked), routed(flow))
    count = (2, sum(len(step.packet) for step in steps[:2]))
    return Case(name, steps, (low, high), ((low, (0, 0)), (high, count)))
