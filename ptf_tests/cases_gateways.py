"""Frames to virtual MACs: of a gateway's own buckets, of others', led to a plain gateway, and those of gateways."""

from __future__ import annotations

from collections.abc import Iterator

from scapy.packet import Packet

from depot.address import parse_address
from ptf_tests.case import Case, Digest, DropReason, Entry, PacketIn, PuntReason, Step, Submission, Submit
from ptf_tests.cases_responder import BROADCAST, NOBODY, seen
from ptf_tests.cluster import Flow, policy_rule
from ptf_tests.gateways import (
    GATEWAY,
    PORT,
    SERIES,
    VirtualMacs,
    gateway_frame,
    lan_host,
    virtual_mac_entry,
)
from ptf_tests.network import FAMILIES, FAR, MEMBER_1, MEMBER_2, STRANGER, UNRESOLVED, Host, mtu_of, our_mac
from ptf_tests.packets import arp, frame, from_switch, ip_header, ping, segment, to_switch
from ptf_tests.services import PROTOCOLS, Service

__all__ = ["cases"]

ZERO = "00:00:00:00:00:00"
PLAIN = MEMBER_2
"""The gateway of `lead_to_gateway`: a router that knows nothing of all this, on the members' port."""


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        yield frames(family)
        yield not_for_us(family)
        yield hops(family)
        yield broken(family)
        yield submitted(family)
        yield led(family)
        yield led_too_big(family)
        yield led_to_unresolved(family)
        yield bypassed_and_led(family)
        yield answer_not_led(family)
        for protocol in PROTOCOLS:
            yield session(Service(family, protocol, "nat"), action="own")
            yield session(Service(family, protocol, "nat"), action="lead_to_gateway")
    for how, by_crc in (("mod", False), ("crc", True)):
        for size in (1, 16, 256, 4096):
            yield sources(f"virtual_macs_as_sources_by_{how}_of_{size}", VirtualMacs(size, by_crc))
    yield asked_and_led()
    yield gateway_frames()
    yield unknown_ether_types()


def plain(family: int, sender: Host, receiver: Host, ttl: int = 64, payload: bytes = b"payload") -> Packet:
    """A UDP packet between two hosts."""
    head = ip_header(sender.address(family), receiver.address(family), ttl)
    return head / segment("udp", 5000, 6000, payload=payload)


def to_virtual(macs: VirtualMacs, host: Host, packet: Packet) -> bytes:
    """What a host sends through its virtual MAC."""
    return frame(host.mac, macs.of(host), packet)


def lead(family: int, gateway: Host = PLAIN, mtu: int = 1500) -> dict[str, int]:
    """The parameters of `lead_to_gateway`."""
    return {"port": gateway.port, "next_hop": parse_address(gateway.address(family)), "mtu": mtu}


def frames(family: int) -> Case:
    """Of our buckets and of watched ones: routed. Of others': not ours, at this port. The entry counts them."""
    macs = VirtualMacs(256, by_crc=False)
    owned, watched, foreign, elsewhere = (lan_host(0x02_00_00_0C_00_00 + number) for number in range(4))
    steps = [
        Step(
            to_virtual(macs, host, plain(family, host, STRANGER)),
            PORT,
            out=(from_switch(STRANGER, plain(family, host, STRANGER, ttl=63)),),
        )
        for host in (owned, watched, owned)
    ]
    steps += [
        Step(to_virtual(macs, host, plain(family, host, STRANGER)), PORT, drop=DropReason.NOT_OUR_MAC)
        for host in (foreign, elsewhere)
    ]
    length = len(steps[0].packet)
    (own,), (watch,) = macs.held(owned), macs.held(watched, action="watch")
    at_another = virtual_mac_entry(macs.of(elsewhere), "own", at=2)
    counted = ((own, (2, 2 * length)), (watch, (1, length)), (at_another, (0, 0)))
    return Case(f"ipv{family}_to_virtual_macs", tuple(steps), (own, watch, at_another), counted)


def not_for_us(family: int) -> Case:
    """No MAC, everybody's, and the group of virtual MACs: nothing of it is routed, an entry or not."""
    macs, host = VirtualMacs(), lan_host()
    packet = plain(family, host, STRANGER)
    targets = (ZERO, BROADCAST, macs.group, "01:00:5e:00:00:05")
    steps = [Step(frame(host.mac, mac, packet), PORT, drop=DropReason.NOT_OUR_MAC) for mac in targets]
    entries = [virtual_mac_entry(macs.group, "watch"), virtual_mac_entry(BROADCAST, "own")]
    entries += [
        virtual_mac_entry(ZERO, "own"),
        virtual_mac_entry("01:00:5e:00:00:05", "lead_to_gateway", **lead(family)),
    ]
    return Case(f"ipv{family}_to_a_group_of_macs", tuple(steps), tuple(entries))


def hops(family: int) -> Case:
    """Who has no hop left is told by the controller, of whichever kind the virtual MAC; if it is ours at all."""
    macs = VirtualMacs(256, by_crc=False)
    owned, watched, led_away, foreign = (lan_host(0x02_00_00_0D_00_00 + number) for number in range(4))
    steps = []
    for ttl in (1, 0):
        for host in (owned, watched, led_away):
            arrives = to_virtual(macs, host, plain(family, host, STRANGER, ttl=ttl))
            steps.append(Step(arrives, PORT, packet_in=PacketIn(PuntReason.TTL_EXPIRED, PORT, arrives)))
        not_ours = to_virtual(macs, foreign, plain(family, foreign, STRANGER, ttl=ttl))
        steps.append(Step(not_ours, PORT, drop=DropReason.NOT_OUR_MAC))
    held = (*macs.held(owned), *macs.held(watched, action="watch"))
    led_entries = macs.held(led_away, action="lead_to_gateway", **lead(family))
    return Case(f"ipv{family}_to_virtual_macs_without_hops", tuple(steps), (*held, *led_entries))


def broken(family: int) -> Case:
    """What is malformed or martian is so by whichever MAC."""
    macs, host = VirtualMacs(), lan_host()
    whole = to_virtual(macs, host, plain(family, host, STRANGER))
    header = 34 if family == 4 else 54
    steps = [Step(whole[:length], PORT, drop=DropReason.MALFORMED) for length in (15, header - 1, header + 7)]
    source = "127.0.0.1" if family == 4 else "::1"
    martian = to_virtual(macs, host, ip_header(source, STRANGER.address(family)) / segment("udp", 1, 2))
    steps.append(Step(martian, PORT, drop=DropReason.MARTIAN))
    return Case(f"ipv{family}_to_virtual_macs_broken", tuple(steps), macs.held(host))


def submitted(family: int) -> Case:
    """The controller's packets by a virtual MAC: through the pipeline, or released."""
    macs, owned, foreign = VirtualMacs(256, by_crc=False), lan_host(0x02_00_00_0E_00_00), lan_host(0x02_00_00_0E_00_01)
    steps = []
    for submission in (Submission.SUBMIT, Submission.SUBMIT_HELD, Submission.RELEASE):
        submit = Submit(ingress_port=PORT, submission=submission)
        leaves = from_switch(STRANGER, plain(family, owned, STRANGER, ttl=63))
        steps.append(Step(to_virtual(macs, owned, plain(family, owned, STRANGER)), submit, out=(leaves,)))
        not_ours = to_virtual(macs, foreign, plain(family, foreign, STRANGER))
        steps.append(Step(not_ours, submit, drop=DropReason.NOT_OUR_MAC))
    return Case(f"ipv{family}_packet_out_by_virtual_mac", tuple(steps), macs.held(owned))


def sources(name: str, macs: VirtualMacs) -> Case:
    """What hosts get comes from their virtual MACs, from wherever it was sent; ours or not, they know no other."""
    hosts = [lan_host(mac) for mac in (*SERIES["consecutive"][::60], *SERIES["steps_of_256"][::60])]
    steps = [
        Step(
            to_switch(sender, plain(family, sender, host)),
            sender.port,
            out=((PORT, to_host(macs, host, plain(family, sender, host, ttl=63))),),
        )
        for host in hosts
        for family in FAMILIES
        for sender in (STRANGER, MEMBER_1)
    ]
    return Case(name, tuple(steps), (*macs.neighbours(*hosts), *on_link(*hosts)))


def to_host(macs: VirtualMacs, host: Host, packet: Packet) -> bytes:
    """What a host gets."""
    return frame(macs.of(host), host.mac, packet)


def on_link(*hosts: Host) -> tuple[Entry, ...]:
    """IPv4 routes of LAN hosts that are outside of the port's network."""
    addresses = {parse_address(host.ipv4) for host in hosts}
    params = {"port": PORT, "mtu": mtu_of(PORT)}
    return tuple(Entry("route_table", {"address": (one, 128)}, "route_connected", params) for one in addresses)


def session(service: Service, action: str) -> Case:
    """A VIP's session of a LAN host, from its first packet to its end; a plain gateway has no part in it."""
    macs, host = VirtualMacs(), lan_host()
    held = macs.held(host, action=action, **(lead(service.family) if action == "lead_to_gateway" else {}))
    one, family = service.session(client=host), service.family
    flags = ("S", "A", "FA") if service.protocol == "tcp" else ("", "", "")
    steps = []
    for number, flag in enumerate(flags):
        digest: Digest | None = one.new_flow(0, flag) if number == 0 else None
        if flag == "FA":
            digest = one.tcp_event("FA", from_client=True)
        request = ip_header(host.address(family), service.vip) / one.segment_to(service.port, flag or "A")
        steps.append(Step(to_virtual(macs, host, request), PORT, out=(one.delivered(0, flag or "A"),), digest=digest))
        returned = ip_header(service.vip, host.address(family), 63) / one.segment_from(service.port)
        steps.append(Step(one.reply(0), MEMBER_1.port, out=((PORT, to_host(macs, host, returned)),)))
    entries = (*service.entries(), *held, *macs.neighbours(host), *on_link(host))
    return Case(f"{service.protocol}_ipv{family}_session_by_virtual_mac_{action}", tuple(steps), entries)


def led(family: int) -> Case:
    """To a plain gateway goes what no session claims: routable or not, for our own addresses or for a port's host."""
    macs, host = VirtualMacs(), lan_host()
    nowhere = Host(PORT, host.mac, "203.0.113.1", "2001:db8:bad::1")
    own = Host(PORT, host.mac, "10.0.3.1", "2001:db8:3::1")
    steps = [
        Step(
            to_virtual(macs, host, plain(family, host, target)),
            PORT,
            out=(from_switch(PLAIN, plain(family, host, target, ttl=63)),),
        )
        for target in (STRANGER, nowhere, own, UNRESOLVED, FAR)
    ]
    question = to_virtual(macs, host, ping(host.address(family), STRANGER.address(family)))
    leaves = from_switch(PLAIN, ping(host.address(family), STRANGER.address(family), ttl=63))
    steps.append(Step(question, PORT, out=(leaves,)))
    by_router = frame(host.mac, our_mac(PORT), plain(family, host, STRANGER))
    routed = from_switch(STRANGER, plain(family, host, STRANGER, ttl=63))
    steps.append(Step(by_router, PORT, out=(routed,)))
    held = macs.held(host, action="lead_to_gateway", **lead(family))
    return Case(f"ipv{family}_led_to_a_gateway", tuple(steps), held)


def led_too_big(family: int) -> Case:
    """The gateway's MTU counts, not that of the route."""
    macs, host = VirtualMacs(), lan_host()
    room = 1300 - (28 if family == 4 else 48)
    fits, big = (to_virtual(macs, host, plain(family, host, STRANGER, payload=bytes(room + more))) for more in (0, 1))
    leaves = from_switch(PLAIN, plain(family, host, STRANGER, ttl=63, payload=bytes(room)))
    told = PacketIn(PuntReason.TOO_BIG, PORT, big, detail=1300)
    steps = (Step(fits, PORT, out=(leaves,)), Step(big, PORT, packet_in=told))
    held = macs.held(host, action="lead_to_gateway", **lead(family, mtu=1300))
    return Case(f"ipv{family}_led_to_a_gateway_too_big", steps, held)


def led_to_unresolved(family: int) -> Case:
    """The controller gets the packet and is to ask for the gateway."""
    macs, host = VirtualMacs(), lan_host()
    arrives = to_virtual(macs, host, plain(family, host, STRANGER))
    next_hop = parse_address(UNRESOLVED.address(family))
    told = PacketIn(PuntReason.NEIGHBOUR_UNRESOLVED, PORT, arrives, UNRESOLVED.port, next_hop)
    held = macs.held(host, action="lead_to_gateway", **lead(family, UNRESOLVED))
    return Case(f"ipv{family}_led_to_an_unresolved_gateway", (Step(arrives, PORT, packet_in=told),), held)


def bypassed_and_led(family: int) -> Case:
    """A session that the policy bypasses is led before it has an entry, and after."""
    macs, host = VirtualMacs(), lan_host()
    by_rule = Flow(family, "tcp", client=host, server_port=81)
    by_entry = Flow(family, "tcp", client=host, server_port=82)
    steps = [
        Step(to_virtual(macs, host, flow.there("A")), PORT, out=(from_switch(PLAIN, flow.there("A", ttl=63)),))
        for flow in (by_rule, by_entry)
    ]
    entries = (
        *macs.held(host, action="lead_to_gateway", **lead(family)),
        policy_rule("bypass", params={"shared": 0}, dst_port=(81, 81)),
        by_entry.entry("bypass_connection"),
    )
    return Case(f"ipv{family}_bypassed_and_led", tuple(steps), entries)


def answer_not_led(family: int) -> Case:
    """What a NAT member on the LAN answers is its VIP's, without an entry too, and goes to the client."""
    macs, member = VirtualMacs(), lan_host()
    service = Service(family, "udp", "nat", members=(member, MEMBER_1))
    one = service.session()
    answer = bytes.fromhex(macs.of(member).replace(":", "")) + one.reply(0)[6:]
    steps = (Step(answer, PORT, out=(one.returned(),)),)
    entries = (*service.entries(), *macs.held(member, action="lead_to_gateway", **lead(family)))
    return Case(f"ipv{family}_answer_of_a_member_not_led", steps, entries)


def asked_and_led() -> Case:
    """For a plain gateway the switch answers, asks and pings alike."""
    macs, host = VirtualMacs(), lan_host()
    mac, gateway = macs.of(host), GATEWAY[4]
    question = frame(host.mac, BROADCAST, arp(1, host.mac, host.ipv4, NOBODY, gateway))
    answer = frame(mac, host.mac, arp(2, mac, gateway, host.mac, host.ipv4))
    steps = [Step(question, PORT, out=((PORT, answer),), digest=seen(host, 4))]
    for family in FAMILIES:
        asked = frame(host.mac, mac, ping(host.address(family), GATEWAY[family]))
        told = frame(mac, host.mac, ping(GATEWAY[family], host.address(family), reply=True))
        steps.append(Step(asked, PORT, out=((PORT, told),)))
    held = macs.held(host, action="lead_to_gateway", **lead(4))
    return Case("gateway_address_answered_and_led", tuple(steps), (*macs.address_entries(), *held))


def gateway_frames() -> Case:
    """To a watched MAC, the group or one of its own: for the controller. To a MAC of ours: nobody awaits it."""
    macs = VirtualMacs(256, by_crc=False)
    watched, owned, led_away, foreign = (lan_host(0x02_00_00_0F_00_00 + number) for number in range(4))
    steps = []
    for target in (macs.group, macs.of(watched)):
        for content in (b"", b"x", bytes(range(200)), bytes(1400)):
            made = gateway_frame(macs.of(foreign), target, content)
            steps.append(Step(made, PORT, packet_in=PacketIn(PuntReason.GATEWAY_FRAME, PORT, made)))
    for target in (our_mac(PORT), macs.of(owned), macs.of(led_away)):
        made = gateway_frame(macs.of(foreign), target)
        steps.append(Step(made, PORT, drop=DropReason.UNKNOWN_ETHER_TYPE))
    for target in (macs.of(foreign), BROADCAST, ZERO):
        steps.append(Step(gateway_frame(macs.of(owned), target), PORT, drop=DropReason.NOT_OUR_MAC))
    by_controller = gateway_frame(macs.of(owned), macs.group)
    steps.append(Step(by_controller, Submit(egress_port=PORT), out=((PORT, by_controller),)))
    steps.append(Step(by_controller, 2, drop=DropReason.NOT_OUR_MAC))
    entries = (
        virtual_mac_entry(macs.group, "watch"),
        *macs.held(watched, action="watch"),
        *macs.held(owned),
        *macs.held(led_away, action="lead_to_gateway", **lead(4)),
    )
    return Case("gateway_frames", tuple(steps), entries)


def unknown_ether_types() -> Case:
    """Others than the gateways' are refused, watched or not."""
    macs, host = VirtualMacs(), lan_host()
    steps = [
        Step(gateway_frame(host.mac, target, kind=kind), PORT, drop=DropReason.UNKNOWN_ETHER_TYPE)
        for target in (macs.group, macs.of(host))
        for kind in (0x88B4, 0x88B6, 0x8100, 0x0000)
    ]
    entries = (virtual_mac_entry(macs.group, "watch"), *macs.held(host, action="watch"))
    return Case("other_ether_types_to_virtual_macs", tuple(steps), entries)
