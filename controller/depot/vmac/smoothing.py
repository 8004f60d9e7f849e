"""Loads and rates without their noise: each the mean of the latest measurement and of what was said before."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Smoothed"]

WEIGHT = 0.5
"""Of the latest measurement: after two report intervals three quarters of a change are seen."""


class Smoothed:
    """What a gateway says of itself; the first measurement counts whole."""

    def __init__(self) -> None:
        self._load: float | None = None
        self.rates: dict[int, float] = {}
        """Packets a second by bucket."""

    @property
    def load(self) -> float:
        """1: all that it can do."""
        return self._load or 0.0

    def add(self, load: float, rates: Mapping[int, float]) -> None:
        """Take a measurement. A bucket that was not there before, or is no more, counts whole."""
        self._load = load if self._load is None else _mean(self._load, load)
        self.rates = {
            bucket: _mean(self.rates[bucket], rate) if bucket in self.rates else rate for bucket, rate in rates.items()
        }


def _mean(before: float, now: float) -> float:
    return before + WEIGHT * (now - before)
