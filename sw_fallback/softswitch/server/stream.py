"""One client's StreamChannel: what waits to be sent to it."""

from __future__ import annotations

import asyncio
from collections import deque

from finsy.proto import p4r

from softswitch.server.status import Refusal

__all__ = ["MAX_WAITING", "Stream"]

MAX_WAITING = 8192
"""Messages that wait for a client that reads too slowly; then packets, digests and idle timeouts are dropped, which
the specification allows, and arbitration still gets through."""


class Stream:
    """The sending side of one StreamChannel."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        """The client's address, for people."""
        self.dropped = 0
        """Messages that were dropped because the client reads too slowly."""
        self.refusal: Refusal | None = None
        """Why the server closed the stream; None: it did not."""
        self._waiting: deque[p4r.StreamMessageResponse] = deque()
        self._wakeup = asyncio.Event()
        self._closed = False

    def put(self, message: p4r.StreamMessageResponse) -> None:
        """Add a message to what waits."""
        if len(self._waiting) >= MAX_WAITING and not message.HasField("arbitration"):
            self.dropped += 1
            return
        self._waiting.append(message)
        self._wakeup.set()

    def close(self, refusal: Refusal | None = None) -> None:
        """End the stream once what waits is sent."""
        if not self._closed:
            self._closed = True
            self.refusal = refusal
        self._wakeup.set()

    async def next(self) -> p4r.StreamMessageResponse | None:
        """The next message to send; None when the stream is closed."""
        while not self._waiting:
            if self._closed:
                return None
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._waiting.popleft()
