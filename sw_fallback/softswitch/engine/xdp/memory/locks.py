"""Where two words in shared memory must change together: `struct lock` in `tables.h`."""

from __future__ import annotations

import threading
import time
from types import TracebackType

__all__ = ["MemoryLock"]

_PATIENCE = 0.002
"""Seconds that a program is waited for: it holds a lock for some nanoseconds, unless its CPU was taken away."""


class MemoryLock:
    """A lock that programs take too, in a `with`; of one process and one thread.

    There is no exchanging of a word from here. This side says that it wants the lock, and waits until no program
    has it; programs look whether it is wanted once they have it, and then let go.
    """

    __slots__ = ("_at", "_fence", "_halves")

    def __init__(self, halves: memoryview, at: int) -> None:
        """`halves`: the memory as words of 32 bits; `at`: which of them is `busy`, the next one is `wanted`."""
        self._halves = halves
        self._at = at
        self._fence = threading.Lock()
        halves[at + 1] = 0  # perhaps left by a process that died

    def close(self) -> None:
        """Let go of the memory."""
        self._halves.release()

    def __enter__(self) -> None:
        halves, busy = self._halves, self._at
        halves[busy + 1] = 1
        with self._fence:  # a full memory barrier: they see it wanted, or here it is seen busy
            pass
        if halves[busy]:
            end = time.monotonic() + _PATIENCE
            while halves[busy] and time.monotonic() < end:
                pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halves[self._at + 1] = 0
