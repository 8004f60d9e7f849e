"""What a client may write and what it reads back, on the library's face."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from sw_fallback.tests.engine_packets import order
from sw_fallback.tests.engine_programs import CompiledProgram, VirtualClock

from softswitch.entities import (
    ActionCall,
    ActionSet,
    CloneSession,
    Counter,
    Exact,
    GroupMember,
    GroupRef,
    Lpm,
    MemberRef,
    MeterConfig,
    MulticastGroup,
    Range,
    Replica,
    SelectorGroup,
    SelectorMember,
    TableEntry,
    TableKey,
    Ternary,
)
from softswitch.errors import (
    Code,
    EntityError,
    EntryExists,
    EntryNotFound,
    InvalidArgument,
    NotPermitted,
    OutOfRange,
    StillReferenced,
    TableFull,
    UnknownId,
)
from softswitch.switch import GroupKey, MemberKey, MulticastKey, SessionKey, Switch

MATCHES, ARITHMETIC, REPLICAS = CompiledProgram("matches"), CompiledProgram("arithmetic"), CompiledProgram("replicas")


def exact(a: int, b: int = 1, value: int = 1, idle_ns: int = 0) -> TableEntry:
    return MATCHES.entry("exact_table", (Exact(a), Exact(b)), MATCHES.call("exact_hit", value), idle_ns=idle_ns)


def probe(a: int, b: int) -> bytes:
    return a.to_bytes(4, "big") + b.to_bytes(2, "big") + bytes(9)


def test_insert_modify_delete() -> None:
    switch = MATCHES.switch()
    entry = exact(1)
    switch.insert(entry)
    with pytest.raises(EntryExists):
        switch.insert(entry)
    changed = exact(1, value=9)
    switch.modify(changed)
    assert switch.entry(entry.key) == changed
    assert list(switch.entries(entry.key.table_id)) == [changed]
    assert switch.process(1, probe(1, 1))[0][1][8] == 9
    switch.delete(entry.key)
    assert switch.process(1, probe(1, 1))[0][1][8] == 0
    for refused in (lambda: switch.delete(entry), lambda: switch.modify(entry), lambda: switch.entry(entry.key)):
        with pytest.raises(EntryNotFound):
            refused()


def test_a_full_table() -> None:
    switch = MATCHES.switch()
    for number in range(16):
        switch.insert(exact(number))
    with pytest.raises(TableFull):
        switch.insert(exact(99))
    switch.delete(exact(3))
    switch.insert(exact(99))


_TERNARY = (Ternary(1, 1), Exact(1), None)


@pytest.mark.parametrize(
    ("table", "match", "priority"),
    [
        ("exact_table", (Exact(1),), 0),
        ("exact_table", (Exact(1), None), 0),
        ("exact_table", (Exact(1), Exact(1 << 16)), 0),
        ("exact_table", (Exact(-1), Exact(1)), 0),
        ("exact_table", (Exact(1), Ternary(1, 1)), 0),
        ("exact_table", (Exact(1), Exact(1)), 5),
        ("lpm_table", (Exact(1), Lpm(1, 0)), 0),
        ("lpm_table", (Exact(1), Lpm(1, 33)), 0),
        ("lpm_table", (Exact(1), Lpm(1, 8)), 0),
        ("ternary_table", _TERNARY, 0),
        ("ternary_table", _TERNARY, 1 << 31),
        ("ternary_table", (Ternary(3, 1), Exact(1), None), 1),
        ("ternary_table", (Ternary(0, 0), Exact(1), None), 1),
        ("range_table", (Range(5, 4), None, None), 1),
        ("range_table", (Range(5, 1 << 16), None, None), 1),
        ("optional_table", (Ternary(1, 1), None), 1),
    ],
)
def test_keys_that_break_a_rule(table: str, match: tuple, priority: int) -> None:  # type: ignore[type-arg]
    switch = MATCHES.switch()
    action = MATCHES.call(table.replace("_table", "_hit"), 1)
    with pytest.raises(InvalidArgument):
        switch.insert(MATCHES.entry(table, match, action, priority))
    assert list(switch.entries(MATCHES.info.table(table).id)) == []


@pytest.mark.parametrize(
    "action",
    [
        MATCHES.call("lpm_hit", 1),
        MATCHES.call("exact_hit"),
        MATCHES.call("exact_hit", 1, 2),
        MATCHES.call("exact_hit", 256),
        ActionCall(12345),
        MemberRef(1),
    ],
)
def test_actions_that_break_a_rule(action: ActionCall) -> None:
    with pytest.raises(InvalidArgument):
        MATCHES.switch().insert(replace(exact(1), action=action))


def test_unknown_ids() -> None:
    switch = MATCHES.switch()
    for refused in (
        lambda: switch.insert(TableEntry(TableKey(1, ()), ActionCall(1))),
        lambda: list(switch.entries(1)),
        lambda: switch.counter(1, 0),
        lambda: switch.register(1, 0),
        lambda: switch.meter(1, 0),
        lambda: switch.direct_meter(exact(1).key),
        lambda: list(switch.selector_groups(1)),
    ):
        with pytest.raises(UnknownId) as caught:
            refused()
        assert caught.value.code is Code.NOT_FOUND


def test_constant_entries_are_read_and_stay() -> None:
    switch = MATCHES.switch()
    table = MATCHES.info.table("const_table").id
    entries = list(switch.entries(table))
    assert [entry.key.match for entry in entries] == [
        (Range(1, 10), Ternary(0x0A000000, 0xFF000000)),
        (Range(5, 20), None),
        (None, Ternary(0xFFFFFFFF, 0xFFFFFFFF)),
    ]
    assert [entry.action.params for entry in entries] == [(1,), (2,), (3,)]  # type: ignore[union-attr]
    priorities = [entry.key.priority for entry in entries]
    assert priorities == sorted(priorities, reverse=True)
    assert min(priorities) > 0
    with pytest.raises(NotPermitted):
        switch.delete(entries[0])
    with pytest.raises(NotPermitted):
        switch.set_default_action(table, MATCHES.call("NoAction"))
    assert switch.process(1, probe(0x0A000001, 7))[0][1][13] == 1
    assert switch.process(1, probe(0x0B000001, 7))[0][1][13] == 2
    assert switch.process(1, probe(0xFFFFFFFF, 70))[0][1][13] == 3


def test_default_actions() -> None:
    switch = MATCHES.switch()
    table = MATCHES.info.table("lpm_table").id
    own = MATCHES.call("lpm_hit", 0xEE)
    assert switch.default_action(table) == own
    switch.set_default_action(table, MATCHES.call("lpm_hit", 5))
    assert switch.default_action(table) == MATCHES.call("lpm_hit", 5)
    assert switch.process(1, probe(1, 1))[0][1][9] == 5
    with pytest.raises(InvalidArgument):
        switch.set_default_action(table, MATCHES.call("exact_hit", 5))
    switch.set_default_action(table, None)
    assert switch.default_action(table) == own
    assert switch.process(1, probe(1, 1))[0][1][9] == 0xEE


def test_direct_counters_count_hits() -> None:
    switch = MATCHES.switch()
    entry = exact(1)
    switch.insert(entry)
    for length in (15, 20, 1000):
        switch.process(1, probe(1, 1).ljust(length, b"x"))
    switch.process(1, probe(2, 1))
    assert switch.direct_counter(entry.key) == Counter(3, 1035)
    switch.modify(exact(1, value=3))
    assert switch.direct_counter(entry.key) == Counter(3, 1035)
    switch.set_direct_counter(entry.key, Counter(7, 70))
    switch.process(1, probe(1, 1))
    assert switch.direct_counter(entry.key) == Counter(8, 85)
    with pytest.raises(InvalidArgument):
        switch.set_direct_counter(entry.key, Counter(-1, 0))
    with pytest.raises(InvalidArgument):
        switch.direct_counter(MATCHES.key("lpm_table", Exact(1), None))


def test_indirect_counters_and_registers() -> None:
    switch, orders = REPLICAS.switch(), REPLICAS.counter("orders")
    for _ in range(3):
        switch.process(1, order(5, payload=b"1234"))
    switch.process(1, order(255))  # past the end of the array
    assert switch.counter_size(orders) == 200
    assert switch.counter(orders, 5) == Counter(3, 60)
    switch.set_counter(orders, 199, Counter(4, 5))
    assert switch.counter(orders, 199) == Counter(4, 5)
    for index in (-1, 200):
        with pytest.raises(OutOfRange):
            switch.counter(orders, index)
    registers, wide = ARITHMETIC.switch(), ARITHMETIC.register("wide_register")
    registers.set_register(wide, 63, (1 << 96) - 1)
    assert registers.register(wide, 63) == (1 << 96) - 1
    assert registers.register_size(wide) == 64
    with pytest.raises(InvalidArgument):
        registers.set_register(wide, 0, 1 << 96)
    with pytest.raises(OutOfRange):
        registers.register(wide, 64)


def _profile_switch() -> tuple[Switch, int]:
    switch, chooser = REPLICAS.switch(), REPLICAS.profile("chooser")
    for number in (1, 2, 3):
        switch.insert(SelectorMember(chooser, number, REPLICAS.call("choose", number)))
    return switch, chooser


def test_members_and_groups_hold_each_other() -> None:
    switch, chooser = _profile_switch()
    group = SelectorGroup(chooser, 1, (GroupMember(1, 1), GroupMember(2, 3)), max_size=4)
    switch.insert(group)
    entry = REPLICAS.entry("selector_table", (Exact(1),), GroupRef(1))
    switch.insert(entry)
    assert list(switch.selector_groups(chooser)) == [group]
    with pytest.raises(StillReferenced):
        switch.delete(MemberKey(chooser, 2))
    with pytest.raises(StillReferenced):
        switch.delete(GroupKey(chooser, 1))
    with pytest.raises(EntryNotFound):
        switch.modify(replace(group, members=(GroupMember(9, 1),)))
    with pytest.raises(TableFull):
        switch.modify(replace(group, members=(GroupMember(1, 5),)))
    with pytest.raises(InvalidArgument):
        switch.modify(replace(group, members=(GroupMember(1, 0),)))
    assert list(switch.selector_groups(chooser)) == [group]
    switch.modify(replace(group, members=(GroupMember(3, 1),)))
    assert switch.process(1, order(10, 1))[0][1][15] == 3
    switch.modify(SelectorMember(chooser, 3, REPLICAS.call("choose", 33)))
    assert switch.process(1, order(10, 1))[0][1][15] == 33
    switch.delete(entry)
    switch.delete(GroupKey(chooser, 1))
    switch.delete(MemberKey(chooser, 3))
    assert [member.member_id for member in switch.selector_members(chooser)] == [1, 2]


def test_weights_share_packets() -> None:
    switch, chooser = _profile_switch()
    switch.insert(SelectorGroup(chooser, 1, (GroupMember(1, 1), GroupMember(2, 3))))
    switch.insert(REPLICAS.entry("selector_table", (Exact(1),), GroupRef(1)))
    shares = {1: 0, 2: 0}
    random = Random(1)
    for _ in range(2000):
        shares[switch.process(1, order(10, 1, rest=random.randbytes(12)))[0][1][15]] += 1
    assert 400 < shares[1] < 600


def test_action_sets_and_empty_groups() -> None:
    switch, chooser = _profile_switch()
    one_shot = ActionSet(((REPLICAS.call("choose", 44), 2, 0),))
    switch.insert(REPLICAS.entry("selector_table", (Exact(1),), one_shot))
    assert switch.process(1, order(10, 1))[0][1][15] == 44
    switch.insert(SelectorGroup(chooser, 5, ()))
    switch.insert(REPLICAS.entry("selector_table", (Exact(2),), GroupRef(5)))
    assert switch.process(1, order(10, 2))[0][1][15] == 0
    for action in (ActionSet(()), GroupRef(77), MemberRef(77), REPLICAS.call("choose", 1)):
        with pytest.raises(EntityError):
            switch.insert(REPLICAS.entry("selector_table", (Exact(3),), action))
    with pytest.raises(InvalidArgument):
        switch.insert(REPLICAS.entry("profile_table", (Exact(3),), GroupRef(5)))


def test_a_failed_modify_keeps_the_reference() -> None:
    switch, chooser = _profile_switch()
    entry = REPLICAS.entry("selector_table", (Exact(1),), MemberRef(1))
    switch.insert(entry)
    with pytest.raises(EntryNotFound):
        switch.modify(replace(entry, action=MemberRef(77)))
    with pytest.raises(StillReferenced):
        switch.delete(MemberKey(chooser, 1))
    switch.modify(replace(entry, action=MemberRef(2)))
    switch.delete(MemberKey(chooser, 1))


def test_replication_entities() -> None:
    switch = REPLICAS.switch()
    group = MulticastGroup(1, (Replica(1, 1), Replica(2, 1)))
    session = CloneSession(5, (Replica(1),), packet_length=20)
    switch.insert(group)
    switch.insert(session)
    assert list(switch.multicast_groups()) == [group]
    assert list(switch.clone_sessions()) == [session]
    for entity in (group, session):
        with pytest.raises(EntryExists):
            switch.insert(entity)
    for refused in (
        MulticastGroup(0, ()),
        MulticastGroup(2, (Replica(1, 1), Replica(1, 1))),
        CloneSession(32768, ()),
        CloneSession(0, ()),
    ):
        with pytest.raises(InvalidArgument):
            switch.insert(refused)
    switch.delete(MulticastKey(1))
    switch.delete(SessionKey(5))
    for gone in (group, session):
        with pytest.raises(EntryNotFound):
            switch.modify(gone)


def test_meters_colour_by_rate() -> None:
    clock = VirtualClock()
    switch, meter = REPLICAS.switch(clock), REPLICAS.meter("byte_meter")
    config = MeterConfig(cir=1000, cburst=40, pir=2000, pburst=60)
    assert switch.meter(meter, 3) is None
    assert switch.process(1, order(8, 3))[0][1][14] == 0
    switch.set_meter(meter, 3, config)
    assert switch.meter(meter, 3) == config
    assert switch.meter_size(meter) == 16
    packet = order(8, 3, payload=b"1234")  # 20 octets
    assert [switch.process(1, packet)[0][1][14] for _ in range(4)] == [0, 0, 1, 2]
    clock.pass_seconds(0.010)  # 10 octets at the committed rate, 20 at the peak rate
    assert [switch.process(1, packet)[0][1][14] for _ in range(2)] == [1, 2]
    clock.pass_seconds(1)
    assert switch.process(1, packet)[0][1][14] == 0
    switch.set_meter(meter, 3, None)
    assert [switch.process(1, packet)[0][1][14] for _ in range(9)] == [0] * 9
    with pytest.raises(InvalidArgument):
        switch.set_meter(meter, 3, replace(config, cir=3000))
    with pytest.raises(OutOfRange):
        switch.set_meter(meter, 16, config)


def test_direct_meters_count_packets() -> None:
    switch = REPLICAS.switch(VirtualClock())
    entry = REPLICAS.entry("meter_table", (Exact(1),), REPLICAS.call("metered"))
    switch.insert(entry)
    config = MeterConfig(cir=1, cburst=1, pir=1, pburst=2)
    assert switch.direct_meter(entry.key) is None
    switch.set_direct_meter(entry.key, config)
    assert switch.direct_meter(entry.key) == config
    assert [switch.process(1, order(9, 1))[0][1][14] for _ in range(3)] == [0, 1, 2]


def test_idle_timeouts_are_reported_once_a_period() -> None:
    clock = VirtualClock()
    switch = MATCHES.switch(clock)
    second = 1_000_000_000
    quiet, busy, forever = exact(1, idle_ns=10 * second), exact(2, idle_ns=10 * second), exact(3)
    for entry in (quiet, busy, forever):
        switch.insert(entry)
    reported = []
    for _ in range(25):
        clock.pass_seconds(1)
        switch.process(1, probe(2, 1))
        reported += [(clock.now_ns // second, key) for key in switch.idle_entries(clock.now_ns)]
    assert reported == [(10, quiet.key), (20, quiet.key)]
    assert switch.time_since_last_hit(quiet.key) == 25 * second
    assert switch.time_since_last_hit(busy.key) == 0
    switch.modify(replace(quiet, idle_timeout_ns=2 * second))
    clock.pass_seconds(1)
    assert switch.idle_entries(clock.now_ns) == []
    clock.pass_seconds(1)
    assert switch.idle_entries(clock.now_ns) == [quiet.key]
    switch.delete(quiet)
    clock.pass_seconds(100)
    assert switch.idle_entries(clock.now_ns) == [busy.key]
    with pytest.raises(InvalidArgument):
        switch.insert(MATCHES.entry("lpm_table", (Exact(1), None), MATCHES.call("lpm_hit", 1), idle_ns=1))


def test_digests_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softswitch.switch.MAX_DIGESTS", 3)
    switch = REPLICAS.switch()
    digest = next(iter(REPLICAS.info.digests))
    for number in range(5):
        switch.process(number, order(6, 10 + number))
    assert switch.take_digests() == [(digest, (10 + number, number)) for number in range(3)]
    assert switch.stats.digests_lost == 2
    assert switch.take_digests() == []


def test_idle_entries_come_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softswitch.switch.MAX_IDLE", 4)
    clock = VirtualClock()
    switch = MATCHES.switch(clock)
    entries = [exact(number, idle_ns=1_000_000_000) for number in range(10)]
    for entry in entries:
        switch.insert(entry)
    clock.pass_seconds(1)
    portions = [switch.idle_entries(clock.now_ns) for _ in range(4)]
    assert [len(portion) for portion in portions] == [4, 4, 2, 0]
    assert [key for portion in portions for key in portion] == [entry.key for entry in entries]
