"""Pieces of Python expression text with what is known of their values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAR", "Condition", "Term", "bits", "constant", "cut", "number"]

FAR = 1 << 4096
"""Stands for a bound that nobody knows."""


@dataclass(frozen=True, slots=True)
class Term:
    """An integer expression."""

    text: str
    low: int
    """Never below this."""
    high: int
    """Never above this."""
    atom: bool = False
    """A name or a literal: may be repeated and needs no parentheses."""

    @property
    def constant(self) -> int | None:
        return self.low if self.low == self.high else None

    @property
    def known(self) -> bool:
        return self.low > -FAR and self.high < FAR

    def wrapped(self) -> str:
        """Safe as an operand."""
        return self.text if self.atom else f"({self.text})"


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that is true or false in an `if`; its value may be an integer that means so."""

    text: str
    atom: bool = False

    def wrapped(self) -> str:
        return self.text if self.atom else f"({self.text})"


def number(value: int) -> str:
    """A literal; small ones in decimal."""
    return str(value) if -10 < value < 256 else hex(value)


def constant(value: int) -> Term:
    """A literal as a term."""
    return Term(number(value) if value >= 0 else f"({number(value)})", value, value, atom=True)


def bits(text: str, width: int, signed: bool = False) -> Term:
    """A variable that holds `width` bits."""
    if signed:
        return Term(text, -(1 << (width - 1)), (1 << (width - 1)) - 1, atom=True)
    return Term(text, 0, (1 << width) - 1, atom=True)


def cut(term: Term, width: int, signed: bool = False) -> Term:
    """The term as a field of this width holds it: masked, or wrapped around into two's complement."""
    full = (1 << width) - 1
    if signed:
        half = 1 << (width - 1)
        if -half <= term.low and term.high < half:
            return term
        return Term(f"(({term.wrapped()} & {number(full)}) ^ {number(half)}) - {number(half)}", -half, half - 1)
    if term.low >= 0 and term.high <= full:
        return term
    if term.constant is not None:
        return constant(term.constant & full)
    return Term(f"{term.wrapped()} & {number(full)}", 0, full)
