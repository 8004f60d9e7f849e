"""A switch without an engine: it keeps what is written and answers packets by one fixed rule.

Enough of the surface of `softswitch.Switch` to test the server by itself. Packets: what arrives at the CPU port leaves
by the port in its packet_out header; everything else goes to the controller and gives a digest sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from sw_fallback.tests.entities_program import CONST, DIGEST, DROP, JSON_PATH, NO_ACTION, P4INFO

from softswitch.entities import (
    ActionCall,
    CloneSession,
    Counter,
    Exact,
    GroupRef,
    MemberRef,
    MeterConfig,
    MulticastGroup,
    SelectorGroup,
    SelectorMember,
    TableEntry,
    TableKey,
)
from softswitch.errors import EntryExists, EntryNotFound, NotPermitted, StillReferenced, TableFull
from softswitch.stats import Stats
from softswitch.switch import Entity, EntityKey, GroupKey, MemberKey, MulticastKey, SessionKey, Switch

CPU_PORT = 255


class FakeSwitch:
    """See the module."""

    def __init__(self) -> None:
        self.now = 0
        self.kernel = None
        self.stats = Stats()
        self.flushed = 0
        self.closed = False
        self.kept: dict[EntityKey, Entity] = {}
        self.defaults: dict[int, ActionCall] = {}
        self.direct_counters: dict[TableKey, Counter] = {}
        self.direct_meters: dict[TableKey, MeterConfig | None] = {}
        self.cells: dict[tuple[int, int], object] = {}
        self.digests: list[tuple[int, tuple[int, ...]]] = []
        self.idle: list[TableKey] = []
        self.sizes = {one.preamble.id: one.size for one in P4INFO.tables}
        self.sizes |= {one.preamble.id: one.size for one in (*P4INFO.counters, *P4INFO.meters, *P4INFO.registers)}
        for table in P4INFO.tables:
            if table.HasField("initial_default_action") and not table.implementation_id:
                arguments = tuple(int.from_bytes(one.value, "big") for one in table.initial_default_action.arguments)
                self.defaults[table.preamble.id] = ActionCall(table.initial_default_action.action_id, arguments)
        self._first_defaults = dict(self.defaults)
        self._const = {table.preamble.id for table in P4INFO.tables if table.is_const_table}
        for ether_type, action in ((0x88CC, DROP), (0x88F7, NO_ACTION)):
            key = TableKey(CONST, (Exact(ether_type),))
            self.kept[key] = TableEntry(key, ActionCall(action))

    def as_switch(self) -> Switch:
        """Itself, as the type the server wants."""
        return cast(Switch, self)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        if port == CPU_PORT:
            return [(int.from_bytes(packet[:2], "big") >> 7, packet[2:])]
        self.digests.append((DIGEST, (int.from_bytes(packet[6:12], "big"), port)))
        return [(CPU_PORT, (port << 7 | 5 << 4).to_bytes(2, "big") + packet)]

    def insert(self, entity: Entity) -> None:
        key = key_of(entity)
        if key in self.kept:
            raise EntryExists(f"{key} exists")
        if isinstance(entity, TableEntry):
            self._check(entity)
            if sum(1 for one in self.entries(entity.key.table_id)) >= self.sizes[entity.key.table_id]:
                raise TableFull("table full")
        self.kept[key] = entity

    def modify(self, entity: Entity) -> None:
        self._find(key_of(entity))
        self.kept[key_of(entity)] = entity

    def delete(self, entity_or_key: Entity | EntityKey) -> None:
        key = entity_or_key if isinstance(entity_or_key, EntityKey) else key_of(entity_or_key)
        if isinstance(key, TableKey) and key.table_id in self._const:
            raise NotPermitted("constant")
        self._find(key)
        for other in self.kept.values():
            if (
                isinstance(other, TableEntry)
                and isinstance(key, MemberKey)
                and other.action == MemberRef(key.member_id)
            ):
                raise StillReferenced("in use")
        del self.kept[key]
        if isinstance(key, TableKey):
            self.direct_counters.pop(key, None)
            self.direct_meters.pop(key, None)

    def entries(self, table_id: int) -> Iterator[TableEntry]:
        return (one for one in self.kept.values() if isinstance(one, TableEntry) and one.key.table_id == table_id)

    def entry(self, key: TableKey) -> TableEntry:
        return cast(TableEntry, self._find(key))

    def default_action(self, table_id: int) -> ActionCall | None:
        return self.defaults.get(table_id)

    def set_default_action(self, table_id: int, action: ActionCall | None) -> None:
        self.defaults[table_id] = self._first_defaults[table_id] if action is None else action

    def selector_members(self, profile_id: int) -> Iterator[SelectorMember]:
        return (one for one in self.kept.values() if isinstance(one, SelectorMember) and one.profile_id == profile_id)

    def selector_groups(self, profile_id: int) -> Iterator[SelectorGroup]:
        return (one for one in self.kept.values() if isinstance(one, SelectorGroup) and one.profile_id == profile_id)

    def multicast_groups(self) -> Iterator[MulticastGroup]:
        return (one for one in self.kept.values() if isinstance(one, MulticastGroup))

    def clone_sessions(self) -> Iterator[CloneSession]:
        return (one for one in self.kept.values() if isinstance(one, CloneSession))

    def direct_counter(self, key: TableKey) -> Counter:
        self._find(key)
        return self.direct_counters.get(key, Counter())

    def set_direct_counter(self, key: TableKey, value: Counter) -> None:
        self._find(key)
        self.direct_counters[key] = value

    def direct_meter(self, key: TableKey) -> MeterConfig | None:
        self._find(key)
        return self.direct_meters.get(key)

    def set_direct_meter(self, key: TableKey, config: MeterConfig | None) -> None:
        self._find(key)
        self.direct_meters[key] = config

    def counter(self, counter_id: int, index: int) -> Counter:
        return cast(Counter, self.cells.get((counter_id, index), Counter()))

    def set_counter(self, counter_id: int, index: int, value: Counter) -> None:
        self.cells[counter_id, index] = value

    def meter(self, meter_id: int, index: int) -> MeterConfig | None:
        return cast("MeterConfig | None", self.cells.get((meter_id, index)))

    def set_meter(self, meter_id: int, index: int, config: MeterConfig | None) -> None:
        self.cells[meter_id, index] = config

    def register(self, register_id: int, index: int) -> int:
        return cast(int, self.cells.get((register_id, index), 0))

    def set_register(self, register_id: int, index: int, value: int) -> None:
        self.cells[register_id, index] = value

    def counter_size(self, counter_id: int) -> int:
        return self.sizes[counter_id]

    meter_size = register_size = counter_size

    def take_digests(self) -> list[tuple[int, tuple[int, ...]]]:
        taken, self.digests = self.digests, []
        return taken

    def idle_entries(self, now_ns: int) -> list[TableKey]:
        idle, self.idle = self.idle, []
        return idle

    def time_since_last_hit(self, key: TableKey) -> int:
        self._find(key)
        return 17

    def _find(self, key: EntityKey) -> Entity:
        if key not in self.kept:
            raise EntryNotFound(f"no {key}")
        return self.kept[key]

    def _check(self, entry: TableEntry) -> None:
        if entry.key.table_id in self._const:
            raise NotPermitted("constant")
        profile = next((one.preamble.id for one in P4INFO.action_profiles if entry.key.table_id in one.table_ids), 0)
        if isinstance(entry.action, MemberRef):
            self._find(MemberKey(profile, entry.action.member_id))
        if isinstance(entry.action, GroupRef):
            self._find(GroupKey(profile, entry.action.group_id))


def key_of(entity: Entity) -> EntityKey:
    """The key under which an entity is kept."""
    match entity:
        case TableEntry():
            return entity.key
        case SelectorMember():
            return MemberKey(entity.profile_id, entity.member_id)
        case SelectorGroup():
            return GroupKey(entity.profile_id, entity.group_id)
        case MulticastGroup():
            return MulticastKey(entity.group_id)
        case CloneSession():
            return SessionKey(entity.session_id)


def load(engine: str) -> Switch:
    """A switch of the test program: "fake", or "python" for the real thing."""
    if engine == "fake":
        return FakeSwitch().as_switch()
    return Switch.load(P4INFO, JSON_PATH.read_bytes(), cpu_port=CPU_PORT)
