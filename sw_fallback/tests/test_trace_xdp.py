"""Traces of the XDP engine: the same records as the python engine's, over packets that both finish together too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from ptf_tests.all_cases import CASES
from ptf_tests.library_target import LibraryTarget
from ptf_tests.target import run_case
from sw_fallback.tests.engine_packets import (
    Packet,
    matches_entities,
    matches_packets,
    replicas_entities,
    replicas_packets,
)
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.test_trace_filter import ACK, MEANINGS, SYN, tcp
from sw_fallback.tests.test_xdp_against_python import entities_packets, runnable
from sw_fallback.tests.traces import ends, steps, watched

from depot.program import find_compiled_program
from softswitch import Switch
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.entities import Exact
from softswitch.switch import Entity
from softswitch.trace import Record, Watch, parse_filter
from softswitch.trace.tracer import MAX_WATCHES

REASON = why_not() if os.geteuid() == 0 else "needs root: loads programs into the kernel"
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]

_SHORTEST = 14
"""Bytes of a frame that an interface takes: the kernel drops what is cut below."""

CPU_PORT = 500


def fixed(records: Sequence[Record]) -> list[Record]:
    """Without the time, which is each engine's own."""
    return [replace(record, time_ns=0) for record in records]


class Two:
    """A program on both engines."""

    def __init__(self, p4info: Any, config: Any, cpu_port: int) -> None:
        self.python = Switch.load(p4info, config, cpu_port=cpu_port, clock=time.monotonic_ns)
        self.xdp = Switch.load(p4info, config, cpu_port=cpu_port, kernel=XdpEngine)

    def insert(self, entities: Sequence[Entity]) -> None:
        for switch in (self.python, self.xdp):
            for entity in entities:
                switch.insert(entity)
            switch.flush()

    def compare(self, packets: Sequence[Packet], text: str = "1") -> list[Record]:
        """Both engines tell the same of each packet; what they told."""
        told: list[Record] = []
        with watched(self.python, text) as ours, watched(self.xdp, text) as theirs:
            for port, packet in packets:
                out = self.python.process(port, packet)
                self.xdp.process(port, packet)
                if all(len(frame) >= _SHORTEST for _, frame in out):
                    assert fixed(theirs) == fixed(ours), (port, packet.hex())
                    told += ours
                ours.clear()
                theirs.clear()
        return told


def nothing(program: CompiledProgram) -> list[Entity]:
    return []


PROGRAMS: dict[str, tuple[int, Callable[[CompiledProgram], list[Entity]], Callable[[Random, int], list[Packet]]]] = {
    "matches": (CPU_PORT, lambda program: matches_entities(program, Random(7)), matches_packets),
    "replicas": (CPU_PORT, replicas_entities, replicas_packets),
    "p4runtime_entities": (255, nothing, entities_packets),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_engines_tell_the_same(name: str) -> None:
    cpu_port, entities, packets = PROGRAMS[name]
    program = CompiledProgram(name)
    two = Two(program.p4info_path, runnable(program.json_path), cpu_port)
    two.insert(entities(program))
    told = two.compare(packets(Random(5), 600))
    assert len(told) > 500
    assert len({(tuple(steps(record)), tuple(ends(record))) for record in told}) > 5
    two.xdp.close()


@pytest.fixture(scope="module")
def depot(request: pytest.FixtureRequest) -> Iterator[Switch]:
    folder = request.config.rootpath / "p4src" / "build"
    switch = Switch.load(folder / "depot.p4info.txtpb", folder / "depot.json", cpu_port=255, kernel=XdpEngine)
    yield switch
    switch.close()


@pytest.fixture(scope="module")
def targets() -> Iterator[tuple[LibraryTarget, list[Record], LibraryTarget, list[Record]]]:
    """The depot's program on both engines, watched."""
    python, xdp = LibraryTarget(find_compiled_program(), "python"), LibraryTarget(find_compiled_program(), "xdp")
    with watched(python.switch) as ours, watched(xdp.switch) as theirs:
        yield python, ours, xdp, theirs
    xdp.close()


@pytest.mark.parametrize("name", CASES)
def test_both_engines_tell_the_same_of_the_depots_cases(
    targets: tuple[LibraryTarget, list[Record], LibraryTarget, list[Record]], name: str
) -> None:
    python, ours, xdp, theirs = targets
    ours.clear()
    theirs.clear()
    run_case(python, CASES[name])
    run_case(xdp, CASES[name])
    assert ours
    assert fixed(theirs) == fixed(ours)


@pytest.mark.parametrize("start", range(0, len(MEANINGS), MAX_WATCHES))
def test_filters_mean_the_same(depot: Switch, start: int) -> None:
    some = MEANINGS[start : start + MAX_WATCHES]
    told: list[list[Record]] = [[] for _ in some]
    tracer = depot.tracer(time.time_ns)
    filters = [parse_filter(text, depot.program) for text, _, _ in some]
    watches = [Watch(filter_, sink.append) for filter_, sink in zip(filters, told, strict=True)]
    tracer._watches += watches[:-1]  # one translation is enough for all of them
    tracer.join(watches[-1], tracer.prepare(watches[-1]))
    for place, (text, frame, expected) in enumerate(some):
        depot.process(1, frame)
        assert bool(told[place]) is expected, text
        for sink in told:
            sink.clear()
    for watch in watches:
        tracer.leave(watch)


def test_the_time_is_the_wall_clocks(depot: Switch) -> None:
    before = time.time_ns()
    records: list[Record] = []
    tracer = depot.tracer(time.time_ns)
    watch = Watch(parse_filter("tcp", depot.program), records.append)
    tracer.join(watch, tracer.prepare(watch))
    depot.process(1, tcp(SYN))
    tracer.leave(watch)
    assert before - 1_000_000 <= records[0].time_ns <= time.time_ns()


def kernel_of(switch: Switch) -> XdpEngine:
    assert isinstance(switch.kernel, XdpEngine)
    return switch.kernel


def test_the_program_comes_back_as_it_was(depot: Switch) -> None:
    engine = kernel_of(depot)
    plain, replaced = engine.program, []
    engine.replaced = lambda: replaced.append(engine.program)
    with watched(depot, "tcp") as first:
        one = engine.program
        assert one != plain
        depot.process(1, tcp(SYN))
    assert engine.program == plain
    with watched(depot, "tcp.flags == 0x10") as second:
        depot.process(1, tcp(SYN))
        depot.process(1, tcp(ACK))
    depot.process(1, tcp(SYN))
    assert (len(first), len(second)) == (1, 1)
    assert replaced[0] == one
    assert replaced[1] == replaced[3] == plain
    engine.replaced = lambda: None


def test_state_is_shared_with_the_traced_program(depot: Switch) -> None:
    program = CompiledProgram("p4runtime_entities")
    switch = Switch.load(program.p4info_path, program.json_path, cpu_port=255, kernel=XdpEngine)
    mac = 0x0200_0000_0001
    frame = mac.to_bytes(6, "big") + bytes(6) + b"\x08\x00"
    entry = program.entry("mac_table", (Exact(mac),), program.call("count_and_forward", 7))
    switch.insert(entry)
    switch.process(1, frame)
    with watched(switch) as records:
        switch.process(1, frame)
        switch.modify(replace(entry, action=program.call("count_and_forward", 3)))
        switch.process(1, frame)
    switch.process(1, frame)
    assert [ends(record) for record in records] == [["LEFT 7"], ["LEFT 3"]]
    assert switch.direct_counter(entry.key).packets == 4
    assert switch.register(program.register("seen"), 1) == 0x0800
    assert switch.counter(program.counter("port_counter"), 1).packets == 4
    assert kernel_of(switch).statistics()["packets_in"] == 4
    switch.close()


def test_records_of_a_program_that_is_gone_are_no_harm(depot: Switch) -> None:
    engine = kernel_of(depot)
    poll, engine.poll = engine.poll, list  # type: ignore[method-assign]
    with watched(depot, "tcp") as first:
        depot.process(1, tcp(SYN))
    with watched(depot, "tcp") as second:
        depot.process(1, tcp(SYN))
    engine.poll = poll  # type: ignore[method-assign]
    depot.process(1, tcp(ACK))
    assert (first, second) == ([], [])


def test_more_packets_than_can_be_told_are_counted(depot: Switch) -> None:
    """Half of the ring buffer stays free for what packets need."""
    engine = kernel_of(depot)
    before = engine.lost_traces()
    poll, engine.poll = engine.poll, list  # type: ignore[method-assign]
    with watched(depot, "tcp") as records:
        for _ in range(4000):
            depot.process(1, tcp(SYN))
        lost = engine.lost_traces() - before
        assert 0 < lost < 4000
        assert engine.statistics()["events_lost"] == 0
        engine.poll = poll  # type: ignore[method-assign]
        while len(records) < 4000 - lost:
            depot.poll()
        assert len(records) == 4000 - lost


def test_the_kernel_times_packets(depot: Switch) -> None:
    timing = depot.measure(time.perf_counter_ns)
    for _ in range(50):
        depot.process(1, tcp(SYN))
    with watched(depot, "udp"):
        for _ in range(50):
            depot.process(1, tcp(SYN))
    depot.measure(None)
    assert timing.packets == 100
    assert 20 < timing.ns / timing.packets < 1_000_000
