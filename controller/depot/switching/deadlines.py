"""Deadlines of very many things at once: buckets of 1/16 second, lazily cancelled, one place per thing."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["NEVER", "DeadlineWheel", "HasDeadline"]

NEVER = math.inf
"""The deadline of a thing that waits for none."""

_TICKS_PER_SECOND = 16


class HasDeadline(Protocol):
    """What a wheel can hold."""

    deadline: float
    """When it is due, seconds; NEVER: not waiting. Set by `DeadlineWheel.set`, or to NEVER to cancel."""
    queued_tick: int
    """Where it is queued; -1: nowhere. The wheel's own."""


T = TypeVar("T", bound=HasDeadline)


class DeadlineWheel(Generic[T]):
    """Set, move and cancel in constant time. A thing is due at most 1/16 s after its deadline, never before.

    A thing whose deadline moves later stays where it is queued and is moved on when its bucket comes up, so each
    thing has one live place and what is cancelled is let go when its bucket comes up.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, list[T]] = {}
        self._ticks: list[int] = []

    def set(self, thing: T, deadline: float) -> None:
        """Make a thing due at a time in seconds."""
        thing.deadline = deadline
        tick = math.ceil(deadline * _TICKS_PER_SECOND)
        if thing.queued_tick < 0 or tick < thing.queued_tick:
            self._queue(thing, tick)

    def _queue(self, thing: T, tick: int) -> None:
        thing.queued_tick = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [thing]
            heapq.heappush(self._ticks, tick)
        else:
            bucket.append(thing)

    def due(self, now: float) -> Iterator[T]:
        """Yield what is due; each thing waits for nothing when it is yielded and may be set again."""
        now_tick = math.floor(now * _TICKS_PER_SECOND)
        while self._ticks and self._ticks[0] <= now_tick:
            tick = heapq.heappop(self._ticks)
            for thing in self._buckets.pop(tick):
                if thing.queued_tick != tick:
                    continue  # moved to an earlier bucket since
                thing.queued_tick = -1
                if thing.deadline <= now:
                    thing.deadline = NEVER
                    yield thing
                elif thing.deadline != NEVER:
                    self.set(thing, thing.deadline)

    def next_deadline(self) -> float | None:
        """Return when to ask again; None if nothing waits. It may turn out that nothing is due then."""
        return self._ticks[0] / _TICKS_PER_SECOND if self._ticks else None
