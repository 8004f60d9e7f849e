"""Records through a BPF ring buffer: from programs, and from a file laid out like one for what programs cannot do."""

from __future__ import annotations

import asyncio
import mmap
import os
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest
from sw_fallback.tests.xdp_kernel_programs import FRAME, RING, XDP_DROP, counting, descriptors

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import KernelError, Map, Object, RingBuffer, run

REASON = why_not()
needs_xdp = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

SIZE = mmap.PAGESIZE
BUSY = 1 << 31
DISCARDED = 1 << 30
RECORD = 72 + 8
"""What a record of RING's `report` takes."""


@dataclass
class Sketch:
    """A file with the layout of a ring buffer of one page; what is behind the end is not mirrored."""

    fd: int
    kind: int = 27
    max_entries: int = SIZE
    name: str = "sketch"

    def __post_init__(self) -> None:
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)

    def record(self, at: int, length: int, data: bytes) -> None:
        os.pwrite(self.fd, struct.pack("=II", length, 0) + data, 2 * mmap.PAGESIZE + at)

    def produced(self, position: int) -> None:
        os.pwrite(self.fd, struct.pack("=L", position), mmap.PAGESIZE)

    def start_at(self, position: int) -> None:
        os.pwrite(self.fd, struct.pack("=L", position), 0)

    def consumed(self) -> int:
        return int(struct.unpack("=L", os.pread(self.fd, struct.calcsize("=L"), 0))[0])


@pytest.fixture
def sketch() -> Iterator[Sketch]:
    fd = os.memfd_create("ring")
    yield Sketch(fd)
    os.close(fd)


@pytest.fixture
def sketched(sketch: Sketch) -> Iterator[RingBuffer]:
    with RingBuffer(cast(Map, sketch)) as ring:
        yield ring


def taken(ring: RingBuffer, limit: int = 1000) -> list[bytes]:
    records: list[bytes] = []
    assert ring.consume(records.append, limit) == len(records)
    return records


def test_a_record_not_yet_submitted_ends_it(sketch: Sketch, sketched: RingBuffer) -> None:
    sketch.record(0, 3, b"one")
    sketch.record(16, 3 | BUSY, b"two")
    sketch.record(32, 5, b"three")
    sketch.produced(48)
    assert taken(sketched) == [b"one"]
    assert sketch.consumed() == 16
    assert taken(sketched) == []
    sketch.record(16, 3, b"two")
    assert taken(sketched) == [b"two", b"three"]
    assert sketch.consumed() == 48


def test_discarded_records_make_room(sketch: Sketch, sketched: RingBuffer) -> None:
    sketch.record(0, 9 | DISCARDED, b"thought twice")
    sketch.record(24, 1, b"1")
    sketch.record(40, 8 | DISCARDED, b"")
    sketch.produced(56)
    assert taken(sketched, limit=1) == [b"1"]
    assert taken(sketched) == []
    assert sketch.consumed() == 56


def test_positions_go_on_past_the_end(sketch: Sketch, sketched: RingBuffer) -> None:
    laps = 12345 * SIZE
    sketch.start_at(laps + SIZE - 16)
    sketch.record(SIZE - 16, 20, b"over the end, in one")
    sketch.record(16, 2, b"on")
    sketch.produced(laps + SIZE + 32)
    assert taken(sketched) == [b"over the end, in one", b"on"]
    assert sketch.consumed() == laps + SIZE + 32


def test_an_exception_takes_its_record_along(sketch: Sketch, sketched: RingBuffer) -> None:
    for number in range(4):
        sketch.record(16 * number, 1, b"%d" % number)
    sketch.produced(64)
    seen: list[bytes] = []

    def fail_at_one(record: bytes) -> None:
        seen.append(record)
        if record == b"1":
            raise LookupError(record)

    with pytest.raises(LookupError):
        sketched.consume(fail_at_one, 10)
    assert taken(sketched) == [b"2", b"3"]
    assert seen == [b"0", b"1"]


@pytest.fixture
def ringing() -> Iterator[Object]:
    with Object.load(compile_object(RING), name="ringing") as made:
        yield made


@pytest.fixture
def ring(ringing: Object) -> Iterator[RingBuffer]:
    with RingBuffer(ringing.maps["events"]) as made:
        yield made


def numbers(records: list[bytes]) -> list[int]:
    """The record's number is in its first 8 bytes and, cut to one, in each of the others."""
    for record in records:
        assert record[8:] == record[:1] * 64
    return [int(struct.unpack_from("=Q", record)[0]) for record in records]


@needs_xdp
def test_in_order_without_the_discarded_and_over_many_laps(ringing: Object, ring: RingBuffer) -> None:
    seen: list[int] = []
    for _ in range(40):  # 40 × 100 × 80 bytes through 16 KiB
        run(ringing.programs["report"], FRAME, repeat=100)
        while some := taken(ring, limit=7):
            seen += numbers(some)
    assert seen == [number for number in range(4000) if number % 7 != 6]


@needs_xdp
def test_a_full_ring_refuses_and_goes_on(ringing: Object, ring: RingBuffer) -> None:
    fits = (1 << 14) // RECORD
    run(ringing.programs["report"], FRAME, repeat=fits + 50)
    assert len(taken(ring)) == sum(number % 7 != 6 for number in range(fits))
    assert run(ringing.programs["report"], FRAME).retval == XDP_DROP
    assert numbers(taken(ring)) == [fits]


@needs_xdp
def test_odd_lengths(ringing: Object, ring: RingBuffer) -> None:
    run(ringing.programs["brief"], FRAME, repeat=3)
    assert taken(ring) == [b"\0\0\0", b"\1\0\0", b"\2\0\0"]


@needs_xdp
def test_readable_as_long_as_records_wait(ringing: Object, ring: RingBuffer) -> None:
    poller = select.epoll()
    poller.register(ring.fileno(), select.EPOLLIN)
    assert poller.poll(0) == []
    run(ringing.programs["report"], FRAME, repeat=3)
    for _ in range(3):
        assert poller.poll(0) == [(ring.fileno(), select.EPOLLIN)]
        assert len(taken(ring, limit=1)) == 1
    assert poller.poll(0) == []
    poller.close()


@needs_xdp
async def test_a_loop_is_woken(ringing: Object, ring: RingBuffer) -> None:
    loop = asyncio.get_running_loop()
    seen: list[bytes] = []
    arrived = asyncio.Event()

    def readable() -> None:
        if ring.consume(seen.append, 10) and len(seen) % 30 == 0:
            arrived.set()

    loop.add_reader(ring.fileno(), readable)
    for lap in range(1, 4):
        await asyncio.to_thread(run, ringing.programs["brief"], FRAME, repeat=30)
        async with asyncio.timeout(30):
            await arrived.wait()
        arrived.clear()
        assert len(seen) == 30 * lap
    loop.remove_reader(ring.fileno())


@needs_xdp
def test_it_outlives_its_object_and_leaves_nothing() -> None:
    before = descriptors()
    made = Object.load(compile_object(RING), name="ringing")
    ring = RingBuffer(made.maps["events"])
    run(made.programs["brief"], FRAME)
    made.close()
    assert taken(ring) == [b"\0\0\0"]
    ring.close()
    ring.close()
    assert descriptors() == before


@needs_xdp
def test_another_kind_of_map() -> None:
    with counting() as made, pytest.raises(KernelError, match="map 'hash' is no ring buffer"):
        RingBuffer(made.maps["hash"])
