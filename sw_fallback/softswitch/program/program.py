"""The whole program."""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.errors import SourceLocation
from softswitch.program.controls import Action, ActionProfile, CounterArray, MeterArray, Pipeline, RegisterArray
from softswitch.program.expressions import Constant, Expression, FieldRef
from softswitch.program.headers import Header, HeaderStack, HeaderUnion, HeaderUnionStack
from softswitch.program.parsers import Parser

__all__ = ["Calculation", "CalculationInput", "Checksum", "DigestLayout", "Payload", "Program", "SizedConstant"]


@dataclass(frozen=True, slots=True)
class SizedConstant:
    """A constant of a stated width among a calculation's inputs."""

    value: int
    width: int


@dataclass(frozen=True, slots=True)
class Payload:
    """What follows the parsed headers, as a calculation's input."""


CalculationInput = FieldRef | SizedConstant | Payload
"""Fields of invalid headers are left out of a calculation."""


@dataclass(frozen=True, slots=True)
class Calculation:
    """A hash or checksum over fields laid end to end, padded with zero bits to a whole byte."""

    name: str
    algorithm: str
    inputs: tuple[CalculationInput, ...]
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Checksum:
    """A field that holds a calculation's result."""

    name: str
    target: FieldRef
    calculation: str
    verify: bool
    """Compared after parsing; a difference sets `checksum_error`."""
    update: bool
    """Written before deparsing."""
    condition: Expression | None
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class DigestLayout:
    """The members of a digest."""

    id: int
    name: str
    members: tuple[FieldRef | Constant, ...]
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled P4 program for v1model."""

    name: str
    headers: dict[str, Header]
    stacks: dict[str, HeaderStack]
    unions: dict[str, HeaderUnion]
    union_stacks: dict[str, HeaderUnionStack]
    errors: dict[str, int]
    """P4 error names and their numbers."""
    parser: Parser
    deparser: tuple[str, ...]
    """Header instances in the order of emission."""
    actions: dict[int, Action]
    ingress: Pipeline
    egress: Pipeline
    profiles: dict[str, ActionProfile]
    registers: dict[str, RegisterArray]
    counters: dict[str, CounterArray]
    meters: dict[str, MeterArray]
    calculations: dict[str, Calculation]
    checksums: tuple[Checksum, ...]
    digests: dict[int, DigestLayout]
    field_lists: dict[int, tuple[FieldRef, ...]]
    """Metadata kept by clone, resubmit and recirculate."""
    aliases: dict[str, FieldRef]
    """Names that the target expects (`intrinsic_metadata.mcast_grp`) and the fields that stand for them."""

    def intrinsic(self, name: str) -> FieldRef | None:
        """The standard metadata field of this name; None where the program has none."""
        for group in ("intrinsic_metadata", "queueing_metadata", "standard_metadata"):
            if alias := self.aliases.get(f"{group}.{name}"):
                return alias
        header = self.headers.get("standard_metadata")
        field = header.type.field(name) if header else None
        return FieldRef("standard_metadata", field.name, field.width, field.signed) if field else None

    def tables(self) -> list[str]:
        """Names of all tables, ingress first."""
        return [*self.ingress.tables, *self.egress.tables]
