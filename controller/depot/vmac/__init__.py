"""Many gateways behind one address (seed 004, decision 13). `Gateway` is the core of one of them.

A shell moves the bytes, writes the entries and arms one timer:

    gateway = Gateway(settings, random.Random(), time.time_ns(), clock())
    # after this and every other call:
    output = gateway.take_output()
    for peer, data in output.datagrams: ...     # UDP, to the peer's address
    for frame in output.frames: ...             # on the LAN, from the bucket's virtual MAC to the group MAC
    for port, frame in output.answers: ...      # as it is
    if output.holdings: ...                     # write all, then gateway.written(generation, clock())
    call_at(gateway.next_deadline(), gateway.handle_timer)
"""

from depot.vmac.events import (
    BucketsGiven,
    BucketsLost,
    BucketsTaken,
    Cause,
    GatewayDown,
    GatewayUp,
    Holding,
    Holdings,
    IdentityDisputed,
    LanFrame,
    MessageRefused,
    MovesAbandoned,
    Output,
    PhaseChanged,
    VmacEvent,
)
from depot.vmac.gateway import Gateway
from depot.vmac.hashing import MAX_BUCKETS, BucketHash, VirtualMacs
from depot.vmac.settings import Algorithm, GatewaySettings, VmacError
from depot.vmac.status import GatewayView, MoveView, Status
from depot.vmac.wire import ETHERTYPE, Phase, Refusal

__all__ = [
    "ETHERTYPE", "MAX_BUCKETS", "Algorithm", "BucketHash", "BucketsGiven", "BucketsLost", "BucketsTaken", "Cause",
    "Gateway", "GatewayDown", "GatewaySettings", "GatewayUp", "GatewayView", "Holding", "Holdings", "IdentityDisputed",
    "LanFrame", "MessageRefused", "MoveView", "MovesAbandoned", "Output", "Phase", "PhaseChanged", "Refusal", "Status",
    "VirtualMacs", "VmacError", "VmacEvent",
]  # fmt: skip
