"""ARP, neighbour discovery and ping: answered by the switch itself, and neighbours told to the controller."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
)
from scapy.packet import Packet

from depot.address import parse_address, parse_mac
from ptf_tests.case import Case, Digest, DropReason, Step
from ptf_tests.network import CLIENT, FAMILIES, Host, our_address, our_mac, vip_address
from ptf_tests.packets import arp, frame, ip_header, ping, to_switch

__all__ = ["cases"]

BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"
OTHER_MAC = "02:00:00:00:99:99"


def cases() -> Iterator[Case]:
    """Every case of this module."""
    yield arp_answered()
    yield arp_reply_heard()
    yield arp_foreign()
    yield solicitation_answered()
    yield duplicate_address_detection()
    yield advertisement_heard()
    yield news_heard()
    yield neighbour_discovery_refused()
    for family in FAMILIES:
        yield pinged(family)


def asker() -> Host:
    """A host on the clients' network that nobody has heard of: a sample that repeats another one may be held back until
    that is acknowledged (P4Runtime, "DigestEntry"), so each is told once."""
    number = next(_askers)
    return Host(CLIENT.port, f"02:00:00:00:a5:{number:02x}", f"10.0.1.{number}", f"2001:db8:1::a5:{number:x}")


_askers = itertools.count(101)


def seen(host: Host, family: int) -> Digest:
    """The digest that tells of a host as a neighbour."""
    return Digest("neighbour_seen_t", (host.port, parse_address(host.address(family)), parse_mac(host.mac)))


def arp_answered() -> Case:
    """Who has the VIP, who has our own address: this port's router MAC."""
    steps = []
    for asked in (vip_address(4), our_address(CLIENT.port, 4)):
        host, mac = asker(), our_mac(CLIENT.port)
        question = frame(host.mac, BROADCAST, arp(1, host.mac, host.ipv4, NOBODY, asked))
        answer = frame(mac, host.mac, arp(2, mac, asked, host.mac, host.ipv4))
        steps.append(Step(question, CLIENT.port, out=((CLIENT.port, answer),), digest=seen(host, 4)))
    return Case("arp_request_answered", tuple(steps))


def arp_reply_heard() -> Case:
    """An answer to the controller's question is told, and a probe (sender 0.0.0.0, RFC 5227) names no neighbour."""
    ours, mac, host = our_address(CLIENT.port, 4), our_mac(CLIENT.port), asker()
    reply = frame(host.mac, mac, arp(2, host.mac, host.ipv4, mac, ours))
    probe = frame(host.mac, BROADCAST, arp(1, host.mac, "0.0.0.0", NOBODY, ours))
    answer = frame(mac, host.mac, arp(2, mac, ours, host.mac, "0.0.0.0"))
    return Case(
        "arp_reply_heard",
        (
            Step(reply, CLIENT.port, digest=seen(host, 4)),
            Step(probe, CLIENT.port, out=((CLIENT.port, answer),)),
        ),
    )


def arp_foreign() -> Case:
    """Questions about others and about another port's address are not our business."""
    steps = [
        Step(
            frame(CLIENT.mac, BROADCAST, arp(1, CLIENT.mac, CLIENT.ipv4, NOBODY, asked)),
            CLIENT.port,
            drop=DropReason.FOREIGN_NEIGHBOUR,
        )
        for asked in ("10.0.1.77", our_address(2, 4))
    ]
    return Case("arp_about_others", tuple(steps))


def news_heard() -> Case:
    """Who tells everyone of a MAC is heard: gratuitous ARP (RFC 5227, 3), an advertisement to all nodes."""
    steps = []
    for operation in (1, 2):
        host = asker()
        announcement = frame(host.mac, BROADCAST, arp(operation, host.mac, host.ipv4, NOBODY, host.ipv4))
        steps.append(Step(announcement, CLIENT.port, digest=seen(host, 4)))
    host = asker()
    to_all = advertise(host.ipv6, "ff02::1", host.mac, solicited=False, router=False)
    steps.append(Step(frame(host.mac, "33:33:00:00:00:01", to_all), CLIENT.port, digest=seen(host, 6)))
    return Case("neighbour_news_heard", tuple(steps))


def solicit(target: str, host: Host, *, src: str = "", hop_limit: int = 255, option: bool = True) -> Packet:
    """A host's neighbour solicitation for `target`, to its solicited-node group."""
    low = parse_address(target) & 0xFFFFFF
    group = f"ff02::1:ff{low >> 16:02x}:{low & 0xFFFF:x}"
    solicitation = ip_header(src or host.ipv6, group, hop_limit) / ICMPv6ND_NS(tgt=target)
    return solicitation / ICMPv6NDOptSrcLLAddr(lladdr=host.mac) if option else solicitation


def group_mac(target: str) -> str:
    """The multicast MAC of a target's solicited-node group (RFC 2464, 7)."""
    low = parse_address(target) & 0xFFFFFF
    return f"33:33:ff:{low >> 16:02x}:{low >> 8 & 0xFF:02x}:{low & 0xFF:02x}"


def advertise(target: str, dst: str, mac: str, *, solicited: bool, router: bool = True, option: bool = True) -> Packet:
    """A neighbour advertisement from `target` itself."""
    head = ip_header(target, dst, 255) / ICMPv6ND_NA(tgt=target, R=int(router), S=int(solicited), O=1)
    return head / ICMPv6NDOptDstLLAddr(lladdr=mac) if option else head


def solicitation_answered() -> Case:
    steps = []
    mac = our_mac(CLIENT.port)
    for asked in (vip_address(6), our_address(CLIENT.port, 6)):
        for option in (True, False):
            host = asker()
            question = frame(host.mac, group_mac(asked), solicit(asked, host, option=option))
            answer = frame(mac, host.mac, advertise(asked, host.ipv6, mac, solicited=True))
            steps.append(Step(question, CLIENT.port, out=((CLIENT.port, answer),), digest=seen(host, 6)))
    return Case("neighbour_solicitation_answered", tuple(steps))


def duplicate_address_detection() -> Case:
    """The asker has no address yet: the answer goes to all nodes (RFC 4861, 7.2.4)."""
    asked, mac = vip_address(6), our_mac(CLIENT.port)
    question = frame(CLIENT.mac, group_mac(asked), solicit(asked, CLIENT, src="::", option=False))
    answer = frame(mac, "33:33:00:00:00:01", advertise(asked, "ff02::1", mac, solicited=False))
    return Case("duplicate_address_detection_answered", (Step(question, CLIENT.port, out=((CLIENT.port, answer),)),))


def advertisement_heard() -> Case:
    """The answer to the controller's question, with the MAC as an option or the frame's own."""
    ours = our_address(CLIENT.port, 6)
    steps = [
        Step(
            to_switch(host, advertise(host.ipv6, ours, host.mac, solicited=True, router=False, option=option)),
            CLIENT.port,
            digest=seen(host, 6),
        )
        for host, option in ((asker(), True), (asker(), False))
    ]
    return Case("neighbour_advertisement_heard", tuple(steps))


def neighbour_discovery_refused() -> Case:
    """From another link (RFC 4861, 7.1.1), or about others."""
    asked = vip_address(6)
    off_link = frame(CLIENT.mac, group_mac(asked), solicit(asked, CLIENT, hop_limit=254))
    foreign = frame(CLIENT.mac, group_mac("2001:db8:1::77"), solicit("2001:db8:1::77", CLIENT))
    return Case(
        "neighbour_discovery_refused",
        (
            Step(off_link, CLIENT.port, drop=DropReason.MALFORMED),
            Step(foreign, CLIENT.port, drop=DropReason.FOREIGN_NEIGHBOUR),
        ),
    )


def pinged(family: int) -> Case:
    """Pings of the VIP and of our address are answered, whatever their TTL; one for another MAC is not ours."""
    steps = []
    source = CLIENT.address(family)
    for asked in (vip_address(family), our_address(CLIENT.port, family)):
        for ttl, data in ((64, b"ping"), (1, b""), (255, b"odd" * 11), (63, b"\xff" * 64)):
            question = to_switch(CLIENT, ping(source, asked, ttl=ttl, data=data))
            answer = frame(our_mac(CLIENT.port), CLIENT.mac, ping(asked, source, reply=True, data=data))
            steps.append(Step(question, CLIENT.port, out=((CLIENT.port, answer),)))
    misled = frame(CLIENT.mac, OTHER_MAC, ping(source, vip_address(family)))
    steps.append(Step(misled, CLIENT.port, drop=DropReason.NOT_OUR_MAC))
    return Case(f"ping_ipv{family}_answered", tuple(steps))
