"""Whom a switch's schedules leave out."""

from __future__ import annotations

import pytest

from depot.config import VipConfig, parse
from depot.p4runtime.entry import Entry
from depot.switching.desired import service_entries
from depot.switching.identities import Identities
from depot.switching.scheduled import left_out_members

SWITCH = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16"]
"""


def vips(names: str, vip: str = "web", mode: str = "nat") -> tuple[VipConfig, ...]:
    text = SWITCH + f'[[vip]]\nname = "{vip}"\naddress = "10.1.9.1"\nport = 80\nmode = "{mode}"\n'
    text += "".join(f'[[vip.member]]\nname = "{n}"\naddress = "10.1.0.{ord(n)}"\n' for n in names)
    return parse(text).vips


def held(configured: tuple[VipConfig, ...], slots: str) -> list[Entry]:
    """The tables of a switch that was configured like this and given these slots."""
    return service_entries(configured, {vip.name: list(slots) for vip in configured}, Identities(), 0.0)


@pytest.mark.parametrize(
    ("before", "slots", "now", "left_out"),
    [
        ("abc", "abc", "abc", ""),
        ("abc", "aac", "abc", "b"),
        ("abc", "", "abc", "abc"),
        ("ab", "ab", "abc", "c"),
        ("abc", "ac", "ab", "b"),
        ("ab", "ab", "cd", ""),
    ],
    ids=["all serve", "one does not", "all are dead", "a new one", "one is gone", "all are others"],
)
@pytest.mark.parametrize("mode", ["nat", "dsr"])
def test_members_that_no_slot_names(mode: str, before: str, slots: str, now: str, left_out: str) -> None:
    entries = held(vips(before, mode=mode), slots)
    found = left_out_members(entries, vips(now, vip="renamed", mode=mode))
    assert found == [("renamed", name) for name in left_out]


def test_a_switch_that_does_not_serve_says_nothing() -> None:
    assert left_out_members([], vips("abc")) == []


def test_old_slots_beyond_the_schedule_do_not_count() -> None:
    longer = held(vips("abc"), "abc")
    entries = {entry.key: entry for entry in (*longer, *held(vips("abc"), "a"))}
    assert left_out_members(list(entries.values()), vips("abc")) == [("web", "b"), ("web", "c")]


def test_a_slot_that_names_nobody_known() -> None:
    entries = [entry for entry in held(vips("abc"), "abc") if entry.table != "member_table" or entry.values != (1,)]
    assert left_out_members(entries, vips("abc")) == [("web", "b")]
