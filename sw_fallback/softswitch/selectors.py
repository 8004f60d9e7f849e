"""Action profiles: members, and groups of members for selectors (P4Runtime 9.2)."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from typing import Protocol

from softswitch.entities import ActionCall, ActionSet, GroupMember, GroupRef, MemberRef, SelectorGroup, SelectorMember
from softswitch.errors import EntryExists, EntryNotFound, InvalidArgument, StillReferenced, TableFull
from softswitch.p4info import ActionProfileInfo
from softswitch.rows import Call

__all__ = ["ActionResolver", "ProfileMirror", "ProfileStore"]

MAX_WEIGHT = 65536
"""Seats of a group: weights above this say that a client sent nonsense."""


class ActionResolver:
    """Turns an action with arguments into what translated code dispatches on, checked against the P4Info."""

    def __init__(self, numbers: Mapping[int, int], widths: Mapping[int, tuple[int, ...]]) -> None:
        self._numbers = numbers
        self._limits = {action: tuple(1 << width for width in given) for action, given in widths.items()}

    def ids(self) -> dict[int, int]:
        """P4Info ids by action number."""
        return {number: action_id for action_id, number in self._numbers.items()}

    def resolve(self, call: ActionCall) -> tuple[int, tuple[int, ...]]:
        """Action number and arguments. Raises `InvalidArgument`."""
        limits = self._limits.get(call.action_id)
        if limits is None:
            raise InvalidArgument(f"action {call.action_id:#x} cannot be used here")
        if len(call.params) != len(limits):
            raise InvalidArgument(f"action {call.action_id:#x} takes {len(limits)} parameters, not {len(call.params)}")
        for position, (value, limit) in enumerate(zip(call.params, limits, strict=True), 1):
            if not 0 <= value < limit:
                raise InvalidArgument(
                    f"parameter {position} of action {call.action_id:#x}: {value:#x} is wider than"
                    f" {limit.bit_length() - 1} bits"
                )
        return self._numbers[call.action_id], call.params


class _Member(Call):
    """A member at work."""

    __slots__ = ("described", "order")

    def __init__(self, described: SelectorMember, order: int) -> None:
        super().__init__()
        self.described = described
        self.order = order


class _Group(Call):
    """A group at work; its `seats` are what a packet is hashed over."""

    __slots__ = ("described",)

    def __init__(self, described: SelectorGroup) -> None:
        super().__init__()
        self.described = described


class ProfileMirror(Protocol):
    """A second copy of a profile, which an engine outside of this process reads."""

    def refresh(self, target: Call) -> None:
        """A member has another action or arguments, or a group other members. Raises `TableFull`."""


class ProfileStore:
    """The members and groups of one action profile or selector."""

    def __init__(self, info: ActionProfileInfo, resolver: ActionResolver, mirror: ProfileMirror | None = None) -> None:
        self.info = info
        self._mirror = mirror
        self._resolver = resolver
        self._members: dict[int, _Member] = {}
        self._groups: dict[int, _Group] = {}
        self._uses: Tally[Call] = Tally()
        self._made = 0

    # Members

    def insert_member(self, member: SelectorMember) -> None:
        if member.member_id in self._members:
            raise EntryExists(f"action profile '{self.info.name}' has a member {member.member_id}")
        if 0 < self.info.size <= len(self._members):
            raise TableFull(f"action profile '{self.info.name}' is full with {self.info.size} members")
        action, params = self._resolver.resolve(member.action)
        self._made += 1
        made = self._members[member.member_id] = _Member(member, self._made)
        made.action, made.params = action, params

    def modify_member(self, member: SelectorMember) -> None:
        found = self.member(member.member_id)
        found.action, found.params = self._resolver.resolve(member.action)
        found.described = member
        self._refresh(found)

    def delete_member(self, member_id: int) -> None:
        found = self.member(member_id)
        if self._uses[found]:
            raise StillReferenced(f"member {member_id} of action profile '{self.info.name}' is in use")
        del self._members[member_id]

    def member(self, member_id: int) -> _Member:
        if member_id not in self._members:
            raise EntryNotFound(f"action profile '{self.info.name}' has no member {member_id}")
        return self._members[member_id]

    def members(self) -> Iterator[SelectorMember]:
        return (member.described for member in self._members.values())

    # Groups

    def insert_group(self, group: SelectorGroup) -> None:
        self._check_selector()
        if group.group_id in self._groups:
            raise EntryExists(f"action selector '{self.info.name}' has a group {group.group_id}")
        seated = self._seats(group.members, group.max_size)
        made = self._groups[group.group_id] = _Group(group)
        self._seat(made, seated)

    def modify_group(self, group: SelectorGroup) -> None:
        found = self.group(group.group_id)
        if group.max_size not in (0, found.described.max_size):
            raise InvalidArgument(f"the maximum size of group {group.group_id} cannot change")
        seated = self._seats(group.members, found.described.max_size)
        self._unseat(found)
        found.described = SelectorGroup(group.profile_id, group.group_id, group.members, found.described.max_size)
        self._seat(found, seated)
        self._refresh(found)

    def _refresh(self, target: Call) -> None:
        if self._mirror is not None:
            self._mirror.refresh(target)

    def delete_group(self, group_id: int) -> None:
        found = self.group(group_id)
        if self._uses[found]:
            raise StillReferenced(f"group {group_id} of action selector '{self.info.name}' is in use")
        self._unseat(found)
        del self._groups[group_id]

    def group(self, group_id: int) -> _Group:
        self._check_selector()
        if group_id not in self._groups:
            raise EntryNotFound(f"action selector '{self.info.name}' has no group {group_id}")
        return self._groups[group_id]

    def groups(self) -> Iterator[SelectorGroup]:
        return (group.described for group in self._groups.values())

    # Table entries that point here

    def target(self, action: MemberRef | GroupRef | ActionSet) -> Call:
        """The member or group that a table entry's action stands for."""
        if isinstance(action, MemberRef):
            return self.member(action.member_id)
        if isinstance(action, GroupRef):
            return self.group(action.group_id)
        return self._one_shot(action)

    def hold(self, target: Call) -> None:
        """An entry points at the target from now on."""
        self._uses[target] += 1

    def release(self, target: Call) -> None:
        """An entry points at the target no more."""
        self._uses[target] -= 1
        if not self._uses[target]:
            del self._uses[target]

    def _one_shot(self, action_set: ActionSet) -> Call:
        self._check_selector()
        if not action_set.actions:
            raise InvalidArgument("an action set has at least one action")
        group, seats = Call(), []
        for call, weight, _ in action_set.actions:
            self._check_weight(weight)
            seats += [Call(*self._resolver.resolve(call))] * weight
        self._check_size(len(seats), 0)
        group.seats = tuple(seats)
        return group

    def _check_selector(self) -> None:
        if not self.info.with_selector:
            raise InvalidArgument(f"action profile '{self.info.name}' has no selector, so no groups")

    def _check_weight(self, weight: int) -> None:
        if not 0 < weight <= MAX_WEIGHT:
            raise InvalidArgument(f"a weight is from 1 to {MAX_WEIGHT}, not {weight}")

    def _check_size(self, size: int, own_limit: int) -> None:
        limit = own_limit or self.info.max_group_size
        if 0 < limit < size:
            raise TableFull(f"a group of action selector '{self.info.name}' has at most {limit} seats, not {size}")

    def _seats(self, members: tuple[GroupMember, ...], own_limit: int) -> list[_Member]:
        if own_limit and 0 < self.info.max_group_size < own_limit:
            raise InvalidArgument(f"the maximum size {own_limit} is above the selector's {self.info.max_group_size}")
        if len({member.member_id for member in members}) != len(members):
            raise InvalidArgument("a group names a member twice")
        weights = {}
        for member in members:
            self._check_weight(member.weight)
            weights[self.member(member.member_id)] = member.weight
        seats = [member for member in sorted(weights, key=lambda m: m.order) for _ in range(weights[member])]
        self._check_size(len(seats), own_limit)
        return seats

    def _seat(self, group: _Group, seats: list[_Member]) -> None:
        group.seats = tuple(seats)
        for member in set(seats):
            self._uses[member] += 1

    def _unseat(self, group: _Group) -> None:
        for member in set(group.seats):
            self.release(member)
