"""Packets that wait for word of whose flow they are of (seed 000, 3), and flows that wait for their entry. Sans-IO.

                  hold                relay               quiet, or long enough
    (nothing) ------------> held ---------------> relayed ----------------------> due: the entry is to be written
                             |
                             | each packet's hold time is over
                             v
                          expired

Held packets leave in the order in which they came. A flow that is relayed gets its entry only when no packet has come
for a while, so that none of those in the switch overtakes one that is still here; TCP's SYN and SYN-ACK are alone by
nature. What is above a cap is dropped and counted. Times are seconds of any steady clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from depot.address import Endpoint, FlowKey
from depot.config.cluster_model import ClusterConfig
from depot.p4runtime.packets import PacketIn, PacketOut, Submission

__all__ = ["Expired", "Holding", "HoldingCounts", "HoldingLimits", "Target"]

QUIET_TIME = 0.02
"""Seconds without a packet after which the entry of a relayed flow overtakes nothing."""
LONGEST_RELAY = 1.0
"""Seconds after which a flow gets its entry however busy it is."""


@dataclass(frozen=True, slots=True)
class HoldingLimits:
    """How long and how much may be held."""

    hold_time: float = 0.2
    """Seconds, from each packet's arrival."""
    total_bytes: int = 2_000_000
    """Bytes in all: 160 Mbit/s for 100 ms (seed 000, 3)."""
    total_packets: int = 4096
    """Packets in all."""
    flow_bytes: int = 262_144
    """Bytes of one flow."""
    flow_packets: int = 256
    """Packets of one flow."""

    @classmethod
    def of(cls, cluster: ClusterConfig | None) -> HoldingLimits:
        """Return what is configured; without a cluster the defaults."""
        if cluster is None:
            return cls()
        return cls(
            cluster.hold_time,
            cluster.hold_bytes,
            cluster.hold_packets,
            cluster.hold_flow_bytes,
            cluster.hold_flow_packets,
        )


class Target(NamedTuple):
    """Where the packets of a flow go."""

    member_id: int
    """A proxy of ours, or a peer; 0: where their route leads."""
    far_end: Endpoint | None = None
    """Whose packets go to the member; the other end's go where their route leads. None: all go to the member."""
    is_peer: bool = False
    """Whether the member is a peer: what a peer sent does not go on to one."""


class Expired(NamedTuple):
    """A packet that was held for as long as it may be."""

    flow: FlowKey
    """Its flow."""
    source: Endpoint
    """Where it came from."""
    packet: PacketIn
    """The packet."""


@dataclass(slots=True)
class HoldingCounts:
    """What was counted since the start, in packets."""

    held: int = 0
    """Had to wait."""
    released: int = 0
    """Went where they belong, after waiting or at once."""
    expired: int = 0
    """Waited in vain."""
    overflowed: int = 0
    """Dropped: above a cap."""
    looped: int = 0
    """Dropped: a peer sent them, and they would have gone on to a peer."""
    refused: int = 0
    """Dropped while held: nobody can serve their flow."""


class _Held:
    __slots__ = ("arrived", "flow", "is_alone", "is_gone", "packet", "source")

    def __init__(self, flow: FlowKey, source: Endpoint, packet: PacketIn, is_alone: bool, arrived: float) -> None:
        self.flow = flow
        self.source = source
        self.is_alone = is_alone
        self.packet = packet
        self.arrived = arrived
        self.is_gone = False


@dataclass(slots=True)
class _Waiting:
    """What is held of a flow."""

    packets: deque[_Held] = field(default_factory=deque)
    octets: int = 0


class _Relay:
    __slots__ = ("began", "flow", "latest", "target")

    def __init__(self, flow: FlowKey, target: Target, now: float) -> None:
        self.flow = flow
        self.target = target
        self.began = self.latest = now

    @property
    def due_at(self) -> float:
        return min(self.latest + QUIET_TIME, self.began + LONGEST_RELAY)


class Holding:
    """The held packets and relayed flows of one switch. After each call take `released`, `expired` and `due`."""

    def __init__(self, limits: HoldingLimits) -> None:
        self.limits = limits
        """May be changed; what is held already stays."""
        self.counts = HoldingCounts()
        """What was counted."""
        self.octets = 0
        """Bytes held now."""
        self.packets = 0
        """Packets held now."""
        self.released: list[PacketOut] = []
        """Packets to be sent, in this order; the taker empties it."""
        self.expired: list[Expired] = []
        """Packets that waited in vain; the taker empties it."""
        self.due: list[tuple[FlowKey, Target]] = []
        """Relayed flows whose entry should be written now, and where they go; the taker empties it."""
        self._waiting: dict[FlowKey, _Waiting] = {}
        self._arrivals: deque[_Held] = deque()
        self._relays: dict[FlowKey, _Relay] = {}
        self._due: list[tuple[float, int, _Relay]] = []
        self._serial = 0

    def __contains__(self, flow: FlowKey) -> bool:
        """Say whether packets of a flow are held."""
        return flow in self._waiting

    def target(self, flow: FlowKey) -> Target | None:
        """Return where a flow is relayed to; None: it is not."""
        relay = self._relays.get(flow)
        return None if relay is None else relay.target

    @property
    def relayed(self) -> int:
        """How many flows are relayed now."""
        return len(self._relays)

    def add(self, flow: FlowKey, source: Endpoint, packet: PacketIn, now: float, *, alone: bool = False) -> None:
        """Take a packet: relayed if its flow is, otherwise held behind those of its flow, or dropped above a cap.

        alone: nothing follows it before it is answered, as with TCP's SYN and SYN-ACK.
        """
        relay = self._relays.get(flow)
        if relay is not None:
            relay.latest = now
            self.release(relay.target, source, packet)
            return
        size, limits = len(packet.payload), self.limits
        if self.octets + size > limits.total_bytes or self.packets >= limits.total_packets:
            self.counts.overflowed += 1
            return
        waiting = self._waiting.get(flow)
        if waiting is None:
            if size > limits.flow_bytes:
                self.counts.overflowed += 1
                return
            waiting = self._waiting[flow] = _Waiting()
        elif waiting.octets + size > limits.flow_bytes or len(waiting.packets) >= limits.flow_packets:
            self.counts.overflowed += 1
            return
        held = _Held(flow, source, packet, alone, now)
        waiting.packets.append(held)
        waiting.octets += size
        self._arrivals.append(held)
        self.octets += size
        self.packets += 1
        self.counts.held += 1

    def release(self, target: Target, source: Endpoint, packet: PacketIn) -> None:
        """Send a packet where its flow goes."""
        to_member = target.far_end is None or source == target.far_end
        if to_member and target.is_peer and packet.from_peer:
            self.counts.looped += 1
            return
        how = Submission.RELEASE if to_member else Submission.RELEASE_FROM_MEMBER
        member_id = target.member_id if to_member else 0
        self.released.append(
            PacketOut(packet.payload, ingress_port=packet.ingress_port, submit=how, member_id=member_id)
        )
        self.counts.released += 1

    def relay(self, flow: FlowKey, target: Target, now: float, *, alone: bool = False) -> None:
        """Release what is held of a flow, in order; what comes until its entry is due follows.

        The entry is due at once if all that was held came alone; `alone` says so where nothing was.
        """
        held = self._take(flow)
        for one in held:
            self.release(target, one.source, one.packet)
        if all(one.is_alone for one in held) if held else alone:
            self._relays.pop(flow, None)
            self.due.append((flow, target))
            return
        relay = self._relays[flow] = _Relay(flow, target, now)
        self._push(relay)

    def refuse(self, flow: FlowKey) -> None:
        """Drop what is held of a flow, and relay it no more."""
        self.counts.refused += len(self._take(flow))
        self._relays.pop(flow, None)

    def clear(self) -> None:
        """Forget everything: the switch is not ours any more."""
        for flow in list(self._waiting):
            self.refuse(flow)
        self._relays.clear()
        self._due.clear()
        self._arrivals.clear()
        self.released, self.expired, self.due = [], [], []

    def _take(self, flow: FlowKey) -> list[_Held]:
        waiting = self._waiting.pop(flow, None)
        if waiting is None:
            return []
        for held in waiting.packets:
            held.is_gone = True
        self.octets -= waiting.octets
        self.packets -= len(waiting.packets)
        return list(waiting.packets)

    def _push(self, relay: _Relay) -> None:
        self._serial += 1
        heapq.heappush(self._due, (relay.due_at, self._serial, relay))

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not yet. It may turn out that nothing is due then."""
        while self._arrivals and self._arrivals[0].is_gone:
            self._arrivals.popleft()
        expires = self._arrivals[0].arrived + self.limits.hold_time if self._arrivals else None
        due = self._due[0][0] if self._due else None
        return min((time for time in (expires, due) if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Let expire what is old, and say whose entry is due."""
        arrivals, hold_time = self._arrivals, self.limits.hold_time
        while arrivals and (arrivals[0].is_gone or arrivals[0].arrived + hold_time <= now):
            held = arrivals.popleft()
            if not held.is_gone:
                self._expire(held)
        while self._due and self._due[0][0] <= now:
            _, _, relay = heapq.heappop(self._due)
            if self._relays.get(relay.flow) is not relay:
                continue
            if relay.due_at > now:
                self._push(relay)
            else:
                del self._relays[relay.flow]
                self.due.append((relay.flow, relay.target))

    def _expire(self, held: _Held) -> None:
        waiting = self._waiting[held.flow]
        waiting.packets.popleft()
        size = len(held.packet.payload)
        waiting.octets -= size
        self.octets -= size
        self.packets -= 1
        if not waiting.packets:
            del self._waiting[held.flow]
        self.counts.expired += 1
        self.expired.append(Expired(held.flow, held.source, held.packet))
