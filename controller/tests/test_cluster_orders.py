"""Orders of events at a member that are rare in a network: nothing is lost by them, and nothing stays behind."""

from __future__ import annotations

from controller.tests import test_cluster_loop as loop
from controller.tests.test_cluster_loop import CLIENT, SERVER, Fig1, flow

from depot.cluster import ConnectionAction
from depot.p4runtime.arbitration import StatusCode
from depot.p4runtime.entry import Action
from depot.p4runtime.packets import PacketIn, PuntReason
from depot.p4runtime.reconcile import Update
from depot.p4runtime.write_errors import UpdateError
from depot.switching.stays import MOST_STAYS, STAY_TIME, Stays

FLOW = flow(CLIENT, 4000, SERVER, 80)
CLIENT_IS_HI = FLOW.high.port == 4000


def syn_that_nobody_has_looked_at(fig: Fig1) -> None:
    """A client's SYN has come to a's controller, and nothing has been done about it."""
    fig.a._process(1, bytes(fig.a.packet(fig.client, CLIENT, 4000, SERVER, 80, "S")), [])


class TestAnnouncing:
    def test_a_peers_word_that_comes_while_ours_has_not_left_wins(self) -> None:
        fig = Fig1()
        syn_that_nobody_has_looked_at(fig)
        fig.b.mesh.install(FLOW, CLIENT_IS_HI, ConnectionAction.FORWARD, fig.world.now)
        fig.world.pump()
        fig.world.advance(0.1)
        assert fig.a.core.tracker.session(FLOW) is None
        assert len(fig.a.core.cluster.own) == 0
        assert fig.entries(fig.a) == {Action.FORWARD_TO_PEER: 1}

    def test_what_was_to_be_told_when_the_switch_is_lost_is_withdrawn(self) -> None:
        fig = Fig1()
        syn_that_nobody_has_looked_at(fig)
        fig.a.disconnect()
        fig.a.settle()
        fig.a.connect()
        fig.world.advance(0.1)
        assert fig.a.core.tracker.session(FLOW) is None
        assert len(fig.a.core.cluster.own) == len(fig.b.mesh.database) == 0


class TestStays:
    def datagram_of_b(self, fig: Fig1, client_port: int) -> None:
        """A peer brings an answer of a session that is nobody's any more."""
        frame = fig.a.packet(fig.a.gateway, SERVER, 53, CLIENT, client_port)
        fig.a.core.packet_in(PacketIn(3, PuntReason.UNKNOWN_FLOW, 0, 0, bytes(frame), from_peer=True), fig.world.now)
        fig.a.settle()

    def test_a_late_datagram_of_a_peer_does_not_make_its_next_session_ours(self) -> None:
        fig = loop.TestDatagrams().fig()
        self.datagram_of_b(fig, 4000)
        fig.world.advance(5.0)
        fig.client_says("", dport=53, data=b"q", at=fig.b)
        fig.world.advance(0.3)
        assert len(loop._taken(fig.b.proxy)) == 1
        fig.client_says("", dport=53, data=b"r")
        fig.world.advance(0.5)
        assert len(loop._taken(fig.b.proxy)) == 1
        assert {name for name, _, _ in fig.world.told} == {"b"}

    def test_they_are_forgotten_and_never_more_than_so_many(self) -> None:
        stays = Stays()
        for port in range(1, MOST_STAYS + 100):
            stays.add(flow(CLIENT, port, SERVER, 53, 17), 1.0)
        assert len(stays) == MOST_STAYS
        assert not stays.holds(flow(CLIENT, 1, SERVER, 53, 17), 1.0)
        last = flow(CLIENT, MOST_STAYS + 99, SERVER, 53, 17)
        assert stays.holds(last, 1.0 + STAY_TIME / 2)
        assert not stays.holds(last, 1.0 + STAY_TIME)
        stays.add(last, 1.0 + STAY_TIME)
        assert len(stays) == 1
        stays.discard(last)
        assert len(stays) == 0


def test_a_bypassed_connection_that_found_no_room_is_tried_again() -> None:
    fig = Fig1()

    def full(update: Update) -> UpdateError | None:
        is_meant = update.entry.action is Action.BYPASS_CONNECTION
        return UpdateError(StatusCode.RESOURCE_EXHAUSTED, "table is full") if is_meant else None

    fig.a.refuse = full
    fig.b.mesh.install(FLOW, CLIENT_IS_HI, ConnectionAction.BYPASS, fig.world.now)
    fig.world.pump()
    says(fig, "S")
    assert fig.entries(fig.a) == {}
    fig.a.refuse = lambda update: None
    says(fig, "A", "A")
    assert fig.entries(fig.a) == {Action.BYPASS_CONNECTION: 1}


def says(fig: Fig1, *flags: str) -> None:
    for one in flags:
        fig.client_says(one)
        fig.world.advance(0.1)


def test_a_short_connection_that_was_handed_off_is_not_lost() -> None:
    """Its peer takes it, and gives it up before it could have been taken too late."""
    fig = Fig1()
    peers = fig.a.core.cluster.peers
    peers.hand_off(FLOW, FLOW.client(CLIENT_IS_HI), "b", fig.world.now)
    fig.b.mesh.install(FLOW, CLIENT_IS_HI, ConnectionAction.FORWARD, fig.world.now)
    fig.world.advance(0.1)
    fig.b.mesh.remove(FLOW)
    fig.world.advance(5.0)
    assert (peers.counts.handoffs, peers.counts.handoffs_lost) == (1, 0)


def test_a_connection_handed_off_again_is_not_ended_with_the_first_one() -> None:
    fig = Fig1()
    peers = fig.a.core.cluster.peers
    for _ in range(2):
        peers.hand_off(FLOW, FLOW.client(CLIENT_IS_HI), "b", fig.world.now)
        fig.world.advance(1.2)
    assert (peers.counts.handoffs, peers.counts.handoffs_lost) == (2, 0)
    fig.world.advance(1.2)
    assert peers.counts.handoffs_lost == 1


def test_what_was_handed_to_a_peer_that_leaves_gets_no_entry_any_more() -> None:
    fig = Fig1()
    peers = fig.a.core.cluster.peers
    target = peers.hand_off(FLOW, FLOW.client(CLIENT_IS_HI), "b", fig.world.now)
    fig.b.mesh.leave(fig.world.now)
    fig.world.advance(0.1)
    peers.write(FLOW, target)  # its relay is over
    fig.a.settle()
    assert fig.entries(fig.a) == {}
    assert (peers.counts.handoffs, peers.counts.handoffs_lost) == (1, 1)


def test_a_forged_reset_does_not_make_peers_forget_a_connection_that_goes_on() -> None:
    """Flags can be forged, silence cannot: docs/decisions/0007-tcp-tracking.md."""
    fig = Fig1()
    fig.proxy_says("S")
    fig.server_answers("SA")
    fig.world.advance(0.1)
    fig.server_answers("R")
    for _ in range(20):
        fig.world.advance(1.0)
        assert len(fig.server_answers("A", data=b"x")) == 1
    fig.world.advance(15.0)
    assert len(fig.b.mesh.database) == 0
    assert fig.entries(fig.a) == fig.entries(fig.b) == {}


class TestPortsThatMove:
    """A connection has ended here, its entry stays a while; the same ports serve another one at a peer."""

    def ended(self) -> Fig1:
        fig = Fig1()
        fig.client_says("S")
        for flags in ("SA", "FA"):
            fig.a.send(2, fig.a.packet(fig.a.proxy, SERVER, 80, CLIENT, 4000, flags))
        fig.client_says("FA")
        fig.world.advance(5.0)
        assert len(fig.b.mesh.database) == 0
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 1}
        return fig

    def begin_at_b(self, fig: Fig1) -> None:
        fig.client_says("S", at=fig.b)
        fig.world.advance(0.1)
        assert len(loop._taken(fig.b.proxy)) == 1

    def check_that_b_has_it(self, fig: Fig1) -> None:
        fig.client_says("A", data=b"x")
        fig.world.advance(0.1)
        assert loop.payloads(loop._taken(fig.b.proxy)) == [b"x"]
        assert fig.entries(fig.a) == {Action.FORWARD_TO_PEER: 1}

    def test_the_peer_gets_what_comes_here(self) -> None:
        fig = self.ended()
        self.begin_at_b(fig)
        self.check_that_b_has_it(fig)

    def test_so_it_does_if_this_controller_knows_the_old_one_by_its_entry_alone(self) -> None:
        fig = self.ended()
        fig.world.kill("a")
        fig.world.restart("a")
        fig.world.advance(1.0)
        assert fig.entries(fig.a) == {Action.FORWARD_TO_MEMBER: 1}
        self.begin_at_b(fig)
        self.check_that_b_has_it(fig)

    def test_so_it_does_if_the_peers_spoke_before_the_switch(self) -> None:
        fig = self.ended()
        fig.a.disconnect()
        fig.world.kill("a")
        self.begin_at_b(fig)
        fig.a.new_core()
        fig.world.cut.discard("a")
        fig.world.start("a")
        fig.world.advance(1.0)
        assert fig.a.mesh.in_sync
        fig.a.connect()
        fig.world.advance(0.1)
        self.check_that_b_has_it(fig)

    def test_nothing_is_remembered_when_the_entry_has_gone(self) -> None:
        fig = self.ended()
        fig.world.advance(120.0)
        assert fig.entries(fig.a) == {}
        assert list(fig.a.core.cluster.own.lingering()) == []
