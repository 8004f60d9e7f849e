"""Integers as P4Runtime byte strings: big-endian, any length accepted, the shortest one produced.

Source: P4Runtime specification 1.4, section 8.4 (bytestrings).
"""

from __future__ import annotations

from softswitch.server.status import Code, Refusal

__all__ = ["decode_signed", "decode_unsigned", "encode_signed", "encode_unsigned"]


def decode_unsigned(data: bytes, width: int, what: str) -> int:
    """The value of a `bit<width>`; `what` names it in the error.

    Raises `Refusal` OUT_OF_RANGE for an empty string and for a value that needs more than `width` bits.
    """
    value = int.from_bytes(data, "big")
    if not data or value >> width:
        raise _out_of_range(data, f"bit<{width}>", what)
    return value


def decode_signed(data: bytes, width: int, what: str) -> int:
    """The value of an `int<width>` in two's complement; refuses like `decode_unsigned`."""
    value = int.from_bytes(data, "big", signed=True)
    limit = 1 << (width - 1)
    if not data or not -limit <= value < limit:
        raise _out_of_range(data, f"int<{width}>", what)
    return value


def encode_unsigned(value: int) -> bytes:
    """The canonical (shortest) string of a `bit<W>` value; zero is one zero byte."""
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")


def encode_signed(value: int) -> bytes:
    """The canonical (shortest) two's complement string of an `int<W>` value."""
    bits = (value if value >= 0 else ~value).bit_length() + 1
    return value.to_bytes((bits + 7) // 8, "big", signed=True)


def _out_of_range(data: bytes, type_name: str, what: str) -> Refusal:
    if not data:
        return Refusal(Code.OUT_OF_RANGE, f"{what}: empty byte string; zero is one zero byte")
    shown = data[:20].hex() + ("…" if len(data) > 20 else "")
    return Refusal(Code.OUT_OF_RANGE, f"{what}: 0x{shown} does not fit {type_name}")
