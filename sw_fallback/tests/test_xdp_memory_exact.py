"""Exact tables in shared memory: against a dictionary, under collisions, full, and while programs read."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sw_fallback.tests.xdp_memory_program import ACTION, FRAME, WATCH, TableProgram, make_table, watched

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.kernel import run
from softswitch.engine.xdp.memory import ExactMirror
from softswitch.engine.xdp.memory.keys import key_function
from softswitch.errors import TableFull
from softswitch.program.controls import MatchKind
from softswitch.rows import NO_ACTION, Call, Row

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

EXACT = MatchKind.EXACT
TABLES = {
    "one field": make_table(EXACT, [(EXACT, 32)], 40),
    "connection": make_table(EXACT, [(EXACT, 128), (EXACT, 128), (EXACT, 16), (EXACT, 16), (EXACT, 8)], 40, hit=True),
    "odd": make_table(EXACT, [(EXACT, 1), (EXACT, 72), (EXACT, 48), (EXACT, 48), (EXACT, 9)], 3, counters=True),
}
SLOTS = 7
BUCKETS_IN_REACH = 32


class Pair:
    """A table in shared memory and a dictionary with the same rows."""

    def __init__(self, program: TableProgram) -> None:
        self.program = program
        self.mirror = ExactMirror(program.shared)
        self.rows: dict[tuple[int, ...], Row] = {}
        self.hash = key_function(program.key, program.hash_keys)
        self._made = 0

    def raw(self, key: tuple[int, ...]) -> Any:
        return key if len(key) > 1 else key[0]

    def put(self, key: tuple[int, ...]) -> None:
        self._made += 1
        row = self.program.row(self.raw(key), self._made)
        self.mirror.put(row)
        self.rows[key] = row

    def replace(self, key: tuple[int, ...]) -> None:
        self._made += 1
        self.rows[key].params = self.program.row(0, self._made).params
        self.mirror.replace(self.rows[key])

    def remove(self, key: tuple[int, ...]) -> None:
        self.mirror.remove(self.rows.pop(key))

    def check(self, key: tuple[int, ...]) -> None:
        row = self.rows.get(key)
        assert self.program.look_up(key) == (None if row is None else row.params[0])

    def clear(self) -> None:
        for key in list(self.rows):
            self.remove(key)
        assert len(self.mirror) == 0
        assert not any(self.program.object.maps["t_buckets"].memory()), "something was left in a bucket"


@pytest.fixture(params=TABLES, scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with TableProgram(TABLES[request.param]) as program:
        yield Pair(program)


@pytest.fixture
def small() -> Iterator[Pair]:
    """A table of 256 entries in 64 buckets."""
    with TableProgram(make_table(EXACT, [(EXACT, 32)], 256), further=WATCH) as program:
        yield Pair(program)


@st.composite
def _keys(draw: st.DrawFn, pair: Pair) -> tuple[int, ...]:
    """Keys of which many differ in little."""
    values = []
    for field in pair.program.table.key:
        full = (1 << field.target.width) - 1
        values.append(draw(st.sampled_from([0, 0, 0, 1, full, full >> 1, full ^ full >> 1]) | st.integers(0, full)))
    return tuple(values)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_program_finds_what_a_dictionary_has(pair: Pair, data: st.DataObject) -> None:
    size = pair.program.table.size
    try:
        for _ in range(data.draw(st.integers(1, 40))):
            known = list(pair.rows)
            match data.draw(st.sampled_from(["put", "put", "replace", "remove"])):
                case "replace" if known:
                    pair.replace(data.draw(st.sampled_from(known)))
                case "remove" if known:
                    pair.remove(data.draw(st.sampled_from(known)))
                case _:
                    key = data.draw(_keys(pair))
                    if key not in pair.rows and len(pair.rows) < size:
                        pair.put(key)
            assert len(pair.mirror) == len(pair.rows)
            pair.check(data.draw(_keys(pair)))
        for key in pair.rows:
            pair.check(key)
    finally:
        pair.clear()


def _keys_of_bucket(pair: Pair, bucket: int, count: int) -> list[tuple[int, ...]]:
    """Keys that all hash to one bucket: only who knows the hash keys can find them."""
    last = pair.program.object.maps["t_buckets"].max_entries - 1
    found = []
    for value in range(1 << 20):
        if pair.hash(value)[0] >> 32 & last == bucket:
            found.append((value,))
            if len(found) == count:
                return found
    raise AssertionError("too few keys")


def test_keys_of_one_bucket_overflow_into_the_next_ones_and_no_further(small: Pair) -> None:
    last = small.program.object.maps["t_buckets"].max_entries - 1
    full = SLOTS * BUCKETS_IN_REACH
    keys = _keys_of_bucket(small, last - 2, full + 2)  # and around the end
    for key in keys[:full]:
        small.put(key)
    for key in keys:
        small.check(key)
    with pytest.raises(TableFull, match="full buckets"):
        small.put(keys[full])
    assert len(small.mirror) == full
    small.remove(keys[3])
    small.put(keys[full])
    for key in keys:
        small.check(key)
    small.replace(keys[full - 1])
    small.check(keys[full - 1])
    random.Random(1).shuffle(keys)
    for key in keys:
        if key in small.rows:
            small.remove(key)
        small.check(key)
    small.clear()


def test_keys_with_the_same_tag_in_one_bucket_are_told_apart(small: Pair) -> None:
    tag = (small.program.object.maps["t_rows"].max_entries - 1).bit_length()
    seen: dict[tuple[int, int], list[int]] = defaultdict(list)
    for value in range(200_000):
        hashed = small.hash(value)[0]
        seen[hashed >> 32 & 63, hashed >> tag & (1 << 31 - tag) - 1].append(value)
    twins = [values for values in seen.values() if len(values) > 1][:10]
    assert twins, "200 000 keys over 2**26 tags: some are equal"
    for one, other in (values[:2] for values in twins):
        small.put((one,))
        small.check((other,))
        small.put((other,))
        small.check((one,))
        small.remove((one,))
        small.check((one,))
        small.check((other,))
    small.clear()


def test_words_that_differ_only_in_their_highest_bits_do_not_collide() -> None:
    """An attacker who varies the top bits of two words: sums of products with whole words would repeat."""
    with TableProgram(make_table(EXACT, [(EXACT, 64), (EXACT, 64)], 4)) as program:
        function = key_function(program.key, program.hash_keys)
        hashes = {function((high << 56, other << 56))[0] >> 40 for high in range(64) for other in range(64)}
        assert len(hashes) > 4000


@pytest.mark.parametrize("name", ["odd"])
def test_a_full_table_takes_modifications_and_goes_on_after_a_grace_period(name: str) -> None:
    with TableProgram(TABLES[name]) as program:
        pair = Pair(program)
        keys = [(1, value, 2, 3, 4) for value in range(program.table.size)]
        for key in keys:
            pair.put(key)
        ended = program.shared.grace.ended
        for turn in range(5000):
            pair.replace(keys[turn % len(keys)])
        assert program.shared.grace.ended > ended
        for key in keys:
            pair.check(key)
        for turn in range(2000):
            pair.remove(keys[turn % len(keys)])
            pair.put(keys[turn % len(keys)])
        for key in keys:
            pair.check(key)


def test_rows_run_out() -> None:
    with TableProgram(make_table(EXACT, [(EXACT, 32)], 1)) as program:
        mirror = ExactMirror(program.shared)

        def fill() -> None:
            for value in range(10_000):
                mirror.put(program.row(value, value))

        with pytest.raises(TableFull):
            fill()
        count = len(mirror)
        assert count >= 1
        assert program.look_up((count - 1,)) == count - 1
        assert program.look_up((count,)) is None


def test_counts_of_replaced_and_cleared_rows() -> None:
    with TableProgram(TABLES["odd"]) as program:
        pair, key = Pair(program), (1, 2, 3, 4, 5)
        pair.put(key)
        row = pair.rows[key]
        for _ in range(5):
            pair.check(key)
        assert pair.mirror.counter(row) == (5, 500)
        pair.replace(key)
        assert (row.packets, row.octets, pair.mirror.counter(row)) == (5, 500, (0, 0))
        pair.check(key)
        pair.mirror.clear_counter(row)
        assert pair.mirror.counter(row) == (0, 0)
        pair.check(key)
        assert pair.mirror.counter(row) == (1, 100)
        pair.replace(key)
        assert (row.packets, row.octets) == (6, 600)


def test_last_hit() -> None:
    with TableProgram(TABLES["connection"]) as program:
        pair, key = Pair(program), (1, 2, 3, 4, 5)
        pair.put(key)
        assert pair.mirror.last_hit(pair.rows[key]) == 0
        pair.check(key)
        pair.check(key)
        assert pair.mirror.last_hit(pair.rows[key]) == 2


def test_the_default_action_changes_and_goes() -> None:
    further = """
SEC("xdp") int miss(struct xdp_md *ctx)
{
	struct t_row *row = default_row(&t_rows);

	return row ? row->serve.value : 0;
}
"""
    with TableProgram(TABLES["one field"], further=further) as program:
        mirror, miss = ExactMirror(program.shared), program.object.programs["miss"]
        assert run(miss, FRAME).retval == 0
        for value in (*range(1, 3000), 7):
            mirror.set_default(Call(ACTION, (value, 0, 0)))
            assert run(miss, FRAME).retval == value
        mirror.set_default(Call(NO_ACTION))
        assert run(miss, FRAME).retval == 0


def test_a_reader_never_misses_a_key_that_is_there_nor_sees_half_a_row(small: Pair) -> None:
    """Its bucket is full, it has overflowed, and everything around it comes and goes."""
    keys = _keys_of_bucket(small, 5, 30)
    for key in keys[:16]:
        small.put(key)
    constant = keys[15]
    small.program.set_key(constant)
    others = keys[:15]

    def change(turn: int) -> None:
        small.replace(constant)
        key = others[turn % len(others)]
        if key in small.rows:
            small.remove(key)
        else:
            small.put(key)

    runs, misses, torn, calls = watched(small.program, change, 1.5)
    assert runs > 100_000
    assert calls > 1000
    assert (misses, torn) == (0, 0)
    small.clear()


@pytest.mark.soak
def test_a_large_table_to_the_last_entry() -> None:
    """A million entries in `make soak`, an eighth of it in `make test`."""
    fields = [(EXACT, 128), (EXACT, 128), (EXACT, 16), (EXACT, 16), (EXACT, 8)]
    size = 1 << (20 if "SOAK_SECONDS" in os.environ else 17)
    with TableProgram(make_table(EXACT, fields, size, hit=True, counters=True)) as program:
        mirror, rng = ExactMirror(program.shared), random.Random(5)
        keys = [(rng.getrandbits(32), number, 80, rng.getrandbits(16), 6) for number in range(size)]
        rows = [program.row(key, number) for number, key in enumerate(keys)]
        started = time.process_time()
        for row in rows:
            mirror.put(row)
        seconds = time.process_time() - started
        assert len(mirror) == size
        for number in rng.sample(range(size), 2000):
            assert program.look_up(keys[number]) == number
            assert program.look_up((*keys[number][:4], 17)) is None
        maps = program.object.maps
        memory = sum(maps[name].stride * maps[name].max_entries for name in ("t_rows", "t_buckets"))
        print(f"{size / seconds:,.0f} inserts/s, {memory / size:.0f} bytes for each entry of {program.layout.size}")
        assert size / seconds > 100_000
        started = time.process_time()
        for row in rows:
            mirror.remove(row)
        print(f"{size / (time.process_time() - started):,.0f} removals/s")
        assert not any(maps["t_buckets"].memory().cast("Q"))


def test_a_lookup_takes_nanoseconds() -> None:
    with TableProgram(TABLES["connection"]) as program:
        pair, key = Pair(program), (1, 2, 3, 4, 5)
        miss = program.nanoseconds(key)
        pair.put(key)
        hit = program.nanoseconds(key)
        print(f"hit {hit} ns, miss {miss} ns")
        assert max(hit, miss) < 40
