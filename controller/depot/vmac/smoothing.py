"""Loads and rates without their noise: each the mean of the latest measurement and of what was said before."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["smoothed", "smoothed_rates"]

WEIGHT = 0.5
"""Of the latest measurement: after two report intervals three quarters of a change are seen."""


def smoothed(before: float | None, now: float) -> float:
    """Return what to say after a measurement; the first counts whole."""
    return now if before is None else before + WEIGHT * (now - before)


def smoothed_rates(before: Mapping[int, float], now: Mapping[int, float]) -> dict[int, float]:
    """Return the same of rates by bucket; of a bucket that is no more, nothing."""
    return {bucket: smoothed(before.get(bucket), rate) for bucket, rate in now.items()}
