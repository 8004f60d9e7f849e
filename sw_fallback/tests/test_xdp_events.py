"""What the program tells user space: records of the ring buffer, counters, where frames go."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sw_fallback.tests.engine_packets import order
from sw_fallback.tests.engine_programs import CompiledProgram

from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.entry import STATISTICS
from softswitch.engine.xdp.events import DigestEvent, EventKind, OutEvent, StateEvent, decode, generation_of
from softswitch.engine.xdp.kernel import Object, RingBuffer, possible_cpus, run
from softswitch.engine.xdp.memory import random_hash_keys
from softswitch.engine.xdp.source import Source, generate
from softswitch.engine.xdp.state import Member, StateLayout
from softswitch.program import read_program

REASON = why_not()
needs_kernel = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

LOOPBACK = 1
PASS, REDIRECT = 2, 4
CLOCK_DEADLINE_S = 5.0


def replicas(path: Path) -> dict[str, Any]:
    """`replicas.p4` without its log messages, which the kernel does not keep."""
    config: dict[str, Any] = json.loads(path.read_text())
    for action in config["actions"]:
        action["primitives"] = [item for item in action["primitives"] if item["op"] != "log_msg"]
    return config


@dataclass(slots=True)
class Loaded:
    """A program in the kernel, its port 4 being the loopback interface."""

    source: Source
    object: Object
    ring: RingBuffer

    def run(self, packet: bytes) -> tuple[int, bytes]:
        """Verdict and frame afterwards."""
        result = run(self.object.programs["softswitch"], packet)
        return result.retval, result.data

    def events(self) -> list[object]:
        """What was told since the last call."""
        found: list[object] = []
        self.ring.consume(lambda record: found.append(decode(record, self.source.entry.layout)), 1000)
        return found

    def counted(self) -> dict[str, int]:
        """Every counter that is not zero."""
        cells, stride = self.object.maps["statistics"].memory().cast("Q"), self.object.maps["statistics"].stride // 8
        totals = {name: sum(cells[index::stride]) for index, name in enumerate(STATISTICS)}
        return {name: total for name, total in totals.items() if total}

    def serve(self, port: int) -> None:
        self.object.maps["user_ports"].memory()[port] = 1

    def connect(self, port: int) -> None:
        """The loopback interface is this port."""
        self.object.maps["ports"].update(struct.pack("=I", port), struct.pack("=I", LOOPBACK))


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    program = read_program(replicas(CompiledProgram("replicas").json_path))
    cells = 1 << (possible_cpus() - 1).bit_length()
    source = generate(Context(program, ActionNumbers(program), drop_port=511, cpu_port=500, cpus=cells))
    with Object.load(
        compile_object(source.text),
        name="kx_events",
        max_entries={"events": 4096},
        rodata={"hash_keys": random_hash_keys(source.lookups.hash_words)},
    ) as made:
        made.maps["port_of"].memory().cast("H")[LOOPBACK] = 4 + 1
        with RingBuffer(made.maps["events"]) as ring:
            yield Loaded(source, made, ring)


class TestRecords:
    LAYOUT = StateLayout(
        [Member("flag", 1)],
        [Member("wide", 128), Member("signed", 12, signed=True)],
        {7: ((1, False), (3, False), (1, True))},
    )

    @staticmethod
    def head(kind: EventKind, content: bytes, *, number: int = 0, port: int = 0, size: int = 0) -> bytes:
        return struct.pack("=IIIHH", kind, 16 + len(content), number, port, size) + content

    def test_a_digest_has_members_of_any_width(self) -> None:
        words = struct.pack("=QQQQq", 5, 1, 0, 1 << 16, -3)
        record = self.head(EventKind.DIGEST, words, number=7)
        assert decode(record, self.LAYOUT) == DigestEvent(7, (5, 1 | 1 << 144, -3))

    def test_a_frame_that_leaves(self) -> None:
        record = self.head(EventKind.OUT, b"frame", port=500, size=5)
        assert decode(record, self.LAYOUT) == OutEvent(500, b"frame")

    def test_a_state_is_read_by_name(self) -> None:
        state = bytearray(self.LAYOUT.size)
        state[self.LAYOUT.offsets["wide"]] = 9
        state[self.LAYOUT.offsets["signed"] : self.LAYOUT.offsets["signed"] + 2] = struct.pack("=h", -2)
        record = self.head(EventKind.REPLICATE, bytes(state) + bytes(16) + b"frame", size=5)
        event = decode(record, self.LAYOUT)
        assert isinstance(event, StateEvent)
        assert event.frame == b"frame"
        assert self.LAYOUT.values(event.state) == {"flag": 0, "wide": 9, "signed": -2}

    def test_the_generation_of_a_state(self) -> None:
        assert generation_of(self.head(EventKind.REPLICATE, b"", number=3)) == 3
        assert generation_of(self.head(EventKind.OUT, b"", number=3)) == 0

    @pytest.mark.parametrize("record", [b"", struct.pack("=I", 99), struct.pack("=IIIHH", 2, 99, 0, 0, 0)])
    def test_other_records_are_refused(self, record: bytes) -> None:
        with pytest.raises(ValueError, match=r"record|valid EventKind"):
            decode(record, self.LAYOUT)

    def test_members_are_aligned_and_the_zeroed_ones_come_first(self) -> None:
        layout = self.LAYOUT
        assert layout.offsets["flag"] == 0
        assert layout.zeroed == 8
        assert layout.offsets["wide"] == 8
        assert layout.size % 8 == 0


@needs_kernel
class TestFrames:
    def test_a_port_of_the_kernel(self, loaded: Loaded) -> None:
        loaded.connect(4)
        verdict, frame = loaded.run(order(0, payload=b"xyz"))
        assert verdict == REDIRECT
        assert frame[16:] == b"xyz"
        assert loaded.counted() == {"packets_in": 1, "packets_out": 1}
        assert loaded.events() == []

    def test_a_port_of_user_space(self, loaded: Loaded) -> None:
        loaded.serve(500)
        loaded.run(order(7, payload=b"xyz"))
        (event,) = loaded.events()
        assert isinstance(event, OutEvent)
        assert event.port == 500
        assert event.frame[:3] == b"\x00\x04\x07"
        assert event.frame[19:] == b"xyz"
        assert loaded.counted() == {"packets_in": 1, "packets_out": 1}

    def test_a_port_of_nobody(self, loaded: Loaded) -> None:
        loaded.run(order(0))
        assert loaded.events() == []
        assert loaded.counted() == {"packets_in": 1, "unknown_port": 1}

    def test_an_interface_that_is_no_port(self, loaded: Loaded) -> None:
        loaded.object.maps["port_of"].memory().cast("H")[LOOPBACK] = 0
        verdict, frame = loaded.run(order(0))
        assert (verdict, frame) == (PASS, order(0))
        assert loaded.counted() == {"foreign": 1}

    def test_frames_that_find_no_room_are_counted(self, loaded: Loaded) -> None:
        loaded.serve(500)
        for _ in range(10):
            loaded.run(order(7, payload=bytes(1000)))
        told = len(loaded.events())
        assert 0 < told < 10
        assert loaded.counted()["events_lost"] == 10 - told

    def test_the_longest_frame(self, loaded: Loaded) -> None:
        loaded.serve(500)
        packet = order(7, payload=bytes(range(256)) * 11)
        loaded.run(packet)
        (event,) = loaded.events()
        assert isinstance(event, OutEvent)
        assert event.frame[19:] == packet[16:]


@needs_kernel
class TestDigests:
    def test_a_digest(self, loaded: Loaded) -> None:
        loaded.connect(4)
        loaded.run(order(6, 77))
        assert loaded.events() == [DigestEvent(1, (77, 4))]

    def test_digests_that_find_no_room_are_counted(self, loaded: Loaded) -> None:
        loaded.connect(4)
        for _ in range(200):
            loaded.run(order(6))
        told = len(loaded.events())
        assert 0 < told < 200
        assert loaded.counted() == {"packets_in": 200, "packets_out": 200, "digests_lost": 200 - told}


@needs_kernel
def test_the_clock_ticks(loaded: Loaded) -> None:
    clock = loaded.object.maps["clock"].memory().cast("Q")
    assert clock[0] == 0
    assert run(loaded.object.programs["start_clock"], bytes(14)).retval == PASS
    assert run(loaded.object.programs["start_clock"], bytes(14)).retval == PASS  # as one who adopts the maps
    first = clock[0]
    assert first <= time.monotonic_ns()
    deadline = time.monotonic() + CLOCK_DEADLINE_S
    while clock[0] == first and time.monotonic() < deadline:
        time.sleep(0.001)
    assert first < clock[0] <= time.monotonic_ns()
