"""Meters, registers and counters that programs and this process work on together."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sw_fallback.tests.xdp_memory_program import CELLS, FRAME, SERVE, TableProgram, load, make_table

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.kernel import Object, possible_cpus, run
from softswitch.engine.xdp.layout import METER_BYTES, RowLayout
from softswitch.engine.xdp.memory import CounterCells, ExactMirror, MappedMeter, MeterCells, RegisterCells, Shared
from softswitch.entities import MeterConfig
from softswitch.errors import InvalidArgument
from softswitch.meters import Meter
from softswitch.program.controls import MatchKind

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

_MICROS = 1_000_000

_TEXT = (
    f"enum {{ METER_BYTES = {METER_BYTES} }};"
    + """
METER(m, 4);
COUNTER(c, 4);
REGISTER(narrow, 1, 8);
REGISTER(wide, 3, 8);
_Static_assert(sizeof(struct meter) == METER_BYTES, "layout.py");

struct request {
	u64 now;
	u32 index, amount;
};
SHARED_ARRAY(requests, struct request, 1);

static __always_inline struct request *request(void)
{
	u32 first = 0;

	return bpf_map_lookup_elem(&requests, &first);
}

SEC("xdp") int execute(struct xdp_md *ctx)
{
	struct request *asked = request();
	struct meter *meter = asked ? bpf_map_lookup_elem(&m_cells, &asked->index) : NULL;

	return meter ? meter_execute(meter, asked->now, asked->amount) : 9;
}

SEC("xdp") int count(struct xdp_md *ctx)
{
	struct request *asked = request();

	if (asked)
		count_at(&c_cells, asked->index, asked->amount);
	return XDP_PASS;
}

/* One more in every word of cell 1 of both registers, under their locks. */
SEC("xdp") int add(struct xdp_md *ctx)
{
	u64 *cell = cell_of(&narrow_cells, 1), *words = cell_of(&wide_cells, 1), *beyond = cell_of(&wide_cells, 8);
	struct lock *held;

	if (!cell || !words || beyond)
		return XDP_ABORTED;
	held = lock(&narrow_lock);
	cell[0]++;
	unlock(held);
	held = lock(&wide_lock);
	words[0]++;
	words[1]++;
	words[2]++;
	unlock(held);
	return XDP_PASS;
}
"""
)


@pytest.fixture(scope="module")
def program() -> Iterator[Object]:
    with load(_TEXT, "meters.h") as loaded:
        yield loaded


class Bucket:
    """Whole tokens of a rate, exactly."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate, self.burst, self.tokens, self.credited = rate, burst, burst, 0

    def take(self, micros: int, amount: int) -> bool:
        earned = micros * self.rate // _MICROS
        self.tokens = min(self.tokens + earned - self.credited, self.burst)
        self.credited = earned
        if self.tokens < amount:
            return False
        self.tokens -= amount
        return True


class Model:
    """`softswitch.meters.Meter` without floating point."""

    def __init__(self, config: MeterConfig, now: int) -> None:
        self.made = now
        self.committed, self.peak = Bucket(config.cir, config.cburst), Bucket(config.pir, config.pburst)

    def execute(self, now: int, amount: int) -> int:
        micros = (now - self.made) // 1000
        if not self.peak.take(micros, amount):
            return 2
        return 0 if self.committed.take(micros, amount) else 1


def _colour(program: Object, now: int, amount: int, index: int = 0) -> int:
    program.maps["requests"].memory()[:] = struct.pack("=QII", now, index, amount)
    return run(program.programs["execute"], FRAME).retval


_rates = st.sampled_from([0, 1, 999, 1000, 125_000, 15_625, 10**9]) | st.integers(0, 10**10)
_bursts = st.sampled_from([0, 1, 64, 1500, 10**6]) | st.integers(0, 10**10)
_steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 999, 1000, 1001, 10**6, 10**9, 10**14]) | st.integers(0, 10**10),
        st.sampled_from([1, 64, 1500, 9000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(rates=st.tuples(_rates, _rates), bursts=st.tuples(_bursts, _bursts), made=st.integers(0, 2**50), steps=_steps)
def test_a_meter_counts_alike_in_programs_and_here(
    program: Object, rates: tuple[int, int], bursts: tuple[int, int], made: int, steps: list[tuple[int, int, bool]]
) -> None:
    config = MeterConfig(cir=min(rates), cburst=bursts[0], pir=max(rates), pburst=bursts[1])
    mapped = MappedMeter(program.maps["m_cells"].memory(), 0, config, made)
    model, now = Model(config, made), made
    for elapsed, amount, in_program in steps:
        now += elapsed
        colour = _colour(program, now, amount) if in_program else mapped.execute(now, amount)
        assert colour == model.execute(now, amount)


@settings(max_examples=100, deadline=None)
@given(rate=st.integers(0, 10**5), burst=st.integers(0, 10**5), steps=_steps)
def test_a_mapped_meter_is_a_meter(program: Object, rate: int, burst: int, steps: list[tuple[int, int, bool]]) -> None:
    """At rates of whole 64ths of a token for each microsecond, where floating point is exact."""
    config = MeterConfig(cir=15_625 * (rate // 2), cburst=burst, pir=15_625 * rate, pburst=2 * burst)
    memory, now = program.maps["m_cells"].memory(), 0
    mapped, meter = MappedMeter(memory, METER_BYTES, config, now), Meter(config, now)
    for elapsed, amount, _ in steps:
        now += elapsed % 10**10
        assert mapped.execute(now, amount) == meter.execute(now, amount)


def test_rates_and_bursts_of_any_size(program: Object) -> None:
    config = MeterConfig(cir=2**62, cburst=2**62, pir=2**63 - 1, pburst=2**63 - 1)
    meter = MappedMeter(program.maps["m_cells"].memory(), 0, config, 0)
    for now in (0, 10**3, 10**9, 10**15, 2**62):
        assert _colour(program, now, 2**32 - 1) == meter.execute(now, 2**32 - 1) == 0


def test_time_that_goes_back_gives_no_tokens(program: Object) -> None:
    config = MeterConfig(cir=1000, cburst=10, pir=1000, pburst=10)
    meter = MappedMeter(program.maps["m_cells"].memory(), 0, config, 10**12)
    assert _colour(program, 10**12, 10) == 0
    assert _colour(program, 5, 1) == 2
    assert meter.execute(5, 1) == 2
    assert _colour(program, 10**12 + 10**6, 1) == 0


def test_cells_of_a_meter(program: Object) -> None:
    cells = MeterCells(program.maps["m_cells"], lambda: 1000)
    assert len(cells) == 4
    assert cells[2] is None
    assert _colour(program, 5000, 10**6, index=2) == 0, "not configured: green"
    cells[2] = Meter(MeterConfig(cir=1, cburst=1, pir=1, pburst=1), 0)
    assert [_colour(program, 1000, 1, index=2) for _ in range(2)] == [0, 2]
    configured = cells[2]
    assert configured is not None
    assert configured.config == MeterConfig(cir=1, cburst=1, pir=1, pburst=1)
    assert configured.execute(1000, 1) == 2
    cells[2] = None
    assert _colour(program, 1000, 1, index=2) == 0
    with pytest.raises(InvalidArgument):
        MappedMeter(program.maps["m_cells"].memory(), 0, MeterConfig(cir=2, cburst=1, pir=1, pburst=1), 0)


def test_a_direct_meter_goes_with_its_entry() -> None:
    table = make_table(MatchKind.EXACT, [(MatchKind.EXACT, 32)], 8)
    with TableProgram(table) as program:
        shared = program.shared
        layout = RowLayout([SERVE], CELLS, key=shared.layout.key, meter=True)
        # rows of the size that this layout has, in a map that no program reads
        text = f"struct t_row {{ u64 words[{layout.size // 8}]; }}; TABLE_ROWS(t, 600); TABLE_BUCKETS(t, 4);"
        with load(text + 'SEC("xdp") int use(struct xdp_md *ctx) { return !default_row(&t_rows); }') as metered:
            mirror = ExactMirror(
                Shared("t", metered.maps, layout, shared.numbers, shared.grace, None, program.hash_keys)
            )
            row = program.row(5, 1)
            mirror.put(row)
            mirror.set_meter(row, MeterConfig(cir=1, cburst=5, pir=1, pburst=5), 0)
            meter, before = row.meter, row.place
            assert meter is not None
            assert meter.execute(0, 3) == 0
            mirror.replace(row)
            assert row.place != before
            assert row.meter is meter
            assert meter.execute(0, 3) == 2, "three of five tokens are gone"
            mirror.set_meter(row, None, 0)
            assert row.meter is None
            at = mirror.rows.meter_at(row.place)
            assert not any(mirror.rows.memory[at : at + METER_BYTES])


def test_counters(program: Object) -> None:
    cells = CounterCells(program.maps["c_cells"])
    request = program.maps["requests"].memory()
    request[:] = struct.pack("=QII", 0, 3, 70)
    run(program.programs["count"], FRAME, repeat=10)
    assert cells.read(3) == (10, 700)
    assert cells.read(2) == (0, 0)
    cells.clear(3)
    assert cells.read(3) == (0, 0)
    run(program.programs["count"], FRAME, repeat=2)
    assert cells.read(3) == (2, 140)
    request[:] = struct.pack("=QII", 0, 4, 70)
    run(program.programs["count"], FRAME)
    assert [cells.read(index) for index in range(4)] == [(0, 0), (0, 0), (0, 0), (2, 140)]


def _in_threads(program: Object, name: str, count: int, repeat: int) -> tuple[list[threading.Thread], threading.Event]:
    """Threads that run a program; they begin at the event."""
    begin = threading.Event()

    def work() -> None:
        begin.wait()
        run(program.programs[name], FRAME, repeat=repeat)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, begin


def test_cpus_that_share_a_counter_lose_nothing() -> None:
    with load(_TEXT, "meters.h", cells=1) as program:
        program.maps["requests"].memory()[:] = struct.pack("=QII", 0, 1, 3)
        threads, begin = _in_threads(program, "count", possible_cpus(), 200_000)
        begin.set()
        for thread in threads:
            thread.join()
        total = 200_000 * possible_cpus()
        assert CounterCells(program.maps["c_cells"]).read(1) == (total, 3 * total)


def test_registers_are_lists(program: Object) -> None:
    narrow = RegisterCells(program.maps["narrow_cells"], program.maps["narrow_lock"])
    wide = RegisterCells(program.maps["wide_cells"], program.maps["wide_lock"])
    assert (len(narrow), len(wide)) == (8, 8)
    narrow[1], wide[1] = 41, (2 << 128) | (3 << 64) | 4
    run(program.programs["add"], FRAME)
    assert narrow[1] == 42
    assert wide[1] == (3 << 128) | (4 << 64) | 5
    assert (narrow[0], narrow[2], wide[0], wide[2]) == (0, 0, 0, 0)
    wide[7] = (1 << 192) - 1
    assert wide[7] == (1 << 192) - 1
    with pytest.raises(IndexError):
        wide[8]
    with pytest.raises(IndexError):
        narrow[8] = 1


def test_programs_and_this_process_do_not_tear_or_lose_what_a_lock_covers(program: Object) -> None:
    """But where one of them waited in vain, because the other one's CPU was taken away: that is rare."""
    narrow = RegisterCells(program.maps["narrow_cells"], program.maps["narrow_lock"])
    wide = RegisterCells(program.maps["wide_cells"], program.maps["wide_lock"])
    narrow[1] = wide[1] = 0
    repeat = 150_000
    threads, begin = _in_threads(program, "add", possible_cpus(), repeat)
    begin.set()
    torn = reads = own = 0
    end = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
        with narrow.lock:
            narrow[1] += 1
        own += 1
        value = wide[1]
        reads += 1
        words = {value >> shift & (1 << 64) - 1 for shift in (0, 64, 128)}
        torn += len(words) > 1
    for thread in threads:
        thread.join()
    total = repeat * possible_cpus() + own
    assert reads > 10
    assert torn * 100 <= reads
    assert 0 <= total - narrow[1] <= total // 1000
    assert wide[1] & (1 << 64) - 1 >= repeat * possible_cpus() * 999 // 1000


def test_a_lock_that_a_dead_process_left_wanted_is_free_again(program: Object) -> None:
    halves = program.maps["narrow_lock"].memory().cast("I")
    halves[1] = 1
    cells = RegisterCells(program.maps["narrow_cells"], program.maps["narrow_lock"])
    assert halves[1] == 0
    with cells.lock:
        assert halves[1] == 1
    assert halves[1] == 0
    before = cells[1]
    started = time.perf_counter()
    with cells.lock:
        run(program.programs["add"], FRAME)  # waits in vain, and goes on
    assert time.perf_counter() - started < 1
    assert cells[1] == before + 1
