"""An index that grows with its table, by linear hashing (Litwin, VLDB 1980).

Its memory has the full size from the beginning, but a table with few entries uses the first few buckets only: they, and
with them the misses of all keys that it does not have, stay in a core's own caches.

One bucket after another is split in two, each time that two entries more have come: the homes so far, N of them, in
their order, until there are twice as many; then all of these. Bucket b is split into b and b + N. Rows that move get a
slot at their new place beside the old one, then one store says that there is one home more, and when the programs have
ended that may not have read it, the old slots are taken away. So readers find every row all the time, and no change
takes longer than a few buckets. Two entries for a home and no more, since homes that are not split yet have twice as
many as the others: thus no bucket gets more than the four, on the average, that it has when the table is full.

Old slots are taken away with further splits, at the end of a Write, or with their rows. In a table that rests some
stay: programs have no business there, and who adopts the memory knows them by their distance from where they belong.

An index does not shrink when entries go. A table that once had a million may have them again; until then it lacks
what growing has brought, and nothing else.
"""

from __future__ import annotations

import sys
from array import array

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory.buckets import BUCKET_WORDS, REACH, SLOTS, Buckets
from softswitch.engine.xdp.memory.rows import Grace, RowMemory
from softswitch.engine.xdp.sizes import HOMES_AT
from softswitch.errors import TableFull

__all__ = ["GrowingBuckets"]

_ENTRIES = 2
"""For each home, until all buckets are homes."""
_LEAST_HOMES = 2 * (REACH + 1)
"""With fewer, a row's old and its new place might be both within reach of one home."""
_FINISHED = 2
"""Splits that are finished with each new one: twice as fast as they come."""
_UNFINISHED = 8
"""A wait for programs is due when as many splits are unfinished as there will be homes after this round, divided by
this: four times while a table doubles. So each is finished long before one of its two buckets is split again."""
_GROWN = HOMES_AT // 8


class GrowingBuckets(Buckets):
    """An index of which some buckets are homes, and ever more."""

    def __init__(self, buckets: Map, name: str, numbers: int, rows: RowMemory, grace: Grace, first: int) -> None:
        """`first`: homes to begin with, in memory that is new. Raises `ValueError` for memory that does not fit."""
        super().__init__(buckets, name, numbers)
        if first < _LEAST_HOMES:
            raise ValueError(f"an index that grows has {_LEAST_HOMES} homes at least")
        self.highs = array("I", bytes(4 * rows.count))
        """The high halves of the hashes of rows' keys, by number: what is needed of a million rows, close together."""
        self._words = rows.words
        self._grace = grace
        grown = self._words[_GROWN]
        if not grown:
            grown = self._words[_GROWN] = (first - 1) << 32 | first
        self._set(grown & 0xFFFFFFFF, grown >> 32)
        if not self.mask >> 1 < self.homes - 1 <= self.mask <= self.last or self.mask & self.mask + 1:
            raise ValueError(f"the index of table memory {name!r} has another size")
        self._finished = self.homes
        """The splits that made these and all homes after them have left old slots."""
        self._ripe = self.homes
        """Those of the splits that made the homes before are looked for by no program any more."""
        self._ended = grace.ended
        """Grace periods that had ended before the splits from `_ripe` on."""

    def put(self, high: int, word: int) -> None:
        """Let programs find a row. Raises `TableFull`."""
        super().put(high, word)
        self.highs[word & self._numbers] = high

    def replace(self, high: int, before: int, word: int) -> None:
        """Let programs find one row in place of another with the same key."""
        super().replace(high, before, word)
        self.highs[word & self._numbers] = high
        _, slot = self._old(high, before)
        if slot is not None:
            self.slots[slot] = word

    def remove(self, high: int, word: int) -> None:
        """Let programs find a row no more."""
        bucket, slot = self._old(high, word)
        if slot is not None:  # it goes first: should this process end here, the row is an entry like any other
            self._clear(bucket, slot)
        super().remove(high, word)

    def adopt(self, found: list[tuple[int, int]]) -> None:
        """`found`: slots, as another process left them, and the high half of their keys' hashes."""
        super().adopt(found)
        for slot, high in found:
            self.highs[self.slots[slot] & self._numbers] = high

    def grow(self) -> None:
        """Split a bucket, and finish what can be finished. Raises `KernelError`."""
        is_whole = self.homes > self.last
        allowed = 0 if is_whole else self.mask // _UNFINISHED
        if self.homes - self._finished > allowed and self._ripe == self._finished and self._ended == self._grace.ended:
            self._grace.wait()
        self.finish()
        if not is_whole:
            self._split()
        elif self._finished == self.homes:
            self.room = sys.maxsize

    def finish(self) -> None:
        """Take away a few old slots that no program looks for any more."""
        if self._grace.ended != self._ended:
            self._ended, self._ripe = self._grace.ended, self.homes
        end = min(self._finished + _FINISHED, self._ripe)
        while self._finished < end:
            home = self._finished
            mask = _mask(home)
            bucket = home & mask >> 1
            for slot in self._moving(bucket, home, mask):
                self._clear(bucket, slot)
            self._finished += 1

    def _split(self) -> None:
        """Make the next bucket a home; nothing happens if what should go there finds no place."""
        new, slots = self.homes, self.slots
        mask = _mask(new)
        words = [slots[slot] for slot in self._moving(new & mask >> 1, new, mask)]
        at = new * BUCKET_WORDS
        end = at + SLOTS
        try:
            for word in words:
                while at < end and slots[at]:
                    at += 1
                if at < end:
                    slots[at] = word
                else:
                    self.overflow(new, word)
        except TableFull:
            for word in words:
                slot = self._search(new, word)
                if slot is not None:
                    self._clear(new, slot)
            return
        self._words[_GROWN] = mask << 32 | new + 1
        self._set(new + 1, mask)

    def _moving(self, bucket: int, new: int, mask: int) -> list[int]:
        """Slots in and after a bucket, of rows that move or have moved from there to this home."""
        slots, highs, numbers = self.slots, self.highs, self._numbers
        found = []
        slot = bucket * BUCKET_WORDS
        words = slots[slot : slot + BUCKET_WORDS].tolist()
        reach = words.pop() >> 16
        for word in words:
            if highs[word & numbers] & mask == new:  # of an empty slot it is zero
                found.append(slot)
            slot += 1
        for distance in range(1, reach + 1):
            slot = (bucket + distance & self.last) * BUCKET_WORDS
            for word in slots[slot : slot + SLOTS].tolist():
                if highs[word & numbers] & mask == new:
                    found.append(slot)
                slot += 1
        return found

    def _old(self, high: int, word: int) -> tuple[int, int | None]:
        """The bucket where a row was at home before an unfinished split, and the slot that it still has from there."""
        home = self.home(high)
        bucket = home & _mask(home) >> 1
        return bucket, self._search(bucket, word) if home >= self._finished else None

    def _set(self, homes: int, mask: int) -> None:
        self.homes, self.mask = homes, mask
        self.room = _ENTRIES * homes


def _mask(home: int) -> int:
    """The bits of the hash that say that this is the home, of one that was split from another."""
    return (1 << home.bit_length()) - 1
