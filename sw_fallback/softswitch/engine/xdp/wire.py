"""A header's fields as bytes of the frame: C lines that load and store them.

Fields are cut into parts of at most 64 bits, and consecutive parts that fill whole bytes into pieces of at most eight
bytes. A piece is one number in network byte order.
"""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.terms import WORD, ctype, words_of
from softswitch.engine.xdp.writer import Writer
from softswitch.program.headers import Field, Header

__all__ = ["HeaderBytes", "bits_at", "copy"]

_PIECE = 8
"""Bytes of the widest load and store."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A field, or one word of a wide field."""

    field: Field
    variable: str
    start: int
    """In bits from the header's start, the most significant first."""
    width: int

    @property
    def end(self) -> int:
        return self.start + self.width


@dataclass(frozen=True, slots=True)
class _Piece:
    """Whole bytes and the parts that have bits in them."""

    start: int
    """In bytes."""
    size: int
    parts: tuple[_Part, ...]

    def place(self, part: _Part) -> tuple[int, int]:
        """How far to the left of the part's lowest bit the piece's lowest bit is (negative: to its right), and the
        mask of the part's bits inside of the piece, at their place there."""
        first, last = max(part.start, 8 * self.start), min(part.end, 8 * (self.start + self.size))
        shift = 8 * (self.start + self.size) - part.end
        return shift, (1 << (last - first)) - 1 << 8 * (self.start + self.size) - last

    @property
    def mask(self) -> int:
        return (1 << 8 * self.size) - 1


def bits_at(base: str, start: int, width: int) -> str:
    """An expression for up to 64 bits that begin `start` bits after the pointer `base`."""
    first, end = start // 8, (start + width + 7) // 8
    spare = 8 * end - start - width
    if end - first <= _PIECE:
        text = f"load_be{8 * (end - first)}({_at(base, first)})"
        whole = 8 * (end - first) - spare == width
        if spare:
            text = f"{text} >> {spare}" if whole else f"({text} >> {spare})"
        return text if whole else f"{text} & {_mask(width)}"
    upper = f"load_be64({_at(base, first)}) << {8 - spare}"
    text = f"({upper} | load_be8({_at(base, end - 1)}) >> {spare})"
    return text if width == WORD else f"{text} & {_mask(width)}"


def copy(to: str, source: str, size: int) -> list[str]:
    """Lines that copy a number of bytes, in ascending order."""
    lines, done = [], 0
    for step in (8, 4, 2, 1):
        while size - done >= step:
            lines.append(f"copy{step}({_at(to, done)}, {_at(source, done)});")
            done += step
    return lines


class HeaderBytes:
    """One header's loads and stores."""

    def __init__(self, context: Context, header: Header) -> None:
        self._context = context
        self._header = header
        self.size = header.type.width // 8
        """In bytes."""
        self._parts = self._cut()
        self._pieces = self._gather()

    @property
    def kept(self) -> list[Field]:
        """Fields that have a variable."""
        return [field for field in self._header.type.fields if self._context.keeps(self._header.name, field.name)]

    @property
    def written(self) -> bool:
        """Whether the program assigns to any of its fields."""
        return any(self._is_written(field) for field in self._header.type.fields)

    @property
    def all_written(self) -> bool:
        """Whether it assigns to all of them."""
        return all(self._is_written(field) for field in self._header.type.fields)

    def load(self, writer: Writer, base: str) -> None:
        """Every kept field from the bytes at the pointer `base`."""
        for piece in self._pieces:
            parts = [part for part in piece.parts if self._keeps(part.field)]
            inside = [part for part in parts if part.end <= 8 * (piece.start + piece.size)]
            whole = all(part.start >= 8 * piece.start for part in piece.parts)
            if len(inside) > 1 and whole:
                number = writer.temporary("u64", f"load_be{8 * piece.size}({_at(base, piece.start)})")
                for part in inside:
                    shift, _ = piece.place(part)
                    text = f"{number} >> {shift}" if shift else number
                    top = part.start == 8 * piece.start
                    self._assign(writer, part, text if top else f"{_wrap(text)} & {_mask(part.width)}")
            else:
                for part in inside:
                    self._assign(writer, part, bits_at(base, part.start, part.width))

    def store(self, writer: Writer, base: str, *, whole: bool) -> None:
        """The fields that the program assigns to, or all of them, to the bytes at the pointer `base`."""
        for piece in self._pieces:
            parts = [part for part in piece.parts if whole or self._is_written(part.field)]
            if not parts:
                continue
            covered, terms = 0, []
            for part in parts:
                shift, mask = piece.place(part)
                covered |= mask
                terms.append(self._shifted(part, shift, mask, piece))
            if covered != piece.mask:
                rest = f"load_be{8 * piece.size}({_at(base, piece.start)}) & {_number(piece.mask & ~covered)}"
                terms.insert(0, f"({rest})")
            writer.line(f"store_be{8 * piece.size}({_at(base, piece.start)}, {' | '.join(terms)});")

    def _keeps(self, field: Field) -> bool:
        return self._context.keeps(self._header.name, field.name)

    def _is_written(self, field: Field) -> bool:
        return (self._header.name, field.name) in self._context.usage.writes

    def _cut(self) -> list[_Part]:
        parts, start = [], 0
        for field in self._header.type.fields:
            name = self._context.variable(self._header.name, field.name) if self._keeps(field) else ""
            if field.width <= WORD:
                parts.append(_Part(field, name, start, field.width))
            else:
                end = start + field.width
                for index in reversed(range(words_of(field.width))):
                    top = max(start, end - WORD * (index + 1))
                    parts.append(_Part(field, f"{name}[{index}]", top, end - WORD * index - top))
            start += field.width
        return parts

    def _gather(self) -> list[_Piece]:
        pieces: list[_Piece] = []
        first = 0
        for part in self._parts:
            if part.end % 8 == 0:
                while first < part.end // 8:
                    size = min(_PIECE, part.end // 8 - first)
                    inside = [p for p in self._parts if p.start < 8 * (first + size) and p.end > 8 * first]
                    pieces.append(_Piece(first, size, tuple(inside)))
                    first += size
        return pieces

    def _assign(self, writer: Writer, part: _Part, text: str) -> None:
        if part.field.signed:
            spare = WORD - part.width
            text = f"(s64)(({_wrap(text)}) << {spare}) >> {spare}"
        writer.line(f"{part.variable} = {text};")

    def _shifted(self, part: _Part, shift: int, mask: int, piece: _Piece) -> str:
        value = f"(u64){part.variable}" if ctype(part.width) != "u64" or part.field.signed else part.variable
        if shift > 0:
            value = f"{value} << {shift}"
        elif shift < 0:
            value = f"{value} >> {-shift}"
        full = mask == (((1 << part.width) - 1) << shift if shift >= 0 else ((1 << part.width) - 1) >> -shift)
        if part.field.signed or not full:
            value = f"({value}) & {_number(mask)}"
        return value if len(piece.parts) == 1 and " " not in value else f"({value})"


def _at(base: str, offset: int) -> str:
    """A pointer some bytes past another one, which may be a sum itself."""
    pointer, plus, first = base.rpartition(" + ")
    if plus and first.isdigit():
        base, offset = pointer, int(first) + offset
    return f"{base} + {offset}" if offset else base


def _wrap(text: str) -> str:
    return f"({text})" if " " in text else text


def _mask(width: int) -> str:
    return _number((1 << width) - 1)


def _number(value: int) -> str:
    return f"{value:#x}" if value < 1 << 31 else f"{value:#x}ull"
