"""Next hops and their MACs at one switch: ARP for IPv4, neighbour discovery for IPv6. Sans-IO, times in seconds.

Requests leave as packet-outs; what comes back is seen by the data plane, which tells it as ``neighbour_seen``. Packets
that met an unknown next hop are held, a few each, and go through the pipeline again when it is known. Members' and
gateways' next hops are resolved before anybody needs them and never given up.

                 unresolved, wanted                    seen
    (unknown) ----------------------> RESOLVING ---------------> REACHABLE
                                       |     ^                    |     ^
                             no answer |     | retry, unresolved  | old | seen
                                       v     |                    v     |
                                       FAILED <---------------- PROBING
                                                   no answer
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from depot.address import is_ipv4
from depot.p4runtime.entry import ACTION_PARAMS, Entry, Table, neighbour_entry
from depot.p4runtime.packets import PacketIn, PacketOut, Submission
from depot.switching.deadlines import NEVER, DeadlineWheel
from depot.switching.frames import BROADCAST_MAC, arp_request, neighbour_solicitation
from depot.switching.routing import NextHop, Routing

__all__ = ["NeighbourChange", "NeighbourState", "Neighbours"]

ATTEMPTS = 3
"""Requests before a next hop counts as dead (RFC 4861, 10: MAX_MULTICAST_SOLICIT)."""
RETRY_INTERVAL = 1.0
"""Seconds between requests (RFC 4861, 10: RETRANS_TIMER; RFC 1122, 2.3.2.1 for ARP)."""
REACHABLE_TIME = 30.0
"""Seconds that an answer counts (RFC 4861, 10: REACHABLE_TIME)."""
FAILED_RETRY = 5.0
"""Seconds until a wanted next hop that did not answer is asked for again, and that others stay known as dead."""
HELD_PACKETS = 16
"""Packets held for one next hop (RFC 4861, 7.2.2: at least one): the first answers of a busy client's sessions. A newer
one replaces the oldest."""
MOST_NEIGHBOURS = 8192
"""Half of `neighbour_table`: what clients make us learn must leave room for members."""


class NeighbourState(Enum):
    """What is known of a next hop."""

    RESOLVING = "resolving"
    REACHABLE = "reachable"
    PROBING = "probing"
    FAILED = "failed"


class NeighbourChange(NamedTuple):
    """A next hop whose entry should change."""

    entry: Entry
    """The entry; of one to be removed the key counts."""
    present: bool
    """Whether the switch should have it."""


@dataclass(slots=True)
class _Neighbour:
    hop: NextHop
    wanted: bool = False
    state: NeighbourState = NeighbourState.RESOLVING
    mac: int | None = None
    heard_at: float | None = None
    attempts: int = 0
    held: deque[PacketIn] = field(default_factory=lambda: deque(maxlen=HELD_PACKETS))
    deadline: float = NEVER
    queued_tick: int = -1


class Neighbours:
    """The neighbours of one switch. After each call take what `changes`, `requests`, `released`, `unreachable` hold."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._known: dict[NextHop, _Neighbour] = {}
        self._wheel: DeadlineWheel[_Neighbour] = DeadlineWheel()
        self.changes: list[NeighbourChange] = []
        """Entries to be written or removed; the taker empties it."""
        self.requests: list[PacketOut] = []
        """ARP requests and neighbour solicitations; the taker empties it."""
        self.released: list[PacketOut] = []
        """Held packets, to be sent once `changes` are written; the taker empties it."""
        self.unreachable: list[PacketIn] = []
        """Packets whose next hop does not answer; the taker empties it."""

    def entries(self) -> list[Entry]:
        """Every entry that the switch should have."""
        return [self._entry(one) for one in self._known.values() if one.mac is not None]

    def state(self, hop: NextHop) -> NeighbourState | None:
        """What is known of a next hop; None: never heard of."""
        known = self._known.get(hop)
        return known.state if known else None

    def mac(self, hop: NextHop) -> int | None:
        """Return the MAC of a next hop; None: it is not known."""
        known = self._known.get(hop)
        return known.mac if known else None

    def count(self) -> int:
        """Next hops with a MAC."""
        return sum(1 for one in self._known.values() if one.mac is not None)

    def heard_at(self, hop: NextHop) -> float | None:
        """Return when a next hop last spoke with us; None: never."""
        known = self._known.get(hop)
        return known.heard_at if known else None

    def at(self, ports: Collection[int]) -> Iterator[tuple[NextHop, int]]:
        """Return those behind some ports that have a MAC, each with it."""
        return ((hop, one.mac) for hop, one in self._known.items() if hop.port in ports and one.mac is not None)

    # In

    def reconfigure(self, routing: Routing) -> None:
        """Take other ports and routes: what can no longer be a neighbour is forgotten, a port's new MAC is written."""
        before, self._routing = self._routing, routing
        for hop, known in list(self._known.items()):
            if not routing.on_link(hop):
                self._forget(known)
            elif known.mac is not None and before.neighbour_entry(hop, known.mac) != self._entry(known):
                self.changes.append(NeighbourChange(self._entry(known), present=True))

    def want(self, hops: Iterable[NextHop], now: float) -> None:
        """Resolve exactly these and keep them resolved; what was wanted before and no longer is may go."""
        wanted = set(hops)
        for known in self._known.values():
            known.wanted = known.hop in wanted
        for hop in wanted - self._known.keys():
            self._resolve(hop, now, wanted=True)

    def adopt(self, entries: Iterable[Entry], now: float) -> None:
        """Take what the switch already has: used as it is, asked for again soon."""
        for entry in entries:
            if entry.table is Table.NEIGHBOUR:
                hop = NextHop(*entry.values)
                if hop not in self._known and self._routing.on_link(hop):
                    mac = entry.params[ACTION_PARAMS[entry.action].index("dst_mac")]
                    known = self._known[hop] = _Neighbour(hop, state=NeighbourState.REACHABLE, mac=mac)
                    self._wheel.set(known, now + RETRY_INTERVAL)

    def seen(self, port: int, address: int, mac: int, now: float) -> None:
        """A neighbour spoke with us. What no on-link host may claim is ignored."""
        hop = NextHop(port, address)
        known = self._known.get(hop)
        if mac == 0 or mac >> 40 & 1 or not self._routing.on_link(hop):
            return
        if known is None:
            if len(self._known) >= MOST_NEIGHBOURS:
                return
            known = self._known[hop] = _Neighbour(hop)
        changed = known.mac != mac
        known.mac = mac
        known.heard_at = now
        known.state = NeighbourState.REACHABLE
        known.attempts = 0
        self._wheel.set(known, now + REACHABLE_TIME)
        if changed:
            self.changes.append(NeighbourChange(self._entry(known), present=True))
        while known.held:
            packet = known.held.popleft()
            self.released.append(_again(packet))

    def told(self, hop: NextHop, mac: int, now: float) -> None:
        """Somebody we trust knows a host that we do not: used at once, asked for soon."""
        known = self._known.get(hop)
        if (known is None or known.mac is None) and self._routing.on_link(hop):
            self.seen(*hop, mac, now)
            if (known := self._known.get(hop)) is not None:
                self._wheel.set(known, now + RETRY_INTERVAL)

    def unresolved(self, packet: PacketIn, now: float) -> None:
        """A packet met a next hop without entry (`PuntReason.NEIGHBOUR_UNRESOLVED`)."""
        hop = NextHop(packet.detail, packet.address)
        known = self._known.get(hop)
        if known is None:
            if not self._routing.on_link(hop) or len(self._known) >= MOST_NEIGHBOURS:
                self.unreachable.append(packet)
                return
            known = self._resolve(hop, now, wanted=False)
        if known.mac is not None:  # its entry is on the way: the packet crossed it
            self.released.append(_again(packet))
        elif known.state is NeighbourState.FAILED:
            self.unreachable.append(packet)
        else:
            known.held.append(packet)

    def refused(self, hop: NextHop, now: float) -> None:
        """The switch took no entry for this next hop: it cannot be reached for now."""
        known = self._known.get(hop)
        if known is not None and known.mac is not None:
            self._fail(known, now)

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do; None: never."""
        return self._wheel.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Ask again, probe what is old, give up what does not answer."""
        for known in self._wheel.due(now):
            if self._known.get(known.hop) is not known:
                continue
            if known.state is NeighbourState.REACHABLE:
                known.state = NeighbourState.PROBING
            if known.state is NeighbourState.FAILED:
                if not known.wanted:
                    del self._known[known.hop]
                    continue
                known.state, known.attempts = NeighbourState.RESOLVING, 0
            if known.attempts < ATTEMPTS:
                self._ask(known, now)
            else:
                self._fail(known, now)

    def probe(self, hop: NextHop) -> None:
        """Ask a next hop now, whatever is known of it; its answer is news like any other."""
        known = self._known.get(hop)
        self._request(hop, known.mac if known is not None else None)

    # Within

    def _resolve(self, hop: NextHop, now: float, *, wanted: bool) -> _Neighbour:
        known = self._known[hop] = _Neighbour(hop, wanted)
        self._ask(known, now)
        return known

    def _ask(self, known: _Neighbour, now: float) -> None:
        """Send a request: to the MAC we know at first when probing, then to all."""
        known.attempts += 1
        self._wheel.set(known, now + RETRY_INTERVAL)
        self._request(known.hop, known.mac if known.attempts == 1 else None)

    def _request(self, hop: NextHop, unicast: int | None) -> None:
        port, source, target = self._routing.ports[hop.port], self._routing.source_for(hop), hop.address
        if source is None:
            return
        if is_ipv4(target):
            frame = arp_request(port.mac, source, target, unicast if unicast is not None else BROADCAST_MAC)
        else:
            frame = neighbour_solicitation(port.mac, source, target, unicast)
        self.requests.append(PacketOut(frame, egress_port=port.number))

    def _fail(self, known: _Neighbour, now: float) -> None:
        if known.mac is not None:
            self.changes.append(NeighbourChange(self._entry(known), present=False))
        known.mac = None
        known.state = NeighbourState.FAILED
        self.unreachable.extend(known.held)
        known.held.clear()
        self._wheel.set(known, now + FAILED_RETRY)

    def _forget(self, known: _Neighbour) -> None:
        if known.mac is not None:
            self.changes.append(NeighbourChange(neighbour_entry(*known.hop, 0, known.mac), present=False))
        self.unreachable.extend(known.held)
        del self._known[known.hop]

    def _entry(self, known: _Neighbour) -> Entry:
        return self._routing.neighbour_entry(known.hop, known.mac or 0)


def _again(packet: PacketIn) -> PacketOut:
    """The packet, through the pipeline as if it came in once more."""
    port, how = packet.ingress_port, Submission.SUBMIT
    return PacketOut(packet.payload, ingress_port=port, submit=how, from_peer=packet.from_peer)
