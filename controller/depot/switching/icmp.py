"""What the depot says about packets it cannot forward: ICMP errors (RFC 792, RFC 1812 4.3, RFC 4443) and TCP resets.

ICMP errors take the whole pipeline as packets that came in where the offender did, so routing, NAT and statistics
treat them like any other. A TCP reset leaves where the offender came in: submitted, it would hit the very entry that
asks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import Enum

from depot.address import Endpoint, same_family
from depot.config.model import PortConfig
from depot.p4runtime.entry import Entry
from depot.p4runtime.packets import PacketIn, PacketOut, Submission
from depot.switching.frames import (
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    IpPacket,
    checksum,
    ip_frame,
    ip_packet,
    parse_frame,
    transport_checksum,
)
from depot.switching.token_bucket import TokenBucket

__all__ = ["IcmpErrors", "Trouble"]

ERROR_RATE, ERROR_BURST = 200.0, 100.0
"""ICMP errors a second, and at once (RFC 4443 2.4 (f) asks for a limit)."""
RESET_RATE, RESET_BURST = 2000.0, 1000.0
"""TCP resets a second, and at once: one for each session of a dead member."""
LARGEST_ERROR_IPV4 = 576
"""RFC 1812 4.3.2.3: quote as much as fits."""
LARGEST_ERROR_IPV6 = 1280
"""RFC 4443 2.4 (c): the minimum MTU."""
SMALLEST_MTU_IPV4 = 68
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_ICMP_QUERIES = {0, 8, 9, 10, 13, 14, 15, 16, 17, 18}
"""ICMP types that are no errors (RFC 1122 3.2.2): errors about them are allowed."""
_FIRST_INFORMATIONAL = 128
_ND_REDIRECT = 137


class Trouble(Enum):
    """Why a packet cannot go on: its ICMP (type, code) and ICMPv6 (type, code)."""

    TTL_EXPIRED = ((11, 0), (3, 0))
    TOO_BIG = ((3, 4), (2, 0))
    HOST_UNREACHABLE = ((3, 1), (1, 3))


class IcmpErrors:
    """Answers to troubled packets at one switch, rate limited."""

    def __init__(self, ports: Mapping[int, PortConfig]) -> None:
        self._ports = ports
        self._errors = TokenBucket(ERROR_RATE, ERROR_BURST)
        self._resets = TokenBucket(RESET_RATE, RESET_BURST)
        self.suppressed = 0
        """Answers that the rate limit held back."""

    def reconfigure(self, ports: Mapping[int, PortConfig]) -> None:
        """Take other ports."""
        self._ports = ports

    def error(self, offender: PacketIn, trouble: Trouble, now: float, mtu: int = 0) -> PacketOut | None:
        """Return the ICMP error about a packet; None where the rules or the rate limit forbid one.

        mtu: bytes, with TOO_BIG. now: seconds.
        """
        packet = parse_frame(offender.payload)
        port = self._ports.get(offender.ingress_port)
        if packet is None or port is None or not _may_be_told(packet, trouble):
            return None
        source = self._own_address(port, packet.source)
        if source is None:
            return None
        if not self._errors.take(now):
            self.suppressed += 1
            return None
        message = _icmpv4(packet, trouble, mtu) if packet.ipv4 else _icmpv6(source, packet, trouble, mtu)
        protocol = PROTOCOL_ICMP if packet.ipv4 else PROTOCOL_ICMPV6
        answer = ip_packet(source, packet.source, protocol, message)
        return PacketOut(ip_frame(port.mac, port.mac, answer), ingress_port=port.number, submit=Submission.SUBMIT)

    def reset(self, offender: PacketIn, now: float) -> PacketOut | None:
        """Return the TCP reset that answers a segment, in its destination's name (RFC 9293, 3.10.7.1)."""
        packet = parse_frame(offender.payload)
        if packet is None or packet.protocol != PROTOCOL_TCP or packet.later_fragment or len(packet.payload) < 20:
            return None
        source_port, destination_port, sequence, acknowledgment, offset, flags = struct.unpack_from(
            "!HHIIBB", packet.payload
        )
        if flags & _RST:
            return None
        if not self._resets.take(now):
            self.suppressed += 1
            return None
        if flags & _ACK:
            numbers = (acknowledgment, 0, _RST)
        else:
            length = len(packet.payload) - (offset >> 4) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
            numbers = (0, (sequence + length) & 0xFFFFFFFF, _RST | _ACK)
        sender = Endpoint(packet.destination, destination_port)
        answer = _reset_segment(sender, Endpoint(packet.source, source_port), *numbers)
        return PacketOut(ip_frame(packet.src_mac, packet.dst_mac, answer), egress_port=offender.ingress_port)

    def reset_receiver(self, offender: PacketIn, sender: Endpoint, way: Entry, now: float) -> PacketOut | None:
        """Return the TCP reset that a segment's receiver gets instead of it.

        sender: who the receiver takes the segment to be from. way: the neighbour entry that leads to the receiver.
        A receiver that has not seen all before answers with what it has seen (RFC 5961, 3.2), and is reset by that.
        """
        packet = parse_frame(offender.payload)
        if packet is None or packet.protocol != PROTOCOL_TCP or packet.later_fragment or len(packet.payload) < 20:
            return None
        _, port, sequence, acknowledgment, _, flags = struct.unpack_from("!HHIIBB", packet.payload)
        if flags & _RST:
            return None
        if not self._resets.take(now):
            self.suppressed += 1
            return None
        receiver = Endpoint(packet.destination, port)
        segment = _reset_segment(sender, receiver, sequence, acknowledgment, _RST | flags & _ACK)
        source_mac, destination_mac = way.params
        return PacketOut(ip_frame(destination_mac, source_mac, segment), egress_port=way.values[0])

    def _own_address(self, port: PortConfig, towards: int) -> int | None:
        """An address of the family: of the port the packet came in at (RFC 1812 4.3.2.4), else of any."""
        for one in (port, *self._ports.values()):
            for interface in one.addresses:
                if same_family(interface.address, towards):
                    return interface.address
        return None


def _reset_segment(sender: Endpoint, receiver: Endpoint, sequence: int, acknowledgment: int, flags: int) -> bytes:
    """An IP packet with a TCP segment that is nothing but its flags."""
    start = struct.pack("!HHIIBBH", sender.port, receiver.port, sequence, acknowledgment, 5 << 4, flags, 0)
    total = transport_checksum(sender.address, receiver.address, PROTOCOL_TCP, start + bytes(4))
    return ip_packet(sender.address, receiver.address, PROTOCOL_TCP, start + struct.pack("!HH", total, 0))


def _may_be_told(packet: IpPacket, trouble: Trouble) -> bool:
    """RFC 1812 4.3.2.7 and RFC 4443 2.4 (e): never about an error, a later fragment, or to or about a group."""
    if packet.later_fragment:
        return False
    if packet.ipv4:
        source, destination = packet.source & 0xFFFFFFFF, packet.destination & 0xFFFFFFFF
        to_group = destination >> 28 >= 14 or packet.dst_mac >> 40 & 1
        from_nobody = source >> 28 >= 14 or source >> 24 in (0, 127)
        about_error = packet.protocol == PROTOCOL_ICMP and packet.payload[:1] not in {bytes([q]) for q in _ICMP_QUERIES}
        return not (to_group or from_nobody or about_error)
    to_group = packet.destination >> 120 == 0xFF or packet.dst_mac >> 40 & 1
    from_nobody = packet.source >> 120 == 0xFF or packet.source <= 1
    kind = packet.payload[0] if packet.payload else 0
    about_error = packet.protocol == PROTOCOL_ICMPV6 and (kind < _FIRST_INFORMATIONAL or kind == _ND_REDIRECT)
    return not (from_nobody or about_error or (to_group and trouble is not Trouble.TOO_BIG))


def _icmpv4(packet: IpPacket, trouble: Trouble, mtu: int) -> bytes:
    (kind, code), _ = trouble.value
    detail = max(mtu, SMALLEST_MTU_IPV4) if trouble is Trouble.TOO_BIG else 0
    rest = struct.pack("!I", detail) + packet.packet[: LARGEST_ERROR_IPV4 - 28]
    return struct.pack("!BBH", kind, code, checksum(bytes([kind, code, 0, 0]) + rest)) + rest


def _icmpv6(source: int, packet: IpPacket, trouble: Trouble, mtu: int) -> bytes:
    _, (kind, code) = trouble.value
    rest = struct.pack("!I", mtu if trouble is Trouble.TOO_BIG else 0) + packet.packet[: LARGEST_ERROR_IPV6 - 48]
    total = transport_checksum(source, packet.source, PROTOCOL_ICMPV6, bytes([kind, code, 0, 0]) + rest)
    return struct.pack("!BBH", kind, code, total) + rest
