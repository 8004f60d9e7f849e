"""The feature programs on the python engine and on the XDP engine: the same packets leave, the same state stays.

hypothesis draws writes of every kind and packets between them; each program has its own packets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sw_fallback.tests.engine_packets import (
    Packet,
    arithmetic_packets,
    matches_entities,
    matches_packets,
    replicas_entities,
    replicas_packets,
)
from sw_fallback.tests.engine_pair import IDLE_NS, EnginePair, Stage
from sw_fallback.tests.engine_programs import FOLDER, CompiledProgram
from sw_fallback.tests.random_entities import RandomEntities

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.entities import (
    CloneSession,
    MulticastGroup,
    SelectorGroup,
    SelectorMember,
    TableEntry,
    TableKey,
)
from softswitch.errors import UnsupportedConstruct
from softswitch.switch import Entity, EntityKey, GroupKey, MemberKey, MulticastKey, SessionKey, Switch

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loads programs into the kernel"),
]

CPU_PORT = 500
MACS = (0x0200_0000_0001, 0x0200_0000_0002, 0x0200_0000_0003, 0x0300_0000_0001, 0xFFFF_FFFF_FFFF)
ETHER_TYPES = (0x0800, 0x86DD, 0x88CC, 0x88F7, 0x0000, 0xFFFF)
NUMBERS = (0, 1, 2, 5, 7, 10, 15, 20, 300, 65535)
ADDRESSES = (0x0A000001, 0x0A000002, 0x0A0000FF, 0x0A0000F0, 0x0B000000, 0x0B123456, 0xFFFFFFFF, 0)
"""What packets have, for entries to match."""
POOLS = {
    1: (0, 1),
    3: range(8),
    8: range(6),
    9: (1, 2, 3, 4, 7),
    12: (0, 0xF00, 0xFFF, 0x0F0, 0x123),
    16: (*NUMBERS, *ETHER_TYPES),
    32: ADDRESSES,
    48: MACS,
}


def entities_packets(random: Random, count: int) -> list[Packet]:
    """For `p4runtime_entities.p4`."""
    packets = []
    for _ in range(count):
        packet = random.choice(MACS).to_bytes(6, "big") + random.choice(MACS).to_bytes(6, "big")
        packet += random.choice(ETHER_TYPES).to_bytes(2, "big") + random.randbytes(random.choice((0, 1, 50)))
        port = random.choice((0, 1, 2, 3, 4, 7, 8, 255))
        if port == 255:
            packet = (random.choice((1, 2, 3, 510)) << 7).to_bytes(2, "big") + packet
        packets.append((port, packet if random.random() < 0.95 else packet[: random.randrange(len(packet))]))
    return packets


def timestamps_packets(random: Random, count: int) -> list[Packet]:
    """For `timestamps.p4`."""
    return [(random.randrange(1, 300), random.randbytes(random.choice((14, 19, 20, 21, 60)))) for _ in range(count)]


def runnable(path: Path) -> Any:
    """The device config without what the XDP engine refuses by itself: `log_msg` and checksums over the payload."""
    config = json.loads(path.read_text())
    with_payload = {
        calculation["name"]
        for calculation in config["calculations"]
        if any(item["type"] == "payload" for item in calculation["input"])
    }
    config["checksums"] = [item for item in config["checksums"] if item["calculation"] not in with_payload]

    def without_log(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: without_log(value) for key, value in node.items()}
        if isinstance(node, list):
            return [without_log(item) for item in node if not (isinstance(item, dict) and item.get("op") == "log_msg")]
        return node

    return without_log(config)


@dataclass(frozen=True)
class Subject:
    """A program, how its packets are made, and what it begins with."""

    name: str
    packets: Callable[[Random, int], list[Packet]]
    entities: Callable[[CompiledProgram], Sequence[Entity]]
    cpu_port: int = CPU_PORT

    def pair(self) -> EnginePair:
        """Fresh switches."""
        program = CompiledProgram(self.name)
        return EnginePair(program.p4info_path, runnable(program.json_path), cpu_port=self.cpu_port)


def nothing(program: CompiledProgram) -> Sequence[Entity]:
    return ()


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("arithmetic", arithmetic_packets, nothing),
        Subject("matches", matches_packets, lambda program: matches_entities(program, Random(7))),
        Subject("replicas", replicas_packets, replicas_entities),
        Subject("timestamps", timestamps_packets, nothing),
        Subject("p4runtime_entities", entities_packets, nothing, cpu_port=255),
    )
}


@pytest.fixture(scope="module", params=SUBJECTS.values(), ids=list(SUBJECTS))
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.param
    return found


@pytest.fixture(scope="module")
def stage(subject: Subject) -> Iterator[Stage]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    stage = Stage(subject.pair)
    yield stage
    stage.close()


def test_the_same_packets_leave(subject: Subject, stage: Stage) -> None:
    """The entities and packets that BMv2 is compared with."""
    entities = subject.entities(CompiledProgram(subject.name))
    with stage.scene() as pair:
        for entity in entities:
            assert pair.insert(entity)
        left = [pair.process(port, packet) for port, packet in subject.packets(Random(2026), 1500)]
        assert sum(map(len, left)) > 700
        pair.compare()
        for entity in reversed(entities):
            assert pair.delete(key_of(entity))
        pair.compare()


SEEDS = st.integers(0, (1 << 32) - 1)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seeds=st.lists(st.tuples(st.integers(0, 9), SEEDS), min_size=25, max_size=120))
def test_whatever_is_written_between(subject: Subject, stage: Stage, seeds: list[tuple[int, int]]) -> None:
    with stage.scene() as pair:
        story = Story(subject, pair)
        for kind, seed in seeds:
            story.go_on(kind, Random(seed))
        pair.compare()
        pair.compare_idle()
        story.end()


Change = Callable[[Switch], object]


class Story:
    """Writes and packets on one pair of switches."""

    def __init__(self, subject: Subject, pair: EnginePair) -> None:
        self._subject = subject
        self._pair = pair
        self._random = RandomEntities(pair.python.p4info, POOLS, IDLE_NS)
        self._held: dict[EntityKey, Entity] = {}

    def go_on(self, kind: int, dice: Random) -> None:
        """Packets, or a write of this kind."""
        match kind:
            case 0 | 1 | 2 | 3:
                for port, packet in self._subject.packets(dice, 12):
                    self._pair.process(port, packet)
            case 4 | 5 | 6:
                for _ in range(8):
                    self._insert(self._random.entity(dice))
            case 7:
                self._modify(self._random.entity(dice), dice)
            case 8:
                if self._held:
                    self._delete(dice.choice(list(self._held)))
            case _:
                self._other(dice)

    def end(self) -> None:
        """Delete everything: what points at something before it."""
        for kind in (TableEntry, SelectorGroup, SelectorMember, MulticastGroup, CloneSession):
            for key in [key for key, entity in self._held.items() if isinstance(entity, kind)]:
                self._delete(key)
        assert not self._held
        for table in self._pair.python.p4info.tables.values():
            self._pair.set_default(table.id, None)
        self._pair.clear_registers()
        self._pair.compare()

    def _insert(self, entity: Entity) -> None:
        if self._pair.insert(entity):
            self._held[key_of(entity)] = entity

    def _modify(self, entity: Entity, dice: Random) -> None:
        """What is there gets new contents; now and then what is not there."""
        if isinstance(entity, TableEntry):
            table = entity.key.table_id
            alike = [key for key in self._held if isinstance(key, TableKey) and key.table_id == table]
            if alike:
                entity = replace(entity, key=dice.choice(alike))
        if self._pair.modify(entity):
            self._held[key_of(entity)] = entity

    def _delete(self, key: EntityKey) -> None:
        if self._pair.delete(key):
            del self._held[key]

    def _other(self, dice: Random) -> None:
        """A counter, a meter, a register, or a default action."""
        pair, random, info = self._pair, self._random, self._pair.python.p4info
        writes: list[tuple[str, Change]] = []
        for counter in info.counters.values():
            index = dice.randrange(counter.size + 1)
            change = changing(Switch.set_counter, counter.id, index, random.counter(dice))
            writes.append((f"{counter.name}[{index}]", change))
        for meter in info.meters.values():
            index = dice.randrange(meter.size + 1)
            writes.append((f"{meter.name}[{index}]", changing(Switch.set_meter, meter.id, index, random.meter(dice))))
        for register in info.registers.values():
            index, cell = dice.randrange(register.size + 1), dice.getrandbits(register.width)
            writes.append((f"{register.name}[{index}]", changing(Switch.set_register, register.id, index, cell)))
        for key in [key for key in self._held if isinstance(key, TableKey)]:
            writes.append((f"counter of {key}", changing(Switch.set_direct_counter, key, random.counter(dice))))
            writes.append((f"meter of {key}", changing(Switch.set_direct_meter, key, random.meter(dice))))
        for table in info.tables.values():
            call = random.call(dice, table) if dice.random() < 0.8 else None
            writes.append((f"default of {table.name}", changing(Switch.set_default_action, table.id, call)))
        if writes:
            what, change = dice.choice(writes)
            pair.apply(change, what)


def changing(method: Callable[..., object], *arguments: object) -> Change:
    """A call of a method of whichever switch."""
    return lambda switch: method(switch, *arguments)


def key_of(entity: Entity) -> EntityKey:
    """What names an entity."""
    match entity:
        case TableEntry(key):
            return key
        case SelectorMember(profile, number):
            return MemberKey(profile, number)
        case SelectorGroup(profile, number):
            return GroupKey(profile, number)
        case MulticastGroup(number):
            return MulticastKey(number)
        case CloneSession(number):
            return SessionKey(number)


@pytest.mark.parametrize(
    ("name", "construct"),
    [("stacks", "header stack"), ("replicas", "log_msg"), ("arithmetic", "checksum over the payload")],
)
def test_what_no_pass_can_do_is_refused_by_name(name: str, construct: str) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with pytest.raises(UnsupportedConstruct, match=construct):
        Switch.load(FOLDER / f"{name}.p4info.txtpb", FOLDER / f"{name}.json", cpu_port=CPU_PORT, kernel=XdpEngine)
