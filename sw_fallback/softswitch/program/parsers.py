"""The parser: states with operations, a select key and transitions."""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.errors import SourceLocation
from softswitch.program.expressions import Expression, FieldRef, Lookahead, StackLastField
from softswitch.program.statements import Statement

__all__ = [
    "Advance",
    "Execute",
    "Extract",
    "ExtractStack",
    "ExtractVarbit",
    "ParseState",
    "Parser",
    "ParserOp",
    "SelectKey",
    "SetField",
    "Transition",
    "Verify",
]


@dataclass(frozen=True, slots=True)
class Extract:
    """Read a header of fixed size and make it valid."""

    header: str
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class ExtractStack:
    """Read the next header of a stack."""

    stack: str
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class ExtractVarbit:
    """Read a header whose varbit field is `length` bits long."""

    header: str
    length: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class SetField:
    """Store a value, which may look ahead in the packet."""

    target: FieldRef
    value: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Verify:
    """Stop parsing with an error unless the condition holds."""

    condition: Expression
    error: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Advance:
    """Skip bits; a multiple of eight, else parsing stops with ParserInvalidArgument."""

    bits: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Execute:
    """A statement that actions have too, inside the parser."""

    statement: Statement
    location: SourceLocation


ParserOp = Extract | ExtractStack | ExtractVarbit | SetField | Verify | Advance | Execute
SelectKey = FieldRef | StackLastField | Lookahead


@dataclass(frozen=True, slots=True)
class Transition:
    """Where to go when each key equals its value under its mask."""

    values: tuple[int, ...]
    masks: tuple[int, ...]
    """As long as the key; all ones where the program gave no mask."""
    next_state: str | None
    """None: parsing is done."""


@dataclass(frozen=True, slots=True)
class ParseState:
    """A state: operations in order, then the first transition that fits."""

    name: str
    operations: tuple[ParserOp, ...]
    key: tuple[SelectKey, ...]
    transitions: tuple[Transition, ...]
    default: str | None
    """Where to go when no transition fits; None: parsing is done."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser; its states by name."""

    name: str
    start: str | None
    states: dict[str, ParseState]
