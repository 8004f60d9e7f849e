"""Few prefixes: a sorted table of the intervals that they cut all keys into (`runtime/intervals.h`)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from softswitch.engine.xdp.indexes import Span
from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory.halves import Halves
from softswitch.engine.xdp.sizes import interval_places

__all__ = ["IntervalMemory", "intervals_of"]

_WORD = 64


def intervals_of(spans: Iterable[tuple[Span, int]], end: int) -> list[tuple[int, int]]:
    """The lowest key of each interval, in order, and the number that the smallest span there has; zero: none.

    Spans lie in one another or apart, no two are equal, and all are below `end`. The first interval begins at zero;
    neighbours have different numbers; there are at most two intervals for each span and one.
    """
    found = [(0, 0)]
    around: list[tuple[Span, int]] = []
    for span, number in sorted(spans, key=lambda item: (item[0].low, -item[0].high)):
        while around and around[-1][0].high < span.low:
            _leave(found, around)
        _begin(found, span.low, number)
        around.append((span, number))
    while around:
        _leave(found, around)
    if found[-1][0] == end:
        found.pop()
    return found


def _leave(found: list[tuple[int, int]], around: list[tuple[Span, int]]) -> None:
    """Go on after the innermost span, in the one around it."""
    span, _ = around.pop()
    _begin(found, span.high + 1, around[-1][1] if around else 0)


def _begin(found: list[tuple[int, int]], low: int, number: int) -> None:
    if found[-1][0] == low:
        found.pop()  # an interval of no keys
    if not found or found[-1][1] != number:
        found.append((low, number))


class IntervalMemory:
    """The map of one table."""

    def __init__(self, intervals: Map, words: int, entries: int) -> None:
        """The map STEM_intervals, for keys of so many words and this many prefixes."""
        self.capacity = entries
        """Prefixes that it has room for."""
        self._words = words
        self._places = interval_places(entries)
        self._bounds = 8 * words * self._places
        self._halves = Halves(intervals, self._bounds + 4 * self._places)

    def close(self) -> None:
        """Let go of the memory."""
        self._halves.close()

    @property
    def is_used(self) -> bool:
        """Whether programs look here, and not in the trie."""
        return self._halves.is_used

    def write(self, spans: Iterable[tuple[Span, int]]) -> None:
        """Let exactly these keys lead to these rows."""
        end = 1 << _WORD * self._words
        found = intervals_of(spans, end)
        places = 1 << (len(found) - 1).bit_length()
        found += [(end - 1, found[-1][1])] * (places - len(found))
        bounds = b"".join([self._bound(low) for low, _ in found])
        at = self._halves.spare
        self._halves.memory[at : at + len(bounds)] = bounds
        self._halves.write_numbers(at + self._bounds, [number for _, number in found])
        self._halves.switch(places >> 1)

    def disuse(self) -> None:
        """Say that there are too many prefixes."""
        self._halves.disuse()

    def _bound(self, low: int) -> bytes:
        words = [low >> _WORD * index & (1 << _WORD) - 1 for index in reversed(range(self._words))]
        return struct.pack(f"={self._words}Q", *words)
