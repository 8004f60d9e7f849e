"""One member of the cluster on a bus: every member hears all that any says, and their tables are in a store.

The bus may lose, double or reorder; each member numbers its batches of changes, so that a gap is noticed: by the batch
that follows, or by the next keepalive. Then the table is read from the store, where its owner puts it when asked, and
what came since is done on top. Sans-IO. After any call the shell carries out `take_orders`, publishes `take_messages`,
and passes `take_events` on. Times are seconds of any steady clock (docs/decisions/0012-nats-bus.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from depot.address import FlowKey
from depot.cluster.bus_peers import BusPeer
from depot.cluster.bus_wire import BusKind, BusMessage, encode_bus, read_bus, read_runs, read_sign
from depot.cluster.channel import ChannelClosed
from depot.cluster.database import Changes, Claim, ConnectionDatabase, OwnConnections
from depot.cluster.errors import ErrorCode, RemoteError
from depot.cluster.events import (
    ClusterEvent,
    ConnectionsForgotten,
    ConnectionsLearnt,
    PeerDown,
    PeerLost,
    PeerUp,
    StrangerTurnedAway,
    SyncChanged,
)
from depot.cluster.peers import PeerView
from depot.cluster.settings import PeerSettings, membership
from depot.cluster.states import CloseReason
from depot.cluster.statistics import ClusterStatistics
from depot.cluster.wire import KEEPALIVE, ConnectionAction, ConnectionRun, Leave, encode_leave

__all__ = ["Bus", "BusOrder", "FetchTable", "OutgoingMessage", "StoreTable"]

OUTAGE_LIMIT = 30.0
"""Seconds that peers are remembered without a bus. Their silence says nothing then, but their ends are missed too."""
ANSWER_DELAY = 0.02
"""Seconds that a member gathers those who ask for its table: one write serves them all."""
STORE_RETRY = 0.5
"""Seconds until a table that could not be stored is stored again."""
FIRST_ASK_AGAIN = 0.5
"""Seconds until a table that does not come is asked for again, doubled with each time..."""
LAST_ASK_AGAIN = 4.0
"""...up to here."""
BATCH = 1 << 18
"""Bytes of changes in one message: a quarter of what a NATS server takes by default."""


@dataclass(frozen=True, slots=True)
class StoreTable:
    """Order: put our table into the store, then `Bus.table_stored`."""

    epoch: int
    """Of ours."""
    sequence: int
    """The batch after which the table is this."""
    data: bytes
    """INSTALL_CONNECTION messages."""


@dataclass(frozen=True, slots=True)
class FetchTable:
    """Order: read a peer's table from the store, then `Bus.table_fetched`."""

    identity: str
    """The peer."""
    epoch: int
    """Of the table that is meant; another one will not do."""
    sequence: int
    """Likewise."""
    parts: int
    """How many it has."""


BusOrder = StoreTable | FetchTable
"""What the shell is to do with the store."""

OutgoingMessage = tuple[str | None, bytes]
"""A message, and the peer that it is for; None: for all."""


class Bus:
    """The core of one member. `epoch` is greater than in its lives before: a time will do.

    Raises ClusterError if an identity is not 1..255 visible ASCII letters, comes twice, or is our own.
    """

    def __init__(self, identity: str, peers: Iterable[PeerSettings], epoch: int, now: float) -> None:
        self.identity = identity
        """Our own name."""
        self.own = OwnConnections(identity)
        """What we handle. Change it through `install` and `remove` only."""
        self.database = ConnectionDatabase()
        """What the peers handle."""
        self.statistics = ClusterStatistics()
        """Counts since the start; a table read from the store counts as one received."""
        self.in_sync = False
        """Whether of every peer all connections are known, or it could not be reached. False while there is no bus, but
        for one that has been away so long that its members are on their own."""
        self._epoch = epoch
        self._sequence = 0
        self._peers: dict[str, BusPeer] = {}
        self._news: list[bytes] = []
        self._messages: list[OutgoingMessage] = []
        self._orders: list[BusOrder] = []
        self._events: list[ClusterEvent] = []
        self._is_connected = self._is_storing = self._has_left = False
        self._stored: tuple[int, int] | None = None
        self._answer_at: float | None = None
        self._cut_at: float | None = now
        self._sent_at = now
        self.set_peers(peers, now)

    def set_peers(self, peers: Iterable[PeerSettings], now: float) -> None:
        """Take another membership list. Raises ClusterError like the constructor, and then nothing has changed."""
        wanted = membership(self.identity, peers)
        for identity in [identity for identity in self._peers if identity not in wanted]:
            self._forget(self._peers[identity], ChannelClosed(CloseReason.LEFT, ErrorCode.NOT_A_MEMBER, ""), now)
            del self._peers[identity]
        for identity, settings in wanted.items():
            if (peer := self._peers.get(identity)) is not None:
                peer.settings = settings
                continue
            self._peers[identity] = BusPeer(settings, now)
            if self._is_connected:
                self._ask(self._peers[identity], now)
        self._check_sync()

    # The bus, for the shell.

    def connected(self, now: float) -> None:
        """The bus is there, and we hear all that is said from now on."""
        self._is_connected = not self._has_left
        if self._has_left:
            return
        self._cut_at = self._stored = None  # a store in memory is empty after a restart
        self._is_storing = False
        self._sign(KEEPALIVE, now)
        for peer in self._peers.values():
            peer.heard_at = now
            peer.is_settled = peer.is_fetching = False
            if not peer.is_synced:
                self._ask(peer, now)
        self._check_sync()

    def disconnected(self, now: float, detail: str = "") -> None:
        """The bus is gone; what is published meanwhile is lost. Without effect if it was gone before."""
        if not self._is_connected:
            return
        self._spread(now)
        self._is_connected = False
        self._cut_at = now
        self._messages.clear()
        self.statistics.channels_lost += 1
        for identity, peer in self._peers.items():
            peer.is_settled = False
            peer.last_close = ChannelClosed(CloseReason.LOST, None, detail)
            if peer.is_up:
                self._events.append(PeerLost(identity, CloseReason.LOST, None, detail))
        self._check_sync()

    def take_messages(self, now: float) -> list[OutgoingMessage]:
        """Return what is to be published, in order."""
        self._spread(now)
        messages, self._messages = self._messages, []
        self.statistics.bytes_sent += sum(len(data) for _, data in messages)
        return messages

    def take_orders(self) -> list[BusOrder]:
        """Return what is to be done with the store."""
        orders, self._orders = self._orders, []
        return orders

    def take_events(self) -> list[ClusterEvent]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # Own connections, for whoever forwards packets.

    def install(self, flow: FlowKey, source_is_hi: bool, action: ConnectionAction, now: float) -> None:
        """Announce a connection of ours, as `Mesh.install`."""
        self._announce(self.own.install(flow, source_is_hi, action, now))

    def remove(self, flow: FlowKey) -> None:
        """Announce that a connection of ours has ended. Without effect if there is none."""
        self._announce(self.own.remove(flow))

    def _announce(self, message: bytes | None) -> None:
        if message is not None:
            self.statistics.changes_announced += 1
            self._news.append(message)

    def _spread(self, now: float) -> None:
        """Number what is new; without a bus it is lost, and its number tells the peers so."""
        news, self._news = self._news, []
        most = BATCH // 40
        for start in range(0, len(news), most):
            self._sequence += 1
            if self._is_connected:
                self._publish(BusKind.CHANGES, now, body=b"".join(news[start : start + most]))

    def _publish(self, kind: BusKind, now: float, count: int = 0, body: bytes = b"") -> None:
        self._sent_at = now
        self._messages.append((None, encode_bus(BusMessage(kind, self._epoch, self._sequence, count, body))))

    def _sign(self, message: bytes, now: float) -> None:
        self._spread(now)
        self._publish(BusKind.SIGN, now, body=message)

    def lookup(self, flow: FlowKey) -> Claim | None:
        """Return whose connection a flow is, our own before the others'; None: nobody's."""
        return self.own.lookup(flow) or self.database.lookup(flow)

    def peers(self) -> Iterator[PeerView]:
        """Yield every peer as people see it."""
        for identity, peer in self._peers.items():
            yield peer.view(self.database.count(identity))

    def leave(self, now: float) -> None:
        """Leave the cluster for good: every peer is told and forgotten, nothing more is heard or said."""
        if self._is_connected:
            self._sign(encode_leave(ErrorCode.LEAVING), now)
        self._has_left, self._is_connected, self._cut_at = True, False, None
        for peer in self._peers.values():
            self._forget(peer, ChannelClosed(CloseReason.LEFT, ErrorCode.LEAVING, ""), now)
        self._check_sync()

    # Our table.

    def receive_ask(self, data: bytes, now: float) -> None:
        """Somebody asks for our table."""
        try:
            message = read_bus(data)
        except RemoteError:
            self.statistics.bad_messages += 1
            return
        if message.kind is BusKind.ASK and self._is_connected:
            if message.count:
                self._stored = None  # what is there did not do
            self._answer_at = min(self._answer_at or now + ANSWER_DELAY, now + ANSWER_DELAY)

    def _answer(self, now: float) -> None:
        self._answer_at = None
        self._spread(now)
        if self._stored is not None and self._stored[0] == self._sequence:
            self._publish(BusKind.TABLE, now, count=self._stored[1])
        else:
            self._is_storing = True
            self._orders.append(StoreTable(self._epoch, self._sequence, self.own.table()))

    def table_stored(self, sequence: int, parts: int, now: float) -> None:
        """A `StoreTable` has been carried out in so many parts; 0: it failed."""
        if not self._is_storing:
            return  # the bus was lost meanwhile
        self._is_storing = False
        if parts:
            self._stored = (sequence, parts)
            message = BusMessage(BusKind.TABLE, self._epoch, sequence, parts)
            self._spread(now)
            self._messages.append((None, encode_bus(message)))
        else:
            self._answer_at = now + STORE_RETRY

    # What peers say.

    def receive(self, identity: str, data: bytes, now: float) -> None:
        """Take what somebody published."""
        if not self._is_connected:
            return
        peer = self._peers.get(identity)
        if peer is None:
            self.statistics.strangers += 1  # our own name too: what we say does not come back to us
            self._events.append(StrangerTurnedAway(0, CloseReason.REFUSED, None, f"{identity} is no peer"))
            return
        self.statistics.bytes_received += len(data)
        try:
            message = read_bus(data)
            if self._is_of_this_life(peer, message, now):
                self._take(peer, message, now)
        except RemoteError as error:
            self.statistics.bad_messages += 1
            self._events.append(StrangerTurnedAway(0, CloseReason.BAD_MESSAGE, None, f"{identity}: {error}"))

    def _is_of_this_life(self, peer: BusPeer, message: BusMessage, now: float) -> bool:
        if message.kind is BusKind.ASK or message.epoch == peer.left_epoch:
            return False
        if peer.epoch is not None and message.epoch < peer.epoch:
            return False
        if peer.epoch != message.epoch:
            peer.begin_life(message.epoch)
            peer.is_settled = False
            peer.sync_by = now + peer.settings.sync_timeout
            peer.next_ask_at = now + ANSWER_DELAY
            self._check_sync()
        peer.heard_at = now
        return True

    def _take(self, peer: BusPeer, message: BusMessage, now: float) -> None:
        if message.kind is BusKind.CHANGES:
            self._take_changes(peer, message.sequence, message.body, now)
        elif message.kind is BusKind.TABLE:
            peer.table = (message.sequence, message.count)
            self._heard_of(peer, message.sequence, now)
            if not peer.is_synced:
                self._fetch(peer, now)
        elif isinstance(sign := read_sign(message.body), Leave):
            self.statistics.peers_left += 1
            peer.left_epoch = message.epoch
            self._forget(peer, ChannelClosed(CloseReason.PEER_LEFT, sign.code, ""), now)
            self._check_sync()
        else:
            self._heard_of(peer, message.sequence, now)

    def _heard_of(self, peer: BusPeer, sequence: int, now: float) -> None:
        """There are so many batches: do we have them?"""
        peer.known = max(peer.known, sequence)
        if peer.is_synced and peer.known > peer.applied:
            peer.is_synced = peer.is_settled = False
            peer.sync_by = now + peer.settings.sync_timeout
            peer.next_ask_at = now + ANSWER_DELAY  # if it was only reordered, it will be here by then
        elif peer.is_synced:
            peer.is_settled = True
        self._check_sync()

    def _take_changes(self, peer: BusPeer, sequence: int, body: bytes, now: float) -> None:
        runs = read_runs(body)
        peer.known = max(peer.known, sequence)
        if peer.has_base and sequence <= peer.applied:
            return
        if peer.is_synced and sequence == peer.applied + 1:
            peer.applied = sequence
            self._apply(peer, runs, now)
            return
        self._heard_of(peer, sequence, now)
        if peer.waiting_bytes + len(body) > peer.settings.max_outgoing:
            peer.waiting.clear()  # a table that is asked for now has it all
            peer.waiting_bytes = 0
        if sequence not in peer.waiting:
            peer.waiting_bytes += len(body)
        peer.waiting[sequence] = runs
        if peer.has_base and peer.has_all_after(peer.applied):
            self._catch_up(peer, peer.applied, now)
        elif peer.has_base:
            self._apply(peer, runs, now)  # ahead of its turn, which comes again: the news may be awaited

    def _apply(self, peer: BusPeer, runs: Iterable[ConnectionRun], now: float) -> None:
        identity = peer.settings.identity
        for run in runs:
            self.statistics.messages_received += len(run)
            self._tell(identity, self.database.apply(identity, run, now))

    def _tell(self, identity: str, changes: Changes) -> None:
        self.statistics.unknown_removes += changes.unknown
        self.statistics.refused_installs += changes.refused
        if changes.forgotten:
            self._events.append(ConnectionsForgotten(identity, changes.forgotten))
        if changes.learnt:
            self._events.append(ConnectionsLearnt(identity, changes.learnt))

    def _catch_up(self, peer: BusPeer, sequence: int, now: float) -> None:
        """The database is as of that batch; do those behind it, and have all."""
        for number in range(sequence + 1, peer.known + 1):
            self._apply(peer, peer.waiting[number], now)
        peer.waiting = {}
        peer.waiting_bytes = peer.asks = 0
        peer.applied = peer.known
        peer.is_synced = peer.has_base = peer.is_settled = True
        peer.next_ask_at = peer.sync_by = None
        self._check_sync()

    # Peers' tables.

    def _ask(self, peer: BusPeer, now: float) -> None:
        message = encode_bus(BusMessage(BusKind.ASK, 0, 0, min(peer.asks, 0xFFFF)))
        self._messages.append((peer.settings.identity, message))
        peer.next_ask_at = now + min(LAST_ASK_AGAIN, FIRST_ASK_AGAIN * 2.0 ** min(peer.asks, 30))
        peer.asks += peer.epoch is not None  # else nobody may be there

    def _fetch(self, peer: BusPeer, now: float) -> None:
        """Read the table that was announced, unless it is known to be of no use."""
        if peer.is_fetching or peer.table is None or peer.epoch is None:
            return
        (sequence, parts), peer.table = peer.table, None
        if peer.has_all_after(sequence):
            peer.is_fetching = True
            peer.next_ask_at = None
            self._orders.append(FetchTable(peer.settings.identity, peer.epoch, sequence, parts))
        elif peer.next_ask_at is None:
            self._ask(peer, now)

    def table_fetched(self, order: FetchTable, data: bytes | None, now: float) -> None:
        """A `FetchTable` has been carried out; None: it is not to be had."""
        peer = self._peers.get(order.identity)
        if peer is None or not peer.is_fetching:
            return
        peer.is_fetching = False
        if peer.is_synced or peer.epoch is None:
            return
        if data is None or order.epoch != peer.epoch or not self._take_table(peer, order.sequence, data, now):
            peer.next_ask_at = now + ANSWER_DELAY
            self._fetch(peer, now)  # a later one may have been announced

    def _take_table(self, peer: BusPeer, sequence: int, data: bytes, now: float) -> bool:
        identity = peer.settings.identity
        peer.known = max(peer.known, sequence)
        if not peer.has_all_after(sequence):
            return False
        try:
            runs = read_runs(data)
        except RemoteError:
            self.statistics.bad_messages += 1
            return False
        self.statistics.tables_received += 1
        self.database.begin_sync(identity)
        self._apply(peer, runs, now)
        self._catch_up(peer, sequence, now)
        self._tell(identity, self.database.end_sync(identity))
        if not peer.is_up:
            peer.is_up = True
            peer.since = now
            self._events.append(PeerUp(identity))
        return True

    def _forget(self, peer: BusPeer, why: ChannelClosed, now: float) -> None:
        """A peer is gone, with all that it said."""
        identity = peer.settings.identity
        peer.begin_life(None)
        peer.heard_at = None
        peer.is_fetching = False
        peer.is_settled = True
        peer.last_close = why
        self._tell(identity, self.database.drop(identity))
        if peer.is_up:
            peer.is_up = False
            peer.since = now
            self._events.append(PeerDown(identity, why.reason, why.code, why.detail))

    def _check_sync(self) -> None:
        in_sync = all(peer.is_settled for peer in self._peers.values()) and (self._is_connected or self._cut_at is None)
        if in_sync is not self.in_sync:
            self.in_sync = in_sync
            self._events.append(SyncChanged(in_sync))

    # Time.

    def _interval(self) -> float:
        return min((peer.settings.keepalive_interval for peer in self._peers.values()), default=1.0)

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called; None: not at all."""
        if not self._is_connected:
            return None if self._cut_at is None else self._cut_at + OUTAGE_LIMIT
        times = [self._sent_at + self._interval(), None if self._is_storing else self._answer_at]
        times += [peer.next_deadline() for peer in self._peers.values()]
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if not self._is_connected:
            if self._cut_at is not None and now >= self._cut_at + OUTAGE_LIMIT:
                self._cut_at = None
                for peer in self._peers.values():
                    self._forget(peer, ChannelClosed(CloseReason.LOST, None, "the bus is away"), now)
                self._check_sync()
            return
        if self._answer_at is not None and now >= self._answer_at and not self._is_storing:
            self._answer(now)
        if now >= self._sent_at + self._interval():
            self._sign(KEEPALIVE, now)
        for peer in self._peers.values():
            self._handle_peer(peer, now)
        self._check_sync()

    def _handle_peer(self, peer: BusPeer, now: float) -> None:
        silent_at = None if peer.heard_at is None else peer.heard_at + peer.settings.silence_limit
        if silent_at is not None and now >= silent_at + peer.settings.keepalive_interval:
            peer.heard_at = now  # it was us who slept, or the clock leapt: that proves nothing about the peer
        elif silent_at is not None and now >= silent_at:
            self.statistics.silent_peers += peer.epoch is not None
            self._forget(peer, ChannelClosed(CloseReason.SILENT, None, "nothing was heard"), now)
        if peer.sync_by is not None and now >= peer.sync_by:
            life = peer.epoch
            self._forget(peer, ChannelClosed(CloseReason.SYNC_TIMEOUT, None, "its table did not come"), now)
            peer.epoch, peer.heard_at = life, now  # still there, and still asked
            peer.next_ask_at = now
        if peer.next_ask_at is not None and now >= peer.next_ask_at:
            if peer.epoch is None and peer.is_settled:
                peer.next_ask_at = None  # nobody answers; who comes later is heard
            else:
                self._ask(peer, now)
