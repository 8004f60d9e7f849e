"""What one read of memory costs here when it is in no cache: the least that a packet of one flow among many pays."""

from __future__ import annotations

import random
from pathlib import Path
from types import TracebackType

from bench.rewinding.rewinder import compiled
from softswitch.engine.xdp.kernel import Object

__all__ = ["RandomRead"]

_SOURCE = Path(__file__).with_name("memory.bpf.c")
_LINE = 16
"""Numbers of 32 bits in a line."""


class RandomRead:
    """A program that reads one line of memory for each packet and sends it back; a context manager."""

    def __init__(self, lines: int) -> None:
        """Read these many lines of 64 bytes by turns, each place known from the line before. Raises `KernelError`."""
        self._object = Object.load(compiled(_SOURCE, {"LINES": lines}), name="memory")
        memory = self._object.maps["lines"].memory().cast("I")
        order = list(range(lines))
        random.Random(1).shuffle(order)
        for here, following in zip(order, [*order[1:], order[0]], strict=True):
            memory[here * _LINE] = following
        memory.release()

    @property
    def program(self) -> int:
        """File descriptor."""
        return self._object.programs["random_read"]

    def __enter__(self) -> RandomRead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._object.close()
