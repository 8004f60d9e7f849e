"""Statements: what actions (and parser states) do. Each knows where it was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from softswitch.errors import SourceLocation
from softswitch.program.expressions import AnyHeader, Expression, FieldRef, StackElementField

__all__ = [
    "Assert",
    "Assign",
    "AssignHeader",
    "AssignStack",
    "AssignVarbit",
    "Clone",
    "CountPacket",
    "Drop",
    "EmitDigest",
    "ExecuteMeter",
    "Exit",
    "Hash",
    "If",
    "LogMessage",
    "PopStack",
    "PushStack",
    "Random",
    "ReadRegister",
    "Recirculate",
    "Resubmit",
    "SetInvalid",
    "SetValid",
    "Statement",
    "Target",
    "Truncate",
    "WriteRegister",
    "flatten",
]

Target = FieldRef | StackElementField
"""What can be assigned to."""


@dataclass(frozen=True, slots=True)
class Assign:
    """Store a value, cut to the target's width."""

    target: Target
    value: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class AssignVarbit:
    """Copy a varbit field with its present width."""

    target: FieldRef
    value: FieldRef
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class AssignHeader:
    """Copy a header's fields and validity; an invalid source only makes the target invalid."""

    target: AnyHeader
    source: AnyHeader
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class AssignStack:
    """Copy a header stack, with its next index."""

    target: str
    source: str
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class SetValid:
    """Make a header valid; its fields become zero unless it was valid already."""

    header: AnyHeader
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class SetInvalid:
    """Make a header invalid; its fields keep their values."""

    header: AnyHeader
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class PushStack:
    """Make room for `count` members at the front of a stack."""

    stack: str
    count: int
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class PopStack:
    """Take `count` members away from the front of a stack."""

    stack: str
    count: int
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Drop:
    """`mark_to_drop`: the egress port becomes the drop port and the multicast group zero."""

    location: SourceLocation


@dataclass(frozen=True, slots=True)
class EmitDigest:
    """Ask for a digest sample at the end of ingress; the last one asked for wins."""

    digest: int
    """Id of the digest's field list in the device config."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Clone:
    """Ask for copies of the packet at the end of this pipeline; the last one asked for wins."""

    session: Expression
    field_list: int
    """Metadata that the copies keep; zero: none."""
    egress: bool
    """True: `CloneType.E2E`, false: `CloneType.I2E`."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Ask for another pass of the original packet through ingress."""

    field_list: int
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Recirculate:
    """Ask for another pass of the deparsed packet through ingress."""

    field_list: int
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut the packet that leaves to at most `length` bytes."""

    length: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Hash:
    """`target = base + calculation % maximum`; a maximum of zero counts as one."""

    target: Target
    base: Expression
    calculation: str
    maximum: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Random:
    """A random number from `low` to `high`, both included; nothing happens when `low` is the greater."""

    target: Target
    low: Expression
    high: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class ReadRegister:
    """Read a cell; an index past the end changes nothing."""

    target: Target
    register: str
    index: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class WriteRegister:
    """Write a cell; an index past the end changes nothing."""

    register: str
    index: Expression
    value: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class CountPacket:
    """Count the packet in a cell; an index past the end changes nothing."""

    counter: str
    index: Expression
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class ExecuteMeter:
    """Meter the packet in a cell and store the colour; an index past the end changes nothing."""

    meter: str
    index: Expression
    target: Target
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class LogMessage:
    """Log a text with values in place of each `{}`."""

    text: str
    values: tuple[Expression, ...]
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Assert:
    """`assert` or `assume`: what must hold."""

    condition: Expression
    keyword: str
    """`assert` or `assume`."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave the pipeline after this action."""

    location: SourceLocation


@dataclass(frozen=True, slots=True)
class If:
    """One of two blocks."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    location: SourceLocation


Statement = (
    Assign
    | AssignVarbit
    | AssignHeader
    | AssignStack
    | SetValid
    | SetInvalid
    | PushStack
    | PopStack
    | Drop
    | EmitDigest
    | Clone
    | Resubmit
    | Recirculate
    | Truncate
    | Hash
    | Random
    | ReadRegister
    | WriteRegister
    | CountPacket
    | ExecuteMeter
    | LogMessage
    | Assert
    | Exit
    | If
)


def flatten(statements: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, those inside of both arms of each `If` too."""
    for statement in statements:
        yield statement
        if isinstance(statement, If):
            yield from flatten(statement.then)
            yield from flatten(statement.otherwise)
