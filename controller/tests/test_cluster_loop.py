"""Members of a cluster with the real program: what clients, proxies and servers notice (seed 000, 2 and 3)."""

from __future__ import annotations

import pytest
from controller.tests.closed_loop import Host
from controller.tests.cluster_loop import INTERCEPT, SERVER, SERVER6, ClusterWorld, Site
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet, Raw

from depot.address import Endpoint, FlowKey, parse_address
from depot.cluster import ConnectionAction
from depot.config import parse
from depot.p4runtime.entry import Action, Table, connection_key
from depot.p4runtime.packets import DropReason, PuntReason
from depot.switching.steering import DictionaryAffinity

CLIENT = "10.1.0.50"
CLIENT6 = "2001:db8:10::50"


class Fig1:
    """The seed's first figure: the client's way out leads past proxy a, the server's answers arrive at b."""

    def __init__(self, names: str = "ab", more: str | dict[str, str] = INTERCEPT, delay: float = 0.0) -> None:
        self.world = ClusterWorld(names, more, delay)
        self.a, self.b = self.world["a"], self.world["b"]
        self.client = self.a.host(1, CLIENT)
        for site in self.world.sites.values():
            for host in list(site.hosts):
                site.greet(host)
        self.world.advance(1.0)
        self.quiet()

    def quiet(self) -> None:
        for site in self.world.sites.values():
            for host in site.hosts:
                host.received.clear()

    def client_says(self, flags: str, sport: int = 4000, data: bytes = b"", *, to: str = SERVER, dport: int = 80,
                    at: Site | None = None) -> list[Packet]:  # fmt: skip
        """The client sends something; what the proxy at a gets of it."""
        source = self.client if at is None else at.gateway
        (at or self.a).send(source.port, (at or self.a).packet(source, CLIENT, sport, to, dport, flags, data))
        self.world.pump()
        return _taken(self.a.proxy)

    def proxy_says(self, flags: str, sport: int = 5000, data: bytes = b"") -> list[Packet]:
        """The proxy at a speaks to the server with the client's address; what leaves at a."""
        self.a.send(2, self.a.packet(self.a.proxy, CLIENT, sport, SERVER, 80, flags, data))
        self.world.pump()
        return _taken(self.a.gateway)

    def server_answers(
        self, flags: str, dport: int = 5000, data: bytes = b"", *, at: Site | None = None
    ) -> list[Packet]:
        """The server speaks to what it takes for the client, by way of b; what the proxy at a gets."""
        site = at or self.b
        site.send(4, site.packet(site.gateway, SERVER, 80, CLIENT, dport, flags, data))
        self.world.pump()
        return _taken(self.a.proxy)

    def entries(self, site: Site) -> dict[Action, int]:
        found: dict[Action, int] = {}
        for entry in site.entries(Table.CONNECTION):
            found[entry.action] = found.get(entry.action, 0) + 1
        return found


def _taken(host: Host) -> list[Packet]:
    got, host.received[:] = list(host.received), []
    return got


def flow(client: str, port: int, server: str, server_port: int, protocol: int = 6) -> FlowKey:
    ends = Endpoint(parse_address(client), port), Endpoint(parse_address(server), server_port)
    return FlowKey.between(*ends, protocol)


def payloads(packets: list[Packet]) -> list[bytes]:
    return [bytes(packet[Raw]) for packet in packets]


class TestInterception:
    def test_the_clients_connection_comes_to_the_proxy_and_its_answers_to_the_client(self) -> None:
        fig = Fig1()
        (syn,) = fig.client_says("S")
        assert (syn.dst, syn[IP].src, syn[IP].dst, syn[TCP].dport) == (fig.a.proxy.mac, CLIENT, SERVER, 80)
        fig.a.send(2, fig.a.packet(fig.a.proxy, SERVER, 80, CLIENT, 4000, "SA"))
        assert [one[TCP].flags for one in _taken(fig.client)] == ["SA"]
        assert payloads(fig.client_says("PA", data=b"GET /")) == [b"GET /"]

    def test_both_connections_of_a_request_are_announced_before_their_first_packet_leaves(self) -> None:
        fig = Fig1(delay=0.05)
        world = fig.world
        fig.a.proxy.awake = True
        fig.client_says("S")
        fig.proxy_says("S")
        assert [(name, key, action) for name, key, action in world.told] == [
            ("a", flow(CLIENT, 4000, SERVER, 80), ConnectionAction.FORWARD),
            ("a", flow(CLIENT, 5000, SERVER, 80), ConnectionAction.FORWARD),
        ]
        assert len(fig.b.mesh.database) == 0
        world.advance(0.06)
        assert len(fig.b.mesh.database) == 2

    def test_nothing_is_told_after_the_packet_that_it_is_about(self) -> None:
        fig = Fig1()
        seen: list[int] = []
        leave = fig.a._leave
        fig.a._leave = lambda port, frame, left: (seen.append(len(fig.world.told)), leave(port, frame, left))[1]  # type: ignore[method-assign,func-returns-value]
        assert len(fig.client_says("S")) == 1
        assert seen == [1]

    def test_the_answer_at_the_other_member_reaches_the_proxy_that_asked(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        assert [one[IP].src for one in fig.proxy_says("S")] == [CLIENT]
        (answer,) = fig.server_answers("SA")
        assert (answer.dst, answer[IP].src, answer[IP].dst) == (fig.a.proxy.mac, SERVER, CLIENT)
        fig.world.advance(0.1)
        assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 1}
        punts = fig.b.core.punts[PuntReason.UNKNOWN_FLOW]
        assert payloads(fig.server_answers("PA", data=b"200 OK")) == [b"200 OK"]
        assert fig.b.core.punts[PuntReason.UNKNOWN_FLOW] == punts  # the switch alone

    def test_without_the_cluster_it_fails(self) -> None:
        fig = Fig1()
        fig.world.cut |= {"a", "b"}
        fig.client_says("S")
        fig.proxy_says("S")
        assert fig.server_answers("SA") == []
        fig.world.advance(0.5)
        assert _taken(fig.a.proxy) == []
        assert fig.b.drops(DropReason.HOLD_EXPIRED) == 1

    def test_ipv6(self) -> None:
        fig = Fig1()
        a, b = fig.a, fig.b
        a.send(2, a.packet(a.proxy, CLIENT6, 5000, SERVER6, 80, "S"))
        fig.world.advance(0.1)
        assert len(_taken(a.gateway6)) == 1
        b.send(4, b.packet(b.gateway6, SERVER6, 80, CLIENT6, 5000, "SA"))
        fig.world.advance(0.1)
        (answer,) = _taken(a.proxy)
        assert answer[TCP].flags == "SA"

    def test_a_client_whose_packets_change_their_way_stays_with_its_proxy(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        assert payloads(fig.client_says("PA", data=b"one", at=fig.b)) == [b"one"]
        fig.world.advance(0.1)
        assert payloads(fig.client_says("PA", data=b"two", at=fig.b)) == [b"two"]
        assert len(fig.client_says("S", at=fig.b)) == 1  # a SYN repeated there, too
        assert fig.b.core.cluster.own.announcements == []
        assert len(fig.b.mesh.own) == 0

    def test_what_the_owner_itself_sends_passes_a_member_on_its_way(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        fig.proxy_says("S")
        b = fig.b
        b.send(3, b.packet(_neighbour(fig.a, b), CLIENT, 5000, SERVER, 80, "S"))
        fig.world.advance(0.1)
        assert len(_taken(b.gateway)) == 1
        assert _taken(fig.a.proxy) == []
        # and what comes back the same way goes to its owner, entry or not
        for _ in range(3):
            assert len(fig.server_answers("A")) == 1
            b.send(3, b.packet(_neighbour(fig.a, b), CLIENT, 5000, SERVER, 80, "A"))
            fig.world.advance(0.1)
            assert len(_taken(b.gateway)) == 1
        assert fig.entries(b) == {Action.FORWARD_TO_PEER: 1}


def _neighbour(site: Site, other: Site) -> Host:
    mac = site.entries(Table.ADMISSION)
    backbone = next(entry.values[1] for entry in mac if entry.values[0] == 3)
    return Host(3, backbone.to_bytes(6, "big").hex(":"), str(other.name))


class TestHolding:
    def test_answers_before_the_announcement_are_held_and_delivered_in_order(self) -> None:
        fig = Fig1(delay=0.15)
        fig.client_says("S")
        fig.proxy_says("S")
        for number in range(5):
            assert fig.server_answers("PA", data=b"%d" % number) == []
            fig.world.advance(0.01)
        held = fig.b.core.cluster.holding
        assert held.packets == 5
        fig.world.advance(0.2)
        assert payloads(_taken(fig.a.proxy)) == [b"%d" % number for number in range(5)]
        assert (held.packets, held.counts.expired, fig.b.drops(DropReason.HOLD_EXPIRED)) == (0, 0, 0)
        assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 1}

    def test_packets_go_on_coming_while_the_entry_waits(self) -> None:
        fig = Fig1(delay=0.1)
        fig.client_says("S")
        fig.proxy_says("S")
        got: list[bytes] = []
        for number in range(40):
            got += payloads(fig.server_answers("PA", data=b"%d" % number))
            fig.world.advance(0.01)
        got += payloads(_taken(fig.a.proxy))
        assert got == [b"%d" % number for number in range(40)]
        assert fig.entries(fig.b) == {}
        fig.world.advance(0.1)
        assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 1}

    def test_what_nobody_speaks_for_is_dropped_with_its_own_reason(self) -> None:
        fig = Fig1()
        fig.server_answers("SA", dport=7777)
        fig.server_answers("A", dport=7777)
        assert fig.b.drops(DropReason.HOLD_EXPIRED) == 0
        fig.world.advance(0.19)
        assert fig.b.drops(DropReason.HOLD_EXPIRED) == 0
        fig.world.advance(0.05)
        assert fig.b.drops(DropReason.HOLD_EXPIRED) == 2
        assert fig.b.core.cluster.holding.counts.expired == 2

    @pytest.mark.parametrize(("delay", "taken"), [(0.05, True), (0.2, False)])
    def test_nothing_is_taken_over_before_all_is_known(self, delay: float, taken: bool) -> None:
        fig = Fig1()
        b, client = fig.b, fig.b.host(1, "10.2.0.50")
        b.greet(client)
        fig.world.kill("b")
        fig.world.advance(0.1)
        fig.world.delay = delay
        fig.world.restart("b")
        syn = b.packet(client, "10.2.0.50", 4000, SERVER, 80, "S")
        b.send(1, syn)
        assert _taken(b.proxy) == []
        fig.world.advance(0.5)
        assert bool(_taken(b.proxy)) is taken
        fig.world.advance(1.0)
        b.send(1, syn)
        assert len(_taken(b.proxy)) == 1


class TestPolicy:
    BYPASS = '[[policy]]\nname = "pass"\nport = 443\nprotocol = "tcp"\naction = "bypass"\n'

    def test_a_bypassed_connection_passes_everywhere_untouched(self) -> None:
        fig = Fig1(more=self.BYPASS + INTERCEPT)
        fig.client_says("S", dport=443)
        (syn,) = _taken(fig.a.gateway)
        assert (syn[IP].src, syn[TCP].dport, syn[IP].ttl) == (CLIENT, 443, 63)
        assert fig.world.told[-1][2] is ConnectionAction.BYPASS
        b = fig.b
        b.send(4, b.packet(b.gateway, SERVER, 443, CLIENT, 4000, "SA"))
        fig.world.advance(0.1)
        (answer,) = _taken(fig.client)
        assert (answer[IP].src, answer[TCP].flags) == (SERVER, "SA")
        assert fig.entries(b) == {Action.BYPASS_CONNECTION: 1}
        assert fig.entries(fig.a) == {Action.BYPASS_CONNECTION: 1}

    def test_a_rule_that_lets_pass_no_longer_ends_what_passed(self) -> None:
        fig = Fig1(more=self.BYPASS + INTERCEPT)
        fig.client_says("S", dport=443)
        b = fig.b
        b.send(4, b.packet(b.gateway, SERVER, 443, CLIENT, 4000, "SA"))
        fig.world.advance(0.1)
        config = parse(fig.a.text.replace(self.BYPASS, ""))
        schedules = {"proxies": ["p1"]}
        core = fig.a.core
        core.reconfigure(config.switches[0], config.vips, schedules, fig.a.now, config.cluster, config.policies)
        fig.a.settle()
        fig.world.pump()
        assert fig.world.told[-1] == ("a", flow(CLIENT, 4000, SERVER, 443), None)
        fig.b.settle()
        assert fig.entries(fig.a) == fig.entries(b) == {}

    def test_a_denied_connection_is_dropped(self) -> None:
        fig = Fig1(more='[[policy]]\nname = "no"\nport = 25\naction = "deny"\n' + INTERCEPT)
        fig.client_says("S", dport=25)
        fig.world.advance(0.1)
        assert _taken(fig.a.gateway) == []
        assert fig.a.drops(DropReason.DENIED) == 1

    def test_what_no_rule_is_about_is_routed(self) -> None:
        fig = Fig1()
        fig.client_says("S", dport=22)
        assert len(_taken(fig.a.gateway)) == 1
        assert fig.world.told == []

    def test_a_connection_under_another_members_rule_goes_there(self) -> None:
        fig = Fig1(more=INTERCEPT + 'holder = "b"\n')
        assert fig.client_says("S") == []
        fig.world.advance(0.1)
        assert len(_taken(fig.b.proxy)) == 1
        assert fig.world.told == [("b", flow(CLIENT, 4000, SERVER, 80), ConnectionAction.FORWARD)]
        fig.client_says("A", data=b"x")
        fig.world.advance(0.1)
        assert payloads(_taken(fig.b.proxy)) == [b"x"]
        assert fig.entries(fig.a) == {Action.FORWARD_TO_PEER: 1}


class TestDatagrams:
    DNS = '[[policy]]\nname = "dns"\nport = 53\nprotocol = "udp"\naction = "intercept"\nto = "dns"\n'
    VIP = """
[[vip]]
name = "dns"
transparent = true
protocol = "udp"
[[vip.member]]
name = "p1"
address = "10.{}.9.11"
"""

    def fig(self, delay: float = 0.0) -> Fig1:
        return Fig1(more={name: self.DNS + self.VIP.format(i + 1) for i, name in enumerate("ab")}, delay=delay)

    def test_a_new_session_is_begun_when_no_peer_has_it(self) -> None:
        fig = self.fig()
        fig.client_says("", dport=53, data=b"q")
        assert _taken(fig.a.proxy) == []
        fig.world.advance(0.25)
        assert [bytes(one[UDP].payload) for one in _taken(fig.a.proxy)] == [b"q"]
        assert len(fig.b.mesh.database) == 1
        fig.client_says("", dport=53, data=b"r")
        fig.world.advance(0.1)
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 1}

    def test_datagrams_of_a_peers_session_go_there_in_order(self) -> None:
        fig = self.fig()
        fig.client_says("", dport=53, data=b"q")
        fig.world.advance(0.3)
        _taken(fig.a.proxy)
        got: list[Packet] = []
        for number in range(5):
            got += fig.client_says("", dport=53, data=b"%d" % number, at=fig.b)
        fig.world.advance(0.1)
        got += fig.client_says("", dport=53, data=b"last", at=fig.b)
        assert [bytes(one[UDP].payload) for one in got] == [b"0", b"1", b"2", b"3", b"4", b"last"]
        assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 1}

    def test_what_a_proxy_asks_for_itself_is_nobodys_session(self) -> None:
        fig = Fig1()
        a = fig.a
        a.send(2, a.packet(a.proxy, a.proxy.address, 5353, SERVER, 53, "", b"?"))
        fig.world.advance(0.1)
        assert len(_taken(a.gateway)) == 1
        assert fig.world.told == []
        assert fig.entries(a) == {}


class TestEnds:
    def test_a_closed_connection_is_withdrawn_when_its_last_packets_have_passed(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        fig.a.send(2, fig.a.packet(fig.a.proxy, SERVER, 80, CLIENT, 4000, "SA"))
        fig.client_says("FA")
        fig.a.send(2, fig.a.packet(fig.a.proxy, SERVER, 80, CLIENT, 4000, "FA"))
        fig.world.advance(1.0)
        assert len(fig.b.mesh.database) == 1
        fig.world.advance(2.0)
        assert len(fig.b.mesh.database) == 0
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 1}  # for a while

    def test_what_a_peer_withdraws_leaves_the_switch(self) -> None:
        fig = Fig1()
        fig.proxy_says("S")
        fig.server_answers("SA")
        fig.world.advance(0.1)
        assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 1}
        fig.proxy_says("R")
        fig.world.advance(15.0)
        assert len(fig.b.mesh.database) == 0
        assert fig.entries(fig.b) == {}

    def test_a_proxy_that_uses_a_port_again_is_announced_again(self) -> None:
        fig = Fig1()
        fig.proxy_says("S")
        fig.proxy_says("R")
        fig.world.advance(15.0)
        assert len(fig.b.mesh.database) == 0
        assert len(fig.proxy_says("S")) == 1
        fig.world.advance(0.1)
        assert len(fig.b.mesh.database) == 1
        assert len(fig.server_answers("SA")) == 1

    def test_ports_used_again_before_the_end_was_told(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        fig.client_says("R")
        fig.world.advance(0.1)
        fig.world.told.clear()
        (syn,) = fig.client_says("S")
        assert syn[TCP].flags == "S"
        fig.world.advance(5.0)
        assert len(fig.b.mesh.database) == 1

    def test_a_bypassed_connection_is_withdrawn_when_it_is_silent(self) -> None:
        fig = Fig1(more=TestPolicy.BYPASS + INTERCEPT)
        fig.client_says("S", dport=443)
        fig.client_says("FA", dport=443)
        fig.world.advance(10.0)
        assert len(fig.b.mesh.database) == 1  # the server may go on
        fig.world.advance(120.0)
        assert len(fig.b.mesh.database) == 0
        assert fig.entries(fig.a) == {}

    def closed(self) -> Fig1:
        """The proxy has had a connection, which both ends have closed."""
        fig = Fig1()
        fig.proxy_says("S")
        fig.server_answers("SA")
        fig.server_answers("FA", at=fig.a)
        fig.proxy_says("FA")
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 1}
        return fig

    def syn_unsettled(self, fig: Fig1) -> list[tuple[int, Packet]]:
        """The proxy takes the same port once more, and the controller has not come to it yet; what leaves."""
        left: list[tuple[int, Packet]] = []
        fig.a._process(2, bytes(fig.a.packet(fig.a.proxy, CLIENT, 5000, SERVER, 80, "S")), left)
        return left

    def expect_known(self, fig: Fig1) -> None:
        """The new connection is one that the peers know, and its answer finds the proxy."""
        fig.a.settle()
        fig.world.pump()
        assert len(fig.b.mesh.database) == 1
        fig.quiet()
        assert len(fig.server_answers("SA")) == 1
        fig.world.advance(3.0, 0.1)
        assert len(fig.b.mesh.database) == 1

    def test_a_port_used_again_waits_for_its_announcement(self) -> None:
        fig = self.closed()
        fig.world.advance(2.5, 0.1)
        assert len(fig.b.mesh.database) == 0
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 1}
        assert self.syn_unsettled(fig) == []
        self.expect_known(fig)

    def test_a_port_used_again_at_once(self) -> None:
        fig = self.closed()
        assert self.syn_unsettled(fig) == []
        self.expect_known(fig)

    def test_a_client_that_uses_a_port_again_at_once(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        fig.a.send(2, fig.a.packet(fig.a.proxy, SERVER, 80, CLIENT, 4000, "SA"))
        fig.client_says("FA")
        fig.a.send(2, fig.a.packet(fig.a.proxy, SERVER, 80, CLIENT, 4000, "FA"))
        fig.world.advance(0.1)
        assert len(fig.client_says("S")) == 1
        fig.world.advance(3.0, 0.1)
        assert len(fig.b.mesh.database) == 1

    def test_a_port_used_again_while_its_last_connection_is_withdrawn(self) -> None:
        fig = self.closed()
        self.syn_unsettled(fig)
        fig.a.now = fig.world.now = fig.world.now + 2.1
        fig.a.core.handle_timer(fig.a.now)
        self.expect_known(fig)

    def test_a_port_used_again_while_its_last_entry_goes(self) -> None:
        fig = self.closed()
        fig.world.advance(1.0)
        fig.a.core.idle([connection_key(flow(CLIENT, 5000, SERVER, 80))], fig.a.now)
        self.syn_unsettled(fig)
        self.expect_known(fig)

    def test_entries_that_nobody_uses_leave_the_switch_and_come_back(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        fig.proxy_says("S")
        fig.server_answers("SA")
        fig.world.advance(0.1)
        for _ in range(7):
            fig.world.advance(10.0)
            fig.proxy_says("A")  # a's own entries stay
            fig.client_says("A")
        assert fig.entries(fig.b) == {}
        assert payloads(fig.server_answers("PA", data=b"late")) == [b"late"]


class TestAccidents:
    def test_a_member_that_is_gone_takes_its_entries_along(self) -> None:
        fig = Fig1(names="abc")
        fig.proxy_says("S")
        for site in (fig.b, fig.world["c"]):
            fig.server_answers("SA", at=site)
        fig.world.advance(0.1)
        assert fig.entries(fig.b) == fig.entries(fig.world["c"]) == {Action.FORWARD_TO_PEER: 1}
        fig.world.kill("a")
        fig.world.advance(5.0)
        assert fig.entries(fig.b) == fig.entries(fig.world["c"]) == {}
        assert len(fig.b.mesh.database) == 0

    def test_a_restarted_controller_announces_what_it_finds_in_its_switch(self) -> None:
        fig = Fig1()
        fig.client_says("S")
        fig.proxy_says("S")
        fig.world.kill("a")
        fig.world.advance(5.0)
        assert len(fig.b.mesh.database) == 0
        fig.world.restart("a")
        fig.world.advance(10.0)
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 2}
        assert len(fig.b.mesh.database) == 2
        assert len(fig.server_answers("SA")) == 1

    def test_a_restarted_controller_keeps_the_entries_that_peers_still_speak_for(self) -> None:
        fig = Fig1()
        for sport in (5000, 5001):
            fig.proxy_says("S", sport)
            fig.server_answers("SA", sport)
        fig.world.advance(0.1)
        assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 2}
        fig.world.kill("b")
        fig.proxy_says("R", 5001)
        fig.world.advance(3.0)
        fig.world.restart("b")
        fig.world.advance(10.0)
        (entry,) = fig.b.entries(Table.CONNECTION)
        assert {entry.values[2], entry.values[3]} == {80, 5000}

    def test_a_restarted_controller_adopts_bypassed_connections(self) -> None:
        fig = Fig1(more=TestPolicy.BYPASS + INTERCEPT)
        fig.client_says("S", dport=443)
        b = fig.b
        b.send(4, b.packet(b.gateway, SERVER, 443, CLIENT, 4000, "SA"))
        fig.world.advance(0.1)
        for name in "ab":
            fig.world.kill(name)
            fig.world.advance(1.0)
            fig.world.restart(name)
            fig.world.advance(10.0)
        assert fig.entries(fig.a) == fig.entries(b) == {Action.BYPASS_CONNECTION: 1}
        assert (len(fig.a.mesh.own), len(b.mesh.own)) == (1, 0)

    def test_a_peer_that_is_back_is_told_all_again(self) -> None:
        fig = Fig1()
        fig.proxy_says("S")
        fig.world.kill("b")
        fig.world.advance(5.0)
        fig.world.restart("b")
        fig.world.advance(10.0)
        assert len(fig.b.mesh.database) == 1
        assert len(fig.server_answers("SA")) == 1


class TestHandoff:
    STEERED = INTERCEPT + 'steer = "affinity"\n'

    def steered(self, best: str) -> Fig1:
        fig = Fig1(names="abc", more=self.STEERED)
        for site in fig.world.sites.values():
            affinity = DictionaryAffinity()
            affinity.served(flow(CLIENT, 1, SERVER, 80), best)
            site.core.cluster.steering = affinity
        return fig

    def test_a_syn_goes_to_the_member_that_serves_it_best(self) -> None:
        fig = self.steered("c")
        c = fig.world["c"]
        assert fig.client_says("S") == []
        fig.world.advance(0.1)
        assert [one[TCP].flags for one in _taken(c.proxy)] == ["S"]
        assert fig.entries(fig.a) == {Action.FORWARD_TO_PEER: 1}
        assert fig.world.told == [("c", flow(CLIENT, 4000, SERVER, 80), ConnectionAction.FORWARD)]
        fig.client_says("PA", data=b"more")
        fig.world.advance(0.1)
        assert payloads(_taken(c.proxy)) == [b"more"]
        assert fig.a.core.cluster.peers.counts.handoffs == 1

    def test_what_is_best_here_stays_here(self) -> None:
        fig = self.steered("a")
        assert len(fig.client_says("S")) == 1
        assert fig.a.core.cluster.peers.counts.handoffs == 0

    def test_who_served_the_pair_serves_it_again_wherever_it_arrives(self) -> None:
        fig = Fig1(names="abc", more=self.STEERED)
        fig.client_says("S")
        fig.world.advance(0.1)
        first = next(name for name, site in fig.world.sites.items() if _taken(site.proxy))
        for sport, at in ((4001, "b"), (4002, "c"), (4003, "a")):
            fig.client_says("S", sport, at=fig.world[at] if at != "a" else None)
            fig.world.advance(0.1)
        told = {name for name, _, action in fig.world.told if action is ConnectionAction.FORWARD}
        assert told == {first}

    def test_a_peer_that_does_not_take_what_it_was_given(self) -> None:
        fig = self.steered("c")
        fig.world["c"].disconnect()  # its switch has no controller
        fig.client_says("S")
        fig.world.advance(0.1)
        assert fig.entries(fig.a) == {Action.FORWARD_TO_PEER: 1}
        fig.world.advance(2.5)
        assert fig.entries(fig.a) == {}
        assert fig.a.core.cluster.peers.counts.handoffs_lost == 1


def test_eager_entries_are_there_before_their_packets() -> None:
    fig = Fig1()
    text = fig.b.text.replace("insecure = true", 'insecure = true\nentries = "eager"')
    config = parse(text)
    fig.b.core.reconfigure(
        config.switches[0], config.vips, {"proxies": ["p1"]}, fig.b.now, config.cluster, config.policies
    )
    fig.b.settle()
    fig.proxy_says("S")
    fig.world.advance(0.1)
    assert fig.entries(fig.b) == {Action.FORWARD_TO_PEER: 1}
    punts = fig.b.core.punts[PuntReason.UNKNOWN_FLOW]
    assert len(fig.server_answers("SA")) == 1
    assert fig.b.core.punts[PuntReason.UNKNOWN_FLOW] == punts


def test_a_switch_that_holds_all_needs_no_writes() -> None:
    fig = Fig1()
    fig.client_says("S")
    fig.a.disconnect()
    fig.a.updates.clear()
    fig.a.connect()
    assert fig.a.updates == []
