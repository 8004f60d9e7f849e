"""Header types and the instances of them that a program declares."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Field", "Header", "HeaderStack", "HeaderType", "HeaderUnion", "HeaderUnionStack"]


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a header type."""

    name: str
    width: int
    """In bits; zero for a varbit field, whose width each packet decides."""
    signed: bool = False
    varbit: bool = False


@dataclass(frozen=True, slots=True)
class HeaderType:
    """A `header` or `struct` of the P4 program."""

    name: str
    fields: tuple[Field, ...]
    max_bytes: int = 0
    """Largest size of a header with a varbit field, in bytes; zero where it has none."""

    @property
    def width(self) -> int:
        """Bits of all fixed-width fields."""
        return sum(field.width for field in self.fields)

    @property
    def has_varbit(self) -> bool:
        return any(field.varbit for field in self.fields)

    def field(self, name: str) -> Field | None:
        """The member of this name, None where there is none."""
        return next((field for field in self.fields if field.name == name), None)


@dataclass(frozen=True, slots=True)
class Header:
    """A header or metadata instance."""

    name: str
    type: HeaderType
    metadata: bool
    """True: never on the wire, always valid, zero at the start of each packet."""


@dataclass(frozen=True, slots=True)
class HeaderStack:
    """An array of headers of one type."""

    name: str
    type: HeaderType
    members: tuple[str, ...]
    """Names of the header instances, index 0 first."""


@dataclass(frozen=True, slots=True)
class HeaderUnion:
    """Headers of which at most one is valid."""

    name: str
    members: tuple[str, ...]
    """Names of the header instances."""


@dataclass(frozen=True, slots=True)
class HeaderUnionStack:
    """An array of header unions of one type."""

    name: str
    members: tuple[str, ...]
    """Names of the unions, index 0 first."""
