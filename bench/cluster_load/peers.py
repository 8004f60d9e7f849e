"""The peers' side of their channels with one member, replayed from memory as fast as wanted."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from select import select

from bench.cluster_load.member import LOOPBACK, changes, name_of, ring
from depot.cluster import ConnectionAction, key_of
from depot.cluster.wire import KEEPALIVE, encode_connection, encode_join

__all__ = ["Replay", "replay"]

PAIR = 32
"""Bytes of the messages about a request's two connections."""
FULL = 1 << 16
"""Bytes written at once by peers that nothing but the reader holds up."""
LOOK = 0.02
"""Seconds between looks at what the member and the benchmark say."""
PATIENCE = 5.0
"""Seconds until a member listens."""
IDLE = 0.0002
"""Seconds of sleep when nothing is due."""


def messages(member: int, request: int, *, installs: bool) -> bytes:
    """What a member's peers are told of a request, `PAIR` bytes."""
    action = ConnectionAction.FORWARD
    return b"".join(
        encode_connection(installs, action, key_of(flow), source_is_hi)
        for flow, source_is_hi, _ in changes(member, request, action)
    )


class Replay:
    """One peer with so many requests under way: each that ends is followed by another."""

    def __init__(self, number: int, requests: int) -> None:
        different = ring(requests)
        installs = [messages(number, request, installs=True) for request in range(different)]
        removes = [messages(number, request, installs=False) for request in range(different)]
        self.table = encode_join(name_of(number)) + b"".join(installs[:requests]) + KEEPALIVE
        """The first that is said."""
        self.stream = b"".join(removes[turn] + installs[(turn + requests) % different] for turn in range(different))
        """What is said then, again and again."""
        self._view = memoryview(self.stream)
        self.offset = 0
        """Where in it the next byte is."""
        self.sent = 0
        """Bytes of the stream that TCP has taken at the rate of now."""

    def join(self, port: int) -> None:
        """Call a member and tell it the table."""
        self.plug = _connected(port)
        self.plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.plug.sendall(self.table)
        self.plug.setblocking(False)

    def send(self, most: int) -> None:
        """Write once, at most so many bytes."""
        with suppress(BlockingIOError):
            taken = self.plug.send(self._view[self.offset : self.offset + most])
            self.offset = (self.offset + taken) % len(self._view)
            self.sent += taken

    def drain(self) -> None:
        """Read what the member says."""
        with suppress(BlockingIOError):
            while self.plug.recv(1 << 16):
                pass


def _connected(port: int) -> socket.socket:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((LOOPBACK, port))
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK)


def replay(numbers: Sequence[int], requests: int, port: int, pipe: Connection) -> None:
    """Be a member's peers until the pipe ends.

    They join when anything is said on the pipe. What is said then is the rate, requests per second of each peer;
    None: as fast as TCP takes it.
    """
    peers = [Replay(number, requests) for number in numbers]
    pipe.send("ready")
    pipe.recv()
    for peer in peers:
        peer.join(port)
    rate: float | None = 0.0
    begun = looked = time.monotonic()
    while True:
        now = time.monotonic()
        if now - looked > LOOK:
            looked = now
            for peer in peers:
                peer.drain()
            if pipe.poll():
                try:
                    rate, begun = pipe.recv(), now
                except EOFError:
                    return
                for peer in peers:
                    peer.sent = 0
        if rate is None:
            flood(peers)
        else:
            pace(peers, begun, rate)


def flood(peers: Sequence[Replay]) -> None:
    """Write as much as TCP takes."""
    select([], [peer.plug for peer in peers], [], LOOK)
    for peer in peers:
        peer.send(FULL)


def pace(peers: Sequence[Replay], begun: float, rate: float) -> None:
    """Write what is due as it would come: of a request its removes, of a request its installs; all if we are late."""
    due = int((time.monotonic() - begun) * rate) * 2 * PAIR
    lagging = [peer for peer in peers if peer.sent < due]
    if not lagging:
        time.sleep(IDLE)
    for peer in lagging:
        late = due - peer.sent
        peer.send(late if late > 2 * PAIR else PAIR - peer.offset % PAIR)
