"""One member of the cluster over all its peers: which channels there are, which one counts, and what was said on them.

Bytes, own connections and the time go in; bytes, orders and news come out (`depot.cluster.events`). Sans-IO. Times are
seconds of any steady clock. After any call the shell carries out `take_events` and sends what `take_writable` names.

Every member calls every other (seed 000, 2.2). Where two call each other at once, the channel that the numerically
lower identity opened counts, and the other is closed without a fault. A call of our own stands in the way only once TCP
has connected, so a peer that can call us but not be called is not turned away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from depot.address import FlowKey
from depot.cluster.channel import Channel, ChannelClosed, ChannelEvent, ConnectionsReceived, JoinReceived
from depot.cluster.database import Changes, Claim, ConnectionDatabase, OwnConnections
from depot.cluster.errors import ErrorCode
from depot.cluster.events import (
    CloseChannel,
    ClusterEvent,
    ConnectionsForgotten,
    ConnectionsLearnt,
    OpenChannel,
    PeerDown,
    PeerLost,
    PeerUp,
    StrangerTurnedAway,
    SyncChanged,
)
from depot.cluster.peers import Line, Peer, PeerView
from depot.cluster.settings import PeerSettings, membership
from depot.cluster.states import ChannelState, CloseReason
from depot.cluster.statistics import ClusterStatistics
from depot.cluster.wire import ConnectionAction

__all__ = ["MOST_STRANGERS", "Mesh"]

MOST_STRANGERS = 64
"""Callers that may be about to say who they are: three times a cluster of the seed's size (seed 000, 3)."""

_GONE_AT_ONCE = frozenset({CloseReason.LEFT, CloseReason.SILENT, CloseReason.BAD_MESSAGE})
_LEFT_AT_ONCE = frozenset({ErrorCode.LEAVING, ErrorCode.BAD_MESSAGE, ErrorCode.NOT_A_MEMBER})
"""Codes of a PEER_LEAVE that ends more than the channel."""

_COUNTED_REASONS = {
    CloseReason.DUPLICATE: "duplicate_channels",
    CloseReason.PEER_LEFT: "peers_left",
    CloseReason.SILENT: "silent_peers",
    CloseReason.SLOW_READER: "slow_readers",
    CloseReason.BAD_MESSAGE: "bad_messages",
    CloseReason.REFUSED: "rejects_sent",
    CloseReason.PEER_REFUSED: "rejects_received",
}


class Mesh:
    """The core of one member. `jitter` gives numbers in 0..1 at random; they spread the attempts to reconnect.

    Raises ClusterError if an identity is not 1..255 visible ASCII letters, comes twice, or is our own.
    """

    def __init__(self, identity: str, peers: Iterable[PeerSettings], jitter: Callable[[], float], now: float) -> None:
        self.identity = identity
        """Our own name."""
        self.own = OwnConnections(identity)
        """What we handle. Change it through `install` and `remove` only."""
        self.database = ConnectionDatabase()
        """What the peers handle."""
        self.statistics = ClusterStatistics()
        """Counts since the start."""
        self.in_sync = False
        """Whether of every peer all connections are known, or it could not be reached. Until then take nothing over:
        what seems to be nobody's may be somebody's."""
        self._jitter = jitter
        self._peers: dict[str, Peer] = {}
        self._lines: dict[int, Line] = {}
        self._numbers = 0
        self._strangers = 0
        self._events: list[ClusterEvent] = []
        self._writable: set[int] = set()
        self._news = bytearray()  # own changes that are not yet on the channels
        self._wake: float | None = None
        self._wake_is_known = False
        self._has_left = False
        self.set_peers(peers, now)

    def set_peers(self, peers: Iterable[PeerSettings], now: float) -> None:
        """Take another membership list: new peers are called, the missing are told and forgotten, others go on.

        Raises ClusterError like the constructor, and then nothing has changed.
        """
        wanted = membership(self.identity, peers)
        for identity in [identity for identity in self._peers if identity not in wanted]:
            self._dismiss(identity, now)
        for identity, settings in wanted.items():
            peer = self._peers.get(identity)
            if peer is None:
                self._peers[identity] = Peer(settings, now)
            else:
                peer.settings = settings
                peer.failures = 0
                if peer.counted is not None:
                    peer.counted.channel.adopt(settings)
                if peer.counted is None and peer.dialled is None and peer.next_dial_at is None:
                    peer.next_dial_at = now
        self._wake_is_known = False
        self._check_sync()

    def _dismiss(self, identity: str, now: float) -> None:
        peer = self._peers[identity]
        for line in (peer.dialled, peer.counted):
            if line is not None:
                self._close(line, CloseReason.LEFT, ErrorCode.NOT_A_MEMBER, now)
        self._forget(identity, peer, now)
        del self._peers[identity]

    # Channels, for the shell.

    def accept(self, now: float, certified: str | None = None) -> int | None:
        """Somebody has called; return the channel's number, None if the call must be ended at once.

        `certified`: the only identity that it may have, by its certificate; None: any on the membership list.
        """
        if self._has_left or self._strangers >= MOST_STRANGERS:
            return None
        self.statistics.channels_accepted += 1
        self._strangers += 1
        line = self._new_line(PeerSettings(""), False, None, certified, now)
        line.channel.connected(now)
        return line.number

    def _new_line(
        self, settings: PeerSettings, is_opener: bool, identity: str | None, certified: str | None, now: float
    ) -> Line:
        self._numbers += 1
        line = Line(self._numbers, Channel(self.identity, settings, is_opener, now), identity, certified)
        self._lines[line.number] = line
        self._wake_is_known = False
        return line

    def connected(self, number: int, now: float, certified: str | None = None) -> None:
        """An `OpenChannel` has been carried out; `certified` as in `accept`. Without effect on a closed channel."""
        line = self._lines.get(number)
        if line is not None and line.channel.state is ChannelState.INIT:
            line.certified = certified
            line.channel.connected(now)
            self._wake_is_known = False
            self._drain(line, now)

    def receive(self, number: int, data: bytes, now: float) -> None:
        """Take bytes that came on a channel. Without effect on a closed channel."""
        line = self._lines.get(number)
        if line is not None:
            self.statistics.bytes_received += len(data)
            line.channel.receive(data, now)
            self._drain(line, now)

    def disconnected(self, number: int, now: float, detail: str = "") -> None:
        """A channel's TCP connection has ended, or could not be made; its number is no more."""
        line = self._lines.get(number)
        if line is not None:
            line.channel.lost(detail, now)
            self._drain(line, now)
            del self._lines[number]
            self._writable.discard(number)

    def take_writable(self, now: float) -> set[int]:
        """Return the channels that have more to send than when this was last asked."""
        self._spread(now)
        writable, self._writable = self._writable, set()
        return writable

    def data_to_send(self, number: int, limit: int | None = None) -> bytes:
        """Return bytes for a channel, at most `limit`: only what TCP takes now. Empty: nothing waits."""
        line = self._lines.get(number)
        if line is None:
            return b""
        data = line.channel.data_to_send(limit)
        self.statistics.bytes_sent += len(data)
        return data

    def take_events(self) -> list[ClusterEvent]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # Own connections, for whoever forwards packets.

    def install(self, flow: FlowKey, source_is_hi: bool, action: ConnectionAction, now: float) -> None:
        """Announce a connection of ours. `source_is_hi`: its opener is the flow's higher endpoint.

        It is on its way when `take_writable` has been called. Raises ClusterError if it is neither TCP nor UDP.
        """
        message = self.own.install(flow, source_is_hi, action, now)
        if message is not None:
            self._announce(message)

    def remove(self, flow: FlowKey) -> None:
        """Announce that a connection of ours has ended. Without effect if there is none."""
        message = self.own.remove(flow)
        if message is not None:
            self._announce(message)

    def _announce(self, message: bytes) -> None:
        self.statistics.changes_announced += 1
        self._news += message

    def _spread(self, now: float) -> None:
        if not self._news:
            return
        news = bytes(self._news)
        self._news.clear()
        for peer in list(self._peers.values()):
            line = peer.counted
            if line is not None:
                line.channel.send(news, now)
                self._drain(line, now)

    def lookup(self, flow: FlowKey) -> Claim | None:
        """Return whose connection a flow is, our own before the others'; None: nobody's."""
        return self.own.lookup(flow) or self.database.lookup(flow)

    def peers(self) -> Iterator[PeerView]:
        """Yield every peer as people see it."""
        for identity, peer in self._peers.items():
            yield peer.view(self.database.count(identity))

    def leave(self, now: float) -> None:
        """Leave the cluster for good: every peer is told, and nobody is let in any more."""
        self._spread(now)
        self._has_left = True
        for line in list(self._lines.values()):
            self._close(line, CloseReason.LEFT, ErrorCode.LEAVING if line.identity is not None else None, now)
        for identity, peer in self._peers.items():
            peer.next_dial_at = None
            self._forget(identity, peer, now)

    # Time.

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called; None: not at all. It may turn out that nothing is due then."""
        if not self._wake_is_known:
            times = [line.channel.next_deadline() for line in self._lines.values()]
            for peer in self._peers.values():
                times += (peer.next_dial_at, peer.retained_until)
            self._wake = min((time for time in times if time is not None), default=None)
            self._wake_is_known = True
        return self._wake

    def handle_timer(self, now: float) -> None:
        """Do what is due. Call it once at the start, too: the peers are called then."""
        for line in list(self._lines.values()):
            line.channel.handle_timer(now)
            self._drain(line, now)
        for identity, peer in self._peers.items():
            if peer.retained_until is not None and now >= peer.retained_until:
                self._forget(identity, peer, now)
            if peer.next_dial_at is not None and now >= peer.next_dial_at:
                peer.next_dial_at = None
                self._dial(identity, peer, now)
        self._wake_is_known = False

    def _dial(self, identity: str, peer: Peer, now: float) -> None:
        if peer.counted is None and peer.dialled is None:
            self.statistics.channels_opened += 1
            peer.dialled = self._new_line(peer.settings, True, identity, None, now)
            self._events.append(OpenChannel(peer.dialled.number, identity))

    # What comes of a channel's events.

    def _drain(self, line: Line, now: float) -> None:
        channel = line.channel
        while (event := channel.next_event(now)) is not None:
            self._take(line, event, now)
        if channel.waiting():
            self._writable.add(line.number)

    def _take(self, line: Line, event: ChannelEvent, now: float) -> None:
        if isinstance(event, ConnectionsReceived):
            if line.identity is not None:
                self.statistics.messages_received += len(event.run)
                self._tell(line.identity, self.database.apply(line.identity, event.run, now))
        elif isinstance(event, JoinReceived):
            self._judge(line, event.identity, now)
        elif isinstance(event, ChannelClosed):
            self._closed(line, event, now)
        else:
            self._synchronized(line, now)

    def _tell(self, identity: str, changes: Changes) -> None:
        self.statistics.unknown_removes += changes.unknown
        self.statistics.refused_installs += changes.refused
        if changes.forgotten:
            self._events.append(ConnectionsForgotten(identity, changes.forgotten))
        if changes.learnt:
            self._events.append(ConnectionsLearnt(identity, changes.learnt))

    def _judge(self, line: Line, identity: str, now: float) -> None:
        """Somebody says who it is: decide whether it may join, and on which channel."""
        channel = line.channel
        called = line.identity
        if (called is not None and called != identity) or (line.certified is not None and line.certified != identity):
            expected = called if called is not None and called != identity else line.certified
            channel.reject(ErrorCode.WRONG_IDENTITY, f"it says it is {identity}, and should be {expected}")
        elif (peer := self._peers.get(identity)) is None:
            channel.reject(ErrorCode.NOT_A_MEMBER, f"{identity} is not on the membership list")
        else:
            if called is None:
                self._strangers -= 1
                line.identity = identity
            if self._is_duplicate(line, peer, identity, now):
                channel.reject(ErrorCode.DUPLICATE_CHANNEL)
            else:
                self._welcome(line, peer, identity, now)

    def _is_duplicate(self, line: Line, peer: Peer, identity: str, now: float) -> bool:
        """Say whether a channel must give way; what must give way to it is closed in `_welcome`."""
        if peer.counted is not None:
            if identity < self.identity or not peer.counted.channel.is_opener:
                return False
            peer.counted.channel.probe(now)  # the peer would not call if it still knew this channel
            if peer.counted.channel.waiting():
                self._writable.add(peer.counted.number)
            return True
        rival = peer.dialled
        if rival is None or rival is line or identity < self.identity:
            return False
        return rival.channel.state is ChannelState.CONNECT

    def _welcome(self, line: Line, peer: Peer, identity: str, now: float) -> None:
        self._spread(now)
        rivals = [rival for rival in (peer.counted, peer.dialled) if rival is not None and rival is not line]
        peer.counted, peer.dialled = line, None
        peer.next_dial_at = peer.retained_until = None
        for rival in rivals:
            self._close(rival, CloseReason.DUPLICATE, ErrorCode.DUPLICATE_CHANNEL, now)
        self.database.begin_sync(identity)
        line.channel.welcome(peer.settings, self.own.table(), now)
        self._wake_is_known = False
        self._settle(peer, False)

    def _synchronized(self, line: Line, now: float) -> None:
        identity = line.identity
        peer = self._peers.get(identity) if identity is not None else None
        if identity is None or peer is None or peer.counted is not line:
            return
        self.statistics.tables_received += 1
        peer.failures = 0
        self._tell(identity, self.database.end_sync(identity))
        if not peer.is_up:
            peer.is_up = True
            peer.since = now
            self._events.append(PeerUp(identity))
        self._settle(peer, True)

    def _close(self, line: Line, reason: CloseReason, code: ErrorCode | None, now: float) -> None:
        line.channel.close(reason, code)
        self._drain(line, now)

    def _closed(self, line: Line, event: ChannelClosed, now: float) -> None:
        self._wake_is_known = False
        self._count(event)
        if event.reason is not CloseReason.LOST:
            self._events.append(CloseChannel(line.number))
        if line.identity is None:
            self._strangers -= 1
            if event.reason not in (CloseReason.LOST, CloseReason.LEFT):  # peers that have changed their mind hang up
                self.statistics.strangers += 1
                self._events.append(StrangerTurnedAway(line.number, event.reason, event.code, event.detail))
            return
        peer = self._peers.get(line.identity)
        if peer is None or line not in (peer.dialled, peer.counted):
            return
        peer.last_close = event
        if line is peer.dialled:
            peer.dialled = None
            self._attempt_failed(peer, event, now)
        else:
            peer.counted = None
            self._channel_failed(line, peer, event, now)

    def _count(self, event: ChannelClosed) -> None:
        is_duplicate = event.code == ErrorCode.DUPLICATE_CHANNEL
        name = _COUNTED_REASONS.get(CloseReason.DUPLICATE if is_duplicate else event.reason)
        if name is not None:
            setattr(self.statistics, name, getattr(self.statistics, name) + 1)

    def _attempt_failed(self, peer: Peer, event: ChannelClosed, now: float) -> None:
        if event.code == ErrorCode.DUPLICATE_CHANNEL:
            peer.next_dial_at = now + peer.settings.backoff(1, self._jitter())  # if the other one comes to nothing
            return
        self.statistics.failed_attempts += 1
        peer.failures += 1
        self._redial(peer, now)
        self._settle(peer, True)

    def _redial(self, peer: Peer, now: float) -> None:
        attempts = peer.settings.connect_attempts
        is_abandoned = attempts is not None and peer.failures >= attempts
        if not (is_abandoned or self._has_left):
            peer.next_dial_at = now + peer.settings.backoff(max(1, peer.failures), self._jitter())

    def _channel_failed(self, line: Line, peer: Peer, event: ChannelClosed, now: float) -> None:
        identity = peer.settings.identity
        peer.lost = event
        if event.reason is CloseReason.LOST:
            self.statistics.channels_lost += 1
        peer_left = event.reason is CloseReason.PEER_LEFT and event.code in _LEFT_AT_ONCE
        peer.retained_until = line.channel.heard_at + peer.settings.silence_limit
        if peer_left or event.reason in _GONE_AT_ONCE or peer.retained_until <= now:
            self._forget(identity, peer, now)
        elif peer.is_up:
            self._events.append(PeerLost(identity, event.reason, event.code, event.detail))
        if not peer.is_settled:
            peer.failures += 1  # it never was established
        self._redial(peer, now)
        self._settle(peer, True)

    def _forget(self, identity: str, peer: Peer, now: float) -> None:
        peer.retained_until = None
        self._tell(identity, self.database.drop(identity))
        if peer.is_up:
            peer.is_up = False
            peer.since = now
            lost = peer.lost or ChannelClosed(CloseReason.LEFT, None, "")
            self._events.append(PeerDown(identity, lost.reason, lost.code, lost.detail))

    def _settle(self, peer: Peer, is_settled: bool) -> None:
        peer.is_settled = is_settled
        self._check_sync()

    def _check_sync(self) -> None:
        in_sync = all(peer.is_settled for peer in self._peers.values())
        if in_sync is not self.in_sync:
            self.in_sync = in_sync
            self._events.append(SyncChanged(in_sync))
