"""Serves the metrics over HTTP: as much of it as Prometheus asks for. On the daemon's loop, so nothing is locked."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from depot.config import HostPort
from depot.daemon.daemon import Daemon
from depot.daemon.metrics import DepotCollector

__all__ = ["MetricsServer"]

REQUEST_TIMEOUT = 10.0
"""Seconds that a client may take to ask."""
MOST_REQUEST = 16384


class MetricsServer:
    """`GET /metrics`."""

    def __init__(self, daemon: Daemon) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(DepotCollector(daemon))
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port in use, for one that was given as 0; 0 while it does not listen."""
        sockets = self._server.sockets if self._server else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def start(self, place: HostPort) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, place.host, place.port, limit=MOST_REQUEST)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT)
            writer.write(self._answer(head.split(b"\r\n", 1)[0]))
            await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, request_line: bytes) -> bytes:
        method, _, rest = request_line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"only GET\n", "text/plain")
        if path not in (b"/metrics", b"/"):
            return _response("404 Not Found", b"metrics are at /metrics\n", "text/plain")
        return _response("200 OK", b"" if method == b"HEAD" else generate_latest(self._registry), CONTENT_TYPE_LATEST)


def _response(status: str, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
