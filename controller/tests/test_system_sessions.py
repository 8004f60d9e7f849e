"""Two hundred sessions transfer data while everything that can be done to a depot is done to it.

Held throughout the module: TCP over IPv4 and IPv6, by NAT and by direct server return, fast ones and slow ones. Each
test does one thing to the depot; then every session must have gone on, with its member, without a byte missing or
wrong, no member may have seen a packet of a session that it does not know, and the switch must hold an entry for each.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from controller.tests.system_lab import (
    ALL_MEMBERS,
    DSR,
    EVERY_TARGET,
    NAT,
    NEEDS,
    SESSIONS,
    SystemLab,
    services,
    system,
)

from depot.demo.lab import wait_until
from depot.demo.network import MEMBERS

__all__ = ["system"]  # the fixture

pytestmark = NEEDS

NAMES = [member.name for member in MEMBERS]


@contextmanager
def nobody_notices(system: SystemLab) -> Iterator[None]:
    """What is done in the block disturbs none of the two hundred sessions."""
    system.hold_sessions()
    assert sum(map(len, system.held.values())) == sum(count for _, _, count in SESSIONS) == 200
    resets = system.resets_sent(NAMES)
    yield
    system.expect_all_exchange()
    assert system.resets_sent(NAMES) == resets
    system.expect_entries_of_sessions()


@EVERY_TARGET
def test_schedule_changes(system: SystemLab) -> None:
    with nobody_notices(system):
        for scheduler in ("maglev", "least-connections", "weighted-round-robin", "round-robin"):
            system.reload(services(scheduler=scheduler))
            system.expect_all_exchange(records=1)


def test_weight_changes(system: SystemLab) -> None:
    with nobody_notices(system):
        system.reload(services(weights={"member1": 5}, scheduler="weighted-round-robin"))
        assert system.probe(7).count("member1") == 5
        system.box.tell("weight", "member1", "2", "--vip", "tcp4")
        wait_until(lambda: system.probe(4).count("member1") == 2, 5.0, "weight 2 is in effect")
        system.expect_all_exchange(records=1)
        system.reload(services())


def test_drain_and_undrain(system: SystemLab) -> None:
    with nobody_notices(system):
        system.box.tell("drain", "member2")
        system.box.wait_in_sync()
        for vip in (*NAT.values(), *DSR.values()):
            assert set(system.probe(6, vip)) == {"member1", "member3"}
        system.expect_all_exchange()
        system.box.tell("undrain", "member2")
        system.box.wait_in_sync()
        assert set(system.probe(6)) == set(NAMES)


def test_member_is_added_and_removed(system: SystemLab) -> None:
    with nobody_notices(system):
        system.reload(services(ALL_MEMBERS))
        system.wait_all_up()
        assert sorted(system.probe(8)) == sorted([member.name for member in ALL_MEMBERS] * 2)
        system.expect_all_exchange(records=1)
        system.reload(services())
        assert set(system.probe(6)) == set(NAMES)


def test_another_member_dies_and_returns(system: SystemLab) -> None:
    """A fourth member joins, is given sessions of its own, and dies; the two hundred are on the other three."""
    with nobody_notices(system):
        system.reload(services(ALL_MEMBERS))
        system.wait_all_up()
        system.servers["member4"].kill()
        system.wait_state("member4", "down")
        assert set(system.probe(12)) == set(NAMES)
        system.expect_all_exchange(records=1)
        system.start_server("member4")
        system.wait_all_up()
        assert "member4" in system.probe(4)
        system.reload(services())


@EVERY_TARGET
def test_controller_is_killed_and_started_again(system: SystemLab) -> None:
    vips = (*NAT.values(), *DSR.values())
    with nobody_notices(system):
        for vip in vips:
            system.probe(1, vip)  # a client whose MAC nobody has learnt waits for a controller
        system.box.kill_controller()
        for vip in vips:
            served = system.probe(31, vip)
            shares = [served.count(name) for name in NAMES]
            assert max(shares) - min(shares) <= 1, "new sessions are switched by the data plane alone"
        system.expect_all_exchange()
        before = system.tables()
        system.box.start_controller()
        after = system.tables()
        kept = [name for name in before if name not in ("connection_table", "schedule_table")]
        assert {name: sort(after[name]) for name in kept} == {name: sort(before[name]) for name in kept}
        assert turns(after) == turns(before)


@EVERY_TARGET
def test_sessions_that_began_without_a_controller_stay(system: SystemLab) -> None:
    """Held by the flow cache alone, adopted when the controller is back."""
    system.end_sessions()
    system.wait_no_sessions()
    system.box.kill_controller()
    with nobody_notices(system):
        system.expect_all_exchange()
        system.box.start_controller()


def test_controller_is_restarted_in_order(system: SystemLab) -> None:
    with nobody_notices(system):
        system.box.stop_controller()
        system.expect_all_exchange(records=1)
        system.box.start_controller()
        assert set(system.probe(6)) == set(NAMES)


def test_bad_reload_changes_nothing(system: SystemLab) -> None:
    with nobody_notices(system):
        before = {name: sort(rows) for name, rows in system.tables().items() if name != "connection_table"}
        system.box.config_file.write_text(system.box.config_file.read_text() + '\n[[vip]]\nname = "tcp4"\nprot = 1\n')
        done = system.box.command("reload")
        assert done.returncode != 0
        assert "prot" in done.stderr
        system.expect_all_exchange(records=1)
        after = {name: sort(rows) for name, rows in system.tables().items() if name != "connection_table"}
        assert after == before
        system.reload(services())


@EVERY_TARGET
def test_connection_to_the_switch_is_cut(system: SystemLab) -> None:
    with nobody_notices(system):
        assert system.relay.say("cut") == "cut"
        wait_until(lambda: not system.box.in_sync(), 10.0, "the controller notices")
        assert set(system.probe(6)) == set(NAMES)
        system.expect_all_exchange(records=1)
        assert system.relay.say("mend") == "mend"
        system.box.wait_in_sync()
        assert set(system.probe(6)) == set(NAMES)


def test_reload_by_signal(system: SystemLab) -> None:
    """SIGHUP reads the file again, as `depot reload` does."""
    with nobody_notices(system):
        system.box.configure(services(MEMBERS[:2]))
        assert system.box.controller is not None
        system.box.controller.popen.send_signal(signal.SIGHUP)
        wait_until(lambda: set(system.probe(4)) == {"member1", "member2"}, 10.0, "the file is in effect")
        system.expect_all_exchange()
        system.reload(services())


@EVERY_TARGET
def test_all_sessions_end_well(system: SystemLab) -> None:
    """Last: every session is closed in order, and its entry goes after 2 MSL (here 1 s).

    Entries of sessions whose end no controller has seen go when they have been idle (here 10 s).
    """
    system.hold_sessions()
    ended = sum(system.drive(client, "finish", seconds=10)["ended"] for client in system.drivers)
    system.held = {}
    assert ended == 200
    system.wait_no_sessions()


def turns(tables: dict[str, list[dict[str, Any]]]) -> Counter[tuple[int, int]]:
    """How many slots each VIP's schedule has for each member; where a turn begins is of no matter."""
    return Counter((row["key"]["vip_id"], row["params"]["member_id"]) for row in tables["schedule_table"])


def sort(rows: list[dict[str, object]]) -> list[str]:
    """Entries in an order of their own."""
    return sorted(map(str, rows))


@pytest.fixture(autouse=True)
def _told_logs(system: SystemLab, request: pytest.FixtureRequest) -> Iterator[None]:
    """A failed test shows what switch and controller said last."""
    yield
    for process in (system.box.switch, system.box.controller):
        if process is not None:
            print(f"--- {process.name}\n{process.log_tail()}")
