"""Checks against real servers on loopback, on ports that the system chooses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from depot.address import Endpoint, parse_address
from depot.config import HealthConfig, HealthType
from depot.health.probe_shell import fetch_report, probe
from depot.switching.cost import LoadReport, ReportError

pytestmark = pytest.mark.server

TCP = HealthConfig(timeout=5.0)
HTTP = HealthConfig(type=HealthType.HTTP, timeout=5.0, path="/healthz", expect=(200, 204))
HASTY = 0.1

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[Endpoint]:
    """A server on a free port; handlers are ended with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, 0)
    try:
        yield Endpoint(parse_address(host), server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answering(answer: bytes, seen: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(answer)
        await writer.drain()

    return handler


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_tcp_passes_where_someone_listens(host: str) -> None:
    async with serving(silent, host) as place:
        outcome = await probe(place, TCP)
    assert outcome.passed
    assert outcome.response_time is not None
    assert 0 <= outcome.response_time < 5
    assert outcome.detail.startswith("connected in")


async def test_tcp_fails_where_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: the port is ours and refuses
        outcome = await probe(Endpoint(parse_address("127.0.0.1"), bound.getsockname()[1]), TCP)
    assert (outcome.passed, outcome.response_time) == (False, None)
    assert outcome.detail.startswith("cannot connect: ")


async def test_a_full_backlog_is_no_answer_in_time() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        outcome = await probe(
            Endpoint(parse_address("127.0.0.1"), listener.getsockname()[1]), replace(TCP, timeout=HASTY)
        )
    assert (outcome.passed, outcome.detail) == (False, "no answer within 0.1 s")


async def test_checks_come_from_the_source_that_is_asked_for() -> None:
    peers: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        await answering(b"HTTP/1.1 204 No Content\r\n\r\n")(reader, writer)

    async with serving(note) as place:
        assert (await probe(place, replace(HTTP, source=parse_address("127.0.0.77")))).passed
    assert peers == ["127.0.0.77"]


@pytest.mark.parametrize(
    ("answer", "passed", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", True, "status 200 in"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, "status 204 in"),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", False, "status 503, expected 200 or 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", False, "status 302, expected"),
        (b"220 mail.example ESMTP\r\n", False, "the answer is no HTTP/1.1"),
        (b"", False, "the connection was closed before an answer"),
    ],
)
async def test_http_goes_by_the_status(answer: bytes, passed: bool, detail: str) -> None:
    seen: list[bytes] = []
    async with serving(answering(answer, seen)) as place:
        outcome = await probe(place, replace(HTTP, host="www.example"))
    assert outcome.passed is passed
    assert outcome.detail.startswith(detail)
    assert seen[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: www.example\r\n")


async def test_http_that_does_not_answer_fails_in_time() -> None:
    async with serving(silent) as place:
        outcome = await probe(place, replace(HTTP, timeout=HASTY))
    assert (outcome.passed, outcome.detail) == (False, "no answer within 0.1 s")


async def test_http_that_is_cut_off_fails() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 2")
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    async with serving(cut) as place:
        assert not (await probe(place, HTTP)).passed


async def test_many_checks_at_once() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n")) as place:
        outcomes = await asyncio.gather(*(probe(place, HTTP) for _ in range(100)))
    assert all(outcome.passed for outcome in outcomes)


async def test_a_report_is_fetched() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" + b'{"cpu_load": 0.5}' + b"\r\n0\r\n\r\n"
    async with serving(answering(answer)) as place:
        assert await fetch_report(place, "/load", 5.0) == LoadReport(cpu_load=0.5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "closed within"),
        (b"nonsense", "no HTTP"),
    ],
)
async def test_a_bad_report_is_told(answer: bytes, message: str) -> None:
    async with serving(answering(answer)) as place:
        with pytest.raises(ReportError, match=message):
            await fetch_report(place, "/load", 5.0)


async def test_a_report_that_does_not_come_is_told() -> None:
    async with serving(silent) as place:
        with pytest.raises(ReportError, match=r"no report within 0\.1 s"):
            await fetch_report(place, "/load", HASTY)
    with pytest.raises(ReportError, match="cannot connect"):
        await fetch_report(place, "/load", 5.0)
