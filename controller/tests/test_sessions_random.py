"""The session tracker fed at random: whatever comes, in whatever order, the switch and the counts stay right."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from depot.address import Endpoint, FlowKey, Protocol, parse_endpoint
from depot.switching.commands import (
    InstallEntry,
    RemoveEntry,
    SessionClosed,
    SessionMoved,
    SessionOpened,
    UpdateEntry,
    Verdict,
)
from depot.switching.policy import SessionPolicy
from depot.switching.sessions import SessionTracker

VIPS = {
    1: SessionPolicy(1, parse_endpoint("192.0.2.10:80")),
    2: SessionPolicy(2, parse_endpoint("[2001:db8::20]:80"), sees_replies=False),
    3: SessionPolicy(3, parse_endpoint("192.0.2.53:53"), Protocol.UDP, idle_timeout=5.0),
}
CLIENTS = [parse_endpoint(text) for text in ("10.0.0.1:1000", "203.0.113.1:1000", "[2001:db8::1]:7", "[fd00::1]:7")]
MEMBERS = (1, 2, 3)

vip_ids = st.sampled_from(sorted(VIPS))
clients = st.sampled_from(CLIENTS)
member_ids = st.sampled_from(MEMBERS)
flags = st.sampled_from([0x02, 0x12, 0x10, 0x11, 0x01, 0x04, 0x14, 0x18, 0x00, 0x3F])


def flow(vip_id: int, client: Endpoint) -> tuple[FlowKey, bool]:
    policy = VIPS[vip_id]
    key = FlowKey.between(client, policy.endpoint, policy.protocol)
    return key, key.high == client


class RandomSessions(RuleBasedStateMachine):
    """Feeds a tracker and keeps a switch's table by its commands and the loads by its notices."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.down: set[tuple[int, int]] = set()
        self.turn = 0
        self.tracker = self.new_tracker()
        self.table: dict[FlowKey, InstallEntry | UpdateEntry] = {}
        self.load: Counter[tuple[int, int]] = Counter()
        self.refused: set[FlowKey] = set()

    def new_tracker(self) -> SessionTracker:
        tracker = SessionTracker(self.substitute)
        for policy in VIPS.values():
            tracker.set_policy(policy)
        for vip_id, member_id in self.down:
            tracker.member_down(vip_id, member_id, self.now)
        return tracker

    def substitute(self, vip_id: int) -> int | None:
        living = [member_id for member_id in MEMBERS if (vip_id, member_id) not in self.down]
        self.turn += 1
        return living[self.turn % len(living)] if living else None

    @rule(vip_id=vip_ids, client=clients, member_id=member_ids, tcp_flags=flags, remembered=st.booleans())
    def announce(self, vip_id: int, client: Endpoint, member_id: int, tcp_flags: int, remembered: bool) -> None:
        key, client_is_hi = flow(vip_id, client)
        self.tracker.new_flow(key, vip_id, member_id, client_is_hi, tcp_flags, self.now, remembered=remembered)

    @rule(vip_id=vip_ids, client=clients, member_id=member_ids, remembered=st.booleans())
    def handshake(self, vip_id: int, client: Endpoint, member_id: int, remembered: bool) -> None:
        key, client_is_hi = flow(vip_id, client)
        self.tracker.new_flow(key, vip_id, member_id, client_is_hi, 0x02, self.now, remembered=remembered)
        self.tracker.tcp_event(key, not client_is_hi, 0x12, self.now)

    @rule(vip_id=vip_ids, client=clients, src_is_hi=st.booleans(), tcp_flags=flags)
    def event(self, vip_id: int, client: Endpoint, src_is_hi: bool, tcp_flags: int) -> None:
        self.tracker.tcp_event(flow(vip_id, client)[0], src_is_hi, tcp_flags, self.now)

    @rule(vip_id=vip_ids, client=clients)
    def idle(self, vip_id: int, client: Endpoint) -> None:
        key = flow(vip_id, client)[0]
        if key in self.table:
            self.tracker.idle(key, self.now)

    @rule(vip_id=vip_ids, member_id=member_ids)
    def member_dies(self, vip_id: int, member_id: int) -> None:
        self.down.add((vip_id, member_id))
        self.tracker.member_down(vip_id, member_id, self.now)

    @precondition(lambda self: self.down)
    @rule(data=st.data())
    def member_revives(self, data: st.DataObject) -> None:
        vip_id, member_id = data.draw(st.sampled_from(sorted(self.down)))
        self.down.discard((vip_id, member_id))
        self.tracker.member_up(vip_id, member_id)

    @rule(seconds=st.sampled_from([0.01, 0.4, 0.6, 1.1, 3.0, 10.0, 31.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.tracker.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.tracker.handle_timer(self.now)
        self.now = end

    @rule(vip_id=vip_ids, client=clients)
    def an_entry_is_lost(self, vip_id: int, client: Endpoint) -> None:
        self.write()
        key = flow(vip_id, client)[0]
        self.table.pop(key, None)
        present = [self.as_read(entry) for entry in self.table.values()]
        self.tracker.reconcile(present, self.now)
        self.write()

    @rule(vip_id=vip_ids, client=clients, member_id=member_ids, tcp_flags=flags)
    def an_entry_is_refused(self, vip_id: int, client: Endpoint, member_id: int, tcp_flags: int) -> None:
        """The table is full."""
        self.write()
        key = flow(vip_id, client)[0]
        had_one = key in self.table
        self.announce(vip_id, client, member_id, tcp_flags, remembered=False)
        self.write()
        if not had_one and key in self.table:
            del self.table[key]
            self.refused.add(key)
            self.tracker.entry_refused(key, self.now)

    @rule()
    def controller_restarts(self) -> None:
        self.write()
        self.tracker = self.new_tracker()
        present = [self.as_read(entry) for entry in self.table.values()]
        self.tracker.reconcile(present, self.now)
        assert self.tracker.take_notices() == []
        self.load = Counter()
        for view in self.tracker.sessions():
            self.load[view.vip_id, view.member_id] = self.tracker.vip_member_sessions(view.vip_id, view.member_id)
        self.refused = set()
        changed = [command for command in self.tracker.take_commands() if isinstance(command, RemoveEntry)]
        assert changed == []

    @staticmethod
    def as_read(entry: InstallEntry | UpdateEntry) -> InstallEntry:
        return InstallEntry(
            entry.key, entry.verdict, entry.member_id, entry.client_is_hi, entry.closing, entry.idle_timeout
        )

    @precondition(lambda self: not self.refused)
    @rule()
    def switch_reconnects(self) -> None:
        self.write()
        before = dict(self.table)
        self.tracker.reconcile([self.as_read(entry) for entry in before.values()], self.now)
        self.write()  # sessions that the flow cache of the switch before may have held get their entries
        assert {key: self.table.get(key) for key in before} == before

    @rule()
    def write(self) -> None:
        moved: set[FlowKey] = set()
        for notice in self.tracker.take_notices():
            if isinstance(notice, SessionOpened):
                self.load[notice.vip_id, notice.member_id] += 1
                moved.add(notice.key)
            elif isinstance(notice, SessionClosed):
                self.load[notice.vip_id, notice.member_id] -= 1
            elif isinstance(notice, SessionMoved):
                self.load[notice.vip_id, notice.from_member_id] -= 1
                self.load[notice.vip_id, notice.to_member_id] += 1
                moved.add(notice.key)
        commands = self.tracker.take_commands()
        assert len({command.key for command in commands}) == len(commands)
        for command in commands:
            before = self.table.get(command.key)
            if isinstance(command, RemoveEntry):
                assert before is not None
                del self.table[command.key]
                continue
            if isinstance(command, UpdateEntry):
                assert before is not None
            self.table[command.key] = command
            self.refused.discard(command.key)
            both_forward = before is not None and before.verdict is command.verdict is Verdict.FORWARD
            if before is not None and both_forward and before.member_id != command.member_id:
                assert command.key in moved or before.closing, "a session changed its member and nobody said so"

    @invariant()
    def the_table_is_what_is_wanted(self) -> None:
        self.write()
        assert {key: self.as_read(entry) for key, entry in self.table.items()} == {
            entry.key: entry for entry in self.tracker.entries() if entry.key not in self.refused
        }

    @invariant()
    def loads_are_what_notices_say(self) -> None:
        self.write()
        for vip_id in VIPS:
            by_member = {member_id: self.tracker.vip_member_sessions(vip_id, member_id) for member_id in MEMBERS}
            assert by_member == {member_id: self.load[vip_id, member_id] for member_id in MEMBERS}
            assert self.tracker.vip_sessions(vip_id) == sum(by_member.values())

    def teardown(self) -> None:
        """Silence ends everything."""
        for _ in range(4):
            for key in list(self.table):
                self.tracker.idle(key, self.now)
            self.time_passes(100.0)
            self.write()
        assert self.table == {}
        assert len(self.tracker) == 0
        assert self.tracker.next_deadline() is None
        assert not any(self.load.values())


RandomSessions.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRandomSessions = RandomSessions.TestCase


def test_nothing_is_left_behind_by_many_sessions() -> None:
    """Of the words that an entry is idle the first is lost for a third of the entries, the others come twice."""
    tracker = SessionTracker()
    policy = VIPS[1]
    tracker.set_policy(policy)
    now = 0.0
    highest = 0
    table: dict[FlowKey, float] = {}
    for wave in range(60 + 5):
        for number in range(500 if wave < 60 else 0):
            client = Endpoint(CLIENTS[1].address + wave, number)
            key = FlowKey.between(client, policy.endpoint, 6)
            tracker.new_flow(key, 1, number % 3, key.high == client, 0x02, now)
            tracker.tcp_event(key, key.low == client, 0x12, now)
            tracker.tcp_event(key, key.high == client, 0x11, now)
            tracker.tcp_event(key, key.low == client, 0x11, now)
            tracker.tcp_event(FlowKey.between(client, CLIENTS[0], 6), False, 0x04, now)
        now += 30.0
        tracker.handle_timer(now)
        for key in [key for key, written in table.items() if now - written >= policy.time_wait]:
            is_lost = key.port_hi % 3 == 0 and now - table[key] < policy.time_wait + 30
            for _ in range(0 if is_lost else 2):
                tracker.idle(key, now)
        for command in tracker.take_commands():
            if isinstance(command, RemoveEntry):
                del table[command.key]
            else:
                table[command.key] = now
        tracker.take_notices()
        highest = max(highest, len(tracker))
    assert 1000 <= highest <= 2000  # what is silent for 60 or 90 s are three or four waves
    assert table == {}
    assert len(tracker) == 0
    held = [tracker._sessions, tracker._dirty, tracker._notices, tracker._early, tracker._patience]
    assert [len(thing) for thing in held] == [0] * len(held)  # type: ignore[arg-type]
    assert tracker._wheel._buckets == {}
    assert not any(tracker._load.count(1, member_id) for member_id in range(3))
