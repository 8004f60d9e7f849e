"""What the python engine tells of packets: tables, passes and ends, and that watching changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from sw_fallback.tests import engine_packets
from sw_fallback.tests.engine_packets import Packet, order
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.traces import NOW_NS, ends, steps, trace, watched

from softswitch import Switch
from softswitch.entities import Exact, SelectorGroup
from softswitch.switch import Entity
from softswitch.trace import Legend, Record, TableStep, TracerBusy, Verdict, Watch, parse_filter
from softswitch.trace.document import from_document, to_document
from softswitch.trace.record import short_names
from softswitch.trace.tracer import MAX_WATCHES

REPLICAS = CompiledProgram("replicas")
ENTITIES = CompiledProgram("p4runtime_entities")
MATCHES = CompiledProgram("matches")


@pytest.fixture
def replicas() -> Switch:
    switch = REPLICAS.switch()
    for entity in engine_packets.replicas_entities(REPLICAS):
        switch.insert(entity)
    return switch


def one(switch: Switch, port: int, packet: bytes) -> Record:
    records = trace(switch, [(port, packet)])
    assert len(records) == 1
    return records[0]


# op of the order, port it comes in at, what is told of it
ORDERS = {
    "out where it came in": (order(0), 4, [], ["LEFT 4"]),
    "to the controller": (order(7), 1, [], ["CONTROLLER 500"]),
    "from the controller": (b"\0\3" + order(0), 500, [], ["LEFT 3"]),
    "dropped in ingress": (order(5), 1, [], ["DROPPED_INGRESS"]),
    "dropped in egress": (order(18), 1, [], ["DROPPED_EGRESS"]),
    "multicast": (order(1, 1), 1, ["REPLICATED"] * 4, ["LEFT 1", "LEFT 2", "LEFT 3", "LEFT 3"]),
    "multicast to nobody": (order(1, 9), 1, [], ["NO_COPIES"]),
    "clone of ingress": (order(2, 1), 4, ["INGRESS_CLONE"], ["LEFT 2", "LEFT 4"]),
    "clone of a dropped packet": (order(13, 1), 4, ["INGRESS_CLONE"], ["LEFT 2", "DROPPED_INGRESS"]),
    "clones of egress": (order(3, 2), 4, ["EGRESS_CLONE", "EGRESS_CLONE"], ["LEFT 4", "LEFT 3", "LEFT 4"]),
    "resubmitted": (order(4), 1, ["RESUBMITTED"], ["LEFT 3"]),
    "recirculated": (order(17, 3), 1, ["RECIRCULATED"] * 2, ["LEFT 3"]),
    "recirculated without end": (order(17, 255), 1, ["RECIRCULATED"] * 64, ["TOO_MANY_PASSES"]),
    "assertion": (order(14, 1), 1, [], ["ASSERTION"]),
    "selector hit": (order(10, 1), 1, ["selector_table hit choose"], ["LEFT 1"]),
    "selector miss": (order(10, 9), 1, ["selector_table miss nothing"], ["LEFT 1"]),
    "profile hit": (order(11, 2), 1, ["profile_table hit choose"], ["LEFT 1"]),
    "meter miss": (order(9, 7), 1, ["meter_table miss NoAction"], ["LEFT 1"]),
    "meter hit": (order(9, 1), 1, ["meter_table hit metered"], ["LEFT 1"]),
}


@pytest.mark.parametrize(("packet", "port", "told", "ended"), ORDERS.values(), ids=ORDERS.keys())
def test_what_is_told_of_a_packet(
    replicas: Switch, packet: bytes, port: int, told: list[str], ended: list[str]
) -> None:
    record = one(replicas, port, packet)
    assert (steps(record), ends(record)) == (told, ended)
    assert (record.time_ns, record.port, record.frame, record.length) == (NOW_NS, port, packet, len(packet))
    assert record.parser_error is None


def test_a_hit_without_an_action(replicas: Switch) -> None:
    replicas.modify(SelectorGroup(REPLICAS.profile("chooser"), 1, (), 10))
    assert steps(one(replicas, 1, order(10, 1))) == ["selector_table hit nothing"]


def test_every_table_in_order_with_the_full_names() -> None:
    switch = ENTITIES.switch()
    mac = 0x0200_0000_0001
    switch.insert(ENTITIES.entry("mac_table", (Exact(mac),), ENTITIES.call("count_and_forward", 7)))
    frame = mac.to_bytes(6, "big") + bytes(6) + b"\x88\xcc"
    first = one(switch, 3, frame)
    assert steps(first) == [
        "source_table miss learn",
        "acl_table miss NoAction",
        "const_table hit drop",
        "keyless_table miss NoAction",
        "mac_table hit count_and_forward",
    ]
    assert ends(first) == ["LEFT 7"]
    assert first.ends[0].frame == frame
    other = one(switch, 3, bytes(12) + b"\x08\x00")
    assert steps(other)[-3:] == [
        "mac_table miss to_controller",
        "route_table miss NoAction",
        "uplink_table miss nothing",
    ]
    assert first.steps[0] == TableStep("ingress.source_table", False, "ingress.learn")


def test_parser_errors_are_named(replicas: Switch) -> None:
    record = one(replicas, 1, b"\0")
    assert record.parser_error == "PacketTooShort"
    assert ends(record) == ["DROPPED_INGRESS"]


def test_resubmitted_packets_are_chosen_as_they_came(replicas: Switch) -> None:
    packets = [(1, order(4)), (1, order(0))]
    assert len(trace(replicas, packets, "order.op == 4 && order.kept == 0")) == 1
    assert trace(replicas, packets, "order.op == 4 && order.kept != 0") == []


def test_several_watches_get_their_own(replicas: Switch) -> None:
    first: list[Record] = []
    second: list[Record] = []
    tracer = replicas.tracer(lambda: NOW_NS)
    watches = [
        Watch(parse_filter("order.op == 5", replicas.program), first.append),
        Watch(parse_filter("port == 1", replicas.program), second.append),
    ]
    for watch in watches:
        tracer.join(watch, tracer.prepare(watch))
    for port, packet in ((1, order(5)), (2, order(5)), (1, order(0)), (2, order(0))):
        replicas.process(port, packet)
    assert [record.port for record in first] == [1, 2]
    assert [record.frame[0] for record in second] == [5, 0]
    tracer.leave(watches[0])
    replicas.process(1, order(5))
    assert (len(first), len(second)) == (2, 3)
    tracer.leave(watches[1])
    replicas.process(1, order(5))
    assert (len(first), len(second)) == (2, 3)


def _ignore(record: Record) -> None:
    pass


def test_there_is_a_limit_to_watches(replicas: Switch) -> None:
    tracer = replicas.tracer(lambda: NOW_NS)
    expression = parse_filter("order", replicas.program)
    for _ in range(MAX_WATCHES):
        watch = Watch(expression, _ignore)
        tracer.join(watch, tracer.prepare(watch))
    with pytest.raises(TracerBusy):
        tracer.prepare(Watch(expression, _ignore))


def test_nobody_watches_and_nothing_is_different(replicas: Switch) -> None:
    before = replicas.source
    plain = replicas._engine._ingress
    with watched(replicas):
        assert replicas._engine._ingress is not plain
    assert replicas._engine._ingress is plain
    assert replicas.source == before


MakeEntities = Callable[[CompiledProgram, Random], list[Entity]]
MakePackets = Callable[[Random, int], list[Packet]]
PROGRAMS: dict[str, tuple[MakeEntities, MakePackets]] = {
    "matches": (engine_packets.matches_entities, engine_packets.matches_packets),
    "arithmetic": (lambda program, random: [], engine_packets.arithmetic_packets),
    "stacks": (lambda program, random: [], engine_packets.stacks_packets),
    "replicas": (lambda program, random: engine_packets.replicas_entities(program), engine_packets.replicas_packets),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_watching_changes_nothing_and_tells_what_leaves(name: str) -> None:
    program, random = CompiledProgram(name), Random(7)
    make_entities, make_packets = PROGRAMS[name]
    plain, seen = program.switch(), program.switch()
    for entity in make_entities(program, random):
        plain.insert(entity)
        seen.insert(entity)
    with watched(seen) as records:
        for port, packet in make_packets(random, 400):
            out = plain.process(port, packet)
            assert seen.process(port, packet) == out
            record = records.pop()
            assert not records
            left = [end for end in record.ends if end.verdict in (Verdict.LEFT, Verdict.CONTROLLER)]
            assert [(end.port, end.frame) for end in left] == out
            assert record.ends
            assert from_document(to_document(record, snaplen=1 << 16, both=True)) == record
    assert seen.stats == plain.stats
    assert seen.take_digests() == plain.take_digests()


def test_documents_carry_no_more_than_asked(replicas: Switch) -> None:
    record = one(replicas, 1, order(0, payload=bytes(100)))
    document = to_document(record, snaplen=20, both=False)
    back = from_document(document)
    assert (back.frame, back.length) == (record.frame[:20], 116)
    assert (back.ends[0].frame, back.ends[0].length) == (None, 116)
    both = from_document(to_document(record, snaplen=20, both=True))
    assert both.ends[0].frame == (record.ends[0].frame or b"")[:20]


def test_timing_counts_packets_while_it_is_wanted(replicas: Switch) -> None:
    now = iter(range(0, 1000, 10))
    timing = replicas.measure(lambda: next(now))
    replicas.process(1, order(0))
    with watched(replicas) as records:
        replicas.process(1, order(17, 3))
    assert (timing.packets, timing.ns, len(records)) == (2, 20, 1)
    replicas.measure(None)
    replicas.process(1, order(0))
    assert timing.packets == 2


def test_short_names_are_still_unique() -> None:
    names = ["ingress.acl.table_a", "egress.acl.table_a", "ingress.other", "other", "plain"]
    assert short_names(names) == {
        "ingress.acl.table_a": "ingress.acl.table_a",
        "egress.acl.table_a": "egress.acl.table_a",
        "ingress.other": "ingress.other",
        "other": "other",
        "plain": "plain",
    }
    assert short_names(["ingress.vips.vip_table", "ingress.acl_table"]) == {
        "ingress.vips.vip_table": "vip_table",
        "ingress.acl_table": "acl_table",
    }


def test_the_legend_numbers_tables_as_the_program_lists_them() -> None:
    switch = ENTITIES.switch()
    names = {action.name: number for number, action in enumerate(switch.program.actions.values())}
    legend = Legend(switch.program, names, 255)
    assert legend.tables[legend.table_numbers["ingress.acl_table"]] == "ingress.acl_table"
    assert legend.step(0, True, -1).action is None
