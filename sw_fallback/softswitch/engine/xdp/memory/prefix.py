"""Longest prefix match: bit vectors while they hold all prefixes, the kernel's trie when there are more.

Measured, nanoseconds for one lookup of a key of 128 bits, an empty program taken off:

    prefixes, lengths      6, 3    50, 8    256, 28    1 000, 28    16 384, 100
    kernel's trie            22       35         44        47–59    60–67 on one key, 113 on random ones
    bit vectors              10       10      10–28             —

Probing a hash table once for each length in use would take 5 for each, more than vectors from three lengths on. After
a change of one of 256 prefixes all vectors are written anew, which takes 3 ms; the trie takes 1.4 µs for each change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softswitch.engine.xdp.indexes import PrefixKey, VectorKey, VectorLayout
from softswitch.engine.xdp.memory.deferred import DeferredMirror
from softswitch.engine.xdp.memory.inheritance import Found
from softswitch.engine.xdp.memory.mirror import Shared
from softswitch.engine.xdp.memory.vectors import VectorMemory
from softswitch.engine.xdp.sizes import PREFIX_ENTRIES
from softswitch.program.controls import Table
from softswitch.rows import Row

__all__ = ["PREFIX_ENTRIES", "PrefixMirror"]


class PrefixMirror(DeferredMirror):
    """A table with one longest-prefix field and perhaps exact ones."""

    def __init__(self, shared: Shared, table: Table) -> None:
        """Its maps are STEM_rows, STEM_vectors and, above `PREFIX_ENTRIES`, STEM_trie."""
        super().__init__(shared)
        self._layout = VectorLayout(table)
        self._vectors = VectorMemory(shared.map("vectors"), self._layout)
        self._trie = shared.map("trie") if table.size > PREFIX_ENTRIES else None
        self._prefix = PrefixKey(table)
        self._is_single = len(table.key) == 1
        self._rows: dict[Row, VectorKey | None] = {}
        """What each row asks of a key, once that was asked for."""
        self._pending: dict[bytes, tuple[int, bool]] = {}
        """Row number (zero: to be deleted) by key of the trie, and whether the trie has the key."""
        self._uses_trie = False

    def adopt(self, found: Sequence[Found]) -> Sequence[Found]:
        self._rows = {row: None for row, _ in found}
        self._uses_trie = len(found) > self._vectors.capacity
        self._is_changed = not self._uses_trie  # the vectors may be older than the trie
        return super().adopt(found)

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        super().close()
        self._vectors.close()

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
        if len(self._rows) <= self._vectors.capacity:
            self._write_vectors()
        elif not self._uses_trie:
            self._vectors.disuse()
            self._uses_trie = True

    def _write_vectors(self) -> None:
        ordered = sorted(self._rows, key=lambda row: -row.raw[0])
        keys = []
        for row in ordered:
            key = self._rows[row]
            if key is None:
                key = self._rows[row] = self._vector_key(row)
            keys.append(key)
        self._vectors.write(keys, [row.place for row in ordered])
        self._uses_trie = False

    def _vector_key(self, row: Row) -> VectorKey:
        length, values = self._raw(row)
        parts = []
        for index, (value, field) in enumerate(zip(values, self._layout.key.parts, strict=True)):
            full = (1 << field.field.target.width) - 1
            parts.append((value, full ^ full >> length if index == self._prefix.position else full))
        return self._layout.entry(parts)

    def _raw(self, row: Row) -> tuple[int, tuple[int, ...]]:
        raw: Any = row.raw
        length, values = raw
        return length, (values,) if self._is_single else values
