"""Packet-in and packet-out: the metadata of a message is a header in front of the packet's bytes.

The fields of the header lie one after the other, most significant bit first, as the P4Info's
`controller_packet_metadata` lists them. Source: P4Runtime specification 1.4, section 16.1 (packet I/O).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from finsy.proto import p4i, p4r

from softswitch.server.bytestrings import decode_unsigned, encode_unsigned
from softswitch.server.status import Code, Refusal

__all__ = ["ControllerHeader", "controller_header"]


@dataclass(frozen=True, slots=True)
class _Field:
    metadata_id: int
    name: str
    width: int
    shift: int
    """Bits of the header that follow this field."""


class ControllerHeader:
    """The header of one direction; without fields for a program that has none."""

    def __init__(self, name: str, fields: Iterable[tuple[int, str, int]]) -> None:
        """`fields` are (metadata id, name, width in bits), in order."""
        listed = list(fields)
        bits = sum(width for _, _, width in listed)
        self.name = name
        self.size = (bits + 7) // 8
        """In bytes; a header that does not end at a byte is filled up with zero bits."""
        self._fields: list[_Field] = []
        left = self.size * 8
        for metadata_id, field_name, width in listed:
            left -= width
            self._fields.append(_Field(metadata_id, field_name, width, left))
        self._by_id = {one.metadata_id: one for one in self._fields}

    def packet_in(self, packet: bytes) -> p4r.PacketIn | None:
        """The message for a packet as the pipeline sent it; None for one too short to hold the header."""
        if len(packet) < self.size:
            return None
        bits = int.from_bytes(packet[: self.size], "big")
        message = p4r.PacketIn(payload=packet[self.size :])
        for one in self._fields:
            value = (bits >> one.shift) & ((1 << one.width) - 1)
            message.metadata.add(metadata_id=one.metadata_id, value=encode_unsigned(value))
        return message

    def packet_out(self, message: p4r.PacketOut) -> bytes:
        """The bytes the pipeline gets. Raises `Refusal` when the metadata is not exactly the header's."""
        bits = 0
        seen: set[int] = set()
        for metadata in message.metadata:
            one = self._by_id.get(metadata.metadata_id)
            if one is None:
                raise _refuse(f"{self.name} has no metadata id {metadata.metadata_id}")
            if one.metadata_id in seen:
                raise _refuse(f"{self.name} metadata {one.name} is given twice")
            seen.add(one.metadata_id)
            try:
                bits |= decode_unsigned(metadata.value, one.width, f"{self.name} metadata {one.name}") << one.shift
            except Refusal as refusal:
                raise _refuse(refusal.message) from refusal
        if len(seen) != len(self._fields):
            missing = ", ".join(one.name for one in self._fields if one.metadata_id not in seen)
            raise _refuse(f"{self.name} metadata missing: {missing}")
        return bits.to_bytes(self.size, "big") + message.payload


def controller_header(p4info: p4i.P4Info, name: str) -> ControllerHeader:
    """The header called `packet_in` or `packet_out` in the P4Info."""
    for described in p4info.controller_packet_metadata:
        if described.preamble.name == name:
            return ControllerHeader(name, ((field.id, field.name, field.bitwidth) for field in described.metadata))
    return ControllerHeader(name, ())


def _refuse(message: str) -> Refusal:
    # the specification asks for this one code for whatever is wrong with a packet-out (section 16.6)
    return Refusal(Code.INVALID_ARGUMENT, message)
