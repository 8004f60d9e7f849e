"""Records of the ring buffer `events`: what the program tells user space (`runtime/events.h`)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from softswitch.engine.xdp.state import StateLayout
from softswitch.engine.xdp.terms import WORD

__all__ = ["DigestEvent", "Event", "EventKind", "OutEvent", "StateEvent", "decode", "generation_of"]

_HEAD = struct.Struct("=IIIHH")
"""struct event: kind, length, number, port, size."""


class EventKind(IntEnum):
    """enum event_kind."""

    DIGEST = 1
    OUT = 2
    CLONE = 3
    RESUBMIT = 4
    RECIRCULATE = 5
    REPLICATE = 6
    EGRESS_CLONE = 7
    TRACE = 8


class DigestEvent(NamedTuple):
    """A digest sample: there are many of them, and a tuple is made in half the time."""

    layout: int
    """Id of the digest's field list in the device config."""
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OutEvent:
    """A frame that leaves by a port of user space's."""

    port: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class StateEvent:
    """A packet that user space has to go on with, or is told of."""

    kind: EventKind
    state: bytes
    """struct state, to be read by `StateLayout`."""
    frame: bytes
    """As it arrived; a recirculated one as it was deparsed, a traced one that left as it left."""


Event = DigestEvent | OutEvent | StateEvent


_DIGEST = int(EventKind.DIGEST)
_STATELESS = frozenset({_DIGEST, int(EventKind.OUT)})


def generation_of(record: bytes) -> int:
    """The program whose struct state a record has; zero, the first one, for records that have none."""
    kind, _, number, _, _ = _HEAD.unpack_from(record)
    return 0 if kind in _STATELESS else int(number)


def decode(record: bytes, layout: StateLayout) -> Event:
    """The event in a record of the program that `layout` is of. Raises ValueError for one that no program makes."""
    if len(record) < _HEAD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    kind, length, number, port, size = _HEAD.unpack_from(record)
    if length != len(record):
        raise ValueError(f"a record of {len(record)} bytes that says it has {length}")
    if kind == _DIGEST:
        return DigestEvent(number, _members(record, layout.digests[number]))
    kind, frame = EventKind(kind), record[length - size :]
    if kind is EventKind.OUT:
        return OutEvent(port, frame)
    return StateEvent(kind, record[_HEAD.size : _HEAD.size + layout.size], frame)


@lru_cache(maxsize=256)
def _words(members: tuple[tuple[int, bool], ...]) -> struct.Struct:
    """All words of a digest at once."""
    return struct.Struct("=" + "".join("Q" * (words - 1) + ("q" if signed else "Q") for words, signed in members))


def _members(record: bytes, members: tuple[tuple[int, bool], ...]) -> tuple[int, ...]:
    words = _words(members).unpack_from(record, _HEAD.size)
    if len(words) == len(members):
        return words
    values, at = [], 0
    for count, _ in members:
        value = words[at]
        for place in range(1, count):
            value |= words[at + place] << WORD * place
        values.append(value)
        at += count
    return tuple(values)
