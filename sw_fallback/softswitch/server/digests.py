"""Digest lists: samples from the pipeline are gathered, sent once and held back until they are acknowledged.

A core without clock or stream: the caller gives the time in nanoseconds and sends the lists that come out.
Source: P4Runtime specification 1.4, section 9.10 (DigestEntry).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from softswitch.server.status import Code, Refusal

__all__ = ["DEFAULT_LIST_SIZE", "MAX_UNACKNOWLEDGED", "DigestConfig", "DigestLists", "ReadyList", "Sample"]

Sample = tuple[int, ...]
"""One value for each field of the digest's struct, in order."""

DEFAULT_LIST_SIZE = 1024
"""Where a client sets no limit (`max_list_size` 0): some tens of kilobytes for each message."""

MAX_UNACKNOWLEDGED = 1 << 18
"""Samples one digest holds back. A client that never acknowledges must not eat the memory: the oldest list is
forgotten, which at worst announces its samples again."""


@dataclass(frozen=True, slots=True)
class DigestConfig:
    """How a client wants a digest delivered."""

    max_timeout_ns: int
    """Longest wait of a sample for others; zero sends each one at once."""
    max_list_size: int
    """Samples in a list at most; zero leaves it to the server."""
    ack_timeout_ns: int
    """How long a sent sample is not sent again unless acknowledged; zero holds nothing back."""

    def check(self) -> None:
        """Raise `Refusal` INVALID_ARGUMENT for a negative value."""
        for name in ("max_timeout_ns", "max_list_size", "ack_timeout_ns"):
            if getattr(self, name) < 0:
                raise Refusal(Code.INVALID_ARGUMENT, f"digest config: {name} is negative")


@dataclass(frozen=True, slots=True)
class ReadyList:
    """A DigestList to send to the primary."""

    digest_id: int
    list_id: int
    """Unique within the digest; what the acknowledgement names."""
    samples: tuple[Sample, ...]
    """All distinct, oldest first."""


@dataclass(slots=True)
class _Digest:
    config: DigestConfig
    buffer: dict[Sample, None] = field(default_factory=dict)
    """Distinct samples that wait, oldest first."""
    first_ns: int = 0
    """When the oldest of them came."""
    unacknowledged: set[Sample] = field(default_factory=set)
    sent: dict[int, tuple[Sample, ...]] = field(default_factory=dict)
    """Samples by list id, until acknowledged or too old."""
    expiries: deque[tuple[int, int]] = field(default_factory=deque)
    """(time of sending, list id), oldest first; acknowledged lists are skipped when met."""
    last_list_id: int = 0

    @property
    def list_limit(self) -> int:
        if self.config.max_timeout_ns == 0:
            return 1
        return self.config.max_list_size or DEFAULT_LIST_SIZE


class DigestLists:
    """The digests a client has enabled; what is not enabled is not sent."""

    def __init__(self) -> None:
        self._digests: dict[int, _Digest] = {}

    def insert(self, digest_id: int, config: DigestConfig) -> None:
        """Start sending a digest. Raises `Refusal` ALREADY_EXISTS."""
        config.check()
        if digest_id in self._digests:
            raise Refusal(Code.ALREADY_EXISTS, f"digest {digest_id:#x} is enabled already")
        self._digests[digest_id] = _Digest(config)

    def modify(self, digest_id: int, config: DigestConfig) -> None:
        """Change how a digest is sent; what waits stays. Raises `Refusal` NOT_FOUND."""
        config.check()
        self._enabled(digest_id).config = config

    def delete(self, digest_id: int) -> None:
        """Stop sending a digest; what waits is dropped. Raises `Refusal` NOT_FOUND."""
        self._enabled(digest_id)
        del self._digests[digest_id]

    def configs(self) -> dict[int, DigestConfig]:
        """The enabled digests."""
        return {digest_id: digest.config for digest_id, digest in self._digests.items()}

    def learn(self, digest_id: int, sample: Sample, now_ns: int) -> ReadyList | None:
        """Take one sample from the pipeline; the list it completed, if it did."""
        digest = self._digests.get(digest_id)
        if digest is None or sample in digest.unacknowledged or sample in digest.buffer:
            return None
        if not digest.buffer:
            digest.first_ns = now_ns
        digest.buffer[sample] = None
        return self._flush(digest_id, digest, now_ns) if len(digest.buffer) >= digest.list_limit else None

    def acknowledge(self, digest_id: int, list_id: int) -> None:
        """Take a DigestListAck; one that comes late or twice says nothing new."""
        digest = self._digests.get(digest_id)
        if digest is not None:
            self._forget(digest, list_id)

    def forget_clients(self) -> None:
        """Drop what waits and what is unacknowledged: the primary changed, and the next one knows nothing of it."""
        for digest in self._digests.values():
            digest.buffer.clear()
            digest.unacknowledged.clear()
            digest.sent.clear()
            digest.expiries.clear()

    def next_deadline(self) -> int | None:
        """When `handle_timer` has something to do, in nanoseconds; None while nothing waits."""
        deadlines = [
            digest.first_ns + digest.config.max_timeout_ns for digest in self._digests.values() if digest.buffer
        ]
        deadlines += [
            digest.expiries[0][0] + digest.config.ack_timeout_ns for digest in self._digests.values() if digest.expiries
        ]
        return min(deadlines, default=None)

    def handle_timer(self, now_ns: int) -> list[ReadyList]:
        """Send what waited long enough, stop holding back what was not acknowledged in time."""
        ready = []
        for digest_id, digest in self._digests.items():
            while digest.expiries and now_ns - digest.expiries[0][0] >= digest.config.ack_timeout_ns:
                self._forget(digest, digest.expiries.popleft()[1])
            if digest.buffer and now_ns - digest.first_ns >= digest.config.max_timeout_ns:
                ready.append(self._flush(digest_id, digest, now_ns))
        return ready

    def _enabled(self, digest_id: int) -> _Digest:
        digest = self._digests.get(digest_id)
        if digest is None:
            raise Refusal(Code.NOT_FOUND, f"digest {digest_id:#x} is not enabled: INSERT its DigestEntry first")
        return digest

    def _flush(self, digest_id: int, digest: _Digest, now_ns: int) -> ReadyList:
        digest.last_list_id += 1
        samples = tuple(digest.buffer)
        digest.buffer.clear()
        if digest.config.ack_timeout_ns > 0:
            digest.sent[digest.last_list_id] = samples
            digest.unacknowledged.update(samples)
            digest.expiries.append((now_ns, digest.last_list_id))
            while len(digest.unacknowledged) > MAX_UNACKNOWLEDGED:
                self._forget(digest, digest.expiries.popleft()[1])
        return ReadyList(digest_id, digest.last_list_id, samples)

    @staticmethod
    def _forget(digest: _Digest, list_id: int) -> None:
        digest.unacknowledged.difference_update(digest.sent.pop(list_id, ()))
        while digest.expiries and digest.expiries[0][1] not in digest.sent:
            digest.expiries.popleft()
