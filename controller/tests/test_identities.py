"""The numbers of VIPs and members, and the entries that follow from a configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.config import parse
from depot.p4runtime.entry import (
    Action,
    Table,
    dsr_member_entry,
    ipip_member_entry,
    nat_member_entry,
    schedule_entry,
    vip_entry,
)
from depot.switching.desired import member_action, member_destination, service_entries, vip_key
from depot.switching.identities import (
    QUARANTINE,
    Identities,
    IdentitiesExhaustedError,
    MemberAction,
    VipKey,
)
from depot.switching.routing import Routing

SWITCH = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16", "fd00:1::1/64"]
"""
VIP = '[[vip]]\nname = "{name}"\naddress = "{address}"\nport = 80\nmode = "{mode}"\n{more}\n'
MEMBER = '[[vip.member]]\nname = "{name}"\naddress = "{address}"\n'


def vip(name: str, address: str, mode: str, *members: str, more: str = "") -> str:
    text = VIP.format(name=name, address=address, mode=mode, more=more)
    return text + "".join(MEMBER.format(name=f"m{number}", address=one) for number, one in enumerate(members))


def member(number: int) -> MemberAction:
    return MemberAction(Action.NAT_TO_MEMBER, (number, 80))


class TestNumbers:
    def test_lowest_free_first(self) -> None:
        ids = Identities()
        assert [ids.member(member(n), 0.0) for n in (7, 8, 7, 9)] == [0, 1, 0, 2]
        assert ids.vip(VipKey(1, 80, 6), 0.0) == 0, "VIPs have numbers of their own"

    def test_given_up_numbers_rest(self) -> None:
        """The flow cache may still send sessions by them."""
        ids = Identities()
        for n in range(3):
            ids.member(member(n), 0.0)
        ids.keep(set(), {member(0), member(2)}, 10.0)
        assert ids.find_member(member(1)) is None
        assert ids.member(member(8), 10.0 + QUARANTINE - 1) == 3
        assert ids.member(member(9), 10.0 + QUARANTINE) == 1

    def test_read_back(self) -> None:
        ids = Identities()
        ids.adopt([nat_member_entry(5, 1, 80), nat_member_entry(0, 2, 80), vip_entry(9, 80, 6, 3, 0)])
        assert ids.member(MemberAction(Action.NAT_TO_MEMBER, (1, 80)), 0.0) == 5
        assert ids.member(member(77), 0.0) == 1
        assert ids.vip(VipKey(9, 80, 6), 0.0) == 3
        assert ids.vip(VipKey(10, 80, 6), 0.0) == 0
        assert (ids.member_of(5), ids.vip_of(3)) == (MemberAction(Action.NAT_TO_MEMBER, (1, 80)), VipKey(9, 80, 6))

    def test_what_we_gave_stays_when_a_switch_says_otherwise(self) -> None:
        ids = Identities()
        assert ids.member(member(1), 0.0) == 0
        ids.adopt([nat_member_entry(0, 2, 80), nat_member_entry(4, 1, 80)])
        assert ids.member(member(1), 0.0) == 0
        assert ids.member(member(2), 0.0) != 0

    def test_exhausted(self) -> None:
        ids = Identities()
        for n in range(1 << 16):
            ids.member(member(n), 0.0)
        with pytest.raises(IdentitiesExhaustedError, match="no member number"):
            ids.member(member(-1), 0.0)

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.floats(0, 100)), max_size=40))
    def test_never_two_owners(self, steps: list[tuple[bool, int, float]]) -> None:
        ids, now, held = Identities(), 0.0, {}
        given_up: dict[int, float] = {}
        for take, number, later in steps:
            now += later
            if take:
                taken = ids.member(member(number), now)
                if number not in held:
                    assert now - given_up.get(taken, -QUARANTINE) >= QUARANTINE
                held[number] = taken
            elif number in held:
                given_up[held.pop(number)] = now
                ids.keep(set(), {member(n) for n in held}, now)
            assert len(set(held.values())) == len(held)
            assert all(ids.member_of(taken) == member(n) for n, taken in held.items())


class TestServices:
    def entries(self, text: str, schedules: dict[str, list[str]], ids: Identities | None = None) -> list[object]:
        return list(service_entries(parse(SWITCH + text).vips, schedules, ids or Identities(), 0.0))

    def test_nat(self) -> None:
        found = self.entries(vip("web", "10.1.9.1", "nat", "10.1.0.11", "10.1.0.12"), {"web": ["m1", "m0", "m1"]})
        base = 0xFFFF0A010000
        assert set(found) == {
            nat_member_entry(0, base + 11, 80),
            nat_member_entry(1, base + 12, 80),
            *(entry for entry in found if entry.table is Table.NAT_SOURCE),  # type: ignore[attr-defined]
            schedule_entry(0, 0, 1),
            schedule_entry(0, 1, 0),
            schedule_entry(0, 2, 1),
            vip_entry(base + 0x901, 80, 6, 0, 3),
        }
        ways_back = {(e.values, e.params) for e in found if e.table is Table.NAT_SOURCE}  # type: ignore[attr-defined]
        assert ways_back == {((base + n, 80, 6), (base + 0x901, 80)) for n in (11, 12)}

    def test_dsr_members_are_shared(self) -> None:
        text = vip("a", "10.1.9.1", "dsr", "10.1.0.11") + vip("b", "10.1.9.2", "dsr", "10.1.0.11", "10.1.0.12")
        found = self.entries(text, {"a": ["m0"], "b": ["m0", "m1"]})
        members = {entry for entry in found if entry.table is Table.MEMBER}  # type: ignore[attr-defined]
        assert members == {dsr_member_entry(0, 0xFFFF0A01000B), dsr_member_entry(1, 0xFFFF0A01000C)}
        assert not [entry for entry in found if entry.table is Table.NAT_SOURCE]  # type: ignore[attr-defined]

    def test_ipip(self) -> None:
        text = vip("a", "10.1.9.1", "ipip", "fd00:1::11", more='tunnel_source = "fd00:1::1"')
        found = self.entries(text, {})
        prefix = 0xFD000001 << 96
        assert ipip_member_entry(0, prefix + 1, prefix + 0x11) in found

    def test_a_vip_without_a_schedule_serves_nobody(self) -> None:
        assert vip_entry(0xFFFF0A010901, 80, 6, 0, 0) in self.entries(vip("a", "10.1.9.1", "nat", "10.1.0.11"), {})

    def test_maglev_takes_slots_by_hash(self) -> None:
        text = vip("a", "10.1.9.1", "nat", "10.1.0.11", more='scheduler = "maglev"')
        assert vip_entry(0xFFFF0A010901, 80, 6, 0, 1, by_hash=True) in self.entries(text, {"a": ["m0"]})

    def test_a_slot_of_nobody_is_left_out(self) -> None:
        found = self.entries(vip("a", "10.1.9.1", "nat", "10.1.0.11"), {"a": ["gone", "m0"]})
        assert schedule_entry(0, 0, 0) in found
        assert vip_entry(0xFFFF0A010901, 80, 6, 0, 1) in found

    @pytest.mark.parametrize(
        ("mode", "more", "expected"),
        [("nat", "", "10.1.0.11"), ("dsr", "", "10.1.0.11"), ("ipip", 'tunnel_source = "10.1.0.1"', "10.1.0.11")],
    )
    def test_where_packets_for_a_member_go(self, mode: str, more: str, expected: str) -> None:
        config = parse(SWITCH + vip("a", "10.1.9.1", mode, expected, more=more)).vips[0]
        assert member_destination(member_action(config, config.members[0])) == config.members[0].address
        assert vip_key(config) == (0xFFFF0A010901, 80, 6)


class TestRouting:
    TEXT = (
        SWITCH
        + """
[[switch.port]]
number = 2
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.1/24"]
mtu = 9000
[[switch.route]]
prefix = "10.3.0.0/16"
via = "10.2.0.254"
[[switch.route]]
prefix = "10.3.5.0/24"
port = 1
"""
    )

    def routing(self) -> Routing:
        return Routing(parse(self.TEXT).switches[0])

    def test_longest_prefix(self) -> None:
        routing, base = self.routing(), 0xFFFF0A000000
        assert routing.next_hop(base + 0x030101) == (2, base + 0x0200FE)
        assert routing.next_hop(base + 0x030501) == (1, base + 0x030501), "on-link by a route"
        assert routing.next_hop(base + 0x010203) == (1, base + 0x010203)
        assert routing.next_hop(base + 0x090909) is None

    def test_entries(self) -> None:
        found = {str(entry) for entry in self.routing().entries([0xFFFF0A010901])}
        assert {
            "admission_table [port=0x2, mac=0x20000000201] -> admit()",
            "local_address_table [port=0x2, address=0xffff0a010901] -> answer(mac=0x20000000201)",
            "route_table [address=0xffff0a010901/128] -> route_local()",
            "route_table [address=0xffff0a020000/120] -> route_connected(port=0x2, mtu=0x2328)",
            "route_table [address=0xffff0a030000/112] -> route_via(port=0x2, next_hop=0xffff0a0200fe, mtu=0x2328)",
            "route_table [address=0xffff0a030500/120] -> route_connected(port=0x1, mtu=0x5dc)",
            "route_table [address=0xffff00000000/96] -> no_route()",
        } <= found

    def test_a_default_route_of_ipv4(self) -> None:
        text = self.TEXT + '[[switch.route]]\nprefix = "0.0.0.0/0"\nvia = "10.2.0.254"\n'
        found = {str(entry) for entry in Routing(parse(text).switches[0]).entries([])}
        assert not [entry for entry in found if "no_route" in entry]
