"""What traced code tells of a packet: a translation without watchers has none of this."""

from __future__ import annotations

from softswitch.engine.python.context import Context
from softswitch.engine.python.writer import Writer
from softswitch.program.controls import Table
from softswitch.trace.record import Verdict

__all__ = ["Traces"]


class Traces:
    """Writes notes into `trace`, a `softswitch.trace.recorder.Recorder`; nothing where nobody traces."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer
        self._tables = {name: number for number, name in enumerate(context.program.tables())}

    def ingress(self) -> None:
        """After the parser: which filters the packet fits. What is resubmitted or recirculated stays what it was."""
        filters = self._context.filters
        if filters is None:
            return
        with self._writer.block("if kind"):
            self._writer.line("trace.steps.append(kind)")
        with self._writer.block("else"):
            self._writer.line("trace.error = error")
            for number, watched in enumerate(filters):
                self._writer.comment(f"filter {number}")
                with self._writer.block(f"if {self._context.expressions.condition(watched).text}"):
                    self._writer.line(f"trace.wanted |= {1 << number:#x}")

    def egress(self) -> None:
        """At the start of egress: a copy begins."""
        if self._context.traces:
            with self._writer.block("if kind"):
                self._writer.line("trace.steps.append(kind)")

    def table(self, table: Table) -> None:
        """After a lookup, with what is to be run in `entry` and the row or None in `row`."""
        if self._context.traces:
            hit = "row is not None" if table.key else "False"
            self._writer.line(f"trace.steps.append(({self._tables[table.name]}, {hit}, entry.action))")

    def end(self, verdict: Verdict, port: str = "0") -> None:
        """The packet, or this copy of it, ends here."""
        if self._context.traces:
            self._writer.line(f"trace.ends.append(({verdict:d}, {port}))")
