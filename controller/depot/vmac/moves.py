"""What a gateway does with each bucket: the steps of a move, both sides (decision 13).

A record per bucket says where we are. The table of what the data plane is to hold follows from the records.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from depot.vmac.claims import Claim, ClaimMap
from depot.vmac.events import (
    BucketsGiven,
    BucketsLost,
    BucketsTaken,
    Cause,
    Holding,
    Holdings,
    MovesAbandoned,
)
from depot.vmac.learning import Learning
from depot.vmac.outbox import Outbox
from depot.vmac.settings import Draws, GatewaySettings
from depot.vmac.wire import Acknowledge, Assign, Offer, Pair, Release, Taken, Withdraw

__all__ = ["BucketState", "Moves", "Record"]

MAX_UNDER_WAY = 64
"""Buckets that a gateway gives away at once: each is a frame on the LAN."""
SETTLING = 0.5
"""Seconds that a bucket stays where it came to: an ask that is still on its way belongs to the move before."""
_FRAME_TICKS = 3
"""Ticks until an acknowledgement that has had no effect is repeated."""
_OFFER_REPEATS = 32
"""Times that an offer is repeated before it is withdrawn: four report intervals."""


class BucketState(Enum):
    """Where a bucket is between two gateways."""

    TAKING = "taking"
    """Ours; the data plane is being told to own it."""
    OWN = "own"
    """Ours."""
    OFFERED = "offered"
    """Ours, step 1: an offer stands."""
    YIELDING = "yielding"
    """Step 3: acknowledged; the data plane is being told to watch."""
    RELEASED = "released"
    """Step 3: it is the other's, until it says so the data plane watches."""
    LINGERING = "lingering"
    """Step 4 is done: the data plane watches for a little while, until all switches have learnt where it is now."""
    PREPARING = "preparing"
    """Step 2: another's; the data plane is being told to watch."""
    WATCHING = "watching"
    """Step 2: acknowledged on the LAN."""


_OWNED = {BucketState.TAKING, BucketState.OWN, BucketState.OFFERED, BucketState.YIELDING}
_WATCHED = {
    BucketState.YIELDING, BucketState.RELEASED, BucketState.LINGERING, BucketState.PREPARING, BucketState.WATCHING,
}  # fmt: skip
_GIVEN = {BucketState.YIELDING, BucketState.RELEASED, BucketState.LINGERING}
_GIVING = {BucketState.OFFERED, BucketState.YIELDING, BucketState.RELEASED}
_GETTING = {BucketState.PREPARING, BucketState.WATCHING}


@dataclass(slots=True)
class Record:
    """One bucket. `version`: OWN, TAKING: of our claim; else the one that the other's claim has when it is done."""

    state: BucketState
    version: int
    since: float
    """TAKING, OWN: when we took it; getting: when the other was last heard about it."""
    peer: str = ""
    """The other gateway: whom it goes to or comes from; TAKING: whom it came from, empty: nobody."""
    token: int = 0
    """Of the offer."""
    generation: int = 0
    """The entries that the data plane must have for the next step."""
    repeats: int = 0
    """How often the message of this state was sent."""
    cause: Cause = Cause.MOVED
    """TAKING: why."""


class Moves:
    """All buckets of one gateway."""

    def __init__(
        self, settings: GatewaySettings, claims: ClaimMap, outbox: Outbox, learning: Learning, draws: Draws
    ) -> None:
        self._name = settings.name
        self._silence_limit = settings.silence_limit
        self._claims = claims
        self._outbox = outbox
        self._learning = learning
        self._draws = draws
        self.records: dict[int, Record] = {}
        self.changed_at = float("-inf")
        """When a bucket was last offered, taken or given."""
        self._generation = 1
        self._is_told = False

    # What others ask.

    def owned(self) -> list[int]:
        """Return the buckets that are ours, in order."""
        return sorted(bucket for bucket, record in self.records.items() if record.state in _OWNED)

    def state(self, bucket: int) -> BucketState | None:
        """Return where a bucket is; None: it is none of our business."""
        record = self.records.get(bucket)
        return None if record is None else record.state

    def is_held(self, bucket: int) -> bool:
        """Say whether our data plane has answered for a bucket and may do so still."""
        return self.state(bucket) in _OWNED - {BucketState.TAKING}

    def is_owned(self, bucket: int) -> bool:
        """Say whether a bucket is ours."""
        return self.state(bucket) in _OWNED

    def is_under_way(self) -> bool:
        """Say whether anything waits for another gateway or the data plane."""
        return any(record.state is not BucketState.OWN for record in self.records.values())

    def given_to(self, bucket: int) -> str | None:
        """Return who is to be told of an ask that we were handed: the new owner. None: we are not the old one."""
        record = self.records.get(bucket)
        return record.peer if record is not None and record.state in _GIVEN else None

    # Orders of our own gateway.

    def take(self, bucket: int, version: int, source: str, cause: Cause, now: float) -> None:
        """Have a bucket: claim it, tell the data plane to own it."""
        self._claims.merge(bucket, Claim(version, self._name))
        self._put(bucket, Record(BucketState.TAKING, version, now, source, cause=cause))

    def offer(self, buckets: Iterable[int], to: str, now: float) -> list[int]:
        """Begin to move what can be moved now, and return it: ours, settled, and not too many at once."""
        room = MAX_UNDER_WAY - sum(record.state in _GIVING for record in self.records.values())
        ready = [bucket for bucket in buckets if self._is_settled(bucket, now)][: max(0, room)]
        token = self._draws.getrandbits(64)
        for bucket in ready:
            record = self.records[bucket]
            record.state, record.peer, record.token, record.repeats = BucketState.OFFERED, to, token, 1
            record.version += 1
        if ready:
            self.changed_at = now
            self._outbox.send(to, Offer(token, tuple((bucket, self.records[bucket].version) for bucket in ready)))
        return ready

    def drop_all(self) -> None:
        """Have nothing any more."""
        for bucket in list(self.records):
            self._drop(bucket)

    # Messages.

    def offered(self, sender: str, offer: Offer, now: float) -> None:
        """Step 2: prepare for what is offered; what we know to be of the past is not."""
        for bucket, version in offer.pairs:
            record = self.records.get(bucket)
            if version <= self._claims.version(bucket) or (record is not None and record.state not in _GETTING):
                continue
            if record is not None and (record.peer, record.token) == (sender, offer.token):
                record.since = now
            else:
                self._put(bucket, Record(BucketState.PREPARING, version, now, sender, offer.token))

    def withdrawn(self, sender: str, message: Withdraw) -> None:
        """The old owner keeps it."""
        for bucket in message.buckets:
            record = self.records.get(bucket)
            if record and record.state in _GETTING and (record.peer, record.token) == (sender, message.token):
                self._drop(bucket)

    def acknowledged(self, sender: str, message: Acknowledge) -> bool:
        """Step 3: the new owner is ready; return whether the acknowledgement is of an offer that stands."""
        record = self.records.get(message.bucket)
        told = (sender, message.token, message.version)
        if record is None or record.state not in _GIVING or (record.peer, record.token, record.version) != told:
            return False
        if record.state is BucketState.OFFERED:
            record.state = BucketState.YIELDING
            self._await_data_plane(record)
            self._learning.stop(message.bucket)
        return True

    def released(self, sender: str, message: Release, now: float) -> None:
        """Step 4: they are ours, offered or forgotten."""
        done = []
        for bucket, version in message.pairs:
            claim, record = Claim(version, self._name), self.records.get(bucket)
            is_ours = record is not None and record.state in _OWNED and record.version >= version
            if is_ours and self.state(bucket) is BucketState.TAKING:
                continue  # TAKEN follows when the data plane has it
            known = self._claims[bucket]
            if is_ours or (known is not None and known != claim and not claim.outranks(known)):
                done.append((bucket, version))
            else:
                self.take(bucket, version, sender, Cause.MOVED, now)
        if done:
            self._outbox.send(sender, Taken(tuple(done)))

    def taken(self, sender: str, pairs: Iterable[Pair], now: float) -> None:
        """The new owner has them: our part is done."""
        given = []
        for bucket, version in pairs:
            record = self.records.get(bucket)
            if record is None or record.state is not BucketState.RELEASED:
                continue
            if record.peer == sender and version >= record.version:
                record.state, record.since = BucketState.LINGERING, now
                given.append(bucket)
        if given:
            self.changed_at = now
            self._outbox.tell(BucketsGiven(tuple(sorted(given)), sender))

    def assigned(self, sender: str, message: Assign, now: float) -> None:
        """The leader says that these are nobody's."""
        for bucket, version in message.pairs:
            claim, known = Claim(version, self._name), self._claims[bucket]
            is_ours = self.is_owned(bucket)
            if claim.outranks(known) or (claim == known and not is_ours):
                source = "" if known is None or known.owner == self._name else known.owner
                self.take(bucket, version, source, Cause.ASSIGNED, now)

    def outranked(self, bucket: int, claim: Claim) -> bool:
        """A better claim than all known has been heard; return whether we had the bucket."""
        record = self.records.get(bucket)
        if record is None or (record.state in _GETTING and claim.version < record.version):
            return False
        if record.state is BucketState.RELEASED and claim.version <= record.version:
            return False
        was_owned = record.state in _OWNED
        self._drop(bucket)
        if was_owned:
            self._outbox.tell(BucketsLost((bucket,), claim.owner))
        return was_owned

    def outbid(self, bucket: int, version: int) -> None:
        """Somebody holds that our claim has this version, higher than we say: ours gets a higher one still."""
        record = self.records[bucket]
        if record.state in (BucketState.OWN, BucketState.TAKING):
            record.version = version + 1
            self._claims.merge(bucket, Claim(version + 1, self._name))

    def peer_gone(self, name: str, now: float, *, is_dead: bool = True) -> None:
        """Settle all moves with a gateway that lives no more, or (`is_dead` False) that wants no more buckets."""
        kept = []
        for bucket, record in list(self.records.items()):
            if record.peer != name:
                continue
            if record.state is BucketState.OFFERED:
                self._keep(bucket, record, now)
                kept.append(bucket)
            elif is_dead and record.state in (BucketState.YIELDING, BucketState.RELEASED):
                self.take(bucket, record.version + 1, name, Cause.TAKEN_BACK, now)
            elif is_dead and record.state in _GETTING:
                self._drop(bucket)
        if kept:
            self._outbox.tell(MovesAbandoned(tuple(sorted(kept)), name))

    # The data plane and time.

    def written(self, generation: int, now: float) -> None:
        """Go on where the data plane was waited for."""
        messages: defaultdict[tuple[str, type[Release | Taken]], list[Pair]] = defaultdict(list)
        taken: defaultdict[tuple[str, Cause], list[int]] = defaultdict(list)
        for bucket, record in self.records.items():
            if record.generation > generation:
                continue
            if record.state is BucketState.PREPARING:
                record.state = BucketState.WATCHING
                self._outbox.send_frame(Acknowledge(record.token, bucket, record.version))
            elif record.state is BucketState.YIELDING:
                record.state, record.repeats = BucketState.RELEASED, 1
                self._claims.merge(bucket, Claim(record.version, record.peer))
                messages[record.peer, Release].append((bucket, record.version))
            elif record.state is BucketState.TAKING:
                taken[record.peer, record.cause].append(bucket)
                if record.cause is Cause.MOVED:
                    messages[record.peer, Taken].append((bucket, record.version))
                record.state, record.since, record.peer = BucketState.OWN, now, ""
                self._learning.start(bucket, now)
                if record.cause is not Cause.MOVED:
                    self._outbox.announce(bucket)
        for (peer, message), pairs in messages.items():
            self._outbox.send(peer, message(tuple(sorted(pairs))))
        for (peer, cause), buckets in taken.items():
            self.changed_at = now
            self._outbox.tell(BucketsTaken(tuple(sorted(buckets)), peer or None, cause))

    def repeat(self, now: float) -> None:
        """Say again what has not been answered, and give up what nobody answers."""
        groups: defaultdict[tuple[str, BucketState, int], list[Pair]] = defaultdict(list)
        for bucket, record in list(self.records.items()):
            limits = {BucketState.LINGERING: SETTLING} | dict.fromkeys(_GETTING, self._silence_limit)
            if now >= record.since + limits.get(record.state, math.inf):
                self._drop(bucket)
            elif record.state is BucketState.WATCHING:
                record.repeats += 1
                if record.repeats % _FRAME_TICKS == 0:  # one frame for each bucket in each LAN, heard by all gateways
                    self._outbox.send_frame(Acknowledge(record.token, bucket, record.version))
            elif record.state in (BucketState.OFFERED, BucketState.RELEASED):
                groups[record.peer, record.state, record.token].append((bucket, record.version))
                record.repeats += 1
        for (peer, state, token), pairs in groups.items():
            repeats = self.records[pairs[0][0]].repeats
            if state is BucketState.RELEASED:
                self._outbox.send(peer, Release(tuple(pairs)))
            elif repeats <= _OFFER_REPEATS:
                self._outbox.send(peer, Offer(token, tuple(pairs)))
            else:
                self._withdraw(peer, token, [bucket for bucket, _ in pairs], now)

    def take_holdings(self) -> Holdings | None:
        """Return all entries of the data plane if they are not as before."""
        if self._is_told:
            return None
        self._is_told = True
        entries = {
            bucket: Holding.WATCH if record.state in _WATCHED else Holding.OWN
            for bucket, record in self.records.items()
        }
        return Holdings(self._generation, entries)

    def _withdraw(self, peer: str, token: int, buckets: list[int], now: float) -> None:
        self._outbox.send(peer, Withdraw(token, tuple(buckets)))
        for bucket in buckets:
            self._keep(bucket, self.records[bucket], now)
        self._outbox.tell(MovesAbandoned(tuple(sorted(buckets)), peer))

    def _keep(self, bucket: int, record: Record, now: float) -> None:
        """An offer stands no more; switches may have learnt the way to whom it was made."""
        record.state, record.peer, record.token = BucketState.OWN, "", 0
        record.version -= 1
        self._learning.start(bucket, now)

    def _is_settled(self, bucket: int, now: float) -> bool:
        record = self.records.get(bucket)
        return record is not None and record.state is BucketState.OWN and now >= record.since + SETTLING

    def _put(self, bucket: int, record: Record) -> None:
        self._learning.stop(bucket)
        self.records[bucket] = record
        self._await_data_plane(record)

    def _drop(self, bucket: int) -> None:
        del self.records[bucket]
        self._learning.stop(bucket)
        self._change()

    def _await_data_plane(self, record: Record) -> None:
        self._change()
        record.generation = self._generation

    def _change(self) -> None:
        if self._is_told:
            self._is_told = False
            self._generation += 1
