"""Ternary, range and longest-prefix tables in shared memory: what a program finds is what the python engine finds."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sw_fallback.tests.xdp_memory_program import NOWHERE, WATCH, TableProgram, make_table, watched

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.libbpf import collected_log
from softswitch.engine.xdp.memory import PrefixMirror, RowMirror, vector_mirror
from softswitch.errors import TableFull, UnsupportedConstruct
from softswitch.lookup import LpmIndex, RangeIndex, TernaryIndex
from softswitch.program.controls import MatchKind
from softswitch.rows import Row

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

EXACT, LPM, TERNARY, RANGE = MatchKind.EXACT, MatchKind.LPM, MatchKind.TERNARY, MatchKind.RANGE
Values = tuple[int, ...]


class Pair:
    """A table in shared memory, and the python engine's index with the same rows."""

    def __init__(self, program: TableProgram) -> None:
        self.program = program
        self.key = program.table.key
        self.kind = program.table.kind
        self.mirror: RowMirror
        self.index: Any
        if self.kind is LPM:
            self.mirror = PrefixMirror(program.shared, program.table)
            self.position = next(index for index, field in enumerate(self.key) if field.kind is LPM)
            self.index = LpmIndex(self.key[self.position].target.width)
        else:
            self.mirror = vector_mirror(program.shared, program.table)
            self.index = RangeIndex() if self.kind is RANGE else TernaryIndex()
        self.values: dict[Row, int] = {}
        self._made = 0

    def put(self, raw: Any, priority: int) -> None:
        if raw in self.index.rows:
            return
        self._made += 1
        row = self.program.row(raw, self._made, priority)
        self.mirror.put(row)
        self.index.add(raw, row)
        self.values[row] = self._made

    def replace(self, row: Row) -> None:
        self._made += 1
        row.params = self.program.row(row.raw, self._made).params
        self.mirror.replace(row)
        self.values[row] = self._made

    def remove(self, row: Row) -> None:
        self.mirror.remove(row)
        self.index.remove(row.raw, row)
        del self.values[row]

    def wanted(self, values: Values) -> int | None:
        row = self._find(values)
        return None if row is None else self.values[row]

    def _find(self, values: Values) -> Row | None:
        """As translated code looks it up (`softswitch.engine.python.controls`)."""
        if self.kind is LPM:
            for mask, find in self.index.levels:
                masked = tuple(v & mask if i == self.position else v for i, v in enumerate(values))
                if (row := find(masked if len(masked) > 1 else masked[0])) is not None:
                    return row
            return None
        if self.kind is TERNARY:
            row, best = None, 0
            for top, find, *masks in self.index.groups:
                if top <= best:
                    break
                found = find(tuple(value & mask for value, mask in zip(values, masks, strict=True)))
                if found is not None and found.priority > best:
                    row, best = found, found.priority
            return row
        for row, *ends in self.index.ranked:
            pairs = zip(self.key, values, ends[::2], ends[1::2], strict=True)
            if all(a <= v <= b if field.kind is RANGE else v & b == a for field, v, a, b in pairs):
                return row
        return None

    def check(self, values: Values) -> None:
        assert self.program.look_up(values) == self.wanted(values), values

    def clear(self) -> None:
        for row in list(self.values):
            self.remove(row)
        self.mirror.flush()
        assert len(self.mirror) == 0


TABLES = {
    "ternary": make_table(TERNARY, [(TERNARY, 32), (EXACT, 16), (TERNARY, 9), (TERNARY, 1), (TERNARY, 128)], 200),
    "range": make_table(RANGE, [(RANGE, 16), (LPM, 32), (RANGE, 9), (EXACT, 8), (RANGE, 64), (TERNARY, 5)], 130),
    "only ranges": make_table(RANGE, [(RANGE, 16), (RANGE, 3)], 64),
    "prefix": make_table(LPM, [(LPM, 128)], 64),
    "prefix and more": make_table(LPM, [(EXACT, 16), (LPM, 32), (EXACT, 9)], 300),
    "odd prefix": make_table(LPM, [(EXACT, 4), (LPM, 72), (EXACT, 128)], 300),
}


@pytest.fixture(params=TABLES, scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with TableProgram(TABLES[request.param]) as program:
        yield Pair(program)


def _value(draw: st.DrawFn, width: int) -> int:
    """Few values that often meet, and any."""
    full = (1 << width) - 1
    few = [0, 1, 2, 3, 255, 256, 257, 0x1234, full, full >> 1, full ^ 1, 0xC0A80001 << max(0, width - 32)]
    return draw(st.sampled_from([value & full for value in few]) | st.integers(0, full))


def _part(draw: st.DrawFn, kind: MatchKind, width: int) -> tuple[int, int]:
    full, value = (1 << width) - 1, _value(draw, width)
    match kind:
        case MatchKind.EXACT:
            return value, full
        case MatchKind.LPM:
            mask = full ^ full >> draw(st.integers(0, width))
        case MatchKind.TERNARY:
            mask = draw(st.sampled_from([0, full, full, full >> 1, full ^ 0xF & full]) | st.integers(0, full))
        case MatchKind.RANGE:
            low, high = sorted((value, _value(draw, width)))
            return draw(st.sampled_from([(low, high), (low, high), (0, full), (value, value)]))
    return value & mask, mask


@st.composite
def _raws(draw: st.DrawFn, pair: Pair) -> tuple[Any, int]:
    """A raw key and its priority."""
    parts = [_part(draw, field.kind, field.target.width) for field in pair.key]
    values = tuple(value for value, _ in parts)
    priority = draw(st.integers(1, 6))
    if pair.kind is RANGE:
        return (tuple(end for part in parts for end in part), priority), priority
    if pair.kind is TERNARY:
        return (tuple(mask for _, mask in parts), values, priority), priority
    return (parts[pair.position][1].bit_count(), values if len(values) > 1 else values[0]), 0


@st.composite
def _keys(draw: st.DrawFn, pair: Pair) -> Values:
    """A key: mostly one that fits some row."""
    near = None
    if pair.values and draw(st.integers(0, 4)):
        near = draw(st.sampled_from(list(pair.values))).raw
    values = []
    for index, field in enumerate(pair.key):
        any_value = _value(draw, field.target.width)
        if near is None:
            values.append(any_value)
        elif pair.kind is RANGE:
            first, second = near[0][2 * index], near[0][2 * index + 1]
            if field.kind is RANGE:
                full = (1 << field.target.width) - 1
                values.append(draw(st.sampled_from([first, second, max(0, first - 1), min(full, second + 1)])))
            else:
                values.append(first | any_value & ~second)
        elif pair.kind is TERNARY:
            values.append(near[1][index] | any_value & ~near[0][index])
        else:
            value = near[1][index] if len(pair.key) > 1 else near[1]
            free = (1 << field.target.width - near[0]) - 1 if index == pair.position else 0
            values.append(value | any_value & free)
    return tuple(values)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_program_finds_what_the_python_engine_finds(pair: Pair, data: st.DataObject) -> None:
    try:
        for _ in range(data.draw(st.integers(1, 3))):
            for _ in range(data.draw(st.integers(1, 12))):
                rows = list(pair.values)
                match data.draw(st.sampled_from(["put", "put", "put", "replace", "remove"])):
                    case "replace" if rows:
                        pair.replace(data.draw(st.sampled_from(rows)))
                    case "remove" if rows:
                        pair.remove(data.draw(st.sampled_from(rows)))
                    case _:
                        pair.put(*data.draw(_raws(pair)))
            pair.mirror.flush()
            assert len(pair.mirror) == len(pair.values)
            for _ in range(8):
                pair.check(data.draw(_keys(pair)))
    finally:
        pair.clear()


def _random_raw(pair: Pair, rng: random.Random, number: int) -> tuple[Any, int]:
    parts = []
    for field in pair.key:
        width = field.target.width
        full = (1 << width) - 1
        value, other = rng.getrandbits(width), rng.getrandbits(width)
        match field.kind:
            case MatchKind.EXACT:
                parts.append((value, full))
            case MatchKind.RANGE:
                parts.append((min(value, other), max(value, other)))
            case MatchKind.TERNARY:
                mask = rng.choice([0, full, other])
                parts.append((value & mask, mask))
            case MatchKind.LPM:
                mask = full ^ full >> rng.randint(0, width)
                parts.append((value & mask, mask))
    values, priority = tuple(value for value, _ in parts), rng.randint(1, 1 + number // 3)
    if pair.kind is RANGE:
        return (tuple(end for part in parts for end in part), priority), priority
    if pair.kind is TERNARY:
        return (tuple(mask for _, mask in parts), values, priority), priority
    return (parts[pair.position][1].bit_count(), values if len(values) > 1 else values[0]), 0


def _near(pair: Pair, row: Row, rng: random.Random) -> Values:
    """A key that fits the row."""
    values = []
    for index, field in enumerate(pair.key):
        noise = rng.getrandbits(field.target.width)
        if pair.kind is RANGE:
            first, second = row.raw[0][2 * index], row.raw[0][2 * index + 1]
            values.append(rng.randint(first, second) if field.kind is RANGE else first | noise & ~second)
        elif pair.kind is TERNARY:
            values.append(row.raw[1][index] | noise & ~row.raw[0][index])
        else:
            value = row.raw[1][index] if len(pair.key) > 1 else row.raw[1]
            free = (1 << field.target.width - row.raw[0]) - 1 if index == pair.position else 0
            values.append(value | noise & free)
    return tuple(values)


def test_a_full_table_and_back(pair: Pair) -> None:
    """All entries that fit, one write beyond, then half of them away: prefixes go from intervals to trie and back."""
    rng = random.Random(7)
    size = pair.program.table.size
    try:
        while len(pair.values) < size:
            pair.put(*_random_raw(pair, rng, size))
        pair.mirror.flush()
        for row in rng.sample(list(pair.values), 50):
            pair.check(_near(pair, row, rng))
        for row in rng.sample(list(pair.values), size // 2):
            pair.replace(row)
        pair.mirror.flush()
        for row in rng.sample(list(pair.values), 50):
            pair.check(_near(pair, row, rng))
        gone = rng.sample(list(pair.values), size * 2 // 3)
        keys = [_near(pair, row, rng) for row in gone]
        for row in gone:
            pair.remove(row)
        pair.mirror.flush()
        for key in keys:
            pair.check(key)
    finally:
        pair.clear()


def test_a_modification_is_effective_without_a_flush_of_the_whole_and_counts_stay() -> None:
    table = make_table(TERNARY, [(TERNARY, 32)], 16, counters=True, hit=True)
    with TableProgram(table) as program:
        pair = Pair(program)
        pair.put(((0xFF,), (1,), 5), 5)
        pair.mirror.flush()
        row = next(iter(pair.values))
        assert [program.look_up((0x101,)) for _ in range(3)] == [1, 1, 1]
        assert pair.mirror.counter(row) == (3, 300)
        assert pair.mirror.last_hit(row) == 3
        pair.replace(row)
        assert program.look_up((0x101,)) == 2
        assert (row.packets, row.octets, *pair.mirror.counter(row)) == (0, 0, 4, 400)
        pair.mirror.flush()
        assert (row.packets, row.octets, *pair.mirror.counter(row)) == (3, 300, 1, 100)


def test_a_counter_that_is_cleared_between_a_modification_and_the_flush() -> None:
    table = make_table(LPM, [(LPM, 32)], 300, counters=True)
    with TableProgram(table) as program:
        pair = Pair(program)
        pair.put((8, 0x0A000000), 0)
        pair.mirror.flush()
        row = next(iter(pair.values))
        pair.check((0x0A010203,))
        pair.replace(row)
        assert program.look_up((0x0A010203,)) == 1, "not yet"
        assert pair.mirror.counter(row) == (2, 200)
        pair.mirror.clear_counter(row)
        assert program.look_up((0x0A010203,)) == 1
        pair.mirror.flush()
        pair.check((0x0A010203,))
        assert (row.packets, row.octets, *pair.mirror.counter(row)) == (1, 100, 1, 100)


def test_more_modifications_than_spare_rows_in_one_batch() -> None:
    table = make_table(LPM, [(LPM, 32)], 300)
    with TableProgram(table) as program:
        pair = Pair(program)
        pair.put((8, 0x0A000000), 0)
        row = next(iter(pair.values))
        for _ in range(5000):
            pair.replace(row)
        pair.mirror.flush()
        pair.check((0x0A010203,))


def test_what_programs_cannot_look_up_is_refused() -> None:
    wide = make_table(RANGE, [(RANGE, 128)], 4)
    with pytest.raises(UnsupportedConstruct, match="range of 128 bits"):
        TableProgram(wide)
    big = make_table(TERNARY, [(TERNARY, 8)], 1 << 20)
    with pytest.raises(UnsupportedConstruct, match="1048576 entries"):
        TableProgram(big)
    assert big.location == NOWHERE


@pytest.mark.parametrize("name", TABLES)
def test_the_kernel_takes_the_type_information(name: str) -> None:
    """Timers need it; static arrays that clang keeps would spoil it (their offsets stay zero)."""
    with collected_log() as log, TableProgram(TABLES[name]):
        assert [line for line in log if "BTF" in line] == []


def test_no_entry_above_the_size_gets_in() -> None:
    with TableProgram(make_table(TERNARY, [(TERNARY, 16)], 64)) as program:
        pair = Pair(program)
        for value in range(64):
            pair.put(((0xFFFF,), (value,), 1), 1)
        extra = program.row(((0xFFFF,), (64,), 1), 1, 1)
        with pytest.raises(TableFull):
            pair.mirror.put(extra)
        pair.mirror.flush()
        assert program.look_up((64,)) is None
        assert program.look_up((63,)) == 64


def _thousand(program: TableProgram) -> tuple[Pair, list[Sequence[int]], float]:
    pair, rng = Pair(program), random.Random(3)
    while len(pair.values) < program.table.size:
        pair.put(*_random_raw(pair, rng, 10**6))
    started = time.perf_counter()
    pair.mirror.flush()
    seconds = time.perf_counter() - started
    ordered = sorted(pair.values, key=lambda row: row.priority)
    return pair, [_near(pair, ordered[index], rng) for index in (0, 1, -1)], seconds


@pytest.mark.parametrize("name", ["ternary", "range"])
def test_a_thousand_entries_stay_fast(name: str) -> None:
    """Within 400 ns for the last of them, and 100 ms for a change, with room for a busy machine."""
    fields = {
        "ternary": [(TERNARY, 128), (TERNARY, 16), (TERNARY, 8)],
        "range": [(LPM, 32), (LPM, 32), (RANGE, 16), (RANGE, 16), (TERNARY, 8)],
    }[name]
    with TableProgram(make_table(TERNARY if name == "ternary" else RANGE, fields, 1000)) as program:
        pair, keys, seconds = _thousand(program)
        for key in keys:
            pair.check(tuple(key))
        took = [program.nanoseconds(key) for key in keys]
        print(f"{name}: flush {1000 * seconds:.1f} ms, lookups {took} ns")
        assert max(took) < 800
        assert seconds < 0.4


@pytest.mark.parametrize("name", ["ternary", "range", "prefix", "prefix and more"])
def test_a_reader_never_misses_an_entry_while_others_come_and_go(name: str) -> None:
    """An index is written while a program reads, a table grows beyond it and back; one entry always fits."""
    rng = random.Random(11)
    with TableProgram(TABLES[name], further=WATCH) as program:
        pair = Pair(program)
        widths = [field.target.width for field in pair.key]
        key = tuple(rng.getrandbits(width) for width in widths)
        full = tuple((1 << width) - 1 for width in widths)
        if pair.kind is RANGE:
            ends = [(v, v) if field.kind is RANGE else (v, f) for field, v, f in zip(pair.key, key, full, strict=True)]
            pair.put((tuple(end for part in ends for end in part), 10**6), 10**6)
        elif pair.kind is TERNARY:
            pair.put((full, key, 10**6), 10**6)
        else:
            pair.put((widths[pair.position], key if len(key) > 1 else key[0]), 0)
        watched_row = next(iter(pair.values))
        pair.mirror.flush()
        program.set_key(key)

        def change(turn: int) -> None:
            others = [row for row in pair.values if row is not watched_row]
            if turn % 8 == 7:
                for row in others:
                    pair.remove(row)
            elif turn % 8 == 3:
                pair.replace(watched_row)
            for _ in range(min(50, program.table.size - len(pair.values))):
                pair.put(*_random_raw(pair, rng, 100))
            pair.mirror.flush()

        runs, misses, torn, calls = watched(program, change, 0.7)
        assert runs > 50_000
        assert calls > 8
        assert (misses, torn) == (0, 0)
