"""Trace filters: what they fit, what they mean where a header is missing, and what is said about wrong ones."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sw_fallback.tests.engine_programs import CompiledProgram

from softswitch import Switch
from softswitch.trace import FilterError, Record, Watch, parse_filter


@pytest.fixture(scope="module")
def depot(request: pytest.FixtureRequest) -> Switch:
    """The depot's program: Ethernet, ARP, IPv4, IPv6, TCP, UDP, ICMP."""
    folder = request.config.rootpath / "p4src" / "build"
    return Switch.load(folder / "depot.p4info.txtpb", folder / "depot.json", cpu_port=255)


def fits(switch: Switch, text: str, frame: bytes, port: int = 1) -> bool:
    """Whether a packet would be told about."""
    records: list[Record] = []
    tracer = switch.tracer(lambda: 0)
    watch = Watch(parse_filter(text, switch.program), records.append)
    tracer.join(watch, tracer.prepare(watch))
    switch.process(port, frame)
    tracer.leave(watch)
    return bool(records)


def ethernet(ether_type: int) -> bytes:
    return bytes.fromhex("02de00000001") + bytes.fromhex("021000000001") + struct.pack("!H", ether_type)


def ipv4(protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    addresses = bytes([10, 0, 0, 1]) + bytes([10, 9, 0, 1])
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, ttl, protocol, 0)
    return ethernet(0x0800) + head + addresses + payload


def tcp(flags: int, source: int = 4242, target: int = 80) -> bytes:
    return ipv4(6, struct.pack("!HHIIBBHHH", source, target, 7, 0, 0x50, flags, 1024, 0, 0))


def udp(source: int = 53, target: int = 53) -> bytes:
    return ipv4(17, struct.pack("!HHHH", source, target, 8, 0))


SYN, ACK = 0x02, 0x10
IPV6 = ethernet(0x86DD) + struct.pack("!IHBB", 6 << 28, 0, 59, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"

MEANINGS = [
    ("tcp", tcp(SYN), True),
    ("tcp", udp(), False),
    ("!tcp", udp(), True),
    ("not hdr.tcp.isValid()", udp(), True),
    ("ipv4 && (tcp || udp)", udp(), True),
    ("ipv4 and not tcp", tcp(SYN), False),
    ("ipv4.src_addr == 10.0.0.1 && tcp.dst_port == 80", tcp(SYN), True),
    ("ipv4.src_addr == 10.0.0.2 && tcp.dst_port == 80", tcp(SYN), False),
    ("10.0.0.1 == hdr.ipv4.src_addr", tcp(SYN), True),
    ("ipv4.src_addr == 10.0.0.0/8", tcp(SYN), True),
    ("ipv4.src_addr == 10.0.0.7/32", tcp(SYN), False),
    ("ipv4.src_addr == 0.0.0.0/0", tcp(SYN), True),
    ("ipv4.src_addr == 0.0.0.0/0", IPV6, False),
    ("ipv4.dst_addr != 10.9.0.0/16", tcp(SYN), False),
    ("tcp.flags & 0x02 != 0", tcp(SYN | ACK), True),
    ("tcp.flags & 0x02 != 0", tcp(ACK), False),
    ("tcp.flags & 0x12 == 0x02", tcp(SYN | ACK), False),
    ("tcp.flags & 2", tcp(SYN), True),
    ("tcp.flags & 2 && tcp.flags & 0x10 == 0", tcp(SYN), True),
    ("tcp.src_port >= 1024 && tcp.src_port < 5000", tcp(SYN), True),
    ("tcp.src_port <= 0x1091", tcp(SYN), False),
    ("tcp.src_port - tcp.dst_port == 4162", tcp(SYN), True),
    ("tcp.src_port ^ tcp.dst_port | 1 == 0x10c3", tcp(SYN), True),
    ("ipv4.ttl << 2 == 256", tcp(SYN), True),
    ("ethernet.src_mac == 02:10:00:00:00:01", tcp(SYN), True),
    ("ethernet.src_mac == 02:10:00:00:00:02", tcp(SYN), False),
    ("ethernet.ether_type == 0x86dd", IPV6, True),
    ("ipv6.src_addr == ::1", IPV6, True),
    ("ipv6.src_addr == ::1 && ipv6.dst_addr == ::2", IPV6, True),
    ("ipv6.dst_addr == 2001:db8::/32", IPV6, False),
    ("meta.src_addr == ::ffff:10.0.0.1", tcp(SYN), True),
    ("metadata_t.src_addr == ::ffff:10.0.0.1", tcp(SYN), True),
    ("port == 1", IPV6, True),
    ("port != 1", IPV6, False),
    ("standard_metadata.packet_length == 54", tcp(SYN), True),
    ("standard_metadata.parser_error", tcp(SYN)[:40], True),
    ("1", b"", True),
    ("0", tcp(SYN), False),
    # about a header that is not there nothing is true
    ("tcp.dst_port == 80", udp(), False),
    ("tcp.dst_port != 80", udp(), False),
    ("!(tcp.dst_port == 80)", udp(), True),
    ("udp.dst_port == 0", tcp(SYN), False),
    ("tcp.dst_port + udp.dst_port > 0", tcp(SYN), False),
]


@pytest.mark.parametrize(("text", "frame", "expected"), MEANINGS, ids=[f"{n}: {m[0]}" for n, m in enumerate(MEANINGS)])
def test_what_a_filter_fits(depot: Switch, text: str, frame: bytes, expected: bool) -> None:
    assert fits(depot, text, frame) is expected


def test_members_of_stacks_have_names() -> None:
    switch = CompiledProgram("stacks").switch()
    stack = next(iter(switch.program.stacks.values()))
    member = stack.members[0]
    parse_filter(f"{member}.{stack.type.fields[0].name} == 1 || {member}", switch.program)


def test_the_filters_in_the_documents_are_right(depot: Switch, request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "docs" / "softswitch.md").read_text("utf-8")
    right, wrong = re.findall(r"--filter '(.+)'", text)
    parse_filter(right, depot.program)
    for code in ("tcp.dst_port != 80", "!(tcp.dst_port == 80)", "meta.protocol", "hdr.tcp.dst_port"):
        assert f"`{code}`" in text
        parse_filter(code, depot.program)
    with pytest.raises(FilterError) as refused:
        parse_filter(wrong, depot.program)
    assert f"softswitch: filter: {refused.value}" in text


WRONG = {
    "tcp.dst_prt == 80": "header 'tcp' has no field 'dst_prt'; there is tcp.dst_port",
    "tpc": "the program has no header or field 'tpc'; there is tcp",
    "hdr.ipv5.isValid()": "the program has no header 'ipv5'; there is ipv4",
    "tcp.whatsoever": "there is tcp.src_port, tcp.dst_port",
    "ipv4.ttl == 300": "ipv4.ttl has 8 bits: it is never 300",
    "ipv4.src_addr == 02:10:00:00:00:01": "ipv4.src_addr has 32 bits",
    "ethernet.src_mac == 10.0.0.1": "ethernet.src_mac has 48 bits, an address like 10.0.0.1 has 32",
    "meta.src_addr == 10.0.0.1": "write ::ffff:10.0.0.1",
    "tcp == 80": "== needs numbers on both sides",
    "tcp.dst_port == (udp)": "== needs numbers on both sides",
    "tcp & 1": "& needs numbers on both sides",
    "tcp.dst_port ==": "a field, a header or a number is expected, not the end",
    "tcp.dst_port = 80": "'=' is no name",
    "ipv4.src_addr == 10.0.0": "no address",
    "ipv4.src_addr == 10.0.0.256": "no address",
    "ipv4.src_addr == 10.0.0.0/33": "an address has 32 bits",
    "ipv4.src_addr < 10.0.0.0/8": "a prefix can be compared with == and != only",
    "10.0.0.0/8 == ipv4.src_addr": "a prefix can only stand right of == or !=",
    "ipv6.src_addr == 10.0.0.0/8": "a prefix of 32 bits needs a field of as many",
    "1 < tcp.dst_port < 5": "two comparisons in a row",
    "tcp.dst_port << tcp.src_port": "a shift needs a number of bits up to 128",
    "tcp.dst_port << 129": "a shift needs a number of bits up to 128",
    "(tcp": "a closing parenthesis is missing",
    "tcp)": "')' is one too many",
    "tcp udp": "'udp' is one too many",
    "tcp || ": "a field, a header or a number is expected, not the end",
    "": "a field, a header or a number is expected, not the end",
    "12ab": "'12ab' is no name, number, address or operator",
    "(" * 60 + "tcp" + ")" * 60: "nested more than 50 deep",
    "1" + "+1" * 60: "more than 50 calculations",
    "tcp" + " || tcp" * 3000: "longer than 16384 characters",
}


@pytest.mark.parametrize(("text", "why"), WRONG.items(), ids=[str(number) for number in range(len(WRONG))])
def test_wrong_filters_are_refused_with_the_reason(depot: Switch, text: str, why: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse_filter(text, depot.program)
    assert why in str(refused.value)


def test_the_place_is_shown(depot: Switch) -> None:
    with pytest.raises(FilterError) as refused:
        parse_filter("tcp && udp.prt == 1", depot.program)
    _, text, caret = str(refused.value).split("\n")
    assert text[caret.index("^") :].startswith("udp.prt")


def test_a_long_filter_is_translated(depot: Switch) -> None:
    wide = " || ".join(f"tcp.dst_port == {number}" for number in range(500))
    deep = "!(" * 24 + "tcp" + ")" * 24 + " && ipv4.ttl" + " + 1" * 40 + " == 104"
    assert not fits(depot, wide, tcp(SYN, target=500))
    assert fits(depot, wide, tcp(SYN, target=499))
    assert fits(depot, deep, tcp(SYN))


WORDS = "tcp tcp.flags ipv4.src_addr meta.ttl port udp.len $ ? 1 0x10 10.0.0.1 10.0.0.0/8 :: 02:00:00:00:00:01"
SIGNS = "( ) and && || ! == != < >= & | ^ + - <<"
PIECES = st.sampled_from([*WORDS.split(), *SIGNS.split()])


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map(" ".join)))
def test_any_text_gives_a_filter_or_a_reason(depot: Switch, text: str) -> None:
    try:
        parse_filter(text, depot.program)
    except FilterError:
        return
    fits(depot, text, tcp(SYN))
