"""Every action of the compiled programs, run on random states by the python engine and as C."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sw_fallback.tests.action_comparison import CELLS, ActionComparison, Numbers
from sw_fallback.tests.engine_programs import FOLDER

from softswitch.engine.xdp.action_fields import action_fields
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.statements import Statements
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import NOWHERE, SourceLocation, UnsupportedConstruct
from softswitch.program import Program, read_program
from softswitch.program.controls import Action, Parameter
from softswitch.program.expressions import Binary, BinaryOp, Constant, Expression, FieldRef, HeaderRef, Param, Valid
from softswitch.program.statements import (
    Assert,
    Assign,
    AssignHeader,
    AssignStack,
    Exit,
    If,
    LogMessage,
    Random,
    ReadRegister,
    SetInvalid,
    SetValid,
    Statement,
    WriteRegister,
)

PROGRAMS = {
    **{name: FOLDER / f"{name}.json" for name in ("arithmetic", "matches", "p4runtime_entities", "replicas")},
    "depot": Path(__file__).parents[2] / "p4src" / "build" / "depot.json",
}


def _small(program: Program) -> Program:
    """The program with arrays of a few cells."""
    for arrays in (program.registers, program.counters, program.meters):
        for array in arrays.values():
            object.__setattr__(array, "size", CELLS)
    return program


def _read(name: str) -> Program:
    return _small(read_program(json.loads(PROGRAMS[name].read_text("utf-8"))))


@pytest.mark.parametrize("name", PROGRAMS)
def test_actions_equal_those_of_the_python_engine(name: str, tmp_path: Path) -> None:
    comparison = ActionComparison(_read(name), seed=5)
    assert comparison.check(tmp_path) >= 10
    assert all("log_msg" in text for text in comparison.refused)


HERE = SourceLocation("here.p4", 7)


def _made(*body: Statement) -> Action:
    return Action(0, "made", (Parameter("wide", 128), Parameter("narrow", 16)), body, NOWHERE)


_VALUE, _OTHER = FieldRef("wide", "value", 96), FieldRef("wide", "other", 128)
_LEFT, _RIGHT = FieldRef("operands", "left", 32), FieldRef("operands", "right", 32)
_SIGNED = FieldRef("operands", "left_signed", 16, True)


def _plus(left: Expression, right: Expression) -> Expression:
    return Binary(BinaryOp.ADD, left, right)


def _swapped(field_: FieldRef) -> Expression:
    up, down = (Binary(op, field_, Constant(64)) for op in (BinaryOp.SHIFT_LEFT, BinaryOp.SHIFT_RIGHT))
    return Binary(BinaryOp.OR, up, down)


_WIDE, _NARROW = "ingress.wide_register", "ingress.register_of_48"
MADE = {
    "words that change places": _made(Assign(_OTHER, _swapped(_OTHER), NOWHERE), Assign(_VALUE, _OTHER, NOWHERE)),
    "a sum over words": _made(Assign(_OTHER, _plus(Param(0, 128), _OTHER), NOWHERE), Assign(_VALUE, _OTHER, NOWHERE)),
    "negative numbers": _made(
        Assign(_OTHER, Binary(BinaryOp.SUBTRACT, _LEFT, _VALUE), NOWHERE),
        Assign(_SIGNED, Binary(BinaryOp.SUBTRACT, _SIGNED, Param(1, 16)), NOWHERE),
    ),
    "a cell read and written": _made(
        ReadRegister(_VALUE, _WIDE, _LEFT, NOWHERE),
        WriteRegister(_WIDE, _RIGHT, _plus(_VALUE, _OTHER), NOWHERE),
        WriteRegister(_NARROW, _OTHER, _plus(_LEFT, _RIGHT), NOWHERE),
        ReadRegister(_LEFT, _NARROW, Binary(BinaryOp.SUBTRACT, _RIGHT, Constant(1)), NOWHERE),
    ),
    "an assertion between locks": _made(
        ReadRegister(_LEFT, _NARROW, _RIGHT, NOWHERE),
        ReadRegister(_VALUE, _WIDE, _RIGHT, NOWHERE),
        Assert(Binary(BinaryOp.LESS, _LEFT, _RIGHT), "assert", NOWHERE),
        WriteRegister(_NARROW, _RIGHT, Constant(1), NOWHERE),
        WriteRegister(_WIDE, _RIGHT, Constant(2), NOWHERE),
    ),
    "headers that come and go": _made(
        If(
            Valid(HeaderRef("wide")),
            (SetInvalid(HeaderRef("wide"), NOWHERE), Exit(NOWHERE)),
            (SetValid(HeaderRef("wide"), NOWHERE), SetValid(HeaderRef("operands"), NOWHERE)),
            NOWHERE,
        )
    ),
    "random numbers": _made(
        Random(_LEFT, _RIGHT, Param(1, 16), NOWHERE),
        Random(FieldRef("operands", "op", 8), Constant(7), Constant(20), NOWHERE),
        Random(_VALUE, Constant(9), Constant(8), NOWHERE),
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_what_no_program_has(name: str, tmp_path: Path) -> None:
    program = _read("arithmetic")
    program.actions.clear()
    program.actions[0] = MADE[name]
    comparison = ActionComparison(program, seed=8)
    assert comparison.check(tmp_path) == 1


@pytest.mark.parametrize(("left", "right"), [("outer_ipv4", "ipv4"), ("inner_ipv4", "ipv4"), ("ipv4", "outer_ipv4")])
def test_a_header_is_copied(left: str, right: str, tmp_path: Path) -> None:
    program = _read("depot")
    if program.headers[left].type != program.headers[right].type:
        pytest.skip("the program has no two headers of this type")
    program.actions.clear()
    program.actions[0] = _made(AssignHeader(HeaderRef(left), HeaderRef(right), NOWHERE))
    assert ActionComparison(program, seed=9).check(tmp_path) == 1


@pytest.mark.parametrize(
    ("statement", "construct"),
    [
        (AssignStack("stack", "stack", HERE), "header stack"),
        (LogMessage("text", (), HERE), "log_msg"),
        (Assign(FieldRef("wide", "$valid$", 1), Constant(1), HERE), "validity"),
        (Assign(_OTHER, Binary(BinaryOp.MULTIPLY, _OTHER, _OTHER), HERE), "multiplication"),
        (Assign(_OTHER, Binary(BinaryOp.SHIFT_LEFT, _OTHER, _LEFT), HERE), "variable shift"),
        (Assign(_OTHER, Binary(BinaryOp.DIVIDE, _OTHER, _LEFT), HERE), "division"),
    ],
)
def test_what_is_refused(statement: Statement, construct: str) -> None:
    context = Context(_read("arithmetic"), Numbers(), drop_port=511, cpu_port=None, cpus=1)
    with pytest.raises(UnsupportedConstruct, match=construct) as refused:
        Statements(context, Writer()).write([statement])
    assert refused.value.location == HERE


def test_locks_are_those_of_registers_read_and_written() -> None:
    context = Context(_read("arithmetic"), Numbers(), drop_port=511, cpu_port=None, cpus=1)
    statements = Statements(context, Writer())
    assert statements.locks(MADE["a cell read and written"].body) == (_NARROW, _WIDE)
    assert statements.locks(MADE["a sum over words"].body) == ()


_TEMPORARY = FieldRef("scalars", "tmp_20", 48)
_COND = Binary(BinaryOp.EQUAL, _LEFT, _RIGHT)


@pytest.mark.parametrize(
    ("body", "own"),
    [
        pytest.param((Assign(_TEMPORARY, _LEFT, NOWHERE), Assign(_RIGHT, _TEMPORARY, NOWHERE)), True, id="in_order"),
        pytest.param((Assign(_RIGHT, _TEMPORARY, NOWHERE), Assign(_TEMPORARY, _LEFT, NOWHERE)), False, id="read_first"),
        pytest.param(
            (If(_COND, (Assign(_TEMPORARY, _LEFT, NOWHERE),), (), NOWHERE), Assign(_RIGHT, _TEMPORARY, NOWHERE)),
            False,
            id="assigned_on_one_way",
        ),
        pytest.param(
            (If(_COND, (Assign(_TEMPORARY, _LEFT, NOWHERE), Assign(_RIGHT, _TEMPORARY, NOWHERE)), (), NOWHERE),),
            True,
            id="inside_of_one_way",
        ),
        pytest.param(
            (ReadRegister(_TEMPORARY, _NARROW, _LEFT, NOWHERE), Assign(_RIGHT, _TEMPORARY, NOWHERE)),
            False,
            id="perhaps_assigned",
        ),
    ],
)  # fmt: skip
def test_metadata_that_one_action_uses_is_a_variable_of_it(
    body: tuple[Statement, ...], own: bool, tmp_path: Path
) -> None:
    program = _read("arithmetic")
    program.actions.clear()
    program.actions[0] = _made(*body)
    assert (("scalars", "tmp_20") in action_fields(program, ())) is own
    assert action_fields(program, [_TEMPORARY]) == frozenset()
    assert ActionComparison(program, seed=8).check(tmp_path) == 1
    program.actions[1] = _made(Assign(_LEFT, _TEMPORARY, NOWHERE))
    assert action_fields(program, ()) == frozenset()


def test_what_outlives_an_action_is_no_variable_of_it() -> None:
    program = _read("depot")
    found = action_fields(program, ())
    digested = {(m.header, m.field) for d in program.digests.values() for m in d.members if isinstance(m, FieldRef)}
    keyed = {(key.target.header, key.target.field) for table in program.ingress.tables.values() for key in table.key}
    assert found
    assert not found & (digested | keyed)
    assert all(header == "scalars" for header, _ in found)
