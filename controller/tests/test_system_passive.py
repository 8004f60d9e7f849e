"""The passive check alone: clients whose SYNs a member swallows are all the depot hears of its death."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from controller.tests.system_lab import NAT, NEEDS, PORT, SystemLab, services, system

from depot.demo.configuration import Service
from depot.demo.network import CLIENTS, MEMBERS

__all__ = ["system"]  # the fixture

pytestmark = NEEDS

CLIENT = CLIENTS[0].name
NAMES = [member.name for member in MEMBERS]
SILENT = MEMBERS[1].name
CLIENTS_LAN = {4: "10.1.0.0/24", 6: "fd00:1::/64"}
PASSIVE = {"type": "none", "passive_timeout": "1s", "passive_fall": 2, "passive_retry": "3s"}
SYN_RETRY = 1.0
"""Seconds after which a client's kernel sends its SYN again (RFC 6298, 2.1)."""


def set_silent(system: SystemLab, family: int, silent: bool) -> None:
    """Let a member swallow what clients send, or no more: it has no way to answer them, and refuses nothing."""
    what = f"route {'replace' if silent else 'flush type'} blackhole"
    system.lab.ip(SILENT, f"{what} {'' if silent else 'to '}{CLIENTS_LAN[family]}", family=family)


@pytest.fixture(params=[4, 6])
def family(system: SystemLab, request: pytest.FixtureRequest) -> Iterator[int]:
    """One VIP without active checks."""
    found: int = request.param
    settings = {"on_member_failure": "reset", "time_wait": "1s"}
    system.reload([Service(f"tcp{found}", NAT[found], PORT, "nat", MEMBERS, settings=settings, health=PASSIVE)])
    system.wait_all_up()
    yield found
    set_silent(system, found, False)
    system.reload(services())
    system.wait_all_up()


def test_a_silent_member_leaves_is_tried_again_and_returns(system: SystemLab, family: int) -> None:
    vip = NAT[family]
    assert set(system.probe(6, vip)) == set(NAMES)

    set_silent(system, family, True)
    hit = system.drive(CLIENT, "probe", address=vip, port=PORT, count=3)
    assert hit["failed"] == [], "who hits it is moved to a living member, and waits for its own retry only"
    assert SILENT not in hit["members"]
    assert SYN_RETRY < max(hit["seconds"]) < 8 * SYN_RETRY
    system.wait_state(SILENT, "down")
    (row,) = [row for row in system.box.ask("members") if row["name"] == SILENT]
    assert row["detail"] == "2 client SYNs unanswered"
    assert row["share"] == 0
    events = [json.loads(line) for line in system.box.command("events", "--json").stdout.splitlines()]
    assert [e["cause"] for e in events if e["kind"] == "member-down" and e["member"] == SILENT][-1:] == ["unanswered"]

    out = system.drive(CLIENT, "probe", address=vip, port=PORT, count=6)
    assert out["failed"] == []
    assert set(out["members"]) == set(NAMES) - {SILENT}
    assert max(out["seconds"]) < SYN_RETRY, "out of the schedule: nobody waits for it"

    system.wait_state(SILENT, "up")  # after passive_retry, by no evidence
    again = system.drive(CLIENT, "probe", address=vip, port=PORT, count=3)
    assert again["failed"] == []
    assert SILENT not in again["members"]
    system.wait_state(SILENT, "down")
    (row,) = [row for row in system.box.ask("members") if row["name"] == SILENT]
    assert row["detail"] == "1 client SYN unanswered", "on probation one is enough"

    set_silent(system, family, False)
    system.wait_state(SILENT, "up")
    back = system.drive(CLIENT, "probe", address=vip, port=PORT, count=12)
    assert back["failed"] == []
    assert sorted(back["members"]) == sorted(NAMES * 4)
    assert max(back["seconds"]) < SYN_RETRY
