"""Pipelines of tables and conditions, the actions they run and the state they keep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from softswitch.errors import SourceLocation
from softswitch.program.expressions import Expression, FieldRef
from softswitch.program.statements import Statement

__all__ = [
    "Action",
    "ActionProfile",
    "Condition",
    "ConstEntry",
    "CounterArray",
    "DefaultAction",
    "KeyField",
    "KeyMatch",
    "MatchKind",
    "MeterArray",
    "Parameter",
    "Pipeline",
    "RegisterArray",
    "Selector",
    "Table",
]


class MatchKind(Enum):
    """How a key field, or a table as a whole, matches."""

    EXACT = "exact"
    LPM = "lpm"
    TERNARY = "ternary"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an action."""

    name: str
    width: int
    """In bits."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action; the compiler may make several of one name, so `id` is what names it here."""

    id: int
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class KeyField:
    """One field of a table's key. A field of an invalid header is looked up as zero."""

    name: str
    """As the control plane knows it."""
    kind: MatchKind
    target: FieldRef
    mask: int | None
    """Put on the field before the lookup; None: the whole field."""


@dataclass(frozen=True, slots=True)
class KeyMatch:
    """What one key field of a constant entry must be."""

    kind: MatchKind
    value: int
    """Exact, lpm and ternary: the value; range: the lower end."""
    extra: int
    """Exact: zero; lpm: the prefix length; ternary: the mask; range: the upper end."""


@dataclass(frozen=True, slots=True)
class ConstEntry:
    """An entry written in the program."""

    key: tuple[KeyMatch, ...]
    action_id: int
    arguments: tuple[int, ...]
    priority: int
    """As in the device config: the lower number wins."""


@dataclass(frozen=True, slots=True)
class DefaultAction:
    """What a miss runs."""

    action_id: int
    arguments: tuple[int, ...]
    constant: bool
    """True: the control plane may not change it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A match-action table, a node of its pipeline."""

    name: str
    kind: MatchKind
    key: tuple[KeyField, ...]
    """Empty for the tables that the compiler makes around plain statements."""
    actions: tuple[int, ...]
    """Ids of the actions it may run."""
    size: int
    default: DefaultAction | None
    entries: tuple[ConstEntry, ...]
    """Constant entries; with any, the control plane may not write to the table."""
    next_by_action: dict[int, str | None]
    """The node after each action; empty where it depends on hit or miss."""
    next_by_hit: tuple[str | None, str | None] | None
    """The node after a hit and after a miss; None where it depends on the action."""
    next_without_action: str | None
    """The node after a miss of a table that has no default action."""
    profile: str | None
    """The action profile that holds its actions; None: in the entries."""
    direct_counter: bool
    direct_meter: str | None
    idle_timeout: bool
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Condition:
    """An `if`, a node of its pipeline."""

    name: str
    expression: Expression
    if_true: str | None
    if_false: str | None
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Selector:
    """How an action selector chooses a member of a group."""

    algorithm: str
    inputs: tuple[FieldRef, ...]


@dataclass(frozen=True, slots=True)
class ActionProfile:
    """A table of actions shared by match tables."""

    name: str
    size: int
    selector: Selector | None
    """None: entries name members only, never groups."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Ingress or egress: a graph without cycles of tables and conditions."""

    name: str
    start: str | None
    tables: dict[str, Table]
    conditions: dict[str, Condition]


@dataclass(frozen=True, slots=True)
class RegisterArray:
    """Cells that actions read and write."""

    name: str
    size: int
    width: int
    """In bits."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class CounterArray:
    """Cells that count packets and octets."""

    name: str
    size: int
    table: str | None
    """The table it is a direct counter of; None: indirect."""
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class MeterArray:
    """Cells that colour packets by rate (RFC 2698)."""

    name: str
    size: int
    table: str | None
    """The table it is a direct meter of; None: indirect."""
    octets: bool
    """True: rates count octets; false: packets."""
    target: FieldRef | None
    """Where a direct meter stores the colour."""
    location: SourceLocation
