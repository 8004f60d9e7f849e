"""What a switch still holds for members that are configured no more: which entries stay, and until when. Pure.

A former member keeps its entries while sessions name it, and for as long as the flow cache may lead packets to it:
sessions that only the cache knows announce themselves meanwhile. Its number is given up after that, so nobody else's
member gets it while anything names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from depot.p4runtime.entry import Action, Entry, EntryKey, Table, nat_source_entry
from depot.switching.identities import QUARANTINE, Identities, MemberAction, VipKey

__all__ = ["FormerMembers", "SessionsNaming"]

SessionsNaming = Callable[[int, int | None], int]
"""Given a member's id and a VIP's, how many sessions of the VIP have it; of all VIPs for None."""


@dataclass(slots=True)
class _Former:
    """An entry of a member, or a NAT member's way back to one of its VIPs."""

    entry: Entry
    member_id: int
    vip_id: int | None
    until: float
    """When the flow cache has forgotten it."""


class FormerMembers:
    """The former members of one switch."""

    def __init__(self, sessions: SessionsNaming) -> None:
        self._sessions = sessions
        self._known: dict[EntryKey, _Former] = {}
        self._now = 0.0

    def actions(self) -> set[MemberAction]:
        """Who must not lose their numbers yet."""
        members = (one.entry for key, one in self._known.items() if key.table is Table.MEMBER)
        return {MemberAction(entry.action, entry.params) for entry in members}

    def named(self, member_id: int, now: float) -> None:
        """The flow cache led a packet to this member just now."""
        for one in self._known.values():
            if one.member_id == member_id:
                one.until = now + QUARANTINE

    def connected(self, carried: Iterable[Entry], now: float) -> None:
        """Nobody heard of the flow cache until now; carried: what the switch held before its program was replaced."""
        for entry in carried:
            if entry.table is Table.MEMBER:
                self._known.setdefault(entry.key, _Former(entry, entry.values[0], None, now))
        for one in self._known.values():
            one.until = now + QUARANTINE

    def keep(
        self,
        held: Iterable[Entry],
        configured: Mapping[EntryKey, Entry],
        vips: Mapping[int, VipKey],
        identities: Identities,
        now: float,
        *,
        release: bool,
    ) -> list[Entry]:
        """Take what the switch holds and what is configured; return what it should hold beyond that.

        release: whether anybody may go; not while nobody hears whom the flow cache names.
        A NAT member of VIPs that are all gone keeps its number only: nothing leads to it, and nothing back.
        """
        ids = {key: vip_id for vip_id, key in vips.items()}
        for entry in held:
            self._add(entry, ids, identities, now)
        self._known = {
            key: one
            for key, one in self._known.items()
            if key not in configured
            and (one.vip_id is None or one.vip_id in vips)
            and not (release and self._is_over(one, now))
        }
        ways = self._ways_back(configured, vips)
        members = [one for key, one in self._known.items() if key.table is Table.MEMBER]
        led_back = {entry.values[:2] for entry in ways.values()}
        shown = [
            one.entry for one in members if one.entry.action is not Action.NAT_TO_MEMBER or one.entry.params in led_back
        ]
        return [*shown, *ways.values()]

    def _add(self, entry: Entry, ids: Mapping[VipKey, int], identities: Identities, now: float) -> None:
        if entry.key in self._known:
            return
        if entry.table is Table.MEMBER:
            self._known[entry.key] = _Former(entry, entry.values[0], None, now + QUARANTINE)
        elif entry.table is Table.NAT_SOURCE:
            address, port, protocol = entry.values
            member_id = identities.find_member(MemberAction(Action.NAT_TO_MEMBER, (address, port)))
            vip_address, vip_port = entry.params
            vip_id = ids.get(VipKey(vip_address, vip_port, protocol))
            if member_id is not None and vip_id is not None:
                self._known[entry.key] = _Former(entry, member_id, vip_id, now + QUARANTINE)

    def _ways_back(self, configured: Mapping[EntryKey, Entry], vips: Mapping[int, VipKey]) -> dict[EntryKey, Entry]:
        """Those that the switch has, and those that sessions need."""
        ways = {key: one.entry for key, one in self._known.items() if key.table is Table.NAT_SOURCE}
        for one in self._known.values():
            if one.entry.action is not Action.NAT_TO_MEMBER:
                continue
            source, source_port = one.entry.params
            for vip_id, (address, port, protocol) in vips.items():
                if self._sessions(one.member_id, vip_id):
                    way = nat_source_entry(source, source_port, protocol, address, port)
                    ways.setdefault(way.key, way)
        return {key: way for key, way in ways.items() if key not in configured}

    def _is_over(self, one: _Former, now: float) -> bool:
        return now >= one.until and not self._sessions(one.member_id, one.vip_id)

    def are_due(self, now: float) -> bool:
        """Whether one should go, so that `keep` should be asked."""
        self._now = now
        return any(self._is_over(one, now) for one in self._known.values())

    def next_deadline(self) -> float | None:
        """When `are_due` may say so for the time alone; None: not yet."""
        return min((one.until for one in self._known.values() if one.until > self._now), default=None)
