"""Ports without privilege: arguments, ports in memory, checksums that the kernel left to hardware."""

from __future__ import annotations

import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.ports import MemoryPort, PacketSocketPort, TapPort, parse_port
from softswitch.ports.packet_socket import finish_checksum


def test_port_arguments() -> None:
    wired, tap = parse_port("1@veth1"), parse_port("510@tap:mine")
    assert (type(wired), wired.number, wired.name) == (PacketSocketPort, 1, "veth1")
    assert (type(tap), tap.number, tap.name) == (TapPort, 510, "mine")
    assert parse_port("0@eth0:1").name == "eth0:1"


@pytest.mark.parametrize(
    "text", ["", "1", "@veth", "x@veth", "-1@veth", "511@veth", "1@", "1@a b", "1@a/b", "1@tap:", "1@" + "a" * 16]
)
def test_bad_port_arguments_are_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="^" + repr(text).replace(".", r"\.")):
        parse_port(text)


def test_memory_port_is_readable_while_frames_wait() -> None:
    port = MemoryPort(1, capacity=3)
    port.inject(b"early")
    port.open()
    descriptor = port.fileno()
    assert descriptor is not None
    for frame in (b"a", b"b", b"lost"):
        port.inject(frame)
    assert select.select([descriptor], [], [], 0)[0]
    assert port.receive(2) == [b"early", b"a"]
    assert select.select([descriptor], [], [], 0)[0]
    assert port.receive(9) == [b"b"]
    assert not select.select([descriptor], [], [], 0)[0]
    port.send(b"out")
    assert list(port.sent) == [b"out"]
    assert (port.stats.received, port.stats.receive_dropped, port.stats.sent) == (3, 1, 1)
    port.close()
    assert port.fileno() is None


def internet_sum(data: bytes) -> int:
    """The one's complement sum of RFC 1071, word by word."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[place : place + 2], "big") for place in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(min_size=20, max_size=99), st.integers(0, 10), st.sampled_from([2, 6, 16]))
def test_finished_checksum_completes_the_sum(frame: bytes, start: int, offset: int) -> None:
    finished = finish_checksum(frame, start, offset)
    place = start + offset
    if place + 2 > len(frame):
        assert finished == frame
        return
    written = int.from_bytes(finished[place : place + 2], "big")
    assert (finished[:place], finished[place + 2 :]) == (frame[:place], frame[place + 2 :])
    assert (internet_sum(frame[start:]) + written) % 0xFFFF == 0
    assert written != (0 if offset == 6 else 0xFFFF)
