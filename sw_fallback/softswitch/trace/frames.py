"""A frame in a few words, for people: the protocols everybody knows, whatever program the switch runs."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

__all__ = ["describe"]

# EtherTypes (IEEE 802) and protocols (IANA)
_IPV4, _ARP, _IPV6, _VLANS = 0x0800, 0x0806, 0x86DD, (0x8100, 0x88A8)
_ICMP, _IPIP, _TCP, _UDP, _IPV6_IN, _FRAGMENT, _ICMPV6 = 1, 4, 6, 17, 41, 44, 58
_TUNNELS = {_IPIP: 4, _IPV6_IN: 6}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
"""Bit 0 first (RFC 9293, section 3.1)."""
_ARP_REQUEST = 1


def describe(frame: bytes) -> str:
    """What a frame is: protocol, addresses, ports. Never raises; what it cannot read it leaves out."""
    try:
        return _ethernet(frame)
    except (struct.error, IndexError, ValueError):
        return f"{len(frame)} bytes"


def _ethernet(frame: bytes) -> str:
    kind, at, tags = struct.unpack_from("!H", frame, 12)[0], 14, ""
    while kind in _VLANS:
        tag, kind = struct.unpack_from("!HH", frame, at)
        at, tags = at + 4, f"{tags}vlan {tag & 0xFFF} "
    try:
        if kind == _IPV4:
            return tags + _ipv4(frame, at)
        if kind == _IPV6:
            return tags + _ipv6(frame, at)
        if kind == _ARP:
            return tags + _arp(frame, at)
    except (struct.error, IndexError, ValueError):
        pass  # cut, or broken
    return f"{tags}{kind:#06x} {_mac(frame[6:12])} > {_mac(frame[0:6])}"


def _mac(octets: bytes) -> str:
    return octets.hex(":")


def _ipv4(frame: bytes, at: int) -> str:
    first, protocol = frame[at], frame[at + 9]
    source, target = (str(IPv4Address(frame[start : start + 4])) for start in (at + 12, at + 16))
    if first >> 4 != 4:
        raise ValueError("not version 4")
    if struct.unpack_from("!H", frame, at + 6)[0] & 0x1FFF:
        return f"ip {source} > {target} fragment of protocol {protocol}"
    return _transport(frame, at + 4 * (first & 15), protocol, source, target)


def _ipv6(frame: bytes, at: int) -> str:
    following, source, target = frame[at + 6], frame[at + 8 : at + 24], frame[at + 24 : at + 40]
    if frame[at] >> 4 != 6:
        raise ValueError("not version 6")
    names = str(IPv6Address(source)), str(IPv6Address(target))
    at += 40
    if following == _FRAGMENT:
        following, offset = struct.unpack_from("!BxH", frame, at)
        if offset >> 3:
            return f"ip6 {names[0]} > {names[1]} fragment of protocol {following}"
        at += 8
    return _transport(frame, at, following, *names)


def _transport(frame: bytes, at: int, protocol: int, source: str, target: str) -> str:
    version = "6" if ":" in source else ""
    try:
        if protocol in (_TCP, _UDP):
            return _ports(frame, at, protocol, source, target)
        if protocol in (_ICMP, _ICMPV6):
            return f"icmp{version} {source} > {target} type {frame[at]} code {frame[at + 1]}"
        if protocol in _TUNNELS:
            inner = _ipv4(frame, at) if _TUNNELS[protocol] == 4 else _ipv6(frame, at)
            return f"ip{version} {source} > {target} ({inner})"
    except (struct.error, IndexError, ValueError):
        pass
    return f"ip{version} {source} > {target} protocol {protocol}"


def _ports(frame: bytes, at: int, protocol: int, source: str, target: str) -> str:
    ports = struct.unpack_from("!HH", frame, at)
    ends = [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in zip((source, target), ports, strict=True)
    ]
    if protocol == _UDP:
        return f"udp {ends[0]} > {ends[1]}"
    set_ = [name for bit, name in enumerate(_FLAGS) if len(frame) > at + 13 and frame[at + 13] >> bit & 1]
    return " ".join(["tcp", ends[0], ">", ends[1], *set_])


def _arp(frame: bytes, at: int) -> str:
    operation = struct.unpack_from("!H", frame, at + 6)[0]
    source, target = (str(IPv4Address(frame[start : start + 4])) for start in (at + 14, at + 24))
    if operation == _ARP_REQUEST:
        return f"arp who has {target}, tell {source}"
    return f"arp {source} is at {_mac(frame[at + 8 : at + 14])}"
