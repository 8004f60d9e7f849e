"""What clients wrote and packets left is there again after the process: on the real kernel, packets by test runs."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from finsy.proto import p4r
from sw_fallback.tests.entities_program import (
    ACL,
    DELETE,
    INSERT,
    MAC,
    MODIFY,
    PORT_COUNTER,
    config,
    entity,
    mac_entry,
)
from sw_fallback.tests.pinned_life import Life, bpffs
from sw_fallback.tests.random_entities import RandomEntities

from softswitch.engine.xdp.availability import why_not
from softswitch.entities import Counter, Exact, SelectorGroup, SelectorMember, TableEntry, TableKey
from softswitch.errors import EntityError
from softswitch.pinned import PinError
from softswitch.server.pipeline import Pipeline
from softswitch.server.replication_codec import ReplicationCodec
from softswitch.server.selector_codec import encode_group, encode_member
from softswitch.server.status import Refusal
from softswitch.switch import Entity

REASON = why_not()
pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a BPF file system"),
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]

Config = p4r.ForwardingPipelineConfig


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with bpffs(tmp_path) as place:
        yield place / "switch"


def frame(dst: int, src: int = 0, ether_type: int = 0x1234) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + ether_type.to_bytes(2, "big") + bytes(50)


def with_sizes(**sizes: int) -> Config:
    """The program with tables of other sizes."""
    made = config()
    device = json.loads(made.p4_device_config)
    for table in (table for pipeline in device["pipelines"] for table in pipeline["tables"]):
        table["max_size"] = sizes.get(table["name"].removeprefix("ingress."), table["max_size"])
    for described in made.p4info.tables:
        described.size = sizes.get(described.preamble.name.removeprefix("ingress."), described.size)
    made.p4_device_config = json.dumps(device).encode()
    return made


BIG_ROUTES = with_sizes(route_table=1000)
"""So many prefixes that they are in the kernel's trie."""


def start(path: Path, program: Config) -> Life:
    life = Life(path)
    life.set_config(program)
    return life


SOME_OF_EVERYTHING = [
    mac_entry(1, 2, "idle_timeout_ns: 5000000000"),
    mac_entry(2, 3),
    entity(
        "table_entry { table_id: $SOURCE match { field_id: 1 exact { value: '\\001' } } match { field_id: 2 exact {"
        " value: '\\002' } } action { action { action_id: $IGNORE_SOURCE } } metadata: 'mine' }"
    ),
    entity(
        "table_entry { table_id: $ROUTE match { field_id: 1 lpm { value: '\\200\\000\\000\\000\\000\\000' prefix_len: 9"
        " } } action { action { action_id: $FORWARD params { param_id: 1 value: '\\005' } } } }"
    ),
    entity(
        "table_entry { table_id: $ACL priority: 10 match { field_id: 1 ternary { value: '\\001' mask: '\\003' } } match"
        " { field_id: 2 range { low: '\\001' high: '\\006\\000' } } action { action { action_id: $MARK } } meter_config"
        " { cir: 1000 cburst: 2000 pir: 3000 pburst: 4000 } metadata: 'theirs' }"
    ),
    entity(
        "table_entry { table_id: $ACL priority: 9 match { field_id: 3 optional { value: '\\007' } } action { action {"
        " action_id: $DROP } } }"
    ),
    entity(
        "action_profile_member { action_profile_id: $UPLINKS member_id: 3 action { action_id: $FORWARD params {"
        " param_id: 1 value: '\\004' } } }"
    ),
    entity("action_profile_member { action_profile_id: $UPLINKS member_id: 1 action { action_id: $DROP } }"),
    entity(
        "action_profile_group { action_profile_id: $UPLINKS group_id: 7 max_size: 8 members { member_id: 3 weight: 2 }"
        " members { member_id: 1 weight: 1 } }"
    ),
    entity(
        "table_entry { table_id: $UPLINK match { field_id: 1 exact { value: '\\010\\000' } } action {"
        " action_profile_group_id: 7 } }"
    ),
    entity(
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 7 metadata: 'mine' replicas {"
        " port: '\\001' instance: 1 } } }"
    ),
    entity(
        "packet_replication_engine_entry { clone_session_entry { session_id: 8 packet_length_bytes: 20 replicas {"
        " egress_port: 1 instance: 1 } } }"
    ),
    entity("digest_entry { digest_id: $DIGEST config { max_timeout_ns: 5 max_list_size: 6 ack_timeout_ns: 7 } }"),
]
CHANGES = [
    entity(
        "table_entry { table_id: $MAC is_default_action: true action { action { action_id: $TO_CONTROLLER params {"
        " param_id: 1 value: '\\003' } } } }"
    ),
    entity("table_entry { table_id: $KEYLESS is_default_action: true action { action { action_id: $NO_ACTION } } }"),
    entity("meter_entry { meter_id: $PORT_METER index { index: 2 } config { cir: 1 cburst: 2 pir: 3 pburst: 4 } }"),
    entity("counter_entry { counter_id: $PORT_COUNTER index { index: 1 } data { packet_count: 100 byte_count: 999 } }"),
    entity("register_entry { register_id: $SEEN index { index: 3 } data { bitstring: '\\022\\064' } }"),
]


def write_some_of_everything(life: Life) -> None:
    for one in SOME_OF_EVERYTHING:
        life.write(INSERT, one)
    for one in CHANGES:
        life.write(MODIFY, one)


@pytest.mark.parametrize("way", ["stop", "die"])
@pytest.mark.parametrize("program", [config(cookie=77), BIG_ROUTES], ids=["as it is", "many prefixes"])
class TestSameProgram:
    def test_everything_is_as_it_was(self, path: Path, program: Config, way: str) -> None:
        before = start(path, program)
        write_some_of_everything(before)
        for dst in (1, 2, 1):
            before.switch.process(1, frame(dst))
        state = before.state()
        getattr(before, way)()
        after = Life(path)
        assert after.pipeline.config == program
        assert after.state() == state
        assert len(state) > len(SOME_OF_EVERYTHING) + len(CHANGES)
        after.stop()

    def test_packets_go_where_they_went(self, path: Path, program: Config, way: str) -> None:
        before = start(path, program)
        write_some_of_everything(before)
        packets = [frame(dst, src, kind) for dst in (1, 3, 1 << 47) for src in (0, 1, 9) for kind in (0x800, 0x1234)]
        out = [before.switch.process(port, packet) for port in (1, 7) for packet in packets]
        assert len({port for packets in out for port, _ in packets}) > 3
        getattr(before, way)()
        after = Life(path)
        assert [after.switch.process(port, packet) for port in (1, 7) for packet in packets] == out
        after.stop()

    def test_what_is_written_after_is_kept_too(self, path: Path, program: Config, way: str) -> None:
        life = start(path, program)
        write_some_of_everything(life)
        for turn in range(3):
            getattr(life, way)()
            life = Life(path)
            life.write(INSERT, mac_entry(100 + turn))
            life.write(DELETE if turn == 1 else MODIFY, SOME_OF_EVERYTHING[turn])
        state = life.state()
        getattr(life, way)()
        after = Life(path)
        assert after.state() == state
        after.stop()


@pytest.mark.parametrize("is_first", [True, False])
def test_the_older_of_two_entries_with_one_priority_wins_as_before(path: Path, is_first: bool) -> None:
    acl = (
        "table_entry { table_id: $ACL priority: 10 match { field_id: 1 ternary { value: '\\001' mask: '%s' } } action {"
    )
    drop = entity(acl % "\\003" + " action { action_id: $DROP } } }")
    mark = entity(acl % "\\001" + " action { action_id: $MARK } } }")
    life = start(path, config())
    for one in (drop, mark) if is_first else (mark, drop):
        life.write(INSERT, one)
    life.write(MODIFY, drop)  # its age stays
    for _ in range(2):
        key = life.pipeline.schema.tables[ACL].decode_key((drop if is_first else mark).table_entry)
        assert next(life.switch.entries(ACL)).key == key
        life.die()
        life = Life(path)
    life.stop()


class TestCounts:
    def counted(self, life: Life, dst: int) -> Counter:
        key = life.pipeline.schema.tables[MAC].decode_key(mac_entry(dst).table_entry)
        return life.switch.direct_counter(key)

    def test_a_modified_entry_goes_on_counting(self, path: Path) -> None:
        before = start(path, config())
        before.write(INSERT, mac_entry(1, 2))
        before.switch.process(1, frame(1))
        before.write(MODIFY, mac_entry(1, 3))
        before.switch.process(1, frame(1))
        before.die()
        after = Life(path)
        after.switch.process(1, frame(1))
        assert self.counted(after, 1) == Counter(3, 3 * 64)
        after.stop()

    def test_counters_that_were_written(self, path: Path) -> None:
        before = start(path, config())
        before.write(INSERT, mac_entry(1, 2))
        before.switch.process(1, frame(1))
        before.write(MODIFY, mac_entry(1, 2, "counter_data { packet_count: 50 byte_count: 60 }"))
        before.write(
            MODIFY, entity("counter_entry { counter_id: $PORT_COUNTER index { index: 1 } data { packet_count: 7 } }")
        )
        before.switch.process(1, frame(1))
        before.die()
        after = Life(path)
        assert self.counted(after, 1) == Counter(51, 124)
        assert after.switch.counter(PORT_COUNTER, 1) == Counter(8, 64)
        after.stop()

    def test_the_last_packets_of_the_old_program_count(self, path: Path) -> None:
        given, other = config(), with_sizes(mac_table=1000)
        before = Life(path, given)
        before.write(INSERT, mac_entry(1, 2))
        before.switch.process(1, frame(1))
        before.die()
        after = Life(path, other, before_start=lambda: [before.switch.process(1, frame(1)) for _ in range(5)] and None)
        assert self.counted(after, 1) == Counter(6, 6 * 64)
        after.stop()


def test_digests_wait_for_the_next_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = start(path, config())
    monkeypatch.setattr(before.engine, "poll", list)  # it never looks
    before.switch.process(1, frame(1, src=0xABCD))
    before.die()
    after = Life(path)
    after.switch.poll()
    assert [members for _, members in after.switch.take_digests()] == [(0xABCD, 1)]
    after.stop()


class TestTimeouts:
    def test_an_idle_entry_times_out_by_its_last_hit(self, path: Path) -> None:
        timeout = 10 * 10**9
        before = start(path, config())
        before.write(INSERT, mac_entry(1, 2, f"idle_timeout_ns: {timeout}"))
        before.write(INSERT, mac_entry(2, 2, f"idle_timeout_ns: {timeout}"))
        before.switch.process(1, frame(1))
        written = time.monotonic_ns()
        before.die()
        after = Life(path)
        assert after.switch.idle_entries(written + timeout // 2) == []
        assert len(after.switch.idle_entries(written + timeout)) == 2
        after.stop()

    def test_timestamps_go_on(self, path: Path) -> None:
        before = start(path, config())
        started = before.engine.started
        before.die()
        after = Life(path)
        assert after.engine.started == started
        after.stop()


class TestAnotherProgram:
    @pytest.mark.parametrize(
        "program",
        [
            with_sizes(mac_table=1000, source_table=8, route_table=20, acl_table=100),
            BIG_ROUTES,
            with_sizes(route_table=2000, uplink_table=17),
        ],
        ids=["other rows", "prefixes into a trie", "other groups"],
    )
    @pytest.mark.parametrize("first", [config(), BIG_ROUTES], ids=["as it was", "prefixes in a trie"])
    def test_entries_move(self, path: Path, program: Config, first: Config) -> None:
        before = Life(path, first)
        write_some_of_everything(before)
        before.switch.process(1, frame(1))
        state = before.state()
        before.die()
        after = Life(path, program)
        assert after.pipeline.config == program
        assert after.state() == state
        after.stop()

    def test_what_does_not_fit_is_told(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        before = Life(path, config())
        for dst in range(10):
            before.write(INSERT, mac_entry(dst))
        before.die()
        after = Life(path, with_sizes(mac_table=8))
        assert after.switch.entry_count(MAC) == 8
        assert "2 entities do not fit this program and are gone" in caplog.text
        after.stop()

    def test_the_same_command_line_goes_on_with_the_clients_program(self, path: Path) -> None:
        before = Life(path, config())
        before.set_config(BIG_ROUTES)
        before.die()
        after = Life(path, config())
        assert after.pipeline.config == BIG_ROUTES
        after.stop()

    def test_a_program_that_a_client_sets_is_what_stays(self, path: Path) -> None:
        before = start(path, config())
        before.write(INSERT, mac_entry(1))
        before.set_config(BIG_ROUTES)
        before.write(INSERT, mac_entry(2))
        before.die()
        after = Life(path)
        assert after.pipeline.config == BIG_ROUTES
        assert [key.match[0] for key in keys(after)] == [Exact(2)]
        after.stop()

    def test_reconcile_keeps_entries_and_a_new_cookie(self, path: Path) -> None:
        before = start(path, config(cookie=1))
        before.write(INSERT, mac_entry(1))
        reconcile = p4r.SetForwardingPipelineConfigRequest.RECONCILE_AND_COMMIT
        before.set_config(config(cookie=2), reconcile)
        before.die()
        after = Life(path)
        assert after.pipeline.config.cookie.cookie == 2
        after.set_config(BIG_ROUTES, reconcile)
        after.die()
        last = Life(path)
        assert (last.pipeline.config, last.switch.entry_count(MAC)) == (BIG_ROUTES, 1)
        last.stop()


def keys(life: Life) -> list[TableKey]:
    return [entry.key for entry in life.switch.entries(MAC)]


class TestTheFolder:
    def test_it_belongs_to_one_process(self, path: Path) -> None:
        life = start(path, config())
        with pytest.raises(PinError, match="belongs to a softswitch that is running"):
            Life(path)
        life.stop()
        Life(path).stop()

    def test_elsewhere_than_on_a_bpf_file_system(self, tmp_path: Path) -> None:
        with pytest.raises(PinError, match="mount -t bpf"):
            Life(tmp_path / "switch")

    def test_one_whole_program_is_there(self, path: Path) -> None:
        life = start(path, config())
        for turn in range(3):
            life.set_config(config(cookie=turn))
            assert len(life.keeper.folder.numbers()) == 1
        life.die()
        life = Life(path)
        assert len(life.keeper.folder.numbers()) == 1
        life.stop()

    def test_a_program_that_is_not_whole_is_passed_over(self, path: Path) -> None:
        life = start(path, config())
        life.write(INSERT, mac_entry(1))
        life.die()
        number = life.keeper.folder.numbers()[-1]
        (path / str(number + 1) / "maps").mkdir(parents=True)
        after = Life(path)
        assert after.switch.entry_count(MAC) == 1
        assert len(after.keeper.folder.numbers()) == 1
        after.stop()

    def test_another_versions_memory_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        life = start(path, config())
        life.stop()
        monkeypatch.setattr("softswitch.engine.xdp.legacy.FORMAT", 2)
        with pytest.raises(
            PinError, match=r"another version of softswitch: .* goes on forwarding until `softswitch unpin"
        ):
            Life(path)

    def test_nothing_is_left_when_it_is_cleared(self, path: Path) -> None:
        life = start(path, config())
        life.keeper.clear()
        life.stop()
        assert list(path.iterdir()) == []


class TestBuckets:
    """Eight buckets of seven slots for 32 entries: some end up in a later one."""

    def test_a_process_that_ended_between_a_slot_and_what_is_said_of_it(self, path: Path) -> None:
        life = Life(path, with_sizes(mac_table=32))
        for dst in range(32):
            life.write(INSERT, mac_entry(dst, 3))
        words = life.engine.legacy().maps["mac_table_buckets"].memory().cast("I")
        fresh = 32
        while not any(words[7::8]):
            life.write(DELETE, mac_entry(fresh - 32))
            life.write(INSERT, mac_entry(fresh, 3))
            fresh += 1
        for bucket in range(8):
            words[8 * bucket + 7] = 0
        life.die()
        after = Life(path)
        entries = list(range(fresh - 32, fresh))
        assert [port for dst in entries for port, _ in after.switch.process(1, frame(dst))] == [3] * 32
        for dst in entries:
            after.write(DELETE, mac_entry(dst))
        for dst in range(32):
            after.write(INSERT, mac_entry(dst, 4))
        assert [port for dst in range(32) for port, _ in after.switch.process(1, frame(dst))] == [4] * 32
        after.stop()

    def test_memory_that_does_not_fit_is_refused(self, path: Path) -> None:
        life = start(path, config())
        life.write(INSERT, mac_entry(1))
        words = life.engine.legacy().maps["mac_table_rows"].memory().cast("Q")
        place = next(iter(life.switch.entries(MAC)))
        stride = life.engine.legacy().maps["mac_table_rows"].stride // 8
        words[life.switch.place(place.key) * stride] ^= 1 << 40
        life.die()
        with pytest.raises((PinError, Refusal), match="does not fit the key of its row"):
            Life(path)
        assert life.keeper.folder.numbers(), "what was there stays there"


class TestGrowingIndex:
    """512 buckets, of which 64 are homes at first."""

    ENTRIES = 170
    GROWN = 1
    """The word of row 0 that says how many are."""

    @pytest.fixture
    def grows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("softswitch.engine.xdp.sizes._FIXED", 256)
        monkeypatch.setattr("softswitch.engine.xdp.sizes._FIRST", 64)

    def start(self, path: Path) -> Life:
        life = Life(path, with_sizes(mac_table=2000))
        for dst in range(self.ENTRIES):
            life.write(INSERT, mac_entry(dst, dst % 5))
        return life

    def check(self, life: Life, entries: int) -> None:
        ports = [port for dst in range(entries) for port, _ in life.switch.process(1, frame(dst))]
        assert ports == [dst % 5 for dst in range(entries)]
        assert life.switch.entry_count(MAC) == entries

    def words(self, life: Life) -> memoryview:
        return life.engine.legacy().maps["mac_table_rows"].memory().cast("Q")

    def slots(self, life: Life) -> int:
        """How many are in use."""
        words = life.engine.legacy().maps["mac_table_buckets"].memory().cast("I").tolist()
        return sum(bool(word) for at, word in enumerate(words) if at % 8 < 7)

    @pytest.mark.usefixtures("grows")
    def test_a_process_that_ended_with_splits_unfinished(self, path: Path) -> None:
        life = self.start(path)
        homes = self.words(life)[self.GROWN] & 0xFFFFFFFF
        assert 64 < homes < 512
        assert self.slots(life) > self.ENTRIES, "some have two slots"
        state = life.state()
        life.die()
        after = Life(path)
        assert after.state() == state
        assert self.words(after)[self.GROWN] & 0xFFFFFFFF == homes
        assert self.slots(after) == self.ENTRIES
        for dst in range(self.ENTRIES, 1200):
            after.write(INSERT, mac_entry(dst, dst % 5))
        assert self.words(after)[self.GROWN] & 0xFFFFFFFF == 512
        self.check(after, 1200)
        for dst in range(1200):
            after.write(DELETE, mac_entry(dst))
        assert self.slots(after) == 0
        after.stop()

    @pytest.mark.usefixtures("grows")
    def test_memory_of_a_version_whose_index_did_not_grow(self, path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("softswitch.engine.xdp.sizes._FIXED", 512)
            life = self.start(path)
            assert self.words(life)[self.GROWN] == 0
            state = life.state()
            life.die()
        after = Life(path)
        assert after.state() == state
        self.check(after, self.ENTRIES)
        assert 64 < self.words(after)[self.GROWN] & 0xFFFFFFFF < 512
        after.stop()

    def test_memory_for_a_version_whose_index_does_not_grow(self, path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("softswitch.engine.xdp.sizes._FIXED", 256)
            patch.setattr("softswitch.engine.xdp.sizes._FIRST", 64)
            life = self.start(path)
            assert self.slots(life) > self.ENTRIES, "some have two slots"
            state = life.state()
            life.die()
        after = Life(path)
        assert after.state() == state
        self.check(after, self.ENTRIES)
        assert self.slots(after) == self.ENTRIES
        after.stop()


class TestJournal:
    def test_it_is_copied_when_it_is_full(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("softswitch.pinned.journal._ROOM", 256)
        life = start(path, config())
        route = SOME_OF_EVERYTHING[3]
        life.write(INSERT, route)
        for turn in range(100):
            route.table_entry.action.action.params[0].value = bytes([turn])
            life.write(MODIFY, route)
            if turn % 10 == 5:
                state = life.state()
                life.die()
                life = Life(path)
                assert life.state() == state
        life.stop()

    def test_metadata_of_an_entry_that_was_deleted_does_not_come_back(self, path: Path) -> None:
        life = start(path, config())
        life.write(INSERT, mac_entry(1, extra="metadata: 'mine'"))
        life.write(DELETE, mac_entry(1))
        life.write(INSERT, mac_entry(1))
        life.die()
        after = Life(path)
        assert [entry.metadata for entry in after.switch.entries(MAC)] == [b""]
        after.stop()


class TestAnySequence:
    """Random writes, packets and ends of the process; what is read is always what was there before."""

    POOLS: ClassVar = {48: (1, 2, 3, 1 << 47, (1 << 47) + 5), 16: (0x800, 0x806, 0x1234), 9: (1, 2, 3, 4)}

    @pytest.mark.parametrize("seed", range(8))
    def test_it(self, path: Path, seed: int) -> None:
        dice = random.Random(seed)
        programs = [BIG_ROUTES, config(), with_sizes(mac_table=100)]
        given = programs[seed % 3]
        life = Life(path, given)
        for _ in range(6):
            for _ in range(40):
                self.do_something(life, dice)
            state = life.state()
            (life.stop if dice.random() < 0.5 else life.die)()
            if dice.random() < 0.3:
                given = dice.choice(programs)
            life = Life(path, given)
            assert life.state() == state
        life.stop()

    def do_something(self, life: Life, dice: random.Random) -> None:
        if dice.random() < 0.3:
            life.switch.process(dice.choice((1, 2)), frame(dice.choice(self.POOLS[48]), dice.choice(self.POOLS[48])))
            return
        made = RandomEntities(life.switch.p4info, self.POOLS, 10**12).entity(dice)
        kind = dice.choice((INSERT, INSERT, INSERT, MODIFY, DELETE))
        try:
            life.write(kind, message(life.pipeline, made))
        except (Refusal, EntityError):
            return


def message(pipeline: Pipeline, made: Entity) -> p4r.Entity:
    """An entity as clients write it. Raises `Refusal` where it cannot be told."""
    match made:
        case TableEntry():
            entry = p4r.Entity()
            try:
                pipeline.schema.tables[made.key.table_id].encode_entry(made, entry.table_entry)
            except (KeyError, OverflowError) as error:
                raise EntityError(str(error)) from error
            return entry
        case SelectorMember():
            return encode_member(pipeline.schema, made)
        case SelectorGroup():
            return encode_group(made)
    codec = ReplicationCodec()
    return codec.encode_multicast(made) if hasattr(made, "group_id") else codec.encode_clone(made)
