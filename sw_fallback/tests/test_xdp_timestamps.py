"""Which programs see the time as of the kernel's last tick, and how far that is from the exact one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sw_fallback.tests.engine_pair import EnginePair
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.program_sketch import TIME, A, B, Sketch, X, is_, put, when

from softswitch import Switch
from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import exact_now
from softswitch.engine.xdp.timestamps import TICK_BITS, takes_ticks
from softswitch.errors import NOWHERE
from softswitch.program import Program
from softswitch.program.controls import MeterArray
from softswitch.program.expressions import Binary, BinaryOp, Constant, Expression
from softswitch.program.program import Calculation, DigestLayout
from softswitch.program.statements import EmitDigest, Hash

TICK_NS = 10_000_000
"""The longest that a kernel has."""
UNIT_NS = 1000 << TICK_BITS
UNIT_S = UNIT_NS / 1e9
PROGRAM = CompiledProgram("timestamps")


def above(bit: int) -> Expression:
    """The timestamp without the bits below this one."""
    return Binary(BinaryOp.SHIFT_RIGHT, TIME, Constant(bit))


def masked(expression: Expression, mask: int) -> Expression:
    return Binary(BinaryOp.AND, expression, Constant(mask))


def ticks(program: Program | Sketch, watched: Expression | None = None) -> bool:
    """Whether the program takes the time of the last tick, while somebody watches some packets if any."""
    program = program.program() if isinstance(program, Sketch) else program
    filters = None if watched is None else (watched,)
    return takes_ticks(Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cpus=2, filters=filters))


HIGH = Sketch().run(put(A, above(TICK_BITS))).program()
"""Reads nothing but units of 16.384 ms."""


class TestHighBits:
    def test_a_slice(self) -> None:
        assert ticks(HIGH)
        assert ticks(Sketch().run(put(A, masked(above(TICK_BITS + 3), 0xFF))))

    def test_a_slice_of_a_slice(self) -> None:
        assert ticks(Sketch().run(put(A, Binary(BinaryOp.SHIFT_RIGHT, above(10), Constant(TICK_BITS - 10)))))

    def test_low_bits_that_are_masked_away(self) -> None:
        assert ticks(Sketch().run(put(A, masked(TIME, 0xFF << TICK_BITS))))
        assert ticks(Sketch().run(put(A, masked(above(10), 0xFF << TICK_BITS - 10))))

    def test_inside_of_a_condition(self) -> None:
        assert ticks(Sketch().run(when(is_(above(TICK_BITS), Constant(7)), [put(A)])))


class TestLowBits:
    def test_a_slice(self) -> None:
        assert not ticks(Sketch().run(put(A, above(TICK_BITS - 1))))

    def test_a_mask(self) -> None:
        assert not ticks(Sketch().run(put(A, masked(TIME, 3 << TICK_BITS - 1))))

    def test_a_sum_whose_carry_reaches_high_bits(self) -> None:
        later = Binary(BinaryOp.ADD, TIME, Constant(5))
        assert not ticks(Sketch().run(put(A, Binary(BinaryOp.SHIFT_RIGHT, later, Constant(TICK_BITS)))))

    def test_a_distance_that_the_packet_chooses(self) -> None:
        assert not ticks(Sketch().run(put(A, Binary(BinaryOp.SHIFT_RIGHT, TIME, X))))

    def test_one_of_several_readers(self) -> None:
        assert not ticks(Sketch().run(put(A, above(TICK_BITS))).run(put(B, above(3))))


class TestTheWholeField:
    def test_assigned(self) -> None:
        assert not ticks(Sketch().run(put(A, TIME)))

    def test_compared(self) -> None:
        assert not ticks(Sketch().run(when(is_(TIME, Constant(1 << TICK_BITS)), [put(A)])))

    def test_a_table_key(self) -> None:
        assert not ticks(Sketch().choose([put(A)], key=(TIME,)))

    def test_in_a_digest(self) -> None:
        program = Sketch().run(EmitDigest(1, NOWHERE)).program()
        assert not ticks(replace(program, digests={1: DigestLayout(1, "digest", (TIME,), NOWHERE)}))

    def test_hashed(self) -> None:
        program = Sketch().run(Hash(A, Constant(0), "sum", Constant(16), NOWHERE)).program()
        assert not ticks(replace(program, calculations={"sum": Calculation("sum", "crc16", (TIME,), NOWHERE)}))

    def test_carried_along_by_a_copy(self) -> None:
        assert not ticks(replace(HIGH, field_lists={1: (TIME,)}))

    def test_what_a_trace_chooses_packets_by(self) -> None:
        assert ticks(HIGH, is_(X, Constant(1)))
        assert not ticks(HIGH, is_(TIME, Constant(1)))


def test_meters_have_the_exact_time() -> None:
    meter = MeterArray("meter", 1, None, False, None, NOWHERE)
    assert not ticks(replace(HIGH, meters={"meter": meter}))


REASON = why_not()
in_the_kernel = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")


def units_of(bits: int) -> Any:
    """`timestamps.p4` with a packet's first six bytes the time of its arrival in units of `2**bits` microseconds."""
    config = json.loads(PROGRAM.json_path.read_text())
    time: dict[str, Any] = {"type": "field", "value": ["standard_metadata", "ingress_global_timestamp"]}
    shifted = {"op": ">>", "left": time, "right": {"type": "hexstr", "value": hex(bits)}}
    for action in config["actions"]:
        kept = []
        for primitive in action["primitives"]:
            source = primitive["parameters"][-1]
            if source == time:
                primitive["parameters"][-1] = {"type": "expression", "value": {"type": "expression", "value": shifted}}
            if source.get("value") != ["standard_metadata", "egress_global_timestamp"]:
                kept.append(primitive)
        action["primitives"] = kept
    return config


def told(left: list[tuple[int, bytes]]) -> int:
    ((_, frame),) = left
    return int.from_bytes(frame[:6], "big")


@contextmanager
def engines(bits: int) -> Iterator[EnginePair]:
    pair = EnginePair(PROGRAM.p4info_path, units_of(bits))
    yield pair
    pair.close()


@in_the_kernel
@pytest.mark.parametrize(("bits", "late_ns"), [(TICK_BITS, TICK_NS), (TICK_BITS - 1, 0)])
def test_the_time_is_late_by_a_tick_at_most(bits: int, late_ns: int) -> None:
    with engines(bits) as pair:
        for _ in range(2000):
            before = exact_now()
            pair.kernel.process(1, bytes(20))
            moment, after = pair.kernel.moment(before - late_ns), exact_now()
            assert moment is not None
            assert moment <= after


@in_the_kernel
def test_both_engines_count_the_same_units() -> None:
    with engines(TICK_BITS) as pair:
        assert len({told(pair.process(1, bytes(20))) for _ in range(2000)}) > 1
        pair.skip(3600)
        assert 3600 <= told(pair.process(1, bytes(20))) * UNIT_S < 3900


@in_the_kernel
def test_time_begins_with_the_program_and_goes_on_in_user_space() -> None:
    """The first packet may come within a tick of the start, and a packet-out's pass knows no other time."""
    switch = Switch.load(PROGRAM.p4info_path, units_of(TICK_BITS), kernel=XdpEngine)
    kernel = switch.kernel
    assert isinstance(kernel, XdpEngine)
    seen = [told(kernel.process(1, bytes(20))) for _ in range(100)]
    assert seen == sorted(seen)
    assert seen[-1] * UNIT_S < 60
    assert kernel.started is not None
    for _ in range(1000):
        before = (kernel.packet_clock() - kernel.started) // UNIT_NS
        between = told(kernel.process(1, bytes(20)))
        assert before <= between <= (kernel.packet_clock() - kernel.started) // UNIT_NS
    switch.close()
