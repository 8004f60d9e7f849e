"""The time that a packet sees: exact, or as of the kernel's last tick for a program that could not tell the difference.

Asking for the exact time takes longer than most of a packet's work. The kernel keeps CLOCK_MONOTONIC as of its last
tick beside it, which costs a few nanoseconds (`CLOCK_MONOTONIC_COARSE` in user space).
"""

from __future__ import annotations

from softswitch.engine.xdp.context import Context
from softswitch.program.statements import Random

__all__ = ["TICK_BITS", "TIMESTAMPS", "needs_moment", "takes_ticks"]

TIMESTAMPS = ("ingress_global_timestamp", "egress_global_timestamp", "enq_timestamp")
"""Standard metadata with the time, in microseconds since the program was loaded."""
TICK_BITS = 14
"""What counts in units of as many bits, 16.384 ms, may be late by a tick: that is 10 ms at most (HZ=100)."""


def needs_moment(context: Context) -> bool:
    """Whether the time may be asked for."""
    timestamps = any(context.usage.reads_intrinsic(name) for name in TIMESTAMPS)
    return timestamps or bool(context.program.meters) or Random in context.usage.kinds


def takes_ticks(context: Context) -> bool:
    """Whether the program reads only such bits of timestamps as count in units of more than a tick; meters want the
    exact time."""
    fields = [context.program.intrinsic(name) for name in TIMESTAMPS]
    lowest = [context.usage.lowest_bits.get((field.header, field.field)) for field in fields if field is not None]
    return not context.program.meters and all(bit >= TICK_BITS for bit in lowest if bit is not None)
