"""Who serves what at one switch: VIPs, members, schedules, by the operator's names and the switch's numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from depot.config.model import VipConfig
from depot.switching.desired import member_action, vip_key
from depot.switching.identities import Identities, MemberAction

__all__ = ["Roster"]


class Roster:
    """The services of one switch. first_member: the lowest number that a member may have."""

    def __init__(self, vips: Sequence[VipConfig], first_member: int) -> None:
        self.vips = {vip.name: vip for vip in vips}
        """The VIPs by name."""
        self.schedules: dict[str, tuple[str, ...]] = {}
        """By VIP name, the member of each slot."""
        self.down: set[tuple[str, str]] = set()
        """Dead members, by names of VIP and member."""
        self._first_member = first_member
        self.identities = Identities(first_member)
        """The numbers."""
        self._names: dict[tuple[int, int], tuple[str, str]] = {}
        self._turn: Counter[str] = Counter()

    def reconfigure(self, vips: Sequence[VipConfig], schedules: Mapping[str, Sequence[str]]) -> None:
        """Take other VIPs and the schedules of all of them."""
        self.vips = {vip.name: vip for vip in vips}
        self.down = {(vip, member) for vip, member in self.down if self.configured(vip, member) is not None}
        self.schedules = {name: tuple(slots) for name, slots in schedules.items() if name in self.vips}

    def forget_numbers(self) -> None:
        """Another controller gives out the numbers now."""
        self.identities = Identities(self._first_member)

    def give_numbers(self, now: float) -> Iterator[tuple[int, VipConfig]]:
        """Give every VIP and member its number; yield each VIP with its."""
        self._names = {}
        for vip in self.vips.values():
            vip_id = self.identities.vip(vip_key(vip), now)
            for member in vip.members:
                member_id = self.identities.member(member_action(vip, member), now)
                self._names[vip_id, member_id] = (vip.name, member.name)
            yield vip_id, vip

    def configured(self, vip_name: str, member_name: str) -> MemberAction | None:
        """Return how a member of a VIP is reached; None: there is none of these names."""
        vip = self.vips.get(vip_name)
        found = (member_action(vip, one) for one in vip.members if one.name == member_name) if vip else iter(())
        return next(found, None)

    def ids(self, vip_name: str, member_name: str) -> tuple[int, int] | None:
        """Return the numbers of a VIP and its member, where both have one."""
        action = self.configured(vip_name, member_name)
        if action is None:
            return None
        vip_id = self.identities.find_vip(vip_key(self.vips[vip_name]))
        member_id = self.identities.find_member(action)
        return None if vip_id is None or member_id is None else (vip_id, member_id)

    def vip_ids(self) -> list[int]:
        """Return the numbers of all VIPs that have one."""
        found = (self.identities.find_vip(vip_key(vip)) for vip in self.vips.values())
        return [vip_id for vip_id in found if vip_id is not None]

    def substitute(self, vip_id: int) -> int | None:
        """Return the member of a VIP's schedule whose turn it is, for a session that must move; None: it has none."""
        name = self.vip_name(vip_id)
        slots = self.schedules.get(name, ()) if name is not None else ()
        if name is None or not slots:
            return None
        self._turn[name] += 1
        ids = self.ids(name, slots[self._turn[name] % len(slots)])
        return None if ids is None else ids[1]

    def names(self, vip_id: int, member_id: int) -> tuple[str, str] | None:
        """Return the names of a VIP and its member; None for one that is configured no more."""
        return self._names.get((vip_id, member_id))

    def vip_name(self, vip_id: int) -> str | None:
        """Return the name of a VIP."""
        vip = self.vip(vip_id)
        return None if vip is None else vip.name

    def vip(self, vip_id: int) -> VipConfig | None:
        """Return a VIP by its number."""
        key = self.identities.vip_of(vip_id)
        return next((vip for vip in self.vips.values() if vip_key(vip) == key), None)

    def transparent_vip(self, member_id: int, protocol: int) -> int | None:
        """Return the number of the transparent VIP that a member serves with this protocol; None: there is none."""
        for (vip_id, one), (vip_name, _) in self._names.items():
            vip = self.vips[vip_name]
            if one == member_id and vip.transparent and protocol == vip.protocol:
                return vip_id
        return None
