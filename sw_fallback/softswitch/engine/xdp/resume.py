"""Packets that one pass of XDP cannot finish go on in the python engine: clones, multicast, resubmit, recirculate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import calcsize

from softswitch.engine.python import PythonEngine
from softswitch.engine.python.code import Code
from softswitch.engine.python.engine import PausedPacket
from softswitch.engine.python.layout import Layout
from softswitch.engine.python.translate import InstanceType
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.events import EventKind, StateEvent
from softswitch.engine.xdp.places import find_places
from softswitch.engine.xdp.state import FRESH, StateLayout, keeps_place
from softswitch.program.headers import Field

__all__ = ["Resume"]

_EVERYTHING = 0x7FFFFFFFFFFFFFFF
"""A truncation length that cuts nothing: copies are whole."""
_SESSION = 0x7FFF
"""The bits of `clone_session` that are the session's id."""


@dataclass(frozen=True, slots=True)
class _Dump:
    """A packet's state and frame."""

    layout: StateLayout
    state: bytes
    frame: bytes

    def __getitem__(self, member: str) -> int:
        return self.layout.read(self.state, member)


Reader = Callable[[_Dump], object]
"""What a variable of the python engine is in a dump."""


class Resume:
    """Turns dumps of `struct state` into calls of the python engine."""

    def __init__(self, python: PythonEngine, code: Code, context: Context, layout: StateLayout) -> None:
        """Both engines run the program of `context`; `layout` is its struct state, `code` python's counterpart."""
        self._python = python
        self._code = code
        self._context = context
        self._layout = layout
        self._places = find_places(context)
        readers = self._readers()
        translation = code.translation
        self._state: list[tuple[Reader, frozenset[int] | None]] = [
            (readers[name], self._lists_with(name)) for name in translation.state
        ]
        """For each variable that egress takes how to read it and, for metadata, the field lists that keep it."""
        self._kept = {
            number: [readers[translation.names.field(field.header, field.field)] for field in fields]
            for number, fields in translation.field_lists.items()
        }

    def run(self, event: StateEvent) -> list[tuple[int, bytes]]:
        """Finish a packet; returns what leaves as (port, packet)."""
        dump = _Dump(self._layout, event.state, event.frame)
        python, code, now = self._python, self._code, self._now(dump)
        match event.kind:
            case EventKind.CLONE:
                number, session = dump["clone_list"], dump["clone_session"] & _SESSION
                return python.clone(
                    code, session, dump["ingress_port"], dump.frame, number, self._keep(dump, number), now
                )
            case EventKind.RESUBMIT:
                number, kind = dump["resubmit_list"], InstanceType.RESUBMIT
                return python.reenter(code, kind, dump.frame, dump["size"], number, self._keep(dump, number), now)
            case EventKind.RECIRCULATE:
                number, kind = dump["recirculate_list"], InstanceType.RECIRC
                return python.reenter(code, kind, dump.frame, len(dump.frame), number, self._keep(dump, number), now)
            case EventKind.REPLICATE:
                return python.replicate(code, self._group(dump), self._paused(dump, now, None))
            case EventKind.EGRESS_CLONE:
                session = dump["clone_session"] & _SESSION
                return python.clone_egress(code, session, self._paused(dump, now, dump["clone_list"]))
            case _:
                raise ValueError(f"a packet does not go on after {event.kind.name}")

    def _now(self, dump: _Dump) -> int:
        """When the packet arrived, if it asked; else the time is now."""
        moment = dump["moment"] if "moment" in self._layout.members else 0
        return moment or self._python.now()

    def _group(self, dump: _Dump) -> int:
        field = self._context.program.intrinsic("mcast_grp")
        return 0 if field is None else dump[self._context.names.field(field.header, field.field)]

    def _keep(self, dump: _Dump, number: int) -> tuple[object, ...]:
        return tuple(read(dump) for read in self._kept.get(number, ()))

    def _paused(self, dump: _Dump, now: int, keeping: int | None) -> PausedPacket:
        """`keeping`: the field list that metadata must be in to be kept; None: all of it is."""
        state = tuple(
            read(dump) if keeping is None or lists is None or keeping in lists else 0 for read, lists in self._state
        )
        return PausedPacket(dump.frame, dump["at"], dump["size"], now, state)

    def _lists_with(self, variable: str) -> frozenset[int] | None:
        """The field lists that have a metadata variable; None for what is no metadata."""
        names, program = self._code.translation.names, self._context.program
        for header in program.headers.values():
            if header.metadata and any(
                names.field(header.name, field.name) == variable for field in header.type.fields
            ):
                return frozenset(
                    number
                    for number, fields in program.field_lists.items()
                    if any(names.field(field.header, field.field) == variable for field in fields)
                )
        return None

    # Variables

    def _readers(self) -> dict[str, Reader]:
        """How to read every variable of the python engine, by its name there."""
        found: dict[str, Reader] = {"length": _member("length"), "cut": _constant(_EVERYTHING)}
        names = self._code.translation.names
        for header in self._context.program.headers.values():
            if header.metadata:
                for field in header.type.fields:
                    if self._context.keeps(header.name, field.name):
                        member = self._context.names.field(header.name, field.name)
                        found[names.field(header.name, field.name)] = _member(member)
                    elif (header.name, field.name) in self._context.action_fields:  # assigned before it is read
                        found[names.field(header.name, field.name)] = _constant(0)
        for layout in self._code.translation.layouts.values():
            self._header(layout, found)
        return found

    def _header(self, layout: Layout, found: dict[str, Reader]) -> None:
        context, name = self._context, layout.name
        valid, place = context.names.valid(name), self._place(name)
        found[layout.valid] = _member(valid)
        # a header that may have changed is packed anew from its variables
        found[layout.place] = _constant(-1) if layout.packs else _valid_or(valid, place, -1)
        start = 0
        for field in layout.header.type.fields:
            in_frame = _bits_of(place, start, field)
            start += field.width
            if context.keeps(name, field.name):
                member = context.names.field(name, field.name)
                zeroed = self._layout.offsets[member] < self._layout.zeroed
                # an invalid header's field has no meaning unless the program may read it all the same
                found[layout.field(field.name)] = _member(member) if zeroed else _valid_or(valid, _member(member), 0)
            else:
                found[layout.field(field.name)] = _valid_or(valid, in_frame, 0)
        formats = ">"
        for piece in layout.pieces:
            if layout.variables.get(piece.variable, "").startswith("b"):
                size = int(piece.code[:-1])
                found[piece.variable] = _valid_or(valid, _bytes_of(place, calcsize(formats), size), bytes(size))
            formats += piece.code

    def _place(self, name: str) -> Reader:
        """Where a valid header was extracted; `FRESH` where it was not."""
        if keeps_place(self._context, self._places, name):
            return _member(self._context.names.place(name))
        constant = self._places.constant(name)
        return _constant(FRESH if constant is None else constant)


def _member(name: str) -> Reader:
    return lambda dump: dump[name]


def _constant(value: object) -> Reader:
    return lambda dump: value


def _valid_or(valid: str, read: Reader, otherwise: object) -> Reader:
    return lambda dump: read(dump) if dump[valid] else otherwise


def _bytes_of(place: Reader, offset: int, size: int) -> Reader:
    """Bytes of a header in the frame; zeroes where it is not there."""

    def read(dump: _Dump) -> bytes:
        start = place(dump)
        if not isinstance(start, int) or start == FRESH:
            return bytes(size)
        return dump.frame[start + offset : start + offset + size]

    return read


def _bits_of(place: Reader, start: int, field: Field) -> Reader:
    """A field of a header in the frame."""
    first, end = start // 8, (start + field.width + 7) // 8
    whole = _bytes_of(place, first, end - first)
    spare = 8 * end - start - field.width

    def read(dump: _Dump) -> int:
        found = whole(dump)
        value = int.from_bytes(found, "big") if isinstance(found, bytes) else 0
        value = value >> spare & (1 << field.width) - 1
        half = 1 << (field.width - 1)
        return (value ^ half) - half if field.signed else value

    return read
