"""Members and VIPs that a reload or another file takes away: whoever is served by them goes on, and nobody else's
member gets what was theirs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from controller.tests.closed_loop import CONFIG, Host, World
from controller.tests.p4runtime_values import codec
from controller.tests.test_switch_core import Bench
from finsy.proto import p4r
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from depot.config import parse
from depot.p4runtime.entry import Action, Table
from depot.p4runtime.reconcile import INSERT_ORDER, Operation, Update
from depot.switching.identities import QUARANTINE
from depot.switching.states import SessionState

BEFORE_VIP, WEB, M1, M2 = (
    CONFIG[: CONFIG.index("[[vip]]")],
    CONFIG[CONFIG.index("[[vip]]") : CONFIG.index("[[vip.member]]")],
    CONFIG[CONFIG.index("[[vip.member]]") : CONFIG.rindex("[[vip.member]]")],
    CONFIG[CONFIG.rindex("[[vip.member]]") :],
)
UDP_WEB = WEB.replace("port = 80", 'protocol = "udp"\nport = 80').replace('on_member_failure = "reset"\n', "")
MAIL = '[[vip]]\nname = "mail"\naddress = "10.1.0.101"\nport = 25\n'
MX = '[[vip.member]]\nname = "mx"\naddress = "10.2.0.99"\nport = 2525\n'
MEMBERS = {"10.2.0.11": M1, "10.2.0.12": M2}
NAMES = {"10.2.0.11": "m1", "10.2.0.12": "m2"}


def reload(world: World, text: str) -> None:
    """Another file, in which every VIP spreads its sessions over all its members."""
    world.config = parse(text)
    schedules = {vip.name: [member.name for member in vip.members] for vip in world.config.vips}
    world.core.reconfigure(world.config.switches[0], world.config.vips, schedules, world.now)
    world.settle()


def without(text: str, member: Host) -> str:
    return text.replace(MEMBERS[member.address], "")


def syn_unheard(bench: Bench, sport: int) -> tuple[Host, list[tuple[int, Sequence[int]]]]:
    """A SYN reaches a member; the switch's digests are under way."""
    bench.world._process(1, bytes(bench.world.tcp(bench.client, sport, "S", seq=sport)), [])
    (member,) = (member for member in bench.members if member.received)
    return member, bench.world.switch.take_digests()


def hear(world: World, digests: list[tuple[int, Sequence[int]]]) -> None:
    """They arrive."""
    for digest_id, sample in digests:
        message = p4r.DigestList(digest_id=digest_id)
        values = message.data.add().struct.members
        for value in sample:
            values.add().bitstring = value.to_bytes(16, "big")
        decoded = codec().decode_digest(message)
        world.core.digest(decoded.name, decoded.samples, world.now)
    world.settle()


def say_udp(bench: Bench, sport: int) -> list[Host]:
    """The client sends a datagram; who gets it."""
    for host in bench.world.hosts:
        host.received.clear()
    ip = IP(src=bench.client.address, dst="10.1.0.100")
    bench.world.send(1, Ether(src=bench.client.mac, dst="02:00:00:00:01:01") / ip / UDP(sport=sport, dport=80) / b"x")
    return [host for host in bench.world.hosts if host.received]


def members_held(world: World) -> set[tuple[int, ...]]:
    return {entry.params for entry in world.entries(Table.MEMBER)}


class TestRemovedMember:
    def test_a_session_announced_while_it_is_removed_goes_on(self) -> None:
        bench = Bench()
        member, digests = syn_unheard(bench, 4000)
        reload(bench.world, without(CONFIG, member))
        hear(bench.world, digests)
        bench.answer(member, "SA")
        for _ in range(30):
            bench.world.advance(10)
            assert bench.say(4000, "A", seq=4001) is member
            assert bench.answer(member, "A").sport == 80

    def test_a_session_announced_after_it_is_gone_is_served_by_another(self) -> None:
        """Its entry overrules the flow cache."""
        bench = Bench()
        member, digests = syn_unheard(bench, 4000)
        reload(bench.world, without(CONFIG, member))
        bench.world.advance(QUARANTINE + 1)
        assert len(members_held(bench.world)) == 1
        hear(bench.world, digests)
        (other,) = (host for host in bench.members if host is not member)
        assert bench.say(4000, "S", seq=4000) is other
        bench.answer(other, "SA")
        assert bench.say(4000, "A", seq=4001) is other

    def test_nobody_serves_it_where_nobody_is_left(self) -> None:
        bench = Bench()
        _, digests = syn_unheard(bench, 4000)
        reload(bench.world, BEFORE_VIP + WEB + MX)
        bench.world.core.set_schedules({"web": []}, bench.world.now)
        bench.world.advance(QUARANTINE + 1)
        hear(bench.world, digests)
        assert bench.world.entries(Table.CONNECTION) == []

    def test_a_session_that_only_the_flow_cache_knows_outlives_a_restart_with_another_file(self) -> None:
        bench = Bench()
        bench.world.disconnect()
        member = bench.establish(4000)
        bench.world.switch.take_digests()  # nobody listens
        bench.world.config = parse(without(CONFIG, member))
        bench.world.new_core()
        bench.world.connect()
        bench.world.advance(2)
        for _ in range(30):
            assert bench.say(4000, "A", seq=4001) is member
            assert bench.answer(member, "A").sport == 80
            bench.world.advance(10)
        assert len(bench.world.entries(Table.CONNECTION)) == 1

    def test_it_goes_when_nothing_names_it_any_more(self) -> None:
        bench = Bench()
        member = bench.establish(4000)
        reload(bench.world, without(CONFIG, member))
        bench.world.advance(QUARANTINE + 5)
        assert len(members_held(bench.world)) == 2, "it still serves a session"
        assert len(bench.world.entries(Table.NAT_SOURCE)) == 2
        assert bench.say(4000, "R", seq=4001) is member
        bench.world.advance(60)
        assert len(members_held(bench.world)) == 1
        assert len(bench.world.entries(Table.NAT_SOURCE)) == 1

    def test_one_that_was_dead_is_put_back_alive(self) -> None:
        bench = Bench()
        bench.world.core.set_schedules({"web": ["m2"]}, bench.world.now)
        bench.world.core.member_down("web", "m1", bench.world.now)
        reload(bench.world, BEFORE_VIP + WEB + M2)
        reload(bench.world, CONFIG)
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        assert len(set(map(id, held.values()))) == 2
        assert all(bench.say(sport, "A", seq=sport + 1) is member for sport, member in held.items())

    def test_it_gets_no_new_sessions(self) -> None:
        bench = Bench()
        reload(bench.world, BEFORE_VIP + WEB + M1)
        assert {bench.say(sport, "S", seq=sport).address for sport in range(4000, 4006)} == {"10.2.0.11"}

    @pytest.mark.parametrize("mode", ['mode = "dsr"', 'mode = "ipip"\ntunnel_source = "10.2.0.1"'], ids=["dsr", "ipip"])
    def test_half_closed_sessions_whose_replies_are_not_seen_go_on(self, mode: str) -> None:
        """They are no load of the member any more, but its answer may still be on its way to the client."""
        bench = Bench(CONFIG.replace("port = 8080\n", "").replace("port = 80\n", f"port = 80\n{mode}\n"))
        member = bench.say(4000, "S", seq=4000)
        bench.say(4000, "A", seq=4001)
        bench.world.advance(70)
        bench.say(4000, "A", seq=4001)
        assert bench.say(4000, "FA", seq=4001) is member
        assert bench.state(4000) is SessionState.CLOSING
        text = "".join(part for part in _split(bench) if f'"{NAMES[member.address]}"' not in part)
        reload(bench.world, text)
        for _ in range(5):
            bench.world.advance(20)
            assert bench.say(4000, "A", seq=4002) is member
        assert len(members_held(bench.world)) == 2
        bench.world.advance(140)
        assert len(members_held(bench.world)) == 1

    def test_a_way_back_stays_for_the_protocol_that_still_needs_it(self) -> None:
        """The same endpoint stays a member of a UDP VIP, so the member itself is configured still."""
        same = '[[vip]]\nname = "dns"\naddress = "10.1.0.100"\nport = 80\nprotocol = "udp"\n' + M1 + M2
        bench = Bench(CONFIG + same)
        member = bench.establish(4000)
        reload(bench.world, without(BEFORE_VIP + WEB + M1 + M2, member) + same)
        bench.world.advance(QUARANTINE + 5)
        assert bench.say(4000, "A", seq=4001) is member
        assert bench.answer(member, "A").sport == 80


def _split(bench: Bench) -> list[str]:
    head, *members = CONFIG.replace("port = 8080\n", "").split("[[vip.member]]")
    mode = "dsr" if bench.world.config.vips[0].tunnel_source is None else "ipip"
    more = f'mode = "{mode}"\n' + ('tunnel_source = "10.2.0.1"\n' if mode == "ipip" else "")
    return [head.replace("port = 80\n", f"port = 80\n{more}"), *("[[vip.member]]" + one for one in members)]


class TestRemovedVip:
    def test_put_back_its_udp_flows_reach_a_member(self) -> None:
        text = BEFORE_VIP + UDP_WEB + M1 + M2
        bench = Bench(text)
        assert len(say_udp(bench, 4000)) == 1
        reload(bench.world, BEFORE_VIP)
        assert say_udp(bench, 4000) == []
        bench.world.advance(5)
        reload(bench.world, text)
        for _ in range(180):
            bench.world.advance(1)
            assert len(say_udp(bench, 4000)) == 1
        assert len(bench.world.entries(Table.CONNECTION)) == 1

    def test_nobody_elses_member_gets_what_the_flow_cache_leads_to_its_number(self) -> None:
        """The VIP comes back with other members while the old ones' numbers are still in the flow cache and in use."""
        bench = Bench(BEFORE_VIP + UDP_WEB + M1)
        mail_host = bench.world.host(2, "10.2.0.99")
        assert [host.address for host in say_udp(bench, 4000)] == ["10.2.0.11"]
        reload(bench.world, BEFORE_VIP + UDP_WEB + M2)
        for _ in range(140):
            bench.world.advance(1)
            bench.world.core.tracker.remove_member(0, 0, bench.world.now)  # its entry never lasts
            say_udp(bench, 4000)
        reload(bench.world, BEFORE_VIP + UDP_WEB + M2 + MAIL + MX)
        mx = next(entry for entry in bench.world.entries(Table.MEMBER) if entry.params[1] == 2525)
        assert mx.values != (0,), "the number is still named each second"
        bench.world.advance(3)
        assert mail_host not in say_udp(bench, 4000)

    def test_a_number_that_is_anothers_by_now_is_not_believed(self) -> None:
        """A controller started anew does not know which numbers rest; the flow cache does."""
        bench = Bench(BEFORE_VIP + UDP_WEB + M1)
        mail_host = bench.world.host(2, "10.2.0.99")
        assert [host.address for host in say_udp(bench, 4000)] == ["10.2.0.11"]
        bench.world.disconnect()
        for entry in bench.world.entries(Table.CONNECTION, Table.MEMBER, Table.NAT_SOURCE):
            bench.world.write([Update(Operation.DELETE, entry)])
        bench.world.config = parse(BEFORE_VIP + MAIL + MX + UDP_WEB + M2)
        bench.world.new_core()
        bench.world.connect()
        bench.world.advance(2)
        say_udp(bench, 4000)
        assert [host.address for host in say_udp(bench, 4000)] == ["10.2.0.12"]
        assert mail_host.received == []


class TestMemberMovesToAnotherVip:
    def moved(self, bench: Bench, member: Host) -> None:
        reload(bench.world, without(BEFORE_VIP + WEB + M1 + M2, member) + MAIL + MEMBERS[member.address])

    def test_its_sessions_end_since_answers_would_come_from_the_other_vip(self) -> None:
        bench = Bench()
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        gone, stays = held[4000], held[4001]
        self.moved(bench, gone)
        assert bench.say(4001, "A", seq=4002) is stays
        bench.client.received.clear()
        assert bench.silent(4000, "A", seq=4001, ack=77)
        (reset,) = bench.client.received
        assert (reset[IP].src, reset[TCP].sport, reset[TCP].flags) == ("10.1.0.100", 80, "R")

    def test_also_when_another_file_says_so_at_a_restart(self) -> None:
        bench = Bench()
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        gone = held[4000]
        bench.world.config = parse(without(BEFORE_VIP + WEB + M1 + M2, gone) + MAIL + MEMBERS[gone.address])
        bench.world.new_core()
        bench.world.connect()
        assert bench.silent(4000, "A", seq=4001)
        assert bench.say(4001, "A", seq=4002) is held[4001]

    def test_an_unanswered_session_moves_to_a_member_that_stays(self) -> None:
        bench = Bench()
        member = bench.say(4000, "S", seq=4000)
        self.moved(bench, member)
        (other,) = (host for host in bench.members if host is not member)
        assert bench.say(4000, "S", seq=4000) is other

    def test_it_comes_back(self) -> None:
        bench = Bench()
        member = bench.establish(4000)
        self.moved(bench, member)
        reload(bench.world, CONFIG)
        assert {bench.say(sport, "S", seq=sport) is member for sport in (4001, 4002)} == {True, False}


class TestSwitchRestart:
    @pytest.mark.parametrize("count", [1, 7, 1200])
    def test_all_known_sessions_are_written_again_before_any_vip_is_served(self, count: int) -> None:
        bench = Bench(BEFORE_VIP + UDP_WEB + M1 + M2)
        held = {sport: say_udp(bench, sport) for sport in range(4000, 4000 + count)}
        before = {entry.key: entry for entry in bench.world.entries(Table.CONNECTION)}
        assert len(before) == count
        bench.world.disconnect()
        bench.world.new_switch()
        bench.quiet()
        bench.world.connect()
        assert bench.world.table(Table.CONNECTION) == before
        ranks = [_rank(update.entry.table) for update in bench.world.updates]
        assert ranks == sorted(ranks), "members, then sessions, then schedules and VIPs"
        assert {update.operation for update in bench.world.updates} == {Operation.INSERT}
        assert all(say_udp(bench, sport) == held[sport] for sport in list(held)[:50])

    def test_a_flow_that_comes_between_two_writes_stays_at_its_member(self) -> None:
        bench = Bench(BEFORE_VIP + UDP_WEB + M1 + M2)
        world = bench.world
        held = {sport: say_udp(bench, sport)[0] for sport in range(4000, 4008)}
        world.disconnect()
        world.new_switch()
        world.core.connected(world.entries(), world.now)
        output = world.core.take_output(world.now)
        for batch in (*output.batches, output.connections):
            world.write(batch)
            for sport, member in held.items():
                for host in world.hosts:
                    host.received.clear()
                frame = Ether(src=bench.client.mac, dst="02:00:00:00:01:01") / IP(src="10.1.0.50", dst="10.1.0.100")
                world._process(1, bytes(frame / UDP(sport=sport, dport=80) / b"x"), [])
                assert [host for host in world.hosts if host.received] in ([], [member])

    def test_scrapped_sessions_too(self) -> None:
        bench = Bench()
        held = {sport: bench.establish(sport) for sport in (4000, 4001)}
        bench.world.core.set_schedules({"web": ["m2"]}, bench.world.now)
        bench.world.core.member_down("web", "m1", bench.world.now)
        bench.world.settle()
        bench.world.disconnect()
        bench.world.new_switch()
        bench.world.connect()
        actions = {entry.action for entry in bench.world.entries(Table.CONNECTION)}
        assert actions == {Action.FORWARD_TO_MEMBER, Action.RESET_CONNECTION}
        assert len(held) == 2

    def test_a_former_members_sessions_too(self) -> None:
        bench = Bench()
        member = bench.establish(4000)
        reload(bench.world, without(CONFIG, member))
        bench.world.disconnect()
        bench.world.new_switch()
        bench.world.connect()
        assert bench.say(4000, "A", seq=4001) is member
        assert bench.answer(member, "A").sport == 80


def _rank(table: Table) -> int:
    if table in INSERT_ORDER[0]:
        return 0
    return {Table.CONNECTION: 1, Table.SCHEDULE: 2, Table.VIP: 3}[table]
