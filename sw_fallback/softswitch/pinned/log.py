"""Records one after another in an array map: written by one process, read by the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from softswitch.engine.xdp.kernel import Map

__all__ = ["Log"]

_WORD = 8
_LENGTH = 4
"""Bytes before each record that say how long it is; the next one starts at a multiple of 8."""


class Log:
    """The first word is where the last record ends; it is written after the record, so a torn one is never read."""

    def __init__(self, memory: Map) -> None:
        """Go on with a log that is there."""
        self.map = memory
        self._bytes = memory.memory()
        self._end = self._bytes[:_WORD].cast("Q")

    @classmethod
    def create(cls, name: str, room: int, records: Iterable[bytes] = ()) -> Log:
        """A new one with these records, and room for so many bytes more. Raises `KernelError`."""
        records = list(records)
        words = 1 + (sum(map(_space, records)) + room) // _WORD
        log = cls(Map.array(name, _WORD, words))
        for record in records:
            log.append(record)
        return log

    @property
    def used(self) -> int:
        """Bytes."""
        return self._end[0]

    def append(self, record: bytes) -> bool:
        """Whether there was room."""
        start = _WORD + self._end[0]
        end = start + _space(record)
        if end > len(self._bytes):
            return False
        self._bytes[start : start + _LENGTH] = len(record).to_bytes(_LENGTH, "little")
        self._bytes[start + _LENGTH : start + _LENGTH + len(record)] = record
        self._end[0] = end - _WORD
        return True

    def __iter__(self) -> Iterator[bytes]:
        at, end = _WORD, _WORD + self._end[0]
        while at < end:
            length = int.from_bytes(self._bytes[at : at + _LENGTH], "little")
            yield bytes(self._bytes[at + _LENGTH : at + _LENGTH + length])
            at += -(-(_LENGTH + length) // _WORD) * _WORD

    def close(self) -> None:
        """Let go of the memory."""
        self._end.release()
        self.map.close()


def _space(record: bytes) -> int:
    """Bytes that a record takes."""
    return -(-(_LENGTH + len(record)) // _WORD) * _WORD
