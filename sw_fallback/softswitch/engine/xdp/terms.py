"""Pieces of C expression text with what is known of their values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAR", "WORD", "Condition", "Term", "ctype", "literal", "words_of"]

WORD = 64
"""Bits of a word. A value of more bits is held in several words, the least significant one first."""
FAR = 1 << 4096
"""Stands for a bound that nobody knows."""


@dataclass(frozen=True, slots=True)
class Term:
    """An integer expression.

    Each text evaluates in C to exactly what it stands for: with one word the value itself, whatever the C type (a
    field of 16 bits, an int, u64, or s64 when it may be negative); with several words the u64 words of the value in
    two's complement, sign-extended to the last word.
    """

    words: tuple[str, ...]
    low: int
    """Never below this."""
    high: int
    """Never above this."""
    atom: bool = False
    """Names or literals: may be repeated and need no parentheses."""

    @property
    def text(self) -> str:
        """The only word."""
        if len(self.words) != 1:
            raise ValueError(f"a value of {len(self.words)} words where one is expected")
        return self.words[0]

    @property
    def constant(self) -> int | None:
        return self.low if self.low == self.high else None

    def word(self, index: int) -> str:
        """One u64 word, safe as an operand; past the last one it is the sign: zero, or the last word's."""
        if index < len(self.words):
            text = self.words[index] if self.atom else f"({self.words[index]})"
            return text if len(self.words) > 1 else f"(u64){text}"
        if self.low >= 0:
            return "0"
        return f"(u64)((s64){self.word(len(self.words) - 1)} >> 63)"


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that is true or false in an `if`."""

    text: str
    atom: bool = False

    def wrapped(self) -> str:
        return self.text if self.atom else f"({self.text})"


def words_of(width: int) -> int:
    """How many words hold this many bits."""
    return max(1, (width + WORD - 1) // WORD)


def ctype(width: int, signed: bool = False) -> str:
    """The C type of a field of at most 64 bits."""
    size = next(size for size in (8, 16, 32, 64) if width <= size)
    return f"{'s' if signed else 'u'}{size}"


def literal(value: int) -> Term:
    """A number; negative ones have one word."""
    if value < 0:
        text = f"{value}" if value >= -(1 << 31) else f"(s64){value & (1 << WORD) - 1:#x}ull"
        return Term((f"({text})",), value, value, atom=True)
    if value < 1 << WORD:
        return Term((_number(value),), value, value, atom=True)
    words = tuple(_number(value >> shift & (1 << WORD) - 1) for shift in range(0, value.bit_length(), WORD))
    return Term(words, value, value, atom=True)


def _number(value: int) -> str:
    if value < 256:
        return str(value)
    return f"{value:#x}" if value < 1 << 31 else f"{value:#x}ull"
