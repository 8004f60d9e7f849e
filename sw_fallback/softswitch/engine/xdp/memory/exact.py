"""Exact match: a hash table of buckets that this process writes and programs read (`struct bucket` in `tables.h`).

A slot is written by one store of 32 bits and does not move while a program may look for it there, so a reader finds
what is there all the time, whatever changes around it. Buckets have seven slots for at most four entries on the
average: in a full table 2 % of the entries are in a later bucket than their own, and each further bucket is needed a
quarter as often as the one before, so that the 31 which may follow are enough (chance of a refusal: 1 in 10**18 for
each entry). The index of a large table grows with its entries (`growth.py`).

Half as many entries for each bucket of a full table made random lookups among a million up to a quarter slower (98 to
125 ns on a quiet machine) and none faster: what fits into the processor's last cache is worth more than a bucket
without neighbours. Nor did it help to put rows where their hash says and to read there while the bucket is on its way:
rows in the order in which they came lie closer together.
"""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.engine.xdp.memory.buckets import BUCKET_WORDS, REACH, SLOTS, Buckets
from softswitch.engine.xdp.memory.growth import GrowingBuckets
from softswitch.engine.xdp.memory.inheritance import Found
from softswitch.engine.xdp.memory.keys import key_function
from softswitch.engine.xdp.memory.mirror import RowMirror, Shared
from softswitch.engine.xdp.sizes import first_homes
from softswitch.errors import TableFull
from softswitch.rows import Row

__all__ = ["ExactMirror"]

_ALL = (1 << 32) - 1
_TOP = 1 << 31


class ExactMirror(RowMirror):
    """A table with exact fields only. Every change is effective at once."""

    def __init__(self, shared: Shared) -> None:
        """Its maps are STEM_rows and STEM_buckets. Raises `ValueError` for memory that does not fit."""
        super().__init__(shared)
        layout = shared.layout.key
        if layout is None:
            raise ValueError(f"rows of {shared.stem!r} have no key")
        rows, buckets = shared.map("rows"), shared.map("buckets")
        self._function = key_function(layout, shared.hash_keys)
        numbers = (1 << (rows.max_entries - 1).bit_length()) - 1
        self._tags = _ALL ^ numbers
        self._name = rows.name
        self._grace = shared.grace
        first = first_homes(buckets.max_entries)
        self._buckets: Buckets
        self._highs = None
        if first == buckets.max_entries:
            self._buckets = Buckets(buckets, rows.name, numbers)
        else:
            self._buckets = GrowingBuckets(buckets, rows.name, numbers, self.rows, shared.grace, first)
            self._highs = self._buckets.highs
        self._slots = self._buckets.slots

    def put(self, row: Row) -> None:
        """A new row. Raises `TableFull`, and then has changed nothing that programs find."""
        buckets = self._buckets
        if self._count >= buckets.room:
            buckets.grow()
        if self._profile is not None:
            super().put(row)
            return
        # the same in one piece: a million connections come through here
        hashed, key = self._function(row.raw)
        number = self.rows.take()
        self.rows.fill(number, key, row.action, row.params)
        if self._ledger is not None:
            self._begin(number, row)
        slots, high, word = self._slots, hashed >> 32, (hashed | _TOP) & self._tags | number
        if self._highs is not None:
            self._highs[number] = high
        home = high & buckets.mask
        if home >= buckets.homes:
            home &= buckets.mask >> 1
        first = home * BUCKET_WORDS
        for slot in range(first, first + SLOTS):
            if not slots[slot]:
                slots[slot] = word
                break
        else:
            try:
                buckets.overflow(home, word)
            except TableFull:
                self._drop(number)
                raise
        row.place = number
        self._count += 1

    def flush(self) -> None:
        """All changes are effective already; what growing has left may go."""
        self._buckets.finish()

    def adopt(self, found: Sequence[Found]) -> Sequence[Found]:
        """Raises `ValueError` where a slot is not what this table would have written, `KernelError`."""
        buckets, near, far = self._buckets, [], []
        places = []
        for each in found:
            row, slot = each
            hashed, _ = self._function(row.raw)
            if self._slots[slot] != (hashed | _TOP) & self._tags | row.place:
                raise ValueError(f"a slot of table memory {self._name!r} does not fit the key of its row")
            if slot // BUCKET_WORDS - buckets.home(hashed >> 32) & buckets.last > REACH:
                far.append(each)
            else:
                near.append(each)
                places.append((slot, hashed >> 32))
        if far:
            self._discard(far, near)
        buckets.adopt(places)
        return super().adopt(near)

    def _discard(self, far: Sequence[Found], near: Sequence[Found]) -> None:
        """Take away what a split that was not finished has left: slots of keys that have another one."""
        keys = {row.raw for row, _ in far}
        if keys.difference(row.raw for row, _ in near):
            raise ValueError(f"a row of table memory {self._name!r} is farther from its bucket than programs look")
        self._grace.wait()
        for _, slot in far:
            self._slots[slot] = 0

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        super().close()
        self._buckets.close()

    def _key(self, raw: object) -> tuple[int, ...]:
        return self._function(raw)[1]

    def _link(self, row: Row, number: int) -> None:
        hashed, _ = self._function(row.raw)
        self._buckets.put(hashed >> 32, self._word(hashed, number))

    def _relink(self, row: Row, before: int, number: int) -> None:
        hashed, _ = self._function(row.raw)
        self._buckets.replace(hashed >> 32, self._word(hashed, before), self._word(hashed, number))

    def _unlink(self, row: Row) -> None:
        hashed, _ = self._function(row.raw)
        self._buckets.remove(hashed >> 32, self._word(hashed, row.place))

    def _word(self, hashed: int, number: int) -> int:
        """What is in a slot."""
        return (hashed | _TOP) & self._tags | number
