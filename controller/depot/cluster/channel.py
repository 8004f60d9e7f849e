"""One control channel between two members: bytes, events and the time go in, bytes and events come out. Sans-IO.

Five verbs: `receive`, `next_event`, `data_to_send`, `next_deadline`, `handle_timer`. Beside them the acts of the owner:
`connected`, `lost`; `welcome` or `reject` after `JoinReceived`; `send`, `probe`, `close`. Times are seconds of any
steady clock.

The keepalive timer restarts with every message sent, not with those received: it is the peer that wants to hear
something, and what we hear tells it nothing (seed 000, 2.4 has it the other way; docs/wire.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from depot.cluster.errors import ClusterError, ErrorCode, RemoteError
from depot.cluster.settings import PeerSettings
from depot.cluster.states import TRANSITIONS, ChannelInput, ChannelState, CloseReason
from depot.cluster.wire import (
    KEEPALIVE,
    VERSION,
    ConnectionRun,
    Join,
    Keepalive,
    Leave,
    Message,
    Reject,
    encode_join,
    encode_leave,
    encode_reject,
    read_message,
)

__all__ = ["Channel", "ChannelClosed", "ChannelEvent", "ConnectionsReceived", "JoinReceived", "SyncEnded"]


@dataclass(frozen=True, slots=True)
class JoinReceived:
    """The peer wants to join. Nothing more is read before `Channel.welcome` or `Channel.reject` is called."""

    identity: str
    """Who it says it is."""


@dataclass(frozen=True, slots=True)
class ConnectionsReceived:
    """The peer's connections came or went."""

    run: ConnectionRun
    """The messages."""


@dataclass(frozen=True, slots=True)
class SyncEnded:
    """The peer has sent all of its table."""


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The channel has ended. The last event; `data_to_send` may still hold a last message."""

    reason: CloseReason
    """Why."""
    code: int | None
    """The code of the PEER_LEAVE or PEER_REJECT that was sent or received; None if there was none."""
    detail: str
    """For people; may be empty."""


ChannelEvent = JoinReceived | ConnectionsReceived | SyncEnded | ChannelClosed
"""All that a channel tells."""

_INPUTS: dict[type, ChannelInput] = {
    Join: ChannelInput.JOIN,
    Keepalive: ChannelInput.KEEPALIVE,
    Leave: ChannelInput.LEAVE,
    Reject: ChannelInput.REJECT,
}


class Channel:
    """One TCP connection's worth of the protocol.

    `identity` is our own; `settings` are those of the peer we call, or defaults until a caller has said who it is.
    """

    def __init__(self, identity: str, settings: PeerSettings, is_opener: bool, now: float) -> None:
        self._identity = identity
        self._settings = settings
        self.is_opener = is_opener
        """Whether we called."""
        self.state = ChannelState.INIT
        """Where the channel stands."""
        self.heard_at = now
        """When the peer's last bytes came."""
        self._entered_at = now
        self._sent_at = now
        self._input = b""
        self._offset = 0
        self._undecided = False  # the peer's PEER_JOIN waits for our answer
        self._closed: ChannelClosed | None = None
        self._outgoing: deque[bytes | memoryview] = deque()  # as it was given: all channels share it
        self._waiting = 0  # bytes of that
        self._allowance = 0  # bytes of the first table that may still wait to be sent

    def connected(self, now: float) -> None:
        """The TCP connection stands; whoever called speaks first (seed 000, 2.3)."""
        self._move(ChannelInput.CONNECTED, now)
        if self.is_opener:
            self.send(encode_join(self._identity), now)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the peer; `next_event` tells what they say. After the end they are ignored."""
        if self.state is ChannelState.CLOSED:
            return
        self.heard_at = now
        self._input = self._input[self._offset :] + data if self._offset < len(self._input) else data
        self._offset = 0

    def next_event(self, now: float) -> ChannelEvent | None:
        """Return what happened next; None: nothing, or `JoinReceived` has not been answered."""
        while self.state is not ChannelState.CLOSED and not self._undecided:
            try:
                found = read_message(self._input, self._offset)
                if found is None:
                    break
                message, self._offset = found
                event = self._take(message, now)
            except RemoteError as error:
                self._fault(error)
                break
            if event is not None:
                return event
        closed, self._closed = self._closed, None
        return closed

    def _take(self, message: Message, now: float) -> ChannelEvent | None:
        happens = _INPUTS.get(type(message), ChannelInput.CONNECTION)
        if happens not in TRANSITIONS[self.state]:
            raise RemoteError(ErrorCode.BAD_MESSAGE, f"{happens.value} in state {self.state.name}")
        if isinstance(message, ConnectionRun):
            return ConnectionsReceived(message)
        if isinstance(message, Join):
            return self._judge_version(message)
        before = self.state
        self._move(happens, now)
        if isinstance(message, Keepalive):
            return SyncEnded() if before is ChannelState.SYNCHRONIZE else None
        is_leave = isinstance(message, Leave)
        self._end(CloseReason.PEER_LEFT if is_leave else CloseReason.PEER_REFUSED, message.code, "")
        return None

    def _judge_version(self, join: Join) -> ChannelEvent | None:
        self._undecided = True
        if join.version == VERSION:
            return JoinReceived(join.identity)
        self.reject(ErrorCode.WRONG_VERSION, f"the peer speaks version {join.version}, we speak {VERSION}")
        return None

    def _fault(self, error: RemoteError) -> None:
        """The one place where a peer's mistake becomes a close."""
        if self.state in (ChannelState.INIT, ChannelState.CONNECT):
            self._shut(CloseReason.NO_JOIN, None, error.detail)
        else:
            self._shut(CloseReason.BAD_MESSAGE, error.code, error.detail)

    def welcome(self, settings: PeerSettings, table: bytes, now: float) -> None:
        """Answer `JoinReceived`: let the peer in and send it our connections. Raises ClusterError out of turn.

        `table`: INSTALL_CONNECTION messages. A PEER_KEEPALIVE behind them says that they are all.
        """
        self._decide()
        self._settings = settings
        if not self.is_opener:
            self._put(encode_join(self._identity))
        self._put(table)
        self._put(KEEPALIVE)
        self._allowance = self._waiting
        self._sent_at = now
        self._move(ChannelInput.JOIN, now)

    def adopt(self, settings: PeerSettings) -> None:
        """Go on with other settings of the peer."""
        self._settings = settings

    def reject(self, code: ErrorCode, detail: str = "") -> None:
        """Answer `JoinReceived`: turn the peer away. Raises ClusterError out of turn."""
        self._decide()
        is_duplicate = code is ErrorCode.DUPLICATE_CHANNEL
        self._shut(CloseReason.DUPLICATE if is_duplicate else CloseReason.REFUSED, code, detail)

    def _decide(self) -> None:
        if not self._undecided:
            raise ClusterError("no PEER_JOIN waits for an answer")
        self._undecided = False

    def send(self, data: bytes, now: float) -> None:
        """Send whole messages. Too much that waits closes the channel. Before `welcome` the peer is sent nothing."""
        if self.state is ChannelState.CLOSED:
            return
        self._sent_at = now
        self._put(data)
        if self._waiting > self._settings.max_outgoing + self._allowance:
            detail = f"{self._waiting} bytes waited to be sent"
            self._discard()  # somewhere inside there is half a message: nothing can follow
            self._allowance = 0
            self._shut(CloseReason.SLOW_READER, None, detail)

    def _put(self, data: bytes) -> None:
        if data:
            self._outgoing.append(data)
            self._waiting += len(data)

    def _discard(self) -> None:
        self._outgoing.clear()
        self._waiting = 0

    def probe(self, now: float) -> None:
        """Find out sooner whether a peer that seems to have lost this channel is still there: TCP tells."""
        if self.state in _JOINED and not self._waiting:
            self.send(KEEPALIVE, now)

    def close(self, reason: CloseReason, code: ErrorCode | None = None, detail: str = "") -> None:
        """End the channel; with a code the peer is told, by PEER_LEAVE or before it has joined by PEER_REJECT."""
        if self.state is not ChannelState.CLOSED:
            self._shut(reason, None if self.state is ChannelState.INIT else code, detail)

    def lost(self, detail: str, now: float) -> None:
        """The TCP connection has ended, or could not be made. Ask for events first: what was not read is lost."""
        if self.state is not ChannelState.CLOSED:
            self._discard()
            self._move(ChannelInput.LOST, now)
            self._end(CloseReason.LOST, None, detail)

    def _shut(self, reason: CloseReason, code: ErrorCode | None, detail: str) -> None:
        if code is not None:
            self._put(encode_leave(code) if self.state in _JOINED else encode_reject(code))
        self._move(ChannelInput.CLOSE, self._entered_at)
        self._end(reason, code, detail)

    def _end(self, reason: CloseReason, code: int | None, detail: str) -> None:
        self._closed = ChannelClosed(reason, code, detail)
        self._input = b""
        self._offset = 0
        self._undecided = False

    def _move(self, happens: ChannelInput, now: float) -> None:
        after = TRANSITIONS[self.state].get(happens)
        if after is None:
            raise ClusterError(f"{happens.value} in state {self.state.name}")
        if after is not self.state:
            self.state = after
            self._entered_at = now

    def data_to_send(self, limit: int | None = None) -> bytes:
        """Return bytes for the peer, at most `limit`: no more than TCP takes now, so that slow readers are noticed."""
        if limit is None or limit >= self._waiting:
            data = b"".join(self._outgoing)
            self._discard()
        else:
            data = b"".join(self._taken(limit))
            self._waiting -= limit
        self._allowance = min(self._allowance, self._waiting)
        return data

    def _taken(self, count: int) -> Iterator[bytes | memoryview]:
        """Take so many of the bytes that wait; there are more."""
        while count >= len(piece := self._outgoing.popleft()):
            count -= len(piece)
            yield piece
        rest = memoryview(piece)
        self._outgoing.appendleft(rest[count:])
        yield rest[:count]

    def waiting(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._waiting

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called; None: not at all."""
        settings = self._settings
        if self.state is ChannelState.INIT:
            return self._entered_at + settings.connect_timeout
        if self.state is ChannelState.CONNECT:
            return self._entered_at + settings.join_timeout
        if self.state is ChannelState.CLOSED:
            return None
        deadline = min(self._sent_at + settings.keepalive_interval, self.heard_at + settings.silence_limit)
        if self.state is ChannelState.SYNCHRONIZE:
            deadline = min(deadline, self._entered_at + settings.sync_timeout)
        return deadline

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self.state is ChannelState.INIT:
            self._shut(CloseReason.CONNECT_TIMEOUT, None, "")
        elif self.state is ChannelState.CONNECT:
            self._shut(CloseReason.JOIN_TIMEOUT, None, "")
        else:
            self._handle_joined(now)

    def _handle_joined(self, now: float) -> None:
        settings = self._settings
        silent_at = self.heard_at + settings.silence_limit
        if now >= silent_at + settings.keepalive_interval:
            self.heard_at = now  # it was us who slept, or the clock leapt: that proves nothing about the peer
        elif now >= silent_at:
            self._shut(CloseReason.SILENT, ErrorCode.SILENT, f"nothing for {now - self.heard_at:.1f} s")
            return
        if self.state is ChannelState.SYNCHRONIZE and now >= self._entered_at + settings.sync_timeout:
            self._shut(CloseReason.SYNC_TIMEOUT, ErrorCode.SYNC_TIMEOUT, "")
        elif now >= self._sent_at + settings.keepalive_interval:
            self._sent_at = now
            if not self._waiting:  # else what waits will be the sign of life
                self._put(KEEPALIVE)


_JOINED = (ChannelState.SYNCHRONIZE, ChannelState.ESTABLISHED)
