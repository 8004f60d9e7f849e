"""What a switch wants of an engine outside of this process, which forwards beside the python engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from softswitch.binding import ActionNumbers
from softswitch.engine.python import PythonEngine, Stores
from softswitch.engine.python.observing import Timing
from softswitch.program import Program
from softswitch.selectors import ProfileMirror
from softswitch.stats import Stats
from softswitch.trace import Traceable

__all__ = ["KernelEngine", "LoadKernelEngine"]


class KernelEngine(Traceable, Protocol):
    """One program in the kernel. `softswitch.engine.xdp.engine.XdpEngine` is one."""

    @property
    def source(self) -> str:
        """The program as it was translated, to read."""

    @property
    def clock(self) -> Callable[[], int]:
        """Nanoseconds of the clock that the kernel's last hits are of."""

    @property
    def packet_clock(self) -> Callable[[], int]:
        """The same clock as packets see it, for their timestamps: perhaps a little late."""

    @property
    def started(self) -> int | None:
        """What the program's timestamps count from, by that clock; None: from now on."""

    def profile(self, name: str) -> ProfileMirror:
        """What has to be told of changes of a profile."""

    def pair(self, python: PythonEngine, emit_digest: Callable[[int, tuple[int, ...]], None], stats: Stats) -> None:
        """Let this engine finish what the kernel hands over, and take its digests."""

    @property
    def connected(self) -> bool:
        """Whether packets come from interfaces, so that `process` is not for use."""

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet of at least 14 bytes as if it had come in at `port`; nothing is sent anywhere."""

    def poll(self) -> list[tuple[int, bytes]]:
        """What left the kernel towards this process, as (port, packet)."""

    def measure(self, clock: Callable[[], int] | None) -> Timing:
        """As `PythonEngine.measure`; what is returned is filled when the measurement ends.

        Raises `EngineUnavailable` where nothing can be measured.
        """

    def statistics(self) -> dict[str, int]:
        """What the program counted, members of `softswitch.stats.Stats` among it."""

    def flush(self) -> None:
        """Make what was written effective."""

    def close(self) -> None:
        """Unload the program."""


class LoadKernelEngine(Protocol):
    """Loads a program whose state is in `stores`, which are empty and are mirrored from then on."""

    def __call__(
        self, program: Program, stores: Stores, numbers: ActionNumbers, *, drop_port: int, cpu_port: int | None
    ) -> KernelEngine:
        """Raises `UnsupportedConstruct`, `EngineUnavailable`."""
