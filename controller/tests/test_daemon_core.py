"""The daemon's own decisions, without a switch: notices to counts, health and events; the order of what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from depot.address import FlowKey
from depot.config import parse
from depot.daemon.daemon import Daemon
from depot.daemon.event_log import KEPT, EventLog
from depot.p4runtime.switch_shell import Pipeline
from depot.program import find_compiled_program
from depot.switching.commands import (
    CloseReason,
    SessionClosed,
    SessionEstablished,
    SessionMoved,
    SessionNotice,
    SessionOpened,
    SynUnanswered,
    UnansweredCause,
)
from depot.switching.services import MemberState

CONFIG = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16"]
[[vip]]
name = "web"
address = "10.1.9.1"
port = 80
[vip.health]
type = "none"
[[vip.member]]
name = "m1"
address = "10.1.0.11"
[[vip.member]]
name = "m2"
address = "10.1.0.12"
"""
FLOW = FlowKey(1, 80, 2, 4000, 6)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    config = parse(CONFIG.replace("[[switch]]", f'[depot]\nsocket = "{tmp_path}/depot.sock"\n[[switch]]', 1))
    made = Daemon(config, tmp_path / "depot.toml", Pipeline(find_compiled_program()))
    await made.start()
    yield made
    await made.stop()


def notice(daemon: Daemon, *notices: SessionNotice) -> None:
    runner = daemon.runners["edge"]
    runner.core.connected([], daemon.now())
    daemon._noticed(runner, notices)


def opened(member: int) -> SessionOpened:
    return SessionOpened(FLOW, 0, member, True, 0.0)


def answered(member: int, assumed: bool = False) -> SessionEstablished:
    return SessionEstablished(FLOW, 0, member, 0.01, assumed)


def refused(member: int) -> SynUnanswered:
    return SynUnanswered(FLOW, 0, member, UnansweredCause.REFUSED)


def state(daemon: Daemon, name: str) -> MemberState:
    return daemon.services.find(name)[0].state


class TestNotices:
    async def test_counts(self, daemon: Daemon) -> None:
        closed = SessionClosed(FLOW, 0, 1, CloseReason.FIN, 1.0)
        moved = SessionMoved(FLOW, 0, 0, 1)
        notice(daemon, opened(0), opened(1), opened(1), answered(0), answered(1, assumed=True), closed, moved)
        tally = daemon.tally
        assert tally.opened == {("web", "m1"): 1, ("web", "m2"): 2}
        assert tally.established == {("web", "m1"): 1}
        assert tally.closed == {("web", "fin"): 1}
        assert tally.moved == {("web", "m2"): 1}

    async def test_clients_find_a_member_dead(self, daemon: Daemon) -> None:
        notice(daemon, refused(1), refused(1))
        assert state(daemon, "m2") is MemberState.UP
        notice(daemon, refused(1))
        assert state(daemon, "m2") is MemberState.DOWN
        assert daemon.services.schedules == {"web": ("m1",)}
        assert daemon.tally.deaths == {("web", "m2"): 1}
        (event,) = [event for event in daemon.event_log.last(10) if event["kind"] == "member-down"]
        assert (event["vip"], event["member"], event["cause"]) == ("web", "m2", "unanswered")

    async def test_answers_between_say_otherwise(self, daemon: Daemon) -> None:
        for _ in range(5):
            notice(daemon, refused(1), refused(1), answered(1))
        assert state(daemon, "m2") is MemberState.UP

    async def test_what_was_lost_under_load_is_no_evidence(self, daemon: Daemon) -> None:
        """SYNs sent before the member's last answer, noticed as unanswered only now."""
        notice(daemon, answered(1))
        missed = SynUnanswered(FLOW, 0, 1, UnansweredCause.TIMEOUT)
        notice(daemon, missed, missed, missed, missed)
        assert state(daemon, "m2") is MemberState.UP
        assert daemon.tally.unanswered == {("web", "m2"): 4}

    async def test_members_that_are_gone_are_not_counted(self, daemon: Daemon) -> None:
        notice(daemon, opened(77), refused(77), answered(77))
        assert not daemon.tally.opened


class TestEvents:
    async def test_sessions_are_told_to_those_who_ask(self, daemon: Daemon) -> None:
        with daemon.event_log.follow(with_sessions=True) as all_of_it:
            with daemon.event_log.follow(with_sessions=False) as without:
                notice(daemon, opened(0), SessionClosed(FLOW, 0, 0, CloseReason.RST, 0.5))
                daemon.event_log.add("note", "something")
            told = [all_of_it.get_nowait()["kind"] for _ in range(all_of_it.qsize())]
            assert told == ["session-opened", "session-closed", "note"]
            assert [without.get_nowait()["kind"] for _ in range(without.qsize())] == ["note"]
        assert not daemon.event_log.wants_sessions
        assert all(not str(event["kind"]).startswith("session") for event in daemon.event_log.last(1000))

    def test_only_the_latest_are_kept(self) -> None:
        log = EventLog()
        for number in range(KEPT + 5):
            log.add("note", str(number))
        assert [event["text"] for event in log.last(2)] == [str(KEPT + 3), str(KEPT + 4)]
        assert len(log.last(10**6)) == KEPT
        assert log.last(0) == []

    async def test_a_slow_follower_loses_the_oldest(self, daemon: Daemon) -> None:
        from depot.daemon.event_log import MOST_WAITING

        with daemon.event_log.follow(with_sessions=True) as queue:
            for number in range(MOST_WAITING + 10):
                daemon.event_log.add_session("session-opened", str(number))
            assert queue.qsize() == MOST_WAITING
            assert queue.get_nowait()["text"] == "10"
