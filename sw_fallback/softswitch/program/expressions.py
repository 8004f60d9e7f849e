"""Expressions: what the program computes from fields, constants and action parameters.

Integers have infinite precision inside an expression and are cut to the width of the field they are stored in
(BMv2 JSON format, "General information"). Expressions have no side effects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "BINARY_BOOLEAN",
    "COMPARISONS",
    "AnyHeader",
    "Binary",
    "BinaryOp",
    "BoolConstant",
    "Choice",
    "Constant",
    "Expression",
    "FieldRef",
    "HeaderRef",
    "LastIndex",
    "Lookahead",
    "Param",
    "RegisterRef",
    "StackElement",
    "StackElementField",
    "StackLastField",
    "StackSize",
    "Unary",
    "UnaryOp",
    "Valid",
    "children",
    "walk",
]

VALID_FIELD = "$valid$"
"""The hidden one-bit field that every header has."""


class UnaryOp(Enum):
    """Operators with one operand, named as in the BMv2 JSON."""

    NOT = "not"
    INVERT = "~"
    DATA_TO_BOOL = "d2b"
    BOOL_TO_DATA = "b2d"


class BinaryOp(Enum):
    """Operators with two operands, named as in the BMv2 JSON."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    MODULO = "%"
    SHIFT_LEFT = "<<"
    SHIFT_RIGHT = ">>"
    AND = "&"
    OR = "|"
    XOR = "^"
    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    BOTH = "and"
    EITHER = "or"
    SIGNED_WRAP = "two_comp_mod"
    SATURATE = "usat_cast"
    SATURATE_SIGNED = "sat_cast"


COMPARISONS = frozenset(
    {
        BinaryOp.EQUAL,
        BinaryOp.NOT_EQUAL,
        BinaryOp.GREATER,
        BinaryOp.GREATER_EQUAL,
        BinaryOp.LESS,
        BinaryOp.LESS_EQUAL,
    }
)
BINARY_BOOLEAN = COMPARISONS | {BinaryOp.BOTH, BinaryOp.EITHER}
"""Operators whose result is a boolean."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A number."""

    value: int


@dataclass(frozen=True, slots=True)
class BoolConstant:
    """True or false."""

    value: bool


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A field of a named header or metadata instance."""

    header: str
    field: str
    """`$valid$` for the header's validity bit."""
    width: int
    """In bits; zero for a varbit field."""
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the action around the expression."""

    index: int
    width: int


@dataclass(frozen=True, slots=True)
class Lookahead:
    """Bits of the packet ahead of the parser's position (parser only)."""

    offset: int
    """In bits from the current position."""
    width: int


@dataclass(frozen=True, slots=True)
class HeaderRef:
    """A header as a whole."""

    header: str


@dataclass(frozen=True, slots=True)
class StackElement:
    """A header stack's member at an index known only at run time."""

    stack: str
    index: Expression


AnyHeader = HeaderRef | StackElement


@dataclass(frozen=True, slots=True)
class StackElementField:
    """A field of a stack's member at an index known only at run time."""

    stack: str
    index: Expression
    field: str
    width: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class StackLastField:
    """A field of the stack's last extracted member (`hdr.stack.last`)."""

    stack: str
    field: str
    width: int


@dataclass(frozen=True, slots=True)
class LastIndex:
    """The index of the stack's last extracted member."""

    stack: str


@dataclass(frozen=True, slots=True)
class StackSize:
    """How many members of the stack have been extracted."""

    stack: str


@dataclass(frozen=True, slots=True)
class RegisterRef:
    """A register cell read inside an expression."""

    register: str
    index: Expression


@dataclass(frozen=True, slots=True)
class Valid:
    """Whether a header is valid."""

    header: AnyHeader


@dataclass(frozen=True, slots=True)
class Unary:
    """One operand."""

    op: UnaryOp
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands. Headers may be compared with EQUAL and NOT_EQUAL."""

    op: BinaryOp
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Choice:
    """`condition ? then : otherwise`."""

    condition: Expression
    then: Expression
    otherwise: Expression


Expression = (
    Constant
    | BoolConstant
    | FieldRef
    | Param
    | Lookahead
    | HeaderRef
    | StackElement
    | StackElementField
    | StackLastField
    | LastIndex
    | StackSize
    | RegisterRef
    | Valid
    | Unary
    | Binary
    | Choice
)


def children(expression: Expression) -> tuple[Expression, ...]:
    """The operands directly under an expression."""
    match expression:
        case Unary(_, operand):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case Choice(condition, then, otherwise):
            return (condition, then, otherwise)
        case StackElement(_, index) | StackElementField(_, index) | RegisterRef(_, index):
            return (index,)
        case Valid(header):
            return (header,)
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything under it."""
    yield expression
    for child in children(expression):
        yield from walk(child)
