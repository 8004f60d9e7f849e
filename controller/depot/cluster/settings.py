"""What an operator may set for each peer, and the list of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from depot.cluster.errors import ClusterError
from depot.cluster.wire import encode_join

__all__ = ["PeerSettings", "membership"]


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How to get on with one peer (seed 000, 2.3 and 2.4)."""

    identity: str
    """The peer's name on the membership list, 1..255 visible ASCII letters."""
    keepalive_interval: float = 1.0
    """Seconds without a message to the peer before PEER_KEEPALIVE is sent; > 0."""
    silence_intervals: int = 3
    """Intervals without a byte from the peer before it is gone; >= 1."""
    connect_timeout: float = 3.0
    """Seconds that TCP may take to connect; > 0."""
    join_timeout: float = 5.0
    """Seconds from there to the peer's PEER_JOIN; > 0."""
    sync_timeout: float = 30.0
    """Seconds from there to the end of the peer's table; > 0."""
    connect_attempts: int | None = None
    """Failed attempts in a row before the peer is abandoned, >= 1; it may still call. None: never."""
    first_backoff: float = 0.25
    """Seconds after the first failed attempt, doubled with each; half to all of that is waited. > 0."""
    longest_backoff: float = 8.0
    """Upper limit of that, seconds; >= first_backoff."""
    max_outgoing: int = 4 << 20
    """Bytes that may wait for a peer that does not read, beside its first table: half a minute of the seed's heaviest
    traffic to one peer, 8000 messages of 16 bytes a second. Beyond, it is dearer to go on than to begin anew."""

    def __post_init__(self) -> None:
        positive = (
            self.keepalive_interval, self.connect_timeout, self.join_timeout, self.sync_timeout, self.first_backoff,
        )  # fmt: skip
        if min(positive) <= 0 or self.silence_intervals < 1 or self.max_outgoing < 1:
            raise ClusterError(f"peer {self.identity}: times and limits must be above 0")
        if self.longest_backoff < self.first_backoff:
            raise ClusterError(f"peer {self.identity}: longest_backoff is below first_backoff")
        if self.connect_attempts is not None and self.connect_attempts < 1:
            raise ClusterError(f"peer {self.identity}: connect_attempts must be 1 or more, or None")

    @property
    def silence_limit(self) -> float:
        """Seconds without a byte from the peer before it is gone."""
        return self.keepalive_interval * self.silence_intervals

    def backoff(self, failures: int, jitter: float) -> float:
        """Return how long to wait after so many failed attempts; `jitter` in 0..1 is drawn at random."""
        longest = min(self.longest_backoff, self.first_backoff * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + 0.5 * jitter)


def membership(identity: str, peers: Iterable[PeerSettings]) -> dict[str, PeerSettings]:
    """Return a member's peers by name.

    Raises ClusterError if a name, its own too, is not 1..255 visible ASCII letters, or comes twice.
    """
    encode_join(identity)
    found: dict[str, PeerSettings] = {}
    for settings in peers:
        encode_join(settings.identity)
        if settings.identity in found or settings.identity == identity:
            raise ClusterError(f"{settings.identity} is on the membership list of {identity} twice")
        found[settings.identity] = settings
    return found
