"""Integers in C while an expression is being put together: their words, bounds and C types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from softswitch.engine.xdp.terms import WORD, Term, words_of

__all__ = [
    "FULL",
    "Kind",
    "Value",
    "boolean",
    "constant",
    "fitting",
    "is_atom",
    "joined",
    "number",
    "operand",
    "signed_words",
    "variable",
    "wide",
]

FULL = (1 << WORD) - 1
"""All bits of a word."""
_ATOM = re.compile(r"\w+(?:(?:->|\.)\w+|\[\w+\])*")
_PREFIX = re.compile(r"(?:[~!]|\([us](?:8|16|32|64)\))*")
_DECIMAL = 1 << 20
"""Numbers that are compared and added are decimal below this."""


class Kind(IntEnum):
    """The C type of an expression after the integer promotions. Of two different ones the greater is the common type
    (C11 6.3.1.8, with 32 bits in an int and 64 in a long long)."""

    INT = 0
    U32 = 1
    S64 = 2
    U64 = 3

    @property
    def bits(self) -> int:
        return 32 if self <= Kind.U32 else 64

    @property
    def signed(self) -> bool:
        return self in (Kind.INT, Kind.S64)

    @property
    def ctype(self) -> str:
        return ("s32", "u32", "s64", "u64")[self]

    def holds(self, low: int, high: int) -> bool:
        """Whether every number from `low` to `high` is one of its values."""
        if self.signed:
            return low >= -(1 << (self.bits - 1)) and high < 1 << (self.bits - 1)
        return low >= 0 and high < 1 << self.bits


@dataclass(frozen=True, slots=True)
class Value:
    """An integer. With one word: an expression of type `kind` with that value. With more: words of type u64, the least
    significant first, in two's complement, sign-extended to the last word. A word that is known is an int."""

    words: tuple[str | int, ...]
    low: int
    """Never below this."""
    high: int
    """Never above this."""
    kind: Kind = Kind.U64
    ones: int = -1
    """Bits that may be set; all of them (-1) where it may be negative, and those of `high` where nobody says more."""

    def __post_init__(self) -> None:
        if self.ones < 0 <= self.low:
            object.__setattr__(self, "ones", (1 << self.high.bit_length()) - 1)

    @property
    def constant(self) -> int | None:
        return self.low if self.low == self.high else None

    @property
    def single(self) -> bool:
        return len(self.words) == 1

    @property
    def text(self) -> str:
        """The only word."""
        (word,) = self.words
        return word if isinstance(word, str) else number(word)

    @property
    def atom(self) -> bool:
        """Whether all of it may be repeated."""
        return all(isinstance(word, int) or is_atom(word) for word in self.words)

    def operand(self, *, mask: bool = False) -> str:
        """The only word, safe beside an operator; a number as bits or, unless it is large, in decimal."""
        known = self.constant
        if known is not None and 9 < known < _DECIMAL and self.single:
            return f"{known:#x}" if mask else str(known)
        return operand(self.text)

    def cast(self, kind: Kind) -> str:
        """The only word as an operand of this type, modulo its size."""
        if kind == self.kind:
            return self.operand()
        if self.constant is not None and kind.holds(self.low, self.high) and self.low >= 0:
            return number(self.low, kind)
        return f"({kind.ctype}){self.operand()}"

    def word(self, index: int) -> str | int:
        """One u64 word; past the last one it is the sign."""
        if self.constant is not None:
            return self.constant >> WORD * index & FULL
        if self.single:
            if index == 0:
                return self.text if self.kind is Kind.U64 else self.cast(Kind.U64)
            return 0 if self.low >= 0 else f"(u64)((s64){self.operand()} >> 63)"
        if index < len(self.words):
            return self.words[index]
        return 0 if self.low >= 0 else f"(u64)((s64){operand(str(self.words[-1]))} >> 63)"

    def word_ones(self, index: int) -> int:
        """Bits of a word that may be set."""
        return self.ones >> WORD * index & FULL

    def term(self) -> Term:
        """For those outside."""
        if self.single:
            return Term((self.text,), self.low, self.high, self.atom)
        words = tuple(number(word, Kind.U64) if isinstance(word, int) else word for word in self.words)
        return Term(words, self.low, self.high, self.atom)


def is_atom(text: str) -> bool:
    """A name or a literal."""
    return _ATOM.fullmatch(text) is not None


def operand(text: str) -> str:
    """Text that may stand beside a binary operator."""
    return text if _is_tight(text) else f"({text})"


def joined(left: str, op: str, right: str) -> str:
    """Two operands and an operator between them; a chain of one associative operator goes without parentheses."""
    if op in "&|^+*" and left.startswith("(") and _is_tight(left):
        parts = _split(left[1:-1], op)
        if len(parts) > 1 and all(_is_tight(part) for part in parts):
            left = left[1:-1]
    return f"{left} {op} {right}"


def _is_tight(text: str) -> bool:
    """A name, a literal or something in parentheses, with casts, ~ and ! before it."""
    rest = _PREFIX.sub("", text, count=1)
    if not rest.startswith("("):
        return is_atom(rest)
    depth = 0
    for index, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return index == len(rest) - 1
    return False


def _split(text: str, op: str) -> list[str]:
    """The operands of one operator outside of parentheses."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and text.startswith(f" {op} ", index):
            parts.append(text[start:index])
            start = index + 3
    return [*parts, text[start:]]


def number(value: int, kind: Kind | None = None) -> str:
    """A literal; of this type where one is given that holds it."""
    if value < 0:
        return f"({value})" if value >= -(1 << 31) else f"(s64){value & FULL:#x}ull"
    digits = str(value) if value < 256 else f"{value:#x}"
    wanted = kind if kind is not None and kind.holds(value, value) else _literal_kind(value)
    return digits + ("", "u", "ll", "ull")[wanted]


def _literal_kind(value: int) -> Kind:
    if value < 0:
        return Kind.INT if value >= -(1 << 31) else Kind.S64
    return Kind.INT if value < 1 << 31 else Kind.U32 if value < 1 << 32 else Kind.U64


def fitting(low: int, high: int) -> Kind | None:
    """The least type that holds all numbers from `low` to `high`."""
    return next((kind for kind in Kind if kind.holds(low, high)), None)


def constant(value: int) -> Value:
    """A known number."""
    if fitting(value, value) is not None:
        return Value((value,), value, value, _literal_kind(value), value if value >= 0 else -1)
    bits = value.bit_length() + (value < 0)
    words = tuple(value >> WORD * index & FULL for index in range(words_of(bits)))
    return Value(words, value, value, Kind.U64, value if value >= 0 else -1)


def boolean(text: str) -> Value:
    """An expression of type int or smaller that is 0 or 1."""
    if text in ("0", "1"):
        return constant(int(text))
    return Value((text,), 0, 1, Kind.INT, 1)


def variable(term: Term, width: int, signed: bool = False) -> Value:
    """A field, parameter or variable of the C type that a field of this width has."""
    if term.constant is not None:
        return constant(term.constant)
    if width > WORD:
        return Value(term.words, term.low, term.high, Kind.U64, _ones(term.low, term.high))
    if width <= 16 or (signed and width <= 32):
        kind = Kind.INT
    elif width <= 32:
        kind = Kind.U32
    else:
        kind = Kind.S64 if signed else Kind.U64
    return Value(term.words, term.low, term.high, kind, _ones(term.low, term.high))


def _ones(low: int, high: int) -> int:
    return (1 << high.bit_length()) - 1 if low >= 0 else -1


def signed_words(low: int, high: int) -> int:
    """How many words hold these numbers in two's complement."""
    return words_of(max((~low if low < 0 else low).bit_length(), high.bit_length()) + 1)


def wide(words: list[str | int], low: int, high: int, ones: int | None = None) -> Value:
    """A value from its u64 words, as few of them as its bounds allow."""
    known = _ones(low, high) if ones is None or low < 0 else ones & _ones(low, high)
    if low >= 0:
        high = min(high, known)
        words = words[: words_of(known.bit_length())]
    else:
        words = words[: signed_words(low, high)]
    if all(isinstance(word, int) for word in words):
        total = sum(int(word) << WORD * index for index, word in enumerate(words))
        return constant(total - (1 << WORD * len(words)) if low < 0 and total >> WORD * len(words) - 1 else total)
    if len(words) > 1:
        return Value(tuple(words), low, high, Kind.U64, known)
    if low < 0:
        return Value((f"(s64){operand(str(words[0]))}",), low, high, Kind.S64, known)
    return Value((words[0],), low, high, Kind.U64, known)
