"""One peer as a member's core keeps it, and as people see it."""

from __future__ import annotations

from dataclasses import dataclass

from depot.cluster.channel import Channel, ChannelClosed
from depot.cluster.settings import PeerSettings
from depot.cluster.states import ChannelState

__all__ = ["Line", "Peer", "PeerView"]


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer as people see it."""

    identity: str
    """Its name."""
    state: ChannelState
    """Of the channel that counts, or of the attempt to make one; CLOSED: neither."""
    is_up: bool
    """Whether its connections are known; they still are for a while after the channel has broken."""
    since: float
    """When `is_up` changed last."""
    connections: int
    """How many of its connections are known."""
    opened_by_us: bool
    """Whether we called."""
    waiting: int
    """Bytes that wait to be sent to it."""
    failures: int
    """Failed attempts in a row."""
    next_attempt_at: float | None
    """When it is called next; None: there is no need, or it has been abandoned."""
    last_close: ChannelClosed | None
    """How the last channel or attempt ended; None: none has."""


class Line:
    """A channel, and whose it is."""

    __slots__ = ("certified", "channel", "identity", "number")

    def __init__(self, number: int, channel: Channel, identity: str | None, certified: str | None) -> None:
        self.number = number
        self.channel = channel
        self.identity = identity  # None: a caller that has not joined
        self.certified = certified


class Peer:
    """One peer.

    `counted`: the channel that counts, past its PEER_JOINs; `dialled`: our own attempt to make one. `is_settled`: its
    whole table is known, or it could not be reached. `lost`: how the last channel that counted ended; `retained_until`:
    how long what was said on it stays.
    """

    __slots__ = (
        "counted", "dialled", "failures", "is_settled", "is_up", "last_close", "lost", "next_dial_at",
        "retained_until", "settings", "since",
    )  # fmt: skip

    def __init__(self, settings: PeerSettings, now: float) -> None:
        self.settings = settings
        self.counted: Line | None = None
        self.dialled: Line | None = None
        self.failures = 0
        self.next_dial_at: float | None = now
        self.retained_until: float | None = None
        self.is_settled = False
        self.is_up = False
        self.since = now
        self.last_close: ChannelClosed | None = None
        self.lost: ChannelClosed | None = None

    def view(self, connections: int) -> PeerView:
        """Return the peer as people see it."""
        line = self.counted or self.dialled
        return PeerView(
            self.settings.identity,
            ChannelState.CLOSED if line is None else line.channel.state,
            self.is_up,
            self.since,
            connections,
            line is not None and line.channel.is_opener,
            0 if line is None else line.channel.waiting(),
            self.failures,
            self.next_dial_at,
            self.last_close,
        )
