"""Questions to the kernel about a network interface, by name (netdevice(7))."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["MAX_NAME", "InterfaceCounters", "KernelCounts", "driver", "interface_counters", "mtu", "set_up"]

MAX_NAME = 15
"""Bytes of an interface name (IFNAMSIZ without the terminator)."""

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCGIFMTU = 0x8921
_IFF_UP = 1
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3
_DRIVER_INFORMATION = 196
"""Bytes of struct ethtool_drvinfo (linux/ethtool.h): the command, the driver's name in 32 bytes, and more."""


class InterfaceCounters(NamedTuple):
    """What the kernel counted at an interface since it is there, whoever took the frames."""

    received: int
    receive_dropped: int
    sent: int
    send_dropped: int


@dataclass(frozen=True, slots=True)
class KernelCounts:
    """Frames of a switch that the kernel switches, by port number."""

    passed: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """How many came in and went out since the switch has had the interface, for ports that the kernel serves."""
    undelivered: Mapping[int, int] = field(default_factory=dict)
    """How many the program sent there and the kernel could not get rid of."""


def interface_counters() -> dict[str, InterfaceCounters]:
    """The counters of every interface in this thread's network namespace, by name (proc(5), /proc/net/dev)."""
    found = {}
    for line in Path("/proc/thread-self/net/dev").read_text("utf-8").splitlines()[2:]:
        name, _, counts = line.partition(":")
        # bytes packets errs drop fifo frame compressed multicast, then the same of what was sent
        columns = [int(column) for column in counts.split()]
        found[name.strip()] = InterfaceCounters(columns[1], columns[3], columns[9], columns[11])
    return found


def driver(name: str) -> str:
    """The name of the interface's driver, as `ethtool -i` has it. Raises OSError where it has none."""
    room = ctypes.create_string_buffer(struct.pack("=I", _ETHTOOL_GDRVINFO), _DRIVER_INFORMATION)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        fcntl.ioctl(asker.fileno(), _SIOCETHTOOL, struct.pack("@16sP16x", name.encode(), ctypes.addressof(room)))
    return room.raw[4:36].partition(b"\0")[0].decode()


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
