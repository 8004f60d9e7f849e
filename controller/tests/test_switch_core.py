"""A switch core with the real program under a virtual clock: what clients and members would notice."""

from __future__ import annotations

import pytest
from controller.tests.closed_loop import CONFIG, Host, World
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether

from depot.config import parse
from depot.p4runtime.arbitration import StatusCode
from depot.p4runtime.entry import Action, Table
from depot.p4runtime.reconcile import Operation, Update
from depot.p4runtime.write_errors import UpdateError
from depot.switching.commands import CloseReason, SessionClosed, SessionMoved, SessionOpened, SynUnanswered
from depot.switching.states import SessionState


class Bench:
    """A world with a client and two members that is connected and quiet."""

    def __init__(self, text: str = CONFIG) -> None:
        self.world = World(text)
        self.client = self.world.host(1, "10.1.0.50")
        self.members = [self.world.host(2, "10.2.0.11"), self.world.host(2, "10.2.0.12")]
        self.world.connect()
        self.world.send(1, Ether(src=self.client.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            hwsrc=self.client.mac, psrc=self.client.address, pdst="10.1.0.1"))  # fmt: skip
        self.quiet()

    def quiet(self) -> None:
        self.world.updates.clear()
        self.world.notices.clear()
        for host in self.world.hosts:
            host.received.clear()

    def say(self, sport: int, flags: str, **more: int) -> Host:
        """The client sends a segment; the member that got it."""
        for member in self.members:
            member.received.clear()
        self.world.send(1, self.world.tcp(self.client, sport, flags, **more))
        got = [member for member in self.members if member.received]
        assert len(got) == 1, f"{len(got)} members got it"
        return got[0]

    def answer(self, member: Host, flags: str, **more: int) -> TCP:
        """The member answers what it got last; what the client gets."""
        self.client.received.clear()
        self.world.send(2, self.world.reply(member.received[-1], flags, **more))
        assert len(self.client.received) == 1
        return self.client.received[0][TCP]

    def establish(self, sport: int) -> Host:
        """A session with its handshake done, and old enough to have its entry."""
        member = self.say(sport, "S", seq=sport)
        self.answer(member, "SA")
        self.say(sport, "A", seq=sport + 1)
        self.world.advance(0.4, step=0.4)
        return member

    def silent(self, sport: int, flags: str, **more: int) -> bool:
        """Whether what the client sends reaches nobody."""
        for member in self.members:
            member.received.clear()
        self.world.send(1, self.world.tcp(self.client, sport, flags, **more))
        return not any(member.received for member in self.members)

    def state(self, sport: int) -> SessionState | None:
        views = {view.client.port: view.state for view in self.world.core.tracker.sessions()}
        return views.get(sport)


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestSessions:
    def test_nat_both_ways(self, bench: Bench) -> None:
        member = bench.say(4000, "S", seq=7)
        segment = member.received[0]
        assert (segment[IP].dst, segment[TCP].dport, segment[IP].ttl) == (member.address, 8080, 63)
        answer = bench.answer(member, "SA")
        assert bench.client.received[0][IP].src == "10.1.0.100"
        assert answer.sport == 80
        assert bench.state(4000) is SessionState.ESTABLISHED

    def test_round_robin(self, bench: Bench) -> None:
        served = [bench.say(4000 + n, "S", seq=n) for n in range(10)]
        assert served[:2] * 5 == served
        assert served[0] is not served[1]

    def test_each_session_gets_an_entry_of_its_own(self, bench: Bench) -> None:
        for sport in range(4000, 4005):
            bench.establish(sport)
        assert len(bench.world.entries(Table.CONNECTION)) == 5
        assert bench.world.written(Table.CONNECTION) == [Operation.INSERT] * 5

    def test_an_ended_session_leaves_after_2_msl(self, bench: Bench) -> None:
        member = bench.establish(4000)
        bench.say(4000, "FA")
        bench.answer(member, "FA")
        assert bench.state(4000) is SessionState.TIME_WAIT
        (entry,) = bench.world.entries(Table.CONNECTION)
        assert entry.params[2] == 1, "closing: a SYN begins a new session"
        bench.world.advance(59)
        assert bench.say(4000, "A") is member, "late packets reach the member"
        bench.world.advance(59)
        assert bench.world.entries(Table.CONNECTION), "counted from the last packet"
        bench.world.advance(3)
        assert bench.world.entries(Table.CONNECTION) == []

    def test_a_lost_word_of_silence_is_repeated(self, bench: Bench) -> None:
        member = bench.establish(4000)
        bench.say(4000, "FA")
        bench.answer(member, "FA")
        bench.world.now += 61
        assert len(bench.world.switch.idle_entries(round(bench.world.now * 1e9))) == 1, "said, and not heard"
        bench.world.advance(62)
        assert bench.world.entries(Table.CONNECTION) == []
        assert len(bench.world.core.tracker) == 0

    @pytest.mark.parametrize("forged", ["R", "FA"])
    def test_forged_flags_do_not_end_a_session_that_goes_on(self, bench: Bench, forged: str) -> None:
        """Long after the flow cache has forgotten it, so nothing but its entry keeps it."""
        member = bench.establish(4000)
        for _ in range(14):
            bench.world.advance(5)
            bench.say(4000, "A", seq=2)
        bench.say(4000, forged, seq=99999)
        bench.world.send(1, Ether(src=bench.client.mac, dst="02:00:00:00:01:01")
            / IP(src=member.address, dst=bench.client.address) / TCP(sport=8080, dport=4000, flags=forged))  # fmt: skip
        assert bench.state(4000) in (SessionState.RESET, SessionState.TIME_WAIT)
        for _ in range(140):
            bench.world.advance(1)
            assert bench.say(4000, "A", seq=2) is member

    def test_a_silent_session_goes(self, bench: Bench) -> None:
        bench.establish(4000)
        bench.world.advance(899, step=30)
        assert bench.world.entries(Table.CONNECTION)
        bench.world.advance(60, step=30)
        assert bench.world.entries(Table.CONNECTION) == []
        closed = [one for one in bench.world.notices if isinstance(one, SessionClosed)]
        assert [one.reason for one in closed] == [CloseReason.IDLE]

    def test_an_unanswered_syn_is_told(self, bench: Bench) -> None:
        bench.say(4000, "S")
        bench.world.advance(3.2)
        assert [type(one) for one in bench.world.notices] == [SessionOpened, SynUnanswered]

    def test_a_lost_digest_is_made_up_for(self, bench: Bench) -> None:
        """The controller is away when the session begins; the data plane announces it again."""
        bench.world.disconnect()
        member = bench.say(4000, "S")
        bench.world.connect()
        assert bench.world.entries(Table.CONNECTION) == []
        bench.world.advance(1.5)
        assert bench.say(4000, "A") is member
        assert len(bench.world.entries(Table.CONNECTION)) == 1


class TestSchedules:
    def test_growing_and_shrinking_never_leaves_a_hole(self, bench: Bench) -> None:
        for slots in (["m1"], ["m1", "m2"] * 8, ["m2"], ["m1", "m2", "m2"]):
            bench.world.core.set_schedules({"web": slots}, bench.world.now)
            bench.world.settle()
            served = [bench.say(sport, "S", seq=sport) for sport in range(5000, 5000 + 2 * len(slots))]
            assert served.count(bench.members[0]) == 2 * slots.count("m1")
            for sport in range(5000, 5000 + 2 * len(slots)):
                bench.world.send(1, bench.world.tcp(bench.client, sport, "R"))
            bench.world.advance(90)
        assert not bench.world.failures

    def test_an_empty_schedule_serves_nobody(self, bench: Bench) -> None:
        old = bench.establish(4000)
        bench.world.core.set_schedules({"web": []}, bench.world.now)
        bench.world.settle()
        assert bench.silent(4001, "S")
        assert bench.say(4000, "A") is old

    def test_only_changed_slots_are_written(self, bench: Bench) -> None:
        bench.world.core.set_schedules({"web": ["m2", "m2"]}, bench.world.now)
        bench.world.settle()
        assert bench.world.updates == [Update(Operation.MODIFY, entry) for entry in bench.world.entries(Table.SCHEDULE)
                                       if entry.values[1] == 0]  # fmt: skip


class TestMemberDies:
    def dies(self, bench: Bench, name: str) -> None:
        other = {"m1": "m2", "m2": "m1"}[name]
        bench.world.core.set_schedules({"web": [other]}, bench.world.now)
        bench.world.core.member_down("web", name, bench.world.now)
        bench.world.settle()

    def test_its_sessions_are_reset_and_no_others(self, bench: Bench) -> None:
        held = {sport: bench.establish(sport) for sport in range(4000, 4004)}
        self.dies(bench, "m1")
        for sport, member in held.items():
            if member is bench.members[1]:
                assert bench.say(sport, "A") is member
                continue
            bench.client.received.clear()
            assert bench.silent(sport, "PA", seq=77, ack=4242)
            (reset,) = bench.client.received
            assert reset[IP].src == "10.1.0.100"
            assert (reset[TCP].sport, reset[TCP].dport, reset[TCP].flags, reset[TCP].seq) == (80, sport, "R", 4242)
            assert reset[TCP].chksum == checked(reset)[TCP].chksum
            assert reset[IP].chksum == checked(reset)[IP].chksum

    def test_a_reset_is_not_answered_by_a_reset(self, bench: Bench) -> None:
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        self.dies(bench, "m1")
        sport = next(sport for sport, member in held.items() if member is bench.members[0])
        bench.client.received.clear()
        assert bench.silent(sport, "R")
        assert bench.client.received == []

    def test_a_session_that_waits_for_its_answer_moves(self, bench: Bench) -> None:
        asked = [bench.say(sport, "S", seq=sport) for sport in (4000, 4001)]
        sport = 4000 + asked.index(bench.members[0])
        self.dies(bench, "m1")
        assert bench.say(sport, "S", seq=sport) is bench.members[1], "the client's retry reaches a living member"
        assert any(isinstance(one, SessionMoved) for one in bench.world.notices)

    def test_it_comes_back(self, bench: Bench) -> None:
        self.dies(bench, "m1")
        assert {id(bench.say(sport, "S")) for sport in range(4000, 4004)} == {id(bench.members[1])}
        bench.world.core.member_up("web", "m1")
        bench.world.core.set_schedules({"web": ["m1", "m2"]}, bench.world.now)
        bench.world.settle()
        assert len({id(bench.say(sport, "S")) for sport in range(4004, 4008)}) == 2

    def test_dropped_where_so_configured(self) -> None:
        bench = Bench(CONFIG.replace('"reset"', '"drop"'))
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        self.dies(bench, "m1")
        sport = next(sport for sport, member in held.items() if member is bench.members[0])
        bench.client.received.clear()
        assert bench.silent(sport, "A")
        assert bench.client.received == []


class TestReconnect:
    def test_a_restarted_controller_disturbs_nothing(self, bench: Bench) -> None:
        held = {sport: bench.establish(sport) for sport in range(4000, 4010)}
        before = {entry.key: entry for entry in bench.world.entries()}
        bench.world.new_core()
        bench.world.connect()
        assert bench.world.reconciled[-1].differences == 0
        assert {entry.key: entry for entry in bench.world.entries()} == before
        assert all(bench.say(sport, "A") is member for sport, member in held.items())
        assert len(bench.world.core.tracker) == 10

    def test_a_restarted_controller_with_another_file(self, bench: Bench) -> None:
        """A member was taken out of the file meanwhile; its session ends before it goes."""
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        bench.world.config = parse(CONFIG[: CONFIG.rindex("[[vip.member]]")])
        bench.world.new_core()
        bench.world.connect()
        assert all(bench.say(sport, "A") is member for sport, member in held.items())
        assert {id(bench.say(sport, "S")) for sport in range(4002, 4006)} == {id(bench.members[0])}
        sport = next(sport for sport, member in held.items() if member is bench.members[1])
        bench.say(sport, "FA")
        bench.answer(bench.members[1], "FA")
        bench.world.advance(70)
        assert [entry.params for entry in bench.world.entries(Table.MEMBER)] == [(0xFFFF0A02000B, 8080)]
        assert len(bench.world.entries(Table.NAT_SOURCE)) == 1

    def test_a_switch_that_lost_its_tables_gets_them_back_with_its_sessions(self, bench: Bench) -> None:
        held = {sport: bench.establish(sport) for sport in range(4000, 4006)}
        before = {entry.key: entry for entry in bench.world.entries()}
        bench.world.disconnect()
        bench.world.new_switch()
        bench.world.connect()
        assert {entry.key: entry for entry in bench.world.entries()} == before
        assert all(bench.say(sport, "A") is member for sport, member in held.items())

    def test_a_new_version_of_the_program_keeps_sessions(self, bench: Bench) -> None:
        held = {sport: bench.establish(sport) for sport in range(4000, 4006)}
        carried = bench.world.entries(Table.VIP, Table.MEMBER, Table.CONNECTION)
        before = {entry.key: entry for entry in bench.world.entries()}
        bench.world.new_switch()
        bench.world.new_core()
        bench.world.connected = True
        bench.world.core.connected([], bench.world.now, carried)
        bench.world.settle()
        after = {entry.key: entry for entry in bench.world.entries()}
        assert {key: entry for key, entry in after.items() if key.table is not Table.NEIGHBOUR} == {
            key: entry for key, entry in before.items() if key.table is not Table.NEIGHBOUR
        }
        assert all(bench.say(sport, "A") is member for sport, member in held.items())

    def test_what_others_wrote_is_removed(self, bench: Bench) -> None:
        from depot.p4runtime.entry import nat_member_entry, schedule_entry

        strange = [nat_member_entry(700, 1, 1), schedule_entry(9, 0, 700)]
        bench.world.disconnect()
        bench.world.write([Update(Operation.INSERT, entry) for entry in strange])
        bench.world.connect()
        assert not set(strange) & set(bench.world.entries())
        assert bench.world.reconciled[-1].differences == 2

    def test_after_another_controller_its_numbers_and_sessions_are_taken_over(self, bench: Bench) -> None:
        """While we stood by, another controller gave members other numbers and ended our session."""
        bench.establish(4000)
        bench.world.disconnect(superseded=True)
        other = World()
        other.config = parse(CONFIG.replace("10.2.0.11", "10.2.0.99"))
        other.pipeline, other.switch, other.now = bench.world.pipeline, bench.world.switch, bench.world.now
        other.new_core()
        for entry in bench.world.entries():
            other.write([Update(Operation.DELETE, entry)])
        other.connect()
        bench.world.connect()
        assert len(bench.world.core.tracker) == 0, "a session that the other ended is not brought back"
        bench.world.advance(2)
        assert {id(bench.say(sport, "S", seq=sport)) for sport in range(4100, 4104)} == {id(m) for m in bench.members}

    def test_no_member_is_blamed_while_we_were_away(self, bench: Bench) -> None:
        bench.say(4000, "S")
        bench.world.disconnect()
        bench.world.advance(5)
        assert not [one for one in bench.world.notices if isinstance(one, SynUnanswered)]


class TestReload:
    def reload(self, bench: Bench, text: str, slots: list[str]) -> None:
        bench.world.config = parse(text)
        schedules = {vip.name: slots for vip in bench.world.config.vips}
        bench.world.core.reconfigure(
            bench.world.config.switches[0], bench.world.config.vips, schedules, bench.world.now
        )
        bench.world.settle()

    def test_the_same_file_changes_nothing(self, bench: Bench) -> None:
        bench.establish(4000)
        bench.quiet()
        self.reload(bench, CONFIG, ["m1", "m2"])
        assert bench.world.updates == []

    def test_a_member_more(self, bench: Bench) -> None:
        third = bench.world.host(2, "10.2.0.13")
        bench.members.append(third)
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        text = CONFIG + '[[vip.member]]\nname = "m3"\naddress = "10.2.0.13"\nport = 8080\n'
        self.reload(bench, text, ["m1", "m2", "m3"])
        assert all(bench.say(sport, "A") is member for sport, member in held.items())
        assert len({id(bench.say(sport, "S")) for sport in (4002, 4003, 4004)}) == 3

    def test_a_removed_vip_ends_its_sessions(self, bench: Bench) -> None:
        bench.establish(4000)
        self.reload(bench, CONFIG[: CONFIG.index("[[vip]]")], [])
        assert bench.silent(4000, "A")
        kinds = {entry.table for entry in bench.world.entries()}
        assert kinds == {Table.ADMISSION, Table.LOCAL_ADDRESS, Table.ROUTE, Table.NEIGHBOUR}

    def test_a_port_gets_another_mac(self, bench: Bench) -> None:
        held = bench.establish(4000)
        self.reload(bench, CONFIG.replace("02:00:00:00:02:01", "02:00:00:00:02:02"), ["m1", "m2"])
        assert bench.say(4000, "A") is held
        assert held.received[-1].src == "02:00:00:00:02:02"


class TestRefusedWrites:
    def test_what_was_refused_is_written_later(self, bench: Bench) -> None:
        """A table was full when a member came; the tables are read back and the difference tried again."""
        full = UpdateError(int(StatusCode.RESOURCE_EXHAUSTED), "the table is full")
        bench.world.refuse = lambda update: full if update.entry.table is Table.SCHEDULE else None
        bench.world.core.set_schedules({"web": ["m1", "m2", "m2"]}, bench.world.now)
        bench.world.settle()
        assert bench.world.failures
        bench.world.refuse = lambda update: None
        bench.world.advance(1.5)
        assert len(bench.world.entries(Table.SCHEDULE)) == 3
        assert not bench.world.core.reread_pending

    def test_it_is_tried_ever_less_often(self, bench: Bench) -> None:
        full = UpdateError(int(StatusCode.RESOURCE_EXHAUSTED), "the table is full")
        bench.world.refuse = lambda update: full if update.entry.table is Table.SCHEDULE else None
        bench.world.core.set_schedules({"web": ["m1", "m2", "m2"]}, bench.world.now)
        bench.world.settle()
        bench.world.advance(60)
        assert 4 <= len(bench.world.failures) <= 8

    def test_an_entry_that_is_there_already_becomes_ours(self, bench: Bench) -> None:
        from depot.p4runtime.entry import schedule_entry

        bench.world.write([Update(Operation.INSERT, schedule_entry(0, 2, 77))])
        bench.world.core.set_schedules({"web": ["m1", "m2", "m2"]}, bench.world.now)
        bench.world.settle()
        assert not bench.world.failures
        assert {entry.params for entry in bench.world.entries(Table.SCHEDULE)} == {(0,), (1,)}

    def test_a_connection_without_room_is_served_by_the_flow_cache(self, bench: Bench) -> None:
        full = UpdateError(int(StatusCode.RESOURCE_EXHAUSTED), "the table is full")
        bench.world.refuse = lambda update: full if update.entry.table is Table.CONNECTION else None
        member = bench.establish(4000)
        assert bench.world.entries(Table.CONNECTION) == []
        bench.world.refuse = lambda update: None
        bench.world.advance(1.5)
        assert bench.say(4000, "A") is member
        assert len(bench.world.entries(Table.CONNECTION)) == 1

    def test_sessions_that_never_found_room_are_forgotten(self, bench: Bench) -> None:
        full = UpdateError(int(StatusCode.RESOURCE_EXHAUSTED), "the table is full")
        bench.world.refuse = lambda update: full if update.entry.table is Table.CONNECTION else None
        for sport in range(4000, 4004):
            member = bench.establish(sport)
        bench.say(4003, "FA", seq=5)
        bench.answer(member, "FA")
        bench.world.advance(120)
        assert len(bench.world.core.tracker) == 0
        assert bench.world.entries(Table.CONNECTION) == []


class TestIcmp:
    def test_too_big_towards_a_member(self, bench: Bench) -> None:
        bench.establish(4000)
        frame = bench.world.tcp(bench.client, 4000, "A") / bytes(1450)
        frame[IP].flags = "DF"
        bench.client.received.clear()
        bench.world.send(1, frame)
        (error,) = bench.client.received
        assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1400)
        assert error[IP].src == "10.1.0.1"
        assert error[ICMP].payload.dst == "10.1.0.100", "it quotes what the client sent"

    def test_ttl(self, bench: Bench) -> None:
        frame = bench.world.tcp(bench.client, 4000, "S")
        frame[IP].ttl = 1
        bench.world.send(1, frame)
        (error,) = bench.client.received
        assert (error[ICMP].type, error[ICMP].code) == (11, 0)

    def test_a_member_nobody_can_reach(self, bench: Bench) -> None:
        for member in bench.members:
            member.awake = False
        bench.world.advance(60)
        assert [entry for entry in bench.world.entries(Table.NEIGHBOUR) if entry.values[0] == 2] == []
        bench.client.received.clear()
        assert bench.silent(4000, "S")
        (error,) = bench.client.received
        assert (error[ICMP].type, error[ICMP].code) == (3, 1)
        bench.members[0].awake = bench.members[1].awake = True
        bench.world.advance(6)
        bench.say(4000, "S")

    def test_a_gateway_less_client_is_asked_for(self, bench: Bench) -> None:
        """A client whose MAC we never heard: the member's answer waits until it is known."""
        stranger = bench.world.host(1, "10.1.0.77")
        bench.world.send(1, bench.world.tcp(stranger, 4000, "S"))
        (member,) = [member for member in bench.members if member.received]
        bench.world.send(2, bench.world.reply(member.received[-1], "SA"))
        assert [frame[TCP].flags for frame in stranger.received] == ["SA"]


def checked(frame: Ether) -> Ether:
    """The frame with its checksums computed anew, by scapy."""
    copy = Ether(bytes(frame))
    del copy[IP].chksum, copy[TCP].chksum
    return Ether(bytes(copy))


def test_deny_and_reset_are_the_entries_of_dead_members_sessions(bench: Bench) -> None:
    held = {sport: bench.establish(sport) for sport in (4000, 4001)}
    TestMemberDies().dies(bench, "m1")
    actions = {entry.action for entry in bench.world.entries(Table.CONNECTION)}
    assert actions == {Action.FORWARD_TO_MEMBER, Action.RESET_CONNECTION}
    assert len(held) == 2
    bench.world.advance(15)
    assert {entry.action for entry in bench.world.entries(Table.CONNECTION)} == {Action.FORWARD_TO_MEMBER}
