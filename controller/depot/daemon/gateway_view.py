"""What can be said of the gateways behind one address, in either mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["GatewayRow", "GatewaysView", "MoveRow"]


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """One gateway."""

    name: str
    """Its name."""
    up: bool
    """Whether it lives."""
    load: float | None
    """Its load, 1 being a whole gateway; None: not known."""
    buckets: int
    """How many it owns."""
    rate: float | None
    """Packets per second that come to its buckets; None: only it knows."""


@dataclass(frozen=True, slots=True)
class MoveRow:
    """Buckets that changed hands."""

    at: float
    """When, in the loop's time."""
    count: int
    """How many."""
    source: str
    """Whose they were; empty: nobody's."""
    to: str
    """Whose they became."""
    why: str = ""
    """What made them move; empty: not known here."""


@dataclass(frozen=True, slots=True)
class GatewaysView:
    """All of it."""

    state: str
    """What is unusual about us, for people; empty: nothing."""
    gateways: Sequence[GatewayRow] = ()
    """The gateways, ourselves among them."""
    owners: Sequence[str | None] = ()
    """Each bucket's owner; None: nobody's."""
    rates: Mapping[int, float] = field(default_factory=dict)
    """Packets per second by bucket, of those that we know."""
    moves: Sequence[MoveRow] = ()
    """The latest moves, the newest first."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """Buckets that changed hands here, since the start, by how."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was refused or went wrong, since the start."""
