"""From the model's statements to Python ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from softswitch.engine.python.calculations import Calculations
from softswitch.engine.python.context import Context
from softswitch.engine.python.expressions import Expressions
from softswitch.engine.python.layout import Layout
from softswitch.engine.python.terms import Term, bits, constant, cut
from softswitch.engine.python.writer import Writer
from softswitch.errors import SourceLocation, UnsupportedConstruct
from softswitch.program.expressions import AnyHeader, Expression, FieldRef, HeaderRef
from softswitch.program.statements import (
    Assert,
    Assign,
    AssignHeader,
    AssignStack,
    AssignVarbit,
    Clone,
    CountPacket,
    Drop,
    EmitDigest,
    ExecuteMeter,
    Exit,
    Hash,
    If,
    LogMessage,
    PopStack,
    PushStack,
    Random,
    ReadRegister,
    Recirculate,
    Resubmit,
    SetInvalid,
    SetValid,
    Statement,
    Target,
    Truncate,
    WriteRegister,
)

__all__ = ["Statements"]


class Statements:
    """Writes statements inside one action, or outside of any."""

    def __init__(self, context: Context, writer: Writer, params: Mapping[int, Term] | None = None) -> None:
        self._context = context
        self._writer = writer
        self._expressions: Expressions = context.expressions.inside(params or {})
        self._calculations = Calculations(context, writer)

    def write(self, statements: Sequence[Statement]) -> None:
        """Write them in order."""
        for statement in statements:
            self._write(statement)

    def _write(self, statement: Statement) -> None:
        match statement:
            case Assign(target, value, location):
                self.assign(target, self._expressions.integer(value), location)
            case SetValid(header, location):
                for layout in self._each(header, location):
                    self._set_valid(layout, location)
            case SetInvalid(header, location):
                for layout in self._each(header, location):
                    self._set_invalid(layout, location)
            case If(condition, then, otherwise, location):
                self._branch(self._expressions.condition(condition).text, then, otherwise, location)
            case AssignHeader(target, source, location):
                self._assign_header(target, source, location)
            case AssignVarbit(target, source, location):
                self._assign_varbit(target, source, location)
            case AssignStack(target, source, location):
                self._assign_stack(target, source, location)
            case PushStack(stack, count, location):
                self._shift_stack(stack, count, location)
            case PopStack(stack, count, location):
                self._shift_stack(stack, -count, location)
            case Drop() | EmitDigest() | Clone() | Resubmit() | Recirculate() | Truncate() | Exit():
                self._request(statement)
            case _:
                self._stateful(statement)

    def _stateful(self, statement: Statement) -> None:
        match statement:
            case Hash():
                self._hash(statement)
            case Random(target, low, high, location):
                self._random(target, low, high, location)
            case ReadRegister(target, register, index, location):
                self._read_register(target, register, index, location)
            case WriteRegister(register, index, value, location):
                self._write_register(register, index, value, location)
            case CountPacket(counter, index, location):
                self._count(counter, index, location)
            case ExecuteMeter(meter, index, target, location):
                self._meter(meter, index, target, location)
            case LogMessage(text, values, location):
                listed = "".join(f"{self._expressions.integer(value).wrapped()}, " for value in values)
                self._writer.line(f"log_message({str(location)!r}, {text!r}, ({listed}))")
            case Assert(condition, keyword, location):
                with self._writer.block(f"if not ({self._expressions.condition(condition).text})", location):
                    self._writer.line(f"raise AssertionFailed({f'{location}: {keyword} failed'!r})")
            case _:
                raise UnsupportedConstruct(type(statement).__name__, statement.location)

    # Fields

    def assign(self, target: Target, value: Term, location: SourceLocation | None = None) -> None:
        """Store a value in a field, cut to its width; in a header, its bytes in the packet go stale."""
        if isinstance(target, FieldRef):
            self._assign_field(target, value, location)
            return
        members = self._context.program.stacks[target.stack].members
        index = self._once(self._expressions.integer(target.index), "index")
        held = self._once(cut(value, target.width, target.signed), "value")
        for number, member in enumerate(members):
            with self._writer.block(f"{'el' if number else ''}if {index.text} == {number}", location):
                self._assign_field(FieldRef(member, target.field, target.width, target.signed), held, None)

    def _assign_field(self, target: FieldRef, value: Term, location: SourceLocation | None) -> None:
        if not self._context.keeps(target.header, target.field):
            return
        variable = self._expressions.field(target).text
        text = cut(value, target.width, target.signed).text
        if text != variable:
            self._writer.line(f"{variable} = {text}", location)
        self.touch(target.header)

    def touch(self, header: str) -> None:
        """A header's bytes in the packet are stale from here on."""
        layout = self._context.layouts.get(header)
        if layout is not None and layout.has_place and header not in self._writer.changed:
            self._writer.line(f"{layout.place} = -1")
            self._writer.changed |= {header}

    def _once(self, term: Term, variable: str) -> Term:
        """The term as something that may be repeated."""
        if term.atom:
            return term
        self._writer.line(f"{variable} = {term.text}")
        return Term(variable, term.low, term.high, atom=True)

    def _assign_varbit(self, target: FieldRef, source: FieldRef, location: SourceLocation) -> None:
        left, right = (self._context.names.field(field.header, field.field) for field in (target, source))
        self._writer.line(f"{left} = {right}", location)
        self.touch(target.header)

    # Headers

    def _each(self, header: AnyHeader, location: SourceLocation) -> list[Layout]:
        if isinstance(header, HeaderRef):
            layout = self._context.layouts.get(header.header)
            return [] if layout is None else [layout]
        raise UnsupportedConstruct("validity of a header stack member at a computed index", location)

    def _set_valid(self, layout: Layout, location: SourceLocation) -> None:
        with self._writer.block(f"if not {layout.valid}", location):
            self._writer.line(f"{layout.valid} = 1")
            for value in dict.fromkeys(layout.variables.values()):
                same = [variable for variable, empty in layout.variables.items() if empty == value]
                self._writer.line(f"{' = '.join(same)} = {value}")
            if layout.varbit is not None:
                self._writer.line(f"{layout.field(layout.varbit.name)} = b''")
            if layout.has_place:
                self._writer.line(f"{layout.place} = -1")
            if self._context.tracks_length:
                self._writer.line(f"length += {layout.size}")

    def _set_invalid(self, layout: Layout, location: SourceLocation) -> None:
        if self._context.tracks_length:
            with self._writer.block(f"if {layout.valid}", location):
                varbit = f" + len({layout.field(layout.varbit.name)})" if layout.varbit is not None else ""
                self._writer.line(f"length -= {layout.size}{varbit}")
                self._writer.line(f"{layout.valid} = 0")
        else:
            self._writer.line(f"{layout.valid} = 0", location)

    def _assign_header(self, target: AnyHeader, source: AnyHeader, location: SourceLocation) -> None:
        if not isinstance(target, HeaderRef) or not isinstance(source, HeaderRef):
            raise UnsupportedConstruct("assignment of a header stack member at a computed index", location)
        headers = self._context.program.headers
        if headers[target.header].type != headers[source.header].type:
            raise UnsupportedConstruct("assignment between headers of different types", location)
        if headers[target.header].metadata or headers[source.header].metadata:
            for field in headers[target.header].type.fields:
                value = FieldRef(source.header, field.name, field.width, field.signed)
                copy = FieldRef(target.header, field.name, field.width, field.signed)
                self.assign(copy, self._expressions.field(value), location)
            return
        left, right = self._context.layouts[target.header], self._context.layouts[source.header]
        with self._writer.block(f"if {right.valid}", location):
            self._writer.line(f"{left.valid} = 1")
            self._copy(left, right)
            if left.has_place:
                self._writer.line(f"{left.place} = -1")
        with self._writer.block("else"):
            self._writer.line(f"{left.valid} = 0")

    def _copy(self, left: Layout, right: Layout) -> None:
        for field in left.header.type.fields:
            if self._context.keeps(left.name, field.name):
                self._writer.line(f"{left.field(field.name)} = {right.field(field.name)}")

    # Stacks

    def _assign_stack(self, target: str, source: str, location: SourceLocation) -> None:
        stacks = self._context.program.stacks
        for left, right in zip(stacks[target].members, stacks[source].members, strict=True):
            self._assign_header(HeaderRef(left), HeaderRef(right), location)
        next_index = self._context.names.next_index
        self._writer.line(f"{next_index(target)} = {next_index(source)}")

    def _shift_stack(self, stack: str, count: int, location: SourceLocation) -> None:
        """Move members towards the back (`count` above zero) or the front; those that come in are invalid."""
        members = self._context.program.stacks[stack].members
        layouts = [self._context.layouts[member] for member in members]
        size, variable = len(layouts), self._context.names.next_index(stack)
        limit = f"min({variable} + {count}, {size})" if count > 0 else f"max({variable} - {-count}, 0)"
        self._writer.line(f"{variable} = {limit}", location)
        for index in range(size - 1, -1, -1) if count > 0 else range(size):
            source = index - count
            if 0 <= source < size:
                left, right = layouts[index], layouts[source]
                self._writer.line(f"{left.valid} = {right.valid}")
                self._copy(left, right)
                if left.has_place:
                    self._writer.line(f"{left.place} = {right.place}")
            else:
                self._writer.line(f"{layouts[index].valid} = 0")
        self._writer.changed -= frozenset(members)

    # What is asked for until the end of the pipeline

    def _request(self, statement: Statement) -> None:
        line = self._writer.line
        match statement:
            case Drop(location):
                line(f"{self._context.intrinsic('egress_spec') or 'drop'} = {self._context.drop_value}", location)
                if group := self._context.intrinsic("mcast_grp"):
                    line(f"{group} = 0")
            case EmitDigest(digest, location):
                line(f"digest = {digest}", location)
            case Clone(session, field_list, _, location):
                masked = cut(self._expressions.integer(session), 15)
                line(f"clone_session = {masked.wrapped()} | 0x8000", location)
                line(f"clone_list = {field_list}")
            case Resubmit(field_list, location):
                line(f"resubmit_list = {field_list}", location)
            case Recirculate(field_list, location):
                line(f"recirculate_list = {field_list}", location)
            case Truncate(length, location):
                line(f"cut = min(cut, {self._expressions.integer(length).text})", location)
            case Exit(location):
                line("exited = 1", location)
            case _:
                pass

    def _branch(
        self, condition: str, then: Sequence[Statement], otherwise: Sequence[Statement], location: SourceLocation
    ) -> None:
        with self._writer.block(f"if {condition}", location):
            self.write(then)
        if otherwise:
            with self._writer.block("else"):
                self.write(otherwise)

    # State

    def _hash(self, statement: Hash) -> None:
        if isinstance(statement.target, FieldRef) and not self._context.keeps(
            statement.target.header, statement.target.field
        ):
            return
        self._writer.comment(f"{statement.location} {statement.calculation}")
        result = self._calculations.render(self._context.program.calculations[statement.calculation])
        base, maximum = self._expressions.integer(statement.base), self._expressions.integer(statement.maximum)
        term = self._bounded_hash(result, maximum)
        if base.constant != 0:
            total = f"{term.wrapped()} + {base.wrapped()}"
            term = cut(Term(total, term.low + base.low, term.high + base.high), 64)
        self.assign(statement.target, term, statement.location)

    @staticmethod
    def _bounded_hash(result: Term, maximum: Term) -> Term:
        """`result % maximum`, with the maximum as 64 bits and one in place of zero."""
        limit = maximum.constant
        if limit is None:
            bound = cut(maximum, 64)
            return Term(f"{result.wrapped()} % ({bound.text} or 1)", 0, result.high)
        limit = limit % (1 << 64) or 1
        if result.high < limit:
            return result
        if limit & (limit - 1) == 0:
            return constant(0) if limit == 1 else Term(f"{result.wrapped()} & {limit - 1:#x}", 0, limit - 1)
        return Term(f"{result.wrapped()} % {limit}", 0, limit - 1)

    def _random(self, target: Target, low: Expression, high: Expression, location: SourceLocation) -> None:
        lowest = self._once(self._expressions.integer(low), "index")
        highest = self._once(self._expressions.integer(high), "value")
        with self._writer.block(f"if {lowest.text} <= {highest.text}", location):
            self.assign(target, Term(f"random_between({lowest.text}, {highest.text})", lowest.low, highest.high))

    def _index(self, index: Expression, size: int) -> tuple[Term, str]:
        """The cell's index and the test that it is inside, empty where it cannot be outside."""
        place = self._expressions.integer(index)
        if place.low >= 0 and place.high < size:
            return place, ""
        held = self._once(place, "index")
        lower = "0 <= " if held.low < 0 else ""
        return held, f"{lower}{held.text} < {size}"

    def _guarded(self, test: str, lines: Sequence[str], location: SourceLocation) -> None:
        if not test:
            for line in lines:
                self._writer.line(line, location)
            return
        with self._writer.block(f"if {test}", location):
            for line in lines:
                self._writer.line(line)

    def _read_register(self, target: Target, register: str, index: Expression, location: SourceLocation) -> None:
        array = self._context.program.registers[register]
        cells = self._context.names.object("cells", register)
        place, test = self._index(index, array.size)
        value = bits(f"{cells}[{place.text}]", array.width)
        if not test:
            self.assign(target, value, location)
            return
        with self._writer.block(f"if {test}", location):
            self.assign(target, value)

    def _write_register(self, register: str, index: Expression, value: Expression, location: SourceLocation) -> None:
        array = self._context.program.registers[register]
        cells = self._context.names.object("cells", register)
        place, test = self._index(index, array.size)
        stored = cut(self._expressions.integer(value), array.width)
        self._guarded(test, [f"{cells}[{place.text}] = {stored.text}"], location)

    def _count(self, counter: str, index: Expression, location: SourceLocation) -> None:
        array, names = self._context.program.counters[counter], self._context.names
        place, test = self._index(index, array.size)
        held = self._once(place, "index")
        packets, octets = names.object("packets", counter), names.object("octets", counter)
        self._guarded(test, [f"{packets}[{held.text}] += 1", f"{octets}[{held.text}] += octets"], location)

    def _meter(self, meter: str, index: Expression, target: Target, location: SourceLocation) -> None:
        array = self._context.program.meters[meter]
        place, test = self._index(index, array.size)
        with self._writer.block(f"if {test or 'True'}", location):
            self._writer.line(f"meter = {self._context.names.object('meters', meter)}[{place.text}]")
            amount = "octets" if array.octets else "1"
            self.assign(target, Term(f"0 if meter is None else meter.execute(now, {amount})", 0, 2))
