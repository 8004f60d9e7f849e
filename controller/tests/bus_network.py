"""Members of a cluster in memory that speak through a bus, under a virtual clock.

The bus loses what is under way when it restarts or a member's connection breaks, doubles and reorders; its store is
empty after a restart. What the members tell is replayed and kept beside what they know.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

from controller.tests.virtual_time import VirtualTime

from depot.address import FlowKey
from depot.cluster.bus import Bus, FetchTable, StoreTable
from depot.cluster.database import Claim
from depot.cluster.events import ConnectionsForgotten, ConnectionsLearnt, PeerDown, PeerUp, SyncChanged
from depot.cluster.settings import PeerSettings
from depot.cluster.wire import ConnectionAction, key_of

__all__ = ["BusNetwork", "BusNode"]


class BusNode:
    """One life of one member."""

    def __init__(self, network: BusNetwork, name: str, peers: Iterable[PeerSettings], clock: float) -> None:
        self.network = network
        self.name = name
        self.clock_offset = clock
        self.bus = Bus(name, peers, network.next_epoch(), self.now)
        self.link = 0
        """Counts its connections to the bus: what was under way on another one is lost."""
        self.is_connected = self.is_deaf = False
        self.is_alive = True
        self.told: set[tuple[str, bytes]] = set()
        self.up: set[str] = set()
        self.in_sync = self.bus.in_sync
        self.deadline = self.bus.next_deadline()
        """When its timer rings, by its own clock; None: not at all."""

    @property
    def now(self) -> float:
        """The member's own clock."""
        return self.network.now + self.clock_offset

    def act(self, call: Callable[[], object]) -> None:
        """Call the core, then do what a shell does."""
        if not self.is_alive:
            return
        call()
        for event in self.bus.take_events():
            self._note(event)
        for order in self.bus.take_orders():
            self.network.carry_out(self, order)
        for peer, data in self.bus.take_messages(self.now):
            self.network.publish(self, peer, data)
        self.deadline = self.bus.next_deadline()

    def _note(self, event: object) -> None:
        if isinstance(event, ConnectionsLearnt):
            self.told |= {(event.identity, key) for key in event.keys}
        elif isinstance(event, ConnectionsForgotten):
            self.told -= {(event.identity, key) for key in event.keys}
        elif isinstance(event, PeerUp):
            assert event.identity not in self.up
            self.up.add(event.identity)
        elif isinstance(event, PeerDown):
            self.up.remove(event.identity)
        elif isinstance(event, SyncChanged):
            assert event.in_sync is not self.in_sync
            self.in_sync = event.in_sync

    def install(self, flow: FlowKey, source_is_hi: bool = False, action: int = ConnectionAction.FORWARD) -> None:
        """Announce a connection."""
        self.act(lambda: self.bus.install(flow, source_is_hi, ConnectionAction(action), self.now))

    def remove(self, flow: FlowKey) -> None:
        """Announce its end."""
        self.act(lambda: self.bus.remove(flow))

    def check_what_was_told(self) -> None:
        """The news tell the same as the core's state."""
        views = list(self.bus.peers())
        claims = {
            (view.identity, key_of(claim.flow))
            for view in views
            for claim in self.bus.database.claims(view.identity)
        }  # fmt: skip
        assert self.told == claims, self.name
        assert self.up == {view.identity for view in views if view.is_up}, self.name
        assert self.in_sync is self.bus.in_sync, self.name


class BusNetwork(VirtualTime):
    """The bus, its store and who uses them."""

    def __init__(self, names: Iterable[str], settings: Callable[[str], PeerSettings], seed: int = 0) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.names = list(names)
        self.settings = settings
        self.nodes: dict[str, BusNode] = {}
        self.latency = (0.0005, 0.005)
        self.loss = self.doubling = self.store_failure = 0.0
        """Chances: of a delivery to be lost or to come twice, of an order to fail."""
        self.is_up = True
        self._store: dict[str, tuple[int, int, bytes]] = {}
        self._epoch = 0

    def next_epoch(self) -> int:
        """Of a life that begins now."""
        self._epoch += 1
        return self._epoch

    # What happens by itself.

    def _ring(self, node: BusNode) -> None:
        node.act(lambda: node.bus.handle_timer(node.now + 1e-9))

    def next_timer(self) -> tuple[float, Callable[[], None] | None]:
        """Of the members."""
        first: float = float("inf")
        chosen: BusNode | None = None
        for node in self.nodes.values():
            if node.deadline is not None and node.deadline - node.clock_offset < first:
                first, chosen = node.deadline - node.clock_offset, node
        return first, None if chosen is None else partial(self._ring, chosen)

    def publish(self, sender: BusNode, peer: str | None, data: bytes) -> None:
        """Deliver to all others, or to one."""
        if not sender.is_connected or sender.is_deaf:
            return
        for node in self.nodes.values() if peer is None else filter(None, [self.nodes.get(peer)]):
            if node is sender or not node.is_connected:
                continue
            for _ in range(1 + (self.chance.random() < self.doubling)):
                if self.chance.random() >= self.loss:
                    self._deliver(sender.name, node, peer is not None, data)

    def _deliver(self, sender: str, node: BusNode, is_ask: bool, data: bytes) -> None:
        link = node.link

        def arrive() -> None:
            if node.link != link or not node.is_connected or node.is_deaf:
                return
            if is_ask:
                node.act(lambda: node.bus.receive_ask(data, node.now))
            else:
                node.act(lambda: node.bus.receive(sender, data, node.now))

        self.later(self.chance.uniform(*self.latency), arrive)

    def carry_out(self, node: BusNode, order: StoreTable | FetchTable) -> None:
        """The store takes a while."""
        failed = not node.is_connected or node.is_deaf or self.chance.random() < self.store_failure

        def store(order: StoreTable) -> None:
            if not failed and node.is_alive:
                self._store[node.name] = (order.epoch, order.sequence, order.data)
            node.act(lambda: node.bus.table_stored(order.sequence, 0 if failed else 1, node.now))

        def fetch(order: FetchTable) -> None:
            epoch, sequence, data = self._store.get(order.identity, (0, 0, b""))
            found = None if failed or (epoch, sequence) != (order.epoch, order.sequence) else data
            node.act(lambda: node.bus.table_fetched(order, found, node.now))

        delay = self.chance.uniform(*self.latency) * 3
        if isinstance(order, StoreTable):
            self.later(delay, lambda: store(order))
        else:
            self.later(delay, lambda: fetch(order))

    def _connect(self, node: BusNode) -> None:
        if not node.is_alive or node.is_connected:
            return
        if not self.is_up:
            self.later(0.25, lambda: self._connect(node))
            return
        node.is_connected, node.is_deaf = True, False
        node.link += 1
        node.act(lambda: node.bus.connected(node.now))

    # What somebody does.

    def start(self, name: str, clock: float = 0.0) -> BusNode:
        """A member's process starts."""
        node = BusNode(self, name, [self.settings(peer) for peer in self.names if peer != name], clock)
        self.nodes[name] = node
        self.later(self.chance.uniform(0.001, 0.05), lambda: self._connect(node))
        return node

    def start_all(self) -> None:
        """All do."""
        for name in self.names:
            self.start(name)

    def kill(self, name: str) -> None:
        """A member's process dies; the bus tells nobody."""
        node = self.nodes.pop(name)
        node.is_alive = node.is_connected = False

    def leave(self, name: str) -> None:
        """A member says that it leaves, then ends."""
        node = self.nodes[name]
        node.act(lambda: node.bus.leave(node.now))
        self.kill(name)

    def break_link(self, node: BusNode, seconds: float) -> None:
        """A member loses the bus, and finds it again after a while."""
        node.is_connected = node.is_deaf = False
        node.act(lambda: node.bus.disconnected(node.now, "broken"))
        self.later(seconds, lambda: self._connect(node))

    def deafen(self, node: BusNode, seconds: float) -> None:
        """Nothing passes between a member and the bus; it notices after a while, or never."""
        node.is_deaf = node.is_connected
        link = node.link

        def hear_again() -> None:
            if node.link == link:
                node.is_deaf = False

        self.later(seconds, hear_again)

    def restart_bus(self, seconds: float) -> None:
        """The server ends, and with it what was under way and stored; it is there again after a while."""
        self.is_up = False
        self._store.clear()
        for node in list(self.nodes.values()):
            self.break_link(node, self.chance.uniform(0, 0.3))

        def come_back() -> None:
            self.is_up = True

        self.later(seconds, come_back)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.loss = self.doubling = self.store_failure = 0.0
        self.latency = (0.0005, 0.005)

    # What must be so when all is quiet.

    def check_settled(self) -> None:
        """All databases are equal, with all connections of the living and none of the dead."""
        for name, node in self.nodes.items():
            node.check_what_was_told()
            assert node.bus.in_sync, name
            assert node.up == set(self.nodes) - {name}, name
            for peer in self.names:
                if peer == name:
                    continue
                known = {_what(claim) for claim in node.bus.database.claims(peer)}
                living = self.nodes.get(peer)
                assert known == ({_what(claim) for claim in living.bus.own.claims()} if living else set()), (name, peer)


def _what(claim: Claim) -> tuple[FlowKey, int, bool]:
    return claim.flow, claim.action, claim.source_is_hi
