"""What a member's core tells: orders for the shell that moves its bytes, and news for whoever forwards packets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from depot.cluster.errors import describe_code
from depot.cluster.states import CloseReason

__all__ = [
    "CloseChannel",
    "ClusterEvent",
    "ConnectionsForgotten",
    "ConnectionsLearnt",
    "OpenChannel",
    "PeerDown",
    "PeerLost",
    "PeerUp",
    "StrangerTurnedAway",
    "SyncChanged",
]


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """Order: connect to a peer; then `Mesh.connected`, or `Mesh.disconnected` if it fails."""

    channel: int
    """The number of the channel to be."""
    identity: str
    """The peer, whose addresses the shell knows."""


@dataclass(frozen=True, slots=True)
class CloseChannel:
    """Order: send what `Mesh.data_to_send` still has, if the peer takes it soon, close, and say `Mesh.disconnected`."""

    channel: int
    """Which."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """All connections of a peer are known."""

    identity: str
    """The peer."""


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The channel to a peer that was up has broken; what is known of it stays until it is back, or down."""

    identity: str
    """The peer."""
    reason: CloseReason
    """Why the channel ended."""
    code: int | None
    """The code that was sent or received, see `depot.cluster.errors.ErrorCode`."""
    detail: str
    """For people; may be empty."""


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer that was up has left or is gone; its connections have been forgotten."""

    identity: str
    """The peer."""
    reason: CloseReason
    """Why its last channel ended."""
    code: int | None
    """The code that was sent or received, see `depot.cluster.errors.ErrorCode`."""
    detail: str
    """For people; may be empty."""


@dataclass(frozen=True, slots=True)
class ConnectionsLearnt:
    """A peer announced connections. `ConnectionDatabase.find` says whose they are now."""

    identity: str
    """The peer."""
    keys: Collection[bytes]
    """Compact keys (`depot.cluster.wire.flow_of`); one may come twice."""


@dataclass(frozen=True, slots=True)
class ConnectionsForgotten:
    """A peer has connections no more. Another peer may claim them still: ask `ConnectionDatabase.find`."""

    identity: str
    """The peer."""
    keys: Collection[bytes]
    """Compact keys."""


@dataclass(frozen=True, slots=True)
class SyncChanged:
    """Whether we know all connections of all peers that can be reached."""

    in_sync: bool
    """As `Mesh.in_sync`."""


@dataclass(frozen=True, slots=True)
class StrangerTurnedAway:
    """Someone called who does not belong here, or spoke another language."""

    channel: int
    """Which channel; the shell knows the address."""
    reason: CloseReason
    """Why."""
    code: int | None
    """What it was told."""
    detail: str
    """For people."""

    def __str__(self) -> str:
        told = "" if self.code is None else f", told {describe_code(self.code)}"
        return f"{self.reason.value}{told}{': ' if self.detail else ''}{self.detail}"


ClusterEvent = (
    OpenChannel
    | CloseChannel
    | PeerUp
    | PeerLost
    | PeerDown
    | ConnectionsLearnt
    | ConnectionsForgotten
    | SyncChanged
    | StrangerTurnedAway
)
"""All that a member's core tells."""
