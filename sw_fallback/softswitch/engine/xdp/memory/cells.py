"""Registers and indirect counters in memory shared with programs."""

from __future__ import annotations

from typing import Any

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory.ledger import Ledger
from softswitch.engine.xdp.memory.locks import MemoryLock

__all__ = ["CounterCells", "RegisterCells"]


class RegisterCells:
    """A register's cells, as the list of `softswitch.arrays.RegisterStore`. Programs and this process write the same
    words, so no one needs to be told."""

    def __init__(self, cells: Map, lock: Map) -> None:
        """The maps STEM_cells and STEM_lock."""
        self._words = cells.memory().cast("Q")
        self._bytes = cells.memory()
        self._stride = cells.stride
        self._is_wide = cells.stride > 8
        self._size = cells.max_entries
        self.lock = MemoryLock(lock.memory().cast("I"), 0)
        """Programs hold it while they read and write a cell, or a cell of more than 64 bits. Not to be entered twice:
        reading and writing a wide cell enters it."""

    def close(self) -> None:
        """Let go of the memory; the cells cannot be read any more."""
        self._words.release()
        self.lock.close()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> int:
        if not self._is_wide:
            return self._words[index]
        start = self._start(index)
        with self.lock:
            return int.from_bytes(self._bytes[start : start + self._stride], "little")

    def __setitem__(self, index: int, value: int) -> None:
        if not self._is_wide:
            self._words[index] = value
            return
        start = self._start(index)
        data = value.to_bytes(self._stride, "little")
        with self.lock:
            self._bytes[start : start + self._stride] = data

    def _start(self, index: int) -> int:
        if not 0 <= index < self._size:
            raise IndexError(f"{self._size} cells, none at {index}")
        return index * self._stride


class CounterCells:
    """What programs counted in an indirect counter; `softswitch.arrays.CounterCells`."""

    def __init__(self, cells: Map, ledger: Ledger | None = None) -> None:
        """The map STEM_cells."""
        self._ledger = ledger
        self._words = cells.memory().cast("Q")
        self._stride = cells.stride >> 3
        self._cleared: dict[int, tuple[int, int]] = {}
        """What the cells said when they were told to count from zero."""

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        if self._ledger is not None:
            self._ledger.close()

    def read(self, index: int) -> tuple[int, int]:
        """Packets and octets."""
        packets, octets = self._counted(index)
        before = self._cleared.get(index, (0, 0))
        return packets - before[0], octets - before[1]

    def clear(self, index: int) -> None:
        """Count from zero. The cells stay: a program that is counting would write the old sum back."""
        self._cleared[index] = self._counted(index)

    def keep(self, index: int, packets: int, octets: int) -> None:
        """Let the next process know what this one counts beside programs."""
        if self._ledger is not None:
            before = self._cleared.get(index, (0, 0))
            self._ledger.keep(index, packets - before[0], octets - before[1])

    def kept(self, index: int) -> tuple[int, int]:
        """What the process before counted beside programs."""
        return (0, 0) if self._ledger is None else self._ledger.kept(index)

    def _counted(self, index: int) -> tuple[int, int]:
        start = index * self._stride
        cells: Any = self._words[start : start + self._stride]
        return sum(cells[::2]), sum(cells[1::2])
