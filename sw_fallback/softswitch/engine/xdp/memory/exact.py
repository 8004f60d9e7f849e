"""Exact match: a hash table of buckets that this process writes and programs read (`struct bucket` in `tables.h`).

A slot is written by one store of 32 bits and never moves, so a reader finds what is there all the time, whatever
changes around it. Buckets have seven slots for at most four entries on the average: in a full table 2 % of the entries
are in a later bucket than their own, and each further bucket is needed a quarter as often as the one before, so that
the 31 which may follow are enough (chance of a refusal: 1 in 10**18 for each entry).

Half as many entries for each bucket made random lookups among a million up to a quarter slower (98 to 125 ns on a quiet
machine) and none faster: what fits into the processor's last cache is worth more than a bucket without neighbours. Nor
did it help to put rows where their hash says and to read there while the bucket is on its way: rows in the order in
which they came lie closer together.
"""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.engine.xdp.memory.inheritance import Found
from softswitch.engine.xdp.memory.keys import key_function
from softswitch.engine.xdp.memory.mirror import RowMirror, Shared
from softswitch.errors import TableFull
from softswitch.rows import Row

__all__ = ["ExactMirror"]

_SLOTS = 7
_REACH = 31
"""How many buckets further on a row may be: BUCKET_REACH."""
_WORDS = 8
"""Words of 32 bits in a bucket: the slots, then overflow and, in the high half, reach."""
_ALL = (1 << 32) - 1
_TOP = 1 << 31


class ExactMirror(RowMirror):
    """A table with exact fields only. Every change is effective at once."""

    def __init__(self, shared: Shared) -> None:
        """Its maps are STEM_rows and STEM_buckets."""
        super().__init__(shared)
        layout = shared.layout.key
        if layout is None:
            raise ValueError(f"rows of {shared.stem!r} have no key")
        rows, buckets = shared.map("rows"), shared.map("buckets")
        self._function = key_function(layout, shared.hash_keys)
        self._slots = buckets.memory().cast("I")
        self._last = buckets.max_entries - 1
        self._numbers = (1 << (rows.max_entries - 1).bit_length()) - 1
        """The bits of a slot that are a row's number."""
        self._tags = _ALL ^ self._numbers
        self._name = rows.name

    def put(self, row: Row) -> None:
        """A new row. Raises `TableFull`, and then has changed nothing."""
        if self._profile is not None:
            super().put(row)
            return
        # the same in one piece: a million connections come through here
        hashed, key = self._function(row.raw)
        number = self.rows.take()
        self.rows.fill(number, key, row.action, row.params)
        if self._ledger is not None:
            self._begin(number, row)
        slots = self._slots
        first = (hashed >> 32 & self._last) * _WORDS
        for slot in range(first, first + _SLOTS):
            if not slots[slot]:
                slots[slot] = (hashed | _TOP) & self._tags | number
                break
        else:
            try:
                self._overflow(hashed, number)
            except TableFull:
                self._drop(number)
                raise
        row.place = number
        self._count += 1

    def adopt(self, found: Sequence[Found]) -> None:
        """Raises `ValueError` where a slot is not what this table would have written."""
        super().adopt(found)
        astray: dict[int, tuple[int, int]] = {}
        for row, slot in found:
            hashed, _ = self._function(row.raw)
            if self._slots[slot] != (hashed | _TOP) & self._tags | row.place:
                raise ValueError(f"a slot of table memory {self._name!r} does not fit the key of its row")
            home = hashed >> 32 & self._last
            if distance := slot // _WORDS - home & self._last:
                count, reach = astray.get(home, (0, 0))
                astray[home] = count + 1, max(reach, distance)
                if distance > _REACH:
                    raise ValueError(
                        f"a row of table memory {self._name!r} is farther from its bucket than programs look"
                    )
        # the other process may have ended between a slot and what is said of it at home
        for bucket, word in enumerate(self._slots[_SLOTS::_WORDS].tolist()):
            count, reach = astray.get(bucket, (0, 0))
            if word & 0xFFFF != count or word >> 16 < reach:
                self._slots[bucket * _WORDS + _SLOTS] = max(word >> 16, reach) << 16 | count if count else 0

    def close(self) -> None:
        """Let go of the memory; nothing else may be done afterwards."""
        super().close()
        self._slots.release()

    def _key(self, raw: object) -> tuple[int, ...]:
        return self._function(raw)[1]

    def _link(self, row: Row, number: int) -> None:
        hashed, _ = self._function(row.raw)
        slot = self._empty(hashed >> 32 & self._last)
        if slot is None:
            self._overflow(hashed, number)
        else:
            self._slots[slot] = (hashed | _TOP) & self._tags | number

    def _relink(self, row: Row, before: int, number: int) -> None:
        hashed, _ = self._function(row.raw)
        slot, _ = self._find(hashed, before)
        self._slots[slot] = (hashed | _TOP) & self._tags | number

    def _unlink(self, row: Row) -> None:
        hashed, _ = self._function(row.raw)
        slot, distance = self._find(hashed, row.place)
        self._slots[slot] = 0
        if distance:
            home = (hashed >> 32 & self._last) * _WORDS + _SLOTS
            left = (self._slots[home] & 0xFFFF) - 1
            # the farthest is not looked for: only when the last one is gone do readers stay at home again
            self._slots[home] = self._slots[home] - 1 if left else 0

    def _empty(self, bucket: int) -> int | None:
        """The first empty slot of a bucket."""
        slots, first = self._slots, bucket * _WORDS
        return next((slot for slot in range(first, first + _SLOTS) if not slots[slot]), None)

    def _overflow(self, hashed: int, number: int) -> None:
        """Put a row in one of the buckets after its own, then say so there: in this order readers miss no row."""
        bucket = hashed >> 32 & self._last
        for distance in range(1, min(_REACH, self._last) + 1):
            slot = self._empty(bucket + distance & self._last)
            if slot is not None:
                break
        else:
            raise TableFull(f"table memory {self._name!r} has {_REACH + 1} full buckets in a row")
        self._slots[slot] = (hashed | _TOP) & self._tags | number
        home = bucket * _WORDS + _SLOTS
        count, reach = self._slots[home] & 0xFFFF, self._slots[home] >> 16
        self._slots[home] = max(reach, distance) << 16 | count + 1

    def _find(self, hashed: int, number: int) -> tuple[int, int]:
        """Where a row's slot is, and how many buckets from its own. Raises LookupError."""
        slots, bucket = self._slots, hashed >> 32 & self._last
        wanted = (hashed | _TOP) & self._tags | number
        for distance in range((slots[bucket * _WORDS + _SLOTS] >> 16) + 1):
            first = (bucket + distance & self._last) * _WORDS
            for slot in range(first, first + _SLOTS):
                if slots[slot] == wanted:
                    return slot, distance
        raise LookupError(f"row {number} is not in table memory {self._name!r}")
