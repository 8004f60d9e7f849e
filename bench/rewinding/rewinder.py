"""Timing a loaded program behind `rewinder.bpf.c`."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.rewinding.frames import Frames
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import Object, run

__all__ = ["Load", "Rewinder", "Timing", "compiled"]

_SOURCE = Path(__file__).with_name("rewinder.bpf.c")
_FIRST = bytes(4)
"""The only key of the rewinder's maps."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a packet costs, nanoseconds: the least of interleaved rounds, since a busy machine only ever adds to it:
    where two virtual CPUs, or two machines, share a core, half as much again."""

    total: float
    """Rewinding and the program."""
    rewinding: float
    """Rewinding, the tail call and a bare XDP_TX; with the head put back, if the program moves it."""
    spread: float
    """Half of what lies between the quickest and the slowest round."""

    @property
    def net(self) -> float:
        """What the program adds."""
        return self.total - self.rewinding


@dataclass(frozen=True, slots=True)
class Load:
    """How a program is timed."""

    repeat: int = 1_000_000
    """Packets of one round."""
    rounds: int = 7
    """Each one is a round of the program and one of bare rewinding."""
    warm_up: int = 0
    """Packets before the first round; 0: every flow once."""
    before_round: Callable[[], None] = lambda: None
    """Called before the program's rounds."""


class Rewinder:
    """One compiled rewinder for some frames, until the end of a `with`."""

    def __init__(self, frames: Frames) -> None:
        """Raises `KernelError` if it cannot be loaded, `CompileError` if it cannot be compiled."""
        self.frames = frames
        self._object = Object.load(compiled(_SOURCE, frames.definitions()), name="rewinder")
        self._restart()

    def __enter__(self) -> Rewinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._object.close()

    @property
    def programs(self) -> Mapping[str, int]:
        """File descriptors of `bare_transmit` and `bare_encapsulation`, which do what their names say and no more."""
        return self._object.programs

    def packets(self, program: int, count: int, ingress_ifindex: int = 0) -> tuple[int, bytes]:
        """Give the program `count` packets, flow 0 first; its verdict on the last one and what it made of it."""
        self._restart()
        self._aim(program)
        done = run(self._entry, self.frames.template, repeat=count, ingress_ifindex=ingress_ifindex)
        return done.retval, done.data

    def time(self, program: int, load: Load | None = None, *, ingress_ifindex: int = 0) -> Timing:
        """Time a program by its file descriptor."""
        given = load or Load()
        with _on_one_core():
            _, left = self.packets(program, given.warm_up or max(self.frames.flows, 1000), ingress_ifindex)
            moved = len(left) != len(self.frames.template)
            totals, costs = [], []
            for _ in range(given.rounds):
                costs.append(self._rewinding(given.repeat, moved))
                given.before_round()
                totals.append(self._mean(program, given.repeat, ingress_ifindex))
        nets = [total - cost for total, cost in zip(totals, costs, strict=True)]
        return Timing(min(totals), min(costs), (max(nets) - min(nets)) / 2)

    def _rewinding(self, repeat: int, moved: bool) -> float:
        """Of what a bare encapsulation costs more than a bare XDP_TX, half is the head being put back."""
        bare = self._mean(self.programs["bare_transmit"], repeat)
        if not moved:
            return bare
        return (bare + self._mean(self.programs["bare_encapsulation"], repeat)) / 2

    def _mean(self, program: int, repeat: int, ingress_ifindex: int = 0) -> float:
        self._aim(program)
        return run(self._entry, self.frames.template, repeat=repeat, ingress_ifindex=ingress_ifindex).duration_ns

    def _restart(self) -> None:
        self._object.maps["template_map"].update(
            _FIRST, self.frames.template[: self.frames.rewound] + struct.pack("=II", 0, 0)
        )

    def _aim(self, program: int) -> None:
        self._object.maps["target_map"].update(_FIRST, struct.pack("=I", program))

    @property
    def _entry(self) -> int:
        return self._object.programs["rewinder"]


def compiled(source: Path, definitions: Mapping[str, int]) -> bytes:
    """The object of one of the benchmarks' own programs. Raises `CompileError`."""
    flags = [f"-D{name}={value}" for name, value in definitions.items()]
    return compile_object(source.read_text("utf-8"), extra_flags=flags)


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Stay where we are: another core has other caches, and other per-CPU maps."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
