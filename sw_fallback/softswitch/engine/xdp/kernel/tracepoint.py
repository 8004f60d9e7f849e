"""A tracing program (`SEC("tp_btf/…")`) on its tracepoint."""

from __future__ import annotations

import os
import weakref

from softswitch.engine.xdp.libbpf import check, library

__all__ = ["Tracepoint"]


class Tracepoint:
    """The program runs at the tracepoint that it was loaded for, until `close` or garbage collection."""

    def __init__(self, program_fd: int) -> None:
        """Raises `KernelError`."""
        self.fd = check(library().bpf_raw_tracepoint_open(None, program_fd), "a tracepoint cannot be attached to")
        self._finalizer = weakref.finalize(self, os.close, self.fd)

    def close(self) -> None:
        """Let go."""
        self._finalizer()
