"""The names that a device config defines, to resolve its references by."""

from __future__ import annotations

from dataclasses import dataclass, field

from softswitch.errors import NOWHERE, SourceLocation, UnsupportedConstruct
from softswitch.program.controls import Parameter
from softswitch.program.cursor import Cursor
from softswitch.program.expressions import VALID_FIELD, FieldRef
from softswitch.program.headers import Header, HeaderStack, HeaderType, HeaderUnion, HeaderUnionStack

__all__ = ["Scope"]


@dataclass(slots=True)
class Scope:
    """Everything defined so far, and what is around the expression that is being read."""

    types: dict[str, HeaderType] = field(default_factory=dict)
    headers: dict[str, Header] = field(default_factory=dict)
    stacks: dict[str, HeaderStack] = field(default_factory=dict)
    unions: dict[str, HeaderUnion] = field(default_factory=dict)
    union_stacks: dict[str, HeaderUnionStack] = field(default_factory=dict)
    calculations: set[str] = field(default_factory=set)
    registers: set[str] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)
    meters: set[str] = field(default_factory=set)
    parameters: tuple[Parameter, ...] = ()
    """Of the action that is being read."""
    place: SourceLocation = NOWHERE
    """Of the closest node around that has one."""

    def refuse(self, construct: str, advice: str = "") -> UnsupportedConstruct:
        """The error for what this switch cannot run, at the present place."""
        return UnsupportedConstruct(construct, self.place, advice)

    def header(self, at: Cursor) -> Header:
        """The header instance that a name refers to."""
        name = at.text()
        if name not in self.headers:
            raise at.wrong(f"there is no header {name!r}")
        return self.headers[name]

    def wire_header(self, at: Cursor) -> Header:
        """The header instance that a name refers to, which is no metadata."""
        header = self.header(at)
        if header.metadata:
            raise at.wrong(f"{header.name!r} is metadata, which is never in a packet")
        return header

    def stack(self, at: Cursor) -> HeaderStack:
        """The header stack that a name refers to."""
        name = at.text()
        if name not in self.stacks:
            if name in self.union_stacks:
                raise self.refuse(f"header union stack '{name}'")
            raise at.wrong(f"there is no header stack {name!r}")
        return self.stacks[name]

    def field(self, at: Cursor) -> FieldRef:
        """The field that a [header, field] pair refers to."""
        header_at, field_at = at.pair()
        header, name = self.header(header_at), field_at.text()
        if name == VALID_FIELD:
            return FieldRef(header.name, name, 1)
        found = header.type.field(name)
        if found is None:
            raise field_at.wrong(f"header {header.name!r} has no field {name!r}")
        return FieldRef(header.name, name, found.width, found.signed)

    def stack_field(self, at: Cursor) -> tuple[HeaderStack, str, int]:
        """The stack, field name and width that a [stack, field] pair refers to."""
        stack_at, field_at = at.pair()
        stack, name = self.stack(stack_at), field_at.text()
        found = stack.type.field(name)
        if found is None:
            raise field_at.wrong(f"header stack {stack.name!r} has no field {name!r}")
        return stack, name, found.width

    def named(self, kind: str, known: set[str], at: Cursor) -> str:
        """A name that must be among the known ones."""
        name = at.text()
        if name not in known:
            raise at.wrong(f"there is no {kind} {name!r}")
        return name
