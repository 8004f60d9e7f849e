"""Ports on real interfaces, in a network namespace of the test's own."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.p4runtime_client import PATIENCE, until
from sw_fallback.tests.test_ports import internet_sum

from softswitch.dataplane import DataPlane
from softswitch.ports import PacketSocketPort, Port, PortError, TapPort

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")]

FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\x00" + bytes(range(60))


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        made.veth("one", "two")
        yield made


@pytest.fixture
def pair(space: Namespace) -> Iterator[tuple[PacketSocketPort, PacketSocketPort]]:
    ports = PacketSocketPort(1, "one"), PacketSocketPort(2, "two")
    for port in ports:
        port.open()
    yield ports
    for port in ports:
        port.close()


def receive(port: Port, count: int = 1) -> list[bytes]:
    """The frames that come within the test's patience."""
    frames: list[bytes] = []
    while len(frames) < count:
        descriptor = port.fileno()
        assert descriptor is not None
        assert select.select([descriptor], [], [], PATIENCE)[0], f"only {len(frames)} of {count} frames"
        frames += port.receive(count - len(frames))
    return frames


def test_frames_cross_and_none_comes_back(pair: tuple[PacketSocketPort, PacketSocketPort]) -> None:
    one, two = pair
    for length in (14, 60, 1514):
        frame = (FRAME * 30)[:length]
        one.send(frame)
        assert receive(two) == [frame]
    assert one.receive(10) == []
    assert (one.stats.sent, two.stats.received) == (3, 3)


def test_vlan_tags_survive(pair: tuple[PacketSocketPort, PacketSocketPort]) -> None:
    one, two = pair
    for tag in (b"\x81\x00\x00\x05", b"\x81\x00\xe0\x00", b"\x88\xa8\x01\x02\x81\x00\x00\x07"):
        frame = FRAME[:12] + tag + FRAME[12:]
        one.send(frame)
        assert receive(two) == [frame]


def test_a_burst_waits_in_the_ring_and_what_is_above_is_counted(
    pair: tuple[PacketSocketPort, PacketSocketPort],
) -> None:
    one, two = pair
    for _ in range(6000):
        one.send(FRAME)
    frames = []
    while bunch := two.receive(64):
        frames += bunch
    two.update_counters()
    assert len(frames) >= 4000
    assert len(frames) + two.stats.receive_dropped == 6000


def test_checksums_left_to_hardware_are_finished(
    space: Namespace, pair: tuple[PacketSocketPort, PacketSocketPort]
) -> None:
    _, two = pair
    space.ip("address", "add", "10.1.1.1/24", "dev", "one")
    space.ip("neigh", "add", "10.1.1.2", "lladdr", "02:00:00:00:00:02", "dev", "one")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", ("10.1.1.2", 9))
    (frame,) = receive(two)
    packet = frame[14:]
    assert two.stats.completed_checksums == 1, "the kernel finished it itself: nothing was tested"
    pseudo = packet[12:20] + bytes([0, 17]) + packet[24:26]
    assert internet_sum(pseudo + packet[20:]) == 0xFFFF


def merged_segments() -> bytes:
    """A TCP segment of 5000 bytes behind a virtio header that asks the receiver to cut it into 1448."""
    virtio = struct.pack("=BBHHHH", 1, 1, 54, 1448, 34, 16)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 5040, 0, 0, 64, 6, 0, bytes(4), bytes(4))
    return virtio + FRAME[:14] + ip + struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 0x50, 0x10, 0, 0, 0) + bytes(5000)


async def test_merged_segments_are_dropped_counted_and_reported_once(
    space: Namespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("softswitch.dataplane._LOOK_AFTER_S", 0.001)
    got: list[bytes] = []
    port = PacketSocketPort(2, "two")
    plane = DataPlane([port], lambda _, frame: got.append(frame), lambda: None)
    plane.open()
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.setsockopt(263, 15, 1)  # PACKET_VNET_HDR
            sender.bind(("one", 0))
            for data in (merged_segments(), merged_segments(), bytes(10) + FRAME):
                sender.send(data)
        await until(lambda: got)
        await until(lambda: "port 2@two: frames above the MTU are dropped" in caplog.text)
    finally:
        plane.close()
    assert got == [FRAME]
    assert port.stats.oversized == 2
    assert caplog.text.count("above the MTU") == 1


@pytest.mark.parametrize("name", ["nosuchport", "much-too-long-for-a-name"])
@pytest.mark.parametrize("kind", [PacketSocketPort, TapPort])
def test_interfaces_that_cannot_be_opened_are_named(
    space: Namespace, kind: type[PacketSocketPort | TapPort], name: str
) -> None:
    if kind is TapPort and name == "nosuchport":
        name = "one"  # exists, and is no TAP
    with pytest.raises(PortError, match=f"^port 7: .*{name}"):
        kind(7, name).open()


def test_tap_port_exchanges_frames_with_the_kernel(space: Namespace) -> None:
    port = TapPort(1, "mytap")
    port.open()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as kernel:
        kernel.bind(("mytap", 3))
        kernel.settimeout(PATIENCE)
        kernel.send(FRAME)
        while receive(port) != [FRAME]:  # the kernel greets a new interface with IPv6 of its own
            pass
        port.send(FRAME[::-1])
        while kernel.recv(2048) != FRAME[::-1]:
            pass
    port.close()
    with pytest.raises(OSError, match="no interface"):
        socket.if_nametoindex("mytap")


async def test_an_interface_that_goes_and_comes_back_is_used_again(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softswitch.dataplane._LOOK_AFTER_S", 0.01)
    space.veth("three", "four")
    got: list[tuple[int, bytes]] = []
    ports = [PacketSocketPort(1, "one"), PacketSocketPort(3, "three")]
    plane = DataPlane(ports, lambda port, frame: got.append((port, frame)), lambda: None)
    plane.open()
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            space.ip("link", "set", "one", "down")
            await until(lambda: True)
            plane.transmit(1, FRAME)
            space.ip("link", "set", "one", "up")
            sender.sendto(FRAME, ("two", 0))
            await until(lambda: got == [(1, FRAME)])
            space.ip("link", "del", "one")
            await until(lambda: ports[0].fileno() is None)
            plane.transmit(1, FRAME)
            assert ports[0].stats.send_dropped
            sender.sendto(FRAME, ("four", 0))
            await until(lambda: got[-1] == (3, FRAME))
            space.veth("one", "two")
            await until(lambda: ports[0].fileno() is not None)
            sender.sendto(FRAME[::-1], ("two", 0))
            await until(lambda: got[-1] == (1, FRAME[::-1]))
    finally:
        plane.close()


def test_two_ports_of_one_number_or_interface_are_refused() -> None:
    for other in (PacketSocketPort(1, "b"), PacketSocketPort(2, "a")):
        with pytest.raises(ValueError, match="same"):
            DataPlane([PacketSocketPort(1, "a"), other], lambda *_: None, lambda: None)
