"""The hosts of a site as the seed's SmartBits simulates them: 224 addresses that ask for their gateway and send
numbered packets to their counterparts, and what has arrived of those.

Frames and counts only; `bench.gateway_sites.host_program` has the socket. A packet is UDP with run and sequence number
as its first eight bytes; the last number of an IPv4 address says which host it is, on either side.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from depot.address import parse_address
from depot.switching.frames import ETHERNET_LENGTH, PROTOCOL_UDP, arp_reply, arp_request, ip_packet

__all__ = ["FIRST", "HOSTS", "Counts", "Hosts", "Series", "Site"]

FIRST, HOSTS = 24, 224
"""The seed's 192.168.203.24-247."""
_ARP = b"\x08\x06"
_IPV4 = b"\x08\x00"
_REQUEST, _REPLY = b"\x00\x01", b"\x00\x02"
_PORT = 9
"""Discard (RFC 863), of both ends."""
_CHECK_SEQUENCE = 4
"""Bytes of a frame that no interface shows."""
_HEADERS = ETHERNET_LENGTH + 20 + 8
_NUMBERS = struct.Struct("!II")
_SHARED = 5
"""Bytes that all virtual MACs have in common."""
_STRIDE = 139
"""From a host to the next that sends: no divisor in common with 224, near 224 over the golden ratio, so that hosts of
one third of all addresses do not send in a row, which would be a burst for their gateway."""
_LEAST = _HEADERS + _NUMBERS.size + _CHECK_SEQUENCE


@dataclass(frozen=True, slots=True)
class Series:
    """MAC addresses of an arithmetic sequence."""

    step: int
    """Between two hosts: 1 or 256 (seed 004, 4.2 and 4.3)."""

    def mac(self, site: int, host: int) -> bytes:
        """Of a host by the last number of its address: 00:00:03:00:00:18 or 00:00:03:00:18:00 for 24."""
        return ((site << 24) + host * self.step).to_bytes(6, "big")


@dataclass(frozen=True, slots=True)
class Site:
    """One side of the VPN."""

    number: int
    """The fourth byte of its hosts' MACs: 3 left, 4 right."""
    network: IPv4Network
    """Of its hosts, a /24."""
    gateway: IPv4Address
    """The address that its hosts know."""

    def address(self, host: int) -> IPv4Address:
        """Of a host."""
        return self.network[host]


@dataclass(slots=True)
class Counts:
    """What has been sent and what has come since a run began."""

    sent: int = 0
    """Packets that our hosts sent."""
    received: int = 0
    """Packets that came, each once."""
    missing: int = 0
    """Packets that did not come though later ones of their flow did."""
    duplicates: int = 0
    """Packets that came again."""
    reordered: int = 0
    """Packets that came after a later one of their flow."""
    foreign: int = 0
    """Packets from a virtual MAC that is not the one their host was told. A gateway that does not serve the host sends
    from a MAC of its own."""
    answers: int = 0
    """Answers to asks for the gateway."""
    asks: int = 0
    """Asks of our hosts for the gateway."""


@dataclass(slots=True)
class _Flow:
    """From one host of the other site."""

    next: int = 0
    """One above the highest sequence number."""
    missing: set[int] = field(default_factory=set)
    """Sequence numbers below that have not come."""


class Hosts:
    """All hosts of a site."""

    def __init__(self, own: Site, other: Site, series: Series) -> None:
        self._own, self._other = own, other
        self._macs = {FIRST + n: series.mac(own.number, FIRST + n) for n in range(HOSTS)}
        self.gateways: dict[int, bytes] = {}
        """The gateway's MAC as each host was told."""
        self.begin(0, _LEAST)

    def begin(self, run: int, size: int) -> None:
        """Count from zero. `size`: bytes of a frame with its check sequence, as the seed counts them."""
        self._run = run
        self.counts = Counts()
        self._flows: dict[int, _Flow] = {host: _Flow() for host in self._macs}
        self._sent = dict.fromkeys(self._macs, 0)
        payload = size - _CHECK_SEQUENCE - _HEADERS
        if payload < _NUMBERS.size:
            raise ValueError(f"a frame of {size} bytes has no room for its number")
        self._ready = {host: self._header(host, payload) for host in self._macs}
        self._padding = bytes(payload - _NUMBERS.size)

    def asks(self) -> Iterator[bytes]:
        """Each host's request for the gateway's MAC."""
        for host, mac in self._macs.items():
            self.counts.asks += 1
            yield arp_request(_number(mac), _mapped(self._own.address(host)), _mapped(self._own.gateway))

    def packet(self, number: int) -> bytes:
        """The next packet of all: hosts take turns. Raises KeyError if its host knows no gateway."""
        host = FIRST + number * _STRIDE % HOSTS
        sequence = self._sent[host]
        self._sent[host] = sequence + 1
        self.counts.sent += 1
        return self.gateways[host] + self._ready[host] + _NUMBERS.pack(self._run, sequence) + self._padding

    def receive(self, frame: bytes) -> bytes | None:
        """Count a frame; what a host answers to it."""
        kind = frame[12:14]
        if kind == _IPV4:
            self._receive_packet(frame)
        elif kind == _ARP and len(frame) >= 42:
            return self._receive_arp(frame)
        return None

    def _receive_packet(self, frame: bytes) -> None:
        host = frame[33]
        if len(frame) < _HEADERS + _NUMBERS.size or frame[23] != PROTOCOL_UDP or frame[:6] != self._macs.get(host):
            return
        run, sequence = _NUMBERS.unpack_from(frame, _HEADERS)
        if run != self._run or frame[36:38] != _PORT.to_bytes(2, "big"):
            return
        counts, flow = self.counts, self._flows[host]
        source, told = frame[6:12], self.gateways.get(host, b"")
        counts.foreign += source != told and source[:_SHARED] == told[:_SHARED]
        if sequence >= flow.next:
            if sequence > flow.next:
                flow.missing.update(range(flow.next, sequence))
                counts.missing += sequence - flow.next
            flow.next = sequence + 1
        elif sequence in flow.missing:
            flow.missing.remove(sequence)
            counts.missing -= 1
            counts.reordered += 1
        else:
            counts.duplicates += 1
            return
        counts.received += 1

    def _receive_arp(self, frame: bytes) -> bytes | None:
        operation, sender_mac, sender, target = frame[20:22], frame[22:28], frame[28:32], frame[38:42]
        if sender == self._own.gateway.packed:
            host = target[3]
            if frame[:6] == self._macs.get(host):
                self.gateways[host] = sender_mac
                self.counts.answers += operation == _REPLY
        elif operation == _REQUEST and target[:3] == self._own.network.network_address.packed[:3]:
            mac = self._macs.get(target[3])
            if mac is not None:
                asker = _number(sender_mac), _mapped(IPv4Address(sender))
                return arp_reply(_number(mac), _mapped(IPv4Address(target)), *asker)
        return None

    def _header(self, host: int, payload: int) -> bytes:
        """From the source MAC to the end of UDP, which has no checksum (RFC 768). payload: bytes that follow."""
        source, target = self._own.address(host), self._other.address(host)
        udp = struct.pack("!HHHH", _PORT, _PORT, 8 + payload, 0)
        packet = ip_packet(_mapped(source), _mapped(target), PROTOCOL_UDP, udp + bytes(payload))
        return self._macs[host] + _IPV4 + packet[: _HEADERS - ETHERNET_LENGTH]


def _mapped(address: IPv4Address) -> int:
    return parse_address(str(address))


def _number(mac: bytes) -> int:
    return int.from_bytes(mac, "big")
