"""All that a program keeps in shared memory, tied to the stores that clients write to."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from softswitch.arrays import CounterStore, RegisterStore
from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.layout import RowLayout
from softswitch.engine.xdp.memory.cells import CounterCells, RegisterCells
from softswitch.engine.xdp.memory.exact import ExactMirror
from softswitch.engine.xdp.memory.inheritance import Inheritance, TableReader
from softswitch.engine.xdp.memory.keys import random_hash_keys
from softswitch.engine.xdp.memory.ledger import LEDGER_BYTES, Ledger
from softswitch.engine.xdp.memory.meters import MappedMeter, MeterCells
from softswitch.engine.xdp.memory.mirror import KeylessMirror, RowMirror, Shared
from softswitch.engine.xdp.memory.prefix import PrefixMirror
from softswitch.engine.xdp.memory.profiles import ProfileMirror
from softswitch.engine.xdp.memory.rows import Grace
from softswitch.engine.xdp.memory.ternary import vector_mirror
from softswitch.meters import Meter
from softswitch.program.controls import MatchKind, Table

if TYPE_CHECKING:  # the generator needs this package's sizes
    from softswitch.engine.python import Stores
    from softswitch.engine.xdp.source import Source

__all__ = ["Mirrors", "table_mirror"]

_TABLE_MAPS = ("rows", "buckets", "trie", "intervals")
"""What the names of the maps of a table that is shared end with."""


class Mirrors:
    """The maps of one loaded program and its stores."""

    def __init__(
        self, source: Source, stores: Stores, inheritance: Inheritance | None = None, *, keeps: bool = False
    ) -> None:
        """Nothing happens before `open`. `inheritance`: what another process has filled already; `keeps`: there are
        ledgers, for the next process."""
        self._lookups, self._context = source.lookups, source.context
        self._stores = stores
        self._inheritance = inheritance or Inheritance({}, {})
        self._keeps = keeps
        new = random_hash_keys(source.lookups.hash_words)
        # a key uses the first ones, as many as it has words
        self._hash_keys = (self._inheritance.hash_keys + new[len(self._inheritance.hash_keys) :])[: len(new)]
        self._grace = Grace()
        self._meters: list[MeterCells] = []
        self.tables: dict[str, RowMirror] = {}
        """By name of the table."""
        self.profiles: dict[str, ProfileMirror] = {}
        """By name of the profile: to be told (`refresh`) when a member or group changes."""
        self.registers: dict[str, RegisterCells] = {}
        """By name; what the python engine's registers are from `open` on."""
        self.ledgers: dict[str, Map] = {}
        """By the stem of a table or counter; none unless this process keeps them."""

    @property
    def hash_keys(self) -> bytes:
        """What the program is loaded with."""
        return self._hash_keys

    def sizes(self) -> Mapping[str, int]:
        """Sizes of maps that the source does not say."""
        return {}

    def rodata(self) -> Mapping[str, bytes]:
        """Values of the program's constants."""
        return {"hash_keys": self._hash_keys}

    def reused(self) -> Mapping[str, int]:
        """File descriptors of the maps that are there already, by name."""
        old, stem = self._inheritance, self._context.names.object
        names = [f"{table['stem']}_{suffix}" for table in old.tables.values() for suffix in _TABLE_MAPS]
        names += [f"{stem(name)}_{suffix}" for name in old.registers for suffix in ("cells", "lock")]
        names += [f"{stem(name)}_cells" for name in (*old.counters, *old.meters)]
        return {name: old.maps[name].fd for name in names if name in old.maps}

    def open(self, maps: Mapping[str, Map]) -> None:
        """Move what is in the stores into the maps, or what is in the maps into the stores, and keep them in step.

        Raises `TableFull`, `KernelError`, and `ValueError` or `LookupError` for an inheritance that does not fit.
        """
        names = self._context.names
        stores = self._stores
        for name, layout in self._lookups.members.items():
            self.profiles[name] = ProfileMirror(self._shared(name, maps, layout))
        for table in self._lookups.tables:
            self._open_table(table, maps)
        for name, counter in stores.counters.items():
            stem = names.object(name)
            cells = maps[f"{stem}_cells"]
            self._ledger(stem, cells.max_entries, is_shared=name in self._inheritance.counters)
            self._open_counter(counter, cells)
        for meter in stores.meters.values():
            meters = MeterCells(maps[f"{names.object(meter.array.name)}_cells"], time.monotonic_ns)
            if meter.array.name in self._inheritance.meters:
                meters.adopt()
            else:
                for index, configured in enumerate(meter.meters):
                    meters[index] = configured
            meter.meters = cast("list[Meter | None]", meters)
            self._meters.append(meters)
        for register in stores.registers.values():
            self._open_register(register, maps)
        self.flush()

    def _shared(
        self, name: str, maps: Mapping[str, Map], layout: RowLayout, profile: ProfileMirror | None = None
    ) -> Shared:
        numbers = {action.name: self._context.numbers[action.name] for action in self._context.program.actions.values()}
        stem = self._context.names.object(name)
        ledger = Ledger(self.ledgers[stem]) if stem in self.ledgers else None
        return Shared(stem, maps, layout, numbers, self._grace, profile, self._hash_keys, ledger)

    def _ledger(self, stem: str, entries: int, *, is_shared: bool) -> None:
        """Have a ledger if this process keeps any."""
        if not self._keeps:
            return
        inherited = self._inheritance.ledgers.get(stem) if is_shared else None
        array = Map.array(f"{stem}_ledger", LEDGER_BYTES, entries) if inherited is None else Map(os.dup(inherited.fd))
        self.ledgers[stem] = array

    def _open_table(self, table: Table, maps: Mapping[str, Map]) -> None:
        layout, stem = self._lookups.rows[table.name], self._context.names.object(table.name)
        inherited = self._inheritance.tables.get(table.name)
        if layout.hit_at is not None or layout.counters_at is not None:
            self._ledger(stem, maps[f"{stem}_rows"].max_entries, is_shared=inherited is not None)
        profile = self.profiles[table.profile] if table.profile is not None else None
        shared = self._shared(table.name, maps, layout, profile)
        store, mirror = self._stores.tables[table.name], table_mirror(shared, table)
        self.tables[table.name] = mirror
        if inherited is not None:
            found = list(TableReader(inherited, self._inheritance.maps, shared.ledger, shared.numbers).rows())
            for row, _ in mirror.adopt(found):
                store.index.add(row.raw, row)
            store.is_inherited = True
        else:
            for row in store.index.rows.values():
                mirror.put(row)
            mirror.set_default(store.miss)
        store.mirror = mirror

    def _open_counter(self, counter: CounterStore, cells: Map) -> None:
        stem = self._context.names.object(counter.array.name)
        mirror = CounterCells(cells, Ledger(self.ledgers[stem]) if stem in self.ledgers else None)
        if counter.array.name in self._inheritance.counters:
            for index in range(counter.array.size):
                counter.packets[index], counter.octets[index] = mirror.kept(index)
        counter.mirror = mirror

    def _open_register(self, register: RegisterStore, maps: Mapping[str, Map]) -> None:
        stem = self._context.names.object(register.array.name)
        cells = RegisterCells(maps[f"{stem}_cells"], maps[f"{stem}_lock"])
        for index, value in enumerate(register.cells):
            if value:
                cells[index] = value
        register.cells = cast("list[int]", cells)
        self.registers[register.array.name] = cells

    def settle(self) -> None:
        """All is as it was in the process before: from now on what is written is effective in inherited tables too."""
        for mirror in self.tables.values():
            mirror.settle()
        self.flush()

    def keep(self) -> None:
        """Leave to the next process what this one has counted beside programs."""
        if not self._keeps:
            return
        for name, mirror in self.tables.items():
            for row in self._stores.tables[name].index.rows.values():
                if row.packets or row.octets:
                    mirror.keep(row)
        for counter in self._stores.counters.values():
            for index, (packets, octets) in enumerate(zip(counter.packets, counter.octets, strict=True)):
                if counter.mirror is not None and (packets or octets):
                    counter.mirror.keep(index, packets, octets)

    def flush(self) -> None:
        """Make what was written effective for programs. Raises `KernelError`."""
        for mirror in self.tables.values():
            mirror.flush()

    def close(self) -> None:
        """Let go of the memory, so that the maps can go: tables forget what programs counted, and registers and meters
        cannot be used any more."""
        for name, mirror in self.tables.items():
            store = self._stores.tables[name]
            store.mirror = None
            mirror.close()
            if mirror.rows.layout.meter_at is not None:
                for row in store.index.rows.values():
                    if isinstance(row.meter, MappedMeter):
                        row.meter.close()
        for profile in self.profiles.values():
            profile.close()
        for counter in self._stores.counters.values():
            if isinstance(counter.mirror, CounterCells):
                counter.mirror.close()
            counter.mirror = None
        for meter in self._meters:
            meter.close()
        for register in self.registers.values():
            register.close()
        for ledger in self.ledgers.values():
            ledger.close()
        self.tables.clear()
        self.profiles.clear()
        self.ledgers.clear()


def table_mirror(shared: Shared, table: Table) -> RowMirror:
    """The mirror of a table of this kind."""
    if not table.key:
        return KeylessMirror(shared)
    match table.kind:
        case MatchKind.EXACT:
            return ExactMirror(shared)
        case MatchKind.LPM:
            return PrefixMirror(shared, table)
        case _:
            return vector_mirror(shared, table)
