"""The grace period: waiting until no program can still see what was taken out of its reach (membarrier(2))."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

from softswitch.engine.xdp.libbpf import KernelError

__all__ = ["membarrier_global"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_GENERIC_NUMBER = 283
_NUMBERS = {"x86_64": 324, "ppc64le": 365, "s390x": 356, "armv7l": 389, "i686": 375}
"""System call numbers that differ from the generic table (asm-generic/unistd.h), by machine."""
_QUERY = 0
_GLOBAL = 1
"""enum membarrier_cmd (linux/membarrier.h)."""


def membarrier_global() -> None:
    """Wait until every program that was running has ended: MEMBARRIER_CMD_GLOBAL is an RCU grace period.

    Blocks for some milliseconds, up to tens on a busy machine, without holding Python's lock: call it from a thread
    of its own. With a single CPU the kernel returns at once, rightly: there a program runs to its end before any
    thread does (except under PREEMPT_RT). Raises `KernelError` where the kernel refuses.
    """
    if not _commands() & _GLOBAL:
        raise KernelError("CPUs without timer ticks (nohz_full=) rule out the membarrier that table rows wait for")
    _membarrier(_GLOBAL)


@cache
def _commands() -> int:
    """The commands that this kernel offers, one bit each."""
    return _membarrier(_QUERY)


def _membarrier(command: int) -> int:
    number = ctypes.c_long(_NUMBERS.get(platform.machine(), _GENERIC_NUMBER))
    result = int(_LIBC.syscall(number, ctypes.c_int(command), ctypes.c_uint(0), ctypes.c_int(0)))
    if result < 0:
        raise KernelError("this kernel refuses the membarrier that table rows wait for", ctypes.get_errno())
    return result
