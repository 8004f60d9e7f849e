"""The hash and checksum algorithms of v1model, bit for bit as simple_switch computes them.

Each takes the input bytes and gives an unsigned integer of at most 64 bits.
Source: RFC 1071 for csum16; the CRCs are CRC-32 (ISO-HDLC), CRC-16/ARC and CRC-16/CCITT-FALSE; the rest
after the descriptions in v1model.p4 and the behavioural model.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from zlib import crc32

__all__ = ["ALGORITHMS", "HashFunction", "crc16", "crc64", "csum16", "identity", "xor16", "xor32"]

HashFunction = Callable[[bytes], int]


def _reflected_table(polynomial: int) -> tuple[int, ...]:
    """One step of a bit-reflected CRC for each byte; the polynomial is given reflected."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ polynomial if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC16 = _reflected_table(0xA001)
_CRC64 = _reflected_table(0xD800000000000000)


def crc16(data: bytes) -> int:
    """CRC-16/ARC."""
    value = 0
    table = _CRC16
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value


def crc64(data: bytes) -> int:
    """CRC-64 with the polynomial 0x1b, reflected, without inversions."""
    value = 0
    table = _CRC64
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value


def crc8(data: bytes) -> int:
    """CRC-8 with the polynomial 0x07."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value


def crc_ccitt(data: bytes) -> int:
    """CRC-16/CCITT-FALSE."""
    return crc_hqx(data, 0xFFFF)


def csum16(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the complement of the one's complement sum of 16-bit words."""
    total = int.from_bytes(data, "big") << 8 * (len(data) & 1)
    # 2**16 is 1 modulo 65535, so a sum of words and the number they spell have one remainder
    remainder = total % 0xFFFF
    return 0xFFFF - remainder if remainder else 0xFFFF * (total == 0)


def xor16(data: bytes) -> int:
    """The exclusive or of 16-bit words, the last one padded with zero."""
    value = 0
    for index in range(0, len(data) - 1, 2):
        value ^= data[index] << 8 | data[index + 1]
    return value ^ data[-1] << 8 if len(data) & 1 else value


def xor32(data: bytes) -> int:
    """The exclusive or of 32-bit words, the last one padded with zeros."""
    padded = data + bytes(-len(data) % 4)
    value = 0
    for index in range(0, len(padded), 4):
        value ^= int.from_bytes(padded[index : index + 4], "big")
    return value


def identity(data: bytes) -> int:
    """The first eight bytes as a number."""
    return int.from_bytes(data[:8], "big")


ALGORITHMS: dict[str, tuple[HashFunction, int]] = {
    "crc32": (crc32, 32),
    "crc32_custom": (crc32, 32),
    "crc16": (crc16, 16),
    "crc16_custom": (crc16, 16),
    "crcCCITT": (crc_ccitt, 16),
    "crc8_custom": (crc8, 8),
    "crc64_custom": (crc64, 64),
    "csum16": (csum16, 16),
    "cksum16": (csum16, 16),
    "xor16": (xor16, 16),
    "xor32": (xor32, 32),
    "identity": (identity, 64),
}
"""By the name in the device config: the function and the width of its result. A `_custom` CRC has its initial
parameters: nothing in P4Runtime changes them."""
