"""Cells of arrays in maps that user space and the kernel share: how generated code finds and reads them."""

from __future__ import annotations

from softswitch.engine.xdp.arithmetic import Arithmetic
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.terms import WORD, Term, words_of
from softswitch.engine.xdp.values import Value, constant, operand, variable
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import UnsupportedConstruct

__all__ = ["cell_value", "index_text", "read_cell", "register_cell"]

_NOWHERE = 0xFFFFFFFF
"""An index past the end of every array."""


def index_text(writer: Writer, index: Value) -> str:
    """An array's index as a u32; what no u32 holds is past the end of every array."""
    if index.low >= 0 and index.high < 1 << 32:
        return index.text
    math = Arithmetic(writer)
    index = math.hold(index)
    tests = [math.compare("<", index, constant(_NOWHERE)), math.compare(">=", index, constant(0))]
    inside = " && ".join(operand(test) for test in tests if test != "1")
    return math.choose(inside, index, constant(_NOWHERE), 32).text


def register_cell(context: Context, writer: Writer, register: str, index: Value) -> str:
    """A variable that points at the words of a register's cell, NULL past the end."""
    place = index_text(writer, index)
    return writer.variable("u64 *", f"cell_of(&{context.names.object(register)}_cells, {place})")


def cell_value(context: Context, register: str, pointer: str) -> Value:
    """What a register's cell holds."""
    width = context.program.registers[register].width
    words = tuple(f"{pointer}[{index}]" for index in range(words_of(width)))
    return variable(Term(words, 0, (1 << width) - 1, atom=True), max(width, WORD))


def read_cell(context: Context, writer: Writer, register: str, index: Value) -> Value:
    """A register's cell inside an expression: zero past the end."""
    if context.program.registers[register].width > WORD:
        raise UnsupportedConstruct(f"register '{register}' of more than {WORD} bits inside an expression")
    pointer, math = register_cell(context, writer, register, index), Arithmetic(writer)
    return math.hold(math.choose(pointer, cell_value(context, register, pointer), constant(0), None))
