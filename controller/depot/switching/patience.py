"""Sessions that need no entry yet, because the data plane's flow cache remembers them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from depot.switching.session import Session
from depot.switching.states import ENDED_STATES, SessionState

__all__ = ["Patience"]

_SECONDS = 0.3
"""How long a session waits for its entry: a short one never needs any. Much less than the second after which another
flow may take its slot in the cache (FLOW_CACHE_CONTENTION)."""
_OVER = ENDED_STATES | {SessionState.GONE}


class Patience:
    """A queue of sessions by when they opened; who is `patient` no more has left it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Session]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, session: Session) -> None:
        """A patient session has just opened."""
        self._waiting.append((session.opened_at + _SECONDS, session))

    def due(self, now: float) -> Iterator[Session]:
        """Yield every session that has waited long enough and goes on."""
        while self._waiting and self._waiting[0][0] <= now:
            since, session = self._waiting.popleft()
            is_same = session.opened_at + _SECONDS == since  # else a successor took its place
            if session.patient and is_same and session.state not in _OVER:
                yield session

    def next_deadline(self) -> float | None:
        """Return when the first of them has waited long enough; None: nobody waits."""
        return self._waiting[0][0] if self._waiting else None
