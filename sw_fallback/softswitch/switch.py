"""The software switch as a library: one compiled P4 program, its tables and `process`.

Pure: no socket, no task, no clock of its own. Not safe for use from several threads at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

from softswitch.arrays import check_counter
from softswitch.binding import ActionNumbers, bind
from softswitch.engine.python import PythonEngine, Stores
from softswitch.engine.python.observing import Timing
from softswitch.entities import (
    ActionCall,
    CloneSession,
    Counter,
    MeterConfig,
    MulticastGroup,
    SelectorGroup,
    SelectorMember,
    TableEntry,
    TableKey,
)
from softswitch.errors import InvalidArgument, UnknownId
from softswitch.kernel_engine import KernelEngine, LoadKernelEngine
from softswitch.p4info import P4Info, P4InfoSource
from softswitch.program import DeviceConfig, Program, read_program
from softswitch.program.controls import Action
from softswitch.rows import Row
from softswitch.selectors import ActionResolver, ProfileStore
from softswitch.stats import Stats
from softswitch.tables import TableState
from softswitch.trace import Legend, Tracer

__all__ = [
    "Entity",
    "EntityKey",
    "GroupKey",
    "MemberKey",
    "MulticastKey",
    "SessionKey",
    "Stats",
    "Switch",
]


@dataclass(frozen=True, slots=True)
class MemberKey:
    """Names an action profile member."""

    profile_id: int
    member_id: int


@dataclass(frozen=True, slots=True)
class GroupKey:
    """Names an action selector group."""

    profile_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class MulticastKey:
    """Names a multicast group."""

    group_id: int


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Names a clone session."""

    session_id: int


Entity = TableEntry | SelectorMember | SelectorGroup | MulticastGroup | CloneSession
EntityKey = TableKey | MemberKey | GroupKey | MulticastKey | SessionKey


MAX_DIGESTS = 65536
"""Digest samples kept until somebody takes them; a burst of new sessions fits, a forgotten switch stays small."""
MAX_IDLE = 16384
"""Idle entries reported at once, so that packets do not wait long when a million sessions fall silent together."""

ETHERNET_HEADER = 14
"""Bytes; the kernel runs programs on nothing shorter, and no interface delivers it."""

T = TypeVar("T")


def _standing_still() -> int:
    return 0


class Switch:
    """One loaded program with its state.

    Match fields in `TableKey.match`, parameters in `ActionCall.params` and digest members keep the order of
    the P4Info. Every method raises an `EntityError` when it refuses, and then has changed nothing.
    """

    def __init__(
        self,
        info: P4Info,
        program: Program,
        *,
        cpu_port: int | None,
        drop_port: int,
        clock: Callable[[], int],
        kernel: LoadKernelEngine | None,
    ) -> None:
        """Use `load`."""
        self.p4info = info
        """Index of the P4Info by id and name."""
        self.program = program
        """The compiled program."""
        self.cpu_port = cpu_port
        self.stats = Stats()
        self._clock = clock
        self._binding = bind(info, program)
        self._stores = Stores(program)
        self._digests: deque[tuple[int, tuple[int, ...]]] = deque()
        numbers = ActionNumbers(program)
        self.kernel: KernelEngine | None = None
        """The engine that forwards outside of this process; the python engine does what it cannot."""
        if kernel is not None:
            self.kernel = kernel(program, self._stores, numbers, drop_port=drop_port, cpu_port=cpu_port)
            self._clock, clock = self.kernel.clock, self.kernel.packet_clock
        self._profiles: dict[int, ProfileStore] = {}
        self._tables: dict[int, TableState] = {}
        self._make_profiles(numbers)
        self._make_tables(numbers)
        self._engine = PythonEngine(
            program,
            self._stores,
            numbers,
            drop_port=drop_port,
            clock=clock,
            emit_digest=self._emit_digest,
            stats=self.stats,
            started=None if self.kernel is None else self.kernel.started,
        )
        if self.kernel is not None:
            self.kernel.pair(self._engine, self._emit_digest, self.stats)

    @classmethod
    def load(
        cls,
        p4info: P4InfoSource,
        device_config: DeviceConfig,
        *,
        cpu_port: int | None = None,
        drop_port: int = 511,
        clock: Callable[[], int] | None = None,
        kernel: LoadKernelEngine | None = None,
    ) -> Switch:
        """Translate a compiled program and return a switch with empty tables.

        p4info: a path, its text format, its serialized bytes, or the message. device_config: the BMv2 JSON as a path,
        text, bytes or decoded. cpu_port: the port of packet-in and packet-out. drop_port: what `mark_to_drop` writes.
        clock: nanoseconds, monotonic; without it the switch's time stands still at zero. kernel: `XdpEngine`
        (`softswitch.engine.xdp.engine`) to have the program run in the kernel as well, by the kernel's clock.
        Raises `PipelineError`, with `kernel` also `EngineUnavailable` where this machine cannot run it.
        """
        return cls(
            P4Info.load(p4info),
            read_program(device_config),
            cpu_port=cpu_port,
            drop_port=drop_port,
            clock=clock or _standing_still,
            kernel=kernel,
        )

    def close(self) -> None:
        """Give back what the kernel holds for this switch."""
        if self.kernel is not None:
            self.kernel.close()

    def flush(self) -> None:
        """Make what was written effective for packets that the kernel forwards; to be called after a batch."""
        if self.kernel is not None:
            self.kernel.flush()

    def poll(self) -> list[tuple[int, bytes]]:
        """Packets that left the kernel's engine towards this process, as from `process`; takes its digests too."""
        return [] if self.kernel is None else self.kernel.poll()

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet that arrived at `port`; return (port, packet) for each one that leaves, in order.

        A packet for the controller leaves at `cpu_port` with the packet_in header in front; a packet-out enters
        at `cpu_port` with the packet_out header in front. Never raises, whatever the bytes are.
        """
        kernel = self.kernel
        if kernel is not None and not kernel.connected and port != self.cpu_port and len(packet) >= ETHERNET_HEADER:
            return kernel.process(port, packet)
        return self._engine.process(port, packet)

    @property
    def source(self) -> str:
        """The program as the engine translated it, to read."""
        return self._engine.source if self.kernel is None else self.kernel.source

    def tracer(self, wall_ns: Callable[[], int]) -> Tracer:
        """What packets can be watched with; `wall_ns` tells nanoseconds since 1970."""
        legend = Legend(self.program, ActionNumbers(self.program), self.cpu_port)
        return Tracer(self.kernel or self._engine, legend, wall_ns)

    def measure(self, clock: Callable[[], int] | None) -> Timing:
        """As `KernelEngine.measure`: packets in the kernel where they run there, else in this process."""
        return (self.kernel or self._engine).measure(clock)

    def _make_profiles(self, numbers: ActionNumbers) -> None:
        for info in self.p4info.profiles.values():
            users = [self._binding.tables[table] for table in info.table_ids if table in self._binding.tables]
            actions = {action_id: action for user in users for action_id, action in user.actions.items()}
            mirror = None if self.kernel is None else self.kernel.profile(info.name)
            self._profiles[info.id] = ProfileStore(info, _resolver(actions, numbers), mirror)

    def _make_tables(self, numbers: ActionNumbers) -> None:
        names = {action.id: action.name for action in self.program.actions.values()}
        for store in self._stores.tables.values():
            store.load_constants(numbers, names)
        for table_id, binding in self._binding.tables.items():
            store = self._stores.tables[binding.table.name]
            profile = self._profiles.get(binding.info.profile_id)
            resolver = _resolver(binding.actions, numbers)
            self._tables[table_id] = TableState(store, binding, resolver, profile, self._clock)

    # Entities

    def insert(self, entity: Entity) -> None:
        """Add an entity. Raises `EntryExists`, `TableFull`, `InvalidArgument`, `UnknownId`, `NotPermitted`."""
        match entity:
            case TableEntry():
                self._table(entity.key.table_id).insert(entity)
            case SelectorMember():
                self._profile(entity.profile_id).insert_member(entity)
            case SelectorGroup():
                self._profile(entity.profile_id).insert_group(entity)
            case MulticastGroup():
                self._stores.replication.insert_group(entity)
            case CloneSession():
                self._stores.replication.insert_session(entity)

    def modify(self, entity: Entity) -> None:
        """Replace an entity (its direct counter stays). Raises `EntryNotFound` and as `insert`."""
        match entity:
            case TableEntry():
                self._table(entity.key.table_id).modify(entity)
            case SelectorMember():
                self._profile(entity.profile_id).modify_member(entity)
            case SelectorGroup():
                self._profile(entity.profile_id).modify_group(entity)
            case MulticastGroup():
                self._stores.replication.modify_group(entity)
            case CloneSession():
                self._stores.replication.modify_session(entity)

    def delete(self, entity_or_key: Entity | EntityKey) -> None:
        """Remove an entity. Raises `EntryNotFound`, `StillReferenced`, `NotPermitted`."""
        match entity_or_key:
            case TableEntry(key) | (TableKey() as key):
                self._table(key.table_id).delete(key)
            case SelectorMember(profile_id, member_id) | MemberKey(profile_id, member_id):
                self._profile(profile_id).delete_member(member_id)
            case SelectorGroup(profile_id, group_id) | GroupKey(profile_id, group_id):
                self._profile(profile_id).delete_group(group_id)
            case MulticastGroup(group_id) | MulticastKey(group_id):
                self._stores.replication.delete_group(group_id)
            case CloneSession(session_id) | SessionKey(session_id):
                self._stores.replication.delete_session(session_id)

    def entries(self, table_id: int) -> Iterator[TableEntry]:
        """Every entry of a table, constant ones too, without the default action. Raises `UnknownId`."""
        return self._table(table_id).entries()

    def entry(self, key: TableKey) -> TableEntry:
        """One entry. Raises `EntryNotFound`."""
        table = self._table(key.table_id)
        return table.entry(table.row(key))

    def entry_count(self, table_id: int) -> int:
        """How many entries a table has."""
        return len(self._table(table_id))

    def default_action(self, table_id: int) -> ActionCall | None:
        """What a miss runs now; None where the program gives the table nothing to run."""
        return self._table(table_id).default()

    def set_default_action(self, table_id: int, action: ActionCall | None) -> None:
        """Change what a miss runs; None puts the program's own back. Raises `NotPermitted` for a constant one."""
        self._table(table_id).set_default(action)

    def selector_members(self, profile_id: int) -> Iterator[SelectorMember]:
        """Every member of an action profile or selector."""
        return self._profile(profile_id).members()

    def selector_groups(self, profile_id: int) -> Iterator[SelectorGroup]:
        """Every group of an action selector."""
        return self._profile(profile_id).groups()

    def multicast_groups(self) -> Iterator[MulticastGroup]:
        """Every multicast group."""
        return iter(self._stores.replication.groups.values())

    def clone_sessions(self) -> Iterator[CloneSession]:
        """Every clone session."""
        return iter(self._stores.replication.sessions.values())

    # Counters, meters, registers

    def direct_counter(self, key: TableKey) -> Counter:
        """The entry's direct counter. Raises `InvalidArgument` where the table has none."""
        table = self._table(key.table_id)
        if not self._binding.tables[key.table_id].table.direct_counter:
            raise InvalidArgument(f"table '{table.info.name}' has no direct counter")
        return table.counter(table.row(key))

    def set_direct_counter(self, key: TableKey, value: Counter) -> None:
        """Write the entry's direct counter."""
        self.direct_counter(key)
        check_counter(value)
        table = self._table(key.table_id)
        table.set_counter(table.row(key), value)

    def counter(self, counter_id: int, index: int) -> Counter:
        """One cell of an indirect counter. Raises `OutOfRange`."""
        return self._stores.counters[_known("counter", self._binding.counters, counter_id)].read(index)

    def set_counter(self, counter_id: int, index: int, value: Counter) -> None:
        """Write one cell of an indirect counter."""
        self._stores.counters[_known("counter", self._binding.counters, counter_id)].write(index, value)

    def counter_size(self, counter_id: int) -> int:
        """Number of cells."""
        return self._stores.counters[_known("counter", self._binding.counters, counter_id)].array.size

    def direct_meter(self, key: TableKey) -> MeterConfig | None:
        """The entry's meter configuration; None: not configured, every packet is green."""
        _known("direct meter of table", self._binding.direct_meters, key.table_id)
        meter = self._table(key.table_id).row(key).meter
        return None if meter is None else meter.config

    def set_direct_meter(self, key: TableKey, config: MeterConfig | None) -> None:
        """Configure the entry's meter; None: back to all green."""
        _known("direct meter of table", self._binding.direct_meters, key.table_id)
        table = self._table(key.table_id)
        table.set_meter(table.row(key), config)

    def meter(self, meter_id: int, index: int) -> MeterConfig | None:
        """The configuration of one cell of an indirect meter; None: not configured."""
        return self._stores.meters[_known("meter", self._binding.meters, meter_id)].read(index)

    def set_meter(self, meter_id: int, index: int, config: MeterConfig | None) -> None:
        """Configure one cell of an indirect meter."""
        store = self._stores.meters[_known("meter", self._binding.meters, meter_id)]
        store.write(index, config, self._clock())

    def meter_size(self, meter_id: int) -> int:
        """Number of cells."""
        return self._stores.meters[_known("meter", self._binding.meters, meter_id)].array.size

    def register(self, register_id: int, index: int) -> int:
        """One register cell. Raises `OutOfRange`."""
        return self._stores.registers[_known("register", self._binding.registers, register_id)].read(index)

    def set_register(self, register_id: int, index: int, value: int) -> None:
        """Write one register cell. Raises `OutOfRange`, and `InvalidArgument` for a value that is too wide."""
        self._stores.registers[_known("register", self._binding.registers, register_id)].write(index, value)

    def register_size(self, register_id: int) -> int:
        """Number of cells."""
        return self._stores.registers[_known("register", self._binding.registers, register_id)].array.size

    # What another process left

    def place(self, key: TableKey) -> int:
        """The number of an entry's row in the kernel engine's memory; zero without one. Raises `EntryNotFound`."""
        return self._table(key.table_id).row(key).place

    def annotate(self, key: TableKey, metadata: bytes) -> None:
        """Give an entry its metadata. Raises `EntryNotFound`."""
        self._table(key.table_id).row(key).metadata = metadata

    def has_metadata(self, table_id: int) -> bool:
        """Whether any entry of a table has metadata."""
        store = self._stores.tables[self._binding.tables[table_id].table.name]
        return any(row.metadata for row in store.index.rows.values())

    def inherit_rows(self, table: str, rows: Iterable[Row]) -> None:
        """Let a table, which is empty, have these entries."""
        index = self._stores.tables[table].index
        for row in rows:
            index.add(row.raw, row)

    def inherit_hits(self, key: TableKey, counted: Counter, hit_ns: int) -> None:
        """Add to an entry what it counted elsewhere, and let it be last hit then; zero: not known.

        Raises `EntryNotFound`.
        """
        table = self._table(key.table_id)
        table.inherit(table.row(key), counted, hit_ns)

    # What the switch has to tell

    def take_digests(self) -> list[tuple[int, tuple[int, ...]]]:
        """The digest samples since the last call as (digest id, members), oldest first."""
        taken = list(self._digests)
        self._digests.clear()
        return taken

    def idle_entries(self, now_ns: int) -> list[TableKey]:
        """Entries not hit for their idle timeout; each is reported once per timeout that passes (P4Runtime 16.5).

        At most `MAX_IDLE`: when more are due, the next call goes on with the longest overdue of each table.
        """
        due = chain.from_iterable(table.idle(now_ns) for table in self._tables.values())
        return list(islice(due, MAX_IDLE))

    def time_since_last_hit(self, key: TableKey) -> int:
        """Nanoseconds since the entry was last hit, or written when it never was."""
        table = self._table(key.table_id)
        return self._clock() - table.last_hit(table.row(key))

    def _emit_digest(self, layout: int, members: tuple[int, ...]) -> None:
        if len(self._digests) >= MAX_DIGESTS:
            self.stats.digests_lost += 1
        elif layout in self._binding.digests:
            self._digests.append((self._binding.digests[layout], members))

    def _table(self, table_id: int) -> TableState:
        return _known("table", self._tables, table_id)

    def _profile(self, profile_id: int) -> ProfileStore:
        return _known("action profile", self._profiles, profile_id)


def _resolver(actions: dict[int, Action], numbers: ActionNumbers) -> ActionResolver:
    return ActionResolver(
        {action_id: numbers[action.name] for action_id, action in actions.items()},
        {action_id: tuple(p.width for p in action.parameters) for action_id, action in actions.items()},
    )


def _known(kind: str, found: dict[int, T], number: int) -> T:
    if number not in found:
        raise UnknownId(f"the P4Info has no {kind} {number:#x}")
    return found[number]
