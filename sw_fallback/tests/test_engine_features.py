"""What simple_switch does with a packet, one feature at a time, on the programs in `p4/`."""

from __future__ import annotations

import logging

import pytest
from sw_fallback.tests.engine_packets import order
from sw_fallback.tests.engine_programs import CompiledProgram, VirtualClock

from softswitch.entities import CloneSession, Exact, MemberRef, MulticastGroup, Replica, SelectorMember
from softswitch.switch import Switch

ARITHMETIC, STACKS, REPLICAS = CompiledProgram("arithmetic"), CompiledProgram("stacks"), CompiledProgram("replicas")
CPU_PORT = 500


def answer(operation: int, left: int = 0, right: int = 0, *, signed: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Result and signed result of an operation of `arithmetic.p4`."""
    packet = bytes([operation]) + left.to_bytes(4, "big") + right.to_bytes(4, "big")
    packet += b"".join((value & 0xFFFF).to_bytes(2, "big") for value in signed) + bytes(8)
    ((_, out),) = ARITHMETIC.switch().process(1, packet)
    return int.from_bytes(out[13:19], "big"), int.from_bytes(out[9:11], "big", signed=True)


@pytest.mark.parametrize(
    ("operation", "left", "right", "result"),
    [
        (1, 0xFFFFFFFF, 2, 1),
        (2, 1, 2, 0xFFFFFFFF),
        (3, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE00000001 & (1 << 48) - 1),
        (4, 0xFFFFFFFF, 2, 0xFFFFFFFF),
        (5, 1, 2, 0),
        (9, 0, 0, 0xFFFFFFFF),
        (10, 1, 31, 0x80000000),
        (10, 1, 32, 0),
        (11, 0x80000000, 31, 1),
        (12, 5, 4, 1),
        (14, 1, 0, 0xFFFFFFFF),
        (15, 0, 0x12345678, 0x56780000),
        (30, 0x31323334, 0x35363738, 0x9AE0DAAF),
        (31, 0x31323334, 0x35363738, 10 + 0x3C9D % 100),
        (33, 0x00010002, 0x00040008, 0x000F ^ 0x0500),
        (34, 0x12345678, 0x9ABCDEF0, 0x123456789ABCDEF0 % 0x1000000000000),
    ],
)
def test_unsigned_arithmetic_and_hashes(operation: int, left: int, right: int, result: int) -> None:
    assert answer(operation, left, right)[0] == result


@pytest.mark.parametrize(
    ("operation", "left", "right", "result"),
    [
        (20, 32767, 1, -32768),
        (21, -32768, 1, 32767),
        (22, 32767, 1, 32767),
        (23, -32768, 1, -32768),
        (24, -32768, 0, -32768),
        (25, -9, 0, -2),
        (26, -1, 0, 1),
        (27, -3, 7, -21),
        (28, 0x1FF, 0, -1),
    ],
)
def test_signed_arithmetic(operation: int, left: int, right: int, result: int) -> None:
    assert answer(operation, signed=(left, right))[1] == result


def test_registers_keep_their_width() -> None:
    switch = ARITHMETIC.switch()
    head = bytes([0x90]) + bytes(4) + (9).to_bytes(4, "big") + bytes(12)
    first, second = b"\xab" * 12, b"\xcd" * 12
    for stored, read in ((first, bytes(12)), (second, first), (first, second)):
        ((_, out),) = switch.process(1, head + stored + bytes(18))
        assert out[21:33] == read
    past_the_end = bytes([0x90]) + bytes(4) + (64).to_bytes(4, "big") + bytes(12)
    ((_, out),) = switch.process(1, past_the_end + first + bytes(18))
    assert out[21:33] == bytes(12)
    assert switch.register(ARITHMETIC.register("wide_register"), 9) == int.from_bytes(first, "big")


def _label(label: int, bottom: bool = True, ttl: int = 0) -> bytes:
    return (label << 12 | bottom << 8 | ttl).to_bytes(4, "big")


def _through_stacks(kind: int, rest: bytes) -> tuple[int, bytes]:
    """The error code that `stacks.p4` writes over the destination, and what follows the Ethernet header."""
    ((_, out),) = STACKS.switch().process(1, b"\xff" * 12 + kind.to_bytes(2, "big") + rest)
    code = int.from_bytes(out[:6], "big")
    return (0 if code == (1 << 48) - 1 else code), out[14:]


def test_a_stack_grows_at_the_front() -> None:
    assert _through_stacks(0x8847, _label(1) + b"rest") == (0, _label(77, False, 64) + _label(1) + b"rest")


def test_a_stack_shrinks_at_the_front() -> None:
    assert _through_stacks(0x8847, _label(2, False) + _label(9) + b"rest") == (0, _label(9) + b"rest")


def test_a_stack_is_copied() -> None:
    labels = _label(3, False) + _label(8, False) + _label(9)
    assert _through_stacks(0x8847, labels + b"rest") == (0, _label(9) + labels + b"rest")


def test_parser_errors() -> None:
    too_many = b"".join(_label(9, False) for _ in range(5))
    assert _through_stacks(0x8847, too_many) == (2, too_many)
    assert _through_stacks(0x0800, b"\x45" + bytes(18)) == (1, b"\x45" + bytes(18))
    assert _through_stacks(0x0800, b"\x55" + bytes(19)) == (3, b"\x55" + bytes(19))
    assert STACKS.switch().process(1, b"short") == [(1, b"short")]


def test_a_header_of_variable_size() -> None:
    options = bytes(range(8))
    header = b"\x47" + bytes(7) + b"\x09" + bytes(11) + options
    changed = b"\x47" + bytes(7) + b"\x08" + bytes(11) + options
    assert _through_stacks(0x0800, header + b"payload") == (0, changed + b"payload")


def test_checksum_over_a_header_of_variable_size() -> None:
    header = b"\x46\x01" + bytes(6) + b"\x40" + bytes(11) + b"\x12\x34\x56\x78"
    _, out = _through_stacks(0x0800, header)
    total = sum(int.from_bytes(out[index : index + 2], "big") for index in range(0, 24, 2))
    assert total % 0xFFFF == 0
    assert out[10:12] != b"\0\0"


def _replicas() -> Switch:
    switch = REPLICAS.switch()
    switch.insert(MulticastGroup(1, (Replica(1, 5), Replica(2, 6), Replica(2, 7))))
    switch.insert(CloneSession(2, (Replica(3, 9),)))
    switch.insert(CloneSession(4, (Replica(3),), packet_length=18))
    return switch


INSTANCE, PORT_IN, PORT_OUT, RID, KEPT, LENGTH = 3, 4, 6, 8, 10, 12


def _number(packet: bytes, offset: int) -> int:
    return int.from_bytes(packet[offset : offset + 2], "big")


def test_multicast() -> None:
    out = _replicas().process(4, order(1, 1, payload=b"xyz"))
    assert [port for port, _ in out] == [1, 2, 2]
    assert [_number(packet, RID) for _, packet in out] == [5, 6, 7]
    assert {packet[INSTANCE] for _, packet in out} == {5}
    assert {packet[16:] for _, packet in out} == {b"xyz"}


def test_multicast_to_a_group_that_is_not_there() -> None:
    switch = _replicas()
    assert switch.process(4, order(1, 9)) == []
    assert switch.stats.drops == 1


def test_clone_at_ingress_is_the_packet_as_it_came() -> None:
    clone, original = _replicas().process(4, order(2, 2, payload=b"xyz"))
    assert (clone[0], original[0]) == (3, 4)
    assert clone[1][2] == 0  # `passes` as it came
    assert original[1][2] == 1
    assert (clone[1][INSTANCE], original[1][INSTANCE]) == (1, 0)
    assert _number(clone[1], KEPT) == 0xBEEF  # kept, and what was not kept is zero
    assert _number(clone[1], RID) == 9


def test_a_clone_session_cuts() -> None:
    clone, original = _replicas().process(4, order(2, 4, payload=b"abcdef"))
    assert clone[1][16:] == b"ab"
    assert original[1][16:] == b"abcdef"


def test_clone_to_a_session_that_is_not_there() -> None:
    assert len(_replicas().process(4, order(2, 3))) == 1


def test_clone_at_egress_is_the_packet_as_it_is() -> None:
    original, clone = _replicas().process(4, order(3, 2))
    assert (original[0], clone[0]) == (4, 3)
    assert (original[1][INSTANCE], clone[1][INSTANCE]) == (0, 2)
    assert (original[1][14], clone[1][14]) == (3, 3)
    assert (original[1][15], clone[1][15]) == (99, 99)
    assert _number(clone[1], KEPT) == 0xCAFE


def test_resubmit_starts_over_with_the_original() -> None:
    ((port, packet),) = _replicas().process(4, order(4))
    assert port == 3
    assert packet[2] == 1 + 40
    assert _number(packet, KEPT) == 0xF00D
    assert _number(packet, PORT_IN) == 0  # simple_switch forgets it


def test_recirculate_goes_on_with_the_result() -> None:
    ((port, packet),) = _replicas().process(4, order(17, 5))
    assert port == 3
    assert packet[2] == 5


def test_a_packet_that_never_ends_is_dropped() -> None:
    switch = _replicas()
    assert switch.process(4, order(17, 255)) == []
    assert switch.stats.passes_exceeded == 1
    assert len(switch.process(4, order(0))) == 1


def test_drops_are_counted() -> None:
    switch = _replicas()
    assert switch.process(4, order(5)) == []
    assert switch.process(4, order(18)) == []
    assert switch.stats.drops == 2
    assert (switch.stats.packets_in, switch.stats.packets_out) == (2, 0)


def test_truncate() -> None:
    assert _replicas().process(1, order(12, 20, payload=b"abcdef"))[0][1][16:] == b"abcd"
    assert len(_replicas().process(1, order(19, 5))[0][1]) == 5


def test_packet_in_and_packet_out() -> None:
    switch = _replicas()
    ((port, packet),) = switch.process(4, order(7, payload=b"xyz"))
    assert port == CPU_PORT
    assert packet[:3] == b"\x00\x04\x07"
    assert packet[19:] == b"xyz"
    ((port, packet),) = switch.process(CPU_PORT, b"\x00\x02" + order(0, payload=b"xyz"))
    assert port == 2
    assert packet[16:] == b"xyz"


def test_hit_and_miss_of_an_indirect_table() -> None:
    switch = _replicas()
    switch.insert(SelectorMember(REPLICAS.profile("profile"), 1, REPLICAS.call("choose", 77)))
    switch.insert(REPLICAS.entry("profile_table", (Exact(1),), MemberRef(1)))
    hit, miss = switch.process(1, order(11, 1))[0][1], switch.process(1, order(11, 2))[0][1]
    assert (_number(hit, KEPT), hit[15]) == (21, 77)
    assert (_number(miss, KEPT), miss[15]) == (22, 0)


def test_exit_ends_ingress() -> None:
    switch = _replicas()
    switch.insert(SelectorMember(REPLICAS.profile("profile"), 1, REPLICAS.call("refuse")))
    switch.insert(REPLICAS.entry("profile_table", (Exact(1),), MemberRef(1)))
    assert switch.process(1, order(11, 1)) == []


def test_an_assertion_that_fails_drops_the_packet() -> None:
    switch = _replicas()
    assert switch.process(1, order(14, 1)) == []
    assert switch.stats.assertions_failed == 1
    assert len(switch.process(1, order(14, 2))) == 1


def test_log_messages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "softswitch.program"):
        _replicas().process(1, order(14, 9))
    assert "argument 9 of 14" in caplog.text
    assert "replicas.p4:" in caplog.text


def test_random_numbers_stay_in_their_interval() -> None:
    switch = _replicas()
    seen = {switch.process(1, order(15, 5))[0][1][15] for _ in range(400)}
    assert seen == set(range(5, 21))
    assert switch.process(1, order(15, 30))[0][1][15] == 0  # nothing happens when the lower end is above


def test_timestamps_count_microseconds_and_wrap() -> None:
    clock = VirtualClock(now_ns=12345)
    switch = CompiledProgram("timestamps").switch(clock)
    clock.now_ns += 7_000_999
    assert switch.process(1, bytes(20))[0][1][:6] == (7000).to_bytes(6, "big")
    clock.now_ns = 12345 + (1 << 48) * 1000 + 3000
    assert switch.process(1, bytes(20))[0][1][:6] == (3).to_bytes(6, "big")


def test_the_translation_is_readable() -> None:
    source = REPLICAS.switch().source
    compile(source, "replicas", "exec")
    assert "# table ingress.selector_table, replicas.p4:" in source
    assert "def ingress(" in source
