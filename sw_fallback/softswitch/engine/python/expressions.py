"""From the model's expressions to Python ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from softswitch.engine.python.names import Names
from softswitch.engine.python.terms import FAR, Condition, Term, bits, constant, number
from softswitch.errors import MalformedPipeline
from softswitch.program import Program
from softswitch.program.cursor import MAX_WIDTH
from softswitch.program.expressions import (
    BINARY_BOOLEAN,
    VALID_FIELD,
    AnyHeader,
    Binary,
    BinaryOp,
    BoolConstant,
    Choice,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    LastIndex,
    Param,
    RegisterRef,
    StackElement,
    StackElementField,
    StackLastField,
    StackSize,
    Unary,
    UnaryOp,
    Valid,
)

__all__ = ["Expressions"]

_SHIFT_LIMIT = 1 << 17
"""No field is as wide: a longer shift leaves nothing of the value."""


class Expressions:
    """Renders expressions inside one action (whose parameters are `params`) or outside of any."""

    def __init__(self, program: Program, names: Names, params: Mapping[int, Term] | None = None) -> None:
        self._program = program
        self._names = names
        self._params = params or {}

    def inside(self, params: Mapping[int, Term]) -> Expressions:
        """The same inside of an action with these arguments."""
        return Expressions(self._program, self._names, params)

    def field(self, field: FieldRef) -> Term:
        """A field of a named header."""
        if field.field == VALID_FIELD:
            if self._program.headers[field.header].metadata:
                return constant(1)
            return Term(self._names.valid(field.header), 0, 1, atom=True)
        return bits(self._names.field(field.header, field.field), field.width, field.signed)

    def valid(self, header: AnyHeader) -> Condition:
        """Whether a header is valid."""
        if isinstance(header, HeaderRef):
            return Condition(self.field(FieldRef(header.header, VALID_FIELD, 1)).text, atom=True)
        members = self._program.stacks[header.stack].members
        return self._as_condition(self._at(header.index, [bits(self._names.valid(m), 1) for m in members]))

    def integer(self, expression: Expression) -> Term:
        """An expression that gives a number."""
        match expression:
            case Constant(value):
                return constant(value)
            case FieldRef():
                return self.field(expression)
            case Param(index):
                return self._params[index]
            case Unary(UnaryOp.BOOL_TO_DATA, BoolConstant(value)):
                return constant(int(value))
            case Unary(UnaryOp.BOOL_TO_DATA, operand):
                return Term(f"1 if {self.condition(operand).wrapped()} else 0", 0, 1)
            case Unary(UnaryOp.INVERT, operand):
                term = self.integer(operand)
                return Term(f"~{term.wrapped()}", ~term.high, ~term.low)
            case Binary(op, left, right) if op not in BINARY_BOOLEAN:
                return _ARITHMETIC[op](self.integer(left), self.integer(right))
            case Choice(condition, then, otherwise):
                one, other = self.integer(then), self.integer(otherwise)
                text = f"{one.wrapped()} if {self.condition(condition).wrapped()} else {other.wrapped()}"
                return Term(text, min(one.low, other.low), max(one.high, other.high))
            case BoolConstant(value):
                return constant(int(value))
            case Valid() | Unary() | Binary():
                return Term(f"1 if {self.condition(expression).wrapped()} else 0", 0, 1)
            case _:
                return self._stateful(expression)

    def _stateful(self, expression: Expression) -> Term:
        match expression:
            case StackElementField(stack, index, field, width, signed):
                members = self._program.stacks[stack].members
                return self._at(index, [bits(self._names.field(m, field), width, signed) for m in members])
            case StackLastField(stack, field, width):
                members = self._program.stacks[stack].members
                listed = ", ".join(self._names.field(member, field) for member in members)
                return Term(f"({listed},)[{self._names.next_index(stack)} - 1]", 0, (1 << width) - 1)
            case LastIndex(stack):
                size = len(self._program.stacks[stack].members)
                return Term(f"{self._names.next_index(stack)} - 1", -1, size - 1)
            case StackSize(stack):
                size = len(self._program.stacks[stack].members)
                return Term(self._names.next_index(stack), 0, size, atom=True)
            case RegisterRef(register, index):
                array = self._program.registers[register]
                cells, place = self._names.object("cells", register), self.integer(index)
                read = f"{cells}[{place.text}]"
                if place.low < 0 or place.high >= array.size:
                    read = f"{read} if 0 <= {place.wrapped()} < {array.size} else 0"
                return Term(read, 0, (1 << array.width) - 1)
            case _:
                raise MalformedPipeline(f"{type(expression).__name__} where a number is expected")

    def _at(self, index: Expression, choices: list[Term]) -> Term:
        """One of a stack's variables; past the end it is zero."""
        place = self.integer(index)
        if place.constant is not None:
            return choices[place.constant] if 0 <= place.constant < len(choices) else constant(0)
        read = f"({', '.join(choice.text for choice in choices)},)[{place.text}]"
        if place.low < 0 or place.high >= len(choices):
            read = f"{read} if 0 <= {place.wrapped()} < {len(choices)} else 0"
        return Term(read, min(c.low for c in choices), max(c.high for c in choices))

    def condition(self, expression: Expression) -> Condition:
        """An expression that gives true or false."""
        match expression:
            case BoolConstant(value):
                return Condition(str(value), atom=True)
            case Valid(header):
                return self.valid(header)
            case Unary(UnaryOp.NOT, operand):
                return Condition(f"not {self.condition(operand).wrapped()}")
            case Unary(UnaryOp.DATA_TO_BOOL, operand):
                return self._as_condition(self.integer(operand))
            case Binary(BinaryOp.BOTH, left, right):
                return Condition(f"{self.condition(left).wrapped()} and {self.condition(right).wrapped()}")
            case Binary(BinaryOp.EITHER, left, right):
                return Condition(f"{self.condition(left).wrapped()} or {self.condition(right).wrapped()}")
            case Binary(op, left, right) if op in BINARY_BOOLEAN:
                return self._comparison(op, left, right)
            case Choice(choice, then, otherwise):
                one, other = self.condition(then), self.condition(otherwise)
                return Condition(f"{one.wrapped()} if {self.condition(choice).wrapped()} else {other.wrapped()}")
            case _:
                return self._as_condition(self.integer(expression))

    @staticmethod
    def _as_condition(term: Term) -> Condition:
        return Condition(term.text, term.atom)

    def _comparison(self, op: BinaryOp, left: Expression, right: Expression) -> Condition:
        if isinstance(left, HeaderRef | StackElement) and isinstance(right, HeaderRef | StackElement):
            equal = self._same_headers(left, right)
            return equal if op is BinaryOp.EQUAL else Condition(f"not {equal.wrapped()}")
        if _is_boolean(left) or _is_boolean(right):
            return Condition(f"bool({self.condition(left).text}) {op.value} bool({self.condition(right).text})")
        one, other = self.integer(left), self.integer(right)
        return Condition(f"{one.wrapped()} {op.value} {other.wrapped()}")

    def _same_headers(self, left: AnyHeader, right: AnyHeader) -> Condition:
        """Both valid, with equal fields (an invalid header equals nothing, as in the behavioural model)."""
        if not isinstance(left, HeaderRef) or not isinstance(right, HeaderRef):
            raise MalformedPipeline("comparison of header stack members at computed indices")
        tests = [self.valid(left).text, self.valid(right).text]
        for field in self._program.headers[left.header].type.fields:
            one, other = (self._names.field(header.header, field.name) for header in (left, right))
            tests.append(f"{one} == {other}")
        return Condition(" and ".join(tests))


def _is_boolean(expression: Expression) -> bool:
    match expression:
        case BoolConstant() | Valid() | Unary(UnaryOp.NOT | UnaryOp.DATA_TO_BOOL):
            return True
        case Binary(op):
            return op in BINARY_BOOLEAN
        case Choice(_, then):
            return _is_boolean(then)
        case _:
            return False


def _bounded(text: str, left: Term, right: Term, *corners: int) -> Term:
    """A term within these corners, or anywhere when an operand is unknown."""
    if not (left.known and right.known):
        return Term(text, -FAR, FAR)
    return Term(text, min(corners), max(corners))


def _folded(left: Term, right: Term, result: Callable[[int, int], int]) -> Term | None:
    if left.constant is None or right.constant is None:
        return None
    return constant(result(left.constant, right.constant))


def _add(left: Term, right: Term) -> Term:
    text = f"{left.wrapped()} + {right.wrapped()}"
    return _folded(left, right, int.__add__) or _bounded(
        text, left, right, left.low + right.low, left.high + right.high
    )


def _subtract(left: Term, right: Term) -> Term:
    text = f"{left.wrapped()} - {right.wrapped()}"
    return _folded(left, right, int.__sub__) or _bounded(
        text, left, right, left.low - right.high, left.high - right.low
    )


def _multiply(left: Term, right: Term) -> Term:
    corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    return _bounded(f"{left.wrapped()} * {right.wrapped()}", left, right, *corners)


def _divide(left: Term, right: Term) -> Term:
    text = f"{left.wrapped()} // {right.wrapped()}"
    if right.low <= 0:  # the specification leaves division by zero open: zero here
        text = f"{text} if {right.wrapped()} > 0 else 0"
    return _bounded(text, left, right, min(left.low, 0), max(left.high, 0))


def _modulo(left: Term, right: Term) -> Term:
    text = f"{left.wrapped()} % {right.wrapped()}"
    if right.low <= 0:
        text = f"{text} if {right.wrapped()} > 0 else 0"
    return _bounded(text, left, right, 0, max(right.high - 1, 0))


def _shift_left(left: Term, right: Term) -> Term:
    text = f"{left.wrapped()} << {right.wrapped()}"
    if right.low < 0 or right.high > _SHIFT_LIMIT:
        text = f"({text} if 0 <= {right.wrapped()} < {_SHIFT_LIMIT} else 0)"
        return Term(text, -FAR if left.low < 0 else 0, FAR)
    return _bounded(text, left, right, min(left.low << right.high, left.low), left.high << right.high, 0)


def _shift_right(left: Term, right: Term) -> Term:
    if right.constant is not None:
        count = min(max(right.constant, 0), _SHIFT_LIMIT)
        return _bounded(f"{left.wrapped()} >> {count}", left, right, left.low >> count, left.high >> count)
    count_text = right.wrapped()
    if right.low < 0 or right.high > _SHIFT_LIMIT:
        count_text = f"min(max({right.text}, 0), {_SHIFT_LIMIT})"
    return _bounded(f"{left.wrapped()} >> {count_text}", left, right, min(left.low, 0), max(left.high, 0))


def _and(left: Term, right: Term) -> Term:
    for one, other in ((left, right), (right, left)):
        mask = other.constant
        if mask is not None and mask >= 0 and mask & (mask + 1) == 0 and one.low >= 0 and one.high <= mask:
            return one
    text = f"{left.wrapped()} & {right.wrapped()}"
    if folded := _folded(left, right, int.__and__):
        return folded
    if left.low >= 0 and right.low >= 0:
        return Term(text, 0, min(left.high, right.high))
    if left.low >= 0 or right.low >= 0:
        return Term(text, 0, left.high if left.low >= 0 else right.high)
    return Term(text, -FAR, FAR)


def _either(symbol: str) -> Callable[[Term, Term], Term]:
    def render(left: Term, right: Term) -> Term:
        text = f"{left.wrapped()} {symbol} {right.wrapped()}"
        if left.low >= 0 and right.low >= 0 and left.known and right.known:
            return Term(text, 0, (1 << max(left.high.bit_length(), right.high.bit_length())) - 1)
        return Term(text, -FAR, FAR)

    return render


def _width(term: Term) -> int:
    if term.constant is None or not 0 < term.constant <= MAX_WIDTH:
        raise MalformedPipeline(f"a cast to a width that is no constant from 1 to {MAX_WIDTH}")
    return term.constant


def _signed_wrap(left: Term, right: Term) -> Term:
    width = _width(right)
    half = 1 << (width - 1)
    if -half <= left.low and left.high < half:
        return left
    text = f"(({left.wrapped()} & {number(2 * half - 1)}) ^ {number(half)}) - {number(half)}"
    return Term(text, -half, half - 1)


def _clamp(left: Term, low: int, high: int) -> Term:
    return Term(f"min(max({left.text}, {number(low)}), {number(high)})", low, high)


def _saturate(left: Term, right: Term) -> Term:
    return _clamp(left, 0, (1 << _width(right)) - 1)


def _saturate_signed(left: Term, right: Term) -> Term:
    half = 1 << (_width(right) - 1)
    return _clamp(left, -half, half - 1)


_ARITHMETIC: dict[BinaryOp, Callable[[Term, Term], Term]] = {
    BinaryOp.ADD: _add,
    BinaryOp.SUBTRACT: _subtract,
    BinaryOp.MULTIPLY: _multiply,
    BinaryOp.DIVIDE: _divide,
    BinaryOp.MODULO: _modulo,
    BinaryOp.SHIFT_LEFT: _shift_left,
    BinaryOp.SHIFT_RIGHT: _shift_right,
    BinaryOp.AND: _and,
    BinaryOp.OR: _either("|"),
    BinaryOp.XOR: _either("^"),
    BinaryOp.SIGNED_WRAP: _signed_wrap,
    BinaryOp.SATURATE: _saturate,
    BinaryOp.SATURATE_SIGNED: _saturate_signed,
}
