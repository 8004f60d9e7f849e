"""P4 values of any type as P4Data messages: digest samples and register cells.

The pipeline knows a value as its leaves, unsigned integers in declaration order; P4Runtime wants the tree the type
describes. Source: P4Runtime specification 1.4, section 8.5 (representation of arbitrary P4 types).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from finsy.proto import p4d, p4t

from softswitch.server.bytestrings import decode_signed, decode_unsigned, encode_signed, encode_unsigned
from softswitch.server.status import Code, Refusal

__all__ = ["P4DataCodec"]

T = TypeVar("T")
_MAX_NESTING = 32
"""Types within types; real ones have two or three."""

_Encoder = Callable[[Iterator[int], p4d.P4Data], None]
_Decoder = Callable[[p4d.P4Data, list[int]], None]


class P4DataCodec:
    """Both directions for one type of the P4Info."""

    def __init__(self, spec: p4t.P4DataTypeSpec, types: p4t.P4TypeInfo, what: str) -> None:
        """`what` names the value in errors. Raises `Refusal` UNIMPLEMENTED for a type BMv2 cannot hold either."""
        self.widths: list[int] = []
        """Width in bits of each leaf, in order."""
        self.what = what
        self._types = types
        self._depth = 0
        self._encode, self._decode = self._compile(spec, what)

    def encode(self, leaves: Sequence[int], into: p4d.P4Data) -> None:
        """Fill `into` with the value whose leaves these are."""
        self._encode(iter(leaves), into)

    def decode(self, data: p4d.P4Data) -> tuple[int, ...]:
        """The leaves of a value. Raises `Refusal` INVALID_ARGUMENT or OUT_OF_RANGE."""
        leaves: list[int] = []
        self._decode(data, leaves)
        return tuple(leaves)

    def _compile(self, spec: p4t.P4DataTypeSpec, what: str) -> tuple[_Encoder, _Decoder]:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise Refusal(Code.INVALID_ARGUMENT, f"{self.what}: its P4 type is nested too deeply, or in itself")
        compiled = self._compile_kind(spec, what)
        self._depth -= 1
        return compiled

    def _compile_kind(self, spec: p4t.P4DataTypeSpec, what: str) -> tuple[_Encoder, _Decoder]:
        kind = spec.WhichOneof("type_spec")
        match kind:
            case "bitstring":
                return self._bits(spec.bitstring, what)
            case "bool":
                return self._bool(what)
            case "new_type":
                return self._new_type(spec.new_type.name, what)
            case "serializable_enum":
                return self._serializable_enum(spec.serializable_enum.name, what)
            case "tuple":
                named = [(f"{what}[{place}]", member) for place, member in enumerate(spec.tuple.members)]
                return self._sequence("tuple", named)
            case "struct":
                members = _named(self._types.structs, spec.struct.name, what).members
                return self._sequence("struct", [(f"{what}.{one.name}", one.type_spec) for one in members])
            case "header":
                return self._header(spec.header.name, what)
        raise Refusal(Code.UNIMPLEMENTED, f"{what}: values of P4 type {kind or 'unset'} cannot be sent or taken here")

    def _bits(self, bits: p4t.P4BitstringLikeTypeSpec, what: str) -> tuple[_Encoder, _Decoder]:
        kind = bits.WhichOneof("type_spec")
        if kind == "bit":
            return self._bit(bits.bit.bitwidth, what)
        if kind == "int":
            return self._int(bits.int.bitwidth, what)
        raise Refusal(Code.UNIMPLEMENTED, f"{what}: values of P4 type {kind or 'unset'} cannot be sent or taken here")

    def _bit(self, width: int, what: str) -> tuple[_Encoder, _Decoder]:
        self.widths.append(width)

        def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
            into.bitstring = encode_unsigned(next(leaves))

        def decode(data: p4d.P4Data, leaves: list[int]) -> None:
            _expect(data, "bitstring", what)
            leaves.append(decode_unsigned(data.bitstring, width, what))

        return encode, decode

    def _int(self, width: int, what: str) -> tuple[_Encoder, _Decoder]:
        self.widths.append(width)

        def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
            value = next(leaves)
            into.bitstring = encode_signed(value - (1 << width) if value >> (width - 1) else value)

        def decode(data: p4d.P4Data, leaves: list[int]) -> None:
            _expect(data, "bitstring", what)
            leaves.append(decode_signed(data.bitstring, width, what) % (1 << width))

        return encode, decode

    def _bool(self, what: str) -> tuple[_Encoder, _Decoder]:
        self.widths.append(1)

        def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
            into.bool = bool(next(leaves))

        def decode(data: p4d.P4Data, leaves: list[int]) -> None:
            _expect(data, "bool", what)
            leaves.append(int(data.bool))

        return encode, decode

    def _new_type(self, name: str, what: str) -> tuple[_Encoder, _Decoder]:
        spec = _named(self._types.new_types, name, what)
        if spec.WhichOneof("representation") == "original_type":
            return self._compile(spec.original_type, what)
        if spec.translated_type.WhichOneof("sdn_type") == "sdn_bitwidth":
            return self._bit(spec.translated_type.sdn_bitwidth, what)
        raise Refusal(Code.UNIMPLEMENTED, f"{what}: type {name} is translated to strings, which this switch cannot do")

    def _serializable_enum(self, name: str, what: str) -> tuple[_Encoder, _Decoder]:
        width = _named(self._types.serializable_enums, name, what).underlying_type.bitwidth
        self.widths.append(width)

        def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
            into.enum_value = encode_unsigned(next(leaves))

        def decode(data: p4d.P4Data, leaves: list[int]) -> None:
            _expect(data, "enum_value", what)
            leaves.append(decode_unsigned(data.enum_value, width, what))

        return encode, decode

    def _sequence(self, kind: str, named: list[tuple[str, p4t.P4DataTypeSpec]]) -> tuple[_Encoder, _Decoder]:
        what = self.what
        codecs = [self._compile(spec, name) for name, spec in named]

        def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
            members = getattr(into, kind).members
            for encoder, _ in codecs:
                encoder(leaves, members.add())

        only_bits = all(0 < spec.bitstring.bit.bitwidth <= _SHORT for _, spec in named)

        def decode(data: p4d.P4Data, leaves: list[int]) -> None:
            _expect(data, kind, what)
            members = getattr(data, kind).members
            if len(members) != len(codecs):
                raise Refusal(Code.INVALID_ARGUMENT, f"{what}: {len(members)} members, the type has {len(codecs)}")
            for (_, decoder), member in zip(codecs, members, strict=True):
                decoder(member, leaves)

        return (_encode_bits(kind, len(codecs)) if only_bits else encode), decode

    def _header(self, name: str, what: str) -> tuple[_Encoder, _Decoder]:
        members = _named(self._types.headers, name, what).members
        codecs = [self._bits(member.type_spec, f"{what}.{member.name}") for member in members]

        def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
            into.header.is_valid = True
            for encoder, _ in codecs:
                field = p4d.P4Data()
                encoder(leaves, field)
                into.header.bitstrings.append(field.bitstring)

        def decode(data: p4d.P4Data, leaves: list[int]) -> None:
            _expect(data, "header", what)
            if len(data.header.bitstrings) != len(codecs):
                got = len(data.header.bitstrings)
                raise Refusal(Code.INVALID_ARGUMENT, f"{what}: {got} fields, the header has {len(codecs)}")
            for (_, decoder), value in zip(codecs, data.header.bitstrings, strict=True):
                decoder(p4d.P4Data(bitstring=value), leaves)

        return encode, decode


def _encode_bits(kind: str, count: int) -> _Encoder:
    """A struct or tuple of `bit<W>` only, as digests mostly are, from the bytes of its message: five times as fast as
    making an object for each member."""

    def encode(leaves: Iterator[int], into: p4d.P4Data) -> None:
        parts: list[bytes] = []
        for value in islice(leaves, count):
            size = (value.bit_length() + 7) // 8 or 1
            parts += (_MEMBER[size], value.to_bytes(size, "big"))
        getattr(into, kind).MergeFromString(b"".join(parts))

    return encode


_SHORT = 8 * 64
"""Bits; with a byte string this long all lengths on the wire take one byte."""
_MEMBER = [bytes((0x0A, size + 2, 0x0A, size)) for size in range(_SHORT // 8 + 1)]
"""What is before the byte string of a member: `members` is field 1 of P4StructLike, `bitstring` field 1 of P4Data
(protobuf encoding: tag with wire type 2, length)."""


def _named(types: Mapping[str, T], name: str, what: str) -> T:
    """A type of the P4Info; asking the map itself would make a missing one."""
    if name not in types:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: the P4Info does not define its type {name!r}")
    return types[name]


def _expect(data: p4d.P4Data, kind: str, what: str) -> None:
    got = data.WhichOneof("data")
    if got != kind:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: P4Data holds {got or 'nothing'}, expected {kind}")
