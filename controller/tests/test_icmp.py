"""What the depot says of packets it cannot forward, checked by scapy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from depot.config import parse
from depot.p4runtime.packets import PacketIn
from depot.switching.icmp import ERROR_BURST, ERROR_RATE, IcmpErrors, Trouble
from depot.switching.routing import Routing

CONFIG = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16", "fd00:1::1/64"]
[[switch.port]]
number = 2
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.1/16"]
"""
US, THEM = "02:00:00:00:01:01", "02:00:00:00:00:09"


def icmp() -> IcmpErrors:
    return IcmpErrors(Routing(parse(CONFIG).switches[0]).ports)


def offender(packet: Packet, port: int = 1, dst: str = US) -> PacketIn:
    return PacketIn(port, 0, 0, 0, bytes(Ether(dst=dst, src=THEM) / packet))


def v4(**fields: object) -> Packet:
    return IP(src="10.1.0.9", dst="192.0.2.1", **fields)


def v6(**fields: object) -> Packet:
    return IPv6(src="fd00:1::9", dst="2001:db8::1", **fields)


def told(packet: PacketIn, trouble: Trouble = Trouble.TTL_EXPIRED, mtu: int = 0) -> Packet | None:
    answer = icmp().error(packet, trouble, 1.0, mtu)
    if answer is None:
        return None
    assert (answer.ingress_port, answer.submit) == (packet.ingress_port, True)
    return Ether(answer.payload)


class TestErrors:
    @pytest.mark.parametrize(
        ("trouble", "mtu", "expected"),
        [
            (Trouble.TTL_EXPIRED, 0, (11, 0, 0)),
            (Trouble.TOO_BIG, 1400, (3, 4, 1400)),
            (Trouble.TOO_BIG, 3, (3, 4, 68)),
            (Trouble.HOST_UNREACHABLE, 0, (3, 1, 0)),
        ],
    )
    def test_ipv4(self, trouble: Trouble, mtu: int, expected: tuple[int, int, int]) -> None:
        frame = told(offender(v4() / TCP(sport=5, dport=80, seq=7) / bytes(2000)), trouble, mtu)
        assert frame is not None
        error = frame[ICMP]
        assert (error.type, error.code) == expected[:2]
        assert int.from_bytes(bytes(error)[4:8], "big") == expected[2]
        assert (frame[IP].src, frame[IP].dst, frame[IP].ttl) == ("10.1.0.1", "10.1.0.9", 64)
        assert frame[IP].len == 576, "as much of the offender as fits (RFC 1812)"
        quoted = bytes(error)[8:]
        assert quoted == bytes(v4() / TCP(sport=5, dport=80, seq=7) / bytes(2000))[: len(quoted)]
        assert sums_to_zero(bytes(frame[IP])[:20])
        assert sums_to_zero(bytes(error))

    @pytest.mark.parametrize(
        ("trouble", "mtu", "layer", "code"),
        [
            (Trouble.TTL_EXPIRED, 0, ICMPv6TimeExceeded, 0),
            (Trouble.TOO_BIG, 1400, ICMPv6PacketTooBig, 0),
            (Trouble.HOST_UNREACHABLE, 0, ICMPv6DestUnreach, 3),
        ],
    )
    def test_ipv6(self, trouble: Trouble, mtu: int, layer: type[Packet], code: int) -> None:
        frame = told(offender(v6() / TCP(sport=5, dport=80) / bytes(2000)), trouble, mtu)
        assert frame is not None
        assert frame[layer].code == code
        if trouble is Trouble.TOO_BIG:
            assert frame[layer].mtu == mtu
        assert (frame[IPv6].src, frame[IPv6].dst) == ("fd00:1::1", "fd00:1::9")
        assert len(bytes(frame[IPv6])) == 1280, "the minimum MTU (RFC 4443, 2.4 c)"
        total = frame[layer].cksum
        del frame[layer].cksum
        assert Ether(bytes(frame))[layer].cksum == total

    def test_ethernet_padding_is_not_quoted(self) -> None:
        short = bytes(v4() / UDP())
        answer = told(PacketIn(1, 0, 0, 0, bytes(Ether(dst=US, src=THEM, type=0x800)) + short + bytes(18)))
        assert answer is not None
        assert bytes(answer[ICMP])[8:] == short

    def test_a_port_without_an_address_of_the_family_borrows_one(self) -> None:
        frame = told(offender(v6() / UDP(), port=2))
        assert frame is not None
        assert frame[IPv6].src == "fd00:1::1"

    @pytest.mark.parametrize(
        "packet",
        [
            v4() / ICMP(type=3) / v4(),
            v4() / ICMP(type=11) / v4(),
            v4() / ICMP(type=5),
            v4(frag=100) / Raw(b"x"),
            IP(src="10.1.0.9", dst="224.0.0.5") / UDP(),
            IP(src="10.1.0.9", dst="255.255.255.255") / UDP(),
            IP(src="0.0.0.0", dst="192.0.2.1") / UDP(),
            IP(src="127.0.0.1", dst="192.0.2.1") / UDP(),
            IP(src="239.1.1.1", dst="192.0.2.1") / UDP(),
            v6() / ICMPv6DestUnreach() / v6(),
            v6() / IPv6ExtHdrFragment(offset=5, nh=17) / Raw(b"x"),
            IPv6(src="fd00:1::9", dst="ff02::5") / UDP(),
            IPv6(src="::", dst="2001:db8::1") / UDP(),
            IPv6(src="::1", dst="2001:db8::1") / UDP(),
            IPv6(src="ff02::1", dst="2001:db8::1") / UDP(),
            ARP(),
        ],
        ids=lambda packet: packet.summary(),
    )
    def test_what_must_not_be_told(self, packet: Packet) -> None:
        """RFC 1812 4.3.2.7, RFC 4443 2.4 (e)."""
        assert told(offender(packet)) is None

    @pytest.mark.parametrize("packet", [v4() / ICMP(type=8), v6() / ICMPv6EchoRequest(), v4() / ICMP(type=13)])
    def test_questions_may_be_told(self, packet: Packet) -> None:
        assert told(offender(packet)) is not None

    def test_groups_of_ethernet(self) -> None:
        assert told(offender(v4() / UDP(), dst="ff:ff:ff:ff:ff:ff")) is None

    def test_too_big_for_an_ipv6_group_is_told(self) -> None:
        """RFC 4443 2.4 (e.3): path MTU discovery works for multicast too."""
        assert told(offender(IPv6(src="fd00:1::9", dst="ff0e::5") / UDP()), Trouble.TOO_BIG, 1400) is not None

    def test_a_port_that_is_gone(self) -> None:
        assert told(offender(v4() / UDP(), port=9)) is None

    def test_rate(self) -> None:
        errors, packet = icmp(), offender(v4() / UDP())
        sent = [errors.error(packet, Trouble.TTL_EXPIRED, 5.0) for _ in range(1000)]
        assert sum(one is not None for one in sent) == ERROR_BURST
        assert errors.suppressed == 1000 - ERROR_BURST
        later = [errors.error(packet, Trouble.TTL_EXPIRED, 5.0 + n / 1000) for n in range(1000)]
        assert sum(one is not None for one in later) == pytest.approx(ERROR_RATE, abs=1)


class TestResets:
    @pytest.mark.parametrize("network", [v4, v6])
    def test_a_segment_with_ack(self, network: object) -> None:
        ip = network()  # type: ignore[operator]
        answer = icmp().reset(offender(ip / TCP(sport=5, dport=80, seq=7, ack=4242, flags="PA") / b"data"), 1.0)
        assert answer is not None
        assert (answer.egress_port, answer.submit) == (1, False)
        frame = Ether(answer.payload)
        assert (frame.src, frame.dst) == (US, THEM)
        layer = IP if frame.haslayer(IP) else IPv6
        assert (frame[layer].src, frame[layer].dst) == (ip.dst, ip.src)
        assert (frame[TCP].sport, frame[TCP].dport, frame[TCP].flags, frame[TCP].seq) == (80, 5, "R", 4242)
        total = frame[TCP].chksum
        del frame[TCP].chksum
        assert Ether(bytes(frame))[TCP].chksum == total

    @pytest.mark.parametrize(("flags", "length"), [("S", 1), ("F", 5), ("", 4)])
    def test_a_segment_without_ack(self, flags: str, length: int) -> None:
        """RFC 9293 3.10.7.1: the acknowledgment covers the segment."""
        data = b"" if flags == "S" else b"data"
        answer = icmp().reset(offender(v4() / TCP(seq=0xFFFFFFFF, flags=flags) / data), 1.0)
        assert answer is not None
        segment = Ether(answer.payload)[TCP]
        assert (segment.flags, segment.seq, segment.ack) == ("RA", 0, (0xFFFFFFFF + length) & 0xFFFFFFFF)

    @pytest.mark.parametrize(
        "packet",
        [v4() / TCP(flags="R"), v4() / TCP(flags="RA"), v4() / UDP(), v4(frag=5, proto=6) / bytes(20), ARP()],
        ids=["RST", "RST ACK", "UDP", "fragment", "ARP"],
    )
    def test_what_gets_no_reset(self, packet: Packet) -> None:
        assert icmp().reset(offender(packet), 1.0) is None


@given(st.binary(max_size=120), st.sampled_from(list(Trouble)))
def test_any_bytes(data: bytes, trouble: Trouble) -> None:
    """Nothing that a network can send makes us fail."""
    for head in (b"", bytes(12) + b"\x08\x00\x45", bytes(12) + b"\x86\xdd\x60"):
        packet = PacketIn(1, 0, 0, 0, head + data)
        icmp().error(packet, trouble, 1.0, 1400)
        icmp().reset(packet, 1.0)


def sums_to_zero(data: bytes) -> bool:
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
