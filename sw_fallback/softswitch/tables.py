"""Match tables as a P4Runtime client sees them, over the lookup structures that translated code reads."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from softswitch.binding import ActionNumbers, TableBinding
from softswitch.entities import ActionCall, Exact, FieldMatch, Lpm, Range, TableEntry, TableKey, Ternary
from softswitch.errors import EntryExists, EntryNotFound, InvalidArgument, NotPermitted, TableFull
from softswitch.lookup import ExactIndex, LpmIndex, RangeIndex, TernaryIndex
from softswitch.p4info import MatchType
from softswitch.program.controls import ConstEntry, MatchKind, Table
from softswitch.rows import Call, Row
from softswitch.selectors import ActionResolver, ProfileStore

__all__ = ["TableState", "TableStore"]

Index = ExactIndex | LpmIndex | TernaryIndex | RangeIndex
MAX_PRIORITY = 0x7FFFFFFF
"""Priorities are int32 on the wire (P4Runtime 9.1)."""


class TableStore:
    """The part of a table that translated code uses: its index and its default action."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.index = self._make_index(table)
        self.miss = Call()
        """What a miss runs; changed in place."""

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

    def load_constants(self, numbers: ActionNumbers, names: dict[int, str]) -> list[tuple[ConstEntry, int, Row, Any]]:
        """Install the program's own entries and default; returns (entry, P4Runtime priority, row, raw key)."""
        if self.table.default is not None:
            self.miss.action = numbers[names[self.table.default.action_id]]
            self.miss.params = self.table.default.arguments
        lowest = max((entry.priority for entry in self.table.entries), default=0)
        loaded = []
        for const in self.table.entries:
            # a device config's lower number wins, here the higher one does
            priority = lowest + 1 - const.priority if self.table.kind in (MatchKind.TERNARY, MatchKind.RANGE) else 0
            row = Row(TableEntry(TableKey(0, ()), ActionCall(0)), priority)
            row.action, row.params = numbers[names[const.action_id]], const.arguments
            raw = raw_key(
                self.table,
                [
                    _parts(match.kind, match.value, match.extra, f.target.width)
                    for match, f in zip(const.key, self.table.key, strict=True)
                ],
                priority,
            )
            if raw not in self.index.rows:
                self.index.add(raw, row)
                loaded.append((const, priority, row, raw))
        return loaded


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
        self._index = store.index
        self._binding = binding
        self._resolver = resolver
        self._profile = profile
        self._clock = clock
        self._width_limits = tuple((1 << width) - 1 for width in binding.widths)
        self._own_default = (store.miss.action, store.miss.params)
        self._default: ActionCall | None = None
        self._timers: list[tuple[int, int, Row]] = []
        self._timer_count = 0
        self._simple = store.table.kind is MatchKind.EXACT and binding.positions == tuple(range(len(binding.positions)))
        """True: a raw key is the match values as they come."""

    # Entries

    def insert(self, entry: TableEntry) -> None:
        self._check_writable()
        raw = self.raw(entry.key)
        if raw in self._index.rows:
            raise EntryExists(f"table '{self.info.name}' has this entry already")
        if len(self._index.rows) >= self._store.table.size:
            raise TableFull(f"table '{self.info.name}' is full with {self._store.table.size} entries")
        row = Row(entry, entry.key.priority)
        self._apply(row, entry)
        self._index.add(raw, row)

    def modify(self, entry: TableEntry) -> None:
        self._check_writable()
        row = self.row(entry.key)
        held = row.target
        self._apply(row, entry)
        if held is not None and self._profile is not None:
            self._profile.release(held)
        row.entry = entry

    def delete(self, key: TableKey) -> None:
        self._check_writable()
        raw = self.raw(key)
        row = self._index.rows.get(raw)
        if row is None:
            raise EntryNotFound(f"table '{self.info.name}' has no such entry")
        if row.target is not None and self._profile is not None:
            self._profile.release(row.target)
        row.deadline = 0
        self._index.remove(raw, row)

    def row(self, key: TableKey) -> Row:
        """The entry at work. Raises `EntryNotFound`."""
        row = self._index.rows.get(self.raw(key))
        if row is None:
            raise EntryNotFound(f"table '{self.info.name}' has no such entry")
        return row

    def entries(self) -> Iterator[TableEntry]:
        return (row.entry for row in self._index.rows.values())

    def __len__(self) -> int:
        return len(self._index.rows)

    def adopt_constants(self, loaded: list[tuple[ConstEntry, int, Row, Any]], action_ids: dict[int, int]) -> None:
        """Describe the program's own entries to clients; `action_ids`: P4Info ids by the device config's."""
        for const, priority, row, _ in loaded:
            match: list[FieldMatch | None] = [None] * len(const.key)
            for position, part in zip(self._binding.positions, const.key, strict=True):
                match[position] = self._describe(part.kind, part.value, part.extra, position)
            key = TableKey(self.info.id, tuple(match), priority if self.info.needs_priority else 0)
            row.entry = TableEntry(key, ActionCall(action_ids[const.action_id], const.arguments))

    def _describe(self, kind: MatchKind, value: int, extra: int, position: int) -> FieldMatch | None:
        full = self._width_limits[position]
        match kind:
            case MatchKind.EXACT:
                return Exact(value)
            case MatchKind.LPM:
                return Lpm(value, extra) if extra else None
            case MatchKind.TERNARY if self.info.match_fields[position].match_type is MatchType.OPTIONAL:
                return Exact(value) if extra else None
            case MatchKind.TERNARY:
                return Ternary(value & extra, extra) if extra else None
            case MatchKind.RANGE:
                return None if (value, extra) == (0, full) else Range(value, extra)

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
            row.action, row.params = self._resolver.resolve(entry.action)
        else:
            if isinstance(entry.action, ActionCall):
                raise InvalidArgument(f"table '{self.info.name}' takes a member, group or action set, no action")
            row.target = self._profile.target(entry.action)
            self._profile.hold(row.target)
        if self.info.notifies_idle:
            row.hit = self._clock()
            self._arm(row, entry.idle_timeout_ns)

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
        if self.info.needs_priority:
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
        if self._default is not None:
            return self._default
        return self._program_default

    _program_default: ActionCall | None = None

    def adopt_default(self, action_ids: dict[int, int]) -> None:
        """Describe the program's own default action to clients."""
        default = self._store.table.default
        if default is not None and default.action_id in action_ids:
            self._program_default = ActionCall(action_ids[default.action_id], default.arguments)

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
        self._default = action

    # Idle timeouts (P4Runtime 9.1, 16.5)

    def _arm(self, row: Row, timeout_ns: int) -> None:
        row.deadline = row.hit + timeout_ns if timeout_ns else 0
        if row.deadline:
            self._timer_count += 1
            heapq.heappush(self._timers, (row.deadline, self._timer_count, row))

    def idle(self, now_ns: int) -> Iterator[TableKey]:
        """Entries whose timeout passed without a hit; their next report is due a timeout later."""
        while self._timers and self._timers[0][0] <= now_ns:
            deadline, _, row = heapq.heappop(self._timers)
            if row.deadline != deadline:
                continue  # deleted, or written again since
            timeout = row.entry.idle_timeout_ns
            if row.hit + timeout > now_ns:
                row.deadline = row.hit + timeout
            else:
                row.deadline = now_ns + timeout
                yield row.entry.key
            self._timer_count += 1
            heapq.heappush(self._timers, (row.deadline, self._timer_count, row))
