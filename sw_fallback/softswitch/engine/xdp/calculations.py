"""Hashes and checksums in generated code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from softswitch.engine.xdp.arithmetic import Arithmetic
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.terms import WORD, Term
from softswitch.engine.xdp.values import FULL, Kind, Value, boolean, constant, variable
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import NOWHERE, SourceLocation, UnsupportedConstruct
from softswitch.hashes import ALGORITHMS
from softswitch.program.expressions import VALID_FIELD, FieldRef
from softswitch.program.program import Calculation, CalculationInput, Payload, SizedConstant

__all__ = ["Calculations"]

_MAX_CASES = 4
"""Headers whose presence is told apart, two cases each, where what follows a header moves by parts of a unit."""
_LINE = 90
"""Characters of a sum in one line."""


@dataclass(frozen=True, slots=True)
class _Crc:
    """How a CRC goes on in `runtime/hashes.h`."""

    function: str
    start: str
    result: str
    """From the last value."""
    bytes: int = 8
    """At a time."""


_CRCS = {
    "crc32": _Crc("crc32_add", "0xffffffff", "~{}"),
    "crc16": _Crc("crc16_add", "0", "{}"),
    "crcCCITT": _Crc("ccitt_add", "0xffff", "{}"),
    "crc8_custom": _Crc("crc8_add", "0", "{}"),
    "crc64_custom": _Crc("crc64_add", "0", "{}", 4),
}
_CRCS |= {f"{name}_custom": _CRCS[name] for name in ("crc32", "crc16")}
_SUMS = frozenset({"csum16", "cksum16"})
_FOLDS = {"xor16": "xor16_fold", "xor32": "xor32_fold"}
_UNITS = {**dict.fromkeys(_CRCS, 8), "xor16": 16, "xor32": 32}
"""Bits of input after which the place of what follows does not matter any more."""
Items = Sequence[FieldRef | SizedConstant]


@dataclass(frozen=True, slots=True)
class _Run:
    """Inputs one after another that are there together."""

    header: str | None
    """Only when this header is valid."""
    items: tuple[FieldRef | SizedConstant, ...]

    @property
    def width(self) -> int:
        return sum(item.width for item in self.items)


class Calculations:
    """Renders calculations; fields of invalid headers are left out of the input."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer
        self._arithmetic = Arithmetic(writer)

    def render(self, calculation: Calculation) -> Term:
        """Write what prepares the result; returns the result, a variable."""
        return self.value(calculation).term()

    def of(self, algorithm: str, inputs: Sequence[CalculationInput], location: SourceLocation = NOWHERE) -> Term:
        """As `render`, for an algorithm and its inputs."""
        return self._of(algorithm, inputs, location).term()

    def value(self, calculation: Calculation) -> Value:
        """As `render`, for those who go on computing."""
        return self._of(calculation.algorithm, calculation.inputs, calculation.location)

    def _of(self, algorithm: str, inputs: Sequence[CalculationInput], location: SourceLocation) -> Value:
        if algorithm not in ALGORITHMS:
            raise UnsupportedConstruct(f"hash algorithm '{algorithm}'", location)
        items: list[FieldRef | SizedConstant] = []
        for item in inputs:
            if isinstance(item, Payload):
                raise UnsupportedConstruct("checksum over the payload", location)
            if item.width == 0:
                raise UnsupportedConstruct("checksum over a varbit field", location)
            items.append(item)
        runs = self._runs(items)
        unit = _UNITS.get(algorithm)
        headers = list(dict.fromkeys(run.header for run in runs if run.header is not None))
        width = ALGORITHMS[algorithm][1]
        whole = unit is not None and all(run.width % unit == 0 for run in runs)
        if not headers or whole or algorithm in _SUMS:
            text = self._chain(algorithm, runs)
            return _result(self._writer.temporary(_ctype(width), text), width)
        if len(headers) > _MAX_CASES:
            raise UnsupportedConstruct(f"hash over fields of {len(headers)} headers that fill no whole words", location)
        name = self._writer.variable(_ctype(width))
        self._cases(algorithm, items, headers, name)
        return _result(name, width)

    def _runs(self, items: Items) -> list[_Run]:
        runs: list[_Run] = []
        for item in items:
            header = self._header(item)
            if runs and runs[-1].header == header:
                runs[-1] = _Run(header, (*runs[-1].items, item))
            else:
                runs.append(_Run(header, (item,)))
        return runs

    def _header(self, item: FieldRef | SizedConstant) -> str | None:
        """The header whose validity decides whether an item goes in."""
        if not isinstance(item, FieldRef) or item.field == VALID_FIELD:
            return None
        return None if self._context.program.headers[item.header].metadata else item.header

    def _cases(self, algorithm: str, items: Items, headers: Sequence[str], name: str) -> None:
        """One calculation for each set of headers that may be valid."""
        if not headers:
            self._writer.line(f"{name} = {self._chain(algorithm, [_Run(None, tuple(items))])};")
            return
        head, *rest = headers
        with self._writer.block(f"if ({self._context.valid(head)})"):
            self._cases(algorithm, items, rest, name)
        with self._writer.block("else"):
            self._cases(algorithm, [item for item in items if self._header(item) != head], rest, name)

    def _chain(self, algorithm: str, runs: Sequence[_Run]) -> str:
        """The result from one run after the other."""
        if algorithm in _CRCS:
            return self._crc(_CRCS[algorithm], runs)
        if algorithm in _SUMS:
            return self._sum(runs)
        if algorithm in _FOLDS:
            return self._exclusive_or(_FOLDS[algorithm], runs)
        ((run),) = runs or [_Run(None, ())]
        size = (run.width + 7) // 8  # identity: the first eight bytes, right-aligned
        return self._arithmetic.and_(self._part(run.items, 0, 8 * min(size, 8)), constant(FULL), None).text

    def _each(self, runs: Sequence[_Run], write: Callable[[Items], None]) -> None:
        for run in runs:
            if run.header is None:
                write(run.items)
                continue
            with self._writer.block(f"if ({self._context.valid(run.header)})"):
                write(run.items)

    def _crc(self, crc: _Crc, runs: Sequence[_Run]) -> str:
        ctype = {"crc32_add": "u32", "crc64_add": "u64", "crc8_add": "u8"}.get(crc.function, "u16")
        name = self._writer.variable(ctype, crc.start)

        def write(items: Items) -> None:
            size = (sum(item.width for item in items) + 7) // 8
            for start in range(0, size, crc.bytes):
                count = min(crc.bytes, size - start)
                part = self._part(items, 8 * start, 8 * (start + count))
                self._writer.line(f"{name} = {crc.function}({name}, {part.text}, {count});")

        self._each(runs, write)
        return crc.result.format(name)

    def _exclusive_or(self, fold: str, runs: Sequence[_Run]) -> str:
        name = self._writer.variable("u64", "0")

        def write(items: Items) -> None:
            for start in range(0, sum(item.width for item in items), WORD):
                self._writer.line(f"{name} ^= {self._part(items, start, start + WORD).text};")

        self._each(runs, write)
        return f"{fold}({name})"

    def _part(self, items: Items, start: int, end: int) -> Value:
        """Bits `start` to `end`, at most 64, of items laid end to end, as one word; above them anything may be."""
        found, place, need = constant(0), 0, end - start
        for item in items:
            first, last = max(place, start), min(place + item.width, end)
            if first < last:
                moved = self._arithmetic.shift_right(
                    self._item(item), constant(place + item.width - last), last - first
                )
                shifted = self._arithmetic.shift_left(moved, constant(end - last), need)
                found = self._arithmetic.or_(found, shifted, need)
            place += item.width
        if found.single and found.kind.bits < WORD and found.low < 0:
            return Value((found.cast(Kind.U64),), 0, FULL, Kind.U64, FULL)
        return Value((found.term().words[0],), found.low, found.high, found.kind, found.ones)

    def _item(self, item: FieldRef | SizedConstant) -> Value:
        """An item's bits as an unsigned number."""
        if isinstance(item, SizedConstant):
            return constant(item.value & (1 << item.width) - 1)
        if item.field == VALID_FIELD:
            metadata = self._context.program.headers[item.header].metadata
            return constant(1) if metadata else boolean(self._context.valid(item.header))
        found = variable(self._context.term(item), item.width, item.signed)
        return self._arithmetic.and_(found, constant((1 << item.width) - 1), None)

    # The Internet checksum

    def _sum(self, runs: Sequence[_Run]) -> str:
        """2**16 is 1 modulo 2**16 - 1, so only an item's place within its 16-bit word counts."""
        if all(run.header is None for run in runs):
            items = [item for run in runs for item in run.items]
            end = sum(item.width for item in items)
            first, *more = _sums(self._terms(items, -end % 16)) or ["0"]
            if not more:
                return f"csum16_fold({first})"
            name = self._writer.variable("u64", first)
            for text in more:
                self._writer.line(f"{name} += {text};")
            return f"csum16_fold({name})"
        name = self._writer.variable("u64", "0")
        part = "" if all(run.width % 16 == 0 for run in runs) else self._writer.variable("u32", "0")

        def write(items: Items) -> None:
            rest = sum(item.width for item in items) % 16
            if rest:  # what came before moves on by a part of a word
                self._writer.line(f"{name} = csum16_shift({name}, {rest});")
                self._writer.line(f"{part} += {rest};")
            for text in _sums(self._terms(items, 0)):
                self._writer.line(f"{name} += {text};")

        self._each(runs, write)
        return f"csum16_fold(csum16_shift({name}, -{part} & 15))" if part else f"csum16_fold({name})"

    def _terms(self, items: Items, shift: int) -> list[Value]:
        """Numbers of at most 47 bits whose sum has the remainder of the items with `shift` zero bits after them."""
        found = []
        for item in reversed(items):
            value = self._item(item)
            for half in range(0, item.width, 32):
                part = self._arithmetic.shift_right(value, constant(half), 32)
                part = self._arithmetic.and_(part, constant(0xFFFFFFFF), None)
                if part.constant != 0:
                    found.append(self._arithmetic.shift_left(part, constant(shift % 16), None))
            shift += item.width
        return found[::-1]


def _sums(terms: Sequence[Value]) -> list[str]:
    """The terms added up, in texts of a line each."""
    texts: list[str] = []
    for group in _lines(terms):
        high = sum(term.high for term in group)
        kind = Kind.U64 if high >= 1 << 32 else max(term.kind for term in group)
        if kind is Kind.INT and high >= 1 << 31:
            kind = Kind.U32
        head, *rest = group
        texts.append(" + ".join([head.cast(kind), *(term.operand() for term in rest)]))
    return texts


def _lines(terms: Sequence[Value]) -> list[list[Value]]:
    groups: list[list[Value]] = []
    room = 0
    for term in terms:
        room -= len(term.text) + 3
        if room < 0:
            groups.append([])
            room = _LINE - len(term.text)
        groups[-1].append(term)
    return groups


def _ctype(width: int) -> str:
    return f"u{width}"


def _result(name: str, width: int) -> Value:
    return variable(Term((name,), 0, (1 << width) - 1, atom=True), width)
