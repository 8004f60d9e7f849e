"""Checksums and the deparser in translated code."""

from __future__ import annotations

from softswitch.engine.python.calculations import Calculations
from softswitch.engine.python.context import Context
from softswitch.engine.python.layout import Layout
from softswitch.engine.python.statements import Statements
from softswitch.engine.python.writer import Writer
from softswitch.program.program import Checksum

__all__ = ["DeparserWriter"]


class DeparserWriter:
    """Writes verification and update of checksums, and the emission of headers."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer
        self._statements = Statements(context, writer)
        self._calculations = Calculations(context, writer)

    def verify(self) -> None:
        """Set `checksum_error` when a checksum is wrong, as far as anything reads it."""
        result = self._context.intrinsic("checksum_error")
        if result is None:
            return
        for checksum in self._context.program.checksums:
            if checksum.verify:
                self._verify(checksum, result)

    def _verify(self, checksum: Checksum, result: str) -> None:
        tests = []
        if not self._context.program.headers[checksum.target.header].metadata:
            tests.append(self._context.names.valid(checksum.target.header))
        if checksum.condition is not None:
            tests.append(f"({self._context.expressions.condition(checksum.condition).text})")
        with self._writer.block(f"if {' and '.join(tests) or 'True'}", checksum.location):
            value = self._calculations.render(self._context.program.calculations[checksum.calculation])
            with self._writer.block(f"if {value.text} != {self._context.expressions.field(checksum.target).text}"):
                self._writer.line(f"{result} = 1")

    def update(self) -> None:
        """Write every checksum that is to be updated."""
        for checksum in self._context.program.checksums:
            if checksum.update:
                self._update(checksum)

    def _update(self, checksum: Checksum) -> None:
        condition = checksum.condition
        test = "True" if condition is None else self._context.expressions.condition(condition).text
        with self._writer.block(f"if {test}", checksum.location):
            value = self._calculations.render(self._context.program.calculations[checksum.calculation])
            field = self._context.expressions.field(checksum.target).text
            with self._writer.block(f"if {value.text} != {field}"):
                self._statements.assign(checksum.target, value)

    def emit(self) -> None:
        """Leave the outgoing packet in `data`."""
        line = self._writer.line
        line("parts = []")
        for name in self._context.program.deparser:
            layout = self._context.layouts[name]
            with self._writer.block(f"if {layout.valid}"):
                self._emit(layout)
        line("parts.append(packet[at:])")
        line("data = b''.join(parts)")
        if self._context.truncates:
            line("data = data[:cut]")

    def _emit(self, layout: Layout) -> None:
        varbit = layout.field(layout.varbit.name) if layout.varbit is not None else None
        end = f"{layout.place} + {layout.size}" + (f" + len({varbit})" if varbit else "")
        fresh = f"packet[{layout.place}:{end}]"
        if not layout.packs:
            self._writer.line(f"parts.append({fresh})" if layout.has_place else "pass")
            return
        codec = self._context.object("pack", layout.name, layout.codec().pack)
        packed = f"{codec}({', '.join(layout.packed)})" + (f" + {varbit}" if varbit else "")
        if layout.has_place:
            self._writer.line(f"parts.append({fresh} if {layout.place} >= 0 else {packed})")
        else:
            self._writer.line(f"parts.append({packed})")
