"""What this process knows of rows and counters beside what programs see: for the next process, should this one end.

A ledger is an array that programs do not know of. It is pinned with the others, and there is none otherwise.
"""

from __future__ import annotations

from softswitch.engine.xdp.kernel import Map

__all__ = ["LEDGER_BYTES", "Ledger"]

LEDGER_BYTES = 24
"""An idle timeout, nanoseconds, and packets and octets: words of 64 bits, counts with a sign."""
_WORDS = LEDGER_BYTES // 8


class Ledger:
    """By number of a row, or index of an indirect counter."""

    def __init__(self, lines: Map) -> None:
        self._words = lines.memory().cast("q")

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()

    def begin(self, number: int, timeout_ns: int, packets: int, octets: int) -> None:
        """A row that is about to be found."""
        start = _WORDS * number
        self._words[start] = timeout_ns
        self._words[start + 1] = packets
        self._words[start + 2] = octets

    def keep(self, number: int, packets: int, octets: int) -> None:
        """What has to be added to what programs count; below zero where they have counted on from a reset."""
        self._words[_WORDS * number + 1] = packets
        self._words[_WORDS * number + 2] = octets

    def line(self, number: int) -> tuple[int, int, int]:
        """The idle timeout in nanoseconds, zero for none; packets and octets."""
        start = _WORDS * number
        words = self._words
        return words[start], words[start + 1], words[start + 2]

    def kept(self, number: int) -> tuple[int, int]:
        """Packets and octets."""
        start = _WORDS * number + 1
        return self._words[start], self._words[start + 1]
