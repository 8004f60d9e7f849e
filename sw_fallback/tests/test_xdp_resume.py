"""Packets that begin in the kernel and end in the python engine, against the python engine alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

import pytest
from sw_fallback.tests.engine_packets import order, replicas_entities, replicas_packets
from sw_fallback.tests.engine_pair import EnginePair
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.test_xdp_parsing import LAYOUTS, frame

from softswitch.engine.xdp.availability import why_not
from softswitch.entities import CloneSession, MulticastGroup, Replica
from softswitch.switch import MulticastKey, SessionKey

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

MULTICAST, CLONE, CLONE_EGRESS, RESUBMIT = 1 << 12, 1 << 13, 1 << 14, 1 << 15
"""Bits of `change` in `frames.p4`."""
CHANGES = 12


@pytest.fixture(scope="module")
def frames() -> Iterator[EnginePair]:
    program = CompiledProgram("frames")
    pair = EnginePair(program.p4info_path, program.json_path)
    pair.insert(MulticastGroup(1, (Replica(1, 5), Replica(2, 6))))
    pair.insert(CloneSession(1, (Replica(3, 7),)))
    pair.insert(CloneSession(2, (Replica(4, 8), Replica(5, 9)), packet_length=80))
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def replicas() -> Iterator[EnginePair]:
    program = CompiledProgram("replicas")
    config = json.loads(program.json_path.read_text())
    for action in config["actions"]:  # the kernel keeps no log
        action["primitives"] = [item for item in action["primitives"] if item["op"] != "log_msg"]
    pair = EnginePair(program.p4info_path, config, cpu_port=500)
    for entity in replicas_entities(program):
        pair.insert(entity)
    yield pair
    pair.close()


def test_every_copy_leaves(frames: EnginePair) -> None:
    random = Random(0)
    ports = [port for port, _ in frames.process(1, frame(MULTICAST | CLONE, 1, random))]
    assert ports == [1, 2, 3]
    ports = [port for port, _ in frames.process(1, frame(CLONE_EGRESS, 1, random))]
    assert ports == [2, 4, 5]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("request_", [MULTICAST, CLONE, CLONE_EGRESS, RESUBMIT, CLONE | CLONE_EGRESS | MULTICAST])
def test_copies_of_every_layout(frames: EnginePair, layout: int, request_: int) -> None:
    random = Random(layout + request_)
    for change in range(CHANGES):
        frames.process(1, frame(request_ | 1 << change, layout, random))


def test_copies_of_much_changed_frames(frames: EnginePair) -> None:
    random = Random(1)
    for _ in range(1500):
        frames.process(1, frame(random.getrandbits(16), random.choice(LAYOUTS), random))


def test_copies_of_frames_that_end_early(frames: EnginePair) -> None:
    random = Random(2)
    for layout in LAYOUTS:
        whole = frame(random.getrandbits(CHANGES) | MULTICAST | CLONE, layout, random)
        for size in range(14, len(whole)):
            frames.process(1, whole[:size])


def test_copies_to_nowhere(frames: EnginePair) -> None:
    random = Random(3)
    group, session = MulticastGroup(1, (Replica(1, 5),)), CloneSession(1, (Replica(3, 7),))
    frames.delete(MulticastKey(1))
    frames.delete(SessionKey(1))
    dropped = frames.xdp.stats.drops
    assert frames.process(1, frame(MULTICAST, 1, random)) == []
    assert frames.xdp.stats.drops == dropped + 1
    assert len(frames.process(1, frame(CLONE, 1, random))) == 1
    frames.insert(group)
    frames.insert(session)


def test_every_way_to_make_more_packets_of_one(replicas: EnginePair) -> None:
    for port, packet in replicas_packets(Random(4), 2000):
        replicas.process(port, packet)


def poison(pair: EnginePair) -> None:
    """Fill `struct state` with what no earlier packet would have left."""
    states = pair.kernel._object.maps["states"]
    states.update(bytes(4), b"\xa5" * states.value_length)


def test_what_an_earlier_packet_left_changes_nothing(frames: EnginePair, replicas: EnginePair) -> None:
    random = Random(5)
    for _ in range(500):
        poison(frames)
        frames.process(1, frame(random.getrandbits(16), random.choice(LAYOUTS), random))
    for port, packet in replicas_packets(random, 500):
        poison(replicas)
        replicas.process(port, packet)


def test_a_packet_that_never_ends_is_dropped(replicas: EnginePair) -> None:
    assert replicas.process(4, order(17, 255)) == []
    assert replicas.xdp.stats.passes_exceeded == 1


def test_an_assertion_that_fails_in_the_kernel(replicas: EnginePair) -> None:
    before = replicas.kernel.statistics()["assertions_failed"]
    assert replicas.process(4, order(14, 1)) == []
    assert replicas.kernel.statistics()["assertions_failed"] == before + 1
