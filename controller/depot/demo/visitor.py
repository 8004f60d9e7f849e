"""A client with a stopwatch, run in a client's namespace: `python -m depot.demo.visitor ADDRESS SECONDS`.

Every so many seconds it opens a new session to port 80 of the address, whether or not the earlier ones have ended,
asks for `/` and prints one JSON object: when, how long, who answered or why it failed. SIGTERM ends it when the last
session has ended.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

__all__ = ["main"]

_TIMEOUT = 3.0


async def visit(address: str) -> None:
    """One session, one printed line."""
    start, clock = time.time(), time.monotonic()
    member: str | None = None
    error: str | None = None
    try:
        async with asyncio.timeout(_TIMEOUT):
            member = await _ask(address)
    except TimeoutError:
        error = "no answer"
    except ConnectionResetError:
        error = "reset"
    except ConnectionRefusedError:
        error = "refused"
    except (OSError, EOFError, ValueError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    line = {"start": start, "seconds": time.monotonic() - clock, "member": member, "error": error}
    print(json.dumps(line), flush=True)


async def _ask(address: str) -> str:
    reader, writer = await asyncio.open_connection(address, 80)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: depot\r\nConnection: close\r\n\r\n")
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not body:
        raise ValueError(f"answer of {len(answer)} bytes: {head[:40]!r}")
    return body.decode().strip()


async def visit_until_told(address: str, interval: float) -> None:
    """A new session every `interval` seconds until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    sessions: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while not told.is_set():
        session = asyncio.create_task(visit(address))
        sessions.add(session)
        session.add_done_callback(sessions.discard)
        due = max(due + interval, time.monotonic())
        try:
            await asyncio.wait_for(told.wait(), due - time.monotonic())
        except TimeoutError:
            continue
    if sessions:
        await asyncio.wait(sessions)


def main() -> None:
    """Run with the address and the interval of the command line."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m depot.demo.visitor ADDRESS SECONDS")
    asyncio.run(visit_until_told(sys.argv[1], float(sys.argv[2])))


if __name__ == "__main__":
    main()
