"""Lookup structures for the four match kinds, made to be read by translated code.

A raw key is what names a row in its structure: exact: the value of a single key field, or the tuple of values;
longest prefix: (prefix length, masked value or tuple); ternary: (masks, masked values, priority); range: (bounds,
priority). Fields are in the order of the device config.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from typing import Any

from softswitch.rows import Row

__all__ = ["ExactIndex", "LpmIndex", "RangeIndex", "TernaryIndex"]

Find = Callable[[Any], Row | None]


class ExactIndex:
    """One dictionary. Translated code calls `find`."""

    __slots__ = ("find", "rows")

    def __init__(self) -> None:
        self.rows: dict[Any, Row] = {}
        self.find: Find = self.rows.get

    def add(self, raw: Any, row: Row) -> None:
        self.rows[raw] = row

    def remove(self, raw: Any, row: Row) -> None:
        del self.rows[raw]


class LpmIndex:
    """One dictionary for each prefix length in use. Translated code walks `levels`, longest prefix first."""

    __slots__ = ("_by_length", "_width", "levels", "rows")

    def __init__(self, width: int) -> None:
        self._width = width
        self._by_length: dict[int, dict[Any, Row]] = {}
        self.rows: dict[Any, Row] = {}
        self.levels: list[tuple[int, Find]] = []
        """(mask of the longest-prefix field, lookup in the dictionary of that length)."""

    def add(self, raw: Any, row: Row) -> None:
        length, key = raw
        level = self._by_length.get(length)
        if level is None:
            level = self._by_length[length] = {}
            self._rebuild()
        level[key] = self.rows[raw] = row

    def remove(self, raw: Any, row: Row) -> None:
        length, key = raw
        del self._by_length[length][key]
        del self.rows[raw]
        if not self._by_length[length]:
            del self._by_length[length]
            self._rebuild()

    def _rebuild(self) -> None:
        full = (1 << self._width) - 1
        self.levels[:] = [
            (full ^ (full >> length), rows.get) for length, rows in sorted(self._by_length.items(), reverse=True)
        ]


class _Group:
    """Rows that share their masks."""

    __slots__ = ("best", "masks", "priorities", "rows", "top")

    def __init__(self, masks: tuple[int, ...]) -> None:
        self.masks = masks
        self.rows: dict[tuple[int, ...], list[tuple[int, int, Row]]] = {}
        """Masked values → (-priority, age, row), best first."""
        self.best: dict[tuple[int, ...], Row] = {}
        """Masked values → the best of these rows."""
        self.priorities: Counter[int] = Counter()
        """How many rows have each priority."""
        self.top = 0
        """The highest priority in the group."""


class TernaryIndex:
    """Tuple space search: one dictionary for each combination of masks in use.

    Translated code walks `groups`, the one with the highest priority first, and stops at the first whose highest
    priority is not above what it has found. Among equal priorities the one found first wins.
    """

    __slots__ = ("_age", "_by_masks", "groups", "rows")

    def __init__(self) -> None:
        self._by_masks: dict[tuple[int, ...], _Group] = {}
        self._age = 0
        self.rows: dict[Any, Row] = {}
        self.groups: list[tuple[Any, ...]] = []
        """(highest priority, lookup of masked values, mask of each field …)."""

    def add(self, raw: Any, row: Row) -> None:
        masks, values, priority = raw
        group = self._by_masks.get(masks)
        if group is None:
            group = self._by_masks[masks] = _Group(masks)
        self._age += 1
        ranked = group.rows.setdefault(values, [])
        insort(ranked, (-priority, self._age, row), key=lambda item: item[:2])
        group.best[values] = ranked[0][2]
        group.priorities[priority] += 1
        self.rows[raw] = row
        if priority > group.top:
            group.top = priority
            self._rebuild()

    def remove(self, raw: Any, row: Row) -> None:
        masks, values, priority = raw
        group = self._by_masks[masks]
        ranked = [item for item in group.rows[values] if item[2] is not row]
        if ranked:
            group.rows[values] = ranked
            group.best[values] = ranked[0][2]
        else:
            del group.rows[values], group.best[values]
        del self.rows[raw]
        group.priorities[priority] -= 1
        if group.priorities[priority]:
            return
        del group.priorities[priority]
        if not group.rows:
            del self._by_masks[masks]
            self._rebuild()
        elif priority == group.top:
            group.top = max(group.priorities)
            self._rebuild()

    def _rebuild(self) -> None:
        ordered = sorted(self._by_masks.values(), key=lambda group: -group.top)
        self.groups[:] = [(group.top, group.best.get, *group.masks) for group in ordered]


class RangeIndex:
    """A list in the order of priority. Translated code walks `ranked` and takes the first row that fits."""

    __slots__ = ("_age", "_order", "ranked", "rows")

    def __init__(self) -> None:
        self._age = 0
        self._order: list[tuple[int, int]] = []
        self.rows: dict[Any, Row] = {}
        self.ranked: list[tuple[Any, ...]] = []
        """(row, then for each field its lower and upper end, or its value and mask)."""

    def add(self, raw: Any, row: Row) -> None:
        bounds, priority = raw
        self._age += 1
        place = (-priority, self._age)
        position = bisect_left(self._order, place)
        self._order.insert(position, place)
        self.ranked.insert(position, (row, *bounds))
        self.rows[raw] = row

    def remove(self, raw: Any, row: Row) -> None:
        position = next(index for index, item in enumerate(self.ranked) if item[0] is row)
        del self.ranked[position], self._order[position]
        del self.rows[raw]
