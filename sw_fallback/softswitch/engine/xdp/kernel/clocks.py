"""The kernel's clocks that packets see (`bpf_ktime_get_ns`, `bpf_ktime_get_coarse_ns`), read from user space."""

from __future__ import annotations

import time

__all__ = ["exact_now", "tick_now"]

_CLOCK_MONOTONIC_COARSE = 6
"""From linux/time.h; Python has no name for it."""


def exact_now() -> int:
    """CLOCK_MONOTONIC in nanoseconds."""
    return time.monotonic_ns()


def tick_now() -> int:
    """CLOCK_MONOTONIC as of the kernel's last tick, in nanoseconds: never behind what a packet saw."""
    return time.clock_gettime_ns(_CLOCK_MONOTONIC_COARSE)
