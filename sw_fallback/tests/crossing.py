"""What a test does in a network namespace without going there itself.

gRPC's threads are in the namespace of the thread that made them, and stay there; so a test that speaks gRPC stays too.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from sw_fallback.tests.namespace import Namespace, join

T = TypeVar("T")


def within(space: Namespace, function: Callable[[], T]) -> T:
    """What the function returns, run in the namespace by a thread of its own. Sockets that it makes are of there."""

    def there() -> T:
        descriptor = os.open(f"/run/netns/{space.name}", os.O_RDONLY | os.O_CLOEXEC)
        join(descriptor)
        os.close(descriptor)
        return function()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(there).result()


class Crossing:
    """Takes TCP connections here and goes on with them to `target`, HOST:PORT in a namespace."""

    def __init__(self, space: Namespace) -> None:
        self._space = space
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.target = ""
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it with all connections."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                here, _ = self._listener.accept()
                host, _, port = self.target.rpartition(":")
                there = within(self._space, socket.socket)
                self._open += here, there
                try:
                    there.connect((host, int(port)))
                except OSError:
                    here.close()
                    continue
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
