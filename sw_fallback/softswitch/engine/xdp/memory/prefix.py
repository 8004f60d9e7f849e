"""Longest prefix match: a sorted table of intervals while there are few prefixes, the kernel's trie for more.

Measured, nanoseconds for one lookup of a key of 128 bits, an empty program taken off; intervals and vectors one after
the other on a busy machine, the trie earlier:

    prefixes                        6       50      256        1 000    16 384
    kernel's trie                  22       35       44        47–59    60–67 on one key, 113 on random ones
    intervals, one key           9–16    14–18    12–23            —
    intervals, random keys         14       28       42            —
    bit vectors, one key         8–19     5–23   55–109            —
    bit vectors, random keys       14       11       48            —

A random key's way through the intervals is not foreseen by the processor: that makes 50 prefixes dearer than vectors.
Probing a hash table once for each length in use would take 5 for each. After a change of one of 256 prefixes all
intervals are written anew, which takes 0.9 to 1.5 ms; the trie takes 1.4 µs for each change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softswitch.engine.xdp.indexes import PrefixKey, Span
from softswitch.engine.xdp.memory.deferred import DeferredMirror
from softswitch.engine.xdp.memory.inheritance import Found
from softswitch.engine.xdp.memory.intervals import IntervalMemory
from softswitch.engine.xdp.memory.mirror import Shared
from softswitch.engine.xdp.sizes import PREFIX_ENTRIES
from softswitch.program.controls import Table
from softswitch.rows import Row

__all__ = ["PREFIX_ENTRIES", "PrefixMirror"]


class PrefixMirror(DeferredMirror):
    """A table with one longest-prefix field and perhaps exact ones."""

    def __init__(self, shared: Shared, table: Table) -> None:
        """Its maps are STEM_rows, STEM_intervals and, above `PREFIX_ENTRIES`, STEM_trie."""
        super().__init__(shared)
        self._prefix = PrefixKey(table)
        entries = min(table.size, PREFIX_ENTRIES)
        self._intervals = IntervalMemory(shared.map("intervals"), self._prefix.words, entries)
        self._trie = shared.map("trie") if table.size > PREFIX_ENTRIES else None
        self._is_single = len(table.key) == 1
        self._rows: dict[Row, Span | None] = {}
        """The keys that each row covers, once that was asked for."""
        self._pending: dict[bytes, tuple[int, bool]] = {}
        """Row number (zero: to be deleted) by key of the trie, and whether the trie has the key."""

    def adopt(self, found: Sequence[Found]) -> Sequence[Found]:
        self._rows = {row: None for row, _ in found}
        self._is_changed = True  # the intervals may be older than the trie
        return super().adopt(found)

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        super().close()
        self._intervals.close()

    def _link(self, row: Row, number: int) -> None:
        self._rows[row] = None
        self._point(row, number)

    def _relink(self, row: Row, before: int, number: int) -> None:
        self._point(row, number)

    def _unlink(self, row: Row) -> None:
        del self._rows[row]
        self._point(row, 0)

    def _point(self, row: Row, number: int) -> None:
        self._is_changed = True
        if self._trie is None:
            return
        key = self._prefix.pack(*self._raw(row))
        _, is_there = self._pending.get(key, (0, row.place != 0))
        if number or is_there:
            self._pending[key] = number, is_there
        else:
            del self._pending[key]

    def _publish(self) -> None:
        if self._trie is not None:
            written = {key: number for key, (number, _) in self._pending.items() if number}
            for key, (number, _) in self._pending.items():
                if not number:
                    self._trie.delete(key)  # it may be gone already, if the kernel refused what follows the last time
            self._trie.update_batch(b"".join(written), b"".join(n.to_bytes(4, "little") for n in written.values()))
            self._pending.clear()
        if len(self._rows) <= self._intervals.capacity:
            self._intervals.write([(self._span(row), row.place) for row in self._rows])
        elif self._intervals.is_used:
            self._intervals.disuse()

    def _span(self, row: Row) -> Span:
        span = self._rows[row]
        if span is None:
            span = self._rows[row] = self._prefix.span(*self._raw(row))
        return span

    def _raw(self, row: Row) -> tuple[int, tuple[int, ...]]:
        raw: Any = row.raw
        length, values = raw
        return length, (values,) if self._is_single else values
