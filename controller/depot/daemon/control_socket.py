"""The Unix socket of the command line: one JSON object a line each way.

A request is ``{"command": "drain", "member": "web1"}``, its answer ``{"result": …}`` or ``{"error": "…"}``. `events`
with ``"follow": true`` is answered by one ``{"event": …}`` after the other until the client hangs up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from depot.address import AddressError
from depot.config import ConfigError
from depot.daemon.answers import connection_rows, member_row, member_rows, status
from depot.daemon.cluster_answers import cluster_connection_rows, cluster_status, member_of
from depot.daemon.daemon import Daemon
from depot.daemon.vmac_answers import gateways_of, vmac_status
from depot.switching.services import UnknownMemberError
from depot.vmac import VmacError

__all__ = ["ControlSocket", "SocketInUseError"]

MOST_REQUEST = 65536
"""Bytes of a request line."""
CONNECTION_LIMIT = 1000
"""Connections told unless more are asked for."""

events = logging.getLogger("depot.events")

Request = dict[str, Any]


class SocketInUseError(Exception):
    """Another daemon answers at this socket."""


class BadRequestError(Exception):
    """A request that nobody can answer."""


class ControlSocket:
    """Serves the command line for a daemon."""

    def __init__(self, daemon: Daemon, path: Path) -> None:
        self._daemon = daemon
        self._path = path
        self._server: asyncio.Server | None = None
        self._commands: dict[str, Callable[[Request], Awaitable[object]]] = {
            "status": self._status,
            "members": self._members,
            "connections": self._connections,
            "cluster": self._cluster,
            "cluster-leave": self._cluster_leave,
            "vmac": self._vmac,
            "vmac-move": self._vmac_move,
            "drain": self._drain,
            "undrain": self._undrain,
            "weight": self._weight,
            "events": self._events,
            "reload": self._reload,
        }

    async def start(self) -> None:
        """Listen; a socket file that nobody answers at is replaced. Raises SocketInUseError, OSError."""
        if self._path.exists():
            if _answers(self._path):
                raise SocketInUseError(f"{self._path}: another daemon answers here")
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MOST_REQUEST)
        os.chmod(self._path, 0o660)

    async def stop(self) -> None:
        """Listen no more and remove the file."""
        if self._server is not None:
            self._server.close()
            with suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                request = _parse(line)
                if request.get("command") == "events" and request.get("follow") is True:
                    await self._follow(request, reader, writer)
                    break
                _say(writer, await self._answer(request))
                await writer.drain()
        except BadRequestError as error:
            _say(writer, {"error": str(error)})
        except (ConnectionError, ValueError):  # it hung up, or sent a line without end
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: Request) -> dict[str, object]:
        command = self._commands.get(str(request.get("command")))
        if command is None:
            return {"error": f"no command {request.get('command')!r}; there are: {', '.join(self._commands)}"}
        try:
            return {"result": await command(request)}
        except ConfigError as error:
            return {"error": "the file is not applied, the running configuration stays", "problems": _problems(error)}
        except (UnknownMemberError, AddressError, BadRequestError, VmacError, ValueError) as error:
            return {"error": str(error)}

    # Commands

    async def _status(self, request: Request) -> object:
        return status(self._daemon)

    async def _members(self, request: Request) -> object:
        return member_rows(self._daemon, _text(request, "vip"))

    async def _connections(self, request: Request) -> object:
        limit = request.get("limit", CONNECTION_LIMIT)
        if not isinstance(limit, int) or limit < 0:
            raise BadRequestError(f"limit is {limit!r}, not a number from 0")
        if request.get("cluster") is True:
            wanted = {name: _text(request, name) for name in ("owner", "action", "client")}
            count, rows = await cluster_connection_rows(self._daemon, wanted, limit)
            return {"count": count, "connections": rows}
        wanted = {name: _text(request, name) for name in ("switch", "vip", "member", "state", "client")}
        count, rows = connection_rows(self._daemon, wanted, limit)
        return {"count": count, "connections": rows}

    async def _cluster(self, request: Request) -> object:
        return cluster_status(self._daemon)

    async def _cluster_leave(self, request: Request) -> object:
        member_of(self._daemon).leave()
        return cluster_status(self._daemon)

    async def _vmac(self, request: Request) -> object:
        return vmac_status(self._daemon)

    async def _vmac_move(self, request: Request) -> object:
        buckets = request.get("buckets")
        if not isinstance(buckets, list) or not all(type(one) is int for one in buckets):
            raise BadRequestError(f"buckets is {buckets!r}, not a list of numbers")
        gateways_of(self._daemon).move(buckets, _required(request, "gateway"))
        return {"ordered": len(buckets)}

    async def _drain(self, request: Request) -> object:
        return await self._set_drained(request, True)

    async def _undrain(self, request: Request) -> object:
        return await self._set_drained(request, False)

    async def _set_drained(self, request: Request, drained: bool) -> object:
        found = await self._daemon.set_drained(_required(request, "member"), drained, _text(request, "vip"))
        return [member_row(self._daemon, status) for status in found]

    async def _weight(self, request: Request) -> object:
        weight = request.get("weight")
        if weight is not None and (not isinstance(weight, int) or isinstance(weight, bool)):
            raise BadRequestError(f"weight is {weight!r}, not a whole number")
        found = await self._daemon.set_weight(_required(request, "member"), weight, _text(request, "vip"))
        return [member_row(self._daemon, status) for status in found]

    async def _events(self, request: Request) -> object:
        count = request.get("last", 50)
        return self._daemon.event_log.last(count if isinstance(count, int) else 50)

    async def _reload(self, request: Request) -> object:
        return {"notes": await self._daemon.reload()}

    async def _follow(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell events until the client hangs up."""
        with self._daemon.event_log.follow(with_sessions=request.get("sessions") is True) as queue:
            last = request.get("last", 0)
            for event in self._daemon.event_log.last(last if isinstance(last, int) else 0):
                _say(writer, {"event": event})
            hung_up = asyncio.ensure_future(reader.read(1))
            try:
                while not hung_up.done():
                    waiting = asyncio.ensure_future(queue.get())
                    await asyncio.wait({waiting, hung_up}, return_when=asyncio.FIRST_COMPLETED)
                    if not waiting.done():
                        waiting.cancel()
                        break
                    _say(writer, {"event": waiting.result()})
                    await writer.drain()
            finally:
                hung_up.cancel()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _parse(line: bytes) -> Request:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise BadRequestError(f"the request is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise BadRequestError("the request is no JSON object")
    return request


def _text(request: Request, name: str) -> str | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequestError(f"{name} is {value!r}, not a text")
    return value


def _required(request: Request, name: str) -> str:
    value = _text(request, name)
    if not value:
        raise BadRequestError(f"{name} is missing")
    return value


def _problems(error: ConfigError) -> list[dict[str, object]]:
    return [{"file": error.source, "line": one.line, "key": one.key, "message": one.message} for one in error.problems]


def _say(writer: asyncio.StreamWriter, message: object) -> None:
    writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
