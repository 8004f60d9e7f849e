"""What every part of the generator needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from softswitch.engine.usage import Usage
from softswitch.engine.xdp.action_fields import action_fields
from softswitch.engine.xdp.names import Names
from softswitch.engine.xdp.terms import WORD, Term, ctype, words_of
from softswitch.errors import UnsupportedConstruct
from softswitch.program import Program
from softswitch.program.expressions import Expression, FieldRef

__all__ = ["Context", "Numbers"]


_COUNTER_CELLS = 8
"""A row has a counter for each of as many CPUs; more of them share cells, by atomic additions."""


class Numbers(Protocol):
    """A number for each action name."""

    def __getitem__(self, name: str, /) -> int: ...


class Context:
    """One program on its way to C.

    Every field that the program uses is a member of `struct state`, reached as `s->NAME`: u8 to u64 (s8 to s64 for
    signed ones, sign-extended), or an array of u64 words, the least significant first, above 64 bits.
    """

    def __init__(
        self,
        program: Program,
        numbers: Numbers,
        *,
        drop_port: int,
        cpu_port: int | None,
        cpus: int,
        filters: Sequence[Expression] | None = None,
        generation: int = 0,
    ) -> None:
        """`cpus`: a power of two, as many as the machine may have or more. `filters`: what packets to tell about are
        chosen by; None: nobody traces, and nothing is told. `generation` is in the records of this translation.
        """
        self.program = program
        self.filters = filters
        self.generation = generation
        self.numbers = numbers
        self.names = Names()
        self.usage = Usage(program, also_read=filters or ())
        self.action_fields = action_fields(program, filters or ()) & self.usage.reads
        """Fields, as (header, field), that are variables of the only action that uses them."""
        self.cpus = cpus
        self.cells = min(cpus, _COUNTER_CELLS)
        spec = program.intrinsic("egress_spec")
        self.drop_value = drop_port & ((1 << spec.width) - 1) if spec else drop_port
        self.drop_port = drop_port
        self.cpu_port = cpu_port
        self.no_error = program.errors.get("NoError", 0)

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

    def variable(self, header: str, field: str) -> str:
        """The C lvalue of a field (an array above 64 bits)."""
        name = self.names.field(header, field)
        return name if (header, field) in self.action_fields else f"s->{name}"

    def valid(self, header: str) -> str:
        """The C lvalue of a header's validity, a u8: 0 or 1."""
        return f"s->{self.names.valid(header)}"

    def place(self, header: str) -> str:
        """The C lvalue of where in the packet the header was extracted, a u16 offset in bytes; `FRESH` if nowhere."""
        return f"s->{self.names.place(header)}"

    def term(self, field: FieldRef) -> Term:
        """A field's value, not the validity bit."""
        name = self.variable(field.header, field.field)
        if field.width > WORD:
            if field.signed:
                raise UnsupportedConstruct(f"signed field '{field.header}.{field.field}' of {field.width} bits")
            words = tuple(f"{name}[{index}]" for index in range(words_of(field.width)))
            return Term(words, 0, (1 << field.width) - 1, atom=True)
        if field.signed:
            half = 1 << (field.width - 1)
            return Term((name,), -half, half - 1, atom=True)
        return Term((name,), 0, (1 << field.width) - 1, atom=True)

    def intrinsic(self, name: str) -> str | None:
        """The variable of a standard metadata field; None where nothing reads it."""
        field = self.program.intrinsic(name)
        if field is None or (field.header, field.field) not in self.usage.reads:
            return None
        return self.variable(field.header, field.field)

    def keeps(self, header: str, field: str) -> bool:
        """Whether a field is in `struct state`: metadata that is read, unless it is an action's own; header fields that
        are read or written, and all fields of a header that the program itself can make valid."""
        found = self.program.headers[header]
        if found.metadata:
            return (header, field) in self.usage.reads and (header, field) not in self.action_fields
        if header in self.usage.made_valid:
            return True
        return (header, field) in self.usage.reads or (header, field) in self.usage.writes

    def declaration(self, header: str, field: str, width: int, signed: bool) -> str:
        """The member of `struct state` that holds a field."""
        name = self.names.field(header, field)
        if width > WORD:
            return f"u64 {name}[{words_of(width)}];"
        return f"{ctype(width, signed)} {name};"
