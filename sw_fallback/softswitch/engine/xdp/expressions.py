"""From the model's expressions to C ones.

Integers have infinite precision inside a P4 expression (see `softswitch.program.expressions`). C's have not, so an
expression is computed in the least type that holds its value, or, where only some low bits of it are wanted, in the
least type that has those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from softswitch.engine.xdp.arithmetic import Arithmetic
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.registers import read_cell
from softswitch.engine.xdp.terms import WORD, Condition, Term
from softswitch.engine.xdp.values import Value, boolean, constant, is_atom, operand, variable
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import MalformedPipeline, UnsupportedConstruct
from softswitch.program.cursor import MAX_WIDTH
from softswitch.program.expressions import (
    BINARY_BOOLEAN,
    COMPARISONS,
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
    children,
)

__all__ = ["Expressions"]

_SHARED_SIZE = 3
"""Operators in an expression that is worth a variable when it is used again."""
_SMALL = 255
"""A number to be taken away as it stands."""
_OPPOSITES = {
    BinaryOp.EQUAL: BinaryOp.NOT_EQUAL,
    BinaryOp.NOT_EQUAL: BinaryOp.EQUAL,
    BinaryOp.LESS: BinaryOp.GREATER_EQUAL,
    BinaryOp.LESS_EQUAL: BinaryOp.GREATER,
    BinaryOp.GREATER: BinaryOp.LESS_EQUAL,
    BinaryOp.GREATER_EQUAL: BinaryOp.LESS,
}
Need = int | None
"""How many low bits of a value are wanted; None: all of them."""


class Expressions:
    """Renders expressions inside one action (whose parameters are `params`) or outside of any.

    What has to be computed beforehand goes to the writer, before the line that uses the result.
    """

    def __init__(self, context: Context, writer: Writer, params: Mapping[int, Term] | None = None) -> None:
        self._context = context
        self._writer = writer
        self._params = params or {}
        self._arithmetic = Arithmetic(writer)
        self._shared: dict[Expression, Value | None] = {}
        """Expressions that are used several times, and their variables once there are any."""

    def integer(self, expression: Expression) -> Term:
        """An expression that gives a number, exactly."""
        return self.value(expression).term()

    def low_bits(self, expression: Expression, width: int) -> Term:
        """Some number that equals the expression modulo `2**width`: what a field of this width is assigned."""
        return self.value(expression, width).term()

    def unsigned(self, expression: Expression, width: int) -> Term:
        """The expression modulo `2**width`."""
        return self._arithmetic.and_(self.value(expression, width), constant((1 << width) - 1), None).term()

    def held(self, expression: Expression) -> Term:
        """An expression that gives a number, exactly, as something that may be repeated."""
        return self._arithmetic.hold(self.value(expression)).term()

    def valid(self, header: AnyHeader) -> Condition:
        """Whether a header is valid."""
        if not isinstance(header, HeaderRef):
            raise UnsupportedConstruct(f"header stack '{header.stack}'")
        return _condition(self._field(FieldRef(header.header, VALID_FIELD, 1)).text)

    def condition(self, expression: Expression) -> Condition:
        """An expression that gives true or false: in C, 1 or 0."""
        self._shared = {}
        return _condition(self._test(expression))

    def value(self, expression: Expression, need: Need = None) -> Value:
        """As `integer`, or as `low_bits` with a need, for those who go on computing."""
        self._shared = _repeated(expression)
        return self._value(expression, need)

    # Numbers

    def _value(self, expression: Expression, need: Need) -> Value:
        if expression not in self._shared:
            return self._compute(expression, need)
        known = self._shared[expression]
        if known is None:
            known = self._compute(expression, None)
            if not known.single:
                del self._shared[expression]
                return self._compute(expression, need)
            known = self._shared[expression] = self._arithmetic.hold(known)
        return known

    def _compute(self, expression: Expression, need: Need) -> Value:
        match expression:
            case Constant(value):
                return constant(value)
            case FieldRef():
                return self._field(expression)
            case Param(index, width):
                return variable(self._params[index], width)
            case Unary(UnaryOp.BOOL_TO_DATA, operand_):
                return boolean(self._test(operand_))
            case Unary(UnaryOp.INVERT, operand_):
                return self._arithmetic.invert(self._value(operand_, need), need)
            case Binary(op, left, right) if op not in BINARY_BOOLEAN:
                return self._binary(op, left, right, need)
            case Choice(choice, then, otherwise):
                test = self._test(choice)
                return self._arithmetic.choose(test, self._value(then, need), self._value(otherwise, need), need)
            case BoolConstant() | Valid() | Unary() | Binary():
                return boolean(self._test(expression))
            case RegisterRef(register, index):
                return read_cell(self._context, self._writer, register, self._value(index, None))
            case (
                StackElement(stack)
                | StackElementField(stack)
                | StackLastField(stack)
                | LastIndex(stack)
                | StackSize(stack)
            ):
                raise UnsupportedConstruct(f"header stack '{stack}'")
            case _:
                raise MalformedPipeline(f"{type(expression).__name__} where a number is expected")

    def _field(self, field: FieldRef) -> Value:
        if field.field == VALID_FIELD:
            if self._context.program.headers[field.header].metadata:
                return constant(1)
            return boolean(self._context.valid(field.header))
        if field.width == 0:
            raise UnsupportedConstruct(f"varbit field '{field.header}.{field.field}'")
        return variable(self._context.term(field), field.width, field.signed)

    def _binary(self, op: BinaryOp, left: Expression, right: Expression, need: Need) -> Value:
        math = self._arithmetic
        if op in _MODULAR:
            wanted = _masked(left, _masked(right, need)) if op is BinaryOp.AND else need
            if op is BinaryOp.ADD and need is not None and (less := _as_negative(right, need)):
                return math.subtract(self._value(left, need), constant(less), need)
            return _MODULAR[op](math, self._value(left, wanted), self._value(right, wanted), need)
        if op is BinaryOp.SHIFT_LEFT:
            count = self._value(right, None)
            wanted = need if need is None or count.constant is None else need - max(count.constant, 0)
            if wanted is not None and wanted <= 0:
                return constant(0)
            return math.shift_left(self._value(left, wanted), count, need)
        if op is BinaryOp.SHIFT_RIGHT:
            count = self._value(right, None)
            wanted = need + max(count.constant, 0) if need is not None and count.constant is not None else None
            return math.shift_right(self._value(left, wanted), count, need)
        if op is BinaryOp.DIVIDE:
            return math.divide(self._value(left, None), self._value(right, None))
        if op is BinaryOp.MODULO:
            return math.modulo(self._value(left, None), self._value(right, None))
        width = _width(right)
        if op is BinaryOp.SIGNED_WRAP:
            return math.sign(self._value(left, width), width)
        value = self._value(left, None)
        if op is BinaryOp.SATURATE:
            return math.clamp(value, 0, (1 << width) - 1)
        return math.clamp(value, -(1 << (width - 1)), (1 << (width - 1)) - 1)

    # Conditions

    def _test(self, expression: Expression) -> str:
        match expression:
            case BoolConstant(value):
                return str(int(value))
            case Valid(header):
                return self.valid(header).text
            case Unary(UnaryOp.NOT, Binary(op, left, right)) if op in COMPARISONS:
                return self._comparison(_OPPOSITES[op], left, right)
            case Unary(UnaryOp.NOT, operand_):
                test = self._test(operand_)
                return {"0": "1", "1": "0"}.get(test) or f"!{operand(test)}"
            case Unary(UnaryOp.DATA_TO_BOOL, operand_):
                return self._as_test(self._value(operand_, None))
            case Binary(BinaryOp.BOTH | BinaryOp.EITHER as op):
                return self._chain(op, expression)
            case Binary(op, left, right) if op in BINARY_BOOLEAN:
                return self._comparison(op, left, right)
            case Choice(choice, then, otherwise) if _is_boolean(expression):
                one, other = boolean(self._test(then)), boolean(self._test(otherwise))
                return self._arithmetic.choose(self._test(choice), one, other, None).text
            case _:
                return self._as_test(self._value(expression, None))

    def _as_test(self, value: Value) -> str:
        if value.low >= 0 and value.high <= 1:
            return value.text
        return self._arithmetic.compare("!=", value, constant(0))

    def _chain(self, op: BinaryOp, expression: Expression) -> str:
        """Tests of one operator side by side; from where one decides, the rest is left out."""
        deciding, neutral = ("0", "1") if op is BinaryOp.BOTH else ("1", "0")
        tests = []
        for part in _operands(op, expression):
            test = self._test(part)
            if test == deciding:
                tests.append(test)
                break
            if test != neutral:
                tests.append(test)
        if not tests:
            return neutral
        if tests[-1] == deciding:  # whatever comes before has no effects
            return deciding
        if len(tests) == 1:
            return tests[0]
        return f" {'&&' if op is BinaryOp.BOTH else '||'} ".join(operand(test) for test in tests)

    def _comparison(self, op: BinaryOp, left: Expression, right: Expression) -> str:
        if isinstance(left, HeaderRef | StackElement) and isinstance(right, HeaderRef | StackElement):
            same = self._same_headers(left, right)
            return same if op is BinaryOp.EQUAL else f"!({same})"
        if _is_boolean(left) or _is_boolean(right):
            return self._arithmetic.compare(op.value, boolean(self._test(left)), boolean(self._test(right)))
        if op in (BinaryOp.EQUAL, BinaryOp.NOT_EQUAL):
            for one, other in ((left, right), (right, left)):
                if isinstance(other, Constant) and (found := self._slice_test(op, one, other.value)):
                    return found
        return self._arithmetic.compare(op.value, self._value(left, None), self._value(right, None))

    def _slice_test(self, op: BinaryOp, expression: Expression, value: int) -> str | None:
        """Compare a slice that crosses words with a number where it stands, instead of moving it down."""
        base, shift, mask = _slice(expression)
        if mask is None or not shift or value & ~mask or shift // WORD == (shift + mask.bit_length() - 1) // WORD:
            return None
        part = self._value(base, (mask << shift).bit_length())
        masked = self._arithmetic.and_(part, constant(mask << shift), None)
        return self._arithmetic.compare(op.value, masked, constant(value << shift))

    def _same_headers(self, left: AnyHeader, right: AnyHeader) -> str:
        """Both valid, with equal fields (an invalid header equals nothing, as in the behavioural model)."""
        if not isinstance(left, HeaderRef) or not isinstance(right, HeaderRef):
            raise MalformedPipeline("comparison of header stack members at computed indices")
        tests = [self.valid(left).text, self.valid(right).text]
        for field in self._context.program.headers[left.header].type.fields:
            one, other = (FieldRef(header.header, field.name, field.width, field.signed) for header in (left, right))
            tests.append(self._arithmetic.compare("==", self._field(one), self._field(other)))
        return " && ".join(operand(test) for test in tests)


def _condition(text: str) -> Condition:
    return Condition(text, is_atom(text))


_MODULAR: dict[BinaryOp, Callable[[Arithmetic, Value, Value, Need], Value]] = {
    BinaryOp.ADD: Arithmetic.add,
    BinaryOp.SUBTRACT: Arithmetic.subtract,
    BinaryOp.MULTIPLY: Arithmetic.multiply,
    BinaryOp.AND: Arithmetic.and_,
    BinaryOp.OR: Arithmetic.or_,
    BinaryOp.XOR: Arithmetic.xor,
}
"""Operators whose low bits depend on the operands' low bits only."""


def _masked(expression: Expression, need: Need) -> Need:
    """What is wanted of a value beside a mask."""
    if isinstance(expression, Constant) and expression.value >= 0:
        width = expression.value.bit_length()
        return width if need is None else min(need, width)
    return need


def _as_negative(expression: Expression, need: int) -> int:
    """What a constant takes away modulo `2**need`, if that is little: the compiler writes `x - 1` as `x + 0xff`."""
    less = (1 << need) - expression.value if isinstance(expression, Constant) else 0
    return less if 0 < less <= _SMALL else 0


def _width(expression: Expression) -> int:
    if not isinstance(expression, Constant) or not 0 < expression.value <= MAX_WIDTH:
        raise MalformedPipeline(f"a cast to a width that is no constant from 1 to {MAX_WIDTH}")
    return expression.value


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


def _operands(op: BinaryOp, expression: Expression) -> list[Expression]:
    """What a chain of one operator puts together, from left to right."""
    found: list[Expression] = []
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Binary) and part.op is op:
            waiting += [part.right, part.left]
        else:
            found.append(part)
    return found


def _slice(expression: Expression) -> tuple[Expression, int, int | None]:
    """The expression as `(base >> shift) & mask`; None: no mask."""
    match expression:
        case Binary(BinaryOp.AND, part, Constant(value)) | Binary(BinaryOp.AND, Constant(value), part) if value >= 0:
            base, shift, mask = _slice(part)
            return base, shift, value if mask is None else mask & value
        case Binary(BinaryOp.SHIFT_RIGHT, part, Constant(count)) if count >= 0:
            base, shift, mask = _slice(part)
            return base, shift + count, None if mask is None else mask >> count
        case _:
            return expression, 0, None


def _repeated(expression: Expression) -> dict[Expression, Value | None]:
    """Parts that are computed more than once whatever the packet, and large enough for a variable."""
    counts: Counter[Expression] = Counter()
    waiting: list[Expression] = [expression]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Choice) or _is_boolean(part) or not isinstance(part, Unary | Binary):
            continue
        counts[part] += 1
        if counts[part] == 1 and not (isinstance(part, Unary) and part.op is UnaryOp.BOOL_TO_DATA):
            waiting += children(part)
    return {part: None for part, count in counts.items() if count > 1 and _size(part) >= _SHARED_SIZE}


def _size(expression: Expression) -> int:
    return sum(_size(part) for part in children(expression)) + isinstance(expression, Unary | Binary)
