"""What a port is to the switch: a number, a name, frames in and frames out, and counters.

A port never blocks and never raises for what the network does: frames that cannot be sent or taken are counted, and
an interface that went away is opened again when it is back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Port", "PortError", "PortStats"]


class PortError(Exception):
    """A port that cannot be opened: which one, why and what to do."""


@dataclass(slots=True)
class PortStats:
    """A port's counters since it was made."""

    received: int = 0
    """Frames handed to the switch."""
    sent: int = 0
    """Frames the kernel took."""
    receive_dropped: int = 0
    """Frames lost because the switch was slower than the wire. Not expected below saturation."""
    send_dropped: int = 0
    """Frames the kernel did not take: queue full or interface down."""
    oversized: int = 0
    """Frames larger than the interface's MTU (segmentation or receive offload is on). Not expected."""
    completed_checksums: int = 0
    """Frames whose checksum the sender had left to hardware; finished here."""


class Port(Protocol):
    """One port of the switch."""

    number: int
    """The port's number in the P4 program."""
    name: str
    """The interface's name, for people."""
    stats: PortStats

    def open(self) -> None:
        """Make the port ready. Raises `PortError`."""

    def fileno(self) -> int | None:
        """The descriptor that is readable when frames wait; None while the port is closed or its interface gone."""

    def receive(self, limit: int) -> list[bytes]:
        """At most `limit` waiting frames, none when nothing waits."""

    def send(self, frame: bytes) -> None:
        """Send one frame, or count why not."""

    def update_counters(self) -> None:
        """Bring into `stats` what the kernel counts; to be called now and then."""

    def close(self) -> None:
        """Give everything back; a closed port may be opened again."""
