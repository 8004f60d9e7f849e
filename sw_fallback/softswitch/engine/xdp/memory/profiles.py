"""Action profiles: members and groups that rows of indirect tables point at (`PROFILE` in `tables.h`).

A member or group is in memory while rows point at it. A group of one member, which a member is by itself too, has the
number of the member's row in the group's word; a larger one has a run of seats.
"""

from __future__ import annotations

from collections import Counter

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory.mirror import Shared
from softswitch.engine.xdp.memory.rows import RowMemory
from softswitch.engine.xdp.memory.seats import Runs
from softswitch.errors import TableFull
from softswitch.rows import NO_ACTION, Call

__all__ = ["ProfileMirror"]


class _Member:
    """A member in memory."""

    __slots__ = ("groups", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        """Of its row."""
        self.groups: Counter[_Group] = Counter()
        """Where it sits, and on how many seats."""


class _Group:
    """A group in memory."""

    __slots__ = ("call", "first", "number", "rows", "seats")

    def __init__(self, call: Call, number: int) -> None:
        self.call = call
        self.number = number
        self.rows = 0
        """How many rows point here."""
        self.seats: tuple[Call, ...] = ()
        self.first = 0
        """The first of its seats, if there are several."""


class ProfileMirror:
    """What programs know of one profile; `softswitch.engine.xdp.memory.mirror.Groups`."""

    def __init__(self, shared: Shared) -> None:
        """Its maps are STEM_groups, STEM_seats and STEM_rows."""
        self._rows = RowMemory(shared.map("rows"), shared.layout, shared.numbers, shared.grace)
        groups, seats = shared.map("groups"), shared.map("seats")
        self._words = groups.memory().cast("Q")
        self._seats = _Seats(seats)
        self._numbers = Runs(groups.name, 1, groups.max_entries, shared.grace)
        self._runs = Runs(seats.name, 0, seats.max_entries, shared.grace)
        self._groups: dict[Call, _Group] = {}
        self._by_number: dict[int, _Group] = {}
        self._members: dict[Call, _Member] = {}

    def __len__(self) -> int:
        """How many members are in memory."""
        return len(self._members)

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        self._rows.close()
        self._words.release()
        self._seats.close()

    def hold(self, target: Call) -> int:
        """The number of a member's or group's group, which a row points at from now on. Raises `TableFull`."""
        group = self._groups.get(target)
        if group is None:
            group = _Group(target, self._numbers.take())
            try:
                self._seat(group)
            except TableFull:
                self._numbers.give_back(group.number)
                raise
            self._groups[target] = self._by_number[group.number] = group
        group.rows += 1
        return group.number

    def release(self, number: int) -> None:
        """A row points there no more."""
        group = self._by_number[number]
        group.rows -= 1
        if group.rows:
            return
        del self._groups[group.call], self._by_number[number]
        # its word stays until the number is used again: a program may be on its way from a row
        self._unseat(group, group.seats, group.first)
        self._numbers.give_back(number)

    def refresh(self, target: Call) -> None:
        """A member has another action or arguments, a group other members. Nothing if no row leads there.

        Raises `TableFull`, and then programs go on with what they had.
        """
        member = self._members.get(target)
        if member is not None:
            self._rewrite(target, member)
        group = self._groups.get(target)
        if group is not None and _seats_of(target) != group.seats:
            seats, first = group.seats, group.first
            self._seat(group)
            self._unseat(group, seats, first)

    def _rewrite(self, call: Call, member: _Member) -> None:
        before, number = member.number, self._rows.take()
        self._rows.fill(number, (), call.action, call.params)
        member.number = number
        for group in member.groups:
            if len(group.seats) == 1:
                self._words[group.number] = 1 << 32 | number
                continue
            for seat, occupant in enumerate(group.seats, group.first):
                if occupant is call:
                    self._seats[seat] = number
        self._rows.give_back(before)

    def _seat(self, group: _Group) -> None:
        """Let a group have its call's members; those it had keep their places until `_unseat`."""
        seats = _seats_of(group.call)
        first = self._runs.take(len(seats)) if len(seats) > 1 else 0
        made: list[Call] = []
        try:
            for call in dict.fromkeys(seats):
                if call not in self._members:
                    number = self._rows.take()
                    self._rows.fill(number, (), call.action, call.params)
                    self._members[call] = _Member(number)
                    made.append(call)
        except TableFull:
            for call in made:
                self._rows.give_back(self._members.pop(call).number)
            if len(seats) > 1:
                self._runs.give_back(first, len(seats))
            raise
        for place, call in enumerate(seats, first):
            member = self._members[call]
            member.groups[group] += 1
            if len(seats) > 1:
                self._seats[place] = member.number
        group.seats, group.first = seats, first
        start = self._members[seats[0]].number if len(seats) == 1 else first
        self._words[group.number] = len(seats) << 32 | start

    def _unseat(self, group: _Group, seats: tuple[Call, ...], first: int) -> None:
        """Give back what a group had; the group leads there no more."""
        for call in seats:
            member = self._members[call]
            member.groups[group] -= 1
            if member.groups[group]:
                continue
            del member.groups[group]
            if not member.groups:
                del self._members[call]
                self._rows.give_back(member.number)
        if len(seats) > 1:
            self._runs.give_back(first, len(seats))


class _Seats:
    """The numbers in a map whose values of 32 bits lie 8 bytes apart."""

    def __init__(self, seats: Map) -> None:
        self._halves = seats.memory().cast("I")

    def close(self) -> None:
        self._halves.release()

    def __setitem__(self, place: int, number: int) -> None:
        self._halves[2 * place] = number


def _seats_of(call: Call) -> tuple[Call, ...]:
    """The members of a group; of a member itself."""
    if call.seats or call.action == NO_ACTION:
        return call.seats
    return (call,)
