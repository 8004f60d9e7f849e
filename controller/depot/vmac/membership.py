"""Which gateways live: who is heard, in which life, and who leads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from depot.vmac.wire import Envelope, Phase, Refusal, Report

__all__ = ["Membership", "Peer"]

_WINDOW = 1 << 13
"""Sequence numbers that are told apart behind the highest: a gateway's whole map acknowledged at once, and more."""


class Peer:
    """One peer in its latest life.

    `incarnation`: None: not heard, or dead; `latest`: that of the last life heard; `ended`: it is over by its own word.
    `report`: its latest, with `report_sequence`. `ordered`: buckets that it cares for, see `Standing.ORDERED`.
    """

    __slots__ = (
        "_highest", "_seen", "ended", "heard_at", "incarnation", "latest", "name", "ordered", "report",
        "report_sequence",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard_at = 0.0
        self.latest = -1
        self.ended = False
        self._highest = 0
        self._seen = 0
        self.forget()

    def forget(self) -> None:
        """It is dead: what it said in that life counts no more."""
        self.incarnation: int | None = None
        self.report: Report | None = None
        self.report_sequence = 0
        self.ordered: frozenset[int] = frozenset()

    def begin(self, incarnation: int) -> None:
        """It lives, again or still."""
        if incarnation != self.latest:
            self._highest = self._seen = 0
        self.incarnation = self.latest = incarnation
        self.ended = False

    @property
    def is_live(self) -> bool:
        return self.incarnation is not None

    @property
    def phase(self) -> Phase | None:
        """Return what it is about; None: dead, or it has not said."""
        return None if self.report is None else self.report.phase

    def is_fresh(self, sequence: int) -> bool:
        """Note the number of a message; return whether it is the first with it."""
        if sequence > self._highest:
            self._seen = (self._seen << min(sequence - self._highest, _WINDOW)) & ((1 << _WINDOW) - 1) | 1
            self._highest = sequence
            return True
        age = self._highest - sequence
        if age >= _WINDOW or self._seen >> age & 1:
            return False
        self._seen |= 1 << age
        return True


class Membership:
    """All peers of a gateway."""

    def __init__(self, name: str, peers: Iterable[str], silence_limit: float) -> None:
        self._name = name
        self._silence_limit = silence_limit
        self.phase = Phase.LISTENING
        self._peers = {peer: Peer(peer) for peer in peers}

    def __getitem__(self, name: str) -> Peer:
        return self._peers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._peers

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def names(self) -> Iterable[str]:
        """Return the names of all peers."""
        return self._peers

    def set_names(self, names: Iterable[str]) -> list[str]:
        """Have these peers and no others; return those removed that were live."""
        wanted = set(names)
        removed = [peer.name for peer in self if peer.is_live and peer.name not in wanted]
        self._peers = {name: self._peers.get(name) or Peer(name) for name in sorted(wanted)}
        return removed

    def admit(self, envelope: Envelope, now: float) -> Refusal | None:
        """Note that a message has come from a peer; return why it is not to be listened to.

        Another life is believed in only when the one before has ended, or been silent for so long that it is dead:
        else there are two gateways of one name. It has a higher incarnation, and what it says is said to us: frames on
        the LAN can be recorded and sent again to whoever has not heard them.
        """
        peer = self._peers.get(envelope.sender)
        if peer is None:
            return Refusal.FOREIGN
        incarnation = envelope.incarnation
        if peer.incarnation is None:
            if not envelope.recipient or (incarnation == peer.latest and peer.ended):
                return Refusal.REPEATED
            if incarnation < peer.latest:
                return Refusal.PAST
            if incarnation == peer.latest and not peer.is_fresh(envelope.sequence):
                return Refusal.REPEATED
            peer.begin(incarnation)
            peer.is_fresh(envelope.sequence)
        elif peer.incarnation != incarnation:
            return Refusal.DUPLICATE if incarnation > peer.incarnation else Refusal.REPEATED
        elif not peer.is_fresh(envelope.sequence):
            return Refusal.REPEATED
        peer.heard_at = now
        return None

    def silent(self, now: float) -> list[Peer]:
        """Return the peers that live as far as is known, and have been silent for too long."""
        return [peer for peer in self if peer.is_live and now >= peer.heard_at + self._silence_limit]

    def is_live(self, name: str | None) -> bool:
        """Say whether a gateway lives, we too."""
        return name == self._name or (name in self._peers and self._peers[name].is_live)

    def is_active(self, name: str) -> bool:
        """Say whether a gateway may be given buckets."""
        phase = self.phase if name == self._name else name in self._peers and self._peers[name].phase
        return phase is Phase.ACTIVE

    def active(self) -> list[str]:
        """Return the names of all that may be given buckets, in order: the seed's ring."""
        return sorted(name for name in (self._name, *self._peers) if self.is_active(name))

    def leads(self) -> bool:
        """Say whether we are the leader: the lowest name that is active."""
        return self.phase is Phase.ACTIVE and min(self.active()) == self._name

    def is_anyone_listening(self) -> bool:
        """Say whether a peer lives that may soon be active, and the leader."""
        return any(peer.is_live and peer.phase in (Phase.LISTENING, None) for peer in self)
