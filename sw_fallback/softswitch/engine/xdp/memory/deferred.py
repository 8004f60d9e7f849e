"""Mirrors whose changes become effective together, at a flush."""

from __future__ import annotations

from abc import abstractmethod

from softswitch.engine.xdp.memory.mirror import RowMirror, Shared
from softswitch.errors import TableFull
from softswitch.rows import Row

__all__ = ["DeferredMirror"]


class DeferredMirror(RowMirror):
    """Rows that go stay as they are until the flush after which no program finds them."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._retired: list[int] = []
        self._succeeded: list[tuple[Row, int]] = []
        """Rows and what programs find in their place until the flush, where they still count."""
        self._is_changed = False

    def flush(self) -> None:
        """Make all changes effective. Raises `KernelError`."""
        if not self._is_changed:
            return
        self._publish()
        self._is_changed = False
        for row, before in self._succeeded:
            super()._succeed(row, before)
        self._succeeded.clear()
        for number in self._retired:
            self._drop(number)
        self._retired.clear()

    def counter(self, row: Row) -> tuple[int, int]:
        """Packets and octets counted by programs, in what the row replaces too."""
        packets, octets = super().counter(row)
        for each, before in self._succeeded:
            if each is row:
                more = self.rows.counter(before)
                packets, octets = packets + more[0], octets + more[1]
        return packets, octets

    def clear_counter(self, row: Row) -> None:
        """Count from zero."""
        super().clear_counter(row)
        for each, before in self._succeeded:
            if each is row:
                self.rows.clear_counter(before)

    @abstractmethod
    def _publish(self) -> None:
        """Let programs find what is there now and nothing else."""

    def _succeed(self, row: Row, before: int) -> None:
        self._succeeded.append((row, before))

    def _retire(self, number: int) -> None:
        self._retired.append(number)
        self._is_changed = True

    def _filled(self, row: Row) -> int:
        try:
            return super()._filled(row)
        except TableFull:
            if not self._retired:
                raise
        self.flush()  # rows that wait for it are needed now
        return super()._filled(row)
