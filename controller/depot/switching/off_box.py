"""The connections of peers that have an entry in the switch: off-box connections (seed 000, 2.5, 3). Sans-IO.

Only those whose packets come here need one. An entry that sees no packet for a while goes; what the connection database
says stays, so it can come back. An entry without a claim behind it is only good for a moment: a handoff that the peer
has not confirmed yet, or what was found in a switch and nobody has spoken for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from depot.address import FlowKey
from depot.cluster import key_of
from depot.p4runtime.entry import Action, Entry, bypass_connection_entry, connection_key, peer_connection_entry
from depot.p4runtime.reconcile import Operation, Update

__all__ = ["OffBox", "OffBoxConnection"]

_NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class OffBoxConnection:
    """One entry."""

    flow: FlowKey
    """Its flow."""
    owner: str
    """The peer."""
    member_id: int
    """The peer's number as a member; 0: the connection is bypassed."""
    far_is_hi: bool
    """Whether the end whose packets go to the peer is the flow's higher one."""
    idle_timeout: float
    """Seconds without a packet after which the entry goes; 0: never."""

    @property
    def entry(self) -> Entry:
        """The entry."""
        timeout = round(self.idle_timeout * _NANOSECONDS)
        if self.member_id == 0:
            return bypass_connection_entry(self.flow, idle_timeout_ns=timeout)
        return peer_connection_entry(self.flow, self.member_id, far_is_hi=self.far_is_hi, idle_timeout_ns=timeout)


class OffBox:
    """The off-box connections of one switch."""

    def __init__(self) -> None:
        self._known: dict[bytes, OffBoxConnection] = {}
        self._dirty: dict[FlowKey, bool] = {}  # whether an entry was there at the last take_updates

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        """Say whether a compact key has an entry."""
        return key in self._known

    def __iter__(self) -> Iterator[OffBoxConnection]:
        return iter(self._known.values())

    def get(self, flow: FlowKey) -> OffBoxConnection | None:
        """Return a flow's entry; None: it has none."""
        return self._known.get(key_of(flow))

    def flow(self, key: bytes) -> FlowKey:
        """Return the flow of a compact key that has an entry."""
        return self._known[key].flow

    def put(self, connection: OffBoxConnection) -> None:
        """Have an entry written, or changed."""
        key = key_of(connection.flow)
        known = self._known.get(key)
        if known != connection:
            self._known[key] = connection
            self._dirty.setdefault(connection.flow, known is not None)

    def remove(self, flow: FlowKey) -> bool:
        """Have an entry removed; False: there is none."""
        known = self._known.pop(key_of(flow), None)
        if known is not None:
            self._dirty.setdefault(flow, True)
        return known is not None

    def remove_owner(self, owner: str) -> None:
        """Have all entries of a peer removed."""
        for connection in [one for one in self if one.owner == owner]:
            self.remove(connection.flow)

    def adopt(self, entry: Entry, flow: FlowKey, owner: str) -> None:
        """Take an entry that the switch holds already."""
        member_id, far_is_hi = entry.params if entry.action is Action.FORWARD_TO_PEER else (0, 0)
        timeout = entry.idle_timeout_ns / _NANOSECONDS
        self._known[key_of(flow)] = OffBoxConnection(flow, owner, member_id, far_is_hi == 1, timeout)

    def rewrite(self, present: Mapping[FlowKey, Entry]) -> None:
        """The switch holds these entries of the cluster's connections, and no others."""
        self._dirty = {flow: True for flow in present if key_of(flow) not in self._known}
        for connection in self:
            held = present.get(connection.flow)
            if held != connection.entry:
                self._dirty[connection.flow] = held is not None

    def refused(self, flow: FlowKey) -> None:
        """The switch would not take the entry."""
        self._known.pop(key_of(flow), None)

    def clear(self) -> None:
        """Forget everything: the switch is not ours any more."""
        self._known.clear()
        self._dirty.clear()

    @property
    def waiting(self) -> int:
        """How many entries may have to change."""
        return len(self._dirty)

    def take_updates(self) -> dict[FlowKey, Update]:
        """Return what must change since the last call, by flow."""
        dirty, self._dirty = self._dirty, {}
        updates: dict[FlowKey, Update] = {}
        for flow, existed in dirty.items():
            known = self._known.get(key_of(flow))
            if known is not None:
                updates[flow] = Update(Operation.MODIFY if existed else Operation.INSERT, known.entry)
            elif existed:
                updates[flow] = Update(Operation.DELETE, Entry(*connection_key(flow), Action.FORWARD_TO_PEER))
        return updates
