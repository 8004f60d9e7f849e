"""The python engine: a program translated once into functions, and the loop that runs packets through them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from softswitch.arrays import CounterStore, MeterStore, RegisterStore
from softswitch.engine.python.code import Code
from softswitch.engine.python.context import Numbers
from softswitch.engine.python.names import Names
from softswitch.engine.python.observing import AssertionFailed, Timing, Work, timed, traced
from softswitch.engine.python.translate import InstanceType, translate
from softswitch.errors import UnsupportedConstruct
from softswitch.program import Program
from softswitch.replication import ReplicationStore
from softswitch.stats import Stats
from softswitch.tables import TableStore
from softswitch.trace.record import Verdict
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
        started: int | None = None,
    ) -> None:
        """started: what the program's timestamps count from, by `clock`; None: from now on."""
        self._program = program
        self._stores = stores
        self._numbers = numbers
        self._drop_port = drop_port
        self._clock = clock
        self._stats = stats
        self._work: Work = deque()
        self.started = clock() if started is None else started
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
        self.plain = self._translate(None)
        """The program as it runs while nobody traces."""
        self._traced: Code | None = None
        self._timing: tuple[Timing, Callable[[], int]] | None = None
        self._needs_clock = self.plain.translation.needs_clock
        self._ingress = self.plain.ingress

    def _translate(self, tracing: Tracing | None) -> Code:
        """The program as functions; with `tracing` such that tell a recorder what they do."""
        program, stores = self._program, self._stores
        filters = None if tracing is None else [watch.filter for watch in tracing.watches]
        recorder = None if tracing is None else Recorder(tracing)
        try:
            translation = translate(program, stores.tables, self._numbers, self._drop_port, filters)
            code = compile(translation.source, f"<translated {program.name or 'program'}>", "exec")
        except (IndentationError, RecursionError, MemoryError) as error:
            # Python nests blocks no deeper than 100 levels, and so can programs
            raise UnsupportedConstruct("control flow or an expression nested this deeply") from error
        scope = {**self._scope, **_objects(stores, translation.names), **translation.objects, "trace": recorder}
        exec(code, scope)  # the source is this package's own translation
        return Code(translation, scope, recorder)

    # Observing

    def prepare_trace(self, tracing: Tracing) -> Code:
        """As `softswitch.trace.Traceable`."""
        return self._translate(tracing)

    def install_trace(self, prepared: object | None) -> None:
        """As `softswitch.trace.Traceable`."""
        if prepared is not None and not isinstance(prepared, Code):
            raise TypeError("this engine did not prepare that")
        self._traced = prepared
        self._observe()

    def lost_traces(self) -> int:
        """As `softswitch.trace.Traceable`: this engine loses none."""
        return 0

    def measure(self, clock: Callable[[], int] | None) -> Timing:
        """Count in what is returned how long packets take from now on by this clock of nanoseconds; None ends it."""
        timing = Timing()
        self._timing = None if clock is None else (timing, clock)
        self._observe()
        return timing

    def _observe(self) -> None:
        """Put together what runs for each packet."""
        code = self._traced or self.plain
        self._ingress, self._needs_clock = code.ingress, code.translation.needs_clock
        if code.recorder is not None:
            self._ingress = traced(self._ingress, self._drain, code.recorder, self._stats)
        if self._timing is not None:
            self._ingress = timed(self._ingress, self._drain, *self._timing)

    @property
    def source(self) -> str:
        """The translated program."""
        return self.plain.translation.source

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

    # Packets that another engine began, with `plain` or the code of a trace; what it records is the caller's to take

    def now(self) -> int:
        """What a packet that came now would take for the time: nanoseconds; zero if the program never asks."""
        return self._clock() if self._needs_clock else 0

    def reenter(
        self,
        code: Code,
        kind: InstanceType,
        packet: bytes,
        octets: int,
        field_list: int,
        kept: tuple[object, ...],
        now: int,
    ) -> list[tuple[int, bytes]]:
        """Resubmit or recirculate: one more pass. `kept` has the values of the field list's fields."""
        return self._finish(
            code,
            lambda out: self._work.append(
                (code.ingress, (0, packet, octets, kind, now, field_list, kept, out, self._work))
            ),
        )

    def clone(
        self, code: Code, session: int, port: int, packet: bytes, field_list: int, kept: tuple[object, ...], now: int
    ) -> list[tuple[int, bytes]]:
        """The copies of a packet that arrived at `port` and was cloned in ingress."""
        copies, left = self._stores.replication.session_copies.get(session, ((), 0))
        if not copies:
            return []
        clone = code.function("clone")
        return self._finish(
            code, lambda out: clone(port, packet, len(packet), now, copies, left, field_list, kept, out, self._work)
        )

    def replicate(self, code: Code, group: int, paused: PausedPacket) -> list[tuple[int, bytes]]:
        """A packet's copies for a multicast group."""
        copies = self._stores.replication.group_copies.get(group, ())
        if not copies:
            self._stats.drops += 1
            if code.recorder is not None:
                code.recorder.ends.append((Verdict.NO_COPIES, 0))

        def start(out: list[tuple[int, bytes]]) -> None:
            for port, rid in copies:
                self._egress(code, port, rid, InstanceType.REPLICATION, paused, paused.packet, out)

        return self._finish(code, start)

    def clone_egress(self, code: Code, session: int, paused: PausedPacket) -> list[tuple[int, bytes]]:
        """The copies of a packet that was cloned in egress, with its headers as they are."""
        copies, left = self._stores.replication.session_copies.get(session, ((), 0))
        packet = paused.packet[: max(left, paused.at)] if left else paused.packet

        def start(out: list[tuple[int, bytes]]) -> None:
            for port, rid in copies:
                self._work.append((self._egress, (code, port, rid, InstanceType.EGRESS_CLONE, paused, packet, out)))

        return self._finish(code, start)

    def _egress(
        self,
        code: Code,
        port: int,
        rid: int,
        kind: InstanceType,
        paused: PausedPacket,
        packet: bytes,
        out: list[tuple[int, bytes]],
    ) -> None:
        fixed = (port, rid, kind, packet, paused.at, paused.octets, paused.now, out, self._work)
        code.function("egress")(*fixed, *paused.state)

    def _finish(self, code: Code, start: Callable[[list[tuple[int, bytes]]], None]) -> list[tuple[int, bytes]]:
        """Run what `start` begins to its end; return what leaves as (port, packet)."""
        out: list[tuple[int, bytes]] = []
        exceeded = self._stats.passes_exceeded
        try:
            start(out)
            self._drain()
        except AssertionFailed as failure:
            self._work.clear()
            self._stats.assertions_failed += 1
            _program_log.error("%s", failure)
            if code.recorder is not None:
                code.recorder.ends.append((Verdict.ASSERTION, 0))
        except BaseException:
            self._work.clear()
            raise
        if code.recorder is not None and self._stats.passes_exceeded != exceeded:
            code.recorder.ends.append((Verdict.TOO_MANY_PASSES, 0))
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
