"""How long packets take in the kernel, as the kernel itself measures it while somebody asks."""

from __future__ import annotations

from contextlib import ExitStack

from softswitch.engine.python.observing import Timing
from softswitch.engine.xdp.kernel import ProgramStatistics, program_statistics, statistics_enabled

__all__ = ["ProgramTiming"]


class ProgramTiming:
    """Times one program after another, those that take each other's place."""

    def __init__(self) -> None:
        self._running: ExitStack | None = None
        self._timing = Timing()
        self._before = ProgramStatistics(0, 0)

    def start(self, program: int) -> Timing:
        """Measure a program, by its file descriptor, from now on. What is returned is filled by `stop`.

        Raises `KernelError`.
        """
        self._running = ExitStack()
        self._running.enter_context(statistics_enabled())
        self._timing = Timing()
        self._before = program_statistics(program)
        return self._timing

    def replace(self, program: int, other: int) -> None:
        """Another program takes this one's place. Raises `KernelError`."""
        if self._running is not None:
            self._add(program)
            self._before = program_statistics(other)

    def stop(self, program: int) -> None:
        """Nobody asks any more. Raises `KernelError`."""
        if self._running is not None:
            with self._running:
                self._add(program)
            self._running = None

    def abandon(self) -> None:
        """The program goes: what was measured is all there is."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _add(self, program: int) -> None:
        now = program_statistics(program)
        self._timing.packets += now.run_count - self._before.run_count
        self._timing.ns += now.run_time_ns - self._before.run_time_ns
