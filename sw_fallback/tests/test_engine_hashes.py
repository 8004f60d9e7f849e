"""Hash algorithms against published check values and plain definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.hashes import ALGORITHMS, csum16, xor16, xor32

CHECK = b"123456789"
"""The input of the catalogued check values of CRCs."""


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("crc32", 0xCBF43926),
        ("crc32_custom", 0xCBF43926),
        ("crc16", 0xBB3D),
        ("crc16_custom", 0xBB3D),
        ("crcCCITT", 0x29B1),
        ("crc8_custom", 0xF4),
        ("identity", 0x3132333435363738),
        ("xor16", 0x3132 ^ 0x3334 ^ 0x3536 ^ 0x3738 ^ 0x3900),
        ("xor32", 0x31323334 ^ 0x35363738 ^ 0x39000000),
    ],
)
def test_check_values(algorithm: str, value: int) -> None:
    function, width = ALGORITHMS[algorithm]
    assert function(CHECK) == value
    assert value < 1 << width


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (bytes.fromhex("0001f203f4f5f6f7"), 0x220D),  # RFC 1071, section 3
        (b"", 0xFFFF),
        (bytes(8), 0xFFFF),
        (b"\xff\xff", 0),
        (b"\xff\xff\xff\xff", 0),
        (b"\x12", 0xFFFF - 0x1200),
        (bytes.fromhex("45000073000040004011c0a80001c0a800c7"), 0xB861),
    ],
)
def test_internet_checksum(data: bytes, value: int) -> None:
    assert csum16(data) == value


def _by_words(data: bytes, width: int) -> list[int]:
    padded = data + bytes(-len(data) % width)
    return [int.from_bytes(padded[index : index + width], "big") for index in range(0, len(padded), width)]


@given(st.binary(max_size=80))
def test_internet_checksum_is_the_folded_sum(data: bytes) -> None:
    total = sum(_by_words(data, 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert csum16(data) == total ^ 0xFFFF


@given(st.binary(max_size=40))
def test_exclusive_or_of_words(data: bytes) -> None:
    for function, width in ((xor16, 2), (xor32, 4)):
        value = 0
        for word in _by_words(data, width):
            value ^= word
        assert function(data) == value
