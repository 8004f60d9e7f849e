"""Tables with ternary, range and optional fields, in bit vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from softswitch.engine.xdp.indexes import VectorKey, VectorLayout
from softswitch.engine.xdp.memory.deferred import DeferredMirror
from softswitch.engine.xdp.memory.mirror import Shared
from softswitch.engine.xdp.memory.vectors import VectorMemory
from softswitch.errors import TableFull
from softswitch.program.controls import MatchKind, Table
from softswitch.rows import Row

__all__ = ["RangeMirror", "TernaryMirror", "VectorMirror", "vector_mirror"]


class VectorMirror(DeferredMirror):
    """A table whose entries have an order: the first that fits wins."""

    def __init__(self, shared: Shared, table: Table) -> None:
        """Its maps are STEM_rows and STEM_vectors."""
        super().__init__(shared)
        self._layout = VectorLayout(table)
        self._memory = VectorMemory(shared.map("vectors"), self._layout)
        self._keys: dict[Row, VectorKey] = {}
        """What each row asks of a key; in the order in which they came."""
        self._positions: dict[Row, int] = {}
        """Where in the order the rows are that programs find."""

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        super().close()
        self._memory.close()

    def _link(self, row: Row, number: int) -> None:
        if len(self._keys) >= self._memory.capacity:
            raise TableFull(f"the bit vectors have room for {self._memory.capacity} entries")
        self._keys[row] = self._layout.entry(self._parts(row.raw))
        self._is_changed = True

    def _relink(self, row: Row, before: int, number: int) -> None:
        position = self._positions.get(row)
        if position is not None:
            self._memory.renumber(position, number)

    def _unlink(self, row: Row) -> None:
        del self._keys[row]
        self._positions.pop(row, None)
        self._is_changed = True

    def _publish(self) -> None:
        ordered = list(self._ordered())
        self._memory.write([self._keys[row] for row in ordered], [row.place for row in ordered])
        self._positions = {row: position for position, row in enumerate(ordered)}

    @abstractmethod
    def _parts(self, raw: Any) -> list[tuple[int, int]]:
        """Value and mask, or lowest and highest value, of each field."""

    @abstractmethod
    def _ordered(self) -> Iterable[Row]:
        """The rows, those that win first: as the python engine's index has it."""


class TernaryMirror(VectorMirror):
    """The order of `TernaryIndex`: by priority; among equal ones rows go with those of the same masks, which go by the
    highest priority among them, then by age."""

    def __init__(self, shared: Shared, table: Table) -> None:
        super().__init__(shared, table)
        self._masks: dict[tuple[int, ...], int] = {}
        """How many rows have these masks; in the order in which they came into use."""

    def _link(self, row: Row, number: int) -> None:
        super()._link(row, number)
        masks = row.raw[0]
        self._masks[masks] = self._masks.get(masks, 0) + 1

    def _unlink(self, row: Row) -> None:
        super()._unlink(row)
        masks = row.raw[0]
        self._masks[masks] -= 1
        if not self._masks[masks]:
            del self._masks[masks]

    def _parts(self, raw: Any) -> list[tuple[int, int]]:
        masks, values, _ = raw
        return list(zip(values, masks, strict=True))

    def _ordered(self) -> Iterable[Row]:
        tops = dict.fromkeys(self._masks, 0)
        for row in self._keys:
            masks = row.raw[0]
            tops[masks] = max(tops[masks], row.priority)
        # sorting keeps the order of equals: by age
        ranks = {masks: rank for rank, masks in enumerate(sorted(tops, key=lambda masks: -tops[masks]))}
        return sorted(self._keys, key=lambda row: (-row.priority, ranks[row.raw[0]]))


class RangeMirror(VectorMirror):
    """The order of `RangeIndex`: by priority, then by age."""

    def _parts(self, raw: Any) -> list[tuple[int, int]]:
        ends, _ = raw
        return list(zip(ends[::2], ends[1::2], strict=True))

    def _ordered(self) -> Iterable[Row]:
        return sorted(self._keys, key=lambda row: -row.priority)


def vector_mirror(shared: Shared, table: Table) -> VectorMirror:
    """The mirror of a table of this kind."""
    return RangeMirror(shared, table) if table.kind is MatchKind.RANGE else TernaryMirror(shared, table)
