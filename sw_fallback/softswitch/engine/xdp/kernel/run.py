"""Running a loaded program on packets of ours (BPF_PROG_TEST_RUN, kernel Documentation/bpf/bpf_prog_run.rst)."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_uint32
from typing import NamedTuple

from softswitch.engine.xdp.libbpf import TestRunOptions, check, library

__all__ = ["Run", "run", "run_live"]

_ROOM = 1 << 17
"""Bytes for the packet that comes back: a full-size frame (64 KiB) plus what headers a program may push."""
_LIVE_FRAMES = 1 << 1
"""BPF_F_TEST_XDP_LIVE_FRAMES."""


class Run(NamedTuple):
    """What a program did with a packet."""

    retval: int
    """XDP_ABORTED 0, XDP_DROP 1, XDP_PASS 2, XDP_TX 3, XDP_REDIRECT 4."""
    data: bytes
    """The packet afterwards."""
    duration_ns: int
    """Mean of the repeats, whole nanoseconds."""


class _Context(ctypes.Structure):
    """struct xdp_md (linux/bpf.h)."""

    _fields_ = (
        ("data", c_uint32),
        ("data_end", c_uint32),
        ("data_meta", c_uint32),
        ("ingress_ifindex", c_uint32),
        ("rx_queue_index", c_uint32),
        ("egress_ifindex", c_uint32),
    )


class _Bench(threading.local):
    """One set of buffers for each thread: a call sets four fields and reads three."""

    def __init__(self) -> None:
        self.room = ctypes.create_string_buffer(_ROOM)
        self.at = ctypes.addressof(self.room)
        self.context = _Context()
        self.context_at = ctypes.addressof(self.context)
        self.options = TestRunOptions(sz=ctypes.sizeof(TestRunOptions), data_out=self.at)
        self.reference = ctypes.byref(self.options)
        self.function = library().bpf_prog_test_run_opts


_BENCH = _Bench()


def run(program_fd: int, packet: bytes, *, repeat: int = 1, ingress_ifindex: int = 0) -> Run:
    """Run the program on a packet of at least 14 bytes; maps change as they would on a real one.

    The packet comes from the loopback interface unless `ingress_ifindex` names one of this namespace; a veth must
    have an XDP program attached for that. Between repeats the packet is not restored; more than one costs some 17 ms
    extra, since the kernel patches its dispatcher for the program. Raises `KernelError`.
    """
    bench = _BENCH
    options = bench.options
    options.data_in = packet
    options.data_size_in = len(packet)
    options.data_size_out = _ROOM
    options.repeat = repeat
    if ingress_ifindex:
        bench.context.data_end = len(packet)
        bench.context.ingress_ifindex = ingress_ifindex
        options.ctx_in = bench.context_at
        options.ctx_size_in = ctypes.sizeof(_Context)
    elif options.ctx_size_in:
        options.ctx_in = None
        options.ctx_size_in = 0
    result = bench.function(program_fd, bench.reference)
    if result:
        check(result, f"the program cannot be run on a packet of {len(packet)} bytes")
    return Run(options.retval, ctypes.string_at(bench.at, options.data_size_out), options.duration)


def run_live(program_fd: int, packet: bytes, *, ingress_ifindex: int, repeat: int, batch: int = 64) -> int:
    """Send `repeat` copies of a packet through the program and do as it says: transmit, redirect, pass, drop.

    They appear to have come in at `ingress_ifindex`, `batch` (at most 256) between flushes. Returns the mean
    nanoseconds for one. Not interrupted by Python's signal handlers; raises `KernelError` with EINTR after a signal.
    """
    context = _Context(data_end=len(packet), ingress_ifindex=ingress_ifindex)
    options = TestRunOptions(
        sz=ctypes.sizeof(TestRunOptions),
        data_in=packet,
        data_size_in=len(packet),
        ctx_in=ctypes.addressof(context),
        ctx_size_in=ctypes.sizeof(context),
        repeat=repeat,
        flags=_LIVE_FRAMES,
        batch_size=batch,
    )
    check(library().bpf_prog_test_run_opts(program_fd, options), "the program cannot be run on live frames")
    return int(options.duration)
