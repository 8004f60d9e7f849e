"""Questions to the kernel about a network interface, by name (netdevice(7))."""

from __future__ import annotations

import fcntl
import socket
import struct

__all__ = ["MAX_NAME", "mtu", "set_up"]

MAX_NAME = 15
"""Bytes of an interface name (IFNAMSIZ without the terminator)."""

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCGIFMTU = 0x8921
_IFF_UP = 1


def mtu(name: str) -> int:
    """The interface's MTU in bytes. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        answer = fcntl.ioctl(asker.fileno(), _SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


def set_up(name: str) -> None:
    """Bring the interface up. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        answer = fcntl.ioctl(asker.fileno(), _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        flags = struct.unpack_from("H", answer, 16)[0] | _IFF_UP
        fcntl.ioctl(asker.fileno(), _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))
