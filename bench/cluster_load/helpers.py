"""Processes that a benchmark starts and ends, each with a pipe."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Helper", "free_ports", "helper"]

PATIENCE = 60.0
"""Seconds that an answer may take."""
_processes = multiprocessing.get_context("forkserver")
"""Children of a process that has done nothing yet, so that what they grow by is not found in memory freed before."""
_processes.set_forkserver_preload(["bench.cluster_load"])


class Helper:
    """The benchmark's end of a process."""

    def __init__(self, pipe: Connection, is_alive: Callable[[], bool]) -> None:
        self._pipe = pipe
        self._is_alive = is_alive

    def tell(self, what: object) -> None:
        """Say something."""
        self._pipe.send(what)

    def answer(self) -> Any:
        """What the process says next. Ends the benchmark if that is nothing."""
        until = time.monotonic() + PATIENCE
        while not self._pipe.poll(0.1):
            if not self._is_alive() or time.monotonic() > until:
                raise SystemExit("a process of the benchmark does not answer")
        return self._pipe.recv()


@contextmanager
def helper(cores: Collection[int], work: Callable[..., None], *arguments: object) -> Iterator[Helper]:
    """A process that does `work(*arguments, pipe)` on some cores; it is ready, and ends with its pipe."""
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_run, args=(cores, work, arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        started = Helper(ours, process.is_alive)
        started.answer()
        yield started
    finally:
        ours.close()
        process.join(5.0)
        process.kill()
        process.join()


def _run(cores: Collection[int], work: Callable[..., None], arguments: Sequence[object], pipe: Connection) -> None:
    os.sched_setaffinity(0, cores)
    work(*arguments, pipe)


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of loopback that nobody has."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
    finally:
        for probe in probes:
            probe.close()
