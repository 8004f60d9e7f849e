"""A program with fields of every width, and packets' states for it, in Python and in C."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.terms import WORD, words_of
from softswitch.errors import NOWHERE
from softswitch.program import Program
from softswitch.program.controls import Pipeline, RegisterArray
from softswitch.program.expressions import VALID_FIELD, FieldRef
from softswitch.program.headers import Field, Header, HeaderType
from softswitch.program.parsers import Parser

WIDTHS = (1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 20, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 145)
SIGNED = (1, 2, 7, 8, 9, 16, 20, 31, 32, 33, 48, 63, 64)
HEADERS = ("one", "two", "three", "four", "five")
REGISTERS = {"narrow": RegisterArray("narrow", 8, 16, NOWHERE), "full": RegisterArray("full", 5, 64, NOWHERE)}
_FIELDS = tuple(
    [Field(f"u{width}_", width) for width in WIDTHS] + [Field(f"i{width}_", width, True) for width in SIGNED]
)

State = dict[tuple[str, str], int]
"""The value of each field, and of each header's validity."""


def field_of(header: str, width: int, *, signed: bool = False) -> FieldRef:
    """A field of a header (`meta` is metadata) by its width."""
    return FieldRef(header, f"{'i' if signed else 'u'}{width}_", width, signed)


@dataclass(slots=True)
class _Numbers:
    known: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str, /) -> int:
        return self.known.setdefault(name, len(self.known))


def state_program() -> Context:
    """The program's context: nothing but headers, metadata and registers."""
    kind = HeaderType("every_width", _FIELDS)
    headers = {name: Header(name, kind, name == "meta") for name in ("meta", *HEADERS)}
    nothing = (
        "stacks",
        "unions",
        "union_stacks",
        "errors",
        "actions",
        "profiles",
        "counters",
        "meters",
        "calculations",
    )
    empty: dict[str, object] = {name: {} for name in (*nothing, "digests", "field_lists", "aliases")}
    pipelines = {name: Pipeline(name, None, {}, {}) for name in ("ingress", "egress")}
    parser = cast(Parser, SimpleNamespace(states={}, start=None))
    program = SimpleNamespace(
        name="widths", headers=headers, parser=parser, deparser=(), registers=REGISTERS, checksums=(),
        intrinsic=lambda name: None, **empty, **pipelines,
    )  # fmt: skip
    return Context(cast(Program, program), _Numbers(), drop_port=511, cpu_port=None, cpus=1)


def random_state(draw: random.Random, headers: tuple[str, ...] = ("meta", *HEADERS)) -> State:
    """Fields at random, often at the ends of what they hold."""
    found: State = {}
    for header in headers:
        found[header, VALID_FIELD] = 1 if header == "meta" else draw.getrandbits(1)
        for item in _FIELDS:
            value = draw.choice((0, (1 << item.width) - 1, 1, 1 << item.width - 1, *[draw.getrandbits(item.width)] * 4))
            half = 1 << item.width - 1
            found[header, item.name] = (value ^ half) - half if item.signed else value
    return found


def c_states(context: Context, states: list[State]) -> str:
    """`struct state`, and an array `states` of them."""
    lines, values = ["struct state {"], []
    for header in context.program.headers.values():
        lines.append(f"u8 {context.names.valid(header.name)};")
        lines += [context.declaration(header.name, f.name, f.width, f.signed) for f in header.type.fields]
    lines.append("};")
    for state in states:
        parts = []
        for (header, name), value in state.items():
            if name == VALID_FIELD:
                parts.append(f".{context.names.valid(header)} = {value}")
                continue
            width = next(f.width for f in _FIELDS if f.name == name)
            words = [f"{value >> WORD * index & (1 << WORD) - 1:#x}ull" for index in range(words_of(width))]
            text = f"{{{', '.join(words)}}}" if width > WORD else f"({value + 1}ll - 1)" if value < 0 else words[0]
            parts.append(f".{context.names.field(header, name)} = {text}")
        values.append(f"{{{', '.join(parts)}}}")
    return "\n".join([*lines, f"static struct state states[] = {{{', '.join(values)}}};"])
