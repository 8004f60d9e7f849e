"""How each header's bytes become variables and variables become bytes."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from softswitch.engine.python.names import Names
from softswitch.engine.usage import Usage
from softswitch.program.headers import Field, Header

__all__ = ["Group", "Layout", "Piece"]

_NATIVE = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SPLITS = {3: (2, 1), 5: (4, 1), 6: (2, 4), 7: (4, 2, 1), 10: (8, 2), 12: (8, 4), 16: (8, 8)}
"""How a number of bytes is read with few native pieces."""


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive fields that fill whole bytes."""

    fields: tuple[Field, ...]
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One item of a struct format."""

    code: str
    variable: str
    """What it is unpacked to; empty for padding."""
    packed: str
    """The expression it is packed from; empty for padding."""


class Layout:
    """One header's variables and codecs."""

    def __init__(self, header: Header, names: Names, usage: Usage, emitted: bool) -> None:
        self.header = header
        self.name = header.name
        self.valid = names.valid(header.name)
        self.place = names.place(header.name)
        self.packs = emitted and header.name in usage.changed
        """Whether its bytes may have to be made from variables."""
        self.has_place = emitted and header.name in usage.extracted
        """Whether its bytes may be taken from the packet."""
        self._names = names
        self._usage = usage
        self.size = header.type.width // 8
        """In bytes, without a varbit field."""
        self.head, self.varbit, self.tail = self._split(header.type.fields)
        self.variables: dict[str, str] = {}
        """Every variable of the header's contents and its value in an empty header."""
        self.after_unpack: list[str] = []
        """Lines that turn unpacked pieces into fields."""
        self.pieces: list[Piece] = []
        self._raw_count = 0
        for group in self.head:
            self._add(group)
        self._join_raw()

    def field(self, name: str) -> str:
        """The variable of a field."""
        return self._names.field(self.name, name)

    @property
    def format(self) -> str:
        """Struct format of the header up to a varbit field."""
        return ">" + "".join(piece.code for piece in self.pieces)

    @property
    def unpacked(self) -> list[str]:
        return [piece.variable for piece in self.pieces if piece.variable]

    @property
    def packed(self) -> list[str]:
        return [piece.packed for piece in self.pieces if piece.packed]

    def codec(self) -> Struct:
        return Struct(self.format)

    def _needed(self, field: Field) -> bool:
        key = (self.name, field.name)
        return key in self._usage.reads or (self.packs and key in self._usage.writes)

    def _split(self, fields: tuple[Field, ...]) -> tuple[list[Group], Field | None, list[Group]]:
        varbit = next((index for index, field in enumerate(fields) if field.varbit), None)
        if varbit is None:
            return self._groups(fields), None, []
        return self._groups(fields[:varbit]), fields[varbit], self._groups(fields[varbit + 1 :])

    @staticmethod
    def _groups(fields: tuple[Field, ...]) -> list[Group]:
        groups: list[Group] = []
        open_fields: list[Field] = []
        bits = 0
        for field in fields:
            open_fields.append(field)
            bits += field.width
            if bits % 8 == 0:
                groups.append(Group(tuple(open_fields), bits // 8))
                open_fields, bits = [], 0
        return groups

    def _add(self, group: Group) -> None:
        needed = [field for field in group.fields if self._needed(field)]
        if not needed:
            self._add_unread(group)
            return
        for field in group.fields:
            if field in needed or self.packs:
                self.variables[self.field(field.name)] = "0"
        if len(group.fields) == 1:
            self._add_whole(group, self.field(group.fields[0].name), group.fields[0].signed)
            return
        joined = self._names.field(self.name, f"bits{len(self.pieces)}")
        packed = " | ".join(self._shifted(group))
        self._add_number(group.size, joined, f"({packed})")
        shift = 8 * group.size
        for field in group.fields:
            shift -= field.width
            if field in needed or self.packs:
                self._slice(field, joined, shift, top=field is group.fields[0])

    def _shifted(self, group: Group) -> list[str]:
        shift, terms = 8 * group.size, []
        for field in group.fields:
            shift -= field.width
            value = self._unsigned(field)
            terms.append(f"{value} << {shift}" if shift else value)
        return terms

    def _unsigned(self, field: Field) -> str:
        variable = self.field(field.name)
        return f"({variable} & {(1 << field.width) - 1:#x})" if field.signed else variable

    def _slice(self, field: Field, joined: str, shift: int, *, top: bool) -> None:
        value = f"{joined} >> {shift}" if shift else joined
        if not top:
            value = f"{value} & {(1 << field.width) - 1:#x}"
        variable = self.field(field.name)
        self.after_unpack.append(f"{variable} = {value}")
        if field.signed:
            self._sign(variable, field.width)

    def _sign(self, variable: str, width: int) -> None:
        half = 1 << (width - 1)
        self.after_unpack.append(f"{variable} = ({variable} ^ {half:#x}) - {half:#x}")

    def _add_whole(self, group: Group, variable: str, signed: bool) -> None:
        self._add_number(group.size, variable, self._unsigned(group.fields[0]))
        if signed:
            self._sign(variable, 8 * group.size)

    def _add_number(self, size: int, variable: str, packed: str) -> None:
        """A number of `size` bytes, in native pieces where a few do."""
        if size in _NATIVE:
            self.pieces.append(Piece(_NATIVE[size], variable, packed))
            return
        if size not in _SPLITS:
            self.pieces.append(Piece(f"{size}s", variable, f"{packed}.to_bytes({size}, 'big')"))
            self.after_unpack.append(f"{variable} = int.from_bytes({variable}, 'big')")
            return
        shift, terms, first = 8 * size, [], True
        for number, width in enumerate(_SPLITS[size]):
            shift -= 8 * width
            part = self._names.field(self.name, f"{variable}_part{number}")
            value = f"{packed} >> {shift}" if shift else packed
            if not first:
                value = f"{value} & {(1 << 8 * width) - 1:#x}"
            self.pieces.append(Piece(_NATIVE[width], part, value))
            terms.append(f"{part} << {shift}" if shift else part)
            first = False
        self.after_unpack.append(f"{variable} = {' | '.join(terms)}")

    def _add_unread(self, group: Group) -> None:
        if not self.packs:
            self.pieces.append(Piece(f"{group.size}x", "", ""))
            return
        self.pieces.append(Piece(f"{group.size}s", "raw", "raw"))

    def _join_raw(self) -> None:
        """Make one piece of neighbours that nothing looks into."""
        joined: list[Piece] = []
        run = 0
        for piece in [*self.pieces, Piece("", "", "")]:
            if piece.variable == "raw" or piece.code.endswith("x"):
                run += int(piece.code[:-1])
                kind = piece.variable
                continue
            if run:
                joined.append(self._raw(run) if kind else Piece(f"{run}x", "", ""))
                run = 0
            if piece.code:
                joined.append(piece)
        self.pieces = joined

    def _raw(self, size: int) -> Piece:
        variable = self._names.raw(self.name, self._raw_count)
        self._raw_count += 1
        self.variables[variable] = f"b'{chr(92)}0' * {size}"
        return Piece(f"{size}s", variable, variable)
