"""Packet-in and packet-out headers: bit packing, padding, faults."""

from __future__ import annotations

import pytest
from finsy.proto import p4r
from hypothesis import given
from hypothesis import strategies as st
from sw_fallback.tests.entities_program import P4INFO, canonical

from softswitch.server.packet_io import ControllerHeader, controller_header
from softswitch.server.status import Code, Refusal

PACKET_IN = controller_header(P4INFO, "packet_in")
PACKET_OUT = controller_header(P4INFO, "packet_out")


def packet_out(*metadata: tuple[int, bytes], payload: bytes = b"frame") -> p4r.PacketOut:
    return p4r.PacketOut(payload=payload, metadata=[p4r.PacketMetadata(metadata_id=i, value=v) for i, v in metadata])


def test_packet_in_fields_come_from_their_bits() -> None:
    message = PACKET_IN.packet_in((300 << 7 | 5 << 4 | 9).to_bytes(2, "big") + b"frame")
    assert message is not None
    assert message.payload == b"frame"
    assert [(one.metadata_id, one.value) for one in message.metadata] == [(1, b"\x01\x2c"), (2, b"\x05"), (3, b"\x09")]


def test_packet_in_too_short_for_its_header_is_none() -> None:
    assert PACKET_IN.packet_in(b"\x01") is None


def test_packet_out_fields_go_to_their_bits_in_any_order() -> None:
    expected = (300 << 7 | 3).to_bytes(2, "big") + b"frame"
    assert PACKET_OUT.packet_out(packet_out((1, b"\x01\x2c"), (2, b"\x03"))) == expected
    assert PACKET_OUT.packet_out(packet_out((2, b"\x00\x03"), (1, b"\x00\x01\x2c"))) == expected


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ([(1, b"\x01")], "missing: padding"),
        ([], "missing: egress_port, padding"),
        ([(1, b"\x01"), (2, b"\x00"), (7, b"\x00")], "no metadata id 7"),
        ([(1, b"\x01"), (1, b"\x01"), (2, b"\x00")], "twice"),
        ([(1, b"\x02\x00"), (2, b"\x00")], "does not fit bit<9>"),
        ([(1, b""), (2, b"\x00")], "empty"),
    ],
)
def test_packet_out_with_wrong_metadata_is_refused(metadata: list[tuple[int, bytes]], why: str) -> None:
    with pytest.raises(Refusal, match=why) as refused:
        PACKET_OUT.packet_out(packet_out(*metadata))
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_a_program_without_controller_headers_passes_packets_as_they_are() -> None:
    header = ControllerHeader("packet_in", ())
    message = header.packet_in(b"frame")
    assert message is not None
    assert message.payload == b"frame"
    assert header.packet_out(packet_out()) == b"frame"


@given(st.lists(st.integers(1, 130), max_size=6), st.data(), st.binary(max_size=20))
def test_what_goes_out_comes_in(widths: list[int], data: st.DataObject, payload: bytes) -> None:
    header = ControllerHeader("both", [(number, f"f{number}", width) for number, width in enumerate(widths, 1)])
    values = [data.draw(st.integers(0, (1 << width) - 1)) for width in widths]
    metadata = [(number, canonical(value)) for number, value in enumerate(values, 1)]
    packet = header.packet_out(packet_out(*metadata, payload=payload))
    assert len(packet) == (sum(widths) + 7) // 8 + len(payload)
    back = header.packet_in(packet)
    assert back is not None
    assert back.payload == payload
    assert [(one.metadata_id, one.value) for one in back.metadata] == metadata
