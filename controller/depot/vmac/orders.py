"""Orders about buckets of others: the leader's assignments, and moves that somebody wants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from depot.vmac.claims import Claim, ClaimMap, fill, spread
from depot.vmac.events import Cause
from depot.vmac.membership import Membership
from depot.vmac.moves import BucketState, Moves
from depot.vmac.outbox import Outbox
from depot.vmac.settings import GatewaySettings
from depot.vmac.wire import Assign, Handover, Pair

__all__ = ["Orders"]

_OURS = {
    BucketState.TAKING, BucketState.OWN, BucketState.OFFERED, BucketState.YIELDING, BucketState.RELEASED,
}  # fmt: skip
PATIENCE = 30.0
"""Seconds in which a move that was ordered must begin."""


@dataclass(frozen=True, slots=True)
class _Order:
    version: int
    """Of the bucket's claim when it was given."""
    to: str
    until: float


@dataclass(frozen=True, slots=True)
class _Missing:
    """Reports of its owner that do not list a bucket: the first and the last of them."""

    claim: Claim
    first: float
    last: float


class Orders:
    """What one gateway has ordered and has not seen done. Orders are repeated until it is."""

    def __init__(
        self, settings: GatewaySettings, members: Membership, claims: ClaimMap, moves: Moves, outbox: Outbox, now: float
    ) -> None:
        self._name = settings.name
        self._grace = settings.silence_limit
        """Seconds that a bucket may be missing from the reports of its owner before it is nobody's."""
        self._begin_by = now + 2 * settings.silence_limit
        self._members = members
        self._claims = claims
        self._moves = moves
        self._outbox = outbox
        self._wanted: dict[int, _Order] = {}
        self._assigned: dict[int, Claim] = {}
        self._placed: set[tuple[str, int]] = set()
        self._missing: dict[int, _Missing] = {}

    @property
    def is_busy(self) -> bool:
        """Say whether moves are wanted that are not done."""
        return bool(self._wanted)

    def assigned(self) -> Iterable[tuple[int, Claim]]:
        """Return the assignments that nobody has confirmed."""
        return self._assigned.items()

    def want(self, buckets: Iterable[int], to: str, now: float, patience: float = PATIENCE) -> None:
        """Have buckets moved, ours or others'."""
        for bucket in buckets:
            if self._claims.owner(bucket) != to:
                self._wanted[bucket] = _Order(self._claims.version(bucket), to, now + patience)

    def listed(self, owner: str, buckets: frozenset[int], now: float) -> None:
        """Note which buckets a gateway says are its: others that we think so may be nobody's."""
        for bucket, claim in enumerate(self._claims):
            if claim is None or claim.owner != owner:
                continue
            if bucket in buckets:
                self._missing.pop(bucket, None)
                continue
            missing = self._missing.get(bucket)
            first = now if missing is None or missing.claim != claim else missing.first
            self._missing[bucket] = _Missing(claim, first, now)

    def confirmed(self, bucket: int) -> None:
        """The data plane of its owner has a bucket."""
        self._assigned.pop(bucket, None)

    def work(self, now: float) -> None:
        """Assign what is nobody's if we lead, see that newcomers get their share, and repeat what is not done."""
        if self._members.leads():
            self._assign(self._nobodys(now), now)
            self._place(now)
        else:
            self._assigned.clear()
        self._note_placed()
        self._repeat_assignments()
        self._repeat_moves(now)

    def _nobodys(self, now: float) -> list[int]:
        """Return the buckets that nobody has and nobody live cares for."""
        live = {name for name in (self._name, *self._members.names()) if self._members.is_live(name)}
        cared = {bucket for peer in self._members if peer.is_live for bucket in peer.ordered}
        # Whoever still listens at the beginning may be about to lead, or is to have a share.
        has_begun = now >= self._begin_by or not self._members.is_anyone_listening()
        found = []
        for bucket, claim in enumerate(self._claims):
            if claim is None:
                is_lost = has_begun
            elif claim.owner in live:
                is_lost = bucket not in self._assigned and self._is_missing(bucket, claim)
            else:
                is_lost = True
            if is_lost and bucket not in cared and self._moves.state(bucket) not in _OURS:
                found.append(bucket)
        return found

    def _is_missing(self, bucket: int, claim: Claim) -> bool:
        missing = self._missing.get(bucket)
        return missing is not None and missing.claim == claim and missing.last - missing.first >= self._grace

    def _assign(self, buckets: list[int], now: float) -> None:
        counts = dict.fromkeys(self._members.active(), 0)
        for _, claim in self._claims.items():
            if claim.owner in counts:
                counts[claim.owner] += 1
        for bucket, name in spread(buckets, counts).items():
            source, claim = self._claims.owner(bucket) or "", Claim(self._claims.version(bucket) + 1, name)
            self._missing.pop(bucket, None)
            if name == self._name:
                self._moves.take(bucket, claim.version, source, Cause.ASSIGNED, now)
            else:
                self._claims.merge(bucket, claim)
                self._assigned[bucket] = claim

    def _place(self, now: float) -> None:
        """Give newcomers their share, once."""
        owned = {name: self._claims.owned_by(name) for name in self._members.active()}
        newcomers = [name for name, buckets in owned.items() if not buckets and self._life(name) not in self._placed]
        for bucket, name in fill(owned, newcomers).items():
            self.want([bucket], name, now)

    def _note_placed(self) -> None:
        owners = {claim.owner for _, claim in self._claims.items()}
        owners.update(order.to for order in self._wanted.values())
        self._placed = {self._life(name) for name in self._members.active()} & (
            self._placed | {self._life(name) for name in owners}
        )

    def _life(self, name: str) -> tuple[str, int]:
        return name, (0 if name == self._name or name not in self._members else self._members[name].latest)

    def _repeat_assignments(self) -> None:
        groups: defaultdict[str, list[Pair]] = defaultdict(list)
        for bucket, claim in list(self._assigned.items()):
            if self._claims[bucket] != claim:
                del self._assigned[bucket]
            else:
                groups[claim.owner].append((bucket, claim.version))
        for name, pairs in groups.items():
            self._outbox.send(name, Assign(tuple(pairs)))

    def _repeat_moves(self, now: float) -> None:
        groups: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
        for bucket, order in list(self._wanted.items()):
            claim = self._claims[bucket]
            is_done = claim is None or claim.version != order.version
            if claim is None or is_done or now > order.until or not self._members.is_active(order.to):
                del self._wanted[bucket]
            else:
                groups[claim.owner, order.to].append((bucket, order.version))
        for (owner, to), pairs in groups.items():
            if owner == self._name:
                self._moves.offer([bucket for bucket, _ in pairs], to, now)
            elif self._members.is_live(owner):
                self._outbox.send(owner, Handover(to, tuple(pairs)))
