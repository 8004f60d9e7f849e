"""What a traced program tells of a packet: its struct state with notes in it, once a filter fits and again at the end.

A translation that nobody traces has none of this. The notes are members of struct state, so that a packet which goes
on in the python engine takes them along (`trace_records.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.lookups import is_fixed
from softswitch.engine.xdp.writer import Writer
from softswitch.program.controls import Table
from softswitch.trace.record import Verdict

__all__ = ["BEGIN", "CLONED", "NO_ACTION", "STEP_BITS", "Traces", "kept_notes", "zeroed_notes"]

STEP_BITS = 32
"""A step is the table's number << 16 | hit << 15 | the action's number."""
NO_ACTION = 0x7FFF
CLONED = 0xFFFF_0000
"""The step that stands where ingress made its clones."""
BEGIN = 0xFF
"""In place of a verdict: the packet has only just come."""


def zeroed_notes(context: Context) -> Iterator[tuple[str, int]]:
    """Name and bits of the notes that every packet begins without."""
    if context.traces:
        yield "trace_wanted", 32
        yield "trace_steps", 32


def kept_notes(context: Context) -> Iterator[tuple[str, int]]:
    """Name and bits of the notes that mean something only once a filter fitted."""
    if context.traces:
        yield "trace_time", 64
        yield "trace_serial", 32
        yield "trace_cpu", 32
        yield "trace_verdict", 32
        yield "trace_way", STEP_BITS * _most_steps(context)


def _most_steps(context: Context) -> int:
    """A pipeline has no loops: each table that chooses an action is one step at most; clones are another."""
    tables = (*context.program.ingress.tables.values(), *context.program.egress.tables.values())
    return 1 + sum(not is_fixed(table) for table in tables)


class Traces:
    """Writes the calls of `runtime/traces.h`; nothing where nobody traces."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer
        self._tables = {name: number for number, name in enumerate(context.program.tables())}

    def constants(self) -> None:
        """What the runtime's part needs to know."""
        self._writer.line(f"enum {{ TRACE_STEPS = {_most_steps(self._context)}, TRACE_BEGIN = {BEGIN:#x} }};")

    def choose(self) -> None:
        """After the parser and the checksums: whether any filter fits, and if so the first of the two messages."""
        filters = self._context.filters
        if filters is None:
            return
        for number, watched in enumerate(filters):
            self._writer.comment(f"filter {number}")
            condition = Expressions(self._context, self._writer).condition(watched)
            with self._writer.block(f"if ({condition.text})"):
                self._writer.line(f"s->trace_wanted |= {1 << number:#x};")
        with self._writer.block("if (s->trace_wanted)"):
            self._writer.line("begin_trace(ctx);")

    def step(self, table: Table, hit: bool, row: str) -> None:
        """After a lookup: the action is the one in `row`, which may be NULL."""
        if self._context.traces:
            known = self._tables[table.name] << 16 | hit << 15
            self._writer.line(f"trace_step(s, {known:#x} | ({row} ? {row}->action & {NO_ACTION:#x} : {NO_ACTION:#x}));")

    def miss(self, table: Table, action: int | None) -> None:
        """After a miss of a table whose default action, if it has any, has this number for good."""
        if self._context.traces:
            number = NO_ACTION if action is None else action
            self._writer.line(f"trace_step(s, {self._tables[table.name] << 16 | number:#x});")

    def cloned(self) -> None:
        """Where ingress makes its clones."""
        if self._context.traces:
            self._writer.line(f"trace_step(s, {CLONED:#x});")

    def end(self, verdict: Verdict) -> None:
        """Here the packet ends, or leaves by `s->port`."""
        if self._context.traces:
            self._writer.comment(verdict.name.replace("_", " ").lower())
            self._writer.line(f"end_trace(ctx, s, {verdict:d});")
