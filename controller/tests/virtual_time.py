"""What a simulated world has in common with any other: a clock that somebody moves, and what is to happen when."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable

__all__ = ["VirtualTime"]


class VirtualTime(ABC):
    """Things that happen after a while, and timers of whoever lives in this world."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    @abstractmethod
    def next_timer(self) -> tuple[float, Callable[[], None] | None]:
        """Whose timer rings first: when, and what it does; None: nobody's."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Do something after a while."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + seconds, self._number, call))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            time, ring = self.next_timer()
            if self._queue and self._queue[0][0] <= min(time, end):
                self.now, _, call = heapq.heappop(self._queue)
                call()
            elif ring is not None and time <= end:
                self.now = max(self.now, time)
                ring()
            else:
                break
        self.now = end
