"""What the rewinder gives to the program under test is what `Frames` says, and every checksum in it is right."""

import os
import shutil
import socket
from collections.abc import Iterator

import pytest
from bench import katran
from bench.rewinding import Frames, Load, Rewinder, flow_of_turn
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from softswitch.engine.xdp.kernel import KernelError

_MAC = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
_PAYLOAD = b"0123456789"
TEMPLATES = {
    "IPv4 TCP": _MAC / IP(src="10.0.0.0", dst="192.0.2.80", id=7) / TCP(sport=1024, dport=80, flags="A") / _PAYLOAD,
    "IPv4 UDP": _MAC / IP(src="10.0.3.0", dst="192.0.2.80", id=0) / UDP(sport=2000, dport=53) / _PAYLOAD,
    "IPv6 TCP": _MAC / IPv6(src="fd00::", dst="fd01::80") / TCP(sport=1024, dport=80, flags="S") / _PAYLOAD,
    "IPv6 UDP": _MAC / IPv6(src="fd00::5:0", dst="fd01::80") / UDP(sport=1024, dport=53) / _PAYLOAD,
}
FLOWS = 1 << 20


@pytest.fixture(params=[(name, back) for name in TEMPLATES for back in (False, True)], ids=str)
def frames(request: pytest.FixtureRequest) -> Frames:
    name, back = request.param
    packet: Packet = TEMPLATES[name]
    if back:  # the ends change places
        ip = packet[IP if IP in packet else IPv6]
        segment = ip[TCP if TCP in ip else UDP]
        ends = {"src": ip.dst, "dst": ip.src}
        ports = {"sport": segment.dport, "dport": segment.sport}
        packet = _MAC / type(ip)(**ends) / type(segment)(**ports) / _PAYLOAD
    return Frames(bytes(packet), FLOWS, back)


def with_right_sums(frame: bytes) -> bytes:
    """The frame with every checksum computed anew."""
    packet: Packet = Ether(frame)
    for layer in (IP, TCP, UDP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


@pytest.mark.parametrize("flow", [0, 1, 32_767, 32_768, 0xABCDE, FLOWS - 1])
def test_the_frame_of_a_flow_is_right(frames: Frames, flow: int) -> None:
    frame = frames.frame(flow)
    assert frame == with_right_sums(frame)
    packet = Ether(frame)
    address, port = frames.endpoint(flow)
    segment, ip = packet[TCP if TCP in packet else UDP], packet[IP if IP in packet else IPv6]
    assert (segment.dport if frames.back else segment.sport) == port
    family = socket.AF_INET if IP in packet else socket.AF_INET6
    assert socket.inet_pton(family, ip.dst if frames.back else ip.src) == address


def test_every_flow_has_an_endpoint_of_its_own(frames: Frames) -> None:
    small = Frames(frames.template, 1 << 17, frames.back)
    assert len({small.endpoint(flow) for flow in range(small.flows)}) == small.flows


def test_each_flow_has_its_turn_before_one_has_a_second() -> None:
    assert sorted(flow_of_turn(turn, 4096) for turn in range(4096)) == list(range(4096))


@pytest.mark.parametrize(
    ("frame", "flows", "complaint"),
    [
        (bytes(TEMPLATES["IPv4 TCP"]), 3, "power of two"),
        (bytes(TEMPLATES["IPv4 TCP"])[:54], 1, "too short"),
        (bytes(_MAC / IP(src="10.0.255.250") / TCP(sport=1024) / _PAYLOAD), FLOWS, "do not fit"),
        (bytes(_MAC / IP() / TCP(sport=65_000) / _PAYLOAD), FLOWS, "do not fit"),
        (bytes(64), 1, "EtherType"),
    ],
)
def test_frames_that_cannot_be_rewound_are_refused(frame: bytes, flows: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Frames(frame, flows)


def test_without_its_object_katran_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(katran.OBJECT, raising=False)
    assert katran.measure() is None
    assert katran.OBJECT in capsys.readouterr().out


@pytest.fixture
def rewinder(frames: Frames) -> Iterator[Rewinder]:
    if os.geteuid() != 0:
        pytest.skip("loading BPF programs needs root")
    if shutil.which("clang") is None:
        pytest.skip("clang is not on the PATH")
    try:
        made = Rewinder(frames)
    except KernelError as error:
        pytest.skip(f"no BPF here: {error}")
    with made:
        yield made


@pytest.mark.netns
@pytest.mark.parametrize("count", [1, 2, 500])
def test_each_repeat_gets_the_frame_of_the_next_flow(rewinder: Rewinder, count: int) -> None:
    verdict, frame = rewinder.packets(rewinder.programs["bare_transmit"], count)
    assert (verdict, frame) == (3, rewinder.frames.frame(flow_of_turn(count - 1, FLOWS)))


@pytest.mark.netns
def test_a_moved_head_is_put_back(rewinder: Rewinder) -> None:
    """Without that, a hundred headers of 20 bytes do not fit into the headroom."""
    verdict, frame = rewinder.packets(rewinder.programs["bare_encapsulation"], 100)
    assert (verdict, frame[20:]) == (3, rewinder.frames.frame(flow_of_turn(99, FLOWS)))


@pytest.mark.netns
def test_what_rewinding_costs_is_taken_off(rewinder: Rewinder) -> None:
    rounds: list[int] = []
    load = Load(repeat=20_000, rounds=3, warm_up=10, before_round=lambda: rounds.append(1))
    timing = rewinder.time(rewinder.programs["bare_encapsulation"], load)
    assert len(rounds) == 3
    assert 0 < timing.rewinding < timing.total
    assert timing.net == timing.total - timing.rewinding
