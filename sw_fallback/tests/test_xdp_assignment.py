"""Which fields of `struct state` have to be zeroed: small programs made of the model's own nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sw_fallback.tests.program_sketch import (
    ANY,
    FLAG,
    IS_SET,
    ONE,
    TWO,
    VALID,
    A,
    B,
    C,
    D,
    Sketch,
    X,
    Y,
    both,
    either,
    is_,
    not_,
    put,
    when,
)

from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.assignment import Assignment
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.entry import EntryWriter
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import NOWHERE
from softswitch.program import Program, read_program
from softswitch.program.controls import (
    Condition,
)
from softswitch.program.expressions import (
    Binary,
    BinaryOp,
    Constant,
    HeaderRef,
    Lookahead,
    Unary,
    UnaryOp,
)
from softswitch.program.parsers import Extract, Parser, ParseState, SetField, Transition
from softswitch.program.statements import (
    AssignHeader,
    Drop,
    EmitDigest,
    Hash,
    ReadRegister,
    SetInvalid,
    SetValid,
)

DEPOT = Path(__file__).parents[2] / "p4src" / "build" / "depot.json"


def unassigned(program: Program | Sketch) -> set[str]:
    """Fields of `h` and of the metadata that have to be zeroed."""
    program = program.program() if isinstance(program, Sketch) else program
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cpus=2)
    found = Assignment(context).unassigned
    return {name for header, name in found if header in ("h", "meta")}


def test_a_field_that_is_assigned_first() -> None:
    assert unassigned(Sketch().run(put(A), put(B, A)).run(put(C, B), put(D, C))) == set()


def test_a_field_that_is_read_first() -> None:
    assert unassigned(Sketch().run(put(A, B), put(B), put(C, A))) == {"b"}


class TestBranches:
    def test_both_assign(self) -> None:
        assert unassigned(Sketch().run(put(A), when(is_(A, ONE), [put(B)], [put(B, TWO)]), put(C, B))) == set()

    def test_one_assigns(self) -> None:
        assert unassigned(Sketch().run(put(A, ANY), when(is_(A, ONE), [put(B)]), put(C, B))) == {"b"}

    def test_the_other_branch_comes_to_nothing(self) -> None:
        sketch = Sketch().run(put(A, ANY)).run(when(is_(A, ONE), [put(B)]), when(is_(A, ONE), [put(C, B)]))
        assert unassigned(sketch) == set()

    def test_a_test_of_another_value(self) -> None:
        sketch = Sketch().run(put(A, ANY)).run(when(is_(A, ONE), [put(B)]), when(is_(A, TWO), [put(C, B)]))
        assert unassigned(sketch) == {"b"}

    def test_what_a_flag_stands_for(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(FLAG), put(B)], [put(FLAG, Constant(0))]))
        assert unassigned(sketch.run(when(IS_SET, [put(C, B)]))) == set()
        assert unassigned(sketch.run(when(not_(IS_SET), [put(C, B)]))) == {"b"}

    def test_a_flag_that_is_copied(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(A, TWO), put(B)], [put(A)]), put(D, A))
        assert unassigned(sketch.run(when(is_(D, TWO), [put(C, B)]))) == set()

    def test_a_flag_that_is_the_outcome_of_a_test(self) -> None:
        sketch = Sketch().run(put(FLAG, Unary(UnaryOp.BOOL_TO_DATA, is_(ANY, ONE))))
        sketch.run(when(IS_SET, [put(B)])).run(when(IS_SET, [put(C, B)]))
        assert unassigned(sketch) == set()

    def test_a_flag_that_changes_in_between(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(FLAG), put(B)], [put(FLAG, Constant(0))]), put(FLAG))
        assert unassigned(sketch.run(when(IS_SET, [put(C, B)]))) == {"b"}

    def test_a_flag_that_is_not_zero(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(A, ANY), put(B)], [put(A, Constant(0))]))
        unequal = Binary(BinaryOp.NOT_EQUAL, A, Constant(0))
        assert unassigned(sketch.run(when(unequal, [put(C, B)]))) == set()

    def test_metadata_is_zero_at_the_start(self) -> None:
        sketch = Sketch().run(when(is_(ANY, ONE), [put(A, TWO), put(B)]))
        assert unassigned(sketch.run(when(is_(A, TWO), [put(C, B)]))) == {"a"}


class TestHeaders:
    def test_a_valid_header_has_its_fields(self) -> None:
        assert unassigned(Sketch(parser=()).run(when(VALID, [put(A, X)]), put(B, A))) == {"a"}

    def test_a_field_of_a_header_that_may_be_invalid(self) -> None:
        """The frame may be too short for it."""
        assert unassigned(Sketch().run(put(A, X), put(B, A))) == {"x"}

    def test_a_chain_is_read_from_the_left(self) -> None:
        assert unassigned(Sketch().run(when(both(VALID, is_(X, ONE)), [put(A, Y)]))) == set()
        assert unassigned(Sketch().run(when(both(is_(X, ONE), VALID), [put(A, Y)]))) == {"x"}
        assert unassigned(Sketch().run(when(either(not_(VALID), is_(X, ONE)), [put(B)]))) == set()
        assert unassigned(Sketch().run(when(either(VALID, is_(X, ONE)), [put(B)]))) == {"x"}

    def test_after_either_of_two_tests(self) -> None:
        sketch = Sketch().run(when(not_(either(not_(VALID), is_(X, ONE))), [put(A, Y)]))
        assert unassigned(sketch) == set()

    def test_a_key_and_a_calculation_read_valid_headers_only(self) -> None:
        hashed = Hash(B, Constant(0), "sum", Constant(65536), NOWHERE)
        assert unassigned(Sketch().choose([put(A)], [put(A, TWO)]).run(hashed, put(C, B))) == set()

    def test_made_valid(self) -> None:
        sketch = Sketch(parser=()).run(SetValid(HeaderRef("h"), NOWHERE), put(A, X), put(B, A))
        assert unassigned(sketch) == set()

    def test_made_invalid(self) -> None:
        sketch = Sketch().run(when(VALID, [SetInvalid(HeaderRef("h"), NOWHERE)]), when(VALID, [put(A, C)]))
        assert unassigned(sketch.run(put(B, A))) == {"a"}

    def test_copied_with_its_validity(self) -> None:
        copy = AssignHeader(HeaderRef("h"), HeaderRef("other"), NOWHERE)
        made = SetValid(HeaderRef("other"), NOWHERE)
        assert unassigned(Sketch(parser=()).run(copy, when(VALID, [put(A, X), put(B, A)]))) == set()
        assert unassigned(Sketch(parser=()).run(made, copy, put(A, X), put(B, A))) == {"x"}

    def test_what_the_parser_assigns_with_a_header(self) -> None:
        sketch = Sketch(parser=(Extract("h", NOWHERE), SetField(A, X, NOWHERE)))
        assert unassigned(sketch.run(when(VALID, [put(B, A), put(C, B)]))) == set()
        assert unassigned(sketch.run(put(B, A), put(C, B))) == {"a"}

    def test_a_lookahead_may_fail(self) -> None:
        sketch = Sketch(parser=(Extract("h", NOWHERE), SetField(A, Lookahead(0, 16), NOWHERE)))
        assert unassigned(sketch.run(when(VALID, [put(B, A)]), put(C, B))) == {"a", "b"}


class TestTables:
    def test_every_action_assigns(self) -> None:
        assert unassigned(Sketch().choose([put(A)], [put(A, TWO)]).run(put(B, A), put(C, B))) == set()

    def test_one_action_does_not(self) -> None:
        assert unassigned(Sketch().choose([put(A)], []).run(put(B, A), put(C, B))) == {"a"}

    def test_one_action_leaves_the_pipeline(self) -> None:
        assert unassigned(Sketch().choose([put(A)], [], exits=1).run(put(B, A), put(C, B))) == set()

    def test_what_an_action_stands_for(self) -> None:
        sketch = Sketch().choose([put(FLAG), put(A)], [put(FLAG, Constant(0))])
        assert unassigned(sketch.run(when(IS_SET, [put(B, A)], [put(B)]), put(C, B))) == set()


class TestArrays:
    @pytest.mark.parametrize(("maximum", "expected"), [(256, set()), (257, {"c"}), (65536, {"c"})])
    def test_a_cell_that_may_be_past_the_end(self, maximum: int, expected: set[str]) -> None:
        """Reading past the end assigns nothing."""
        bound = Binary(BinaryOp.AND, B, Constant(maximum - 1)) if maximum != 257 else B
        sketch = Sketch().run(put(A), put(B, A), put(D, bound), ReadRegister(C, "cells", D, NOWHERE), put(A, C))
        assert unassigned(sketch.run(put(B, A))) == expected


def test_a_digest_reads_its_members() -> None:
    assert unassigned(Sketch().run(EmitDigest(1, NOWHERE))) == {"b"}
    assert unassigned(Sketch().run(put(B), EmitDigest(1, NOWHERE))) == set()


def test_a_drop_assigns_the_port() -> None:
    program = Sketch().run(Drop(NOWHERE)).program()
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cpus=2)
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
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=255, cpus=2)
    layout = EntryWriter(context, Writer()).layout
    assert layout.zeroed <= 136 < 768 < layout.size
