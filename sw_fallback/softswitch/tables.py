"""Match tables as a P4Runtime client sees them, over the lookup structures that translated code reads."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from softswitch.binding import ActionNumbers, TableBinding
from softswitch.entities import (
    ActionCall,
    Counter,
    Exact,
    FieldMatch,
    Lpm,
    MeterConfig,
    Range,
    TableEntry,
    TableKey,
    Ternary,
)
from softswitch.errors import EntryExists, EntryNotFound, InvalidArgument, NotPermitted, TableFull
from softswitch.lookup import ExactIndex, LpmIndex, RangeIndex, TernaryIndex
from softswitch.meters import Meter
from softswitch.p4info import MatchType
from softswitch.program.controls import MatchKind, Table
from softswitch.rows import Call, Row
from softswitch.selectors import ActionResolver, ProfileStore

__all__ = ["TableMirror", "TableState", "TableStore"]

Index = ExactIndex | LpmIndex | TernaryIndex | RangeIndex
MAX_PRIORITY = 0x7FFFFFFF
"""Priorities are int32 on the wire (P4Runtime 9.1)."""
MAX_SHARED = 4096
"""Different arguments of a table's actions that are kept once."""


class TableMirror(Protocol):
    """A second copy of a table's rows, which an engine outside of this process reads.

    The rows here stay what clients read; their `packets`, `octets` and `hit` know only what ran through the python
    engine.
    """

    def put(self, row: Row) -> None:
        """A new row. Raises `TableFull`, and then has changed nothing."""

    def replace(self, row: Row) -> None:
        """The row has another action or other arguments; what it has counted is added to the row."""

    def remove(self, row: Row) -> None:
        """The row is gone."""

    def set_default(self, call: Call) -> None:
        """What a miss runs."""

    def counter(self, row: Row) -> tuple[int, int]:
        """Packets and octets counted there."""

    def clear_counter(self, row: Row) -> None:
        """Count from zero; the row has what is counted here."""

    def set_meter(self, row: Row, config: MeterConfig | None, now_ns: int) -> None:
        """Configure the row's meter, which both engines share, and put it into the row."""

    def keep(self, row: Row) -> None:
        """Let the next process know what this one counts, if there will be one."""

    def last_hit(self, row: Row) -> int:
        """When the row was last hit there, nanoseconds of the switch's clock; zero: never."""

    def flush(self) -> None:
        """Make all changes effective."""


class TableStore:
    """The part of a table that translated code uses: its index and its default action."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.mirror: TableMirror | None = None
        self.index = self._make_index(table)
        self.miss = Call()
        """What a miss runs; changed in place."""
        self.is_inherited = False
        """Whether another process has put the entries there: the program's own ones are among them, or gone."""

    @staticmethod
    def _make_index(table: Table) -> Index:
        match table.kind:
            case MatchKind.EXACT:
                return ExactIndex()
            case MatchKind.LPM:
                return LpmIndex(next(field.target.width for field in table.key if field.kind is MatchKind.LPM))
            case MatchKind.TERNARY:
                return TernaryIndex()
            case MatchKind.RANGE:
                return RangeIndex()

    def load_constants(self, numbers: ActionNumbers, names: dict[int, str]) -> None:
        """Install the program's own entries and default action."""
        table = self.table
        if table.default is not None:
            self.miss.action = numbers[names[table.default.action_id]]
            self.miss.params = table.default.arguments
        lowest = max((entry.priority for entry in table.entries), default=0)
        for const in table.entries:
            # a device config's lower number wins, here the higher one does
            priority = lowest + 1 - const.priority if table.kind in (MatchKind.TERNARY, MatchKind.RANGE) else 0
            parts = [
                _parts(match.kind, match.value, match.extra, field.target.width)
                for match, field in zip(const.key, table.key, strict=True)
            ]
            row = Row(raw_key(table, parts, priority), priority)
            row.action, row.params = numbers[names[const.action_id]], const.arguments
            if row.raw not in self.index.rows and not self.is_inherited:
                if self.mirror is not None:
                    self.mirror.put(row)
                self.index.add(row.raw, row)
        if self.mirror is not None:
            self.mirror.set_default(self.miss)


def _parts(kind: MatchKind, value: int, extra: int, width: int) -> tuple[int, int]:
    """(value, mask), or (low, high) of a range, of one key field."""
    full = (1 << width) - 1
    match kind:
        case MatchKind.EXACT:
            return value, full
        case MatchKind.LPM:
            mask = full ^ (full >> extra)
            return value & mask, mask
        case MatchKind.TERNARY:
            return value & extra, extra
        case MatchKind.RANGE:
            return value, extra


def raw_key(table: Table, parts: list[tuple[int, int]], priority: int) -> Any:
    """What names a row in the table's index (see `softswitch.lookup`)."""
    values: Any = tuple(value for value, _ in parts)
    match table.kind:
        case MatchKind.EXACT:
            return values[0] if len(values) == 1 else values
        case MatchKind.LPM:
            position = next(i for i, field in enumerate(table.key) if field.kind is MatchKind.LPM)
            return parts[position][1].bit_count(), values[0] if len(values) == 1 else values
        case MatchKind.TERNARY:
            return tuple(mask for _, mask in parts), values, priority
        case MatchKind.RANGE:
            return tuple(end for part in parts for end in part), priority


class TableState:
    """A table that a client reads and writes. Every method changes nothing when it raises."""

    def __init__(
        self,
        store: TableStore,
        binding: TableBinding,
        resolver: ActionResolver,
        profile: ProfileStore | None,
        clock: Callable[[], int],
    ) -> None:
        self.info = binding.info
        self._store = store
        self._mirror = store.mirror
        self._index = store.index
        self._binding = binding
        self._resolver = resolver
        self._profile = profile
        self._clock = clock
        self._width_limits = tuple((1 << width) - 1 for width in binding.widths)
        self._own_default = (store.miss.action, store.miss.params)
        self._action_ids = resolver.ids()
        self._prioritized = binding.info.needs_priority
        self._params: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._timers: list[tuple[int, int, Row]] = []
        self._timer_count = 0
        self._arm_inherited()
        self._simple = store.table.kind is MatchKind.EXACT and binding.positions == tuple(range(len(binding.positions)))
        """True: a raw key is the match values as they come."""

    # Entries

    def insert(self, entry: TableEntry) -> None:
        self._check_writable()
        if not self._store.table.key:
            raise InvalidArgument(f"table '{self.info.name}' has no key, so no entry beside its default")
        raw = self.raw(entry.key)
        if raw in self._index.rows:
            raise EntryExists(f"table '{self.info.name}' has this entry already")
        if len(self._index.rows) >= self._store.table.size:
            raise TableFull(f"table '{self.info.name}' is full with {self._store.table.size} entries")
        row = Row(raw, entry.key.priority)
        self._apply(row, entry)
        if self._mirror is not None:
            try:
                self._mirror.put(row)
            except TableFull:
                if row.target is not None and self._profile is not None:
                    self._profile.release(row.target)
                raise
        self._index.add(raw, row)

    def modify(self, entry: TableEntry) -> None:
        self._check_writable()
        row = self.row(entry.key)
        held = row.target
        self._apply(row, entry)
        if self._mirror is not None:
            self._mirror.replace(row)
        if held is not None and self._profile is not None:
            self._profile.release(held)

    def delete(self, key: TableKey) -> None:
        self._check_writable()
        raw = self.raw(key)
        row = self._index.rows.get(raw)
        if row is None:
            raise EntryNotFound(f"table '{self.info.name}' has no such entry")
        if row.target is not None and self._profile is not None:
            self._profile.release(row.target)
        row.deadline = 0
        if self._mirror is not None:
            self._mirror.remove(row)
        self._index.remove(raw, row)

    def row(self, key: TableKey) -> Row:
        """The entry at work. Raises `EntryNotFound`."""
        row = self._index.rows.get(self.raw(key))
        if row is None:
            raise EntryNotFound(f"table '{self.info.name}' has no such entry")
        return row

    def entries(self) -> Iterator[TableEntry]:
        return map(self.entry, self._index.rows.values())

    def entry(self, row: Row) -> TableEntry:
        """A row as a client wrote it."""
        action = row.written or ActionCall(self._action_ids[row.action], row.params)
        return TableEntry(self.key(row), action, row.idle_timeout_ns, row.metadata)

    def key(self, row: Row) -> TableKey:
        """What names a row to a client."""
        raw = row.raw
        if self._simple:
            return TableKey(self.info.id, tuple(map(Exact, raw if isinstance(raw, tuple) else (raw,))))
        kinds = self._store.table.key
        match: list[FieldMatch | None] = [None] * len(kinds)
        for index, (position, part) in enumerate(zip(self._binding.positions, self._raw_parts(raw), strict=True)):
            match[position] = self._describe(kinds[index].kind, part, position)
        return TableKey(self.info.id, tuple(match), row.priority if self._prioritized else 0)

    def _raw_parts(self, raw: Any) -> list[tuple[int, int]]:
        """(value, mask) or (low, high) of each key field of the device config."""
        table = self._store.table
        single = len(table.key) == 1
        match table.kind:
            case MatchKind.EXACT:
                return [(raw, 0)] if single else [(value, 0) for value in raw]
            case MatchKind.LPM:
                length, values = raw
                return [(value, length) for value in ((values,) if single else values)]
            case MatchKind.TERNARY:
                masks, values, _ = raw
                return list(zip(values, masks, strict=True))
            case MatchKind.RANGE:
                ends, _ = raw
                return list(zip(ends[::2], ends[1::2], strict=True))

    def __len__(self) -> int:
        return len(self._index.rows)

    def _describe(self, kind: MatchKind, part: tuple[int, int], position: int) -> FieldMatch | None:
        value, extra = part
        match kind:
            case MatchKind.EXACT:
                return Exact(value)
            case MatchKind.LPM:
                length = extra if self._store.table.kind is MatchKind.LPM else extra.bit_count()
                return Lpm(value, length) if length else None
            case MatchKind.TERNARY if self.info.match_fields[position].match_type is MatchType.OPTIONAL:
                return Exact(value) if extra else None
            case MatchKind.TERNARY:
                return Ternary(value, extra) if extra else None
            case MatchKind.RANGE:
                return None if part == (0, self._width_limits[position]) else Range(value, extra)

    def _check_writable(self) -> None:
        if self._store.table.entries or self.info.is_const:
            raise NotPermitted(f"the entries of table '{self.info.name}' are constant")

    def _apply(self, row: Row, entry: TableEntry) -> None:
        """Give the row the entry's action and timeout."""
        if entry.idle_timeout_ns < 0 or (entry.idle_timeout_ns and not self.info.notifies_idle):
            raise InvalidArgument(f"table '{self.info.name}' has no idle timeouts")
        if self._profile is None:
            if not isinstance(entry.action, ActionCall):
                raise InvalidArgument(f"table '{self.info.name}' takes an action, no member or group")
            if entry.action.action_id in self.info.default_only:
                raise InvalidArgument(f"action {entry.action.action_id:#x} is for the default entry only")
            row.action, params = self._resolver.resolve(entry.action)
            row.params = self._shared(params)
        else:
            if isinstance(entry.action, ActionCall):
                raise InvalidArgument(f"table '{self.info.name}' takes a member, group or action set, no action")
            row.target = self._profile.target(entry.action)
            self._profile.hold(row.target)
            row.written = entry.action
        row.idle_timeout_ns, row.metadata = entry.idle_timeout_ns, entry.metadata
        if self.info.notifies_idle:
            row.hit = self._clock()
            self._arm(row, entry.idle_timeout_ns)

    def _shared(self, params: tuple[int, ...]) -> tuple[int, ...]:
        """The same tuple for the same arguments, so that a million sessions with a few members hold a few of them."""
        if len(self._params) < MAX_SHARED:
            return self._params.setdefault(params, params)
        return self._params.get(params, params)

    # Keys

    def raw(self, key: TableKey) -> Any:
        """The raw key of an entry. Raises `InvalidArgument` for a key that breaks the table's rules."""
        match = key.match
        if len(match) != len(self._width_limits):
            raise InvalidArgument(
                f"table '{self.info.name}' has {len(self._width_limits)} match fields, not {len(match)}"
            )
        if self._simple:
            values = []
            for part, limit in zip(match, self._width_limits, strict=True):
                if type(part) is not Exact or not 0 <= part.value <= limit:
                    break
                values.append(part.value)
            else:
                if key.priority == 0:
                    return values[0] if len(values) == 1 else tuple(values)
        return self._checked_raw(key)

    def _checked_raw(self, key: TableKey) -> Any:
        if self._prioritized:
            if not 0 < key.priority <= MAX_PRIORITY:
                raise InvalidArgument(f"an entry of table '{self.info.name}' needs a priority above zero")
        elif key.priority:
            raise InvalidArgument(f"an entry of table '{self.info.name}' has no priority")
        parts = [self._part(key.match[position], position) for position in self._binding.positions]
        return raw_key(self._store.table, parts, key.priority)

    def _part(self, match: FieldMatch | None, position: int) -> tuple[int, int]:
        """The match on one field as (value, mask), or as (low, high) for a range."""
        info, full = self.info.match_fields[position], self._width_limits[position]
        kind = info.match_type
        if match is None:
            if kind is MatchType.EXACT:
                raise InvalidArgument(f"match field '{info.name}' of table '{self.info.name}' is missing")
            return (0, full) if kind is MatchType.RANGE else (0, 0)
        match kind, match:
            case (MatchType.EXACT | MatchType.OPTIONAL, Exact(value)) if 0 <= value <= full:
                return value, full
            case MatchType.LPM, Lpm(value, length) if 0 < length <= full.bit_length():
                mask = full ^ (full >> length)
                if 0 <= value <= full and value & mask == value:
                    return value, mask
            case MatchType.TERNARY, Ternary(value, mask) if 0 < mask <= full and value >= 0 and value & mask == value:
                return value, mask
            case MatchType.RANGE, Range(low, high) if 0 <= low <= high <= full:
                return low, high
        raise InvalidArgument(
            f"match field '{info.name}' of table '{self.info.name}' is {kind.value} of {full.bit_length()} bits:"
            f" {match} does not fit"
        )

    # Default action

    def default(self) -> ActionCall | None:
        """What a miss runs, None where there is nothing to run."""
        action, params = self._store.miss.action, self._store.miss.params
        return ActionCall(self._action_ids[action], params) if action in self._action_ids else None

    def set_default(self, action: ActionCall | None) -> None:
        """Change what a miss runs; None puts the program's own back."""
        default = self._store.table.default
        if self._profile is not None:
            raise InvalidArgument(f"table '{self.info.name}' is indirect: its default action cannot change")
        if (default is not None and default.constant) or self.info.const_default_action_id:
            raise NotPermitted(f"the default action of table '{self.info.name}' is constant")
        if action is None:
            self._store.miss.action, self._store.miss.params = self._own_default
        else:
            if action.action_id in self.info.table_only:
                raise InvalidArgument(f"action {action.action_id:#x} is for entries only")
            self._store.miss.action, self._store.miss.params = self._resolver.resolve(action)
        if self._mirror is not None:
            self._mirror.set_default(self._store.miss)

    # What packets leave in a row

    def counter(self, row: Row) -> Counter:
        """The direct counter of a row."""
        packets, octets = self._mirror.counter(row) if self._mirror is not None else (0, 0)
        return Counter(row.packets + packets, row.octets + octets)

    def inherit(self, row: Row, counted: Counter, hit_ns: int) -> None:
        """The entry's row before counted this, and was last hit then; zero: not known."""
        row.packets += counted.packets
        row.octets += counted.octets
        if hit_ns:
            row.hit = hit_ns
            self._arm(row, row.idle_timeout_ns)
        if self._mirror is not None:
            self._mirror.keep(row)

    def set_counter(self, row: Row, value: Counter) -> None:
        """Write the direct counter of a row."""
        row.packets, row.octets = value.packets, value.octets
        if self._mirror is not None:
            self._mirror.clear_counter(row)

    def set_meter(self, row: Row, config: MeterConfig | None) -> None:
        """Configure the direct meter of a row; None: every packet is green."""
        if self._mirror is not None:
            self._mirror.set_meter(row, config, self._clock())
        else:
            row.meter = None if config is None else Meter(config, self._clock())

    def last_hit(self, row: Row) -> int:
        """When the row was last hit, or else written."""
        if self._mirror is not None:
            row.hit = max(row.hit, self._mirror.last_hit(row))
        return row.hit

    # Idle timeouts (P4Runtime 9.1, 16.5)

    def _arm(self, row: Row, timeout_ns: int) -> None:
        """See to it that the row is looked at when its timeout has passed, or earlier."""
        due = row.hit + timeout_ns
        if timeout_ns and not 0 < row.deadline <= due:
            self._look_at(row, due)

    def _arm_inherited(self) -> None:
        """Entries that were there before this."""
        for row in self._index.rows.values() if self._store.is_inherited else ():
            if row.idle_timeout_ns:
                self._timer_count += 1
                row.deadline = row.hit + row.idle_timeout_ns
                self._timers.append((row.deadline, self._timer_count, row))
        heapq.heapify(self._timers)

    def _look_at(self, row: Row, due: int) -> None:
        row.deadline = due
        self._timer_count += 1
        heapq.heappush(self._timers, (due, self._timer_count, row))

    def idle(self, now_ns: int) -> Iterator[TableKey]:
        """Entries whose timeout passed without a hit; their next report is due a timeout later."""
        while self._timers and self._timers[0][0] <= now_ns:
            deadline, _, row = heapq.heappop(self._timers)
            if row.deadline != deadline:
                continue  # deleted, or looked at earlier
            row.deadline = 0
            timeout = row.idle_timeout_ns
            if not timeout:
                continue
            hit = self.last_hit(row)
            if hit + timeout > now_ns:
                self._look_at(row, hit + timeout)
            else:
                self._look_at(row, now_ns + timeout)
                yield self.key(row)
