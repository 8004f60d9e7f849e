"""The python engine: a program translated once into functions, and the loop that runs packets through them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from types import CodeType

from softswitch.arrays import CounterStore, MeterStore, RegisterStore
from softswitch.engine.python.context import Numbers
from softswitch.engine.python.names import Names
from softswitch.engine.python.translate import InstanceType, Translation, translate
from softswitch.errors import UnsupportedConstruct
from softswitch.program import Program
from softswitch.replication import ReplicationStore
from softswitch.stats import Stats
from softswitch.tables import TableStore

__all__ = ["MAX_PASSES", "PythonEngine", "Stores"]

MAX_PASSES = 64
"""Passes that one packet and its copies may make beside the first; a P4 program that resubmits, recirculates or
clones without end would otherwise never come back."""

_program_log = logging.getLogger("softswitch.program")


class AssertionFailed(Exception):
    """An `assert` or `assume` of the P4 program did not hold."""


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
        self.translation, code = _translated(program, stores, numbers, drop_port)
        self._clock = clock
        self._stats = stats
        self._work: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        scope: dict[str, object] = {
            **_objects(stores, self.translation.names),
            **self.translation.objects,
            "AssertionFailed": AssertionFailed,
            "emit_digest": emit_digest,
            "groups": stores.replication.group_copies,
            "sessions": stores.replication.session_copies,
            "log_message": _log_message,
            "random_between": Random(0).between,
            "started": clock(),
            "stats": stats,
        }
        exec(code, scope)  # the source is this package's own translation
        ingress = scope["ingress"]
        if not callable(ingress):
            raise TypeError("the translation has no ingress function")
        self._ingress: Callable[..., None] = ingress

    @property
    def source(self) -> str:
        """The translated program."""
        return self.translation.source

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet; return what leaves as (port, packet)."""
        out: list[tuple[int, bytes]] = []
        work, stats = self._work, self._stats
        stats.packets_in += 1
        now = self._clock() if self.translation.needs_clock else 0
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


def _translated(program: Program, stores: Stores, numbers: Numbers, drop_port: int) -> tuple[Translation, CodeType]:
    """The translation and its code. Python nests blocks no deeper than 100 levels, and so can programs."""
    try:
        translation = translate(program, stores.tables, numbers, drop_port)
        return translation, compile(translation.source, f"<translated {program.name or 'program'}>", "exec")
    except (IndentationError, RecursionError, MemoryError) as error:
        raise UnsupportedConstruct("control flow or an expression nested this deeply") from error


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
