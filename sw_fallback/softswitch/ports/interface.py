"""Questions to the kernel about a network interface, by name (netdevice(7))."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path
from typing import NamedTuple

__all__ = ["MAX_NAME", "InterfaceCounters", "interface_counters", "mtu", "set_up"]

MAX_NAME = 15
"""Bytes of an interface name (IFNAMSIZ without the terminator)."""

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCGIFMTU = 0x8921
_IFF_UP = 1


class InterfaceCounters(NamedTuple):
    """What the kernel counted at an interface since it is there, whoever took the frames."""

    received: int
    receive_dropped: int
    sent: int
    send_dropped: int


def interface_counters() -> dict[str, InterfaceCounters]:
    """The counters of every interface in this thread's network namespace, by name (proc(5), /proc/net/dev)."""
    found = {}
    for line in Path("/proc/thread-self/net/dev").read_text("utf-8").splitlines()[2:]:
        name, _, counts = line.partition(":")
        # bytes packets errs drop fifo frame compressed multicast, then the same of what was sent
        columns = [int(column) for column in counts.split()]
        found[name.strip()] = InterfaceCounters(columns[1], columns[3], columns[9], columns[11])
    return found


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
