"""Members of a cluster in memory, joined by connections that behave like TCP's, under a virtual clock.

Everything that can go wrong is a method of `Network`: processes and machines that die, networks that are cut, readers
that do not read, connections that only one end believes in, clocks that leap. What the members tell is replayed and
kept beside what they know.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from controller.tests.virtual_time import VirtualTime

from depot.address import FlowKey
from depot.cluster.database import Claim
from depot.cluster.events import (
    CloseChannel,
    ConnectionsForgotten,
    ConnectionsLearnt,
    OpenChannel,
    PeerDown,
    PeerLost,
    PeerUp,
    StrangerTurnedAway,
    SyncChanged,
)
from depot.cluster.mesh import Mesh
from depot.cluster.settings import PeerSettings
from depot.cluster.states import ChannelState
from depot.cluster.wire import ConnectionAction, key_of

__all__ = ["End", "Network", "Node"]

WINDOW = 2048
"""Bytes that a connection holds on their way before its sender has to wait."""


class End:
    """One end of a connection. What is sent waits in `queue` until it is delivered to `other`."""

    def __init__(self, node: Node | None, number: int) -> None:
        self.node = node
        self.number = number
        self.is_open = True
        self.is_read = True
        self.swallows = False  # what is sent here vanishes, for ever
        self.queue: deque[tuple[float, bytes | None]] = deque()  # when it arrives; None: the end
        self.on_the_way = 0
        self.other: End = self


class Node:
    """One life of one member."""

    def __init__(self, network: Network, name: str, peers: Iterable[PeerSettings], clock: float) -> None:
        self.network = network
        self.name = name
        self.clock_offset = clock
        self.mesh = Mesh(name, peers, network.chance.random, self.now)
        self.ends: dict[int, End] = {}
        self.is_alive = True
        self.told: set[tuple[str, bytes]] = set()
        self.up: set[str] = set()
        self.in_sync = self.mesh.in_sync
        self.news: list[PeerUp | PeerLost | PeerDown | StrangerTurnedAway | SyncChanged] = []

    @property
    def now(self) -> float:
        """The member's own clock."""
        return self.network.now + self.clock_offset

    def act(self, call: Callable[[], object]) -> None:
        """Call the core, then do what a shell does."""
        call()
        while events := self.mesh.take_events():
            for event in events:
                self._take(event)
        for number in self.mesh.take_writable(self.now):
            if number in self.ends:
                self.push(self.ends[number])
        for event in self.mesh.take_events():
            self._take(event)

    def _take(self, event: object) -> None:
        if isinstance(event, OpenChannel):
            self.network.connect(self, event.channel, event.identity)
        elif isinstance(event, CloseChannel):
            self._hang_up(event.channel)
        elif isinstance(event, ConnectionsLearnt):
            self.told |= {(event.identity, key) for key in event.keys}
        elif isinstance(event, ConnectionsForgotten):
            self.told -= {(event.identity, key) for key in event.keys}
        elif isinstance(event, PeerUp | PeerLost | PeerDown | StrangerTurnedAway | SyncChanged):
            self._note(event)

    def _note(self, event: PeerUp | PeerLost | PeerDown | StrangerTurnedAway | SyncChanged) -> None:
        self.news.append(event)
        if isinstance(event, PeerUp):
            assert event.identity not in self.up
            self.up.add(event.identity)
        elif isinstance(event, PeerDown):
            self.up.remove(event.identity)
        elif isinstance(event, SyncChanged):
            assert event.in_sync is not self.in_sync
            self.in_sync = event.in_sync

    def push(self, end: End) -> None:
        """Give the connection what it takes."""
        while end.is_open and end.on_the_way < WINDOW:
            data = self.mesh.data_to_send(end.number, WINDOW - end.on_the_way)
            if not data:
                return
            self.network.send(end, data)

    def _hang_up(self, number: int) -> None:
        end = self.ends.pop(number, None)
        if end is not None:
            self.push(end)
            end.is_open = False
            self.network.send(end, None)
        self.mesh.disconnected(number, self.now)

    def hear(self, end: End, data: bytes | None) -> None:
        """Take what has come."""
        if data is not None:
            self.act(lambda: self.mesh.receive(end.number, data, self.now))
            return
        end.is_open = False
        del self.ends[end.number]
        self.act(lambda: self.mesh.disconnected(end.number, self.now, "reset"))

    def install(self, flow: FlowKey, source_is_hi: bool = False, action: int = ConnectionAction.FORWARD) -> None:
        """Announce a connection."""
        self.act(lambda: self.mesh.install(flow, source_is_hi, ConnectionAction(action), self.now))

    def remove(self, flow: FlowKey) -> None:
        """Announce its end."""
        self.act(lambda: self.mesh.remove(flow))

    def counted(self, peer: str) -> End | None:
        """The end of the channel with a peer that counts, if it is established."""
        line = self.mesh._peers[peer].counted
        return None if line is None or line.channel.state is not ChannelState.ESTABLISHED else self.ends[line.number]

    def check_what_was_told(self) -> None:
        """The news tell the same as the core's state."""
        claims = {(peer, key_of(claim.flow)) for peer in self.mesh._peers for claim in self.mesh.database.claims(peer)}
        assert self.told == claims, self.name
        assert self.up == {view.identity for view in self.mesh.peers() if view.is_up}
        assert self.in_sync is self.mesh.in_sync


class Network(VirtualTime):
    """The world of a simulated cluster."""

    def __init__(self, names: Iterable[str], settings: Callable[[str], PeerSettings], seed: int = 0) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.names = list(names)
        self.settings = settings
        self.nodes: dict[str, Node] = {}
        self.unplugged: set[str] = set()  # machines without power
        self.cuts: set[frozenset[str]] = set()
        self.latency = (0.001, 0.02)
        self._ends: list[End] = []  # that have something to send

    # What happens by itself.

    def _ring(self, node: Node) -> None:
        node.act(lambda: node.mesh.handle_timer(node.now + 1e-9))

    def next_timer(self) -> tuple[float, Callable[[], None] | None]:
        """Of the members."""
        first: float = float("inf")
        chosen: Node | None = None
        for node in self.nodes.values():
            deadline = node.mesh.next_deadline() if node.is_alive else None
            if deadline is not None and deadline - node.clock_offset < first:
                first, chosen = deadline - node.clock_offset, node
        return first, None if chosen is None else partial(self._ring, chosen)

    def _delay(self) -> float:
        return self.chance.uniform(*self.latency)

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing passes between two machines."""
        return frozenset((one, other)) in self.cuts

    def connect(self, node: Node, number: int, target: str, tries: int = 0) -> None:
        """A member calls another; the call is made again every second while nothing answers."""
        self.later(self._delay(), lambda: self._arrive(node, number, target, tries))

    def _arrive(self, node: Node, number: int, target: str, tries: int) -> None:
        if target in self.unplugged or self.is_cut(node.name, target):
            if tries < 5:
                self.later(1.0, lambda: self._arrive(node, number, target, tries + 1))
            return
        callee = self.nodes.get(target)
        accepted: list[int | None] = [None]
        if callee is not None and callee.is_alive:
            callee.act(lambda: accepted.__setitem__(0, callee.mesh.accept(callee.now)))
        if callee is None or accepted[0] is None:
            self.later(self._delay(), lambda: node.act(lambda: node.mesh.disconnected(number, node.now, "refused")))
            return
        near, far = End(node, number), End(callee, accepted[0])
        near.other, far.other = far, near
        callee.ends[accepted[0]] = far
        near.is_open = False
        self.later(self._delay(), lambda: self._answered(near))

    def _answered(self, near: End) -> None:
        node = near.node
        assert node is not None
        line = node.mesh._lines.get(near.number)
        if node.is_alive and line is not None and line.channel.state is ChannelState.INIT:
            near.is_open = True
            node.ends[near.number] = near
            node.act(lambda: node.mesh.connected(near.number, node.now))
        else:
            self.send(near, None)

    def send(self, end: End, data: bytes | None) -> None:
        """Put bytes on their way to the other end; None: nothing more follows."""
        arrival = max(self.now + self._delay(), end.queue[-1][0] if end.queue else 0.0)
        end.queue.append((arrival, data))
        end.on_the_way += len(data or b"")
        self.later(arrival - self.now, lambda: self.deliver(end))

    def deliver(self, end: End) -> None:
        """Let arrive what can."""
        other, node = end.other, end.other.node
        while end.queue and end.queue[0][0] <= self.now and other.is_read and end.node and node:
            if self.is_cut(end.node.name, node.name) or node.name in self.unplugged:
                self.later(1.0, lambda: self.deliver(end))
                return
            _, data = end.queue.popleft()
            end.on_the_way -= len(data or b"")
            if end.swallows:
                continue
            if not other.is_open or not node.is_alive:
                if other.is_open is False and data is not None:
                    self.reset(end)
                continue
            node.hear(other, data)
        if end.is_open and end.node is not None and end.node.is_alive:
            end.node.push(end)

    def reset(self, end: End) -> None:
        """An end learns that the other one is no more."""

        def arrive() -> None:
            if end.is_open and end.node is not None and end.node.is_alive:
                if end.node.name in self.unplugged or self.is_cut(end.node.name, end.other.node.name):  # type: ignore[union-attr]
                    return
                end.node.hear(end, None)

        self.later(self._delay(), arrive)

    # What somebody does.

    def start(self, name: str, clock: float = 0.0) -> Node:
        """A member's process starts."""
        self.unplugged.discard(name)
        node = self.nodes[name] = Node(self, name, [self.settings(peer) for peer in self.names if peer != name], clock)
        self._ring(node)
        return node

    def start_all(self) -> None:
        """All do."""
        for name in self.names:
            self.start(name)

    def kill(self, name: str, *, unplug: bool = False) -> None:
        """A member's process dies, and its kernel says so; or its machine has no power, and nobody says anything."""
        node = self.nodes.pop(name)
        node.is_alive = False
        if unplug:
            self.unplugged.add(name)
        for end in node.ends.values():
            end.is_open = False
            if not unplug:
                self.send(end, None)

    def cut(self, one_half: set[str]) -> None:
        """Nothing passes between these members and the others."""
        self.cuts = {frozenset((one, other)) for one in one_half for other in self.names if other not in one_half}

    def heal(self) -> None:
        """Everything passes again."""
        self.cuts.clear()

    def ends(self) -> list[End]:
        """All ends of connections."""
        return [end for name in self.names if name in self.nodes for end in self.nodes[name].ends.values()]

    def stop_reading(self, end: End, seconds: float) -> None:
        """An end takes nothing for a while."""

        def go_on() -> None:
            end.is_read = True
            self.deliver(end.other)

        end.is_read = False
        self.later(seconds, go_on)

    def halve(self, end: End) -> None:
        """An end's member has lost the connection, and the other end does not hear of it."""
        if end.is_open and end.node is not None:
            end.node.hear(end, None)

    def swallow(self, end: End) -> None:
        """Nothing passes on this connection any more, and nobody is told."""
        end.swallows = end.other.swallows = True

    # What must be so when all is quiet.

    def check_settled(self) -> None:
        """All databases are equal, with all connections of the living, none of the dead; one channel for each pair."""
        for name, node in self.nodes.items():
            node.check_what_was_told()
            assert node.mesh.in_sync, name
            assert node.up == set(self.nodes) - {name}, name
            for peer in self.names:
                if peer == name:
                    continue
                known = {_what(claim) for claim in node.mesh.database.claims(peer)}
                if peer not in self.nodes:
                    assert known == set(), (name, peer)
                    continue
                assert known == {_what(claim) for claim in self.nodes[peer].mesh.own.claims()}, (name, peer)
                near, far = node.counted(peer), self.nodes[peer].counted(name)
                assert near is not None, (name, peer)
                assert near.other is far, (name, peer)
            assert len(node.ends) == len(self.nodes) - 1, name


def _what(claim: Claim) -> tuple[FlowKey, int, bool]:
    return claim.flow, claim.action, claim.source_is_hi
