"""What every part of the translator needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from softswitch.engine.python.expressions import Expressions
from softswitch.engine.python.layout import Layout
from softswitch.engine.python.names import Names
from softswitch.engine.usage import Usage
from softswitch.errors import UnsupportedConstruct
from softswitch.hashes import ALGORITHMS
from softswitch.program import Program
from softswitch.program.expressions import Expression
from softswitch.program.statements import Random, Truncate

__all__ = ["Context", "Numbers"]


class Numbers(Protocol):
    """A number for each action name."""

    def __getitem__(self, name: str, /) -> int: ...


class Context:
    """One program on its way to Python: names, layouts, and the objects that its code will use."""

    def __init__(
        self, program: Program, numbers: Numbers, drop_port: int, filters: Sequence[Expression] | None = None
    ) -> None:
        """`filters`: what the packets to tell about are chosen by; None: nobody traces, and nothing is told."""
        self.program = program
        self.filters = filters
        self.numbers = numbers
        self.names = Names()
        self.usage = Usage(program, also_read=filters or ())
        self.expressions = Expressions(program, self.names)
        self.objects: dict[str, object] = {}
        """Globals of the translated code, by identifier."""
        emitted = set(program.deparser)
        self.layouts = {
            header.name: Layout(header, self.names, self.usage, header.name in emitted)
            for header in program.headers.values()
            if not header.metadata
        }
        self.stacks_in_use = {stack for stack, item in program.stacks.items() if item.members}
        spec = program.intrinsic("egress_spec")
        self.drop_value = drop_port & ((1 << spec.width) - 1) if spec else drop_port
        self.drop_port = drop_port
        self.tracks_length = self.usage.reads_intrinsic("packet_length")
        self.truncates = Truncate in self.usage.kinds
        self.randomizes = Random in self.usage.kinds
        self.no_error = program.errors.get("NoError", 0)
        self._check()

    @property
    def traces(self) -> bool:
        """Whether the code tells where each packet went."""
        return self.filters is not None

    def error_code(self, name: str) -> int:
        """The number of a core parser error; the behavioural model makes up the missing ones, so does this."""
        if name in self.program.errors:
            return self.program.errors[name]
        core = ("NoError", "PacketTooShort", "NoMatch", "StackOutOfBounds", "HeaderTooShort", "ParserTimeout",
                "ParserInvalidArgument")  # fmt: skip
        top = max(self.program.errors.values(), default=-1)
        missing = [item for item in core if item not in self.program.errors]
        return top + 1 + missing.index(name)

    def intrinsic(self, name: str) -> str | None:
        """The variable of a standard metadata field; None where nothing reads it."""
        field = self.program.intrinsic(name)
        if field is None or (field.header, field.field) not in self.usage.reads:
            return None
        return self.names.field(field.header, field.field)

    def keeps(self, header: str, field: str) -> bool:
        """Whether a field has a variable."""
        if self.program.headers[header].metadata:
            return (header, field) in self.usage.reads
        layout = self.layouts[header]
        found = layout.header.type.field(field)
        return layout.field(field) in layout.variables or (found is not None and found.varbit)

    def metadata_variables(self) -> dict[str, int]:
        """Every variable of a metadata field and its width."""
        return {
            self.names.field(header.name, field.name): field.width
            for header in self.program.headers.values()
            if header.metadata
            for field in header.type.fields
            if (header.name, field.name) in self.usage.reads
        }

    def header_variables(self) -> dict[str, str]:
        """Every variable of headers and stacks, and its value at the start of a packet."""
        found: dict[str, str] = {}
        for layout in self.layouts.values():
            found[layout.valid] = "0"
            found |= layout.variables
            if layout.has_place:
                found[layout.place] = "-1"
            if layout.varbit is not None:
                found[layout.field(layout.varbit.name)] = "b''"
        for stack in self.stacks_in_use:
            found[self.names.next_index(stack)] = "0"
        return found

    def object(self, kind: str, name: str, value: object) -> str:
        """Make a runtime object known to the code; returns its identifier."""
        identifier = self.names.object(kind, name)
        self.objects[identifier] = value
        return identifier

    def _check(self) -> None:
        program = self.program
        for calculation in program.calculations.values():
            if calculation.algorithm not in ALGORITHMS:
                raise UnsupportedConstruct(f"hash algorithm '{calculation.algorithm}'", calculation.location)
        for profile in program.profiles.values():
            if profile.selector is not None and profile.selector.algorithm not in ALGORITHMS:
                raise UnsupportedConstruct(f"hash algorithm '{profile.selector.algorithm}'", profile.location)
        for layout in self.layouts.values():
            if layout.tail:
                raise UnsupportedConstruct(f"varbit field in the middle of header '{layout.name}'")
            if layout.header.type.width % 8:
                raise UnsupportedConstruct(f"header '{layout.name}' of {layout.header.type.width} bits")
