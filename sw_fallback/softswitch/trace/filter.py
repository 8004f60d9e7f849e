"""Trace filters: `ipv4.src_addr == 10.0.0.0/8 && tcp.flags & 0x02 != 0`, in the terms of any P4 program.

    either      = both { "||" both }
    both        = test { "&&" test }
    test        = "!" test | sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") (sum | PREFIX) ]
    bits        = "|" over "^" over "&" over "<<" ">>" over "+" "-", each from the left, over operand
    operand     = NUMBER | ADDRESS | FIELD | HEADER | "(" either ")"

Bit operators bind more tightly than comparisons, as in P4 and unlike C. A header alone is true when it is valid, a
number alone when it is not zero. A test about a field of a header that the packet does not have is false, whatever it
asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from softswitch.program import Program
from softswitch.program.expressions import (
    COMPARISONS,
    Binary,
    BinaryOp,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    Unary,
    UnaryOp,
    Valid,
    walk,
)
from softswitch.trace.tokens import FilterError, Kind, Token, tokens
from softswitch.trace.vocabulary import UnknownName, Vocabulary

__all__ = ["FilterError", "parse_filter"]

_COMPARISONS = {op.value: op for op in COMPARISONS}
_LEVELS = (
    {"|": BinaryOp.OR},
    {"^": BinaryOp.XOR},
    {"&": BinaryOp.AND},
    {"<<": BinaryOp.SHIFT_LEFT, ">>": BinaryOp.SHIFT_RIGHT},
    {"+": BinaryOp.ADD, "-": BinaryOp.SUBTRACT},
)
"""Operators between numbers, those that bind least first."""
_MAX_LENGTH = 16_384
"""Characters of a filter."""
_MAX_DEPTH = 50
"""Of parentheses and negations."""
_MAX_CALCULATIONS = 50
_MAX_SHIFT = 128
"""Bits; the widest address has as many."""


def parse_filter(text: str, program: Program) -> Expression:
    """The condition that a filter stands for, to be asked after the parser. Raises `FilterError`.

    An expression of the program's own model, so every engine means the same by it.
    """
    if len(text) > _MAX_LENGTH:
        raise FilterError(f"longer than {_MAX_LENGTH} characters", text[:40], 0)
    return _Parser(text, Vocabulary(program)).whole()


def _balanced(op: BinaryOp, parts: Sequence[Expression]) -> Expression:
    """All of the parts joined, nested no deeper than needed: engines' compilers count parentheses."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return Binary(op, _balanced(op, parts[:half]), _balanced(op, parts[half:]))


@dataclass(frozen=True, slots=True)
class _Number:
    """A part of a filter that gives a number."""

    expression: Expression
    token: Token
    """Where it starts."""


@dataclass(frozen=True, slots=True)
class _Test:
    """A part of a filter that is true or false."""

    expression: Expression


class _Parser:
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._text = text
        self._vocabulary = vocabulary
        self._tokens = tokens(text)
        self._depth = 0
        self._calculations = 0
        self._token = next(self._tokens)

    def whole(self) -> Expression:
        found = self._either()
        if self._token.kind is not Kind.END:
            raise self._error(f"{self._token.text!r} is one too many", self._token)
        return self._truth(found).expression

    # Between tests

    def _either(self) -> _Number | _Test:
        return self._joined("||", BinaryOp.EITHER, self._both)

    def _both(self) -> _Number | _Test:
        return self._joined("&&", BinaryOp.BOTH, self._test)

    def _joined(self, sign: str, op: BinaryOp, part: Callable[[], _Number | _Test]) -> _Number | _Test:
        first = part()
        if self._token.text != sign:
            return first
        parts = [self._truth(first).expression]
        while self._takes(sign):
            parts.append(self._truth(part()).expression)
        return _Test(_balanced(op, parts))

    def _test(self) -> _Number | _Test:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"nested more than {_MAX_DEPTH} deep", self._token)
        try:
            if self._takes("!"):
                return _Test(Unary(UnaryOp.NOT, self._truth(self._test()).expression))
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> _Number | _Test:
        left = self._sum(0)
        op = _COMPARISONS.get(self._token.text) if self._token.kind is Kind.OPERATOR else None
        if op is None:
            return left
        sign = self._take()
        number = self._number(left, sign)
        if self._token.kind is Kind.PREFIX:
            return self._in_prefix(number, op, self._take())
        right = self._number(self._sum(0), sign)
        self._check_width(number, right)
        self._check_width(right, number)
        if self._token.kind is Kind.OPERATOR and self._token.text in _COMPARISONS:
            raise self._error("two comparisons in a row: join them with &&", self._token)
        return self._present(Binary(op, number.expression, right.expression))

    def _in_prefix(self, number: _Number, op: BinaryOp, prefix: Token) -> _Test:
        if op not in (BinaryOp.EQUAL, BinaryOp.NOT_EQUAL):
            raise self._error("a prefix can be compared with == and != only", prefix)
        if not isinstance(number.expression, FieldRef) or number.expression.width != prefix.width:
            raise self._error(f"a prefix of {prefix.width} bits needs a field of as many on the left", prefix)
        host = prefix.width - prefix.length
        shifted = Binary(BinaryOp.SHIFT_RIGHT, number.expression, Constant(host))
        return self._present(Binary(op, shifted, Constant(prefix.value >> host)))

    def _check_width(self, field: _Number, literal: _Number) -> None:
        """Refuse a comparison with what a field can never be: most likely another field was meant."""
        ref, constant, token = field.expression, literal.expression, literal.token
        if not isinstance(ref, FieldRef) or not isinstance(constant, Constant):
            return
        if constant.value.bit_length() > ref.width:
            raise self._error(f"{field.token.text} has {ref.width} bits: it is never {token.text}", token)
        if token.width and token.width != ref.width:
            text = f"{field.token.text} has {ref.width} bits, an address like {token.text} has {token.width}"
            mapped = f": write ::ffff:{token.text}" if (token.width, ref.width) == (32, 128) else ""
            raise self._error(text + mapped, token)

    def _present(self, test: Expression) -> _Test:
        """The test, which is false where a header that it asks about is not valid."""
        headers = {
            part.header: None
            for part in walk(test)
            if isinstance(part, FieldRef) and not self._vocabulary.is_metadata(part)
        }
        for header in reversed(headers):
            test = Binary(BinaryOp.BOTH, Valid(HeaderRef(header)), test)
        return _Test(test)

    # Numbers

    def _sum(self, level: int) -> _Number | _Test:
        if level == len(_LEVELS):
            return self._operand()
        left = self._sum(level + 1)
        while self._token.kind is Kind.OPERATOR and self._token.text in _LEVELS[level]:
            sign = self._take()
            right = self._number(self._sum(level + 1), sign)
            left = self._calculation(_LEVELS[level][sign.text], self._number(left, sign), right)
        return left

    def _calculation(self, op: BinaryOp, left: _Number, right: _Number) -> _Number:
        self._calculations += 1
        if self._calculations > _MAX_CALCULATIONS:
            raise self._error(f"more than {_MAX_CALCULATIONS} calculations", left.token)
        shift = right.expression
        if op in (BinaryOp.SHIFT_LEFT, BinaryOp.SHIFT_RIGHT) and not (
            isinstance(shift, Constant) and shift.value <= _MAX_SHIFT
        ):
            raise self._error(f"a shift needs a number of bits up to {_MAX_SHIFT}", right.token)
        return _Number(Binary(op, left.expression, right.expression), left.token)

    def _operand(self) -> _Number | _Test:
        token = self._take()
        if token.kind is Kind.NUMBER:
            return _Number(Constant(token.value), token)
        if token.kind is Kind.NAME:
            return self._named(token)
        if token.kind is Kind.PREFIX:
            raise self._error("a prefix can only stand right of == or !=", token)
        if token.text == "(":
            found = self._either()
            if not self._takes(")"):
                raise self._error("a closing parenthesis is missing", self._token)
            return found
        raise self._error(f"a field, a header or a number is expected, not {token.text}", token)

    def _named(self, token: Token) -> _Number | _Test:
        try:
            found = self._vocabulary.find(token.text)
        except UnknownName as error:
            raise self._error(str(error), token) from None
        return _Test(Valid(found)) if isinstance(found, HeaderRef) else _Number(found, token)

    # Pieces

    def _truth(self, part: _Number | _Test) -> _Test:
        if isinstance(part, _Test):
            return part
        return self._present(Binary(BinaryOp.NOT_EQUAL, part.expression, Constant(0)))

    def _number(self, part: _Number | _Test, sign: Token) -> _Number:
        if isinstance(part, _Test):
            raise self._error(f"{sign.text} needs numbers on both sides, here is a test", sign)
        return part

    def _take(self) -> Token:
        taken = self._token
        if taken.kind is not Kind.END:
            self._token = next(self._tokens)
        return taken

    def _takes(self, sign: str) -> bool:
        """Take this operator, if it is next."""
        if self._token.kind is Kind.OPERATOR and self._token.text == sign:
            self._take()
            return True
        return False

    def _error(self, message: str, token: Token) -> FilterError:
        return FilterError(message, self._text, token.at)
