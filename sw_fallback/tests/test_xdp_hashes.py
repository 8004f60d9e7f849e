"""The hash algorithms in C against those in Python."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sw_fallback.tests.host_compiler import run, runtime
from sw_fallback.tests.xdp_programs import HEADERS, State, c_states, field_of, random_state, state_program

from softswitch.engine.xdp.calculations import Calculations
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import UnsupportedConstruct
from softswitch.hashes import ALGORITHMS
from softswitch.program.expressions import VALID_FIELD, FieldRef
from softswitch.program.program import CalculationInput, Payload, SizedConstant

INPUTS: list[tuple[CalculationInput, ...]] = [
    (),
    (SizedConstant(0, 16),),
    tuple(field_of("meta", width) for width in (128, 16, 128, 16, 8)),
    tuple(field_of("meta", width) for width in (16, 8, 128, 128, 16)),
    tuple(field_of("meta", width) for width in (32, 32)),
    tuple(field_of("meta", width) for width in (96, 3)),
    tuple(field_of("meta", width) for width in (3, 96)),
    tuple(field_of("meta", width) for width in (48, 64, 145, 9, 7, 1)),
    (*(field_of("meta", width, signed=True) for width in (16, 7, 33)), field_of("meta", 24)),
    (field_of("meta", 8), SizedConstant(0x123, 12), FieldRef("one", VALID_FIELD, 1), field_of("meta", 9)),
    tuple(field_of("one", width) for width in (4, 4, 8, 16, 128, 32)),
    (field_of("one", 32), field_of("one", 32), field_of("two", 16), field_of("two", 16), field_of("three", 8)),
    (field_of("one", 128), SizedConstant(0, 24), field_of("one", 8), field_of("two", 16), field_of("three", 64)),
    (field_of("one", 4), field_of("meta", 9), field_of("two", 33), field_of("three", 145), field_of("one", 7)),
    (field_of("meta", 16), field_of("three", 96), field_of("meta", 128), field_of("two", 64)),
]
"""Inputs that start and end inside of bytes and words, of headers that may be invalid."""


def _expected(algorithm: str, inputs: tuple[CalculationInput, ...], state: State) -> int:
    total = width = 0
    for item in inputs:
        if isinstance(item, SizedConstant):
            total, width = total << item.width | item.value, width + item.width
        elif isinstance(item, FieldRef):
            if item.field != VALID_FIELD and item.header != "meta" and not state[item.header, VALID_FIELD]:
                continue
            value = state[item.header, item.field] & (1 << item.width) - 1
            total, width = total << item.width | value, width + item.width
    size = (width + 7) // 8
    return ALGORITHMS[algorithm][0]((total << 8 * size - width).to_bytes(size, "big"))


def test_calculations_equal_those_in_python(tmp_path: Path) -> None:
    context = state_program()
    draw = random.Random(7)
    states = [random_state(draw) for _ in range(24)]
    cases = [(algorithm, inputs) for algorithm in ALGORITHMS for inputs in INPUTS]
    writer = Writer()
    writer.line(runtime("hashes.h"))
    writer.line(c_states(context, states))
    for number, (algorithm, inputs) in enumerate(cases):
        with writer.block(f"static u64 case{number}(struct state *s)"):
            writer.line(f"return {Calculations(context, writer).of(algorithm, inputs).text};")
    with writer.block("int main(void)"), writer.block(f"for (int i = 0; i < {len(states)}; i++)"):
        for number in range(len(cases)):
            writer.line(f'printf("%llu\\n", case{number}(&states[i]));')
    results = [int(line) for line in run(writer.text(), tmp_path)]
    for state in states:
        for algorithm, inputs in cases:
            assert results.pop(0) == _expected(algorithm, inputs, state), (algorithm, inputs, state)


def test_bytes_one_by_one_and_in_words(tmp_path: Path) -> None:
    draw = random.Random(3)
    names = {"crc32": ("crc32_add", 0xFFFFFFFF, 8), "crc16": ("crc16_add", 0, 8), "crcCCITT": ("ccitt_add", 0xFFFF, 8)}
    names |= {"crc8_custom": ("crc8_add", 0, 8), "crc64_custom": ("crc64_add", 0, 4)}
    writer, expected = Writer(), []
    writer.line(runtime("hashes.h"))
    with writer.block("int main(void)"):
        for algorithm, (function, start, step) in names.items():
            for size in range(1, 20):
                data = draw.randbytes(size)
                expected.append(ALGORITHMS[algorithm][0](data))
                text = str(start)
                for place in range(0, size, step):
                    part = data[place : place + step]
                    text = f"{function}({text}, {int.from_bytes(part, 'big'):#x}ull, {len(part)})"
                inverted = "(u32)~" if algorithm == "crc32" else ""
                writer.line(f'printf("%llu\\n", (u64){inverted}{text});')
    assert [int(line) for line in run(writer.text(), tmp_path)] == expected


def test_payload_and_unknown_algorithms_are_refused() -> None:
    calculations = Calculations(state_program(), Writer())
    with pytest.raises(UnsupportedConstruct, match="payload"):
        calculations.of("csum16", (field_of("meta", 8), Payload()))
    with pytest.raises(UnsupportedConstruct, match="murmur"):
        calculations.of("murmur", (field_of("meta", 8),))


def test_headers_are_told_apart_in_few_cases_only() -> None:
    odd = tuple(field_of(header, 4) for header in HEADERS)
    assert len(HEADERS) > 4
    with pytest.raises(UnsupportedConstruct, match="headers"):
        Calculations(state_program(), Writer()).of("crc32", odd)
