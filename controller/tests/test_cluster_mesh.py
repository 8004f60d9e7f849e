"""One member among its peers, in memory under a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise

import pytest
from controller.tests.cluster_network import Network, Node
from controller.tests.cluster_values import flow_number, install_message, peer_settings
from hypothesis import given
from hypothesis import strategies as st

from depot.cluster.errors import ClusterError, ErrorCode
from depot.cluster.events import CloseChannel, OpenChannel, PeerDown, PeerLost, PeerUp, StrangerTurnedAway, SyncChanged
from depot.cluster.mesh import MOST_STRANGERS, Mesh
from depot.cluster.settings import PeerSettings
from depot.cluster.states import ChannelState, CloseReason
from depot.cluster.statistics import COUNTERS, ClusterStatistics
from depot.cluster.wire import KEEPALIVE, ConnectionAction, encode_join, encode_leave, encode_reject

X, Y = flow_number(0), flow_number(3)
FORWARD = ConnectionAction.FORWARD


def plain(identity: str) -> PeerSettings:
    return peer_settings(identity)


def network(*names: str, settings: Callable[[str], PeerSettings] = plain, seed: int = 1) -> Network:
    """Members that have found each other."""
    net = Network(names, settings, seed)
    net.start_all()
    net.run(1.0)
    net.check_settled()
    return net


def owner(node: Node, which: int) -> str | None:
    claim = node.mesh.lookup(flow_number(which))
    return None if claim is None else claim.owner


def news(node: Node, kind: type) -> list[object]:
    return [event for event in node.news if isinstance(event, kind)]


def alone(*peers: str, now: float = 0.0, **values: float | None) -> Mesh:
    """A member "b" whose shell the test is."""
    return Mesh("b", [peer_settings(peer, **values) for peer in peers], lambda: 1.0, now)


def dialled(mesh: Mesh, now: float = 0.0) -> list[int]:
    mesh.handle_timer(now)
    return [event.channel for event in mesh.take_events() if isinstance(event, OpenChannel)]


def call(mesh: Mesh, identity: str, now: float = 0.0, certified: str | None = None) -> int:
    """Somebody calls and says who it is."""
    number = mesh.accept(now, certified)
    assert number is not None
    mesh.receive(number, encode_join(identity), now)
    return number


def state(mesh: Mesh, identity: str) -> ChannelState:
    return next(view.state for view in mesh.peers() if view.identity == identity)


def test_what_one_handles_all_know() -> None:
    net = network("a", "b", "c")
    a, b, c = net.nodes.values()
    a.install(X)
    b.install(Y, True, ConnectionAction.BYPASS)
    net.run(0.1)
    assert owner(b, 0) == owner(c, 0) == owner(a, 0) == "a"
    claim = c.mesh.lookup(Y)
    assert claim is not None
    assert (claim.owner, claim.action, claim.source_is_hi) == ("b", ConnectionAction.BYPASS, True)
    a.remove(X)
    net.run(0.1)
    assert owner(b, 0) is owner(c, 0) is owner(a, 0) is None
    net.check_settled()


def test_a_newcomer_gets_everything_and_what_changes_meanwhile() -> None:
    net = network("a", "b", settings=lambda name: peer_settings(name))
    net.kill("b")
    net.run(5.0)
    a = net.nodes["a"]
    for number in range(2000):
        a.install(flow_number(number))
    b = net.start("b")
    changed = False
    for _ in range(400):
        net.run(0.005)
        if state(b.mesh, "a") is ChannelState.SYNCHRONIZE:
            changed = True
            assert not b.mesh.in_sync
            a.remove(flow_number(b.mesh.database.count("a") // 2))
            a.install(flow_number(5000 + b.mesh.database.count("a")))
    assert changed
    net.check_settled()
    assert b.mesh.database.count("a") == len(a.mesh.own) > 1900
    assert news(b, SyncChanged) == [SyncChanged(True)]


@pytest.mark.parametrize("seed", range(30))
def test_calls_that_cross_end_in_one_channel(seed: int) -> None:
    net = Network(["a", "b"], plain, seed)
    net.latency = (0.0, (0.001, 0.1, 1.0)[seed % 3])
    net.start_all()
    net.run(10.0)
    net.check_settled()
    for node in net.nodes.values():
        assert len(news(node, PeerUp)) == 1
        assert node.mesh.statistics.failed_attempts == 0


def test_of_two_channels_the_one_that_the_lower_identity_opened_counts() -> None:
    mesh = alone("a", "c")
    to_a, to_c = dialled(mesh)
    mesh.connected(to_a, 0.0)
    mesh.connected(to_c, 0.0)
    from_a, from_c = call(mesh, "a"), call(mesh, "c")
    closed = {event.channel for event in mesh.take_events() if isinstance(event, CloseChannel)}
    assert closed == {to_a, from_c}
    assert mesh.data_to_send(to_a) == encode_join("b") + encode_reject(ErrorCode.DUPLICATE_CHANNEL)
    assert mesh.data_to_send(from_c) == encode_reject(ErrorCode.DUPLICATE_CHANNEL)
    assert mesh.data_to_send(from_a) == encode_join("b") + KEEPALIVE
    mesh.receive(to_c, encode_join("c") + KEEPALIVE, 0.0)
    mesh.receive(from_a, KEEPALIVE, 0.0)
    assert state(mesh, "a") is state(mesh, "c") is ChannelState.ESTABLISHED
    assert mesh.statistics.duplicate_channels == 2


def test_a_call_that_does_not_get_through_stands_in_nobodys_way() -> None:
    mesh = alone("c")
    [to_c] = dialled(mesh)
    from_c = call(mesh, "c")
    assert CloseChannel(to_c) in mesh.take_events()
    assert state(mesh, "c") is ChannelState.SYNCHRONIZE
    mesh.connected(to_c, 0.1)
    assert mesh.data_to_send(to_c) == b""
    mesh.disconnected(to_c, 0.1)
    assert mesh.data_to_send(from_c) != b""
    assert mesh.statistics.failed_attempts == 0


def test_a_peer_that_calls_again_has_lost_its_channel() -> None:
    mesh = alone("c")
    old = call(mesh, "c")
    mesh.receive(old, install_message(1).data + KEEPALIVE, 0.0)
    mesh.take_events()
    new = call(mesh, "c", 0.5)
    assert mesh.data_to_send(old).endswith(encode_leave(ErrorCode.DUPLICATE_CHANNEL))
    assert mesh.database.count("c") == 1, "not forgotten before the new table has ended"
    mesh.receive(new, KEEPALIVE, 0.5)
    assert mesh.database.count("c") == 0
    events = mesh.take_events()
    assert not any(isinstance(event, PeerDown | PeerLost) for event in events)


def test_a_half_open_channel_of_ours_is_probed() -> None:
    mesh = alone("c")
    [ours] = dialled(mesh)
    mesh.connected(ours, 0.0)
    mesh.receive(ours, encode_join("c") + KEEPALIVE, 0.0)
    mesh.data_to_send(ours)
    mesh.take_writable(0.0)
    theirs = call(mesh, "c", 0.3)
    assert mesh.data_to_send(theirs) == encode_reject(ErrorCode.DUPLICATE_CHANNEL)
    assert ours in mesh.take_writable(0.3)
    assert mesh.data_to_send(ours) == KEEPALIVE
    mesh.disconnected(ours, 0.4, "reset by peer")
    again = call(mesh, "c", 0.6)
    mesh.receive(again, KEEPALIVE, 0.6)
    assert state(mesh, "c") is ChannelState.ESTABLISHED


def test_a_lower_peer_that_calls_replaces_our_channel() -> None:
    mesh = alone("a")
    [ours] = dialled(mesh)
    mesh.connected(ours, 0.0)
    mesh.receive(ours, encode_join("a") + KEEPALIVE, 0.0)
    theirs = call(mesh, "a", 0.3)
    assert mesh.data_to_send(ours).endswith(encode_leave(ErrorCode.DUPLICATE_CHANNEL))
    assert mesh.data_to_send(theirs) == encode_join("b") + KEEPALIVE


@pytest.mark.parametrize("loser", ["a", "b"])
def test_a_channel_that_one_end_has_lost_is_replaced_soon(loser: str) -> None:
    net = network("a", "b")
    net.nodes["a"].install(X)
    net.run(0.5)
    end = net.nodes[loser].counted("b" if loser == "a" else "a")
    assert end is not None
    net.halve(end)
    net.run(1.5)
    net.check_settled()
    assert not any(news(node, PeerDown) for node in net.nodes.values())


@pytest.mark.parametrize(
    ("identity", "certified", "code"),
    [
        ("stranger", None, ErrorCode.NOT_A_MEMBER),
        ("b", None, ErrorCode.NOT_A_MEMBER),
        ("a", "c", ErrorCode.WRONG_IDENTITY),
        ("stranger", "stranger", ErrorCode.NOT_A_MEMBER),
    ],
)
def test_who_is_turned_away(identity: str, certified: str | None, code: ErrorCode) -> None:
    mesh = alone("a", "c")
    number = call(mesh, identity, certified=certified)
    assert mesh.data_to_send(number) == encode_reject(code)
    told = [event for event in mesh.take_events() if isinstance(event, StrangerTurnedAway)]
    assert [(event.channel, event.code) for event in told] == [(number, code)]
    assert identity in str(told[0])
    assert (mesh.statistics.rejects_sent, mesh.statistics.strangers) == (1, 1)


def test_who_is_let_in_with_a_certificate() -> None:
    mesh = alone("a")
    number = call(mesh, "a", certified="a")
    assert mesh.data_to_send(number) == encode_join("b") + KEEPALIVE


def test_an_answer_from_somebody_else() -> None:
    mesh = alone("c", "d")
    to_c, to_d = dialled(mesh)
    mesh.connected(to_c, 0.0)
    mesh.receive(to_c, encode_join("d"), 0.0)
    assert mesh.data_to_send(to_c).endswith(encode_reject(ErrorCode.WRONG_IDENTITY))
    mesh.connected(to_d, 0.0, certified="x")
    mesh.receive(to_d, encode_join("d"), 0.0)
    assert mesh.data_to_send(to_d).endswith(encode_reject(ErrorCode.WRONG_IDENTITY))
    assert mesh.statistics.failed_attempts == 2


def test_members_with_different_lists() -> None:
    net = Network(["a", "b"], plain)
    net.start_all()
    net.nodes["b"].mesh.set_peers([], 0.0)
    net.run(5.0)
    a = net.nodes["a"].mesh
    assert a.in_sync, "a peer that refuses is a peer that cannot be reached"
    assert a.statistics.rejects_received >= 2
    last = next(iter(a.peers())).last_close
    assert last is not None
    assert (last.reason, last.code) == (CloseReason.PEER_REFUSED, ErrorCode.NOT_A_MEMBER)


def test_strangers_are_few_and_do_not_stay() -> None:
    mesh = alone("a")
    numbers = [mesh.accept(0.0) for _ in range(MOST_STRANGERS + 1)]
    assert numbers[-1] is None
    assert None not in numbers[:-1]
    mesh.handle_timer(5.0)
    closed = [event.channel for event in mesh.take_events() if isinstance(event, CloseChannel)]
    assert len(closed) >= MOST_STRANGERS
    assert mesh.accept(5.0) is not None


def test_a_peer_that_leaves_is_forgotten_at_once() -> None:
    net = network("a", "b", "c")
    a, b, c = net.nodes.values()
    a.install(X)
    net.run(0.5)
    a.act(lambda: a.mesh.leave(a.now))
    net.run(0.1)
    assert owner(b, 0) is owner(c, 0) is None
    assert news(b, PeerDown) == [PeerDown("a", CloseReason.PEER_LEFT, ErrorCode.LEAVING, "")]
    assert a.mesh.accept(a.now) is None
    assert a.mesh.next_deadline() is None
    assert a.up == set()
    a.check_what_was_told()


def test_a_channel_that_breaks_loses_nothing_for_a_while() -> None:
    net = network("a", "b")
    a, b = net.nodes.values()
    for number in (0, 1):
        a.install(flow_number(number))
    net.run(0.9)
    net.kill("a")
    net.run(0.5)
    assert owner(b, 0) == "a"
    assert [type(event) for event in b.news[-1:]] == [PeerLost]
    again = net.start("a")
    again.install(flow_number(1))
    net.run(1.0)
    assert (owner(b, 0), owner(b, 1)) == (None, "a"), "the new table replaces the old"
    assert news(b, PeerDown) == []
    net.kill("a")
    net.run(2.0)
    assert owner(b, 1) == "a"
    net.run(1.1)
    assert owner(b, 1) is None
    assert [type(event) for event in b.news[-2:]] == [PeerLost, PeerDown]
    assert b.mesh.in_sync


def test_a_silent_peer_is_gone_with_its_connections() -> None:
    net = network("a", "b", settings=lambda name: peer_settings(name, keepalive_interval=0.5, silence_intervals=4))
    a, b = net.nodes.values()
    a.install(X)
    net.run(0.5)
    net.kill("a", unplug=True)
    net.run(1.4)
    assert owner(b, 0) == "a"
    net.run(0.7)
    assert owner(b, 0) is None
    [down] = news(b, PeerDown)
    assert isinstance(down, PeerDown)
    assert down.reason is CloseReason.SILENT


def test_idle_peers_hear_of_each_other() -> None:
    net = network("a", "b")
    net.run(60.0)
    net.check_settled()
    for node in net.nodes.values():
        assert node.mesh.statistics.channels_opened == 1
        assert not news(node, PeerLost)


def test_in_sync_waits_for_all_that_can_be_reached() -> None:
    mesh = alone("a", "c", "d")
    to_a, to_c, to_d = dialled(mesh)
    assert not mesh.in_sync
    mesh.disconnected(to_a, 0.1, "refused")
    mesh.connected(to_c, 0.1)
    mesh.receive(to_c, encode_join("c") + install_message(1).data, 0.1)
    mesh.connected(to_d, 0.1)
    mesh.receive(to_d, encode_join("d") + KEEPALIVE, 0.1)
    assert not mesh.in_sync
    mesh.receive(to_c, KEEPALIVE, 0.2)
    assert mesh.in_sync
    assert [event for event in mesh.take_events() if isinstance(event, SyncChanged)] == [SyncChanged(True)]
    returning = call(mesh, "a", 0.3)
    assert not mesh.in_sync, "of one that is back we do not know everything yet"
    mesh.receive(returning, KEEPALIVE, 0.3)
    assert mesh.in_sync
    assert Mesh("alone", [], lambda: 0.5, 0.0).in_sync


def test_calls_are_made_again_later_and_later() -> None:
    mesh = alone("c", first_backoff=0.5, longest_backoff=3.0)
    times = []
    now = 0.0
    while len(times) < 7:
        for number in dialled(mesh, now):
            times.append(now)
            mesh.disconnected(number, now, "refused")
        deadline = mesh.next_deadline()
        assert deadline is not None
        now = deadline
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_a_peer_is_abandoned_after_so_many_attempts_but_may_call() -> None:
    mesh = alone("c", connect_attempts=2)
    [first] = dialled(mesh)
    mesh.disconnected(first, 0.0, "refused")
    [second] = dialled(mesh, 1.0)
    mesh.disconnected(second, 1.0, "refused")
    assert dialled(mesh, 100.0) == []
    assert mesh.next_deadline() is None
    assert mesh.in_sync
    number = call(mesh, "c", 200.0)
    mesh.receive(number, KEEPALIVE, 200.0)
    assert state(mesh, "c") is ChannelState.ESTABLISHED
    mesh.disconnected(number, 201.0)
    assert len(dialled(mesh, 202.0)) == 1, "it has been there: there is reason to try again"


def test_an_install_is_on_its_way_before_the_next_packet() -> None:
    mesh = alone("a")
    number = call(mesh, "a")
    mesh.receive(number, KEEPALIVE, 0.0)
    mesh.data_to_send(number)
    mesh.take_writable(0.0)
    mesh.install(flow_number(1), False, FORWARD, 0.0)
    mesh.install(flow_number(1), False, FORWARD, 0.0)
    mesh.remove(flow_number(2))
    assert mesh.take_writable(0.0) == {number}
    assert mesh.data_to_send(number) == install_message(1).data
    assert mesh.take_writable(0.0) == set()
    assert mesh.statistics.changes_announced == 1


def test_a_newcomer_is_told_of_a_connection_once() -> None:
    mesh = alone("a", "c")
    old = call(mesh, "a")
    mesh.data_to_send(old)
    mesh.install(flow_number(1), False, FORWARD, 0.0)
    new = call(mesh, "c")
    mesh.take_writable(0.0)
    assert mesh.data_to_send(old) == install_message(1).data
    assert mesh.data_to_send(new) == encode_join("b") + install_message(1).data + KEEPALIVE


def test_a_bad_message_ends_what_was_said() -> None:
    mesh = alone("a")
    number = call(mesh, "a")
    mesh.receive(number, install_message(1).data + KEEPALIVE + b"\xff\xff\xff\xff", 0.0)
    assert mesh.data_to_send(number).endswith(encode_leave(ErrorCode.BAD_MESSAGE))
    assert mesh.database.count("a") == 0
    assert mesh.statistics.bad_messages == 1
    downs = [event for event in mesh.take_events() if isinstance(event, PeerDown)]
    assert [(down.reason, down.code) for down in downs] == [(CloseReason.BAD_MESSAGE, ErrorCode.BAD_MESSAGE)]


def test_a_slow_reader_is_given_up_and_catches_up_later() -> None:
    net = network("a", "b", settings=lambda name: peer_settings(name, max_outgoing=500))
    a, b = net.nodes.values()
    end = b.counted("a")
    assert end is not None
    net.stop_reading(end, 2.0)
    for number in range(400):
        a.install(flow_number(number))
    assert a.mesh.statistics.slow_readers == 1
    net.run(6.0)
    net.check_settled()
    assert b.mesh.database.count("a") == 400


def test_another_membership_list() -> None:
    net = network("a", "b", "c")
    a, b, c = net.nodes.values()
    c.install(X)
    net.run(0.5)
    a.act(
        lambda: a.mesh.set_peers(
            [peer_settings("b", keepalive_interval=0.2, silence_intervals=20), peer_settings("d")], a.now
        )
    )
    net.run(0.5)
    assert owner(a, 0) is None
    assert owner(b, 0) == "c"
    assert c.up == {"b"}
    assert [event.identity for event in news(a, PeerDown) if isinstance(event, PeerDown)] == ["c"]
    assert a.up == {"b"}
    assert {view.identity for view in a.mesh.peers()} == {"b", "d"}
    before = b.mesh.statistics.bytes_received
    net.run(2.0)
    assert b.mesh.statistics.bytes_received - before >= 4 * 9, "the new interval counts at once"
    for wrong in ([peer_settings("x"), peer_settings("x")], [peer_settings("a")], [peer_settings("y y")]):
        with pytest.raises(ClusterError):
            a.mesh.set_peers(wrong, a.now)
    assert {view.identity for view in a.mesh.peers()} == {"b", "d"}


def test_halves_that_meet_again() -> None:
    net = network(*"abcdef")
    for number, node in enumerate(net.nodes.values()):
        node.install(flow_number(number))
    net.run(0.5)
    net.cut({"a", "b", "c"})
    net.run(8.0)
    assert net.nodes["a"].up == {"b", "c"}
    assert owner(net.nodes["a"], 5) is None
    assert owner(net.nodes["a"], 1) == "b"
    net.nodes["f"].remove(flow_number(5))
    net.nodes["f"].install(flow_number(6))
    net.heal()
    net.run(10.0)
    net.check_settled()
    assert (owner(net.nodes["a"], 5), owner(net.nodes["a"], 6)) == (None, "f")


def test_every_counter_is_explained() -> None:
    assert [counter.name for counter in COUNTERS] == [field.name for field in fields(ClusterStatistics)]


PIECES = [encode_join("a"), encode_join("zz"), KEEPALIVE, install_message(1).data, encode_leave(ErrorCode.LEAVING)]


@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.sampled_from(PIECES), st.binary(max_size=6))), max_size=20))
def test_nothing_that_comes_breaks_a_member(parts: list[tuple[int, bytes]]) -> None:
    mesh = alone("a", "c")
    [to_a, _] = dialled(mesh)
    mesh.connected(to_a, 0.0)
    channels = [to_a, mesh.accept(0.0), mesh.accept(0.0)]
    for step, (which, data) in enumerate(parts):
        number = channels[which]
        assert number is not None
        mesh.receive(number, data, step / 10)
        mesh.take_events()
    for number in channels:
        assert number is not None
        mesh.data_to_send(number)
        mesh.disconnected(number, 3.0)
    mesh.handle_timer(100.0)
    assert len(mesh.database) == 0
    assert mesh._strangers == 0
