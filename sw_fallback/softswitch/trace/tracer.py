"""Who watches a switch's packets: the engine is told when the first one comes and when the last one goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from softswitch.program.expressions import Expression
from softswitch.trace.record import Legend, Record

__all__ = ["MAX_WATCHES", "Traceable", "Tracer", "TracerBusy", "Tracing", "Watch"]

MAX_WATCHES = 16
"""Filters at work at once; each packet is asked all of them."""


class TracerBusy(Exception):
    """There are as many watches as there can be."""


@dataclass(eq=False, slots=True)
class Watch:
    """One filter and who gets the records of the packets that fit."""

    filter: Expression
    sink: Callable[[Record], None]
    """Called between packets; must not take long."""
    open: bool = field(default=True, init=False)
    """False: nobody listens any more."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """What an engine is asked to tell, and to whom."""

    watches: tuple[Watch, ...]
    """The place of each is its bit's in what `tell` is told."""
    legend: Legend
    wall_ns: Callable[[], int]
    """Nanoseconds since 1970."""

    def tell(self, wanted: int, record: Record) -> None:
        """Give a record to the watches whose bits are set."""
        for number, watch in enumerate(self.watches):
            if wanted >> number & 1 and watch.open:
                watch.sink(record)


class Traceable(Protocol):
    """An engine that can be traced."""

    def prepare_trace(self, tracing: Tracing) -> object:
        """Translate the program anew with these watches. Slow, changes nothing, may run in another thread.

        Raises `PipelineError` for a filter that the engine cannot ask.
        """

    def install_trace(self, prepared: object | None) -> None:
        """Put what was prepared to work between two packets; None: the program as it was.

        Raises `EngineUnavailable`, and then everything stays as it is.
        """

    def lost_traces(self) -> int:
        """How many packets fitted a filter and could not be told of, since the program was loaded."""


class Tracer:
    """The watches of one engine."""

    def __init__(self, engine: Traceable, legend: Legend, wall_ns: Callable[[], int]) -> None:
        """`wall_ns` tells nanoseconds since 1970."""
        self._engine = engine
        self._legend = legend
        self._wall_ns = wall_ns
        self._watches: list[Watch] = []

    def prepare(self, watch: Watch) -> object:
        """The slow part of `join`; changes nothing, may run in another thread, one at a time.

        Raises `TracerBusy` and `PipelineError`.
        """
        if len(self._watches) >= MAX_WATCHES:
            raise TracerBusy(f"{MAX_WATCHES} traces are running already")
        return self._engine.prepare_trace(Tracing((*self._watches, watch), self._legend, self._wall_ns))

    def join(self, watch: Watch, prepared: object) -> None:
        """Let a watch get records from now on; `prepared` is what `prepare` made of it. Raises `PipelineError`."""
        self._engine.install_trace(prepared)
        self._watches.append(watch)

    def lost(self) -> int:
        """How many packets could not be told of, of all watches, since the program was loaded."""
        return self._engine.lost_traces()

    def leave(self, watch: Watch) -> None:
        """A watch gets no more records; without any, the engine is as it was."""
        watch.open = False
        if watch in self._watches:
            self._watches.remove(watch)
            if not self._watches:
                self._engine.install_trace(None)
