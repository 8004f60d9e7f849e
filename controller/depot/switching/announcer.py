"""What the peers are to hear of this member's own connections: that one begins, and that it has ended. Sans-IO."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from depot.address import FlowKey
from depot.cluster import ConnectionAction, key_of

__all__ = ["Announcement", "Announcer"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """An own connection that begins, or, without an action, has ended."""

    flow: FlowKey
    """Which."""
    source_is_hi: bool = False
    """Whether the flow's higher endpoint is the source. FORWARD: the far end, whose packets are to come to us, be it
    the client of a connection that was intercepted or the server of one that a proxy opened; what the other end sends
    is our own. BYPASS: the end that opened it."""
    action: ConnectionAction | None = None
    """What the peers do with its packets; None: it has ended."""


class Announcer:
    """The own connections that peers know of. Take `announcements` after each call."""

    def __init__(self) -> None:
        self.announcements: list[Announcement] = []
        """To be told to all peers, in order; the taker empties it."""
        self._own: dict[bytes, Announcement] = {}
        self._lingering: dict[bytes, FlowKey] = {}
        self._ending: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, key: object) -> bool:
        """Say whether a compact key is an own connection that was announced."""
        return key in self._own

    def flows(self, keys: Iterable[bytes]) -> list[FlowKey]:
        """Return the flows of those keys that are own connections, or were and have an entry still."""
        own, lingering = self._own, self._lingering
        found = [own[key].flow for key in keys if key in own]
        return found + [lingering[key] for key in keys if key in lingering] if lingering else found

    def lingering(self) -> Iterator[FlowKey]:
        """Yield every connection that has ended and has an entry still."""
        return iter(self._lingering.values())

    def bypassed(self) -> Iterator[FlowKey]:
        """Yield every own connection that is bypassed."""
        return (one.flow for one in self._own.values() if one.action is ConnectionAction.BYPASS)

    def announce(self, announcement: Announcement) -> bool:
        """Tell of a connection; False, and nothing is told, if the peers know all that it says."""
        key = key_of(announcement.flow)
        if self._own.get(key) == announcement:
            return False
        self._lingering.pop(key, None)
        self._own[key] = announcement
        self.announcements.append(announcement)
        return True

    def withdraw(self, flow: FlowKey, *, lingers: bool = False) -> None:
        """Tell that a connection has ended. lingers: its entry has not gone yet; say so once more when it has."""
        key = key_of(flow)
        if self._own.pop(key, None) is not None:
            self.announcements.append(Announcement(flow))
        if lingers:
            self._lingering[key] = flow
        else:
            self._lingering.pop(key, None)

    def adopt_ended(self, flows: Iterable[FlowKey]) -> None:
        """The switch holds entries of these connections that have ended, and of no others."""
        self._lingering = {key_of(flow): flow for flow in flows}

    def withdraw_later(self, flow: FlowKey, at: float) -> None:
        """Ask at a time whether a connection is over; see `due`."""
        key = key_of(flow)
        if key in self._own:
            heapq.heappush(self._ending, (at, key))

    def withdraw_all(self) -> None:
        """Tell that all connections have ended."""
        for one in list(self._own.values()):
            self.withdraw(one.flow)
        self._ending.clear()
        self._lingering.clear()

    def due(self, now: float) -> Iterator[FlowKey]:
        """Yield the connections whose time has come; the caller withdraws those that have not begun anew."""
        while self._ending and self._ending[0][0] <= now:
            one = self._own.get(heapq.heappop(self._ending)[1])
            if one is not None:
                yield one.flow

    def next_deadline(self) -> float | None:
        """When `due` has something to say; None: not yet."""
        return self._ending[0][0] if self._ending else None
