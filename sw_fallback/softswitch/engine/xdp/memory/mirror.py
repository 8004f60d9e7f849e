"""What the mirrors of all kinds of tables have in common: rows. How programs find a row is up to each kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.layout import RowLayout
from softswitch.engine.xdp.memory.inheritance import Found
from softswitch.engine.xdp.memory.ledger import Ledger
from softswitch.engine.xdp.memory.meters import MappedMeter, clear_meter, configured_meter
from softswitch.engine.xdp.memory.rows import Grace, RowMemory
from softswitch.entities import MeterConfig
from softswitch.errors import InvalidArgument, TableFull
from softswitch.rows import Call, Row

__all__ = ["Groups", "KeylessMirror", "RowMirror", "Shared"]


class Groups(Protocol):
    """The profile of an indirect table."""

    def hold(self, target: Call) -> int:
        """The number of a member's or group's group, which a row points at from now on. Raises `TableFull`."""

    def release(self, number: int) -> None:
        """A row points there no more."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a table's mirror works on."""

    stem: str
    """The name its maps begin with."""
    maps: Mapping[str, Map]
    """By name: of the table those that begin with `stem`."""
    layout: RowLayout
    numbers: Mapping[str, int]
    """Action numbers by name."""
    grace: Grace
    profile: Groups | None = None
    """Of an indirect table."""
    hash_keys: bytes = b""
    """What `hash_keys` was loaded with."""
    ledger: Ledger | None = None
    """Where the next process finds what rows do not have."""

    def map(self, suffix: str) -> Map:
        """The map `STEM_suffix`."""
        return self.maps[f"{self.stem}_{suffix}"]


class RowMirror(ABC):
    """Rows of a table in memory; `softswitch.tables.TableMirror`."""

    def __init__(self, shared: Shared) -> None:
        self.rows = RowMemory(shared.map("rows"), shared.layout, shared.numbers, shared.grace)
        self._profile = shared.profile
        self._ledger = shared.ledger
        self._count = 0
        self._held_default: Call | None = None
        """What a miss is to run once `settle` is called."""
        self._is_settled = True

    def __len__(self) -> int:
        """How many rows are in."""
        return self._count

    def put(self, row: Row) -> None:
        """A new row. Raises `TableFull`, and then has changed nothing."""
        number = self._filled(row)
        try:
            self._link(row, number)
        except TableFull:
            self._drop(number)
            raise
        row.place = number
        self._count += 1

    def replace(self, row: Row) -> None:
        """The row has another action or other arguments; what it has counted is added to the row.

        Raises `TableFull`. A packet that meets the old row at this moment may stay uncounted.
        """
        before, number = row.place, self._filled(row)
        if isinstance(row.meter, MappedMeter):
            row.meter.move(self.rows.memory, self.rows.meter_at(number))
        self._relink(row, before, number)
        row.place = number
        self._succeed(row, before)
        self._retire(before)

    def _succeed(self, row: Row, before: int) -> None:
        """Take over what was counted in the row that programs found until now."""
        packets, octets = self.rows.counter(before)
        row.packets += packets
        row.octets += octets
        self.keep(row)

    def remove(self, row: Row) -> None:
        """The row is gone."""
        self._unlink(row)
        self._retire(row.place)
        row.place = 0
        self._count -= 1

    def set_default(self, call: Call) -> None:
        """What a miss runs. Of an indirect table it is part of the program, and nothing happens."""
        if not self._is_settled:
            self._held_default = call
        elif self._profile is None:
            self.rows.set_default(call)

    def counter(self, row: Row) -> tuple[int, int]:
        """Packets and octets counted by programs."""
        return self.rows.counter(row.place)

    def clear_counter(self, row: Row) -> None:
        """Count from zero; what this process counts is in the row already."""
        self.rows.clear_counter(row.place)
        self.keep(row)

    def last_hit(self, row: Row) -> int:
        """When a program last hit the row, nanoseconds of the monotonic clock; zero: never."""
        return self.rows.last_hit(row.place)

    def set_meter(self, row: Row, config: MeterConfig | None, now_ns: int) -> None:
        """Start the row's direct meter anew; None: every packet is green. Raises `InvalidArgument`."""
        at = self.rows.meter_at(row.place)
        if config is None:
            clear_meter(self.rows.memory, at)
            row.meter = None
        else:
            row.meter = MappedMeter(self.rows.memory, at, config, now_ns)

    def flush(self) -> None:
        """Make all changes effective."""
        return

    # What one process leaves to the next

    def keep(self, row: Row) -> None:
        """Let the next process know what this one counts beside programs."""
        if self._ledger is not None:
            packets, octets = self.rows.cleared(row.place)
            self._ledger.keep(row.place, row.packets - packets, row.octets - octets)

    def adopt(self, found: Sequence[Found]) -> Sequence[Found]:
        """These entries are there already, and packets meet them. The default action stays until `settle`.

        Returned is what counts: an entry may be found in two places.
        """
        self.rows.adopt([row.place for row, _ in found])
        self._count = len(found)
        self._is_settled = False
        if self.rows.layout.meter_at is not None:
            for row, _ in found:
                row.meter = configured_meter(self.rows.memory, self.rows.meter_at(row.place))
        return found

    def settle(self) -> None:
        """Let the default action be what it was set to since `adopt`."""
        self._is_settled = True
        if self._held_default is not None:
            self.set_default(self._held_default)
            self._held_default = None

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        self.rows.close()
        if self._ledger is not None:
            self._ledger.close()

    @abstractmethod
    def _link(self, row: Row, number: int) -> None:
        """Let programs find a row. Raises `TableFull`."""

    @abstractmethod
    def _relink(self, row: Row, before: int, number: int) -> None:
        """Let programs find this number in place of another."""

    @abstractmethod
    def _unlink(self, row: Row) -> None:
        """Let programs find the row no more."""

    def _key(self, raw: Any) -> tuple[int, ...]:
        """The words at the start of the row."""
        return ()

    def _filled(self, row: Row) -> int:
        rows = self.rows
        if self._profile is None:
            number = rows.take()
            rows.fill(number, self._key(row.raw), row.action, row.params)
            self._begin(number, row)
            return number
        if row.target is None:
            raise InvalidArgument("a row of an indirect table has a member or group")
        group = self._profile.hold(row.target)
        try:
            number = rows.take()
        except BaseException:
            self._profile.release(group)
            raise
        rows.fill_indirect(number, self._key(row.raw), group)
        self._begin(number, row)
        return number

    def _begin(self, number: int, row: Row) -> None:
        """A row is filled."""
        if self._ledger is not None:
            self._ledger.begin(number, row.idle_timeout_ns, row.packets, row.octets)
            self.rows.begin(number, row.hit)

    def _retire(self, number: int) -> None:
        """A row that can be found no more, or not after the next flush."""
        self._drop(number)

    def _drop(self, number: int) -> None:
        if self._profile is not None:
            self._profile.release(self.rows.word(number))
        self.rows.give_back(number)


class KeylessMirror(RowMirror):
    """A table without a key: it has a default action and nothing else."""

    def _link(self, row: Row, number: int) -> None:
        raise TableFull("a table without a key has no entries")

    def _relink(self, row: Row, before: int, number: int) -> None:
        raise LookupError("a table without a key has no entries")

    def _unlink(self, row: Row) -> None:
        raise LookupError("a table without a key has no entries")
