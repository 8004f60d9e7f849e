"""Prefixes cut all keys into intervals: each key's interval has the number of its longest prefix."""

from __future__ import annotations

import bisect
import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sw_fallback.tests.xdp_memory_program import TableProgram, make_table

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.indexes import PrefixKey, Span
from softswitch.engine.xdp.memory import PrefixMirror
from softswitch.engine.xdp.memory.intervals import intervals_of
from softswitch.engine.xdp.sizes import PREFIX_ENTRIES, interval_places
from softswitch.program.controls import MatchKind

EXACT, LPM = MatchKind.EXACT, MatchKind.LPM
REASON = why_not()
needs_kernel = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

WIDTH = 128
FULL = (1 << WIDTH) - 1
Prefixes = dict[tuple[int, int], int]
"""Numbers by (length, value)."""


def _masked(value: int, length: int) -> tuple[int, int]:
    return length, value >> WIDTH - length << WIDTH - length


def _longest(prefixes: Prefixes, key: int) -> int:
    found = [length for length, value in prefixes if _masked(key, length)[1] == value]
    return prefixes[_masked(key, max(found))] if found else 0


def _spans(prefixes: Prefixes) -> list[tuple[Span, int]]:
    return [(Span(value, value | FULL >> length), number) for (length, value), number in prefixes.items()]


def _near(prefixes: Prefixes) -> list[int]:
    """The ends of all prefixes and the keys beside them."""
    ends = {end for span, _ in _spans(prefixes) for end in span} | {0, FULL}
    return [key for end in ends for key in (end - 1, end, end + 1) if 0 <= key <= FULL]


_VALUES = st.integers(0, FULL) | st.sampled_from([0, FULL, 1 << 127, 0xFFFF << 32, 0xFFFF0A000000, 0xFFFF0A0000FF])
_PREFIXES = st.dictionaries(
    st.builds(_masked, _VALUES, st.integers(0, WIDTH) | st.sampled_from([0, 1, 96, 104, 127, 128])),
    st.integers(1, 5),
    max_size=40,
)


@settings(deadline=None)
@given(prefixes=_PREFIXES, others=st.lists(_VALUES))
@example(prefixes={(0, 0): 1}, others=[])
@example(prefixes={(128, 0): 1, (128, FULL): 2}, others=[])
@example(prefixes={(1, 0): 1, (1, 1 << 127): 2}, others=[])
@example(prefixes={(0, 0): 1, (1, 1 << 127): 2, (128, FULL): 3}, others=[])
def test_each_interval_has_the_longest_prefix_of_its_keys(prefixes: Prefixes, others: list[int]) -> None:
    found = intervals_of(_spans(prefixes), FULL + 1)
    bounds = [low for low, _ in found]
    assert bounds[0] == 0
    assert bounds == sorted(set(bounds))
    assert len(found) <= 2 * len(prefixes) + 1
    assert all(one != other for (_, one), (_, other) in itertools.pairwise(found)), "neighbours are one"
    for key in (*_near(prefixes), *others):
        assert found[bisect.bisect_right(bounds, key) - 1][1] == _longest(prefixes, key)


@pytest.mark.parametrize("entries", [1, 2, 3, 64, 255, PREFIX_ENTRIES])
def test_there_are_places_for_as_many_intervals_as_there_may_be(entries: int) -> None:
    apart: Prefixes = {(128, 2 * index + 1): index + 1 for index in range(entries)}
    found = intervals_of(_spans(apart), FULL + 1)
    assert len(found) == 2 * entries + 1 <= interval_places(entries)


def test_exact_fields_stand_above_the_prefix() -> None:
    key = PrefixKey(make_table(LPM, [(EXACT, 16), (LPM, 32), (EXACT, 9)], 4))
    assert key.words == 2
    low, high = key.span(8, (0x1234, 0x0A000000, 0x1FF))
    assert (low >> 64, high >> 64) == (0x1FF << 48 | 0x1234,) * 2
    assert (low & FULL >> 64, high & FULL >> 64) == (0x0A000000 << 32, 0x0AFFFFFF << 32 | 0xFFFFFFFF)


def _random_prefixes(rng: random.Random, count: int) -> Prefixes:
    """Many of them nested or adjacent."""
    found: Prefixes = {(0, 0): 1, (128, 0): 2, (128, FULL): 3}
    while len(found) < count:
        length = rng.randint(1, WIDTH)
        value = rng.choice([0xFFFF << 32 | rng.getrandbits(32), rng.getrandbits(WIDTH), rng.choice(list(found))[1] ^ 1])
        found.setdefault(_masked(value, length), len(found) + 1)
    return dict(list(found.items())[:count])


@needs_kernel
@pytest.mark.parametrize("count", [1, 2, 3, 6, 63, 64, 255, 256, 257, 300])
def test_a_program_finds_the_longest_prefix_at_every_end(count: int) -> None:
    """256 are in intervals, 257 in the trie."""
    prefixes = _random_prefixes(random.Random(count), count)
    with TableProgram(make_table(LPM, [(LPM, WIDTH)], 300)) as program:
        mirror = PrefixMirror(program.shared, program.table)
        for raw, number in prefixes.items():
            mirror.put(program.row(raw, number))
        mirror.flush()
        for key in _near(prefixes):
            assert program.look_up((key,)) == (_longest(prefixes, key) or None), hex(key)
        mirror.close()


@needs_kernel
def test_a_key_of_more_words_than_the_trie_takes() -> None:
    fields = [(EXACT, 128)] * 4 + [(LPM, 128)]
    with TableProgram(make_table(LPM, fields, 8)) as program:
        mirror = PrefixMirror(program.shared, program.table)
        mirror.put(program.row((8, (1, 2, 3, FULL, 0x0A << 120)), 7))
        mirror.flush()
        assert program.look_up((1, 2, 3, FULL, 0x0A << 120 | 5)) == 7
        assert program.look_up((1, 2, 3, FULL, 0x0B << 120)) is None
        assert program.look_up((1, 2, 3, FULL - 1, 0x0A << 120)) is None
        mirror.close()
