"""What a gateway's core has to tell, and what it wants done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from depot.vmac.wire import Phase, Refusal

__all__ = [
    "BucketsGiven", "BucketsLost", "BucketsTaken", "Cause", "GatewayDown", "GatewayUp", "Holding", "Holdings",
    "IdentityDisputed", "LanFrame", "MessageRefused", "MovesAbandoned", "Output", "PhaseChanged", "VmacEvent",
]  # fmt: skip


class Holding(Enum):
    """What the data plane does with a virtual MAC and its asks."""

    OWN = "own"
    """The frame is ours, the ask is answered."""
    WATCH = "watch"
    """The frame is ours, the ask is handed to the core as the answer already written."""


class Cause(Enum):
    """Why a bucket has become ours."""

    MOVED = "moved"
    """Its owner gave it."""
    ASSIGNED = "assigned"
    """It was nobody's, or a dead gateway's."""
    TAKEN_BACK = "taken back"
    """It was given to a gateway that died before it had taken it."""


@dataclass(frozen=True, slots=True)
class BucketsTaken:
    """They are ours, and the data plane has them."""

    buckets: tuple[int, ...]
    """Which, in order."""
    source: str | None
    """Who had them before; None: nobody."""
    cause: Cause
    """Why."""


@dataclass(frozen=True, slots=True)
class BucketsGiven:
    """Another gateway has taken them from us."""

    buckets: tuple[int, ...]
    """Which, in order."""
    to: str
    """It."""


@dataclass(frozen=True, slots=True)
class BucketsLost:
    """We had them and another gateway has the better claim: the network was cut, or we were slow."""

    buckets: tuple[int, ...]
    """Which, in order."""
    to: str
    """It."""


@dataclass(frozen=True, slots=True)
class MovesAbandoned:
    """They stay ours: the offer was not acknowledged in time, or the other gateway died or is leaving."""

    buckets: tuple[int, ...]
    """Which, in order."""
    to: str
    """Who was to have them."""


@dataclass(frozen=True, slots=True)
class GatewayUp:
    """A peer is heard."""

    name: str
    """It."""


@dataclass(frozen=True, slots=True)
class GatewayDown:
    """A peer is gone."""

    name: str
    """It."""
    reason: str
    """For people: silent, left, restarted or removed."""


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """We are about something else now."""

    phase: Phase
    """What."""


@dataclass(frozen=True, slots=True)
class IdentityDisputed:
    """Others hear another gateway of our name. We serve nothing as long as they do."""

    name: str
    """Ours."""


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """A message was not listened to. Told at most once in ten seconds for each reason and sender; counted always."""

    refusal: Refusal
    """Why."""
    sender: str
    """Who says that he sent it; empty: not even that can be read."""
    detail: str
    """For people; may be empty."""


VmacEvent = (
    BucketsTaken | BucketsGiven | BucketsLost | MovesAbandoned | GatewayUp | GatewayDown | PhaseChanged
    | IdentityDisputed | MessageRefused
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LanFrame:
    """A frame for the LAN: EtherType 0x88B5 from the bucket's virtual MAC to the group MAC."""

    bucket: int
    """Whose virtual MAC is its source."""
    payload: bytes
    """What follows the EtherType."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """All entries of the data plane; what it has beside them is to be removed. Each entry changes at one moment.

    While one is being written, only the latest of those that come need be written next.
    """

    generation: int
    """Say `Gateway.written` with it when the data plane has them."""
    buckets: Mapping[int, Holding]
    """By bucket."""


@dataclass(slots=True)
class Output:
    """What is to be done now."""

    datagrams: list[tuple[str, bytes]] = field(default_factory=list)
    """Peer's name, UDP payload."""
    frames: list[LanFrame] = field(default_factory=list)
    """For the LAN, in this order."""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    """Port and frame, as they were handed in."""
    holdings: Holdings | None = None
    """New entries; None: as before."""
    announce: list[int] = field(default_factory=list)
    """Buckets that are newly ours after a death: their hosts are to be told, one by one."""
    hosts: list[tuple[int, int]] = field(default_factory=list)
    """Hosts of the LAN that a peer knows: address and MAC."""
    events: list[VmacEvent] = field(default_factory=list)
    """News for the log, in order."""
