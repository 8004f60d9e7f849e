"""Places in an array map that are used again after a grace period: single ones, and runs of them."""

from __future__ import annotations

from bisect import insort

from softswitch.engine.xdp.memory.rows import Grace
from softswitch.errors import TableFull

__all__ = ["Runs"]


class Runs:
    """Runs of places, first fit."""

    def __init__(self, name: str, first: int, end: int, grace: Grace) -> None:
        """Places from `first` to before `end` of the map of this name."""
        self._name = name
        self._grace = grace
        self._free: list[tuple[int, int]] = [(first, end - first)]
        """(first place, length), in order, no two of them touching."""
        self._freed: list[tuple[int, int]] = []
        self._freed_at = 0
        """How many grace periods had ended when the last of these was freed."""

    def take(self, length: int = 1) -> int:
        """The first place of a run that nobody sees. Raises `TableFull`."""
        start = self._fit(length)
        if start is None and self._freed:
            self._reclaim()
            start = self._fit(length)
        if start is None:
            raise TableFull(f"{self._name!r} has no room for {length} more")
        return start

    def give_back(self, start: int, length: int = 1) -> None:
        """The run can be found no more by programs that start now."""
        self._freed.append((start, length))
        self._freed_at = self._grace.ended

    def _fit(self, length: int) -> int | None:
        for index, (start, room) in enumerate(self._free):
            if room >= length:
                if room == length:
                    del self._free[index]
                else:
                    self._free[index] = start + length, room - length
                return start
        return None

    def _reclaim(self) -> None:
        if self._grace.ended == self._freed_at:
            self._grace.wait()
        for run in self._freed:
            insort(self._free, run)
        self._freed.clear()
        joined: list[tuple[int, int]] = []
        for start, length in self._free:
            if joined and sum(joined[-1]) == start:
                joined[-1] = joined[-1][0], joined[-1][1] + length
            else:
                joined.append((start, length))
        self._free = joined
