"""Records of traced packets, put together from what the kernel and the python engine tell of their parts.

A packet that the kernel finishes is told of twice, when a filter fits and when it ends. Where the kernel hands over,
the python engine tells the rest: copies come as the packet goes on, and what is resubmitted, recirculated or multicast
ends there. Messages about a packet come in order, since one CPU sends them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from softswitch.engine.xdp.events import EventKind, StateEvent
from softswitch.engine.xdp.state import StateLayout
from softswitch.engine.xdp.traces import BEGIN, CLONED, NO_ACTION, STEP_BITS
from softswitch.trace.record import End, Record, Step, Verdict
from softswitch.trace.recorder import Recorder
from softswitch.trace.tracer import Tracing

__all__ = ["TraceRecords"]


@dataclass(slots=True)
class _Part:
    """What is known of some copies of a packet, or of the packet itself."""

    steps: list[Step] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)


@dataclass(slots=True)
class _Packet:
    """A packet that has not ended."""

    serial: int
    wanted: int
    begun_ns: int
    port: int
    frame: bytes
    error: int
    clones: _Part = field(default_factory=_Part)
    """Made in ingress."""
    egress_clones: _Part = field(default_factory=_Part)


class TraceRecords:
    """Listens to one traced program."""

    def __init__(self, tracing: Tracing, layout: StateLayout, recorder: Recorder, clock: Callable[[], int]) -> None:
        """`layout` is of the program's struct state, `recorder` the one that python's code of the same trace writes
        into, `clock` tells nanoseconds of the kernel's CLOCK_MONOTONIC.
        """
        self._tracing = tracing
        self._layout = layout
        self._recorder = recorder
        self._clock = clock
        self._open: dict[int, _Packet] = {}
        """By CPU."""

    def take(self, event: StateEvent) -> None:
        """A message of the kernel's own."""
        cpu, verdict = self._read(event, "trace_cpu"), self._read(event, "trace_verdict")
        if verdict == BEGIN:
            self._open[cpu] = _Packet(
                self._read(event, "trace_serial"),
                self._read(event, "trace_wanted"),
                self._read(event, "trace_time"),
                self._read(event, "ingress_port"),
                event.frame,
                self._read(event, "error"),
            )
            return
        packet = self._find(event)
        if packet is not None:
            frame = event.frame if verdict == Verdict.LEFT else None
            end = self._tracing.legend.end(verdict, self._read(event, "port"), frame)
            steps = [*self._way(event, packet), *packet.egress_clones.steps]
            self._tell(packet, steps, [*packet.clones.ends, end, *packet.egress_clones.ends])
            del self._open[cpu]

    def resume(
        self, event: StateEvent, run: Callable[[StateEvent], list[tuple[int, bytes]]]
    ) -> list[tuple[int, bytes]]:
        """Let the python engine go on with a packet, and listen to it if the packet is traced."""
        self._recorder.begin()
        out = run(event)
        packet = self._find(event) if self._read(event, "trace_wanted") else None
        if packet is None:
            return out
        part = _Part(*self._recorder.told(out))
        if event.kind is EventKind.CLONE:
            packet.clones = part
        elif event.kind is EventKind.EGRESS_CLONE:
            packet.egress_clones = part
        else:
            steps = [*self._way(event, packet), *packet.egress_clones.steps, *part.steps]
            self._tell(packet, steps, [*packet.clones.ends, *packet.egress_clones.ends, *part.ends])
            del self._open[self._read(event, "trace_cpu")]
        return out

    def _find(self, event: StateEvent) -> _Packet | None:
        """The packet that a message is about, unless its beginning was lost."""
        packet = self._open.get(self._read(event, "trace_cpu"))
        return packet if packet is not None and packet.serial == self._read(event, "trace_serial") else None

    def _way(self, event: StateEvent, packet: _Packet) -> list[Step]:
        """The tables that the packet was looked up in, and its clones' where they were made."""
        whole, way = self._read(event, "trace_way"), []
        for number in range(self._read(event, "trace_steps")):
            step = whole >> STEP_BITS * number & (1 << STEP_BITS) - 1
            if step == CLONED:
                way += packet.clones.steps
            else:
                action = step & NO_ACTION
                way.append(self._tracing.legend.step(step >> 16, bool(step >> 15 & 1), action))
        return way

    def _tell(self, packet: _Packet, steps: Sequence[Step], ends: Sequence[End]) -> None:
        time_ns = self._tracing.wall_ns() - (self._clock() - packet.begun_ns)
        error = self._tracing.legend.error(packet.error)
        frame = packet.frame
        record = Record(time_ns, packet.port, frame, len(frame), tuple(steps), tuple(ends), error)
        self._tracing.tell(packet.wanted, record)

    def _read(self, event: StateEvent, name: str) -> int:
        return self._layout.read(event.state, name)
