"""States of a member's health and what moves it between them (seed 001, 4.4)."""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "HealthInput", "HealthState"]


class HealthState(Enum):
    """What is believed of a member."""

    UNKNOWN = "unknown"
    """Not checked yet. It serves: a controller's restart must take nobody out."""
    UP = "up"
    """It serves."""
    DOWN = "down"
    """It gets no session."""


class HealthInput(Enum):
    """What can move a member. Single results are counted first, see `depot.health.core`."""

    RISEN = "risen"
    """Enough active checks in a row passed; the very first one decides alone."""
    FALLEN = "fallen"
    """Enough active checks in a row failed; the very first one decides alone."""
    UNANSWERED = "unanswered"
    """Enough clients' SYNs in a row got no answer."""
    RETRY = "retry"
    """There are no active checks, and it has been down long enough to be tried again."""


TRANSITIONS: dict[HealthState, dict[HealthInput, HealthState]] = {
    HealthState.UNKNOWN: {
        HealthInput.RISEN: HealthState.UP,
        HealthInput.FALLEN: HealthState.DOWN,
        HealthInput.UNANSWERED: HealthState.DOWN,
    },
    HealthState.UP: {
        HealthInput.FALLEN: HealthState.DOWN,
        HealthInput.UNANSWERED: HealthState.DOWN,
    },
    HealthState.DOWN: {
        HealthInput.RISEN: HealthState.UP,
        HealthInput.RETRY: HealthState.UP,
    },
}
