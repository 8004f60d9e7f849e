"""When which virtual MAC sends a port-learning frame (seed 004, Algorithm 3)."""

from __future__ import annotations

import heapq

from depot.vmac.settings import Draws

__all__ = ["Learning"]

_QUICK = (0.1, 0.4)
"""Seconds to the second and the third frame after a take-over."""


class Learning:
    """The timers of the virtual MACs that are ours."""

    def __init__(self, interval: float, draws: Draws) -> None:
        self._interval = interval
        self._draws = draws
        self._lives: dict[int, int] = {}
        self._life = 0
        self._queue: list[tuple[float, int, int, int]] = []

    def start(self, bucket: int, now: float) -> None:
        """Have a bucket sent for: at once, twice more soon, then for ever."""
        self._life += 1
        self._lives[bucket] = self._life
        heapq.heappush(self._queue, (now, bucket, self._life, 0))

    def stop(self, bucket: int) -> None:
        """A bucket is ours no more."""
        self._lives.pop(bucket, None)

    def due(self, now: float) -> list[int]:
        """Return the buckets whose turn it is."""
        found = []
        while self._queue and self._queue[0][0] <= now:
            _, bucket, life, sent = heapq.heappop(self._queue)
            if self._lives.get(bucket) == life:
                found.append(bucket)
                heapq.heappush(self._queue, (now + self._pause(sent), bucket, life, sent + 1))
        return found

    def next_deadline(self) -> float | None:
        """Return when the next turn is."""
        while self._queue and self._lives.get(self._queue[0][1]) != self._queue[0][2]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _pause(self, sent: int) -> float:
        if sent < len(_QUICK):
            return _QUICK[sent] * (0.75 + 0.5 * self._draws.random())
        return self._interval * (0.75 + 0.5 * self._draws.random())
