"""An index that is written whole while programs read: `runtime/halves.h` says how."""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.engine.xdp.kernel import Map

__all__ = ["Halves"]

_HEADER = 64
_UNUSED = (1 << 32) - 1


class Halves:
    """The map of one index: `memory` is all of it."""

    def __init__(self, found: Map, half: int) -> None:
        """`half`: bytes of one. Raises ValueError for a map that is not of two of them."""
        if found.value_size != _HEADER + 2 * half:
            raise ValueError(f"map {found.name!r} has {found.value_size} bytes, not {_HEADER + 2 * half}")
        self._half = half
        self.memory = found.memory()
        self._live = self.memory[:8].cast("Q")
        self._rows = self.memory.cast("I")

    def close(self) -> None:
        """Let go of the memory."""
        self._live.release()
        self._rows.release()

    @property
    def is_used(self) -> bool:
        """Whether programs look here."""
        return self._live[0] & _UNUSED != _UNUSED

    @property
    def live(self) -> int:
        """Where in `memory` the half starts that programs read."""
        return self._at(self._live[0] >> 32)

    @property
    def spare(self) -> int:
        """Where in `memory` the other half starts."""
        return self._at((self._live[0] >> 32) + 1)

    def switch(self, low: int) -> None:
        """Let programs read the other half from now on; `low`: what the index says in the low half of the live word."""
        self._live[0] = ((self._live[0] >> 32) + 1 & _UNUSED) << 32 | low

    def disuse(self) -> None:
        """Say that something else has what is too much for this index."""
        self.switch(_UNUSED)

    def write_numbers(self, at: int, numbers: Sequence[int]) -> None:
        """Put numbers of rows at a place in `memory`, a multiple of four."""
        self._rows[at >> 2 : (at >> 2) + len(numbers)] = memoryview(_packed(numbers)).cast("I")

    def renumber(self, at: int, number: int) -> None:
        """Change one of them, at once."""
        self._rows[at >> 2] = number

    def _at(self, count: int) -> int:
        return _HEADER + (count & 1) * self._half


def _packed(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)
