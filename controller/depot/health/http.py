"""As much of HTTP/1.1 (RFC 9112) as a check needs: one GET, one answer, on a connection closed after it. Sans-IO."""

from __future__ import annotations

import re
from dataclasses import dataclass

from depot.address import Endpoint, format_address, is_ipv4

__all__ = ["HttpError", "Response", "ResponseReader", "format_request"]

MOST_HEAD = 65536
"""Bytes of status line and headers; no server sends more."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")


class HttpError(Exception):
    """The other side does not speak HTTP/1.1, or says more than we want to hear."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: int
    """Its status."""
    body: bytes
    """Its content, transfer coding removed."""


def format_request(path: str, endpoint: Endpoint, host: str | None) -> bytes:
    """Return a GET; `host` None stands for the endpoint's address and port (RFC 9110, 7.2)."""
    if host is None:
        address = format_address(endpoint.address)
        host = (address if is_ipv4(endpoint.address) else f"[{address}]") + f":{endpoint.port}"
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: depot-health",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


class ResponseReader:
    """Reads one answer from bytes in pieces of any size. Interim answers (1xx) are skipped."""

    def __init__(self, most_body: int) -> None:
        self.status: int | None = None
        """The status as soon as the head is complete."""
        self._most_body = most_body
        self._data = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._ended = False

    def receive(self, data: bytes) -> None:
        """Take bytes; none means that the other side has closed. Raises HttpError."""
        self._data += data
        self._ended = self._ended or not data
        while self.status is None and (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end])
            del self._data[: end + 4]
            self._read_head(head)
        if self.status is None:
            if len(self._data) > MOST_HEAD:
                raise HttpError(f"more than {MOST_HEAD} bytes of headers")
            if not b"HTTP/1.".startswith(self._data[:7]):
                raise HttpError("the answer is no HTTP/1.1")
            if self._ended:
                raise HttpError("the connection was closed before an answer")

    def _read_head(self, head: bytes) -> None:
        first, *rest = head.split(b"\r\n")
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise HttpError("the answer is no HTTP/1.1")
        status = int(match[1])
        if status < 200:
            return
        self.status = status
        for line in rest:
            name, colon, value = line.partition(b":")
            if colon:
                self._headers[name.strip().lower()] = value.strip()

    def response(self) -> Response | None:
        """Return the answer if it is complete. Raises HttpError if it is too long, cut off or malformed."""
        if self.status is None:
            return None
        body = self._body()
        if len(self._data if body is None else body) > self._most_body:
            raise HttpError(f"more than {self._most_body} bytes of content")
        if body is None and self._ended:
            raise HttpError("the connection was closed within the answer")
        return None if body is None else Response(self.status, body)

    def _body(self) -> bytes | None:
        if self.status in (204, 304):
            return b""
        if self._headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            return self._unchunked()
        length = self._headers.get(b"content-length")
        if length is None:
            return bytes(self._data) if self._ended else None
        if not length.isdigit() or len(length) > 18:
            raise HttpError(f"Content-Length is {length.decode('latin-1')!r}")
        if int(length) > self._most_body:
            raise HttpError(f"more than {self._most_body} bytes of content")
        return bytes(self._data[: int(length)]) if len(self._data) >= int(length) else None

    def _unchunked(self) -> bytes | None:
        body = bytearray()
        at = 0
        while (end := self._data.find(b"\r\n", at)) >= 0:
            match = _CHUNK_SIZE.fullmatch(self._data[at:end])
            if match is None:
                raise HttpError("a chunk has no size")
            size = int(match[1], 16)
            if size == 0:
                return bytes(body)
            at = end + 2 + size + 2
            if len(self._data) < at:
                return None
            body += self._data[end + 2 : at - 2]
        return None
