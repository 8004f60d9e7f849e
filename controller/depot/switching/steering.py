"""Which member serves a connection best (seed 000, 3: connection handoff). Pure.

The hook is asked once for each new connection whose rule says `steer`, where it first arrives. What it answers is done:
the connection becomes an off-box connection of the member that it names.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from typing import Protocol

from depot.address import FlowKey

__all__ = ["DictionaryAffinity", "Steering"]

MOST_PAIRS = 65536
"""Pairs of client and server remembered: three times the connections of one member (seed 000, 3)."""


class Steering(Protocol):
    """The hook."""

    def choose(self, flow: FlowKey, members: Collection[str]) -> str:
        """Return the member, one of those that live, that is to serve a new connection."""

    def served(self, flow: FlowKey, member: str) -> None:
        """A member serves, or served, a connection."""


class DictionaryAffinity:
    """The same client and server come to the same member: it has built up a dictionary with what passed between them.

    A pair that nobody has served, or whose member is gone, goes where highest random weight hashing puts it: all
    agree on that without a word, and a member that comes or goes moves its own share only.
    """

    def __init__(self) -> None:
        self._served: OrderedDict[tuple[int, int], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._served)

    def choose(self, flow: FlowKey, members: Collection[str]) -> str:
        """Return the member that served the pair last, or that the hash names."""
        pair = (flow.addr_lo, flow.addr_hi)
        known = self._served.get(pair)
        if known is not None and known in members:
            return known
        return max(sorted(members), key=lambda member: _weight(member, pair))

    def served(self, flow: FlowKey, member: str) -> None:
        """Remember who serves the pair; the one not heard of for longest makes room."""
        pair = (flow.addr_lo, flow.addr_hi)
        self._served[pair] = member
        self._served.move_to_end(pair)
        if len(self._served) > MOST_PAIRS:
            self._served.popitem(last=False)


def _weight(member: str, pair: tuple[int, int]) -> bytes:
    ends = b"".join(address.to_bytes(16, "big") for address in pair)
    return hashlib.blake2b(ends + member.encode(), digest_size=8).digest()
