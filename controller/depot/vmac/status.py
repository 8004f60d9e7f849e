"""What `depot vmac status` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from depot.vmac.settings import Algorithm
from depot.vmac.wire import Phase

__all__ = ["GatewayView", "MoveView", "Status"]


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One gateway, ourselves too."""

    name: str
    """Its name."""
    phase: Phase | None
    """What it is about; None: it is not heard."""
    load: float | None
    """As it says; None: it is not heard."""
    rate: float | None
    """Packets a second of all its buckets; None: it is not heard."""
    buckets: int
    """How many are its, as far as we know."""


@dataclass(frozen=True, slots=True)
class MoveView:
    """A bucket that has changed hands."""

    at: float
    """When we heard of it."""
    bucket: int
    """Which."""
    source: str | None
    """Whose it was; None: nobody's."""
    to: str
    """Whose it is."""


@dataclass(frozen=True, slots=True)
class Status:
    """All that one gateway knows."""

    name: str
    """The gateway."""
    phase: Phase
    """What it is about."""
    is_leader: bool
    """Whether it gives nobody's buckets to somebody."""
    is_disputed: bool
    """Whether others hear another gateway of its name."""
    algorithm: Algorithm
    """How load is balanced."""
    gateways: tuple[GatewayView, ...]
    """All, by name."""
    owners: tuple[str | None, ...]
    """By bucket; None: nobody's."""
    under_way: Mapping[int, str]
    """Buckets between two gateways of which this is one, with where they are."""
    rates: Mapping[int, float]
    """Packets a second of its own buckets."""
    moves: tuple[MoveView, ...]
    """The last, oldest first."""
    counters: Mapping[str, int]
    """Messages refused, by reason, and what has been done with asks."""
