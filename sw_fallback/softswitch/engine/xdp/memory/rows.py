"""The rows of a table in memory shared with programs: which are free, what is in them, what was counted in them.

A row that programs may still be reading is not used again before a grace period. Waiting for one takes milliseconds,
so a table has spare rows, and waits only when all of them have been used since the last time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softswitch.engine.xdp.kernel import Map, membarrier_global
from softswitch.engine.xdp.layout import ArgumentLayout, RowLayout
from softswitch.errors import TableFull
from softswitch.rows import NO_ACTION, Call

__all__ = ["Grace", "RowMemory"]

_FRESH = 1024
"""Rows never used before that are made free at once."""
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Grace:
    """Grace periods, shared by all tables so that one waits for the others too."""

    def __init__(self) -> None:
        self.ended = 0
        """How many there have been. What was unreachable when one began is free for use when it has ended."""

    def wait(self) -> None:
        """Block until every program that runs now has ended. Raises `KernelError`."""
        membarrier_global()
        self.ended += 1


class _Format:
    """How the words of a key, an action's number and its arguments become a row."""

    def __init__(self, layout: RowLayout, arguments: ArgumentLayout | None) -> None:
        key_words = layout.key.words if layout.key is not None else 0
        pieces = [f"={key_words}Q", "I"]
        end = layout.action_at + 4
        for offset, size in arguments.offsets if arguments is not None else ():
            start = layout.arguments_at + offset
            pieces.append(f"{start - end}x")
            pieces.append(_LETTERS.get(size, f"{size // 8}Q"))
            end = start + size
        pieces.append(f"{layout.size - end}x")
        # pack_into fills the whole row: counters, last hit and meter start from zero
        self.pack_into = struct.Struct("".join(pieces)).pack_into
        self._words = [max(1, size // 8) for _, size in arguments.offsets] if arguments is not None else []
        self.is_wide = any(count > 1 for count in self._words)

    def split(self, params: Sequence[int]) -> list[int]:
        """Arguments, those of more than 64 bits as words."""
        mask = (1 << 64) - 1
        return [
            value >> 64 * index & mask if count > 1 else value
            for value, count in zip(params, self._words, strict=True)
            for index in range(count)
        ]


class RowMemory:
    """The rows of one array map."""

    def __init__(self, rows: Map, layout: RowLayout, numbers: Mapping[str, int], grace: Grace) -> None:
        """`numbers`: of the actions that the layout has arguments of, by name."""
        if rows.stride != layout.size:
            raise ValueError(f"rows of map {rows.name!r} have {rows.stride} bytes, the layout has {layout.size}")
        self.layout = layout
        self.stride = layout.size
        self.memory = rows.memory()
        self.words = self.memory.cast("Q")
        self.halves = self.memory.cast("I")
        self.count = rows.max_entries
        """Rows that there are memory for, row 0 among them."""
        self._name = rows.name
        self._formats = {numbers[name]: _Format(layout, item) for name, item in layout.arguments.items()}
        self._indirect = _Format(layout, None)
        self._grace = grace
        self._free: list[int] = []
        self._unused = range(1, rows.max_entries)
        self._freed: list[int] = []
        self._freed_at = 0
        """How many grace periods had ended when the last of these was freed."""
        self._cleared: dict[int, tuple[int, int]] = {}
        """What the counters of a row said when it was told to count from zero."""

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self.halves.release()

    def adopt(self, numbers: Iterable[int]) -> None:
        """These rows have entries already, as another process left them; no more are looked at than the others are."""
        taken = bytearray(self._unused.stop)
        taken[0] = taken[self.halves[0]] = 1
        for number in numbers:
            taken[number] = 1
        end = taken.rindex(1) + 1
        self._freed = [number for number, is_taken in enumerate(taken[:end]) if not is_taken]
        self._freed_at = self._grace.ended
        self._unused = range(end, len(taken))

    def take(self) -> int:
        """The number of a row that nobody sees. Raises `TableFull`."""
        if not self._free:
            self._refill()
        return self._free.pop()

    def give_back(self, number: int) -> None:
        """The row can be found no more by programs that start now."""
        self._freed.append(number)
        self._freed_at = self._grace.ended
        if self._cleared:
            self._cleared.pop(number, None)

    def fill(self, number: int, key: Sequence[int], action: int, params: tuple[int, ...]) -> None:
        """Write a whole row that nobody sees."""
        form = self._formats[action]
        values = form.split(params) if form.is_wide else params
        form.pack_into(self.memory, number * self.stride, *key, action, *values)

    def fill_indirect(self, number: int, key: Sequence[int], group: int) -> None:
        """Write a whole row of an indirect table."""
        self._indirect.pack_into(self.memory, number * self.stride, *key, group)

    def set_default(self, call: Call) -> None:
        """Let a miss run an action, or nothing."""
        before = self.halves[0]
        number = 0
        if call.action != NO_ACTION:
            number = self.take()
            key = self.layout.key
            self.fill(number, (0,) * key.words if key is not None else (), call.action, call.params)
        self.halves[0] = number
        if before:
            self.give_back(before)

    def begin(self, number: int, hit_ns: int) -> None:
        """A row that nobody sees was written now: it counts as hit."""
        at = self.layout.hit_at
        if at is not None:
            self.words[(number * self.stride + at) >> 3] = hit_ns

    # What programs leave in a row

    def counter(self, number: int) -> tuple[int, int]:
        """Packets and octets since it was filled or cleared; zeros where the table has no counters."""
        packets, octets = self._counted(number)
        if self._cleared and number in self._cleared:
            before = self._cleared[number]
            return packets - before[0], octets - before[1]
        return packets, octets

    def clear_counter(self, number: int) -> None:
        """Count from zero. The cells stay: a program that is counting would write the old sum back."""
        if self.layout.counters_at is not None:
            self._cleared[number] = self._counted(number)

    def cleared(self, number: int) -> tuple[int, int]:
        """What the counters said when they were told to count from zero."""
        return self._cleared.get(number, (0, 0))

    def last_hit(self, number: int) -> int:
        """Nanoseconds of the monotonic clock; zero: never, or the table has no idle timeouts."""
        at = self.layout.hit_at
        return self.words[(number * self.stride + at) >> 3] if at is not None else 0

    def word(self, number: int) -> int:
        """The action's number, or the group's."""
        return self.halves[(number * self.stride + self.layout.action_at) >> 2]

    def meter_at(self, number: int) -> int:
        """Where in `memory` the row's meter is. Raises LookupError where the table has no direct meter."""
        if self.layout.meter_at is None:
            raise LookupError(f"rows of {self._name!r} have no meter")
        return number * self.stride + self.layout.meter_at

    def _counted(self, number: int) -> tuple[int, int]:
        at = self.layout.counters_at
        if at is None:
            return 0, 0
        start = (number * self.stride + at) >> 3
        cells: Any = self.words[start : start + 2 * self.layout.cells]
        return sum(cells[::2]), sum(cells[1::2])

    def _refill(self) -> None:
        if self._unused:
            self._free = list(self._unused[:_FRESH])[::-1]
            self._unused = self._unused[_FRESH:]
            return
        if not self._freed:
            raise TableFull(f"the memory of {self._name!r} is full")
        if self._grace.ended == self._freed_at:
            self._grace.wait()
        self._free, self._freed = self._freed, []
