"""Ternary, range and optional fields: one bit for each entry (bit vectors in `vectors.h`).

All entries are written anew at each flush that changed any, into the half that no program reads; one store of 64 bits
then switches over. Measured with 1 000 entries:

    key                                             a flush    the last entry, or none
    13 bytes, ternary                                  8 ms        85 ns
    13 bytes, two ranges of 16 bits among them         8 ms       134 ns
    37 bytes, ternary                                 18 ms       234 ns
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softswitch.engine.xdp.indexes import VectorKey, VectorLayout
from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory.halves import Halves
from softswitch.engine.xdp.sizes import vector_count

__all__ = ["VectorMemory"]

_VALUES = 256


class VectorMemory:
    """The map of one table."""

    def __init__(self, vectors: Map, layout: VectorLayout) -> None:
        """The map STEM_vectors."""
        self._layout = layout
        words = vector_count(layout.entries)
        self._numbers = 4 * 64 * words
        self._halves = Halves(vectors, self._numbers + layout.planes * _VALUES * 8 * words)
        self.capacity = 64 * words
        """Entries that it has room for."""

    def close(self) -> None:
        """Let go of the memory."""
        self._halves.close()

    def write(self, entries: Sequence[VectorKey], numbers: Sequence[int]) -> None:
        """Let exactly these entries, the winning ones first, lead to these rows."""
        at = self._halves.spare
        self._halves.write_numbers(at, numbers)
        words, at = vector_count(len(entries)), at + self._numbers
        for plane in self._planes(entries):
            data = b"".join([vector.to_bytes(8 * words, "little") for vector in plane])
            self._halves.memory[at : at + len(data)] = data
            at += len(data)
        self._halves.switch(words)

    def renumber(self, position: int, number: int) -> None:
        """Let an entry that is live lead to another row, at once."""
        self._halves.renumber(self._halves.live + 4 * position, number)

    def _planes(self, entries: Sequence[VectorKey]) -> Iterable[list[int]]:
        """The vectors of the 256 values of each plane."""
        for column in self._layout.columns:
            yield _plane((entry.value[column], entry.mask[column]) for entry in entries)
        for index, field in enumerate(self._layout.ranges):
            ends = [entry.ranges[index] for entry in entries]
            for byte in range(-(-field.width // 8)):
                lows = _equal(low >> 8 * byte & 255 for low, _ in ends)
                highs = _equal(high >> 8 * byte & 255 for _, high in ends)
                if byte:
                    yield _below(lows)
                    yield _below(highs[::-1])[::-1]
                    yield lows
                    yield highs
                else:
                    yield [above | equal for above, equal in zip(_below(lows), lows, strict=True)]
                    yield [below | equal for below, equal in zip(_below(highs[::-1])[::-1], highs, strict=True)]


def _plane(bytes_: Iterable[tuple[int, int]]) -> list[int]:
    """For each value of a byte the entries, as bits, whose (value, mask) it fits."""
    by_match: dict[tuple[int, int], int] = {}
    bit = 1
    for match in bytes_:
        by_match[match] = by_match.get(match, 0) | bit
        bit <<= 1
    plane = [by_match.pop((0, 0), 0)] * _VALUES
    for (value, mask), bits in by_match.items():
        free = ~mask & 255
        part = free
        while True:  # every value of the bits that the mask leaves free
            plane[value | part] |= bits
            if not part:
                break
            part = part - 1 & free
    return plane


def _equal(bytes_: Iterable[int]) -> list[int]:
    plane = [0] * _VALUES
    bit = 1
    for byte in bytes_:
        plane[byte] |= bit
        bit <<= 1
    return plane


def _below(equal: Sequence[int]) -> list[int]:
    """For each value the entries whose byte is smaller."""
    found, below = 0, []
    for bits in equal:
        below.append(found)
        found |= bits
    return below
