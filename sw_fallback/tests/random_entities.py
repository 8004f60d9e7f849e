"""Random entities for any program, with values that its packets have: valid ones mostly, some that must be refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from softswitch.entities import (
    ActionCall,
    ActionSet,
    CloneSession,
    Counter,
    Exact,
    FieldMatch,
    GroupMember,
    GroupRef,
    Lpm,
    MemberRef,
    MeterConfig,
    MulticastGroup,
    Range,
    Replica,
    SelectorGroup,
    SelectorMember,
    TableAction,
    TableEntry,
    TableKey,
    Ternary,
)
from softswitch.p4info import ActionProfileInfo, MatchFieldInfo, MatchType, P4Info, TableInfo
from softswitch.switch import Entity

IDS = 8
"""Members, groups and sessions have numbers below this one."""


class RandomEntities:
    """Draws entities. The same dice give the same ones."""

    def __init__(self, info: P4Info, pools: Mapping[int, Sequence[int]], idle_ns: int) -> None:
        """`pools`: likely values of match fields and parameters by their width in bits; `idle_ns`: the timeout of
        entries that have one."""
        self._info = info
        self._pools = pools
        self._idle_ns = idle_ns
        self._priority = 0

    def entity(self, dice: Random) -> Entity:
        """Of any kind that the program has."""
        tables = [table for table in self._info.tables.values() if table.match_fields]
        profiles = list(self._info.profiles.values())
        if profiles and dice.random() < 0.4:
            return self._of_profile(dice, dice.choice(profiles))
        if not tables or dice.random() < 0.15:
            return self._replication(dice)
        return self.entry(dice, dice.choice(tables))

    def _replication(self, dice: Random) -> Entity:
        places = [(dice.randrange(1, 5), dice.randrange(4)) for _ in range(dice.randrange(4))]
        replicas = tuple(Replica(port, instance) for port, instance in dict.fromkeys(places))
        if dice.random() < 0.5:
            return MulticastGroup(dice.randrange(IDS), replicas)
        return CloneSession(dice.randrange(IDS), replicas, packet_length=dice.choice((0, 0, 15, 40)))

    def _of_profile(self, dice: Random, profile: ActionProfileInfo) -> Entity:
        number = dice.randrange(1, IDS)
        if dice.random() < 0.5:
            table = self._info.tables[dice.choice(profile.table_ids)]
            return SelectorMember(profile.id, number, self.call(dice, table))
        members = sorted(dice.sample(range(1, IDS), dice.randrange(4)))
        seats = tuple(GroupMember(member, dice.choice((1, 1, 2, 3))) for member in members)
        return SelectorGroup(profile.id, number, seats, dice.choice((0, 0, 8)))

    def entry(self, dice: Random, table: TableInfo) -> TableEntry:
        """Of this table; no two have the same priority: which of them wins is nobody's promise."""
        self._priority += 1
        match = tuple(self._match(dice, field) for field in table.match_fields)
        priority = (self._priority * 7919) % 100_003 + 1 if table.needs_priority else 0
        idle = self._idle_ns if table.notifies_idle and dice.random() < 0.5 else 0
        return TableEntry(TableKey(table.id, match, priority), self.action(dice, table), idle)

    def action(self, dice: Random, table: TableInfo) -> TableAction:
        """What an entry of the table may run or point at."""
        if not table.profile_id:
            return self.call(dice, table)
        chance = dice.random()
        if chance < 0.45 and self._info.profiles[table.profile_id].with_selector:
            return GroupRef(dice.randrange(1, IDS))
        if chance < 0.55:
            return ActionSet(tuple((self.call(dice, table), dice.randrange(1, 4), 0) for _ in range(2)))
        return MemberRef(dice.randrange(1, IDS))

    def call(self, dice: Random, table: TableInfo) -> ActionCall:
        """Any action of the table with arguments."""
        action = self._info.actions[dice.choice(table.action_ids)]
        return ActionCall(action.id, tuple(self._value(dice, param.width) for param in action.params))

    def counter(self, dice: Random) -> Counter:
        """A reading, now and then one that no counter has."""
        return Counter(*(dice.choice((0, dice.getrandbits(10), (1 << 63) - 1, 1 << 63)) for _ in range(2)))

    def meter(self, dice: Random) -> MeterConfig | None:
        """Rates that a few packets exhaust, and some that nobody does."""
        if dice.random() < 0.1:
            return None
        rates = sorted(dice.choice((0, 1, 100, 5000, 1_000_000)) for _ in range(2))
        bursts = [dice.choice((0, 1, 3, 100, 1000, 100_000)) for _ in range(2)]
        return MeterConfig(rates[0], bursts[0], rates[1], bursts[1])

    def _match(self, dice: Random, field: MatchFieldInfo) -> FieldMatch | None:
        width, full = field.width, (1 << field.width) - 1
        value = self._value(dice, width)
        if field.match_type is not MatchType.EXACT and dice.random() < 0.1:
            return None
        match field.match_type:
            case MatchType.LPM:
                length = dice.choice((1, width // 2, width - 1, width, dice.randint(1, width)))
                return Lpm(value >> width - length << width - length, length)
            case MatchType.TERNARY:
                mask = dice.choice((full, full ^ full >> width // 2, full >> width // 2, dice.randint(1, full)))
                return Ternary(value & mask, mask)
            case MatchType.RANGE:
                low, high = sorted((value, self._value(dice, width)))
                return None if (low, high) == (0, full) else Range(low, high)
            case _:
                return Exact(value)

    def _value(self, dice: Random, width: int) -> int:
        chance = dice.random()
        if chance < 0.9 and width in self._pools:
            return dice.choice(self._pools[width]) & (1 << width) - 1
        return dice.choice((0, (1 << width) - 1, dice.getrandbits(width))) if chance < 0.995 else 1 << width
