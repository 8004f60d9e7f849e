"""The session tracker under a virtual clock: what a switch would be told, and what users would notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from depot.address import Endpoint, FlowKey, Protocol, parse_endpoint
from depot.config import MemberFailure, parse
from depot.switching.commands import (
    CloseReason,
    InstallEntry,
    RemoveEntry,
    SessionClosed,
    SessionEstablished,
    SessionMoved,
    SessionOpened,
    SynUnanswered,
    UnansweredCause,
    UpdateEntry,
    Verdict,
)
from depot.switching.policy import SessionPolicy
from depot.switching.sessions import SessionTracker
from depot.switching.states import ACTIVE_STATES, ENDED_STATES, TRANSITIONS, SessionInput, SessionState

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
SYN_ACK = SYN | ACK
WEB = parse_endpoint("192.0.2.10:80")
DNS = parse_endpoint("192.0.2.53:53")
WEB_ID, DSR_ID, DNS_ID = 1, 2, 3
DSR = parse_endpoint("192.0.2.20:80")
ALICE = parse_endpoint("203.0.113.5:40000")
BOB = parse_endpoint("10.0.0.7:50000")


class Desk:
    """A tracker, its clock, and the words of the data plane."""

    def __init__(self, on_member_failure: MemberFailure = MemberFailure.DROP) -> None:
        self.now = 1000.0
        self.substitutes: Iterator[int | None] = iter(())
        self.tracker = SessionTracker(lambda vip_id: next(self.substitutes, None))
        self.tracker.set_policy(SessionPolicy(WEB_ID, WEB, on_member_failure=on_member_failure))
        self.tracker.set_policy(SessionPolicy(DSR_ID, DSR, sees_replies=False))
        self.tracker.set_policy(SessionPolicy(DNS_ID, DNS, Protocol.UDP, idle_timeout=60.0))

    def key(self, client: Endpoint, vip: Endpoint = WEB) -> FlowKey:
        return FlowKey.between(client, vip, Protocol.UDP if vip == DNS else Protocol.TCP)

    def announce(self, client: Endpoint, member: int, flags: int = SYN, vip: Endpoint = WEB) -> FlowKey:
        """A ``new_flow`` digest; a SYN comes with its ``tcp_event``, as the data plane has it."""
        key = self.key(client, vip)
        vip_id = {WEB: WEB_ID, DSR: DSR_ID, DNS: DNS_ID}[vip]
        self.tracker.new_flow(key, vip_id, member, key.high == client, flags, self.now)
        if flags & (SYN | FIN | RST):
            self.says(client, flags, client, vip)
        return key

    def remember(self, client: Endpoint, member: int) -> FlowKey:
        """A ``new_flow`` digest of a SYN whose session the flow cache holds."""
        key = self.key(client)
        self.tracker.new_flow(key, WEB_ID, member, key.high == client, SYN, self.now, remembered=True)
        return key

    def entries(self) -> list[InstallEntry | UpdateEntry]:
        """The entries that have changed."""
        return [entry for entry in self.tracker.take_commands() if not isinstance(entry, RemoveEntry)]

    def says(self, who: Endpoint, flags: int, client: Endpoint, vip: Endpoint = WEB) -> None:
        """A ``tcp_event`` digest."""
        key = self.key(client, vip)
        self.tracker.tcp_event(key, key.high == who, flags, self.now)

    def established(self, client: Endpoint, member: int) -> FlowKey:
        """A session whose handshake is over, and nothing pending."""
        key = self.announce(client, member)
        self.says(WEB, SYN_ACK, client)
        self.tracker.take_commands()
        self.tracker.take_notices()
        return key

    def wait(self, seconds: float) -> None:
        """Let time pass, with the timer handled whenever it is due."""
        end = self.now + seconds
        while (deadline := self.tracker.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.tracker.handle_timer(self.now)
        self.now = end

    def state(self, key: FlowKey) -> SessionState:
        return {view.key: view.state for view in self.tracker.sessions()}.get(key, SessionState.GONE)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def forward(
    kind: type[InstallEntry] | type[UpdateEntry],
    key: FlowKey,
    member: int,
    client: Endpoint = ALICE,
    closing: bool = False,
    idle: float = 900.0,
) -> InstallEntry | UpdateEntry:
    return kind(key, Verdict.FORWARD, member, key.high == client, closing, idle)


class TestLife:
    @pytest.mark.parametrize("client", [ALICE, BOB], ids=["client is the higher end", "client is the lower end"])
    def test_from_syn_to_silence_after_the_close(self, desk: Desk, client: Endpoint) -> None:
        key = desk.announce(client, 11)
        assert desk.state(key) is SessionState.SYN_SEEN
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11, client)]
        assert desk.tracker.take_notices() == [SessionOpened(key, WEB_ID, 11, key.high == client, 1000.0)]
        desk.now += 0.02
        desk.says(WEB, SYN_ACK, client)
        assert desk.state(key) is SessionState.ESTABLISHED
        (notice,) = desk.tracker.take_notices()
        assert notice == SessionEstablished(key, WEB_ID, 11, pytest.approx(0.02), assumed=False)
        desk.wait(300)
        desk.says(client, FIN | ACK, client)
        assert desk.state(key) is SessionState.CLOSING
        assert desk.tracker.take_commands() == []
        desk.says(WEB, FIN | ACK, client)
        assert desk.state(key) is SessionState.TIME_WAIT
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 11, client, closing=True, idle=60.0)]
        (notice,) = desk.tracker.take_notices()
        assert notice == SessionClosed(key, WEB_ID, 11, CloseReason.FIN, pytest.approx(300.02))
        desk.wait(60)
        assert desk.tracker.take_commands() == [], "no time ends it, only the switch's word that nothing comes"
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        assert len(desk.tracker) == 0
        assert desk.tracker.take_notices() == []
        assert desk.tracker.next_deadline() is None

    def test_a_session_within_one_batch_writes_its_end_state_only(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.says(WEB, FIN | ACK, ALICE)
        desk.says(ALICE, FIN | ACK, ALICE)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11, closing=True, idle=60.0)]

    def test_a_session_that_comes_and_goes_between_two_batches_writes_nothing(self, desk: Desk) -> None:
        desk.announce(ALICE, 11)
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        assert desk.tracker.take_commands() == []

    def test_a_reset_session_goes_when_it_has_been_silent(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.says(ALICE, RST, ALICE)
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 11, closing=True, idle=10.0)]
        assert desk.tracker.take_notices() == [SessionClosed(key, WEB_ID, 11, CloseReason.RST, 0.0)]
        desk.wait(3600)  # a forged RST: packets go on and the switch does not call the entry idle
        assert desk.tracker.take_commands() == []
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_a_session_without_a_close_ages_out(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.wait(5000)
        assert desk.state(key) is SessionState.ESTABLISHED
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        assert desk.tracker.take_notices() == [SessionClosed(key, WEB_ID, 11, CloseReason.IDLE, 5000.0)]

    def test_idle_entries_of_nobody_are_removed(self, desk: Desk) -> None:
        key = desk.key(ALICE)
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_a_udp_session_lives_until_it_is_idle(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 5, 0, DNS)
        assert desk.state(key) is SessionState.ACTIVE
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 5, idle=60.0)]
        desk.wait(1000)
        assert desk.tracker.vip_sessions(DNS_ID) == 1
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        assert desk.tracker.vip_sessions(DNS_ID) == 0


class TestForgedFlags:
    """Whoever knows a flow can send flags in its name; what the session itself sends meanwhile must go on."""

    @pytest.mark.parametrize("forged", [[(ALICE, RST)], [(WEB, RST)], [(ALICE, FIN | ACK), (WEB, FIN | ACK)]])
    def test_a_session_that_goes_on_keeps_its_entry(self, desk: Desk, forged: list[tuple[Endpoint, int]]) -> None:
        key = desk.established(ALICE, 11)
        for who, flags in forged:
            desk.says(who, flags, ALICE)
        written = desk.tracker.take_commands()
        for _ in range(600):  # packets hit the entry, so the switch never calls it idle
            desk.wait(1)
            desk.announce(ALICE, 11, ACK)
            desk.says(WEB, FIN | ACK, ALICE)
        assert [type(command) for command in written + desk.tracker.take_commands()] == [UpdateEntry]
        assert {entry.member_id for entry in desk.tracker.entries()} == {11}
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_a_client_cannot_answer_for_its_member(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.says(ALICE, SYN_ACK, ALICE)
        assert desk.state(key) is SessionState.SYN_SEEN
        desk.says(WEB, SYN_ACK, ALICE)
        for _ in range(2):
            desk.says(ALICE, FIN | ACK, ALICE)
        assert desk.state(key) is SessionState.CLOSING, "both FINs were the client's"

    def test_flags_of_a_packet_that_announces_count(self, desk: Desk) -> None:
        """It sends no event beside the announcement."""
        key = desk.established(ALICE, 11)
        desk.wait(5)
        desk.tracker.new_flow(key, WEB_ID, 11, key.high == ALICE, FIN | ACK, desk.now)
        assert desk.state(key) is SessionState.CLOSING
        desk.tracker.new_flow(key, WEB_ID, 11, key.high == ALICE, RST, desk.now)
        assert desk.state(key) is SessionState.RESET


class TestIdleness:
    def test_said_again_it_does_not_end_the_successor(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.says(ALICE, RST, ALICE)
        desk.wait(10)
        desk.tracker.idle(key, desk.now)
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        desk.announce(ALICE, 12)
        desk.tracker.take_commands()
        desk.now += 0.3
        desk.tracker.idle(key, desk.now)
        assert desk.state(key) is SessionState.SYN_SEEN

    def test_said_again_of_an_entry_that_was_removed_it_removes_once_more(self, desk: Desk) -> None:
        """A delete of what is not there is no failure; an entry of nobody must not stay."""
        key = desk.established(ALICE, 11)
        desk.wait(900)
        for _ in range(3):
            desk.tracker.idle(key, desk.now)
            assert desk.tracker.take_commands() == [RemoveEntry(key)]
        assert len(desk.tracker) == 0

    @pytest.mark.parametrize("flags", [[], [(ALICE, RST)], [(ALICE, FIN), (WEB, FIN)]])
    def test_sessions_without_an_entry_end_too(self, desk: Desk, flags: list[tuple[Endpoint, int]]) -> None:
        """The table is full: what is not in the switch is never idle there."""
        key = desk.established(ALICE, 11)
        desk.tracker.entry_refused(key, desk.now)
        for who, flag in flags:
            desk.says(who, flag, ALICE)
        if desk.tracker.take_commands():
            desk.tracker.entry_refused(key, desk.now)
        desk.wait(60.1)
        assert desk.state(key) is SessionState.GONE
        assert desk.tracker.take_commands() == []
        assert desk.tracker.vip_sessions(WEB_ID) == 0

    def test_a_refused_syn_that_is_answered_and_then_silent_ends(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.tracker.take_commands()
        desk.tracker.entry_refused(key, desk.now)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.wait(60.1)
        assert desk.state(key) is SessionState.GONE

    def test_a_refused_entry_that_found_room_later_stays(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.tracker.entry_refused(key, desk.now)
        desk.wait(2)
        desk.announce(ALICE, 11, ACK)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11)]
        desk.wait(600)
        assert desk.state(key) is SessionState.ESTABLISHED


class TestHandshake:
    def test_silence_is_told_once_and_ends_the_session_at_last(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.tracker.take_notices()
        desk.wait(2.9)
        assert desk.tracker.take_notices() == []
        desk.wait(0.2)
        assert desk.tracker.take_notices() == [SynUnanswered(key, WEB_ID, 11, UnansweredCause.TIMEOUT)]
        desk.tracker.take_commands()
        desk.wait(28)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        (closed,) = desk.tracker.take_notices()
        assert isinstance(closed, SessionClosed)
        assert closed.reason is CloseReason.UNANSWERED

    def test_each_retry_after_that_is_told_and_extends_the_session(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        causes = []
        for pause in (1.0, 2.0, 4.0, 8.0, 16.0):  # RFC 6298 backs off exponentially
            desk.wait(pause)
            desk.says(ALICE, SYN, ALICE)
            causes += [n.cause for n in desk.tracker.take_notices() if isinstance(n, SynUnanswered)]
        assert causes == [UnansweredCause.TIMEOUT, *[UnansweredCause.REPEATED] * 4]
        desk.wait(29.9)
        assert desk.state(key) is SessionState.SYN_SEEN
        desk.wait(0.2)
        assert desk.state(key) is SessionState.GONE

    def test_a_late_answer_establishes(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.wait(5)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.wait(1000)
        assert desk.state(key) is SessionState.ESTABLISHED

    def test_a_refusal_is_told(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.says(WEB, RST | ACK, ALICE)
        assert desk.tracker.take_notices()[1:] == [
            SynUnanswered(key, WEB_ID, 11, UnansweredCause.REFUSED),
            SessionClosed(key, WEB_ID, 11, CloseReason.REFUSED, 0.0),
        ]

    def test_a_client_that_resets_blames_nobody(self, desk: Desk) -> None:
        desk.announce(ALICE, 11)
        desk.says(ALICE, RST, ALICE)
        desk.wait(100)
        assert not [n for n in desk.tracker.take_notices() if isinstance(n, SynUnanswered)]


class TestRepliesUnseen:
    """Modes dsr and ipip: members answer past the depot."""

    def test_a_client_that_asks_no_more_has_its_answer(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 21, vip=DSR)
        desk.tracker.take_commands()
        desk.tracker.take_notices()
        desk.wait(3.1)
        assert desk.state(key) is SessionState.ESTABLISHED
        (notice,) = desk.tracker.take_notices()
        assert isinstance(notice, SessionEstablished)
        assert notice.assumed
        assert desk.tracker.take_commands() == []

    def test_a_repeated_syn_is_an_unanswered_one(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 21, vip=DSR)
        desk.tracker.take_notices()
        for pause in (1.0, 2.0, 4.0):
            desk.wait(pause)
            desk.says(ALICE, SYN, ALICE, DSR)
            assert desk.tracker.take_notices() == [SynUnanswered(key, DSR_ID, 21, UnansweredCause.REPEATED)]
        assert desk.state(key) is SessionState.SYN_SEEN

    def test_traffic_of_the_client_shows_that_there_was_an_answer(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 21, vip=DSR)
        desk.now += 0.3
        desk.announce(ALICE, 21, ACK, DSR)
        assert desk.state(key) is SessionState.ESTABLISHED

    def test_the_clients_fin_is_the_end_of_its_load_and_silence_that_of_its_entry(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 21, vip=DSR)
        desk.wait(5)
        desk.tracker.take_commands()
        desk.says(ALICE, FIN | ACK, ALICE, DSR)
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 21, closing=True, idle=60.0)]
        assert desk.tracker.vip_sessions(DSR_ID) == 0
        desk.wait(500)  # the member may still send for long
        assert desk.tracker.take_commands() == []
        desk.tracker.idle(key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_replies_that_pass_by_after_all_are_used(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 21, vip=DSR)
        desk.says(DSR, SYN_ACK, ALICE, DSR)
        assert desk.state(key) is SessionState.ESTABLISHED
        desk.says(DSR, FIN, ALICE, DSR)
        desk.says(ALICE, FIN, ALICE, DSR)
        assert desk.state(key) is SessionState.TIME_WAIT


class TestDisorder:
    def test_an_answer_before_the_announcement(self, desk: Desk) -> None:
        desk.says(ALICE, SYN, ALICE)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.now += 0.2
        key = desk.announce(ALICE, 11)
        assert desk.state(key) is SessionState.ESTABLISHED

    def test_a_whole_life_before_the_announcement(self, desk: Desk) -> None:
        for who, flags in ((ALICE, SYN), (WEB, SYN_ACK), (ALICE, FIN | ACK), (WEB, FIN | ACK)):
            desk.says(who, flags, ALICE)
        key = desk.announce(ALICE, 11)
        assert desk.state(key) is SessionState.TIME_WAIT

    def test_stray_events_of_a_second_ago_are_forgotten(self, desk: Desk) -> None:
        desk.says(WEB, RST, ALICE)
        desk.wait(1.1)
        key = desk.announce(ALICE, 11)
        assert desk.state(key) is SessionState.SYN_SEEN

    def test_the_same_digests_twice(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.announce(ALICE, 11)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.announce(ALICE, 11)
        assert desk.state(key) is SessionState.ESTABLISHED
        for _ in range(2):
            desk.says(ALICE, FIN | ACK, ALICE)
        assert desk.state(key) is SessionState.CLOSING
        for _ in range(2):
            desk.says(WEB, FIN | ACK, ALICE)
        assert desk.state(key) is SessionState.TIME_WAIT
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11, closing=True, idle=60.0)]
        assert [type(n) for n in desk.tracker.take_notices()] == [SessionOpened, SessionEstablished, SessionClosed]

    def test_fins_before_the_answer(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.says(WEB, FIN | ACK, ALICE)
        desk.says(WEB, SYN_ACK, ALICE)
        assert desk.state(key) is SessionState.CLOSING
        desk.wait(100)
        assert not [n for n in desk.tracker.take_notices() if isinstance(n, SynUnanswered)]

    def test_digests_of_a_vip_that_is_gone_do_nothing(self, desk: Desk) -> None:
        desk.tracker.remove_vip(WEB_ID, desk.now)
        desk.announce(ALICE, 11)
        assert desk.tracker.take_commands() == []
        assert len(desk.tracker) == 0

    def test_stray_events_cannot_fill_the_memory(self, desk: Desk) -> None:
        for port in range(40000):
            desk.says(WEB, RST, Endpoint(ALICE.address, port))
        assert len(desk.tracker._early) <= 16384
        desk.now += 1.1
        desk.tracker.handle_timer(desk.now)
        assert len(desk.tracker._early) == 0


class TestAnnouncedAgain:
    def test_soon_means_that_the_entry_is_on_its_way(self, desk: Desk) -> None:
        desk.announce(ALICE, 11)
        desk.tracker.take_commands()
        desk.now += 0.5
        desk.announce(ALICE, 11, ACK)
        assert desk.tracker.take_commands() == []

    def test_late_means_that_it_is_not_there(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.now += 1.1
        desk.announce(ALICE, 11, ACK)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11)]

    def test_an_established_session_keeps_its_member_whatever_is_announced(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.now += 5
        desk.announce(ALICE, 12, ACK)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11)]

    def test_an_announcement_in_the_middle_is_an_established_session(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11, ACK)
        assert desk.state(key) is SessionState.ESTABLISHED
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11)]

    def test_a_stray_rst_leaves_soon_and_is_nobodys_load(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11, RST)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 11, closing=True, idle=10.0)]
        assert desk.tracker.take_notices() == []
        assert desk.tracker.vip_sessions(WEB_ID) == 0


class TestSuccession:
    def close(self, desk: Desk) -> None:
        desk.says(ALICE, FIN | ACK, ALICE)
        desk.says(WEB, FIN | ACK, ALICE)

    def test_a_syn_on_a_closed_session_begins_a_new_one(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        self.close(desk)
        desk.tracker.take_commands()
        desk.tracker.take_notices()
        desk.wait(30)
        desk.announce(ALICE, 12)
        assert desk.state(key) is SessionState.SYN_SEEN
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 12)]
        assert desk.tracker.take_notices() == [SessionOpened(key, WEB_ID, 12, True, 1030.0)]
        desk.says(WEB, SYN_ACK, ALICE)
        desk.wait(3600)  # the old session's time wait must not end the new one
        assert desk.state(key) is SessionState.ESTABLISHED

    def test_its_answer_may_come_before_its_announcement(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        self.close(desk)
        desk.says(ALICE, SYN, ALICE)
        desk.says(WEB, SYN_ACK, ALICE)
        assert desk.state(key) is SessionState.TIME_WAIT
        desk.announce(ALICE, 12)
        assert desk.state(key) is SessionState.ESTABLISHED

    def test_late_packets_of_the_closed_session_do_not_revive_it(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        self.close(desk)
        desk.tracker.take_commands()
        desk.now += 2
        desk.announce(ALICE, 11, ACK)  # still in the flow cache, announced each second
        desk.says(ALICE, FIN | ACK, ALICE)
        desk.says(WEB, RST, ALICE)
        assert desk.state(key) is SessionState.TIME_WAIT
        assert desk.tracker.take_commands() == []

    def test_a_whole_successor_told_before_it_is_announced(self, desk: Desk) -> None:
        """A switch may send its digest lists late, and the other list first: a short session is over by then."""
        key = desk.established(ALICE, 11)
        desk.says(ALICE, FIN | ACK, ALICE)
        desk.says(WEB, FIN | ACK, ALICE)
        desk.wait(5)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.says(WEB, FIN | ACK, ALICE)
        desk.says(ALICE, FIN | ACK, ALICE)
        desk.announce(ALICE, 12)
        assert desk.state(key) is SessionState.TIME_WAIT
        assert len(desk.tracker._early) == 0

    def test_a_successor_whose_syn_was_lost_is_known_by_its_member(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        self.close(desk)
        desk.now += 2
        desk.announce(ALICE, 12, ACK)
        assert desk.state(key) is SessionState.ESTABLISHED
        assert desk.tracker.vip_member_sessions(WEB_ID, 12) == 1

    def test_a_port_used_again_before_the_close_was_seen(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.now += 100
        desk.announce(ALICE, 12)
        assert desk.tracker.take_notices() == [
            SessionClosed(key, WEB_ID, 11, CloseReason.SUCCEEDED, 100.0),
            SessionOpened(key, WEB_ID, 12, True, 1100.0),
        ]
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 12)]

    def test_a_syn_after_a_reset_begins_a_new_session(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.says(ALICE, RST, ALICE)
        desk.tracker.take_commands()
        desk.announce(ALICE, 11)
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 11)]
        assert desk.tracker.vip_member_sessions(WEB_ID, 11) == 1


class TestMemberDown:
    @pytest.mark.parametrize(
        ("choice", "verdict"), [(MemberFailure.DROP, Verdict.DENY), (MemberFailure.RESET, Verdict.RESET)]
    )
    def test_established_sessions_are_scrapped(self, choice: MemberFailure, verdict: Verdict) -> None:
        desk = Desk(choice)
        key = desk.established(ALICE, 11)
        other = desk.established(BOB, 12)
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        (command,) = desk.tracker.take_commands()
        assert isinstance(command, UpdateEntry)
        assert (command.key, command.verdict) == (key, verdict)
        assert desk.tracker.take_notices() == [SessionClosed(key, WEB_ID, 11, CloseReason.MEMBER_DOWN, 0.0)]
        assert desk.state(other) is SessionState.ESTABLISHED
        desk.wait(10.1)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_unanswered_syns_move_to_a_substitute(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.tracker.take_commands()
        desk.tracker.take_notices()
        desk.substitutes = iter([12])
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        assert desk.tracker.take_notices() == [SessionMoved(key, WEB_ID, 11, 12)]
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 12)]
        assert (desk.tracker.vip_member_sessions(WEB_ID, 11), desk.tracker.vip_member_sessions(WEB_ID, 12)) == (0, 1)

    @pytest.mark.parametrize("vip", [WEB, DSR])
    @pytest.mark.parametrize("known", [True, False], ids=["moved", "announced for the dead one"])
    def test_a_substitute_is_to_blame_only_when_it_was_asked(self, desk: Desk, vip: Endpoint, known: bool) -> None:
        """The client's next SYN is the first that it gets, and that may be 4 or 8 s away."""
        vip_id = WEB_ID if vip == WEB else DSR_ID
        desk.substitutes = iter([12])
        if known:
            desk.announce(ALICE, 11, vip=vip)
            desk.now += 0.7
        desk.tracker.member_down(vip_id, 11, desk.now)
        key = desk.key(ALICE, vip)
        if not known:
            desk.announce(ALICE, 11, vip=vip)
        desk.tracker.take_notices()
        desk.wait(8)
        desk.says(ALICE, SYN, ALICE, vip)
        assert desk.tracker.take_notices() == []
        assert desk.state(key) is SessionState.SYN_SEEN
        desk.wait(1)
        if vip == WEB:
            desk.wait(2.1)
            assert desk.tracker.take_notices() == [SynUnanswered(key, WEB_ID, 12, UnansweredCause.TIMEOUT)]
        else:
            desk.says(ALICE, SYN, ALICE, vip)
            assert desk.tracker.take_notices() == [SynUnanswered(key, DSR_ID, 12, UnansweredCause.REPEATED)]

    def test_a_moved_session_whose_client_asks_no_more_ends_by_itself(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.substitutes = iter([12])
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        desk.tracker.take_notices()
        desk.wait(30.1)
        assert desk.state(key) is SessionState.GONE
        (closed,) = desk.tracker.take_notices()
        assert isinstance(closed, SessionClosed)
        assert closed.reason is CloseReason.UNANSWERED

    def test_the_answer_of_a_substitute_counts_from_its_being_asked(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.substitutes = iter([12])
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        desk.wait(3)
        desk.says(ALICE, SYN, ALICE)
        desk.now += 0.02
        desk.says(WEB, SYN_ACK, ALICE)
        established = desk.tracker.take_notices()[-1]
        assert established == SessionEstablished(key, WEB_ID, 12, pytest.approx(0.02), assumed=False)

    def test_udp_sessions_move_too(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 5, 0, DNS)
        desk.tracker.take_commands()
        desk.substitutes = iter([6])
        desk.tracker.member_down(DNS_ID, 5, desk.now)
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 6, idle=60.0)]

    def test_without_a_substitute_they_go(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.tracker.take_commands()
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_sessions_announced_for_a_dead_member_are_given_to_a_living_one(self, desk: Desk) -> None:
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        desk.substitutes = iter([12])
        key = desk.announce(ALICE, 11)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 12)]
        desk.tracker.member_up(WEB_ID, 11)
        other = desk.announce(BOB, 11)
        assert desk.tracker.take_commands() == [forward(InstallEntry, other, 11, BOB)]

    def test_a_moved_session_is_not_moved_back_by_its_old_announcement(self, desk: Desk) -> None:
        key = desk.announce(ALICE, 11)
        desk.substitutes = iter([12, 13])
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        desk.says(WEB, SYN_ACK, ALICE)
        desk.tracker.take_commands()
        desk.now += 2
        desk.announce(ALICE, 11, ACK)
        assert desk.tracker.take_commands() == [forward(InstallEntry, key, 12)]
        desk.says(ALICE, FIN, ALICE)
        desk.says(WEB, FIN, ALICE)
        desk.now += 2
        desk.announce(ALICE, 11, ACK)
        assert desk.state(key) is SessionState.TIME_WAIT

    def test_a_member_dead_for_one_vip_may_live_for_another(self, desk: Desk) -> None:
        web, dsr = desk.established(ALICE, 11), desk.announce(ALICE, 11, ACK, DSR)
        desk.tracker.member_down(WEB_ID, 11, desk.now)
        assert desk.state(web) is SessionState.SCRAPPED
        assert desk.state(dsr) is SessionState.ESTABLISHED
        assert desk.tracker.vip_member_sessions(WEB_ID, 11) == 0
        assert desk.tracker.sessions_naming(11) == 2


class TestReconciliation:
    def entry(self, client: Endpoint, member: int, vip: Endpoint = WEB, closing: bool = False) -> InstallEntry:
        key = FlowKey.between(client, vip, Protocol.UDP if vip == DNS else Protocol.TCP)
        return InstallEntry(
            key, Verdict.FORWARD, member, key.high == client, closing, 60.0 if closing or vip == DNS else 900.0
        )

    def test_a_restarted_controller_adopts_and_writes_nothing(self, desk: Desk) -> None:
        present = [self.entry(ALICE, 11), self.entry(BOB, 12, closing=True), self.entry(BOB, 5, DNS)]
        desk.tracker.reconcile(present, desk.now)
        assert [desk.state(entry.key) for entry in present] == [
            SessionState.ESTABLISHED,
            SessionState.TIME_WAIT,
            SessionState.ACTIVE,
        ]
        assert desk.tracker.take_commands() == []
        assert desk.tracker.take_notices() == []
        assert desk.tracker.vip_member_sessions(WEB_ID, 11) == 1
        assert desk.tracker.vip_sessions(WEB_ID) == 1
        desk.wait(60)
        desk.tracker.idle(present[1].key, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(present[1].key)]
        desk.says(BOB, FIN, ALICE)
        desk.says(ALICE, FIN, ALICE)
        desk.says(WEB, FIN, ALICE)
        assert desk.state(present[0].key) is SessionState.TIME_WAIT

    def test_single_entries_can_be_adopted(self, desk: Desk) -> None:
        assert desk.tracker.adopt(self.entry(ALICE, 11), desk.now)
        assert not desk.tracker.adopt(self.entry(ALICE, 11, parse_endpoint("192.0.2.99:80")), desk.now)
        assert desk.tracker.take_commands() == []
        assert desk.tracker.vip_member_sessions(WEB_ID, 11) == 1

    def test_scrapped_sessions_are_adopted_as_such(self, desk: Desk) -> None:
        key = desk.key(ALICE)
        desk.tracker.reconcile([InstallEntry(key, Verdict.DENY, 0, False, False, 900.0)], desk.now)
        assert desk.tracker.take_commands() == []
        desk.wait(10.1)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]

    def test_sessions_that_end_by_silence_still_do_after_a_restart(self, desk: Desk) -> None:
        reset = desk.established(ALICE, 11)
        desk.says(ALICE, RST, ALICE)
        half_closed = desk.announce(BOB, 21, FIN, DSR)
        present = list(desk.tracker.entries())
        again = Desk()
        again.tracker.reconcile(present, again.now)
        again.wait(3600)
        assert again.tracker.take_commands() == []
        for key in (reset, half_closed):
            again.tracker.idle(key, again.now)
        assert again.tracker.take_commands() == [RemoveEntry(reset), RemoveEntry(half_closed)]

    def test_entries_of_no_vip_are_removed(self, desk: Desk) -> None:
        entry = self.entry(ALICE, 11, parse_endpoint("192.0.2.99:80"))
        desk.tracker.reconcile([entry], desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(entry.key)]

    def test_after_a_reconnect_only_differences_are_written(self, desk: Desk) -> None:
        same = desk.established(ALICE, 11)
        lost = desk.established(BOB, 12)
        changed = desk.established(Endpoint(BOB.address, 50001), 13)
        present = [entry for entry in desk.tracker.entries() if entry.key != lost]
        desk.says(WEB, RST, Endpoint(BOB.address, 50001))
        desk.tracker.reconcile(present, desk.now)
        commands = desk.tracker.take_commands()
        assert {type(command): command.key for command in commands} == {UpdateEntry: changed, InstallEntry: lost}
        assert len(commands) == 2
        assert desk.state(same) is SessionState.ESTABLISHED

    def test_what_is_wanted_is_what_was_written(self, desk: Desk) -> None:
        for port in range(100):
            client = Endpoint(ALICE.address, 1000 + port)
            desk.announce(client, port % 3)
            if port % 2:
                desk.says(WEB, RST, client)
        written = {command.key: command for command in desk.tracker.take_commands()}
        assert {entry.key: entry for entry in desk.tracker.entries()} == written
        desk.tracker.reconcile(list(desk.tracker.entries()), desk.now)
        assert desk.tracker.take_commands() == []


class TestRemoval:
    def test_a_removed_vip_takes_its_sessions_along(self, desk: Desk) -> None:
        key, other = desk.established(ALICE, 11), desk.announce(ALICE, 5, 0, DNS)
        desk.tracker.take_commands()
        desk.tracker.remove_vip(WEB_ID, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        assert [view.key for view in desk.tracker.sessions()] == [other]
        assert desk.tracker.vip_sessions(WEB_ID) == 0

    def test_a_removed_member_takes_its_sessions_along(self, desk: Desk) -> None:
        key, other = desk.established(ALICE, 11), desk.established(BOB, 12)
        desk.tracker.remove_member(WEB_ID, 11, desk.now)
        assert desk.tracker.take_commands() == [RemoveEntry(key)]
        assert desk.state(other) is SessionState.ESTABLISHED

    def test_new_times_hold_from_the_next_change_of_state(self, desk: Desk) -> None:
        key = desk.established(ALICE, 11)
        desk.tracker.set_policy(SessionPolicy(WEB_ID, WEB, time_wait=5.0))
        assert desk.tracker.take_commands() == []
        desk.says(ALICE, FIN, ALICE)
        desk.says(WEB, FIN, ALICE)
        assert desk.tracker.take_commands() == [forward(UpdateEntry, key, 11, closing=True, idle=5.0)]


def test_views_show_the_client(desk: Desk) -> None:
    desk.announce(ALICE, 11)
    desk.announce(BOB, 12)
    assert {(view.client, view.member_id, view.state) for view in desk.tracker.sessions()} == {
        (ALICE, 11, SessionState.SYN_SEEN),
        (BOB, 12, SessionState.SYN_SEEN),
    }


def test_a_policy_is_made_of_the_configuration() -> None:
    config = parse("""
        [[switch]]
        name = "s"
        address = "h:1"
        port = [{ number = 1, mac = "02:00:00:00:00:01" }]
        [[vip]]
        name = "v"
        address = "192.0.2.10"
        port = 80
        mode = "dsr"
        on_member_failure = "reset"
        time_wait = "5s"
        idle_timeout = "6m"
        handshake_timeout = "7s"
        health = { passive_timeout = "2s" }
        member = [{ name = "m", address = "10.0.0.1" }]
    """)
    assert SessionPolicy.of(9, config.vips[0]) == SessionPolicy(
        9,
        WEB,
        sees_replies=False,
        on_member_failure=MemberFailure.RESET,
        time_wait=5,
        idle_timeout=360,
        handshake_timeout=7,
        answer_timeout=2,
    )


def test_every_state_is_in_the_table_and_every_session_can_end() -> None:
    assert set(TRANSITIONS) == set(SessionState)
    assert {target for row in TRANSITIONS.values() for target in row.values()} <= set(SessionState)
    ending = {SessionState.GONE}
    for _ in SessionState:
        ending |= {state for state, row in TRANSITIONS.items() if ending & set(row.values())}
    assert ending == set(SessionState)
    for state in ACTIVE_STATES | ENDED_STATES:
        ways_out = {SessionInput.IDLE, SessionInput.TIMEOUT} & TRANSITIONS[state].keys()
        assert ways_out, f"nothing but traffic ends {state}"


def test_a_short_session_that_the_flow_cache_remembers_gets_no_entry() -> None:
    desk = Desk()
    desk.remember(ALICE, 7)
    desk.says(WEB, SYN_ACK, ALICE)
    desk.wait(0.2)
    desk.says(ALICE, FIN | ACK, ALICE)
    desk.says(WEB, FIN | ACK, ALICE)
    desk.wait(59.0)
    assert len(desk.tracker) == 1  # known until 2 MSL are over
    desk.wait(2.0)
    assert len(desk.tracker) == 0
    assert desk.tracker.take_commands() == []
    assert desk.tracker.next_deadline() is None


def test_a_remembered_session_that_goes_on_gets_its_entry_soon() -> None:
    desk = Desk()
    key = desk.remember(ALICE, 7)
    desk.says(WEB, SYN_ACK, ALICE)
    assert desk.tracker.take_commands() == []
    desk.wait(0.31)
    [entry] = desk.tracker.take_commands()
    assert isinstance(entry, InstallEntry)
    assert (entry.key, entry.verdict, entry.member_id) == (key, Verdict.FORWARD, 7)


def test_a_remembered_session_whose_member_dies_is_scrapped_at_once() -> None:
    desk = Desk(MemberFailure.RESET)
    desk.remember(ALICE, 7)
    desk.says(WEB, SYN_ACK, ALICE)
    desk.tracker.member_down(WEB_ID, 7, desk.now)
    assert [entry.verdict for entry in desk.entries()] == [Verdict.RESET]


def test_a_remembered_session_that_moves_has_an_entry_that_says_so() -> None:
    desk = Desk()
    desk.remember(ALICE, 7)
    desk.substitutes = iter([8])
    desk.tracker.member_down(WEB_ID, 7, desk.now)
    assert [entry.member_id for entry in desk.entries()] == [8]


def test_an_ended_session_that_goes_on_after_all_has_an_entry() -> None:
    """Its RST was forged: the data plane announces the session again while it has none."""
    desk = Desk()
    desk.remember(ALICE, 7)
    desk.says(WEB, SYN_ACK, ALICE)
    desk.says(WEB, RST, ALICE)
    desk.wait(1.5)
    assert desk.entries() == []
    desk.announce(ALICE, 7, ACK)
    assert [entry.member_id for entry in desk.entries()] == [7]


def test_a_remembered_session_gets_its_entry_when_the_switch_is_another() -> None:
    """The new one's flow cache is empty."""
    desk = Desk()
    desk.remember(ALICE, 7)
    desk.tracker.reconcile([], desk.now)
    assert [entry.member_id for entry in desk.entries()] == [7]


def test_one_that_is_gone_does_not_hurry_who_comes_after_it() -> None:
    desk = Desk()
    desk.remember(ALICE, 7)
    desk.wait(0.1)
    desk.tracker.member_down(WEB_ID, 7, desk.now)  # nobody takes it over: it is gone
    desk.tracker.member_up(WEB_ID, 7)
    assert desk.tracker.take_commands() == []
    desk.wait(0.1)
    desk.remember(ALICE, 7)
    desk.says(WEB, SYN_ACK, ALICE)
    desk.wait(0.15)
    assert desk.tracker.take_commands() == []
    desk.wait(0.2)
    assert len(desk.tracker.take_commands()) == 1


def test_a_successor_within_the_patience_of_its_predecessor_waits_as_long_itself() -> None:
    desk = Desk()
    desk.remember(ALICE, 7)
    desk.says(ALICE, FIN | ACK, ALICE)
    desk.says(WEB, FIN | ACK, ALICE)
    desk.wait(0.2)
    desk.remember(ALICE, 8)
    desk.wait(0.2)
    assert desk.entries() == []
    desk.wait(0.2)
    assert [entry.member_id for entry in desk.entries()] == [8]
