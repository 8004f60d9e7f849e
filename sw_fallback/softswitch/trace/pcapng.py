"""Traces as pcapng files, which Wireshark shows with the way of each packet as its comment.

Source: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3 (blocks) and 3.5 (options).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

__all__ = ["ETHERNET", "USER0", "PcapngWriter"]

ETHERNET = 1
USER0 = 147
"""LINKTYPE_USER0: frames that begin with a header of the P4 program."""

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_PACKET = 6
_BYTE_ORDER = 0x1A2B3C4D
_UNKNOWN_LENGTH = 0xFFFF_FFFF_FFFF_FFFF
_NO_LIMIT = 0

_END_OF_OPTIONS = 0
_COMMENT = 1
_USER_APPLICATION = 4
_INTERFACE_NAME = 2
_TIME_RESOLUTION = 9
_FLAGS = 2
_NANOSECONDS = 9
_INBOUND, _OUTBOUND = 1, 2
_MAX_OPTION = 0xFFFF


class PcapngWriter:
    """Writes one section."""

    def __init__(self, file: BinaryIO, application: str) -> None:
        """`application` is what wrote it. Raises OSError, as every method does."""
        self._file = file
        self._interfaces = 0
        head = struct.pack("=IHHQ", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
        self._block(_SECTION, head + _options((_USER_APPLICATION, application.encode())))

    def interface(self, name: str, link_type: int) -> int:
        """Add an interface; the number to give to `packet`."""
        options = _options((_INTERFACE_NAME, name.encode()), (_TIME_RESOLUTION, bytes([_NANOSECONDS])))
        self._block(_INTERFACE, struct.pack("=HHI", link_type, 0, _NO_LIMIT) + options)
        self._interfaces += 1
        return self._interfaces - 1

    def packet(self, interface: int, time_ns: int, frame: bytes, length: int, comment: str, *, left: bool) -> None:
        """Add a frame that came in at an interface, or `left` there; `length` is of the whole frame, `time_ns` since
        1970."""
        head = struct.pack(
            "=IIIII", interface, time_ns >> 32 & 0xFFFF_FFFF, time_ns & 0xFFFF_FFFF, len(frame), max(length, len(frame))
        )
        flags = struct.pack("=I", _OUTBOUND if left else _INBOUND)
        self._block(_PACKET, head + _padded(frame) + _options((_COMMENT, comment.encode()), (_FLAGS, flags)))

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("=I", len(body) + 12)
        self._file.write(struct.pack("=I", kind) + length + body + length)
        self._file.flush()


def _options(*options: tuple[int, bytes]) -> bytes:
    packed = b"".join(
        struct.pack("=HH", code, len(value[:_MAX_OPTION])) + _padded(value[:_MAX_OPTION]) for code, value in options
    )
    return packed + struct.pack("=HH", _END_OF_OPTIONS, 0)


def _padded(data: bytes) -> bytes:
    """To a multiple of 32 bits."""
    return data + bytes(-len(data) % 4)
