"""The buckets of an exact table's index (`struct bucket` in `runtime/tables.h`): slots, and what spills over."""

from __future__ import annotations

import sys

from softswitch.engine.xdp.kernel import Map
from softswitch.errors import TableFull

__all__ = ["BUCKET_WORDS", "REACH", "SLOTS", "Buckets"]

SLOTS = 7
REACH = 31
"""How many buckets further on a row may be: BUCKET_REACH."""
BUCKET_WORDS = 8
"""Words of 32 bits in a bucket: the slots, then overflow and, in the high half, reach."""


class Buckets:
    """An index whose buckets all are homes: keys hash to each of them. Every change is effective at once.

    A key's place comes from the high half of its hash, here `high`; what is put there is a slot's whole `word`.
    """

    def __init__(self, buckets: Map, name: str, numbers: int) -> None:
        """`name`: of the table's rows; `numbers`: the bits of a slot that are a row's number."""
        self.slots = buckets.memory().cast("I")
        self.last = buckets.max_entries - 1
        """The number of the last bucket, and the bits of a bucket's number."""
        self.homes = buckets.max_entries
        """Keys hash to the buckets below this one."""
        self.mask = self.last
        """The bits of the hash that say which, or one more than that if this is no home."""
        self.room = sys.maxsize
        """With so many entries it is to `grow` before the next one."""
        self._name = name
        self._numbers = numbers

    def close(self) -> None:
        """Let go of the memory."""
        self.slots.release()

    def grow(self) -> None:
        """Make one more bucket a home."""
        raise LookupError(f"the index of {self._name!r} does not grow")

    def finish(self) -> None:
        """Go on with what waits for programs to end, if they have."""

    def home(self, high: int) -> int:
        """The bucket that a key hashes to."""
        home = high & self.mask
        return home if home < self.homes else home & self.mask >> 1

    def put(self, high: int, word: int) -> None:
        """Let programs find a row. Raises `TableFull`."""
        home = self.home(high)
        slot = self._empty(home)
        if slot is None:
            self.overflow(home, word)
        else:
            self.slots[slot] = word

    def replace(self, high: int, before: int, word: int) -> None:
        """Let programs find one row in place of another with the same key."""
        self.slots[self._find(self.home(high), before)] = word

    def remove(self, high: int, word: int) -> None:
        """Let programs find a row no more."""
        home = self.home(high)
        self._clear(home, self._find(home, word))

    def overflow(self, home: int, word: int) -> None:
        """Put a row in one of the buckets after its own, then say so there: in this order readers miss no row."""
        for distance in range(1, min(REACH, self.last) + 1):
            slot = self._empty(home + distance & self.last)
            if slot is not None:
                break
        else:
            raise TableFull(f"table memory {self._name!r} has {REACH + 1} full buckets in a row")
        self.slots[slot] = word
        said = home * BUCKET_WORDS + SLOTS
        count, reach = self.slots[said] & 0xFFFF, self.slots[said] >> 16
        self.slots[said] = max(reach, distance) << 16 | count + 1

    def _clear(self, home: int, slot: int) -> None:
        """Empty a slot of a row that hashes to this home."""
        self.slots[slot] = 0
        if slot // BUCKET_WORDS != home:
            said = home * BUCKET_WORDS + SLOTS
            left = (self.slots[said] & 0xFFFF) - 1
            # the farthest is not looked for: only when the last one is gone do readers stay at home again
            self.slots[said] = self.slots[said] - 1 if left else 0

    def _empty(self, bucket: int) -> int | None:
        """The first empty slot of a bucket."""
        slots, first = self.slots, bucket * BUCKET_WORDS
        return next((slot for slot in range(first, first + SLOTS) if not slots[slot]), None)

    def _find(self, home: int, word: int) -> int:
        """Where the slot of a row that hashes to this home is. Raises LookupError."""
        slot = self._search(home, word)
        if slot is None:
            raise LookupError(f"row {word & self._numbers} is not in table memory {self._name!r}")
        return slot

    def _search(self, home: int, word: int) -> int | None:
        slots = self.slots
        for distance in range((slots[home * BUCKET_WORDS + SLOTS] >> 16) + 1):
            first = (home + distance & self.last) * BUCKET_WORDS
            for slot in range(first, first + SLOTS):
                if slots[slot] == word:
                    return slot
        return None

    # What one process leaves to the next

    def adopt(self, found: list[tuple[int, int]]) -> None:
        """`found`: slots, as another process left them, and the high half of their keys' hashes.

        All are where programs look from their homes on; all that is said there is made right.
        """
        astray: dict[int, tuple[int, int]] = {}
        for slot, high in found:
            home = self.home(high)
            if distance := slot // BUCKET_WORDS - home & self.last:
                count, reach = astray.get(home, (0, 0))
                astray[home] = count + 1, max(reach, distance)
        # the other process may have ended between a slot and what is said of it at home
        for bucket, said in enumerate(self.slots[SLOTS::BUCKET_WORDS].tolist()):
            count, reach = astray.get(bucket, (0, 0))
            if said & 0xFFFF != count or said >> 16 < reach:
                self.slots[bucket * BUCKET_WORDS + SLOTS] = max(said >> 16, reach) << 16 | count if count else 0
