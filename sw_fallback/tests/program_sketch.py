"""Small programs made of the model's own nodes, for what no compiled program shows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from softswitch.errors import NOWHERE
from softswitch.program import Program
from softswitch.program.controls import Action, DefaultAction, KeyField, MatchKind, Pipeline, RegisterArray, Table
from softswitch.program.expressions import (
    Binary,
    BinaryOp,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    Unary,
    UnaryOp,
    Valid,
)
from softswitch.program.headers import Field, Header, HeaderType
from softswitch.program.parsers import Extract, Parser, ParserOp, ParseState
from softswitch.program.program import Calculation, DigestLayout
from softswitch.program.statements import Assign, Exit, If, Statement

A, B, C, D = (FieldRef("meta", name, 16) for name in "abcd")
FLAG = FieldRef("meta", "flag", 1)
ANY = FieldRef("standard_metadata", "ingress_port", 9)
TIME = FieldRef("standard_metadata", "ingress_global_timestamp", 48)
X, Y = FieldRef("h", "x", 8), FieldRef("h", "y", 8)
ONE, TWO = Constant(1), Constant(2)
VALID = Valid(HeaderRef("h"))
IS_SET = Unary(UnaryOp.DATA_TO_BOOL, FLAG)
HEADER = HeaderType("h_t", (Field("x", 8), Field("y", 8)))


def put(target: FieldRef, value: Expression = ONE) -> Assign:
    return Assign(target, value, NOWHERE)


def is_(left: Expression, right: Expression) -> Binary:
    return Binary(BinaryOp.EQUAL, left, right)


def both(left: Expression, right: Expression) -> Binary:
    return Binary(BinaryOp.BOTH, left, right)


def either(left: Expression, right: Expression) -> Binary:
    return Binary(BinaryOp.EITHER, left, right)


def not_(operand: Expression) -> Unary:
    return Unary(UnaryOp.NOT, operand)


def when(condition: Expression, then: Sequence[Statement], otherwise: Sequence[Statement] = ()) -> If:
    return If(condition, tuple(then), tuple(otherwise), NOWHERE)


@dataclass(slots=True)
class Sketch:
    """A program of a straight line of actions and tables behind a parser."""

    parser: Sequence[ParserOp] = (Extract("h", NOWHERE),)
    actions: dict[int, Action] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def run(self, *statements: Statement) -> Sketch:
        """Statements that every packet gets to."""
        return self._table((self._action(statements),), ())

    def choose(self, *bodies: Sequence[Statement], key: Sequence[FieldRef] = (X,), exits: int | None = None) -> Sketch:
        """A table that runs one of these actions; number `exits` leaves the pipeline."""
        numbers = []
        for index, body in enumerate(bodies):
            numbers.append(self._action((*body, Exit(NOWHERE)) if index == exits else tuple(body)))
        return self._table(tuple(numbers), tuple(KeyField(f.field, MatchKind.EXACT, f, None) for f in key))

    def _action(self, statements: Sequence[Statement]) -> int:
        number = len(self.actions)
        self.actions[number] = Action(number, f"action{number}", (), tuple(statements), NOWHERE)
        return number

    def _table(self, numbers: tuple[int, ...], key: tuple[KeyField, ...]) -> Sketch:
        name = f"table{len(self.tables):02}"
        self.tables[name] = Table(
            name=name,
            kind=MatchKind.EXACT,
            key=key,
            actions=numbers,
            size=1,
            default=DefaultAction(numbers[0], (), True),
            entries=(),
            next_by_action=dict.fromkeys(numbers, None),
            next_by_hit=None,
            next_without_action=None,
            profile=None,
            direct_counter=False,
            direct_meter=None,
            idle_timeout=False,
            location=NOWHERE,
        )
        return self

    def program(self) -> Program:
        """All of it, with a header `h` of two bytes and metadata a, b, c, d and flag."""
        names = list(self.tables)
        linked = {
            name: replace(table, next_by_action=dict.fromkeys(table.actions, following))
            for (name, table), following in zip(self.tables.items(), (*names[1:], None), strict=False)
        }
        start = ParseState("start", tuple(self.parser), (), (), None, NOWHERE)
        metadata = HeaderType("meta_t", (*(Field(name, 16) for name in "abcd"), Field("flag", 1)))
        widths = {"ingress_port": 9, "egress_spec": 9, "mcast_grp": 16, "ingress_global_timestamp": 48}
        standard = HeaderType("standard_t", tuple(Field(name, width) for name, width in widths.items()))
        return Program(
            name="sketch",
            headers={
                "h": Header("h", HEADER, metadata=False),
                "other": Header("other", HEADER, metadata=False),
                "meta": Header("meta", metadata, metadata=True),
                "standard_metadata": Header("standard_metadata", standard, metadata=True),
            },
            stacks={},
            unions={},
            union_stacks={},
            errors={},
            parser=Parser("parser", "start", {"start": start}),
            deparser=("h", "other"),
            actions=self.actions,
            ingress=Pipeline("ingress", names[0] if names else None, linked, {}),
            egress=Pipeline("egress", None, {}, {}),
            profiles={},
            registers={"cells": RegisterArray("cells", 256, 16, NOWHERE)},
            counters={},
            meters={},
            calculations={"sum": Calculation("sum", "crc16", (X, A), NOWHERE)},
            checksums=(),
            digests={1: DigestLayout(1, "digest", (B,), NOWHERE)},
            field_lists={},
            aliases={},
        )
