"""From the model's statements to C ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from softswitch.engine.xdp.action_fields import fields_of
from softswitch.engine.xdp.arithmetic import Arithmetic
from softswitch.engine.xdp.calculations import Calculations
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.places import added, removed
from softswitch.engine.xdp.registers import cell_value, index_text, register_cell
from softswitch.engine.xdp.terms import WORD, Term, words_of
from softswitch.engine.xdp.values import Kind, Value, constant, operand, variable
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import NOWHERE, SourceLocation, UnsupportedConstruct
from softswitch.program.expressions import VALID_FIELD, AnyHeader, Expression, FieldRef, HeaderRef, RegisterRef, walk
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
    flatten,
)

__all__ = ["Statements"]

_C_SIZES = (8, 16, 32, 64)
"""Widths that a C type cuts to by itself."""


class Statements:
    """Writes statements inside one action, or outside of any."""

    def __init__(self, context: Context, writer: Writer, params: Mapping[int, Term] | None = None) -> None:
        self._context = context
        self._writer = writer
        self._expressions = Expressions(context, writer, params)
        self._arithmetic = Arithmetic(writer)
        self._locks: dict[str, str] = {}
        """Variables of the locks that are held, by register."""

    def write(self, statements: Sequence[Statement]) -> None:
        """Write them in order."""
        for statement in statements:
            try:
                self._write(statement)
            except UnsupportedConstruct as refused:
                if refused.location != NOWHERE:
                    raise
                raise UnsupportedConstruct(refused.construct, statement.location) from None

    def write_action(self, body: Sequence[Statement]) -> None:
        """Write an action's whole body, with its variables and under the locks that it needs."""
        own = [field for field in fields_of(self._context.program, body) if self._is_own(field)]
        if not own:
            self._write_locked(body)
            return
        with self._writer.block(""):
            for field in own:
                declaration = self._context.declaration(field.header, field.field, field.width, field.signed)
                self._writer.line(declaration)
            self._write_locked(body)

    def _write_locked(self, body: Sequence[Statement]) -> None:
        for register in self.locks(body):
            self._lock(register)
        self.write(body)
        self._unlock()
        self._locks.clear()

    def locks(self, body: Sequence[Statement]) -> tuple[str, ...]:
        """Registers that a body both reads and writes, sorted: no other packet may come in between."""
        read: set[str] = set()
        written: set[str] = set()
        for statement in flatten(tuple(body)):
            match statement:
                case ReadRegister(_, register):
                    read.add(register)
                case WriteRegister(register):
                    written.add(register)
            for expression in _expressions(statement):
                read.update(part.register for part in walk(expression) if isinstance(part, RegisterRef))
        return tuple(sorted(read & written))

    @contextmanager
    def _covered(self, register: str) -> Iterator[None]:
        """The register's lock around an access to several words, unless it is held anyway."""
        if register in self._locks or self._context.program.registers[register].width <= WORD:
            yield
            return
        self._lock(register)
        yield
        self._writer.line(f"unlock({self._locks.pop(register)});")

    def _lock(self, register: str) -> None:
        taken = f"lock(&{self._context.names.object(register)}_lock)"
        self._locks[register] = self._writer.variable("struct lock *", taken)

    def _unlock(self) -> None:
        for held in reversed(self._locks.values()):
            self._writer.line(f"unlock({held});")

    def _write(self, statement: Statement) -> None:
        match statement:
            case Assign(target, value, location):
                self._assign(target, value, location)
            case SetValid(header, location):
                self._set_valid(self._header(header, location), location)
            case SetInvalid(header, location):
                self._set_invalid(self._header(header, location), location)
            case If(condition, then, otherwise, location):
                self._branch(self._expressions.condition(condition).text, then, otherwise, location)
            case AssignHeader(target, source, location):
                self._assign_header(self._header(target, location), self._header(source, location), location)
            case AssignVarbit(location=location):
                raise UnsupportedConstruct("varbit field", location)
            case AssignStack(location=location) | PushStack(location=location) | PopStack(location=location):
                raise UnsupportedConstruct("header stack", location)
            case LogMessage(location=location):
                raise UnsupportedConstruct("log_msg", location)
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
                place = index_text(self._writer, self._expressions.value(index))
                cells = f"{self._context.names.object(counter)}_cells"
                self._writer.line(f"count_at(&{cells}, {place}, s->size);", location)
            case ExecuteMeter(meter, index, target, location):
                self._meter(meter, index, target, location)
            case Assert(condition, _, location):
                with self._writer.block(f"if (!({self._expressions.condition(condition).text}))", location):
                    self._writer.line("s->failed = 1;")
                    self._unlock()
                    self._writer.line("return;")
            case _:
                raise UnsupportedConstruct(type(statement).__name__, statement.location)

    # Fields

    def assign(self, target: Target, value: Term, location: SourceLocation | None = None) -> None:
        """Store a value in a field, cut to its width. A term that may be negative is taken to be signed in C, one of
        up to 32 bits to be of a type no wider."""
        width = next((size for size in (16, 32, WORD) if value.high < 1 << size), value.high.bit_length())
        self._store(target, variable(value, width, value.low < 0 and len(value.words) == 1), location or NOWHERE)

    def _assign(self, target: Target, value: Expression, location: SourceLocation) -> None:
        if self._is_kept(target, location):
            self._store(target, self._expressions.value(value, target.width), location)

    def _is_kept(self, target: Target, location: SourceLocation) -> bool:
        if not isinstance(target, FieldRef):
            raise UnsupportedConstruct(f"header stack '{target.stack}'", location)
        return self._is_own(target) or self._context.keeps(target.header, target.field)

    def _is_own(self, field: FieldRef) -> bool:
        """Whether a field is a variable of the action."""
        return (field.header, field.field) in self._context.action_fields

    def _store(self, target: Target, value: Value, location: SourceLocation = NOWHERE) -> None:
        if not self._is_kept(target, location) or not isinstance(target, FieldRef):
            return
        if target.field == VALID_FIELD:
            raise UnsupportedConstruct("assignment to a header's validity", location)
        words = self._context.term(target).words
        if len(words) > 1:
            value = self._arithmetic.and_(value, constant((1 << target.width) - 1), None)
            self._store_words(words, value, location)
            return
        if target.width in _C_SIZES and value.constant is None:
            text = value.term().words[0]
        elif target.signed:
            text = self._arithmetic.sign(value, target.width).text
        else:
            text = self._arithmetic.and_(value, constant((1 << target.width) - 1), None).text
        if text != words[0]:
            self._writer.line(f"{words[0]} = {text};", location)

    def _store_words(self, targets: Sequence[str], value: Value, location: SourceLocation = NOWHERE) -> None:
        """Assign word by word; none of them is read after it has been assigned."""
        texts = [Value((value.word(index),), 0, 0).text for index in range(len(targets))]
        moves = [(target, text) for target, text in zip(targets, texts, strict=True) if target != text]
        for number, (target, _) in enumerate(moves):
            if any(target in later for _, later in moves[number + 1 :]):
                moves = [(name, self._writer.temporary("u64", text)) for name, text in moves]
                break
        for target, text in moves:
            self._writer.line(f"{target} = {text};", location)
            location = NOWHERE

    # Headers

    @staticmethod
    def _header(header: AnyHeader, location: SourceLocation) -> str:
        if not isinstance(header, HeaderRef):
            raise UnsupportedConstruct(f"header stack '{header.stack}'", location)
        return header.header

    def _set_valid(self, name: str, location: SourceLocation) -> None:
        header, valid = self._context.program.headers[name], self._context.valid(name)
        if header.metadata:
            return
        with self._writer.block(f"if (!{valid})", location):
            self._writer.line(f"{valid} = 1;")
            for field in header.type.fields:
                if field.varbit:
                    raise UnsupportedConstruct(f"varbit field of header '{name}'", location)
                if self._context.keeps(name, field.name):
                    self._store(FieldRef(name, field.name, field.width, field.signed), constant(0))
            for line in added(self._context, name):
                self._writer.line(line)
            if self._context.usage.reads_intrinsic("packet_length"):
                self._writer.line(f"s->length += {header.type.width // 8};")

    def _set_invalid(self, name: str, location: SourceLocation) -> None:
        header, valid = self._context.program.headers[name], self._context.valid(name)
        if header.metadata:
            return
        with self._writer.block(f"if ({valid})", location):
            self._writer.line(f"{valid} = 0;")
            for line in removed(self._context, name):
                self._writer.line(line)
            if self._context.usage.reads_intrinsic("packet_length"):
                self._writer.line(f"s->length -= {header.type.width // 8};")

    def _assign_header(self, target: str, source: str, location: SourceLocation) -> None:
        headers = self._context.program.headers
        if headers[target].type != headers[source].type:
            raise UnsupportedConstruct("assignment between headers of different types", location)
        if target == source:
            return
        if headers[target].metadata or headers[source].metadata:
            self._copy(target, source, location)
            return
        left, right = self._context.valid(target), self._context.valid(source)
        with self._writer.block(f"if ({right})", location):
            self._copy(target, source, NOWHERE)
            with self._writer.block(f"if (!{left})"):
                for line in [f"{left} = 1;", *added(self._context, target)]:
                    self._writer.line(line)
        with self._writer.block(f"else if ({left})"):
            for line in [f"{left} = 0;", *removed(self._context, target)]:
                self._writer.line(line)

    def _copy(self, target: str, source: str, location: SourceLocation) -> None:
        for field in self._context.program.headers[target].type.fields:
            value = FieldRef(source, field.name, field.width, field.signed)
            self._assign(FieldRef(target, field.name, field.width, field.signed), value, location)

    # What is asked for until the end of the pipeline

    def _request(self, statement: Statement) -> None:
        line = self._writer.line
        match statement:
            case Drop(location):
                line(f"{self._context.intrinsic('egress_spec') or 's->spec'} = {self._context.drop_value};", location)
                if group := self._context.intrinsic("mcast_grp"):
                    line(f"{group} = 0;")
            case EmitDigest(digest, location):
                line(f"s->digest = {digest};", location)
            case Clone(session, field_list, _, location):
                number = self._expressions.unsigned(session, 15)
                line(f"s->clone_session = {operand(number.text)} | 0x8000;", location)
                line(f"s->clone_list = {field_list};")
            case Resubmit(field_list, location):
                line(f"s->resubmit_list = {field_list};", location)
            case Recirculate(field_list, location):
                line(f"s->recirculate_list = {field_list};", location)
            case Truncate(length, location):
                self._truncate(length, location)
            case Exit(location):
                line("s->exited = 1;", location)
            case _:
                pass

    def _truncate(self, length: Expression, location: SourceLocation) -> None:
        limit = self._arithmetic.hold(self._expressions.value(length))
        cut = Value(("s->cut",), 0, (1 << 32) - 1, Kind.U32, (1 << 32) - 1)
        with self._writer.block(f"if ({self._arithmetic.compare('<', limit, cut)})", location):
            self._writer.line(f"s->cut = {limit.term().words[0]};")

    def _branch(
        self, condition: str, then: Sequence[Statement], otherwise: Sequence[Statement], location: SourceLocation
    ) -> None:
        with self._writer.block(f"if ({condition})", location):
            self.write(then)
        if otherwise:
            with self._writer.block("else"):
                self.write(otherwise)

    # State

    def _hash(self, statement: Hash) -> None:
        if not self._is_kept(statement.target, statement.location):
            return
        self._writer.comment(f"{statement.calculation}", statement.location)
        calculations = Calculations(self._context, self._writer)
        result = calculations.value(self._context.program.calculations[statement.calculation])
        base, maximum = self._expressions.value(statement.base), self._expressions.value(statement.maximum)
        found = self._arithmetic.add(self._bounded_hash(result, maximum), base, WORD)
        self._store(statement.target, self._arithmetic.and_(found, constant((1 << WORD) - 1), None))

    def _bounded_hash(self, result: Value, maximum: Value) -> Value:
        """`result % maximum`, with the maximum as 64 bits and one in place of zero."""
        math, limit = self._arithmetic, maximum.constant
        if limit is None:
            bound = math.hold(math.and_(maximum, constant((1 << WORD) - 1), None))
            return math.modulo(result, bound)  # zero where the divisor is zero: as with one
        limit = limit % (1 << WORD) or 1
        if result.high < limit:
            return result
        if limit & (limit - 1) == 0:
            return math.and_(result, constant(limit - 1), None)
        return math.modulo(result, constant(limit))

    def _random(self, target: Target, low: Expression, high: Expression, location: SourceLocation) -> None:
        """`low + random % (high - low + 1)`, unless that is empty."""
        math = self._arithmetic
        lowest, highest = math.hold(self._expressions.value(low)), math.hold(self._expressions.value(high))
        if not self._is_kept(target, location) or lowest.low > highest.high:
            return
        if not (lowest.single and highest.single) or lowest.low < 0 or highest.low < 0:
            raise UnsupportedConstruct("random numbers of more than 64 bits, or below zero", location)
        with self._writer.block(f"if ({math.compare('<=', lowest, highest)})", location):
            span = math.subtract(highest, lowest, WORD)
            count = Value(span.words, 0, highest.high - lowest.low, span.kind)
            count = math.hold(math.add(count, constant(1), WORD))
            if count.high < 1 << 32:
                draw = Value((self._writer.temporary("u32", "bpf_get_prandom_u32()"),), 0, (1 << 32) - 1, Kind.U32)
            else:
                both = "(u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32()"
                draw = Value((self._writer.temporary("u64", both),), 0, (1 << WORD) - 1, Kind.U64)
            found = math.choose(count.text, math.modulo(draw, count), draw, None) if count.low == 0 else None
            self._store(target, math.add(found or math.modulo(draw, count), lowest, target.width))

    def _read_register(self, target: Target, register: str, index: Expression, location: SourceLocation) -> None:
        if not self._is_kept(target, location):
            return
        pointer = register_cell(self._context, self._writer, register, self._expressions.value(index))
        with self._writer.block(f"if ({pointer})", location), self._covered(register):
            self._store(target, cell_value(self._context, register, pointer))

    def _write_register(self, register: str, index: Expression, value: Expression, location: SourceLocation) -> None:
        width = self._context.program.registers[register].width
        stored = self._expressions.value(value, width)
        stored = self._arithmetic.and_(stored, constant((1 << width) - 1), None)
        pointer = register_cell(self._context, self._writer, register, self._expressions.value(index))
        with self._writer.block(f"if ({pointer})", location), self._covered(register):
            self._store_words([f"{pointer}[{index}]" for index in range(words_of(width))], stored)

    def _meter(self, meter: str, index: Expression, target: Target, location: SourceLocation) -> None:
        array, stem = self._context.program.meters[meter], self._context.names.object(meter)
        place = self._writer.temporary("u32", index_text(self._writer, self._expressions.value(index)))
        cell = self._writer.variable("struct meter *", f"bpf_map_lookup_elem(&{stem}_cells, &{place})")
        with self._writer.block(f"if ({cell})", location):
            amount = "s->size" if array.octets else "1"
            colour = self._writer.temporary("u32", f"meter_execute({cell}, packet_time(s), {amount})")
            self._store(target, Value((colour,), 0, 2, Kind.U32, 3))


def _expressions(statement: Statement) -> list[Expression]:
    """What a statement computes, those of its arms aside."""
    match statement:
        case Assign(_, value) | Truncate(value) | Clone(value) | Assert(value) | If(value) | CountPacket(_, value):
            return [value]
        case ReadRegister(_, _, index) | ExecuteMeter(_, index):
            return [index]
        case WriteRegister(_, first, second) | Hash(_, first, _, second) | Random(_, first, second):
            return [first, second]
        case _:
            return []
