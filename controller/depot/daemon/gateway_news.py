"""What a gateway's core tells, in words for people."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from depot.vmac.events import (
    BucketsGiven,
    BucketsLost,
    BucketsTaken,
    Cause,
    GatewayDown,
    GatewayUp,
    IdentityDisputed,
    MessageRefused,
    MovesAbandoned,
    PhaseChanged,
    VmacEvent,
)

__all__ = ["describe"]


def describe(event: VmacEvent) -> tuple[str, str, int]:
    """Return kind, text and logging level."""
    match event:
        case BucketsTaken(buckets, source, Cause.MOVED):
            return "buckets-taken", f"{_buckets(buckets)} from {source}", logging.INFO
        case BucketsTaken(buckets, source, cause):
            whose = f" of {source}" if source else ""
            return "buckets-taken", f"{_buckets(buckets)}{whose} {cause.value}", logging.INFO
        case BucketsGiven(buckets, to):
            return "buckets-given", f"{_buckets(buckets)} given to {to}", logging.INFO
        case BucketsLost(buckets, to):
            return "buckets-lost", f"{_buckets(buckets)} are {to}'s by a better claim", logging.WARNING
        case MovesAbandoned(buckets, to):
            return "move-abandoned", f"{_buckets(buckets)} stay: {to} does not take them", logging.WARNING
        case GatewayUp(name):
            return "gateway-up", f"gateway {name} is heard", logging.INFO
        case GatewayDown(name, reason):
            return "gateway-down", f"gateway {name} is gone: {reason}", logging.WARNING
        case PhaseChanged(phase):
            return "gateway-phase", f"we are {phase.name.lower()}", logging.INFO
        case IdentityDisputed(name):
            text = f"another gateway calls itself {name}: this one serves nothing until it is alone with its name"
            return "gateway-disputed", text, logging.WARNING
        case MessageRefused(refusal, sender, detail):
            who = f"from {sender}" if sender else "from somebody"
            return "gateway-stranger", f"a message {who} is refused, {refusal.value}: {detail}", logging.WARNING


def _buckets(buckets: Sequence[int]) -> str:
    """One bucket by its number, several by how many and which."""
    if len(buckets) == 1:
        return f"bucket {buckets[0]}"
    shown = ", ".join(map(str, buckets[:8])) + (", …" if len(buckets) > 8 else "")
    return f"{len(buckets)} buckets ({shown})"
