"""Pings an address once: `python echo_request.py ADDRESS`; exit status 0 if a right answer came within two seconds.

The answer must carry the question's identifier, number and data; an IPv4 answer's checksum is verified here, an IPv6
one's by the kernel before it hands it over.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

_HEADER = struct.Struct("!BBHHH")
_DATA = bytes(range(48))
_SECONDS = 2.0


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); zero over data that carries its own."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(address: str) -> bool:
    """Whether the address answers."""
    identifier = os.getpid() & 0xFFFF
    ipv6 = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if ipv6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    question, wanted = (128, 129) if ipv6 else (8, 0)
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        packet = _HEADER.pack(question, 0, 0, identifier, 1) + _DATA
        packet = _HEADER.pack(question, 0, checksum(packet), identifier, 1) + _DATA
        raw.connect((address, 0))
        raw.send(packet)
        deadline = time.monotonic() + _SECONDS
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                answer = raw.recv(2048)
            except TimeoutError:
                return False
            icmp = answer if ipv6 else answer[20:]
            kind, _, _, its_identifier, number = _HEADER.unpack(icmp[: _HEADER.size])
            if (kind, its_identifier, number, icmp[_HEADER.size :]) == (wanted, identifier, 1, _DATA):
                return ipv6 or checksum(icmp) == 0
    return False


if __name__ == "__main__":
    sys.exit(0 if ping(sys.argv[1]) else 1)
