"""The command line's end of the daemon's socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["DaemonError", "ask", "follow"]

TIMEOUT = 30.0
"""Seconds that the daemon may take to answer."""


class DaemonError(Exception):
    """No daemon answers, or it refuses; the message is for the operator."""


def ask(path: Path, command: str, **fields: object) -> Any:
    """Return the daemon's answer to one command. Raises DaemonError."""
    with _connect(path) as connection:
        for answer in _answers(connection, command, fields):
            if "result" in answer:
                return answer["result"]
            raise DaemonError(_refusal(answer))
    raise DaemonError(f"{path}: the daemon hung up without an answer")


def follow(path: Path, **fields: object) -> Iterator[dict[str, Any]]:
    """Yield events until the daemon ends. Raises DaemonError."""
    with _connect(path) as connection:
        for answer in _answers(connection, "events", {"follow": True, **fields}, timeout=None):
            if "event" not in answer:
                raise DaemonError(_refusal(answer))
            yield answer["event"]
    raise DaemonError(f"{path}: the daemon has ended")


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise DaemonError(
            f"no daemon answers at {path} ({error.strerror or error}): does `depot run` run, is --socket right?"
        ) from None
    return connection


def _answers(
    connection: socket.socket, command: str, fields: dict[str, object], timeout: float | None = TIMEOUT
) -> Iterator[dict[str, Any]]:
    request = {"command": command} | {name: value for name, value in fields.items() if value is not None}
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.settimeout(timeout)
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)
    except TimeoutError:
        raise DaemonError(f"the daemon does not answer within {TIMEOUT:g} s") from None
    except (OSError, ValueError) as error:
        raise DaemonError(f"the daemon's answer cannot be read: {error}") from None


def _refusal(answer: dict[str, Any]) -> str:
    lines = [str(answer.get("error", "the daemon gave an answer that is none"))]
    for problem in answer.get("problems", ()):
        place = f"line {problem['line']}: " if problem["line"] else ""
        key = f"{problem['key']}: " if problem["key"] else ""
        lines.append(f"  {problem['file']}: {place}{key}{problem['message']}")
    return "\n".join(lines)
