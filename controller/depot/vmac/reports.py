"""What a report says about buckets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from depot.vmac.claims import Claim, ClaimMap
from depot.vmac.moves import BucketState, Moves
from depot.vmac.wire import (
    Acknowledge,
    Asked,
    Assign,
    ClaimRun,
    Handover,
    Learn,
    Message,
    Offer,
    Release,
    Standing,
    Taken,
    Withdraw,
    runs_of,
)

__all__ = ["buckets_in", "claims_to_report"]


def claims_to_report(
    claims: ClaimMap, moves: Moves, assigned: Mapping[int, Claim], corrections: Collection[int], knows_nothing: bool
) -> tuple[ClaimRun, ...]:
    """Return our claims and orders, and what others have wrong (`corrections`); all if somebody knows nothing."""
    found = []
    for bucket, claim in claims.items():
        if moves.is_held(bucket):
            found.append((bucket, claim, Standing.HELD))
        elif moves.state(bucket) in (BucketState.TAKING, BucketState.RELEASED) or bucket in assigned:
            found.append((bucket, claim, Standing.ORDERED))
        elif knows_nothing or bucket in corrections:
            found.append((bucket, claim, Standing.KNOWN))
    return runs_of(found)


def buckets_in(message: Message) -> Iterable[int]:
    """Return the buckets of which a message speaks. Not of a report: it says itself how many there are."""
    match message:
        case Offer(_, pairs) | Release(pairs) | Taken(pairs) | Assign(pairs) | Handover(_, pairs):
            return [bucket for bucket, _ in pairs]
        case Withdraw(_, buckets):
            return buckets
        case Asked(bucket, _) | Acknowledge(_, bucket, _) | Learn(bucket):
            return [bucket]
        case _:
            return []
