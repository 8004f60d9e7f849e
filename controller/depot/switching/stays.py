"""Flows of which a peer has just sent a packet here, so that what the data plane asks next of them stays. Sans-IO."""

from __future__ import annotations

from depot.address import FlowKey

__all__ = ["Stays"]

STAY_TIME = 1.0
"""Seconds in which the data plane asks about a packet that it was given once more; most never come back."""
MOST_STAYS = 4096
"""Flows remembered at a time; of more the oldest is forgotten."""


class Stays:
    """The flows, each for a moment. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._until: dict[FlowKey, float] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._until)

    def add(self, flow: FlowKey, now: float) -> None:
        """A peer sent a packet of a flow."""
        self._until.pop(flow, None)
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] > now and len(self._until) < MOST_STAYS:
                break
            del self._until[oldest]
        self._until[flow] = now + STAY_TIME

    def holds(self, flow: FlowKey, now: float) -> bool:
        """Say whether a peer sent a packet of a flow a moment ago."""
        return self._until.get(flow, now) > now

    def discard(self, flow: FlowKey) -> None:
        """What stays has been taken."""
        self._until.pop(flow, None)
