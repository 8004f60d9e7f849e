"""A port without a network: what tests and programs put in comes out of the switch's other ports."""

from __future__ import annotations

import contextlib
import os
from collections import deque

from softswitch.ports.port import PortStats

__all__ = ["MemoryPort"]


class MemoryPort:
    """A port whose wire is two queues in this process."""

    def __init__(self, number: int, name: str = "memory", capacity: int = 4096) -> None:
        self.number = number
        self.name = name
        self.stats = PortStats()
        self.sent: deque[bytes] = deque(maxlen=capacity)
        """What the switch sent, oldest first."""
        self._waiting: deque[bytes] = deque()
        self._capacity = capacity
        self._wakeup: int | None = None

    def open(self) -> None:
        """Make the port ready."""
        self._wakeup = os.eventfd(len(self._waiting), os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int | None:
        """Readable while frames wait."""
        return self._wakeup

    def inject(self, frame: bytes) -> None:
        """Put a frame on the wire towards the switch; dropped when the port's capacity is used up."""
        if len(self._waiting) >= self._capacity:
            self.stats.receive_dropped += 1
            return
        self._waiting.append(frame)
        if self._wakeup is not None:
            os.eventfd_write(self._wakeup, 1)

    def receive(self, limit: int) -> list[bytes]:
        """At most `limit` frames, oldest first."""
        frames = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self.stats.received += len(frames)
        if not self._waiting and self._wakeup is not None:
            with contextlib.suppress(BlockingIOError):  # nothing was written since the last read
                os.eventfd_read(self._wakeup)
        return frames

    def send(self, frame: bytes) -> None:
        """Keep the frame in `sent`."""
        self.sent.append(frame)
        self.stats.sent += 1

    def update_counters(self) -> None:
        """Nothing: this port counts by itself."""

    def close(self) -> None:
        """Give the descriptor back."""
        if self._wakeup is not None:
            os.close(self._wakeup)
            self._wakeup = None
