"""Frames taken apart and put together again in the kernel, against the python engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from sw_fallback.tests.engine_pair import EnginePair
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.program_sketch import A, Sketch, Y, put

from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.kernel import Object
from softswitch.engine.xdp.source import generate
from softswitch.errors import NOWHERE, UnsupportedConstruct
from softswitch.program.expressions import HeaderRef
from softswitch.program.parsers import Extract, Parser, ParseState
from softswitch.program.statements import AssignHeader, SetInvalid, SetValid

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

ORDER_BYTES = 62
LAYOUTS = (*range(8), 0x17)
CHANGES = 12
"""Bits of `change` that mean something."""


@pytest.fixture(scope="module")
def pair() -> Iterator[EnginePair]:
    program = CompiledProgram("frames")
    pair = EnginePair(program.p4info_path, program.json_path)
    yield pair
    pair.close()


def order(change: int, layout: int, gap: int, random: Random) -> bytes:
    """The first header of a frame."""
    return change.to_bytes(2, "big") + bytes([layout, gap]) + random.randbytes(ORDER_BYTES - 4)


def part(name: int, number: int, random: Random) -> bytes:
    return bytes([name]) + random.randbytes(3) + number.to_bytes(2, "big")


def big(name: int, number: int, random: Random) -> bytes:
    return bytes([name]) + random.randbytes(20) + number.to_bytes(2, "big")


def frame(change: int, layout: int, random: Random) -> bytes:
    """A frame that the parser finds something in."""
    pick = random.choice
    parts = b"".join(
        pick(
            (
                part(pick((0, 1, 2, 0x85, 0xC0)), pick((0, 0x4D4D, 0x0100)), random),
                big(pick((0, 1, 2)), pick((0, 0x0100, 0x0300)), random),
            )
        )
        for _ in range(3)
    )
    first = {1: part(pick((0, 1, 2, 0x80)), 3, random), 2: big(pick((1, 2)), 0x0100, random)}.get(layout, b"")
    return order(change, layout, pick((0, 1, 2, 3, 6, 7, 12, 250)), random) + first + parts + random.randbytes(9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", range(CHANGES))
def test_one_change_in_every_layout(pair: EnginePair, layout: int, change: int) -> None:
    random = Random(layout * CHANGES + change)
    for _ in range(5):
        assert pair.process(1, frame(1 << change, layout, random))


def test_many_changes_at_once(pair: EnginePair) -> None:
    random = Random(1)
    for _ in range(2000):
        pair.process(1, frame(random.getrandbits(CHANGES), random.choice(LAYOUTS), random))


def test_frames_that_end_early(pair: EnginePair) -> None:
    random = Random(2)
    for layout in LAYOUTS:
        for change in (0, 1, 1 << 2, 1 << 3, 1 << 7, 0b1101, 1 << 11):
            whole = frame(change, layout, random)
            for size in range(14, len(whole)):
                pair.process(1, whole[:size])


def test_a_failed_verification_is_told(pair: EnginePair) -> None:
    random = Random(3)
    good = order(0, 7, 0, random) + part(1, 0x4D4D, random) + part(2, 5, random) + part(3, 5, random)
    bad = order(0, 7, 0, random) + part(1, 0x4D4E, random) + part(2, 5, random) + part(3, 5, random)
    assert pair.process(1, good) == [(2, good)]
    assert pair.process(1, bad) == [(3, bad)]


def test_what_is_not_emitted_is_gone(pair: EnginePair) -> None:
    random = Random(4)
    kept, skipped, right = order(0, 3, 0, random), part(0, 1, random), part(2, 0, random)
    assert pair.process(1, kept + skipped + right + b"payload") == [(2, kept + right + b"payload")]


def test_a_frame_that_would_be_too_short_is_counted(pair: EnginePair) -> None:
    """A frame has at least 14 bytes."""
    random = Random(5)
    before = pair.kernel.statistics()["no_room"]
    short = order(1 << 11, 0, 0, random) + bytes(4)  # nothing but the payload of 4 bytes would leave
    assert pair.xdp.process(1, short) == []
    assert pair.kernel.statistics()["no_room"] == before + 1


def test_what_was_counted(pair: EnginePair) -> None:
    random = Random(6)
    before = pair.kernel.statistics()
    pair.process(1, order(0, 0, 0, random) + b"xy")
    pair.process(1, order(0, 0, 0, random)[:20])
    after = {name: value - before[name] for name, value in pair.kernel.statistics().items()}
    assert {name: value for name, value in after.items() if value} == {
        "packets_in": 2,
        "packets_out": 1,
        "parser_errors": 1,
        "drops": 1,
    }


H, OTHER = HeaderRef("h"), HeaderRef("other")
SMALL = {
    "no header": Sketch(parser=()).run(put(A)),
    "a header that is only read": Sketch().run(put(A, Y)),
    "a header that is only added": Sketch(parser=()).run(SetValid(H, NOWHERE)),
    "all changes": Sketch().run(SetValid(H, NOWHERE), SetInvalid(OTHER, NOWHERE), AssignHeader(OTHER, H, NOWHERE)),
}


@pytest.mark.parametrize("sketch", SMALL.values(), ids=SMALL)
def test_what_is_not_needed_is_not_there(sketch: Sketch) -> None:
    """Warnings are errors: nothing is declared that is not used."""
    program = sketch.program()
    source = generate(Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cpus=2))
    Object.load(compile_object(source.text), name="kx_small").close()


def test_a_loop_is_refused() -> None:
    state = ParseState("start", (Extract("h", NOWHERE),), (), (), "start", NOWHERE)
    program = replace(Sketch().run(put(A)).program(), parser=Parser("parser", "start", {"start": state}))
    context = Context(program, ActionNumbers(program), drop_port=511, cpu_port=None, cpus=2)
    with pytest.raises(UnsupportedConstruct, match="parser loop"):
        generate(context)
