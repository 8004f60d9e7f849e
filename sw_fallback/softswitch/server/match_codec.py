"""Match fields between FieldMatch messages and `softswitch.entities`.

Source: P4Runtime specification 1.4, section 9.1.1 (match format). Two of its sections name different codes for a byte
string that does not fit; here it is OUT_OF_RANGE (section 8.4, the more specific), every other fault INVALID_ARGUMENT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finsy.proto import p4i, p4r

from softswitch.entities import Exact, FieldMatch, Lpm, Range, Ternary
from softswitch.server.bytestrings import decode_unsigned, encode_unsigned
from softswitch.server.status import Code, Refusal

__all__ = ["FieldCodec"]

_EXACT = p4i.MatchField.EXACT
_LPM = p4i.MatchField.LPM
_TERNARY = p4i.MatchField.TERNARY
_RANGE = p4i.MatchField.RANGE
_OPTIONAL = p4i.MatchField.OPTIONAL
_RANKED = frozenset({_TERNARY, _RANGE, _OPTIONAL})
"""Kinds that may overlap, so that an entry needs a priority."""


class FieldCodec:
    """One match field of one table."""

    def __init__(self, position: int, field: p4i.MatchField, table: str) -> None:
        """`position` is the field's place in `TableKey.match`. Raises `Refusal` UNIMPLEMENTED for an unknown kind."""
        self.position = position
        self.field_id = field.id
        self.name = field.name
        self.width = field.bitwidth
        self.what = f"{table} field {field.name}"
        self.is_exact = field.match_type == _EXACT
        self.is_ranked = field.match_type in _RANKED
        if not self.width:
            text = f"{self.what}: fields without a width (translated to strings) are not supported by this switch"
            raise Refusal(Code.UNIMPLEMENTED, text)
        codecs: dict[Any, tuple[Callable[[p4r.FieldMatch], FieldMatch], Callable[[Any, p4r.FieldMatch], None]]] = {
            _EXACT: (self._decode_exact, _encode_exact),
            _LPM: (self._decode_lpm, _encode_lpm),
            _TERNARY: (self._decode_ternary, _encode_ternary),
            _RANGE: (self._decode_range, _encode_range),
            _OPTIONAL: (self._decode_optional, _encode_optional),
        }
        found = codecs.get(field.match_type)
        if found is None:
            kind = field.other_match_type or p4i.MatchField.MatchType.Name(field.match_type)
            raise Refusal(Code.UNIMPLEMENTED, f"{self.what}: match kind {kind} is not supported by this switch")
        self.decode, self._encode = found

    def encode(self, match: FieldMatch, into: p4r.FieldMatch) -> None:
        """Fill `into`."""
        into.field_id = self.field_id
        self._encode(match, into)

    def _decode_exact(self, message: p4r.FieldMatch) -> FieldMatch:
        if not message.HasField("exact"):
            raise self._wrong_kind(message, "exact")
        data = message.exact.value
        value = int.from_bytes(data, "big")
        if value >> self.width or not data:
            decode_unsigned(data, self.width, self.what)  # the same test, with its error
        return Exact(value)

    def _decode_optional(self, message: p4r.FieldMatch) -> FieldMatch:
        if not message.HasField("optional"):
            raise self._wrong_kind(message, "optional")
        return Exact(decode_unsigned(message.optional.value, self.width, self.what))

    def _decode_lpm(self, message: p4r.FieldMatch) -> FieldMatch:
        if not message.HasField("lpm"):
            raise self._wrong_kind(message, "lpm")
        value = decode_unsigned(message.lpm.value, self.width, self.what)
        length = message.lpm.prefix_len
        if length == 0:
            raise self._invalid("a prefix length of 0 matches everything: leave the field out")
        if not 0 < length <= self.width:
            raise self._invalid(f"prefix length {length} is not within 1 to {self.width}")
        if value & ((1 << (self.width - length)) - 1):
            raise self._invalid(f"value {value:#x} has bits set past its prefix length {length}")
        return Lpm(value, length)

    def _decode_ternary(self, message: p4r.FieldMatch) -> FieldMatch:
        if not message.HasField("ternary"):
            raise self._wrong_kind(message, "ternary")
        value = decode_unsigned(message.ternary.value, self.width, self.what)
        mask = decode_unsigned(message.ternary.mask, self.width, f"{self.what} mask")
        if mask == 0:
            raise self._invalid("a mask of 0 matches everything: leave the field out")
        if value & ~mask:
            raise self._invalid(f"value {value:#x} has bits set outside its mask {mask:#x}")
        return Ternary(value, mask)

    def _decode_range(self, message: p4r.FieldMatch) -> FieldMatch:
        if not message.HasField("range"):
            raise self._wrong_kind(message, "range")
        low = decode_unsigned(message.range.low, self.width, f"{self.what} low end")
        high = decode_unsigned(message.range.high, self.width, f"{self.what} high end")
        if low > high:
            raise self._invalid(f"low end {low:#x} is above high end {high:#x}")
        if low == 0 and high == (1 << self.width) - 1:
            raise self._invalid("the range of all values matches everything: leave the field out")
        return Range(low, high)

    def _invalid(self, why: str) -> Refusal:
        return Refusal(Code.INVALID_ARGUMENT, f"{self.what}: {why}")

    def _wrong_kind(self, message: p4r.FieldMatch, expected: str) -> Refusal:
        got = message.WhichOneof("field_match_type")
        return self._invalid(f"is matched {expected}, the entry has {got or 'no match type set'}")


def _encode_exact(match: Exact, into: p4r.FieldMatch) -> None:
    into.exact.value = encode_unsigned(match.value)


def _encode_optional(match: Exact, into: p4r.FieldMatch) -> None:
    into.optional.value = encode_unsigned(match.value)


def _encode_lpm(match: Lpm, into: p4r.FieldMatch) -> None:
    into.lpm.value = encode_unsigned(match.value)
    into.lpm.prefix_len = match.prefix_len


def _encode_ternary(match: Ternary, into: p4r.FieldMatch) -> None:
    into.ternary.value = encode_unsigned(match.value)
    into.ternary.mask = encode_unsigned(match.mask)


def _encode_range(match: Range, into: p4r.FieldMatch) -> None:
    into.range.low = encode_unsigned(match.low)
    into.range.high = encode_unsigned(match.high)
