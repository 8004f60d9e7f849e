"""An exact table's index that grows: against a dictionary, while programs read, and cut off at every store."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sw_fallback.tests.xdp_memory_program import WATCH, TableProgram, make_table, watched

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.memory import ExactMirror
from softswitch.engine.xdp.memory.growth import GrowingBuckets
from softswitch.engine.xdp.memory.inheritance import Found
from softswitch.engine.xdp.memory.keys import key_function
from softswitch.engine.xdp.sizes import first_homes
from softswitch.errors import TableFull
from softswitch.program.controls import MatchKind
from softswitch.rows import Row

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

EXACT = MatchKind.EXACT
SIZE = 2048
BUCKETS = 512
FIRST = 64
SLOTS, WORDS, REACH = 7, 8, 31
GROWN = 1
"""Which word of 64 bits says how far the index has grown."""


@pytest.fixture(scope="module", autouse=True)
def small_tables_grow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softswitch.engine.xdp.sizes._FIXED", BUCKETS // 2)
        patch.setattr("softswitch.engine.xdp.sizes._FIRST", FIRST)
        yield


@pytest.fixture(scope="module")
def program(small_tables_grow: None) -> Iterator[TableProgram]:
    with TableProgram(make_table(EXACT, [(EXACT, 32)], SIZE), further=WATCH) as made:
        yield made


class Grown:
    """A table whose memory was empty, a dictionary of its rows, and what is to be true of them."""

    def __init__(self, program: TableProgram) -> None:
        self.program = program
        maps = program.object.maps
        for name in ("t_rows", "t_buckets"):
            memory = maps[name].memory()
            memory[:] = bytes(len(memory))
        self.words = maps["t_rows"].memory().cast("Q")
        self.slots = maps["t_buckets"].memory().cast("I")
        self.hash = key_function(program.key, program.hash_keys)
        self.numbers = (1 << (maps["t_rows"].max_entries - 1).bit_length()) - 1
        self.mirror = ExactMirror(program.shared)
        self.rows: dict[int, Row] = {}
        self.made = itertools.count(1)

    @property
    def homes(self) -> int:
        return self.words[GROWN] & 0xFFFFFFFF

    def put(self, key: int) -> None:
        row = self.program.row(key, next(self.made))
        self.mirror.put(row)
        self.rows[key] = row

    def replace(self, key: int) -> None:
        row = self.rows[key]
        row.params = self.program.row(0, next(self.made)).params
        self.mirror.replace(row)

    def remove(self, key: int) -> None:
        self.mirror.remove(self.rows.pop(key))

    def check(self, key: int) -> None:
        row = self.rows.get(key)
        assert self.program.look_up((key,)) == (None if row is None else row.params[0])

    def home(self, key: int) -> int:
        """By the rule of linear hashing, from what memory says."""
        high, homes = self.hash(key)[0] >> 32, self.homes
        above = 1 << (homes - 1).bit_length()
        return high % above if high % above < homes else high % (above // 2)

    def found(self) -> list[Found]:
        """What another process finds: the row of every slot, read from memory."""
        return [
            Found(self.read(word & self.numbers), at)
            for at, word in enumerate(self.slots.tolist())
            if at % WORDS < SLOTS and word
        ]

    def read(self, number: int) -> Row:
        layout = self.program.layout
        at = number * layout.size
        value = self.words.cast("B")[at + layout.arguments_at :].cast("I")[0]
        row = self.program.row(self.words[at // 8], value)
        row.place = number
        return row

    def check_memory(self, *, finished: bool = False) -> None:
        """Every row once where programs look, its old slot only while a split is unfinished; what buckets say."""
        near, far, astray = Counter[int](), Counter[int](), Counter[int]()
        places = {row.place: key for key, row in self.rows.items()}
        for at, word in enumerate(self.slots.tolist()):
            if at % WORDS < SLOTS and word:
                key = places[word & self.numbers]  # no slot leads to a row that is free
                distance = (at // WORDS - self.home(key)) % BUCKETS
                (near if distance <= REACH else far)[key] += 1
                if 0 < distance <= REACH:
                    astray[self.home(key)] += 1
                    assert distance <= self.slots[WORDS * self.home(key) + SLOTS] >> 16
        assert near == Counter(list(self.rows))
        assert not far or not finished
        assert not far or max(far.values()) == 1
        for bucket, said in enumerate(self.slots[SLOTS::WORDS].tolist()):
            if finished or bucket >= self.homes:
                assert said & 0xFFFF == astray[bucket]
            assert said & 0xFFFF >= astray[bucket]

    def adopt(self) -> None:
        """Another process takes the memory over."""
        self.mirror = ExactMirror(self.program.shared)
        stay = self.mirror.adopt(self.found())
        self.mirror.settle()
        assert len(stay) == len(self.mirror)
        self.rows = {row.raw: row for row, _ in stay}


def test_every_key_is_found_at_each_step_from_none_to_all(program: TableProgram) -> None:
    grown, dice = Grown(program), random.Random(1)
    keys = dice.sample(range(1 << 32), SIZE)
    seen = [grown.homes]
    for count, key in enumerate(keys, 1):
        grown.check(key)
        grown.put(key)
        if count <= 300 or count % 97 == 0:
            for each in keys[:count]:
                grown.check(each)
            grown.check_memory()
        seen.append(grown.homes)
    assert seen[0] == FIRST
    assert seen == sorted(seen)
    assert all(after - before <= 1 for before, after in itertools.pairwise(seen)), "one bucket at a time"
    assert all(count / homes <= 2 for count, homes in enumerate(seen) if homes < BUCKETS)
    assert seen[-1] == BUCKETS
    grown.check_memory(finished=True)
    dice.shuffle(keys)
    for key in keys:
        grown.remove(key)
        grown.check(key)
    assert not any(grown.slots), "something was left in a bucket"


def test_a_table_with_few_entries_uses_few_buckets(program: TableProgram) -> None:
    grown = Grown(program)
    for key in range(2 * FIRST):
        grown.put(key)
    assert grown.homes == FIRST
    assert not any(grown.slots[WORDS * (FIRST + REACH) :])


def test_it_is_full_at_its_size_and_not_before(program: TableProgram) -> None:
    grown = Grown(program)

    def fill() -> None:
        for key in range(10 * SIZE):
            grown.put(key)

    with pytest.raises(TableFull):
        fill()
    assert SIZE <= len(grown.rows) == len(grown.mirror)
    grown.check_memory(finished=True)
    for key in range(0, len(grown.rows), 7):
        grown.check(key)


def test_small_tables_do_not_grow_and_large_ones_do() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softswitch.engine.xdp.sizes._FIXED", 1 << 14)
        assert first_homes(1 << 14) == 1 << 14
        assert first_homes(1 << 15) == FIRST


def test_a_split_that_finds_no_place_is_made_later(program: TableProgram) -> None:
    """All buckets that the new home may use are full: nothing is lost, and it goes on when there is room."""
    grown = Grown(program)
    moving = [key for key in range(1 << 20) if (grown.hash(key)[0] >> 32) % (2 * FIRST) == FIRST][:9]
    for key in (*moving, *range(1 << 20, (1 << 20) + 2 * FIRST - 9)):
        grown.put(key)
    new = range(WORDS * FIRST, WORDS * (FIRST + REACH + 1))
    taken = [at for at in new if at % WORDS < SLOTS and not grown.slots[at]][3:]
    stolen = grown.rows[moving[0]].place | 1 << 31
    for at in taken:
        grown.slots[at] = stolen
    for key in range(1 << 21, (1 << 21) + 8):
        grown.put(key)
    assert grown.homes == FIRST
    assert grown.slots[WORDS * FIRST + SLOTS] == 0
    for at in taken:
        grown.slots[at] = 0
    for key in range(1 << 22, (1 << 22) + 2 * FIRST):
        grown.put(key)
    assert grown.homes > 3 * FIRST // 2
    grown.check_memory()


class Model(RuleBasedStateMachine):
    """Any changes, with splits unfinished as long as they may be, and processes that end at any time."""

    grown: Grown

    def __init__(self) -> None:
        super().__init__()
        self.grown = Grown(type(self).grown.program)
        self.fresh = iter(range(1 << 30))

    def key(self, choice: int) -> int:
        keys = list(self.grown.rows)
        return keys[choice % len(keys)]

    @rule(count=st.integers(1, 150))
    def put(self, count: int) -> None:
        for key in itertools.islice(self.fresh, min(count, SIZE - len(self.grown.rows))):
            self.grown.put(key)

    @precondition(lambda self: self.grown.rows)
    @rule(choice=st.integers(0, SIZE), count=st.integers(1, 40))
    def replace(self, choice: int, count: int) -> None:
        for each in range(choice, choice + count):
            self.grown.replace(self.key(each))

    @precondition(lambda self: self.grown.rows)
    @rule(choice=st.integers(0, SIZE), count=st.integers(1, 60))
    def remove(self, choice: int, count: int) -> None:
        for _ in range(min(count, len(self.grown.rows))):
            key = self.key(choice)
            self.grown.remove(key)
            self.grown.check(key)

    @rule()
    def wait(self) -> None:
        self.grown.program.shared.grace.ended += 1  # nothing runs
        self.grown.mirror.flush()

    @rule()
    def adopt(self) -> None:
        self.grown.adopt()
        self.grown.check_memory(finished=True)

    @invariant()
    def memory_is_right(self) -> None:
        self.grown.check_memory()

    def teardown(self) -> None:
        for key in list(self.grown.rows):
            self.grown.check(key)
            self.grown.remove(key)
        assert not any(self.grown.slots), "something was left in a bucket"


def test_a_dictionary_has_the_same(program: TableProgram) -> None:
    Model.grown = Grown(program)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Model, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )


class CutError(Exception):
    """The process ended here."""


class Stores:
    """Memory that a process writes until it ends, before a certain store."""

    def __init__(self, memory: Any, left: list[int]) -> None:
        self._memory, self._left = memory, left

    def __getitem__(self, at: Any) -> Any:
        return self._memory[at]

    def __setitem__(self, at: int, value: int) -> None:
        if not self._left[0]:
            raise CutError
        self._left[0] -= 1
        self._memory[at] = value


def cut_after(grown: Grown, stores: int, change: Callable[[], None]) -> bool:
    """Whether a change was cut off before so many stores of the index were over."""
    buckets = grown.mirror._buckets
    assert isinstance(buckets, GrowingBuckets)
    left = [stores]
    buckets.slots = grown.mirror._slots = Stores(buckets.slots, left)  # type: ignore[assignment]
    buckets._words = Stores(buckets._words, left)  # type: ignore[assignment]
    try:
        change()
    except CutError:
        return True
    return False


def prepared(program: TableProgram, entries: int) -> Grown:
    """With so many entries, of which the next split moves more than fit into a bucket; the last splits unfinished."""
    grown = Grown(program)
    for key in range(entries):
        grown.put(key)
    above = 1 << grown.homes.bit_length()
    moving = (key for key in range(1 << 22, 1 << 25) if (grown.hash(key)[0] >> 32) % above == grown.homes)
    for key in range(SLOTS + 2):
        grown.remove(key)
    for key in itertools.islice(moving, SLOTS + 2):
        grown.put(key)
    return grown


ENTRIES = (2 * FIRST, 2 * FIRST + 10, 2 * FIRST + 40, 4 * FIRST, 4 * FIRST + 70, 500)


@pytest.mark.parametrize("entries", ENTRIES)
def test_a_process_that_ended_at_any_store_of_an_insertion_with_a_split(program: TableProgram, entries: int) -> None:
    for stores in itertools.count():
        grown = prepared(program, entries)
        homes, keys = grown.homes, set(grown.rows)
        was_cut = cut_after(grown, stores, partial(grown.put, 1 << 20))
        for key in keys:  # programs find all meanwhile
            grown.check(key)
        grown.adopt()
        grown.check_memory(finished=True)
        assert set(grown.rows) - {1 << 20} == keys
        for key in range(0, 2 * entries, 3):
            (grown.remove if key in grown.rows else grown.put)(key)
        for key in (*range(2 * entries), *keys):
            grown.check(key)
        grown.check_memory()
        if not was_cut:
            assert homes < grown.homes
            assert stores > SLOTS + 2
            break


@pytest.mark.parametrize("what", ["replace", "remove"])
def test_a_process_that_ended_at_any_store_of_a_change_to_a_row_with_two_slots(
    program: TableProgram, what: str
) -> None:
    entries = 2 * FIRST + 20
    for stores in itertools.count():
        grown = prepared(program, entries)
        places = Counter(word for at, word in enumerate(grown.slots.tolist()) if at % WORDS < SLOTS and word)
        twice = {word & grown.numbers for word, count in places.items() if count == 2}
        key, row = next((key, row) for key, row in grown.rows.items() if row.place in twice)
        change = partial(grown.mirror.remove, row) if what == "remove" else partial(grown.replace, key)
        was_cut = cut_after(grown, stores, change)
        for each in grown.rows.keys() - {key}:
            grown.check(each)
        found = program.look_up((key,))
        assert (found is None) == (what == "remove" and not was_cut)
        grown.adopt()
        assert len(grown.rows) == entries - (found is None)
        assert program.look_up((key,)) == found
        grown.check_memory(finished=True)
        if not was_cut:
            break
    assert stores >= 2


def test_memory_whose_row_is_only_where_nobody_looks_is_refused(program: TableProgram) -> None:
    grown = Grown(program)
    for key in range(10):
        grown.put(key)
    row = grown.rows[0]
    at = next(at for at, word in enumerate(grown.slots.tolist()) if word and word & grown.numbers == row.place)
    elsewhere = (at + WORDS * BUCKETS // 2) % len(grown.slots)
    grown.slots[elsewhere], grown.slots[at] = grown.slots[at], 0
    with pytest.raises(ValueError, match="farther from its bucket than programs look"):
        ExactMirror(program.shared).adopt(grown.found())


@pytest.mark.parametrize("said", [FIRST, 127 << 32 | 129, 127 << 32 | 64, 1023 << 32 | 600, 100 << 32 | 90])
def test_memory_that_has_grown_to_no_size_is_refused(program: TableProgram, said: int) -> None:
    grown = Grown(program)
    grown.words[GROWN] = said
    with pytest.raises(ValueError, match="another size"):
        ExactMirror(program.shared)


def test_a_reader_never_misses_a_key_while_the_index_grows() -> None:
    """A table that is large enough to grow anyway, and keys each of which moves up to seven times."""
    size, constant = 1 << 17, 256
    further = WATCH.replace("bench->runs++;", f"bench->key[0] = bench->runs++ & {constant - 1};")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softswitch.engine.xdp.sizes._FIXED", 1 << 14)
        with TableProgram(make_table(EXACT, [(EXACT, 32)], size), further=further) as program:
            _watch_growth(program, constant)


def _watch_growth(program: TableProgram, constant: int) -> None:
    mirror, dice = ExactMirror(program.shared), random.Random(3)
    rows = [program.row(key, key) for key in range(constant)]
    for row in rows:
        mirror.put(row)
    others: list[Row] = []
    keys = itertools.count(constant)
    buckets = program.object.maps["t_buckets"].max_entries

    def change(turn: int) -> None:
        if len(mirror) < 2 * buckets + constant:
            for key in itertools.islice(keys, 8):
                others.append(program.row(key, key))
                mirror.put(others[-1])
        at = dice.randrange(len(others))
        others[at], others[-1] = others[-1], others[at]
        mirror.remove(others.pop())
        row = rows[turn % constant]
        row.params = program.row(0, turn).params
        mirror.replace(row)

    def grown() -> int:
        return program.object.maps["t_rows"].memory().cast("Q")[GROWN] & 0xFFFFFFFF

    runs = before = 0
    while grown() < buckets:
        before = grown()
        more, misses, torn, _ = watched(program, change, 0.5)
        runs += more
        assert (misses, torn) == (0, 0)
        assert grown() > before
    assert runs > 100_000
