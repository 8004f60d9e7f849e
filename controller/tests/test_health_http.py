"""HTTP as checks speak it, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.address import parse_endpoint
from depot.health.http import HttpError, Response, ResponseReader, format_request

CASES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, Response(200, b"hello")),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", False, Response(204, b"")),
    "until the end": (b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello", True, Response(200, b"hello")),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
        False,
        Response(200, b"hello"),
    ),
    "no reason": (b"HTTP/1.1 503\r\ncontent-length:0\r\n\r\n", False, Response(503, b"")),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False, Response(200, b"ok"),
    ),
    "more than promised": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", False, Response(200, b"ok")),
}  # fmt: skip


def read(data: bytes, step: int, closes: bool, most: int = 100) -> Response | None:
    reader = ResponseReader(most)
    for at in range(0, len(data), step):
        reader.receive(data[at : at + step])
        if response := reader.response():
            return response
    if closes:
        reader.receive(b"")
    return reader.response()


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_read_in_pieces_of_any_size(case: str, step: int) -> None:
    data, closes, expected = CASES[case]
    assert read(data, step, closes) == expected


@pytest.mark.parametrize("case", CASES)
def test_no_answer_is_complete_too_early(case: str) -> None:
    data, closes, _ = CASES[case]
    end = len(data) - (2 if case == "more than promised" else 0)
    if case == "chunks":
        end -= 2  # the last empty line says nothing new
    for cut in range(end if closes else end - 1):
        assert read(data[:cut], 1000, closes=False) is None


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"40\r\n" + b"x" * 64 + b"\r\n40\r\n" + b"x" * 64,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000,
    ],
    ids=lambda data: repr(data[:50]),
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(HttpError):
        read(data, 1000, closes=True)


def judged(data: bytes, step: int) -> bool:
    try:
        return read(data, step, closes=True) is not None
    except HttpError:
        return True


@given(
    st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail), st.integers(1, 9)
)
def test_any_bytes_are_an_answer_or_an_error_in_the_end(data: bytes, step: int) -> None:
    assert judged(data, step)


def test_requests() -> None:
    request = format_request("/healthz?x=1", parse_endpoint("[2001:db8::1]:8080"), None)
    assert request.startswith(b"GET /healthz?x=1 HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n")
    assert request.endswith(b"Connection: close\r\n\r\n")
    assert b"\r\nHost: www.example\r\n" in format_request("/", parse_endpoint("10.0.0.1:80"), "www.example")
