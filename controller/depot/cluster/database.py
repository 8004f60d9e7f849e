"""Whose connection is this? What the peers have announced, one table for each (seed 000, 2.4).

A table maps a compact key (`depot.cluster.wire.key_of`, 13 bytes for IPv4) to a stamp, one int: when it was announced
and how. Stamps are shared, so an entry costs its key of 48 bytes and its place in a dict, 33 to 64. Removed keys leave
their places in a dict until it grows, and it grows by three: so one that has become too large is copied. The hash of
bytes is nothing that outsiders can foresee, so no choice of addresses makes the tables slow.

Each peer's claims stand by themselves. Where several peers claim one flow, the latest announcement counts; when that
one is removed, the one before it counts again. What a peer removes is only ever its own.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from depot.address import FlowKey, Protocol
from depot.cluster.wire import (
    CONNECTION_KINDS,
    AddressFamily,
    ConnectionAction,
    ConnectionRecord,
    ConnectionRun,
    encode_connection,
    flow_of,
    key_of,
)

__all__ = ["Changes", "Claim", "ConnectionDatabase", "OwnConnections"]

_TICKS_PER_SECOND = 256
"""Of stamps."""

_WHILE = 0.125
"""Seconds that may share their stamps: how exact `Claim.since` is."""

_MOST_RECENT = 8192
"""Keys remembered for that: 1 MB at most, a twentieth of a second of the seed's heaviest traffic (seed 000, 3)."""

_ROOMY = 64
"""Bytes of a dict for each entry, above which a copy is half as large and has room for a sixteenth more."""

_SMALL = 1 << 16
"""Bytes of a dict that is never too large."""

_BYPASS = 2
_SOURCE_IS_HI = 1

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"

MOST_CONNECTIONS = 1 << 20
"""Of one peer: as many as its switch's connection table has room for (CONNECTION_TABLE_SIZE). Who announces more is
broken, and is to take no more of our memory."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known about a connection."""

    flow: FlowKey
    """Which."""
    owner: str
    """The member that handles it."""
    action: ConnectionAction
    """What becomes of its packets elsewhere."""
    source_is_hi: bool
    """Whether the message's source, the end that opened the connection, is the flow's higher endpoint."""
    since: float
    """When it was last announced here, seconds of the clock that the database is given."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch of messages changed, as compact keys."""

    learnt: Collection[bytes]
    """Installed, and still there at the end of the batch. The same key may come twice."""
    forgotten: Collection[bytes]
    """Removed, and not there at the end of the batch; another peer may claim the flow all the same."""
    unknown: int = 0
    """Removes of what was not there."""
    refused: int = 0
    """Installed beyond MOST_CONNECTIONS, and so not kept."""


_NOTHING = Changes((), ())

_PLAN = {
    word: (bytes((kind.protocol,)), (_BYPASS if kind.action is ConnectionAction.BYPASS else 0) if kind.installs else -2)
    for word, kind in CONNECTION_KINDS.items()
}
"""By header: the first byte of the key, and which stamp of four; negative: remove."""

_Quartet = tuple[int, int, int, int]
"""One stamp for each of the two actions and the two directions."""


class _Stamps:
    """Draws stamps that grow, the same ones for all that happens in a while, so that entries share their objects.

    Except for what happens twice in that while: the second time has a later stamp.
    """

    __slots__ = ("_ends", "_quartet", "_recent", "_tick")

    def __init__(self) -> None:
        self._tick = 0  # stamps are never 0
        self._recent: set[bytes] = set()
        self._ends = 0.0
        self._quartet: _Quartet = (0, 1, 2, 3)

    def current(self, now: float) -> _Quartet:
        """Return the stamps for what happens now."""
        if not self._ends - _WHILE <= now < self._ends or len(self._recent) >= _MOST_RECENT:
            self._renew(now)
        return self._quartet

    def _renew(self, now: float) -> None:
        self._tick = max(self._tick + 1, int(now * _TICKS_PER_SECOND))
        base = self._tick << 2
        self._quartet = (base, base | 1, base | 2, base | 3)
        self._ends = now + _WHILE
        self._recent.clear()

    def settle(self, entries: dict[bytes, int], keys: list[bytes], now: float) -> None:
        """Keys were given current stamps: give them later ones if that was not the first time."""
        if not self._recent.isdisjoint(keys):
            self._renew(now)
            quartet = self._quartet
            entries.update([(key, quartet[entries[key] & 3]) for key in keys if key in entries])
        self._recent.update(keys)


def _claim(owner: str, key: bytes, stamp: int) -> Claim:
    action = ConnectionAction.BYPASS if stamp & _BYPASS else ConnectionAction.FORWARD
    return Claim(flow_of(key), owner, action, bool(stamp & _SOURCE_IS_HI), (stamp >> 2) / _TICKS_PER_SECOND)


class _PeerTable:
    """What one peer has announced: `entries` now, and `previous` on an earlier channel and not yet again on this."""

    __slots__ = ("entries", "previous")

    def __init__(self) -> None:
        self.entries: dict[bytes, int] = {}
        self.previous: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.entries) + len(self.previous)

    def apply(self, records: Iterator[ConnectionRecord], stamps: _Stamps, now: float) -> Changes:
        """Do what messages say. The hot loop of the whole cluster."""
        quartet = stamps.current(now)
        entries = self.entries
        remove = entries.pop
        learnt: list[bytes] = []
        removed: list[bytes] = []
        missed: list[bytes] = []
        for header, source_port, destination_port, source, destination in records:
            prefix, stamp = _PLAN[header]
            source += source_port
            destination += destination_port
            if source <= destination:
                key = prefix + source + destination
            else:
                key = prefix + destination + source
                stamp += 1
            if stamp >= 0:
                entries[key] = quartet[stamp]
                learnt.append(key)
            elif remove(key, 0):
                removed.append(key)
            else:
                missed.append(key)
        if learnt:
            stamps.settle(entries, learnt, now)
            self._trim()
        changes = self._changes(learnt, removed, missed)
        return changes if len(self.entries) <= MOST_CONNECTIONS else self._refuse(changes)

    def _refuse(self, changes: Changes) -> Changes:
        """Drop the last that came."""
        refused = {self.entries.popitem()[0] for _ in range(len(self.entries) - MOST_CONNECTIONS)}
        learnt = [key for key in changes.learnt if key not in refused]
        return Changes(learnt, changes.forgotten, changes.unknown, len(refused))

    def _trim(self) -> None:
        """Give back the places of removed entries, once half of the dict is enough for those that are there."""
        if sys.getsizeof(self.entries) > max(_SMALL, _ROOMY * len(self.entries)):
            self.entries = dict(self.entries)

    def _changes(self, learnt: list[bytes], removed: list[bytes], missed: list[bytes]) -> Changes:
        unknown = 0
        for key in missed:
            if self.previous.pop(key, 0):
                removed.append(key)
            else:
                unknown += 1
        if self.previous:
            for key in learnt:
                self.previous.pop(key, None)
        if learnt and removed:
            entries = self.entries
            return Changes([key for key in learnt if key in entries], _absent(removed, entries), unknown)
        return Changes(learnt, removed, unknown)


def _absent(keys: list[bytes], entries: dict[bytes, int]) -> list[bytes]:
    return [key for key in dict.fromkeys(keys) if key not in entries]


def _unmapped(records: Iterator[ConnectionRecord]) -> Iterator[ConnectionRecord]:
    """Yield IPv6 records, with IPv4 addresses where both are IPv4-mapped: a flow has one key, however it is sent."""
    for record in records:
        header, source_port, destination_port, source, destination = record
        if source[:12] == _MAPPED_PREFIX == destination[:12]:
            yield header, source_port, destination_port, source[12:], destination[12:]
        else:
            yield record


class ConnectionDatabase:
    """The connections of all peers. `now` is seconds of one clock; only differences and order count."""

    def __init__(self) -> None:
        self._tables: dict[str, _PeerTable] = {}
        self._stamps = _Stamps()

    def __len__(self) -> int:
        """Return how many claims all peers have."""
        return sum(map(len, self._tables.values()))

    def count(self, owner: str) -> int:
        """Return how many claims a peer has."""
        table = self._tables.get(owner)
        return 0 if table is None else len(table)

    def apply(self, owner: str, run: ConnectionRun, now: float) -> Changes:
        """Do what a peer's connection messages say, in their order."""
        table = self._tables.get(owner)
        if table is None:
            table = self._tables[owner] = _PeerTable()
        records = run.records()
        if run.family is AddressFamily.IPV6:
            records = _unmapped(records)
        return table.apply(records, self._stamps, now)

    def begin_sync(self, owner: str) -> None:
        """A peer begins to send its table: what we have of it is old, and stays only until the table has ended."""
        table = self._tables.setdefault(owner, _PeerTable())
        table.previous.update(table.entries)
        table.entries = {}

    def end_sync(self, owner: str) -> Changes:
        """A peer has sent all of its table: forget what was not in it."""
        table = self._tables.get(owner)
        if table is None or not table.previous:
            return _NOTHING
        gone, table.previous = table.previous, {}
        return Changes((), gone.keys())

    def drop(self, owner: str) -> Changes:
        """Forget all that a peer has announced."""
        table = self._tables.pop(owner, None)
        if table is None or not len(table):
            return _NOTHING
        if not table.previous:
            return Changes((), table.entries.keys())
        return Changes((), [*table.entries, *table.previous])

    def find(self, key: bytes) -> tuple[str, int] | None:
        """Return owner and stamp of the claim that counts for a compact key; None if nobody claims it."""
        best = 0
        winner = ""
        for owner, table in self._tables.items():
            stamp = table.entries.get(key, 0) or (table.previous.get(key, 0) if table.previous else 0)
            if stamp > best:
                best, winner = stamp, owner
        return (winner, best) if best else None

    def lookup(self, flow: FlowKey) -> Claim | None:
        """Return the claim that counts for a flow; None if nobody claims it. Costs a look into each peer's table."""
        if flow.protocol not in (Protocol.TCP, Protocol.UDP):
            return None
        key = key_of(flow)
        found = self.find(key)
        return None if found is None else _claim(found[0], key, found[1])

    def claims(self, owner: str) -> Iterator[Claim]:
        """Yield all claims of a peer. The database must not change meanwhile."""
        table = self._tables.get(owner)
        if table is not None:
            for entries in (table.entries, table.previous):
                for key, stamp in entries.items():
                    yield _claim(owner, key, stamp)


class OwnConnections:
    """What this member handles itself. Apart from the others' (seed 000, 2.5), in the same compact form."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._entries: dict[bytes, int] = {}
        self._stamps = _Stamps()
        self._table: bytes | None = None  # the messages of all entries, until one changes

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, flow: FlowKey) -> bool:
        return key_of(flow) in self._entries

    def install(self, flow: FlowKey, source_is_hi: bool, action: ConnectionAction, now: float) -> bytes | None:
        """Take up a connection; return the message for the peers, None if they know all that it says.

        Raises ClusterError if the protocol is neither TCP nor UDP.
        """
        key = key_of(flow)
        kind = (_BYPASS if action is ConnectionAction.BYPASS else 0) | (_SOURCE_IS_HI if source_is_hi else 0)
        before = self._entries.get(key)
        if before is not None and before & 3 == kind:
            return None
        self._entries[key] = self._stamps.current(now)[kind]
        self._table = None
        return encode_connection(True, action, key, source_is_hi)

    def remove(self, flow: FlowKey) -> bytes | None:
        """Give up a connection; return the message for the peers, None if there was none."""
        key = key_of(flow)
        stamp = self._entries.pop(key, None)
        self._table = None
        return None if stamp is None else _message(False, key, stamp)

    def lookup(self, flow: FlowKey) -> Claim | None:
        """Return an own connection; None if there is none."""
        if flow.protocol not in (Protocol.TCP, Protocol.UDP):
            return None
        key = key_of(flow)
        stamp = self._entries.get(key)
        return None if stamp is None else _claim(self._identity, key, stamp)

    def claims(self) -> Iterator[Claim]:
        """Yield all own connections. They must not change meanwhile."""
        for key, stamp in self._entries.items():
            yield _claim(self._identity, key, stamp)

    def table(self) -> bytes:
        """Return the INSTALL_CONNECTION messages of all own connections."""
        if self._table is None:
            self._table = b"".join([_message(True, key, stamp) for key, stamp in self._entries.items()])
        return self._table


def _message(installs: bool, key: bytes, stamp: int) -> bytes:
    action = ConnectionAction.BYPASS if stamp & _BYPASS else ConnectionAction.FORWARD
    return encode_connection(installs, action, key, bool(stamp & _SOURCE_IS_HI))
