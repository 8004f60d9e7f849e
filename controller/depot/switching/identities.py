"""The numbers that VIPs and members have on one switch. Pure.

A VIP's number belongs to its address, port and protocol; a member's to how it is reached (its action and parameters).
So both are found again by reading a switch back, and two VIPs that reach a member in the same way share its number. A
number given up is not given to another for as long as the flow cache may remember it, counted from its last word of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

from depot.p4runtime.entry import Action, Entry, Table

__all__ = ["Identities", "IdentitiesExhaustedError", "MemberAction", "VipKey"]

QUARANTINE = 65.0
"""Seconds that a number stays unused: FLOW_CACHE_LIFETIME (constants.p4) is 61.4."""
MOST_IDS = 1 << 16
"""`vip_id_t` and `member_id_t` have 16 bits."""


class VipKey(NamedTuple):
    """What makes a VIP: the key of `vip_table`."""

    address: int
    """128 bit; of a transparent VIP a negative number made of its name."""
    port: int
    """TCP or UDP port."""
    protocol: int
    """IP protocol."""


class MemberAction(NamedTuple):
    """What makes a member: the action of `member_table`."""

    action: Action
    """NAT_TO_MEMBER, DSR_TO_MEMBER or IPIP_TO_MEMBER."""
    params: tuple[int, ...]
    """Its parameters."""


class IdentitiesExhaustedError(Exception):
    """All 65536 numbers are taken."""


K = TypeVar("K", bound=Hashable)


class _Numbers(Generic[K]):
    """One kind of numbers: lowest free first."""

    def __init__(self, kind: str, first: int = 0) -> None:
        self._kind = kind
        self._first = first
        self._number_of: dict[K, int] = {}
        self._owner_of: dict[int, K] = {}
        self._given_up: dict[int, float] = {}  # when, by number, oldest first
        self._free: list[int] = []
        self._unused_from = first

    def adopt(self, owner: K, number: int) -> None:
        if number >= self._first and owner not in self._number_of and number not in self._owner_of:
            self._number_of[owner] = number
            self._owner_of[number] = owner

    def number(self, owner: K, now: float) -> int:
        found = self._number_of.get(owner)
        if found is None:
            found = self._number_of[owner] = self._next(now)
            self._owner_of[found] = owner
        return found

    def find(self, owner: K) -> int | None:
        return self._number_of.get(owner)

    def owner(self, number: int) -> K | None:
        return self._owner_of.get(number)

    def keep(self, owners: set[K], now: float) -> list[int]:
        given_up = [self._number_of.pop(owner) for owner in self._number_of.keys() - owners]
        for number in given_up:
            del self._owner_of[number]
            self._given_up[number] = now
        return given_up

    def named(self, number: int, now: float) -> None:
        if number not in self._owner_of:
            self._given_up.pop(number, None)
            self._given_up[number] = now

    def _next(self, now: float) -> int:
        while self._given_up and now - self._given_up[number := next(iter(self._given_up))] >= QUARANTINE:
            del self._given_up[number]
            if number < self._unused_from:
                heapq.heappush(self._free, number)
        while self._free:
            number = heapq.heappop(self._free)
            if number not in self._owner_of and number not in self._given_up:
                return number
        while self._unused_from in self._owner_of or self._unused_from in self._given_up:
            self._unused_from += 1
        if self._unused_from >= MOST_IDS:
            raise IdentitiesExhaustedError(f"no {self._kind} number is free")
        self._unused_from += 1
        return self._unused_from - 1


class Identities:
    """The numbers of one switch. first_member: in a cluster 1, since member 0 means none there."""

    def __init__(self, first_member: int = 0) -> None:
        self._vips: _Numbers[VipKey] = _Numbers("VIP")
        self._members: _Numbers[MemberAction] = _Numbers("member", first_member)

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Take the numbers that a switch's tables use; what we gave already stays."""
        for entry in entries:
            if entry.table is Table.VIP:
                self._vips.adopt(VipKey(*entry.values), entry.params[0])
            elif entry.table is Table.MEMBER:
                self._members.adopt(MemberAction(entry.action, entry.params), entry.values[0])

    def vip(self, key: VipKey, now: float) -> int:
        """Return the VIP's number, a new one if it has none. Raises IdentitiesExhaustedError."""
        return self._vips.number(key, now)

    def member(self, action: MemberAction, now: float) -> int:
        """Return the member's number, a new one if it has none. Raises IdentitiesExhaustedError."""
        return self._members.number(action, now)

    def find_vip(self, key: VipKey) -> int | None:
        """Return the VIP's number, None if it has none."""
        return self._vips.find(key)

    def find_member(self, action: MemberAction) -> int | None:
        """Return the member's number, None if it has none."""
        return self._members.find(action)

    def vip_of(self, vip_id: int) -> VipKey | None:
        """Return whose number this is, None if nobody's."""
        return self._vips.owner(vip_id)

    def member_of(self, member_id: int) -> MemberAction | None:
        """Return whose number this is, None if nobody's."""
        return self._members.owner(member_id)

    def member_named(self, member_id: int, now: float) -> None:
        """The flow cache led a packet to this number just now: if it is nobody's, nobody gets it for a while."""
        self._members.named(member_id, now)

    def keep(self, vips: set[VipKey], members: set[MemberAction], now: float) -> list[int]:
        """Give up every number but these; return those of members that are given up."""
        self._vips.keep(vips, now)
        return self._members.keep(members, now)
