"""The parser in C: its states inlined into one another, shared ones reached by `goto`.

Places in the frame are constants where a state begins at one place only; elsewhere the variable `at` has it, which the
verifier knows on each way through the parser. One comparison with `end` is made for each header.
"""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.engine.flow import Structure, structure
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.places import FURTHEST, MOVED, Places, live_targets, live_transitions
from softswitch.engine.xdp.state import keeps_place
from softswitch.engine.xdp.statements import Statements
from softswitch.engine.xdp.terms import WORD, Term, literal, words_of
from softswitch.engine.xdp.wire import HeaderBytes, bits_at
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import SourceLocation, UnsupportedConstruct
from softswitch.program.expressions import Constant, Expression, Lookahead
from softswitch.program.parsers import (
    Advance,
    Execute,
    Extract,
    ParserOp,
    ParseState,
    SelectKey,
    SetField,
    Transition,
    Verify,
)

__all__ = ["ParserWriter"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the parser is: a constant number of bytes into the frame, or past the variable `at`."""

    known: bool
    """True: from the frame's start, `data`; false: from `p`, which is `data + at`."""
    offset: int

    @property
    def number(self) -> str:
        """As a number of bytes from the frame's start."""
        if self.known:
            return str(self.offset)
        return f"at + {self.offset}" if self.offset else "at"

    def pointer(self, more: int = 0) -> str:
        base, offset = "data" if self.known else "p", self.offset + more
        return f"{base} + {offset}" if offset else base

    def past(self, size: int) -> _Place:
        return _Place(self.known, self.offset + size)


class ParserWriter:
    """Writes the body of `parse`. Afterwards `s->at` is where the payload starts and `s->error` the error, if any."""

    def __init__(self, context: Context, writer: Writer, places: Places) -> None:
        self._context = context
        self._writer = writer
        self._places = places
        self._parser = context.program.parser
        self._statements = Statements(context, writer)
        self._expressions = Expressions(context, writer)

    def write(self) -> None:
        """Write the whole parser."""
        line, start = self._writer.line, self._parser.start
        if start is None:
            line("s->at = 0;")
            return
        if self._reads_packet():
            line("const u8 *data = (const u8 *)(long)ctx->data, *end = (const u8 *)(long)ctx->data_end;")
        moving = any(offsets is None or len(offsets) > 1 for offsets in self._places.states.values())
        if moving or self._advances_by_value():
            line("const u8 *p = data;")
        line("u32 at = 0;")
        line("")
        graph = {name: live_targets(self._context, self._parser.states[name]) for name in self._places.states}
        self._nested(start, structure(start, graph))
        self._writer.label("done")
        line("s->at = at;")

    def _operations_reached(self) -> list[ParserOp]:
        return [operation for name in self._places.states for operation in self._parser.states[name].operations]

    def _reads_packet(self) -> bool:
        keys = any(isinstance(key, Lookahead) for name in self._places.states for key in self._parser.states[name].key)
        return keys or any(
            isinstance(item, Extract | Advance) or (isinstance(item, SetField) and isinstance(item.value, Lookahead))
            for item in self._operations_reached()
        )

    def _advances_by_value(self) -> bool:
        return any(isinstance(item, Advance) and not _is_whole(item.bits) for item in self._operations_reached())

    def _nested(self, name: str, shape: Structure) -> None:
        state, offsets = self._parser.states[name], self._places.states[name]
        self._writer.comment(f"state {name}", state.location)
        if offsets is not None and len(offsets) == 1:
            place = _Place(True, next(iter(offsets)))
        else:
            place = _Place(False, 0)
            self._writer.line("p = data + at;")
        for index, operation in enumerate(state.operations):
            place = self._operation(operation, place)
            if (name, index) in self._places.displaced:
                self._writer.line(f"s->moved |= {MOVED};")
        self._select(state, place, shape)
        for merge in shape.merges[name]:
            self._writer.label(self._context.names.label(merge))
            self._nested(merge, shape)

    def _go(self, target: str | None, place: _Place, shape: Structure) -> None:
        """Continue at a state, or end."""
        if target is None:
            self._settle(place)
            self._writer.line("goto done;")
            return
        offsets = self._places.states[target]
        if offsets is None or len(offsets) > 1:
            self._settle(place)
        if target in shape.shared:
            self._writer.line(f"goto {self._context.names.label(target)};")
        else:
            self._nested(target, shape)

    def _settle(self, place: _Place) -> None:
        """Make `at` the parser's place."""
        if place.known:
            self._writer.line(f"at = {place.offset};")
        elif place.offset:
            self._writer.line(f"at += {place.offset};")

    def _fail(self, error: str, place: _Place) -> None:
        self._writer.line(f"s->error = {error};")
        self._settle(place)
        self._writer.line("goto done;")

    def _need(self, size: int, place: _Place) -> None:
        """Stop with PacketTooShort unless the frame goes on for `size` bytes."""
        if size:
            with self._writer.block(f"if ({place.pointer(size)} > end)"):
                self._fail(str(self._context.error_code("PacketTooShort")), place)

    # Operations

    def _operation(self, operation: ParserOp, place: _Place) -> _Place:
        match operation:
            case Extract(header):
                return self._extract(header, place)
            case SetField(target, value, location):
                if isinstance(value, Lookahead):
                    self._statements.assign(target, self._lookahead(value, place), location)
                else:
                    self._statements.assign(target, self._expressions.integer(value), location)
            case Verify(condition, error, location):
                test = self._expressions.condition(condition).text
                with self._writer.block(f"if (!({test}))", location):
                    self._fail(self._expressions.integer(error).text, place)
            case Advance(amount, location):
                return self._advance(amount, place, location)
            case Execute(statement):
                self._statements.write((statement,))
            case _:
                raise UnsupportedConstruct(type(operation).__name__, operation.location)
        return place

    def _extract(self, name: str, place: _Place) -> _Place:
        header = self._context.program.headers[name]
        layout = HeaderBytes(self._context, header)
        self._need(layout.size, place)
        layout.load(self._writer, place.pointer())
        self._writer.line(f"{self._context.valid(name)} = 1;")
        if keeps_place(self._context, self._places, name):
            self._writer.line(f"{self._context.place(name)} = {place.number};")
        return place.past(layout.size)

    def _advance(self, amount: Expression, place: _Place, location: SourceLocation) -> _Place:
        if isinstance(amount, Constant) and _is_whole(amount):
            self._need(amount.value // 8, place)
            return place.past(amount.value // 8)
        term = self._expressions.integer(amount)
        if len(term.words) > 1:
            raise UnsupportedConstruct("advance by a number of more than 64 bits", location)
        wanted = self._writer.temporary("u64", f"(u64)({term.text})")
        invalid = f"{wanted} & 7" + (f" || (s64){wanted} < 0" if term.low < 0 else "")
        with self._writer.block(f"if ({invalid})", location):
            self._fail(str(self._context.error_code("ParserInvalidArgument")), place)
        with self._writer.block(f"if ({wanted} >> 3 > (u64)(end - data) - ({place.number}))"):
            self._fail(str(self._context.error_code("PacketTooShort")), place)
        self._writer.line(f"at = ({place.number} + (u32)({wanted} >> 3)) & {FURTHEST:#x};")
        self._writer.line("p = data + at;")
        return _Place(False, 0)

    def _lookahead(self, ahead: Lookahead, place: _Place) -> Term:
        self._need((ahead.offset + ahead.width + 7) // 8, place)
        words = []
        for index in range(words_of(ahead.width)):
            width = min(WORD, ahead.width - WORD * index)
            start = ahead.offset + ahead.width - WORD * index - width
            words.append(self._writer.temporary("u64", bits_at(place.pointer(), start, width)))
        return Term(tuple(words), 0, (1 << ahead.width) - 1, atom=True)

    # Transitions

    def _select(self, state: ParseState, place: _Place, shape: Structure) -> None:
        live = live_transitions(self._context, state)
        keys = [self._key(key, place) for key in state.key] if live else []
        for transition in live:
            test = self._test(transition, keys)
            if not test:  # everything fits: later transitions are never tried
                self._go(transition.next_state, place, shape)
                return
            with self._writer.block(f"if ({test})"):
                self._go(transition.next_state, place, shape)
        self._go(state.default, place, shape)

    def _key(self, key: SelectKey, place: _Place) -> Term:
        if isinstance(key, Lookahead):
            return self._lookahead(key, place)
        return self._expressions.unsigned(key, key.width)

    @staticmethod
    def _test(transition: Transition, keys: list[Term]) -> str:
        tests = []
        for key, value, mask in zip(keys, transition.values, transition.masks, strict=True):
            full = key.high
            for index in range(len(key.words)):
                part, wanted, all_of_it = (number >> WORD * index & (1 << WORD) - 1 for number in (mask, value, full))
                if part & all_of_it == all_of_it:
                    tests.append(f"{key.word(index)} == {literal(wanted & part).text}")
                elif part:
                    tests.append(f"({key.word(index)} & {literal(part).text}) == {literal(wanted & part).text}")
        return " && ".join(tests)


def _is_whole(amount: Expression) -> bool:
    """Whether it is a constant number of whole bytes."""
    return isinstance(amount, Constant) and amount.value >= 0 and amount.value % 8 == 0
