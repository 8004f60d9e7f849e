"""Which fields of `struct state` have to be zeroed: small programs made of the model's own nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.assignment import Assignment
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.entry import EntryWriter
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import NOWHERE
from softswitch.program import Program, read_program
from softswitch.program.controls import (
    Action,
    Condition,
    DefaultAction,
    KeyField,
    MatchKind,
    Pipeline,
    RegisterArray,
    Table,
)
from softswitch.program.expressions import (
    Binary,
    BinaryOp,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    Lookahead,
    Unary,
    UnaryOp,
    Valid,
)
from softswitch.program.headers import Field, Header, HeaderType
from softswitch.program.parsers import Extract, Parser, ParserOp, ParseState, SetField, Transition
from softswitch.program.program import Calculation, DigestLayout
from softswitch.program.statements import (
    Assign,
    AssignHeader,
    Drop,
    EmitDigest,
    Exit,
    Hash,
    If,
    ReadRegister,
    SetInvalid,
    SetValid,
    Statement,
)

DEPOT = Path(__file__).parents[2] / "p4src" / "build" / "depot.json"

A, B, C, D = (FieldRef("meta", name, 16) for name in "abcd")
FLAG = FieldRef("meta", "flag", 1)
ANY = FieldRef("standard_metadata", "ingress_port", 9)
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
            for (name, table), following in zip(self.tables.items(), (*names[1:], None), strict=True)
        }
        start = ParseState("start", tuple(self.parser), (), (), None, NOWHERE)
        metadata = HeaderType("meta_t", (*(Field(name, 16) for name in "abcd"), Field("flag", 1)))
        standard = HeaderType("standard_t", (Field("ingress_port", 9), Field("egress_spec", 9), Field("mcast_grp", 16)))
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

    def unassigned(self) -> set[str]:
        """Fields of `h` and of the metadata that have to be zeroed."""
        return unassigned(self.program())


def unassigned(program: Program) -> set[str]:
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cells=2)
    found = Assignment(context).unassigned
    return {name for header, name in found if header in ("h", "meta")}


def test_a_field_that_is_assigned_first() -> None:
    assert Sketch().run(put(A), put(B, A)).run(put(C, B), put(D, C)).unassigned() == set()


def test_a_field_that_is_read_first() -> None:
    assert Sketch().run(put(A, B), put(B), put(C, A)).unassigned() == {"b"}


class TestBranches:
    def test_both_assign(self) -> None:
        assert Sketch().run(put(A), when(is_(A, ONE), [put(B)], [put(B, TWO)]), put(C, B)).unassigned() == set()

    def test_one_assigns(self) -> None:
        assert Sketch().run(put(A, ANY), when(is_(A, ONE), [put(B)]), put(C, B)).unassigned() == {"b"}

    def test_the_other_branch_comes_to_nothing(self) -> None:
        sketch = Sketch().run(put(A, ANY)).run(when(is_(A, ONE), [put(B)]), when(is_(A, ONE), [put(C, B)]))
        assert sketch.unassigned() == set()

    def test_a_test_of_another_value(self) -> None:
        sketch = Sketch().run(put(A, ANY)).run(when(is_(A, ONE), [put(B)]), when(is_(A, TWO), [put(C, B)]))
        assert sketch.unassigned() == {"b"}

    def test_what_a_flag_stands_for(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(FLAG), put(B)], [put(FLAG, Constant(0))]))
        assert sketch.run(when(IS_SET, [put(C, B)])).unassigned() == set()
        assert sketch.run(when(not_(IS_SET), [put(C, B)])).unassigned() == {"b"}

    def test_a_flag_that_is_copied(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(A, TWO), put(B)], [put(A)]), put(D, A))
        assert sketch.run(when(is_(D, TWO), [put(C, B)])).unassigned() == set()

    def test_a_flag_that_is_the_outcome_of_a_test(self) -> None:
        sketch = Sketch().run(put(FLAG, Unary(UnaryOp.BOOL_TO_DATA, is_(ANY, ONE))))
        sketch.run(when(IS_SET, [put(B)])).run(when(IS_SET, [put(C, B)]))
        assert sketch.unassigned() == set()

    def test_a_flag_that_changes_in_between(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(FLAG), put(B)], [put(FLAG, Constant(0))]), put(FLAG))
        assert sketch.run(when(IS_SET, [put(C, B)])).unassigned() == {"b"}

    def test_a_flag_that_is_not_zero(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(A, ANY), put(B)], [put(A, Constant(0))]))
        unequal = Binary(BinaryOp.NOT_EQUAL, A, Constant(0))
        assert sketch.run(when(unequal, [put(C, B)])).unassigned() == set()

    def test_metadata_is_zero_at_the_start(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(A, TWO), put(B)]))
        assert sketch.run(when(is_(A, TWO), [put(C, B)])).unassigned() == {"a"}


class TestHeaders:
    def test_a_valid_header_has_its_fields(self) -> None:
        assert Sketch(parser=()).run(when(VALID, [put(A, X)]), put(B, A)).unassigned() == {"a"}

    def test_a_field_of_a_header_that_may_be_invalid(self) -> None:
        """The frame may be too short for it."""
        assert Sketch().run(put(A, X), put(B, A)).unassigned() == {"x"}

    def test_a_chain_is_read_from_the_left(self) -> None:
        assert Sketch().run(when(both(VALID, is_(X, ONE)), [put(A, Y)])).unassigned() == set()
        assert Sketch().run(when(both(is_(X, ONE), VALID), [put(A, Y)])).unassigned() == {"x"}
        assert Sketch().run(when(either(not_(VALID), is_(X, ONE)), [put(B)])).unassigned() == set()
        assert Sketch().run(when(either(VALID, is_(X, ONE)), [put(B)])).unassigned() == {"x"}

    def test_after_either_of_two_tests(self) -> None:
        sketch = Sketch().run(when(not_(either(not_(VALID), is_(X, ONE))), [put(A, Y)]))
        assert sketch.unassigned() == set()

    def test_a_key_and_a_calculation_read_valid_headers_only(self) -> None:
        hashed = Hash(B, Constant(0), "sum", Constant(65536), NOWHERE)
        assert Sketch().choose([put(A)], [put(A, TWO)]).run(hashed, put(C, B)).unassigned() == set()

    def test_made_valid(self) -> None:
        sketch = Sketch(parser=()).run(SetValid(HeaderRef("h"), NOWHERE), put(A, X), put(B, A))
        assert sketch.unassigned() == set()

    def test_made_invalid(self) -> None:
        sketch = Sketch().run(when(VALID, [SetInvalid(HeaderRef("h"), NOWHERE)]), when(VALID, [put(A, C)]))
        assert sketch.run(put(B, A)).unassigned() == {"a"}

    def test_copied_with_its_validity(self) -> None:
        copy = AssignHeader(HeaderRef("h"), HeaderRef("other"), NOWHERE)
        made = SetValid(HeaderRef("other"), NOWHERE)
        assert Sketch(parser=()).run(copy, when(VALID, [put(A, X), put(B, A)])).unassigned() == set()
        assert Sketch(parser=()).run(made, copy, put(A, X), put(B, A)).unassigned() == {"x"}

    def test_what_the_parser_assigns_with_a_header(self) -> None:
        sketch = Sketch(parser=(Extract("h", NOWHERE), SetField(A, X, NOWHERE)))
        assert sketch.run(when(VALID, [put(B, A), put(C, B)])).unassigned() == set()
        assert sketch.run(put(B, A), put(C, B)).unassigned() == {"a"}

    def test_a_lookahead_may_fail(self) -> None:
        sketch = Sketch(parser=(Extract("h", NOWHERE), SetField(A, Lookahead(0, 16), NOWHERE)))
        assert sketch.run(when(VALID, [put(B, A)]), put(C, B)).unassigned() == {"a", "b"}


class TestTables:
    def test_every_action_assigns(self) -> None:
        assert Sketch().choose([put(A)], [put(A, TWO)]).run(put(B, A), put(C, B)).unassigned() == set()

    def test_one_action_does_not(self) -> None:
        assert Sketch().choose([put(A)], []).run(put(B, A), put(C, B)).unassigned() == {"a"}

    def test_one_action_leaves_the_pipeline(self) -> None:
        assert Sketch().choose([put(A)], [], exits=1).run(put(B, A), put(C, B)).unassigned() == set()

    def test_what_an_action_stands_for(self) -> None:
        sketch = Sketch().choose([put(FLAG), put(A)], [put(FLAG, Constant(0))])
        assert sketch.run(when(IS_SET, [put(B, A)], [put(B)]), put(C, B)).unassigned() == set()


class TestArrays:
    @pytest.mark.parametrize(("maximum", "expected"), [(256, set()), (257, {"c"}), (65536, {"c"})])
    def test_a_cell_that_may_be_past_the_end(self, maximum: int, expected: set[str]) -> None:
        """Reading past the end assigns nothing."""
        bound = Binary(BinaryOp.AND, B, Constant(maximum - 1)) if maximum != 257 else B
        sketch = Sketch().run(put(A), put(B, A), put(D, bound), ReadRegister(C, "cells", D, NOWHERE), put(A, C))
        assert sketch.run(put(B, A)).unassigned() == expected


def test_a_digest_reads_its_members() -> None:
    assert Sketch().run(EmitDigest(1, NOWHERE)).unassigned() == {"b"}
    assert Sketch().run(put(B), EmitDigest(1, NOWHERE)).unassigned() == set()


def test_a_drop_assigns_the_port() -> None:
    program = Sketch().run(Drop(NOWHERE)).program()
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cells=2)
    assert Assignment(context).unassigned == set()


def test_a_pipeline_that_parts_and_meets() -> None:
    program = Sketch().run(put(B), put(C, B)).program()
    (name,) = program.ingress.tables
    node = Condition("node", is_(X, ONE), name, None, NOWHERE)
    guarded = Condition("guarded", VALID, "node", None, NOWHERE)
    parted = replace(program.ingress, start="guarded", conditions={"guarded": guarded, "node": node})
    assert unassigned(replace(program, ingress=parted)) == set()
    bare = replace(program.ingress, start="node", conditions={"node": node})
    assert unassigned(replace(program, ingress=bare)) == {"x"}


def test_transitions_of_the_parser() -> None:
    states = {
        "start": ParseState("start", (), (A,), (Transition((1,), (0xFFFF,), "one"),), "two", NOWHERE),
        "one": ParseState("one", (SetField(B, ONE, NOWHERE),), (), (), "two", NOWHERE),
        "two": ParseState("two", (SetField(C, ONE, NOWHERE),), (), (), None, NOWHERE),
    }
    program = Sketch().run(put(D, B), put(A, C), put(B, D)).program()
    assert unassigned(replace(program, parser=Parser("parser", "start", states))) == {"a", "b"}


def test_little_of_depot_is_zeroed() -> None:
    program = read_program(DEPOT)
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=255, cells=2)
    layout = EntryWriter(context, Writer()).layout
    assert layout.zeroed <= 128 < 1024 < layout.size
