"""The python engine: a program translated once into functions, and the loop that runs packets through them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from softswitch.arrays import CounterStore, MeterStore, RegisterStore
from softswitch.engine.python.context import Numbers
from softswitch.engine.python.names import Names
from softswitch.engine.python.observing import AssertionFailed, Ingress, Timing, Work, timed, traced
from softswitch.engine.python.translate import InstanceType, Translation, translate
from softswitch.errors import UnsupportedConstruct
from softswitch.program import Program
from softswitch.program.expressions import Expression
from softswitch.replication import ReplicationStore
from softswitch.stats import Stats
from softswitch.tables import TableStore
from softswitch.trace.recorder import Recorder
from softswitch.trace.tracer import Tracing

__all__ = ["MAX_PASSES", "PausedPacket", "PythonEngine", "Stores"]

MAX_PASSES = 64
"""Passes that one packet and its copies may make beside the first; a P4 program that resubmits, recirculates or
clones without end would otherwise never come back."""

_program_log = logging.getLogger("softswitch.program")


class Random:
    """Numbers for the program's `random` (SplitMix64): the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        value = self._state
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        value = (value ^ value >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        return low + (value ^ value >> 31) % (high - low + 1)


@dataclass(frozen=True, slots=True)
class _TracedProgram:
    ingress: Ingress
    needs_clock: bool


@dataclass(frozen=True, slots=True)
class PausedPacket:
    """A packet between ingress and egress, or inside of egress."""

    packet: bytes
    """As it arrived."""
    at: int
    """Where its payload starts."""
    octets: int
    """What counters count it as."""
    now: int
    """When it arrived, in nanoseconds."""
    state: tuple[object, ...]
    """The values of the translation's `state`."""


class Stores:
    """All state that a program and its control plane share."""

    def __init__(self, program: Program) -> None:
        tables = {**program.ingress.tables, **program.egress.tables}
        self.tables = {name: TableStore(table) for name, table in tables.items()}
        self.counters = {c.name: CounterStore(c) for c in program.counters.values() if c.table is None}
        self.meters = {m.name: MeterStore(m) for m in program.meters.values() if m.table is None}
        self.registers = {register.name: RegisterStore(register) for register in program.registers.values()}
        self.replication = ReplicationStore()


class PythonEngine:
    """Runs packets through a translated program."""

    def __init__(
        self,
        program: Program,
        stores: Stores,
        numbers: Numbers,
        *,
        drop_port: int,
        clock: Callable[[], int],
        emit_digest: Callable[[int, tuple[int, ...]], None],
        stats: Stats,
    ) -> None:
        self._program = program
        self._stores = stores
        self._numbers = numbers
        self._drop_port = drop_port
        self._clock = clock
        self._stats = stats
        self._work: Work = deque()
        self.started = clock()
        """The program's timestamps count from here."""
        self._scope: dict[str, object] = {
            "AssertionFailed": AssertionFailed,
            "emit_digest": emit_digest,
            "groups": stores.replication.group_copies,
            "sessions": stores.replication.session_copies,
            "log_message": _log_message,
            "random_between": Random(0).between,
            "started": self.started,
            "stats": stats,
        }
        self.translation, self._plain, self._functions = self._translate(None)
        self._traced: _TracedProgram | None = None
        self._timing: tuple[Timing, Callable[[], int]] | None = None
        self._needs_clock = self.translation.needs_clock
        self._ingress = self._plain

    def _translate(
        self, filters: Sequence[Expression] | None, **traces: object
    ) -> tuple[Translation, Ingress, Mapping[str, object]]:
        """The program as a function, with the others beside it; with `filters` one that writes into `trace`."""
        program, stores = self._program, self._stores
        try:
            translation = translate(program, stores.tables, self._numbers, self._drop_port, filters)
            code = compile(translation.source, f"<translated {program.name or 'program'}>", "exec")
        except (IndentationError, RecursionError, MemoryError) as error:
            # Python nests blocks no deeper than 100 levels, and so can programs
            raise UnsupportedConstruct("control flow or an expression nested this deeply") from error
        scope = {**self._scope, **_objects(stores, translation.names), **translation.objects, **traces}
        exec(code, scope)  # the source is this package's own translation
        ingress = scope["ingress"]
        if not callable(ingress):
            raise TypeError("the translation has no ingress function")
        return translation, ingress, scope

    # Observing

    def prepare_trace(self, tracing: Tracing) -> object:
        """As `softswitch.trace.Traceable`."""
        recorder = Recorder(tracing)
        translation, ingress, _ = self._translate([watch.filter for watch in tracing.watches], trace=recorder)
        return _TracedProgram(traced(ingress, self._drain, recorder, self._stats), translation.needs_clock)

    def install_trace(self, prepared: object | None) -> None:
        """As `softswitch.trace.Traceable`."""
        if prepared is not None and not isinstance(prepared, _TracedProgram):
            raise TypeError("this engine did not prepare that")
        self._traced = prepared
        self._observe()

    def measure(self, clock: Callable[[], int] | None) -> Timing:
        """Count in what is returned how long packets take from now on by this clock of nanoseconds; None ends it."""
        timing = Timing()
        self._timing = None if clock is None else (timing, clock)
        self._observe()
        return timing

    def _observe(self) -> None:
        """Put together what runs for each packet."""
        self._ingress, self._needs_clock = self._plain, self.translation.needs_clock
        if self._traced is not None:
            self._ingress, self._needs_clock = self._traced.ingress, self._traced.needs_clock
        if self._timing is not None:
            self._ingress = timed(self._ingress, self._drain, *self._timing)

    @property
    def source(self) -> str:
        """The translated program."""
        return self.translation.source

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet; return what leaves as (port, packet)."""
        out: list[tuple[int, bytes]] = []
        work, stats = self._work, self._stats
        stats.packets_in += 1
        now = self._clock() if self._needs_clock else 0
        try:
            self._ingress(port, packet, len(packet), InstanceType.NORMAL, now, 0, (), out, work)
            if work:
                self._drain()
        except AssertionFailed as failure:
            work.clear()
            stats.assertions_failed += 1
            _program_log.error("%s", failure)
        except BaseException:
            work.clear()
            raise
        stats.packets_out += len(out)
        return out

    # Packets that another engine began

    def now(self) -> int:
        """What a packet that came now would take for the time: nanoseconds; zero if the program never asks."""
        return self._clock() if self._needs_clock else 0

    def reenter(
        self, kind: InstanceType, packet: bytes, octets: int, field_list: int, kept: tuple[object, ...], now: int
    ) -> list[tuple[int, bytes]]:
        """Resubmit or recirculate: one more pass. `kept` has the values of the field list's fields."""
        return self._finish(
            lambda out: self._work.append(
                (self._plain, (0, packet, octets, kind, now, field_list, kept, out, self._work))
            )
        )

    def clone(
        self, session: int, port: int, packet: bytes, field_list: int, kept: tuple[object, ...], now: int
    ) -> list[tuple[int, bytes]]:
        """The copies of a packet that arrived at `port` and was cloned in ingress."""
        copies, left = self._stores.replication.session_copies.get(session, ((), 0))
        if not copies:
            return []
        clone = self._function("clone")
        return self._finish(
            lambda out: clone(port, packet, len(packet), now, copies, left, field_list, kept, out, self._work)
        )

    def replicate(self, group: int, paused: PausedPacket) -> list[tuple[int, bytes]]:
        """A packet's copies for a multicast group."""
        copies = self._stores.replication.group_copies.get(group, ())
        if not copies:
            self._stats.drops += 1

        def start(out: list[tuple[int, bytes]]) -> None:
            for port, rid in copies:
                self._egress(port, rid, InstanceType.REPLICATION, paused, paused.packet, out)

        return self._finish(start)

    def clone_egress(self, session: int, paused: PausedPacket) -> list[tuple[int, bytes]]:
        """The copies of a packet that was cloned in egress, with its headers as they are."""
        copies, left = self._stores.replication.session_copies.get(session, ((), 0))
        packet = paused.packet[: max(left, paused.at)] if left else paused.packet

        def start(out: list[tuple[int, bytes]]) -> None:
            for port, rid in copies:
                self._work.append((self._egress, (port, rid, InstanceType.EGRESS_CLONE, paused, packet, out)))

        return self._finish(start)

    def _egress(
        self,
        port: int,
        rid: int,
        kind: InstanceType,
        paused: PausedPacket,
        packet: bytes,
        out: list[tuple[int, bytes]],
    ) -> None:
        fixed = (port, rid, kind, packet, paused.at, paused.octets, paused.now, out, self._work)
        self._function("egress")(*fixed, *paused.state)

    def _function(self, name: str) -> Callable[..., None]:
        function = self._functions[name]
        if not callable(function):
            raise TypeError(f"the translation has no {name} function")
        return function

    def _finish(self, start: Callable[[list[tuple[int, bytes]]], None]) -> list[tuple[int, bytes]]:
        """Run what `start` begins to its end; return what leaves as (port, packet)."""
        out: list[tuple[int, bytes]] = []
        try:
            start(out)
            self._drain()
        except AssertionFailed as failure:
            self._work.clear()
            self._stats.assertions_failed += 1
            _program_log.error("%s", failure)
        except BaseException:
            self._work.clear()
            raise
        self._stats.packets_out += len(out)
        return out

    def _drain(self) -> None:
        passes = 0
        while self._work:
            function, arguments = self._work.popleft()
            passes += 1
            if passes > MAX_PASSES:
                self._stats.passes_exceeded += 1 + len(self._work)
                self._work.clear()
                return
            function(*arguments)


def _objects(stores: Stores, names: Names) -> dict[str, object]:
    """The stores' insides under the identifiers that the code knows them by."""
    found: dict[str, object] = {}
    for table, store in stores.tables.items():
        found[names.object("miss", table)] = store.miss
    for counter, counters in stores.counters.items():
        found[names.object("packets", counter)] = counters.packets
        found[names.object("octets", counter)] = counters.octets
    for meter, meters in stores.meters.items():
        found[names.object("meters", meter)] = meters.meters
    for register, registers in stores.registers.items():
        found[names.object("cells", register)] = registers.cells
    return found


def _log_message(place: str, text: str, values: tuple[int, ...]) -> None:
    """`log_msg` of the P4 program: each `{}` becomes the next value."""
    for value in values:
        text = text.replace("{}", str(value), 1)
    _program_log.info("%s: %s", place, text)
