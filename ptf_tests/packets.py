"""Frames of the packet cases, built by scapy: every checksum in a case is scapy's full sum, never an update."""

from __future__ import annotations

from ipaddress import ip_address

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from ptf_tests.network import Host, our_mac

__all__ = [
    "ERRORS",
    "FLAGS",
    "arp",
    "family_of",
    "frame",
    "from_switch",
    "icmp_error",
    "ip_header",
    "ping",
    "segment",
    "to_switch",
]

FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
ERRORS = ("unreachable", "time_exceeded", "too_big")


def family_of(address: str) -> int:
    """4 or 6."""
    return ip_address(address).version


def ip_header(src: str, dst: str, ttl: int = 64, traffic_class: int = 0) -> Packet:
    """An IPv4 or IPv6 header as the addresses ask for."""
    if family_of(src) == 4:
        return IP(src=src, dst=dst, ttl=ttl, tos=traffic_class)
    return IPv6(src=src, dst=dst, hlim=ttl, tc=traffic_class)


def segment(
    protocol: str, src_port: int, dst_port: int, *, flags: str = "A", seq: int = 1000, payload: bytes = b"payload"
) -> Packet:
    """A TCP segment or a UDP datagram (`protocol` is "tcp" or "udp")."""
    if protocol == "tcp":
        ack = 2000 if "A" in flags else 0
        head: Packet = TCP(sport=src_port, dport=dst_port, flags=flags, seq=seq, ack=ack, window=8192)
    else:
        head = UDP(sport=src_port, dport=dst_port)
    return head / Raw(payload) if payload else head


def frame(src_mac: str, dst_mac: str, packet: Packet) -> bytes:
    """A whole frame with all lengths and checksums filled in."""
    return bytes(Ether(src=src_mac, dst=dst_mac) / packet)


def to_switch(host: Host, packet: Packet) -> bytes:
    """A frame from a host's port (itself, or the router it is behind) for the switch."""
    return frame(host.mac, our_mac(host.port), packet)


def from_switch(host: Host, packet: Packet) -> tuple[int, bytes]:
    """(port, frame): a frame from the switch for a host's port."""
    return host.port, frame(our_mac(host.port), host.mac, packet)


def icmp_error(kind: str, src: str, dst: str, quoted: Packet, *, ttl: int = 64, mtu: int = 1300) -> Packet:
    """An ICMP or ICMPv6 error about `quoted`; kind is one of `ERRORS`."""
    quotation = Raw(bytes(quoted)[:128])
    if family_of(src) == 4:
        types: dict[str, Packet] = {
            "unreachable": ICMP(type=3, code=1),
            "time_exceeded": ICMP(type=11, code=0),
            "too_big": ICMP(type=3, code=4, nexthopmtu=mtu),
        }
    else:
        types = {
            "unreachable": ICMPv6DestUnreach(code=3),
            "time_exceeded": ICMPv6TimeExceeded(),
            "too_big": ICMPv6PacketTooBig(mtu=mtu),
        }
    return ip_header(src, dst, ttl) / types[kind] / quotation


def ping(src: str, dst: str, *, reply: bool = False, ttl: int = 64, sequence: int = 1, data: bytes = b"ping") -> Packet:
    """An echo request or reply."""
    if family_of(src) == 4:
        return ip_header(src, dst, ttl) / ICMP(type=0 if reply else 8, id=7, seq=sequence) / Raw(data)
    kind = ICMPv6EchoReply if reply else ICMPv6EchoRequest
    return ip_header(src, dst, ttl) / kind(id=7, seq=sequence, data=data)


def arp(operation: int, sender_mac: str, sender: str, target_mac: str, target: str) -> Packet:
    """An ARP packet: operation 1 asks, 2 answers."""
    return ARP(op=operation, hwsrc=sender_mac, psrc=sender, hwdst=target_mac, pdst=target)
