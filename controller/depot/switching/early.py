"""Events that came before the session they belong to."""

from __future__ import annotations

from collections import OrderedDict

from depot.address import FlowKey

__all__ = ["EarlyEvents"]

_KEEP_SECONDS = 1.0
"""Digest lists are sent at the latest after some hundred milliseconds; older events belong to sessions long gone."""

_MOST_FLOWS = 16384
"""So that stray packets cannot fill the memory; at 20 000 sessions/s this still covers 0.8 s."""

_MOST_EVENTS = 4
"""Per flow: an answer, a FIN of each side and a RST are all that can matter."""


class EarlyEvents:
    """Holds (src_is_hi, tcp_flags) of flows nobody knows yet, for a second, bounded; the oldest goes first."""

    def __init__(self) -> None:
        self._flows: OrderedDict[FlowKey, tuple[float, list[tuple[bool, int]]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flows)

    def __contains__(self, key: FlowKey) -> bool:
        return key in self._flows

    def add(self, key: FlowKey, src_is_hi: bool, tcp_flags: int, now: float) -> None:
        """Keep an event."""
        known = self._flows.get(key)
        if known is None:
            self.expire(now)
            if len(self._flows) >= _MOST_FLOWS:
                self._flows.popitem(last=False)
            self._flows[key] = (now, [(src_is_hi, tcp_flags)])
        elif len(known[1]) < _MOST_EVENTS:
            known[1].append((src_is_hi, tcp_flags))

    def take(self, key: FlowKey, now: float) -> list[tuple[bool, int]]:
        """Return and forget what came for a flow in the last second, in order."""
        if not self._flows:
            return []
        since, events = self._flows.pop(key, (now, []))
        return events if now - since <= _KEEP_SECONDS else []

    def expire(self, now: float) -> None:
        """Forget what nobody asked for."""
        while self._flows:
            key, (since, _) = next(iter(self._flows.items()))
            if now - since <= _KEEP_SECONDS:
                return
            del self._flows[key]
