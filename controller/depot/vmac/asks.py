"""Asks that two data planes were handed and none has answered: the new owner answers, once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Asks"]

SAME_ASK = 0.5
"""Seconds between the ask that we were handed and the word of the old owner, either first. Half of what is between two
asks of one host, so that none is taken for another."""


@dataclass(frozen=True, slots=True)
class _Handed:
    at: float
    key: tuple[int, int]
    frame: bytes
    port: int


class Asks:
    """Joins the asks handed to us with the old owners' news of theirs. Keys: bucket and the asker's MAC."""

    def __init__(self) -> None:
        self._handed: deque[_Handed] = deque()
        self._news: deque[tuple[float, tuple[int, int]]] = deque()

    def handed(self, bucket: int, asker: int, frame: bytes, port: int, now: float) -> bool:
        """Note an ask; return whether it is to be answered, since the old owner was handed it too."""
        self._forget(now)
        for news in self._news:
            if news[1] == (bucket, asker):
                self._news.remove(news)
                return True
        self._handed.append(_Handed(now, (bucket, asker), frame, port))
        return False

    def told(self, bucket: int, asker: int, now: float) -> tuple[int, bytes] | None:
        """Note that the old owner was handed an ask; return port and answer if we were too."""
        self._forget(now)
        for handed in self._handed:
            if handed.key == (bucket, asker):
                self._handed.remove(handed)
                return handed.port, handed.frame
        self._news.append((now, (bucket, asker)))
        return None

    def _forget(self, now: float) -> None:
        while self._handed and self._handed[0].at < now - SAME_ASK:
            self._handed.popleft()
        while self._news and self._news[0][0] < now - SAME_ASK:
            self._news.popleft()
