"""How often a program ran and how long, counted by the kernel while somebody asks for it (bpf(2) BPF_ENABLE_STATS)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint64
from typing import NamedTuple

from softswitch.engine.xdp.libbpf import check, information_of, library

__all__ = ["ProgramStatistics", "program_statistics", "statistics_enabled"]

_RUN_TIME = 0
"""BPF_STATS_RUN_TIME."""


class ProgramStatistics(NamedTuple):
    """Sums since the program was loaded, over all CPUs, of the times when statistics were enabled."""

    run_count: int
    run_time_ns: int


class _Information(ctypes.Structure):
    """struct bpf_prog_info (linux/bpf.h) up to its counters."""

    _fields_ = (
        ("before", ctypes.c_uint8 * 192),
        ("run_time_ns", c_uint64),
        ("run_count", c_uint64),
    )


def program_statistics(fd: int) -> ProgramStatistics:
    """The counters of a loaded program. Raises `KernelError`."""
    information = _Information()
    information_of(fd, "prog", information)
    return ProgramStatistics(information.run_count, information.run_time_ns)


@contextmanager
def statistics_enabled() -> Iterator[None]:
    """The kernel counts every program's runs meanwhile; each run costs two reads of the clock, some 40 ns, more."""
    fd = check(library().bpf_enable_stats(_RUN_TIME), "statistics of programs cannot be enabled")
    try:
        yield
    finally:
        os.close(fd)
