"""The parser in translated code: its states inlined into one another inside of a loop that is left by `break`."""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.engine.flow import Cycle, Structure, structure
from softswitch.engine.python.context import Context
from softswitch.engine.python.layout import Layout
from softswitch.engine.python.statements import Statements
from softswitch.engine.python.terms import Term, bits, number
from softswitch.engine.python.writer import Writer
from softswitch.errors import SourceLocation
from softswitch.program.expressions import Expression, FieldRef, Lookahead
from softswitch.program.parsers import (
    Advance,
    Execute,
    Extract,
    ExtractStack,
    ExtractVarbit,
    ParserOp,
    ParseState,
    SelectKey,
    SetField,
    Transition,
    Verify,
)

__all__ = ["ParserWriter"]

_LONGEST = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the parser is: a constant number of bytes into the packet, or past the variable `at`."""

    known: bool
    """True: from the packet's start; false: from `at`."""
    offset: int

    def text(self, more: int = 0) -> str:
        offset = self.offset + more
        if self.known:
            return str(offset)
        return f"at + {offset}" if offset else "at"

    def past(self, size: int) -> _Place:
        return _Place(self.known, self.offset + size)


class ParserWriter:
    """Writes the parser. Afterwards `at` is where the payload starts and `error` the parser's error."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer
        self._statements = Statements(context, writer)
        self._parser = context.program.parser
        self._numbers = {name: number for number, name in enumerate(self._parser.states)}
        self._structure: Structure | None = None

    def write(self) -> None:
        """Write the whole parser."""
        start, line = self._parser.start, self._writer.line
        line("at = 0")
        if start is None:
            return
        graph = {name: self._targets(state) for name, state in self._parser.states.items()}
        try:
            self._structure = structure(start, graph)
        except Cycle:
            self._structure = None
        if self._structure is None:
            line(f"goto = {self._numbers[start]}")
        elif self._structure.guarded:
            line("goto = -1")
        with self._writer.block("while True"):
            if self._structure is None:
                self._flat()
            else:
                self._nested(start, _Place(True, 0), self._structure)
                line("break")

    @staticmethod
    def _targets(state: ParseState) -> tuple[str | None, ...]:
        return (*(transition.next_state for transition in state.transitions), state.default)

    def _flat(self) -> None:
        """A parser with loops: one block for each state, chosen by `goto` on each turn."""
        for index, (name, state) in enumerate(self._parser.states.items()):
            with self._writer.block(f"{'el' if index else ''}if goto == {self._numbers[name]}"):
                self._writer.comment(f"state {name}")
                place = self._operations(state, _Place(False, 0))
                self._select(state, place)

    def _nested(self, name: str, place: _Place, shape: Structure) -> None:
        state = self._parser.states[name]
        self._writer.comment(f"state {name}", state.location)
        place = self._operations(state, place)
        self._select(state, place)
        for merge in shape.merges[name]:
            if merge in shape.guarded:
                with self._writer.block(f"if goto == {self._numbers[merge]}"):
                    self._nested(merge, _Place(False, 0), shape)
            else:
                self._nested(merge, _Place(False, 0), shape)

    def _go(self, target: str | None, place: _Place) -> None:
        """Continue at a state, or end."""
        if target is None:
            self._settle(place)
            self._writer.line("break")
        elif self._structure is None:
            self._settle(place)
            self._writer.line(f"goto = {self._numbers[target]}")
        elif target in self._structure.shared:
            self._settle(place)
            if target in self._structure.guarded:
                self._writer.line(f"goto = {self._numbers[target]}")
        else:
            self._nested(target, place, self._structure)

    def _settle(self, place: _Place) -> None:
        """Make `at` the parser's place."""
        if place.known:
            if place.offset:
                self._writer.line(f"at = {place.offset}")
        elif place.offset:
            self._writer.line(f"at += {place.offset}")

    def _fail(self, error: str, place: _Place) -> None:
        self._writer.line(f"error = {error}")
        self._settle(place)
        self._writer.line("break")

    def _need(self, size: int, place: _Place) -> None:
        """Stop with PacketTooShort unless the packet goes on for `size` bytes."""
        if size:
            with self._writer.block(f"if size < {place.text(size)}"):
                self._fail(str(self._context.error_code("PacketTooShort")), place)

    # Operations

    def _operations(self, state: ParseState, place: _Place) -> _Place:
        for operation in state.operations:
            place = self._operation(operation, place)
        return place

    def _operation(self, operation: ParserOp, place: _Place) -> _Place:
        match operation:
            case Extract(header):
                layout = self._context.layouts[header]
                self._need(layout.size, place)
                self._extract(layout, place)
                return place.past(layout.size)
            case ExtractStack(stack, location):
                return self._extract_stack(stack, place, location)
            case ExtractVarbit(header, length):
                return self._extract_varbit(self._context.layouts[header], length, place)
            case SetField(target, value, location):
                self._set(target, value, place, location)
            case Verify(condition, error, location):
                test = self._context.expressions.condition(condition).text
                with self._writer.block(f"if not ({test})", location):
                    self._fail(self._context.expressions.integer(error).text, place)
            case Advance(amount):
                return self._advance(amount, place)
            case Execute(statement):
                self._statements.write((statement,))
        return place

    def _extract(self, layout: Layout, place: _Place) -> None:
        line = self._writer.line
        if layout.unpacked:
            codec = self._context.object("unpack", layout.name, layout.codec().unpack_from)
            line(f"{', '.join(layout.unpacked)}, = {codec}(packet, {place.text()})")
            for text in layout.after_unpack:
                line(text)
        line(f"{layout.valid} = 1")
        if layout.has_place:
            line(f"{layout.place} = {place.text()}")
        self._writer.changed -= {layout.name}

    def _extract_stack(self, stack: str, place: _Place, location: SourceLocation) -> _Place:
        members = [self._context.layouts[member] for member in self._context.program.stacks[stack].members]
        index = self._context.names.next_index(stack)
        with self._writer.block(f"if {index} >= {len(members)}", location):
            self._fail(str(self._context.error_code("StackOutOfBounds")), place)
        self._need(members[0].size, place)
        for number_, layout in enumerate(members):
            with self._writer.block(f"{'el' if number_ else ''}if {index} == {number_}"):
                self._extract(layout, place)
        self._writer.line(f"{index} += 1")
        return place.past(members[0].size)

    def _extract_varbit(self, layout: Layout, length: Expression, place: _Place) -> _Place:
        line = self._writer.line
        wanted = self._context.expressions.integer(length)
        line(f"left = {wanted.text}")
        # a length past 31 bits becomes the greatest one there, which is no multiple of eight (bm_sim/parser.cpp)
        with self._writer.block(f"if left % 8 or not 0 <= left <= {_LONGEST}"):
            self._fail(str(self._context.error_code("ParserInvalidArgument")), place)
        line("left //= 8")
        with self._writer.block(f"if size < {place.text(layout.size)} + left"):
            self._fail(str(self._context.error_code("PacketTooShort")), place)
        if layout.header.type.max_bytes:
            with self._writer.block(f"if {layout.header.type.max_bytes} < {layout.size} + left"):
                self._fail(str(self._context.error_code("HeaderTooShort")), place)
        self._extract(layout, place)
        varbit = layout.header.type.fields[-1].name
        line(f"{layout.field(varbit)} = packet[{place.text(layout.size)}:{place.text(layout.size)} + left]")
        line(f"at = {place.text(layout.size)} + left")
        return _Place(False, 0)

    def _advance(self, amount: Expression, place: _Place) -> _Place:
        term = self._context.expressions.integer(amount)
        if term.constant is not None and term.constant % 8 == 0 and term.constant >= 0:
            self._need(term.constant // 8, place)
            return place.past(term.constant // 8)
        self._writer.line(f"left = {term.text}")
        with self._writer.block("if left % 8 or left < 0"):
            self._fail(str(self._context.error_code("ParserInvalidArgument")), place)
        with self._writer.block(f"if size < {place.text()} + left // 8"):
            self._fail(str(self._context.error_code("PacketTooShort")), place)
        self._writer.line(f"at = {place.text()} + left // 8")
        return _Place(False, 0)

    def _set(self, target: FieldRef, value: Expression, place: _Place, location: SourceLocation) -> None:
        if isinstance(value, Lookahead):
            term = self._lookahead(value, place)
        else:
            term = self._context.expressions.integer(value)
        self._statements.assign(target, term, location)

    def _lookahead(self, ahead: Lookahead, place: _Place) -> Term:
        first, end = ahead.offset // 8, (ahead.offset + ahead.width + 7) // 8
        self._need(end, place)
        if end - first == 1:
            read = f"packet[{place.text(first)}]"
        else:
            read = f"int.from_bytes(packet[{place.text(first)}:{place.text(end)}], 'big')"
        spare = 8 * end - ahead.offset - ahead.width
        if spare:
            read = f"({read} >> {spare})"
        return Term(read, 0, (1 << (8 * (end - first) - spare)) - 1, atom=True)

    # Transitions

    def _select(self, state: ParseState, place: _Place) -> None:
        keys = [self._key(key, index, place) for index, key in enumerate(state.key)] if state.transitions else []
        first = True
        for transition in state.transitions:
            test = self._test(transition, keys)
            if not test:  # everything fits: later transitions are never tried
                if first:
                    self._go(transition.next_state, place)
                else:
                    with self._writer.block("else"):
                        self._go(transition.next_state, place)
                return
            with self._writer.block(f"{'if' if first else 'elif'} {test}"):
                self._go(transition.next_state, place)
            first = False
        if first:
            self._go(state.default, place)
        else:
            with self._writer.block("else", optional=True):
                self._go(state.default, place)

    def _key(self, key: SelectKey, index: int, place: _Place) -> Term:
        if isinstance(key, Lookahead):
            term = self._lookahead(key, place)
            text = f"{term.text} & {number((1 << key.width) - 1)}"
        else:
            term = self._context.expressions.integer(key)
            if term.atom and term.low >= 0:
                return term
            text = f"{term.wrapped()} & {number((1 << key.width) - 1)}"
        name = "look" if index == 0 else f"look{index}"
        self._writer.line(f"{name} = {text}")
        return bits(name, key.width)

    @staticmethod
    def _test(transition: Transition, keys: list[Term]) -> str:
        tests = []
        for key, value, mask in zip(keys, transition.values, transition.masks, strict=True):
            if mask == key.high:
                tests.append(f"{key.text} == {number(value)}")
            elif mask:
                tests.append(f"{key.text} & {number(mask)} == {number(value & mask)}")
        return " and ".join(tests)
