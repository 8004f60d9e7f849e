"""Hashes and checksums in translated code."""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.engine.python.context import Context
from softswitch.engine.python.terms import Term
from softswitch.engine.python.writer import Writer
from softswitch.hashes import ALGORITHMS
from softswitch.program.expressions import VALID_FIELD, FieldRef
from softswitch.program.program import Calculation, CalculationInput, Payload, SizedConstant

__all__ = ["Calculations"]

_WORD_SUM = frozenset({"csum16", "cksum16"})


class Calculations:
    """Renders calculations; fields of invalid headers are left out of the input."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer

    def render(self, calculation: Calculation) -> Term:
        """Write what prepares the result; returns the result."""
        return self.of(calculation.algorithm, calculation.inputs)

    def of(self, algorithm: str, inputs: Sequence[CalculationInput]) -> Term:
        """As `render`, for an algorithm and its inputs."""
        function, width = ALGORITHMS[algorithm]
        name = self._context.object("hash", algorithm, function)
        payload = any(isinstance(item, Payload) for item in inputs)
        items = [item for item in inputs if not isinstance(item, Payload)]
        headers = self._headers(items)
        varbit = any(isinstance(item, FieldRef) and item.width == 0 for item in items)
        size = sum(item.width for item in items)
        whole_words = (size + 7) // 8 % 2 == 0
        result = Term("value", 0, (1 << width) - 1, atom=True)
        if varbit:
            self._slow(name, items, payload)
            return result
        condition = " and ".join(self._context.names.valid(header) for header in headers)
        if condition:
            with self._writer.block(f"if {condition}"):
                self._fast(algorithm, name, items, size, payload, whole_words)
            with self._writer.block("else"):
                self._slow(name, items, payload)
        else:
            self._fast(algorithm, name, items, size, payload, whole_words)
        return result

    def _headers(self, items: Sequence[FieldRef | SizedConstant]) -> list[str]:
        """Headers whose validity decides what goes in."""
        found: dict[str, None] = {}
        for item in items:
            if not isinstance(item, FieldRef) or item.field == VALID_FIELD:
                continue
            if not self._context.program.headers[item.header].metadata:
                found[item.header] = None
        return list(found)

    def _text(self, item: FieldRef | SizedConstant) -> str:
        if isinstance(item, SizedConstant):
            return hex(item.value & ((1 << item.width) - 1))
        term = self._context.expressions.field(item)
        return f"({term.text} & {(1 << item.width) - 1:#x})" if item.signed else term.text

    def _fast(
        self,
        algorithm: str,
        function: str,
        items: Sequence[FieldRef | SizedConstant],
        size: int,
        payload: bool,
        whole_words: bool,
    ) -> None:
        if algorithm in _WORD_SUM and (whole_words or not payload):
            self._word_sum(items, size, payload)
            return
        shift, terms = (size + 7) // 8 * 8, []
        for item in items:
            shift -= item.width
            text = self._text(item)
            if text != "0x0":
                terms.append(f"{text} << {shift}" if shift else text)
        joined = f"({' | '.join(terms) or '0'}).to_bytes({(size + 7) // 8}, 'big')"
        if payload:
            joined += " + packet[at:at + cut]" if self._context.truncates else " + packet[at:]"
        self._writer.line(f"value = {function}({joined})")

    def _word_sum(self, items: Sequence[FieldRef | SizedConstant], size: int, payload: bool) -> None:
        """The Internet checksum from the fields themselves: 2**16 is 1 modulo 2**16 - 1, so only a field's place
        within its 16-bit word counts."""
        shift, terms = (size + 15) // 16 * 16, []
        for item in items:
            shift -= item.width
            text = self._text(item)
            if text != "0x0":
                terms.append(f"({text} << {shift % 16})" if shift % 16 else text)
        if payload:
            self._context.objects["word_sum"] = _payload_sum
            terms.append(f"word_sum({'packet[at:at + cut]' if self._context.truncates else 'packet[at:]'})")
        self._writer.line(f"sum_ = {' + '.join(terms) or '0'}")
        self._writer.line("left = sum_ % 65535")
        self._writer.line("value = 65535 - left if left or not sum_ else 0")

    def _slow(self, function: str, items: Sequence[FieldRef | SizedConstant], payload: bool) -> None:
        """With some headers invalid, or a varbit field: join what there is at run time."""
        self._context.objects["joined"] = _joined
        parts = []
        for item in items:
            if isinstance(item, FieldRef) and item.width == 0:
                layout = self._context.layouts[item.header]
                parts.append(f"({layout.field(item.field)}, -1) if {layout.valid} else (0, 0)")
                continue
            pair = f"({self._text(item)}, {item.width})"
            if self._headers([item]):
                valid = self._context.names.valid(item.header) if isinstance(item, FieldRef) else "1"
                pair = f"{pair} if {valid} else (0, 0)"
            parts.append(pair)
        tail = ("packet[at:at + cut]" if self._context.truncates else "packet[at:]") if payload else "b''"
        listed = ", ".join(parts)
        self._writer.line(f"value = {function}(joined(({listed}{',' if parts else ''}), {tail}))")


def _joined(parts: tuple[tuple[int | bytes, int], ...], payload: bytes) -> bytes:
    """Values of given widths end to end, padded with zero bits to whole bytes, and the payload."""
    total = width = 0
    for value, size in parts:
        if isinstance(value, bytes):
            total, width = total << 8 * len(value) | int.from_bytes(value, "big"), width + 8 * len(value)
        else:
            total, width = total << size | value, width + size
    count = (width + 7) // 8
    return (total << (8 * count - width)).to_bytes(count, "big") + payload


def _payload_sum(payload: bytes) -> int:
    """A number with the remainder that the payload's sum of 16-bit words has modulo 65535."""
    return int.from_bytes(payload, "big") << (8 * (len(payload) & 1))
