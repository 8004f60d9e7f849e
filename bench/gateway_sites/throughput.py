"""The largest rate at which nothing is lost, by trials."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["LossError", "zero_loss"]

_TRIES = 2
"""A rate passes if one of so many trials loses nothing: what a machine does beside for a moment costs packets too."""
_WIDEN = 0.1
_LEAST = 1e-3
"""Of the guess: below that it is no matter of the rate."""


class LossError(Exception):
    """Packets are lost at any rate."""


def zero_loss(passes: Callable[[float], bool], guess: float, precision: float) -> float:
    """The largest rate that passes, as a fraction of it exact to `precision`.

    `guess`: where to look first; the interval around it is widened until its lower end passes and its upper end does
    not. Raises LossError if no rate passes.
    """

    def passed(rate: float) -> bool:
        return any(passes(rate) for _ in range(_TRIES))

    step = _WIDEN
    low, high = guess * (1 - step), guess * (1 + step)
    while not passed(low):
        step *= 2
        high, low = low, low - guess * step
        if low <= guess * _LEAST:
            raise LossError(f"packets are lost at {high:.0f} packets/s already")
    step = _WIDEN
    while passed(high):
        step *= 2
        low, high = high, high + guess * step
    while high - low > precision * high:
        middle = (low + high) / 2
        low, high = (middle, high) if passed(middle) else (low, middle)
    return low
