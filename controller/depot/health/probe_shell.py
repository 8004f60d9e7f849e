"""Does the checks that the health core asks for: TCP connect, HTTP GET, and fetches members' reports. asyncio."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from depot.address import Endpoint, format_address
from depot.config.model import HealthConfig, HealthType
from depot.health.http import HttpError, Response, ResponseReader, format_request
from depot.switching.cost import LoadReport, ReportError, parse_report

__all__ = ["ProbeOutcome", "fetch_report", "probe"]

_MOST_BODY = 65536
_READ_SIZE = 65536


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What became of a check."""

    passed: bool
    """Whether it found the member well."""
    detail: str
    """What was found, for people."""
    response_time: float | None
    """Seconds until the connection stood, or the status was there; None unless passed."""


async def probe(endpoint: Endpoint, health: HealthConfig) -> ProbeOutcome:
    """Check a member once, within `health.timeout`. Never raises but when cancelled."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        async with asyncio.timeout(health.timeout):
            if health.type is HealthType.HTTP:
                status = await _status(endpoint, health)
                if status not in health.expect:
                    expected = " or ".join(map(str, health.expect))
                    return ProbeOutcome(False, f"status {status}, expected {expected}", None)
                what = f"status {status}"
            else:
                _, writer = await _connect(endpoint, health.source)
                writer.transport.abort()
                what = "connected"
    except TimeoutError:
        return ProbeOutcome(False, f"no answer within {health.timeout:g} s", None)
    except HttpError as error:
        return ProbeOutcome(False, str(error), None)
    except OSError as error:
        return ProbeOutcome(False, f"cannot connect: {error.strerror or error}", None)
    took = clock() - started
    return ProbeOutcome(True, f"{what} in {took * 1000:.1f} ms", took)


async def fetch_report(endpoint: Endpoint, path: str, timeout_seconds: float, source: int | None = None) -> LoadReport:
    """Ask a member for its report. Raises ReportError with what went wrong."""
    try:
        async with asyncio.timeout(timeout_seconds):
            response = await _get(endpoint, path, None, source)
    except TimeoutError:
        raise ReportError(f"no report within {timeout_seconds:g} s") from None
    except HttpError as error:
        raise ReportError(str(error)) from None
    except OSError as error:
        raise ReportError(f"cannot connect: {error.strerror or error}") from None
    if response.status != 200:
        raise ReportError(f"status {response.status} instead of a report")
    return parse_report(response.body)


async def _connect(endpoint: Endpoint, source: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    local = None if source is None else (format_address(source), 0)
    return await asyncio.open_connection(format_address(endpoint.address), endpoint.port, local_addr=local)


async def _status(endpoint: Endpoint, health: HealthConfig) -> int:
    """GET and return the status; what follows it is not read."""
    reader, writer = await _connect(endpoint, health.source)
    try:
        writer.write(format_request(health.path, endpoint, health.host))
        response = ResponseReader(_MOST_BODY)
        while response.status is None:
            response.receive(await reader.read(_READ_SIZE))
        return response.status
    finally:
        writer.transport.abort()


async def _get(endpoint: Endpoint, path: str, host: str | None, source: int | None) -> Response:
    reader, writer = await _connect(endpoint, source)
    try:
        writer.write(format_request(path, endpoint, host))
        parser = ResponseReader(_MOST_BODY)
        while True:
            parser.receive(await reader.read(_READ_SIZE))
            if response := parser.response():
                return response
    finally:
        writer.transport.abort()
