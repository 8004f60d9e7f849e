"""Records as people see them: frames in words, lines, pcapng files."""

from __future__ import annotations

import io
import struct
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.utils import PcapNgReader

from softswitch.trace import End, Pass, Record, TableStep, Verdict
from softswitch.trace.capture import Capture
from softswitch.trace.frames import describe
from softswitch.trace.pcapng import ETHERNET, PcapngWriter
from softswitch.trace.text import Lines

ONE, TWO = "02:00:00:00:00:01", "02:00:00:00:00:02"


def ether(type_: int | None = None) -> Ether:
    return Ether(src=ONE, dst=TWO) if type_ is None else Ether(src=ONE, dst=TWO, type=type_)


V4, V6 = IP(src="10.0.0.1", dst="10.9.0.1"), IPv6(src="2001:db8::1", dst="2001:db8::2")


def tcp(flags: str) -> TCP:
    return TCP(sport=4242, dport=80, flags=flags)


def udp() -> UDP:
    return UDP(sport=4242, dport=80)


DESCRIPTIONS = {
    "tcp 10.0.0.1:4242 > 10.9.0.1:80 SYN": ether() / V4 / tcp("S"),
    "tcp 10.0.0.1:4242 > 10.9.0.1:80 SYN ACK": ether() / V4 / tcp("SA"),
    "tcp 10.0.0.1:4242 > 10.9.0.1:80": ether() / V4 / tcp(""),
    "udp 10.0.0.1:4242 > 10.9.0.1:80": ether() / V4 / udp(),
    "tcp [2001:db8::1]:4242 > [2001:db8::2]:80 FIN PSH ACK": ether() / V6 / tcp("FPA"),
    "udp [2001:db8::1]:4242 > [2001:db8::2]:80": ether() / V6 / IPv6ExtHdrFragment(m=1) / udp(),
    "ip6 2001:db8::1 > 2001:db8::2 fragment of protocol 17": ether() / V6 / IPv6ExtHdrFragment(offset=9, nh=17) / b"x",
    "ip 10.0.0.1 > 10.9.0.1 fragment of protocol 6": ether() / IP(src="10.0.0.1", dst="10.9.0.1", frag=9, proto=6),
    "icmp 10.0.0.1 > 10.9.0.1 type 8 code 0": ether() / V4 / ICMP(),
    "icmp6 2001:db8::1 > 2001:db8::2 type 128 code 0": ether() / V6 / ICMPv6EchoRequest(),
    "ip 10.0.0.1 > 10.9.0.1 (tcp 10.0.0.1:4242 > 10.9.0.1:80 SYN)": ether() / V4 / V4 / tcp("S"),
    "ip6 2001:db8::1 > 2001:db8::2 (udp 10.0.0.1:4242 > 10.9.0.1:80)": ether() / V6 / V4 / udp(),
    "ip 10.0.0.1 > 10.9.0.1 (udp [2001:db8::1]:4242 > [2001:db8::2]:80)": ether() / V4 / V6 / udp(),
    "ip 10.0.0.1 > 10.9.0.1 protocol 89": ether() / IP(src="10.0.0.1", dst="10.9.0.1", proto=89),
    "vlan 7 udp 10.0.0.1:4242 > 10.9.0.1:80": ether() / Dot1Q(vlan=7) / V4 / udp(),
    "arp who has 10.0.0.2, tell 10.0.0.1": ether() / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"),
    f"arp 10.0.0.1 is at {ONE}": ether() / ARP(op=2, psrc="10.0.0.1", hwsrc=ONE),
    f"0x88cc {ONE} > {TWO}": ether(0x88CC) / b"lldp",
    f"0x0800 {ONE} > {TWO}": ether(0x0800) / b"\x45cut",
    f"0x86dd {ONE} > {TWO}": ether(0x86DD) / bytes(60),
    "5 bytes": b"short",
}


@pytest.mark.parametrize(("expected", "frame"), DESCRIPTIONS.items(), ids=DESCRIPTIONS.keys())
def test_frames_in_words(expected: str, frame: object) -> None:
    assert describe(bytes(frame)) == expected  # type: ignore[call-overload]


@given(st.binary(max_size=120), st.sampled_from([0x0800, 0x86DD, 0x0806, 0x8100, 0x1234]))
def test_any_frame_has_words(rest: bytes, kind: int) -> None:
    assert describe(rest)
    assert describe(bytes(12) + struct.pack("!H", kind) + rest)
    assert describe(bytes(12) + struct.pack("!HB", kind, 0x45) + rest)


# Lines

TABLES, ACTIONS = ["ingress.vips.vip_table", "ingress.acl_table"], ["ingress.vips.serve_vip", "NoAction"]
LINES = Lines(TABLES, ACTIONS, {1, 2}, 255)
SYN = bytes(ether() / V4 / tcp("S"))
NOW_NS = 1_700_000_000_123_456_789
HIT, MISS = TableStep(TABLES[0], True, ACTIONS[0]), TableStep(TABLES[1], False, ACTIONS[1])


def record(*ends: End, port: int = 1, steps: tuple[TableStep | Pass, ...] = (HIT, MISS), error: str = "") -> Record:
    return Record(NOW_NS, port, SYN, len(SYN), steps, ends, error or None)


def test_a_line_has_time_packet_tables_and_verdict() -> None:
    line = LINES.line(record(End(Verdict.LEFT, 2)))
    time, rest = line.split(" ", 1)
    assert time == f"{datetime.fromtimestamp(1_700_000_000):%H:%M:%S}.123456"
    assert rest == (
        "port 1 tcp 10.0.0.1:4242 > 10.9.0.1:80 SYN  vip_table hit serve_vip, acl_table miss NoAction → port 2"
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (record(End(Verdict.LEFT, 9), steps=()), "no table → port 9 (no such port)"),
        (record(End(Verdict.CONTROLLER, 255), steps=(MISS,)), "acl_table miss NoAction → controller"),
        (record(End(Verdict.DROPPED_INGRESS), steps=()), "no table → dropped at the end of ingress"),
        (record(End(Verdict.LEFT, 1), End(Verdict.LEFT, 2), steps=(Pass.REPLICATED,)), "[copy] → port 1, port 2"),
        (record(End(Verdict.LEFT, 2), steps=(), error="NoMatch"), "parser error NoMatch → port 2"),
        (record(End(Verdict.LEFT, 1), steps=(TableStep("new_table", True, None),)), "new_table hit nothing → port 1"),
        (record(steps=()), "no table → nothing left"),
    ],
)
def test_ways(told: Record, expected: str) -> None:
    assert LINES.way(told) == expected


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_words(verdict: Verdict) -> None:
    assert LINES.way(record(End(verdict, 1)))


@pytest.mark.parametrize("kind", Pass)
def test_every_pass_has_words(kind: Pass) -> None:
    assert LINES.way(record(steps=(kind,)))


def test_packets_of_the_controller_are_not_read_as_frames() -> None:
    assert f"controller {len(SYN)} bytes  " in LINES.line(record(End(Verdict.LEFT, 1), port=255))


# Files


def test_pcapng_files_are_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    left = bytes(ether() / IP(src="10.0.0.1", dst="10.2.0.11") / tcp("S") / b"odd")
    with path.open("wb") as file:
        capture = Capture(file, LINES, {1: "veth1", 2: "veth2"}, 255)
        capture.add(record(End(Verdict.LEFT, 2, left, len(left))))
        capture.add(record(End(Verdict.CONTROLLER, 255, b"\0\1" + SYN, 2 + len(SYN)), port=7))
        capture.add(Record(NOW_NS + 1, 1, SYN[:30], len(SYN), (), (End(Verdict.DROPPED_INGRESS),)))
    with PcapNgReader(str(path)) as reader:
        packets = list(reader)
    assert [bytes(packet) for packet in packets] == [SYN, left, SYN, b"\0\1" + SYN, SYN[:30]]
    assert [(packet.comment or b"").decode() for packet in packets] == [
        "vip_table hit serve_vip, acl_table miss NoAction → port 2",
        "from port 1",
        "vip_table hit serve_vip, acl_table miss NoAction → controller",
        "from port 7",
        "no table → dropped at the end of ingress",
    ]
    assert [packet.sniffed_on for packet in packets] == ["1@veth1", "2@veth2", "port 7", "controller", "1@veth1"]
    assert [packet.direction for packet in packets] == [1, 2, 1, 2, 1]
    assert [isinstance(packet, Ether) for packet in packets] == [True, True, True, False, True]
    assert packets[4].wirelen == len(SYN)
    assert int(packets[0].time * 1_000_000_000) == NOW_NS
    assert conf.l2types.num2layer[ETHERNET] is Ether


def test_long_comments_are_cut_to_what_an_option_holds() -> None:
    file = io.BytesIO()
    writer = PcapngWriter(file, "test")
    writer.packet(writer.interface("one", ETHERNET), 0, b"", 0, "x" * 70000, left=False)
    data, at = file.getvalue(), 0
    while at < len(data):  # every block says its length at both ends
        length = struct.unpack_from("=I", data, at + 4)[0]
        assert struct.unpack_from("=I", data, at + length - 4)[0] == length
        at += length
    assert at == len(data)
