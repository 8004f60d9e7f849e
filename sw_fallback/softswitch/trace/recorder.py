"""What the python engine's traced code writes into while one packet and its copies run."""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.trace.record import End, Pass, Record, Step, Verdict
from softswitch.trace.tracer import Tracing

__all__ = ["Recorder"]

_PASSES = frozenset(Pass)


class Recorder:
    """Notes of the packet that runs now; translated code writes the attributes itself."""

    __slots__ = ("_tracing", "ends", "error", "steps", "wanted")

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self.wanted = 0
        """A bit for each watch whose filter the packet fits."""
        self.error = 0
        """The parser's error on the first pass."""
        self.steps: list[tuple[int, bool, int] | int] = []
        """(table, hit, action) of each lookup; a lone number is the kind of pass that begins."""
        self.ends: list[tuple[int, int]] = []
        """(verdict, port)."""

    def begin(self) -> None:
        """Forget the packet before."""
        self.wanted = 0
        self.steps = []
        self.ends = []

    def told(self, out: Sequence[tuple[int, bytes]]) -> tuple[list[Step], list[End]]:
        """What was noted since `begin`, with names; `out` is what left, in order."""
        legend, frames = self._tracing.legend, iter(out)
        steps: list[Step] = []
        for step in self.steps:
            if not isinstance(step, int):
                steps.append(legend.step(*step))
            elif step in _PASSES:
                steps.append(Pass(step))
        ends = []
        for verdict, left in self.ends:
            frame = next(frames, (left, None))[1] if verdict == Verdict.LEFT else None
            ends.append(legend.end(verdict, left, frame))
        return steps, ends

    def finish(self, port: int, packet: bytes, out: Sequence[tuple[int, bytes]]) -> None:
        """Tell about the packet, if a watch wants it. `out` is what left, in order."""
        if not self.wanted:
            return
        steps, ends = self.told(out)
        error = self._tracing.legend.error(self.error)
        record = Record(self._tracing.wall_ns(), port, packet, len(packet), tuple(steps), tuple(ends), error)
        self._tracing.tell(self.wanted, record)
