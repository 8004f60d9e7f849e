"""What happened, for `depot events`: kept for a while, and told to who follows."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Event", "EventLog"]

KEPT = 1000
"""Events kept for who asks later."""
MOST_WAITING = 10_000
"""Events that a follower may be behind; the oldest are dropped then."""

Event = dict[str, object]
"""JSON: `serial` from 1, `time` in seconds since 1970, `kind`, `text` for people, and fields of the kind."""

events = logging.getLogger("depot.events")


class EventLog:
    """The events of one daemon."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._serials = itertools.count(1)
        self._followers: dict[asyncio.Queue[Event], bool] = {}

    @property
    def wants_sessions(self) -> bool:
        """Whether anybody follows single sessions: they are too many to be made for nobody."""
        return any(self._followers.values())

    def add(self, kind: str, text: str, *, level: int = logging.INFO, **fields: object) -> None:
        """Keep an event, tell it to followers and log it."""
        event = self._make(kind, text, fields)
        self._kept.append(event)
        events.log(level, "%s", text)
        for queue in self._followers:
            _put(queue, event)

    def add_session(self, kind: str, text: str, **fields: object) -> None:
        """Tell an event of a single session to those who follow sessions; it is neither kept nor logged."""
        event = self._make(kind, text, fields)
        for queue, with_sessions in self._followers.items():
            if with_sessions:
                _put(queue, event)

    def _make(self, kind: str, text: str, fields: dict[str, object]) -> Event:
        return {"serial": next(self._serials), "time": time.time(), "kind": kind, "text": text, **fields}

    def last(self, count: int) -> list[Event]:
        """Return the latest events, oldest first."""
        return list(self._kept)[-count:] if count > 0 else []

    @contextmanager
    def follow(self, *, with_sessions: bool) -> Iterator[asyncio.Queue[Event]]:
        """Give a queue of all events from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._followers[queue] = with_sessions
        try:
            yield queue
        finally:
            del self._followers[queue]


def _put(queue: asyncio.Queue[Event], event: Event) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)
