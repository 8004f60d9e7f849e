"""What clients ask the introspection service, as JSON objects whose members are all optional."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TypeVar

__all__ = ["MAX_FRAME", "SERVICE", "Request", "StatsRequest", "TraceRequest", "read_request"]

SERVICE = "softswitch.Introspection"
MAX_FRAME = 65535
"""Bytes of a frame that can be asked for: all of it."""


@dataclass(frozen=True, slots=True)
class Request:
    """Checks what any request may be."""

    def check(self) -> None:
        """Raises ValueError for a member out of bounds."""


@dataclass(frozen=True, slots=True)
class StatsRequest(Request):
    """For the counters."""

    seconds: float = 0.0
    """How long packets are timed, at most 10; zero: not at all."""

    def check(self) -> None:
        _within("seconds", self.seconds, 10)


@dataclass(frozen=True, slots=True)
class TraceRequest(Request):
    """For packets."""

    filter: str = ""
    """Which ones, see `softswitch.trace.filter`; empty: all."""
    count: int = 0
    """How many; zero: without end."""
    snaplen: int = MAX_FRAME
    """Bytes of each frame."""
    both: bool = False
    """With the frames that left."""

    def check(self) -> None:
        _within("count", self.count, 1 << 62)
        _within("snaplen", self.snaplen, MAX_FRAME)


Q = TypeVar("Q", bound=Request)


def read_request(kind: type[Q], data: bytes) -> Q:
    """A request of this kind. Raises ValueError for what is none."""
    try:
        members = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise ValueError("the request is no JSON object")
    defaults = {field.name: field.default for field in fields(kind)}
    for name, value in members.items():
        if name not in defaults:
            raise ValueError(f"the request has a member {name!r}, which means nothing here")
        wanted = type(defaults[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"the request's {name} is no {wanted.__name__}")
    request = kind(**members)
    request.check()
    return request


def _within(name: str, value: float, limit: float) -> None:
    if not 0 <= value <= limit:
        raise ValueError(f"the request's {name} is not from 0 to {limit}")
