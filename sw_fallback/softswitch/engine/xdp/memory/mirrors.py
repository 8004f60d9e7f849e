"""All that a program keeps in shared memory, tied to the stores that clients write to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.layout import RowLayout
from softswitch.engine.xdp.memory.cells import CounterCells, RegisterCells
from softswitch.engine.xdp.memory.exact import ExactMirror
from softswitch.engine.xdp.memory.keys import random_hash_keys
from softswitch.engine.xdp.memory.meters import MeterCells
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


class Mirrors:
    """The maps of one loaded program and its stores."""

    def __init__(self, source: Source, stores: Stores) -> None:
        """Nothing happens before `open`."""
        self._lookups, self._context = source.lookups, source.context
        self._stores = stores
        self._hash_keys = random_hash_keys(source.lookups.hash_words)
        self.tables: dict[str, RowMirror] = {}
        """By name of the table."""
        self.profiles: dict[str, ProfileMirror] = {}
        """By name of the profile: to be told (`refresh`) when a member or group changes."""
        self.registers: dict[str, RegisterCells] = {}
        """By name; what the python engine's registers are from `open` on."""

    def sizes(self) -> Mapping[str, int]:
        """Sizes of maps that the source does not say."""
        return {}

    def rodata(self) -> Mapping[str, bytes]:
        """Values of the program's constants."""
        return {"hash_keys": self._hash_keys}

    def open(self, maps: Mapping[str, Map]) -> None:
        """Move what is in the stores into the maps and keep them in step. Raises `TableFull`, `KernelError`."""
        names = self._context.names
        program, stores = self._context.program, self._stores
        grace = Grace()
        numbers = {action.name: self._context.numbers[action.name] for action in program.actions.values()}

        def shared(name: str, layout: RowLayout, profile: ProfileMirror | None = None) -> Shared:
            return Shared(names.object(name), maps, layout, numbers, grace, profile, self._hash_keys)

        for name, layout in self._lookups.members.items():
            self.profiles[name] = ProfileMirror(shared(name, layout))
        for table in self._lookups.tables:
            profile = self.profiles[table.profile] if table.profile is not None else None
            mirror = table_mirror(shared(table.name, self._lookups.rows[table.name], profile), table)
            self.tables[table.name] = mirror
            store = stores.tables[table.name]
            for row in store.index.rows.values():
                mirror.put(row)
            mirror.set_default(store.miss)
            store.mirror = mirror
        for counter in stores.counters.values():
            counter.mirror = CounterCells(maps[f"{names.object(counter.array.name)}_cells"])
        for meter in stores.meters.values():
            meters = MeterCells(maps[f"{names.object(meter.array.name)}_cells"], time.monotonic_ns)
            for index, configured in enumerate(meter.meters):
                meters[index] = configured
            meter.meters = cast("list[Meter | None]", meters)
        for register in stores.registers.values():
            stem = names.object(register.array.name)
            cells = RegisterCells(maps[f"{stem}_cells"], maps[f"{stem}_lock"])
            for index, value in enumerate(register.cells):
                if value:
                    cells[index] = value
            register.cells = cast("list[int]", cells)
            self.registers[register.array.name] = cells
        self.flush()

    def flush(self) -> None:
        """Make what was written effective for programs. Raises `KernelError`."""
        for mirror in self.tables.values():
            mirror.flush()

    def close(self) -> None:
        """Let go of the memory as far as the stores allow."""
        for store in self._stores.tables.values():
            store.mirror = None
        for counter in self._stores.counters.values():
            counter.mirror = None
        self.tables.clear()
        self.profiles.clear()


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
