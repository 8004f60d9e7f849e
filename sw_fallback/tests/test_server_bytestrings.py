"""Byte strings: the tables of P4Runtime 1.4 section 8.4 and the round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.server.bytestrings import decode_signed, decode_unsigned, encode_signed, encode_unsigned
from softswitch.server.status import Code, Refusal

VALID_UNSIGNED = [
    (8, b"\x63", 0x63, True),
    (16, b"\x00\x63", 0x63, False),
    (16, b"\x63", 0x63, True),
    (16, b"\x30\x64", 0x3064, True),
    (16, b"\x00\x30\x64", 0x3064, False),
    (12, b"\x00\x63", 0x63, False),
    (12, b"\x63", 0x63, True),
    (12, b"\x00\x00\x63", 0x63, False),
    (1, b"\x00", 0, True),
    (9, b"\x01\xff", 511, True),
]
VALID_SIGNED = [
    (8, b"\x63", 0x63, True),
    (8, b"\x9d", -0x63, True),
    (8, b"\xff\x9d", -0x63, False),
    (12, b"\xfd\x1d", -0x2E3, True),
    (16, b"\x00\x00", 0, False),
    (16, b"\x00", 0, True),
]


@pytest.mark.parametrize(("width", "data", "value", "is_canonical"), VALID_UNSIGNED)
def test_valid_unsigned(width: int, data: bytes, value: int, is_canonical: bool) -> None:
    assert decode_unsigned(data, width, "it") == value
    assert (encode_unsigned(value) == data) == is_canonical


@pytest.mark.parametrize(("width", "data", "value", "is_canonical"), VALID_SIGNED)
def test_valid_signed(width: int, data: bytes, value: int, is_canonical: bool) -> None:
    assert decode_signed(data, width, "it") == value
    assert (encode_signed(value) == data) == is_canonical


@pytest.mark.parametrize(
    ("width", "data"),
    [
        (8, b"\x01\x63"),
        (8, b""),
        (16, b"\x01\x00\x63"),
        (12, b"\x10\x63"),
        (12, b"\x01\x00\x63"),
        (12, b"\x00\x40\x63"),
    ],
)
def test_invalid_unsigned(width: int, data: bytes) -> None:
    with pytest.raises(Refusal, match="the field") as refused:
        decode_unsigned(data, width, "the field")
    assert refused.value.code == Code.OUT_OF_RANGE


@pytest.mark.parametrize(("width", "data"), [(8, b"\x00\x9d"), (12, b"\x8d\x1d"), (16, b"")])
def test_invalid_signed(width: int, data: bytes) -> None:
    with pytest.raises(Refusal, match="the field") as refused:
        decode_signed(data, width, "the field")
    assert refused.value.code == Code.OUT_OF_RANGE


@given(st.integers(1, 200), st.data())
def test_every_value_comes_back_from_its_shortest_string(width: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << width) - 1))
    encoded = encode_unsigned(value)
    assert decode_unsigned(encoded, width, "it") == value
    assert decode_unsigned(b"\0\0" + encoded, width, "it") == value
    assert len(encoded) == 1 or encoded[0]


@given(st.integers(1, 200), st.data())
def test_every_signed_value_comes_back_from_its_shortest_string(width: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(-(1 << (width - 1)), (1 << (width - 1)) - 1))
    encoded = encode_signed(value)
    assert decode_signed(encoded, width, "it") == value
    assert decode_signed((b"\xff" if value < 0 else b"\0") + encoded, width, "it") == value
    if len(encoded) > 1:
        assert int.from_bytes(encoded[1:], "big", signed=True) != value
