"""Records into a pcapng file, an interface for each port and what became of each packet as its comment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from softswitch.trace.pcapng import ETHERNET, USER0, PcapngWriter
from softswitch.trace.record import Record
from softswitch.trace.text import Lines

__all__ = ["Capture"]


class Capture:
    """One file. Frames to and from the controller begin with its header: they are no Ethernet."""

    def __init__(self, file: BinaryIO, lines: Lines, ports: Mapping[int, str], controller: int | None) -> None:
        """`ports` and their interfaces' names; `controller` is the CPU port. Raises OSError, as `add` does."""
        self._writer = PcapngWriter(file, "softswitch trace")
        self._lines = lines
        self._controller = controller
        self._interfaces: dict[int, int] = {}
        for number, name in sorted(ports.items()):
            self._interfaces[number] = self._writer.interface(f"{number}@{name}", ETHERNET)

    def add(self, record: Record) -> None:
        """Write the frame that came, and those that left as far as they are known."""
        comment = self._lines.way(record)
        came = self._interface(record.port)
        self._writer.packet(came, record.time_ns, record.frame, record.length, comment, left=False)
        for end in record.ends:
            if end.frame is not None and end.port is not None:
                length = len(end.frame) if end.length is None else end.length
                left = self._interface(end.port)
                self._writer.packet(left, record.time_ns, end.frame, length, f"from port {record.port}", left=True)

    def _interface(self, port: int) -> int:
        if port not in self._interfaces:
            if port == self._controller:
                self._interfaces[port] = self._writer.interface("controller", USER0)
            else:
                self._interfaces[port] = self._writer.interface(f"port {port}", ETHERNET)
        return self._interfaces[port]
