"""Packets that must not get anywhere, each counted under its reason."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from ptf_tests.case import Case, DropReason, Step
from ptf_tests.network import CLIENT, FAMILIES, STRANGER, our_address, our_mac, vip_address
from ptf_tests.packets import frame, ip_header, segment, to_switch

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        yield refused(f"ipv{family}_truncated", DropReason.MALFORMED, *truncated(family))
        yield refused(f"ipv{family}_contradictory", DropReason.MALFORMED, *contradictory(family))
        yield refused(f"ipv{family}_martian", DropReason.MARTIAN, *martians(family))
        yield refused(f"ipv{family}_not_our_mac", DropReason.NOT_OUR_MAC, *not_our_mac(family))
        yield refused(f"ipv{family}_not_served", DropReason.NOT_SERVED, *not_served(family))
    runts = refused("no_whole_ethernet_header", DropReason.MALFORMED, *(good(4)[:length] for length in (13, 8, 1, 0)))
    yield replace(runts, wire=False)
    yield refused("ipv4_bad_checksum", DropReason.BAD_CHECKSUM, *bad_checksums())
    yield refused("ipv4_options", DropReason.IP_OPTIONS, *options())
    yield refused("unknown_ether_type", DropReason.UNKNOWN_ETHER_TYPE, *other_ether_types())


def refused(name: str, reason: DropReason, *frames: bytes) -> Case:
    """Every frame is dropped for the same reason."""
    return Case(name, tuple(Step(packet, CLIENT.port, drop=reason) for packet in frames))


def good(family: int) -> bytes:
    """A frame that would be routed."""
    return to_switch(CLIENT, _to_stranger(family) / segment("tcp", 1, 2))


def _to_stranger(family: int, **header: int) -> Packet:
    packet = ip_header(CLIENT.address(family), STRANGER.address(family))
    for name, value in header.items():
        setattr(packet, name, value)
    return packet


def truncated(family: int) -> Iterator[bytes]:
    """Cut within each header, and one byte short."""
    whole = good(family)
    network = 34 if family == 4 else 54
    for length in (15, network - 1, network + 1, network + 19, len(whole) - 1):
        yield whole[:length]


def contradictory(family: int) -> Iterator[bytes]:
    """Versions and lengths that cannot be."""
    if family == 4:
        yield to_switch(CLIENT, _to_stranger(4, version=5) / segment("udp", 1, 2))
        yield to_switch(CLIENT, _to_stranger(4, ihl=4) / segment("udp", 1, 2))
        yield to_switch(CLIENT, _to_stranger(4, len=19) / segment("udp", 1, 2))
        yield to_switch(CLIENT, _to_stranger(4, len=27) / UDP(sport=1, dport=2))
        yield to_switch(CLIENT, _to_stranger(4, len=1000) / segment("udp", 1, 2))
    else:
        yield to_switch(CLIENT, _to_stranger(6, version=4) / segment("udp", 1, 2))
        yield to_switch(CLIENT, _to_stranger(6, plen=7) / UDP(sport=1, dport=2))
        yield to_switch(CLIENT, _to_stranger(6, plen=1000) / segment("udp", 1, 2))
        yield to_switch(CLIENT, _to_stranger(6, plen=65535) / segment("udp", 1, 2))
    yield to_switch(CLIENT, _to_stranger(family) / TCP(sport=1, dport=2, dataofs=4))


def martians(family: int) -> Iterator[bytes]:
    """Source addresses that no host may have."""
    sources = {
        4: ("127.0.0.1", "0.0.0.7", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        6: ("::1", "ff02::1", "::ffff:10.0.1.10"),
    }
    for source in sources[family]:
        header = IP(src=source, dst=STRANGER.ipv4) if family == 4 else IPv6(src=source, dst=STRANGER.ipv6)
        yield to_switch(CLIENT, header / segment("udp", 1, 2))
    if family == 6:
        yield to_switch(CLIENT, IPv6(src=CLIENT.ipv6, dst="::ffff:192.0.2.80") / segment("udp", 1, 2))


def not_our_mac(family: int) -> Iterator[bytes]:
    """For another host, for everybody, and for another port's MAC."""
    for mac in ("02:00:00:00:77:77", "ff:ff:ff:ff:ff:ff", our_mac(2)):
        yield frame(CLIENT.mac, mac, _to_stranger(family) / segment("udp", 1, 2))


def not_served(family: int) -> Iterator[bytes]:
    """One of our addresses, but no VIP at that port or protocol."""
    source = CLIENT.address(family)
    for address in (vip_address(family), our_address(1, family), our_address(2, family)):
        yield to_switch(CLIENT, ip_header(source, address) / segment("tcp", 1, 2, flags="S"))
        yield to_switch(CLIENT, ip_header(source, address) / segment("udp", 1, 2))
        other = ip_header(source, address)
        setattr(other, "proto" if family == 4 else "nh", 132)
        yield to_switch(CLIENT, other / Raw(b"s" * 30))


def bad_checksums() -> Iterator[bytes]:
    whole = good(4)
    (right,) = struct.unpack_from("!H", whole, 24)
    for wrong in (right ^ 0x0001, right ^ 0x8000, 0):
        yield whole[:24] + struct.pack("!H", wrong) + whole[26:]


def options() -> Iterator[bytes]:
    header = IP(src=CLIENT.ipv4, dst=STRANGER.ipv4, options=[IPOption_Router_Alert()])
    yield to_switch(CLIENT, header / segment("udp", 1, 2))


def other_ether_types() -> Iterator[bytes]:
    """An LLDP frame, an 802.3 length, and a VLAN tag: this program knows none."""
    addresses = bytes.fromhex("020000000101 02000000010a")
    for ether_type in (0x88CC, 0x0040, 0x8100):
        yield addresses + struct.pack("!H", ether_type) + bytes(64)
