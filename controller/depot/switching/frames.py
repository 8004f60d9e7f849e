"""Ethernet frames that the controller reads and builds: bytes in, bytes out.

IPv4 (RFC 791), IPv6 (RFC 8200), ARP (RFC 826), neighbour discovery (RFC 4861), ICMP (RFC 792,
RFC 4443), TCP (RFC 9293). Addresses are 128-bit ints, IPv4 mapped (`depot.address`); MACs 48-bit ints.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from depot.address import Endpoint, FlowKey, is_ipv4

__all__ = [
    "BROADCAST_MAC",
    "FlowPacket",
    "IpPacket",
    "arp_reply",
    "arp_request",
    "checksum",
    "ethernet",
    "flow_packet",
    "ip_packet",
    "neighbour_advertisement",
    "neighbour_solicitation",
    "parse_frame",
    "transport_checksum",
]

ETHER_TYPE_IPV4, ETHER_TYPE_ARP, ETHER_TYPE_IPV6 = 0x0800, 0x0806, 0x86DD
PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_FRAGMENT, PROTOCOL_ICMPV6 = 1, 6, 17, 44, 58
BROADCAST_MAC = 0xFFFFFFFFFFFF
ETHERNET_LENGTH, IPV4_LENGTH, IPV6_LENGTH = 14, 20, 40
DEFAULT_TTL = 64
ND_HOP_LIMIT = 255
ND_SOLICITATION, ND_ADVERTISEMENT = 135, 136
ND_SOURCE_LINK_ADDRESS, ND_TARGET_LINK_ADDRESS = 1, 2
ND_ROUTER_OVERRIDE = 0xA0000000
_IPV4_MAPPED = 0xFFFF << 32
_SOLICITED_NODE = 0xFF020000000000000000_0001FF000000
_SOLICITED_NODE_MAC = 0x3333FF000000


@dataclass(frozen=True, slots=True)
class IpPacket:
    """What of a frame matters for answering it."""

    dst_mac: int
    """48 bit."""
    src_mac: int
    """48 bit."""
    source: int
    """128-bit address."""
    destination: int
    """128-bit address."""
    protocol: int
    """IP protocol of the payload; for IPv6 the last header that was understood."""
    later_fragment: bool
    """Whether this is a fragment, and not the first one."""
    packet: bytes
    """The IP packet without Ethernet header and padding."""
    payload: bytes
    """What follows the IP header, and an IPv6 fragment header."""

    @property
    def ipv4(self) -> bool:
        """Whether this is IPv4."""
        return is_ipv4(self.source)


def parse_frame(frame: bytes) -> IpPacket | None:
    """Return the IP packet of a frame; None when it is none, or not whole."""
    if len(frame) < ETHERNET_LENGTH:
        return None
    dst_mac, src_mac = int.from_bytes(frame[:6], "big"), int.from_bytes(frame[6:12], "big")
    ether_type = int.from_bytes(frame[12:14], "big")
    body = frame[ETHERNET_LENGTH:]
    if ether_type == ETHER_TYPE_IPV4:
        return _parse_ipv4(dst_mac, src_mac, body)
    if ether_type == ETHER_TYPE_IPV6:
        return _parse_ipv6(dst_mac, src_mac, body)
    return None


def _parse_ipv4(dst_mac: int, src_mac: int, body: bytes) -> IpPacket | None:
    if len(body) < IPV4_LENGTH or body[0] >> 4 != 4:
        return None
    header = (body[0] & 15) * 4
    total = int.from_bytes(body[2:4], "big")
    if not IPV4_LENGTH <= header <= total <= len(body):
        return None
    offset = int.from_bytes(body[6:8], "big") & 0x1FFF
    source = _IPV4_MAPPED | int.from_bytes(body[12:16], "big")
    destination = _IPV4_MAPPED | int.from_bytes(body[16:20], "big")
    packet = body[:total]
    return IpPacket(dst_mac, src_mac, source, destination, body[9], offset != 0, packet, packet[header:])


def _parse_ipv6(dst_mac: int, src_mac: int, body: bytes) -> IpPacket | None:
    if len(body) < IPV6_LENGTH or body[0] >> 4 != 6:
        return None
    total = IPV6_LENGTH + int.from_bytes(body[4:6], "big")
    if total > len(body):
        return None
    packet = body[:total]
    protocol, payload, later = body[6], packet[IPV6_LENGTH:], False
    if protocol == PROTOCOL_FRAGMENT and len(payload) >= 8:
        later = int.from_bytes(payload[2:4], "big") >> 3 != 0
        protocol, payload = payload[0], payload[8:]
    source, destination = int.from_bytes(body[8:24], "big"), int.from_bytes(body[24:40], "big")
    return IpPacket(dst_mac, src_mac, source, destination, protocol, later, packet, payload)


@dataclass(frozen=True, slots=True)
class FlowPacket:
    """What of a TCP segment or UDP datagram says whose it is."""

    flow: FlowKey
    """Its flow."""
    source: Endpoint
    """The end that sent it."""
    tcp_flags: int
    """The flags of a segment; 0 for a datagram."""


def flow_packet(frame: bytes) -> FlowPacket | None:
    """Return what a frame says of its flow; None when it is neither TCP nor UDP, or not whole."""
    packet = parse_frame(frame)
    if packet is None or packet.later_fragment or packet.protocol not in (PROTOCOL_TCP, PROTOCOL_UDP):
        return None
    payload = packet.payload
    if len(payload) < (20 if packet.protocol == PROTOCOL_TCP else 8):
        return None
    source = Endpoint(packet.source, int.from_bytes(payload[:2], "big"))
    destination = Endpoint(packet.destination, int.from_bytes(payload[2:4], "big"))
    flags = payload[13] if packet.protocol == PROTOCOL_TCP else 0
    return FlowPacket(FlowKey.between(source, destination, packet.protocol), source, flags)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of the bytes, 16 bit."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport_checksum(source: int, destination: int, protocol: int, payload: bytes) -> int:
    """Return the checksum of a TCP segment or ICMPv6 message with its pseudo-header (RFC 9293 3.1, RFC 8200 8.1)."""
    size = 4 if is_ipv4(source) else 16
    addresses = source.to_bytes(16, "big")[-size:] + destination.to_bytes(16, "big")[-size:]
    pseudo = struct.pack("!BBH", 0, protocol, len(payload)) if size == 4 else struct.pack("!II", len(payload), protocol)
    return checksum(addresses + pseudo + payload)


def ethernet(dst_mac: int, src_mac: int, ether_type: int, body: bytes) -> bytes:
    """Return a frame."""
    return dst_mac.to_bytes(6, "big") + src_mac.to_bytes(6, "big") + ether_type.to_bytes(2, "big") + body


def ip_packet(source: int, destination: int, protocol: int, payload: bytes, *, ttl: int = DEFAULT_TTL) -> bytes:
    """Return an IP packet of the addresses' family, without options."""
    if not is_ipv4(source):
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl)
        return header + source.to_bytes(16, "big") + destination.to_bytes(16, "big") + payload
    addresses = struct.pack("!II", source & 0xFFFFFFFF, destination & 0xFFFFFFFF)
    total = IPV4_LENGTH + len(payload)
    start = struct.pack("!BBHHHBB", 0x45, 0, total, 0, 0, ttl, protocol)
    return start + struct.pack("!H", checksum(start + b"\0\0" + addresses)) + addresses + payload


def ip_frame(dst_mac: int, src_mac: int, packet: bytes) -> bytes:
    """Return an IP packet in its frame."""
    return ethernet(dst_mac, src_mac, ETHER_TYPE_IPV4 if packet[0] >> 4 == 4 else ETHER_TYPE_IPV6, packet)


def arp_request(src_mac: int, source: int, target: int, dst_mac: int = BROADCAST_MAC) -> bytes:
    """Return the frame that asks for the MAC of an IPv4 address."""
    sender = src_mac.to_bytes(6, "big") + (source & 0xFFFFFFFF).to_bytes(4, "big")
    body = struct.pack("!HHBBH", 1, ETHER_TYPE_IPV4, 6, 4, 1) + sender
    return ethernet(dst_mac, src_mac, ETHER_TYPE_ARP, body + bytes(6) + (target & 0xFFFFFFFF).to_bytes(4, "big"))


def neighbour_solicitation(src_mac: int, source: int, target: int, dst_mac: int | None = None) -> bytes:
    """Return the frame that asks for the MAC of an IPv6 address: to its solicited-node group, or to `dst_mac` alone."""
    destination = target if dst_mac is not None else _SOLICITED_NODE | (target & 0xFFFFFF)
    to_mac = dst_mac if dst_mac is not None else _SOLICITED_NODE_MAC | (target & 0xFFFFFF)
    rest = bytes(4) + target.to_bytes(16, "big") + bytes([ND_SOURCE_LINK_ADDRESS, 1]) + src_mac.to_bytes(6, "big")
    total = transport_checksum(source, destination, PROTOCOL_ICMPV6, bytes([ND_SOLICITATION, 0, 0, 0]) + rest)
    message = struct.pack("!BBH", ND_SOLICITATION, 0, total) + rest
    packet = ip_packet(source, destination, PROTOCOL_ICMPV6, message, ttl=ND_HOP_LIMIT)
    return ethernet(to_mac, src_mac, ETHER_TYPE_IPV6, packet)


def arp_reply(src_mac: int, source: int, dst_mac: int, target: int) -> bytes:
    """Return the frame that tells one host, asked or not, the MAC of an IPv4 address (RFC 5227, 3)."""
    sender = src_mac.to_bytes(6, "big") + (source & 0xFFFFFFFF).to_bytes(4, "big")
    receiver = dst_mac.to_bytes(6, "big") + (target & 0xFFFFFFFF).to_bytes(4, "big")
    return ethernet(
        dst_mac, src_mac, ETHER_TYPE_ARP, struct.pack("!HHBBH", 1, ETHER_TYPE_IPV4, 6, 4, 2) + sender + receiver
    )


def neighbour_advertisement(src_mac: int, source: int, dst_mac: int, target: int) -> bytes:
    """Return the frame that tells one host, unasked, the MAC of an IPv6 router (RFC 4861, 7.2.6)."""
    head, option = bytes([ND_ADVERTISEMENT, 0, 0, 0]), bytes([ND_TARGET_LINK_ADDRESS, 1]) + src_mac.to_bytes(6, "big")
    rest = ND_ROUTER_OVERRIDE.to_bytes(4, "big") + source.to_bytes(16, "big") + option
    total = transport_checksum(source, target, PROTOCOL_ICMPV6, head + rest)
    message = struct.pack("!BBH", ND_ADVERTISEMENT, 0, total) + rest
    packet = ip_packet(source, target, PROTOCOL_ICMPV6, message, ttl=ND_HOP_LIMIT)
    return ethernet(dst_mac, src_mac, ETHER_TYPE_IPV6, packet)
