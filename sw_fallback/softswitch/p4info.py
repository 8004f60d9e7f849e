"""An index of a P4Info by id and by name (P4Runtime 1.4, section 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Protocol, TypeVar

from finsy.proto import p4i, p4t
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from softswitch.errors import MalformedPipeline

__all__ = [
    "ActionInfo",
    "ActionProfileInfo",
    "ControllerHeaderInfo",
    "CounterInfo",
    "DigestInfo",
    "FieldInfo",
    "MatchFieldInfo",
    "MatchType",
    "MeterInfo",
    "P4Info",
    "P4InfoSource",
    "RegisterInfo",
    "TableInfo",
]

P4InfoSource = str | PathLike[str] | bytes | p4i.P4Info
"""A path, the text format, the serialized bytes, or the message."""


class MatchType(Enum):
    """How a match field matches (P4Runtime 9.1.1)."""

    EXACT = "exact"
    LPM = "lpm"
    TERNARY = "ternary"
    RANGE = "range"
    OPTIONAL = "optional"


_MATCH_TYPES = {
    p4i.MatchField.EXACT: MatchType.EXACT,
    p4i.MatchField.LPM: MatchType.LPM,
    p4i.MatchField.TERNARY: MatchType.TERNARY,
    p4i.MatchField.RANGE: MatchType.RANGE,
    p4i.MatchField.OPTIONAL: MatchType.OPTIONAL,
}
PRIORITY_TYPES = frozenset({MatchType.TERNARY, MatchType.RANGE, MatchType.OPTIONAL})
"""A table with one of these has a priority in each entry (P4Runtime 9.1)."""


@dataclass(frozen=True, slots=True)
class MatchFieldInfo:
    """A match field of a table."""

    id: int
    name: str
    width: int
    """In bits; zero where the controller sees a string."""
    match_type: MatchType


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """An action parameter or a field of a controller header."""

    id: int
    name: str
    width: int
    """In bits; zero where the controller sees a string."""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table."""

    id: int
    name: str
    alias: str
    match_fields: tuple[MatchFieldInfo, ...]
    action_ids: tuple[int, ...]
    """Of every action that an entry or the default may run."""
    default_only: frozenset[int]
    """Actions that only the default may run."""
    table_only: frozenset[int]
    """Actions that only entries may run."""
    const_default_action_id: int
    """Zero where the default action may be changed."""
    profile_id: int
    """Of the action profile that implements it; zero: none."""
    direct_resource_ids: tuple[int, ...]
    size: int
    is_const: bool
    notifies_idle: bool

    @property
    def needs_priority(self) -> bool:
        return any(field.match_type in PRIORITY_TYPES for field in self.match_fields)


@dataclass(frozen=True, slots=True)
class ActionInfo:
    """An action."""

    id: int
    name: str
    alias: str
    params: tuple[FieldInfo, ...]


@dataclass(frozen=True, slots=True)
class ActionProfileInfo:
    """An action profile or selector."""

    id: int
    name: str
    alias: str
    table_ids: tuple[int, ...]
    with_selector: bool
    size: int
    max_group_size: int


@dataclass(frozen=True, slots=True)
class CounterInfo:
    """A counter array, or a direct counter."""

    id: int
    name: str
    alias: str
    table_id: int
    """Of the table it belongs to; zero for an array."""
    size: int


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """A meter array, or a direct meter."""

    id: int
    name: str
    alias: str
    table_id: int
    """Of the table it belongs to; zero for an array."""
    size: int
    octets: bool
    """True: rates count octets; false: packets."""


@dataclass(frozen=True, slots=True)
class RegisterInfo:
    """A register array."""

    id: int
    name: str
    alias: str
    size: int
    width: int
    """In bits; zero where a cell is no plain bit string."""


@dataclass(frozen=True, slots=True)
class DigestInfo:
    """A digest."""

    id: int
    name: str
    alias: str
    widths: tuple[int, ...] | None
    """Of its members in bits; None where they are no plain bit strings."""


@dataclass(frozen=True, slots=True)
class ControllerHeaderInfo:
    """The header in front of packets from or to the controller."""

    id: int
    name: str
    """`packet_in` or `packet_out`."""
    fields: tuple[FieldInfo, ...]


class _Named(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


class P4Info:
    """Everything a P4Info describes, each kind in a dictionary by id."""

    def __init__(self, message: p4i.P4Info) -> None:
        self.message = message
        """The P4Info itself."""
        self.tables = _by_id("table", map(_table, message.tables))
        self.actions = _by_id("action", map(_action, message.actions))
        self.profiles = _by_id("action profile", map(_profile, message.action_profiles))
        self.counters = _by_id("counter", map(_counter, message.counters))
        self.direct_counters = _by_id("direct counter", map(_direct_counter, message.direct_counters))
        self.meters = _by_id("meter", map(_meter, message.meters))
        self.direct_meters = _by_id("direct meter", map(_direct_meter, message.direct_meters))
        self.registers = _by_id("register", (_register(r, message.type_info) for r in message.registers))
        self.digests = _by_id("digest", (_digest(d, message.type_info) for d in message.digests))
        self.controller_headers = _by_id(
            "controller header", map(_controller_header, message.controller_packet_metadata)
        )

    @classmethod
    def load(cls, source: P4InfoSource) -> P4Info:
        """Read and index a P4Info. Raises `MalformedPipeline`."""
        return cls(_decode(source))

    def table(self, name: str) -> TableInfo:
        """The table of this name or alias. Raises `KeyError`."""
        return _find(self.tables.values(), name)

    def action(self, name: str) -> ActionInfo:
        """The action of this name or alias. Raises `KeyError`."""
        return _find(self.actions.values(), name)

    def controller_header(self, name: str) -> ControllerHeaderInfo | None:
        """`packet_in` or `packet_out`; None where the program has none."""
        return next((header for header in self.controller_headers.values() if header.name == name), None)


def _decode(source: P4InfoSource) -> p4i.P4Info:
    if isinstance(source, p4i.P4Info):
        return source
    message = p4i.P4Info()
    try:
        if isinstance(source, bytes):
            message.ParseFromString(source)
        elif isinstance(source, str) and ("{" in source or not source.strip()):
            text_format.Parse(source, message)
        else:
            text_format.Parse(Path(source).read_text(encoding="utf-8"), message)
    except OSError as error:
        raise MalformedPipeline(f"P4Info {source!r}: {error.strerror}") from error
    except (text_format.ParseError, DecodeError, ValueError) as error:
        raise MalformedPipeline(f"P4Info: {error}") from error
    return message


def _by_id(kind: str, infos: Iterable[T]) -> dict[int, T]:
    found: dict[int, T] = {}
    for info in infos:
        if info.id in found:
            raise MalformedPipeline(f"P4Info: {kind} {info.name!r} has the id {info.id:#x} of another")
        found[info.id] = info
    return found


class _Aliased(_Named, Protocol):
    @property
    def alias(self) -> str: ...


A = TypeVar("A", bound=_Aliased)


def _find(infos: Iterable[A], name: str) -> A:
    for info in infos:
        if name in (info.name, info.alias):
            return info
    raise KeyError(name)


def _table(table: p4i.Table) -> TableInfo:
    fields = []
    for field in table.match_fields:
        match_type = _MATCH_TYPES.get(field.match_type)
        if match_type is None:
            raise MalformedPipeline(f"P4Info: match field {table.preamble.name}.{field.name} has no known match type")
        fields.append(MatchFieldInfo(field.id, field.name, field.bitwidth, match_type))
    refs = table.action_refs
    return TableInfo(
        id=table.preamble.id,
        name=table.preamble.name,
        alias=table.preamble.alias,
        match_fields=tuple(fields),
        action_ids=tuple(ref.id for ref in refs),
        default_only=frozenset(ref.id for ref in refs if ref.scope == p4i.ActionRef.DEFAULT_ONLY),
        table_only=frozenset(ref.id for ref in refs if ref.scope == p4i.ActionRef.TABLE_ONLY),
        const_default_action_id=table.const_default_action_id,
        profile_id=table.implementation_id,
        direct_resource_ids=tuple(table.direct_resource_ids),
        size=table.size,
        is_const=table.is_const_table,
        notifies_idle=table.idle_timeout_behavior == p4i.Table.NOTIFY_CONTROL,
    )


def _action(action: p4i.Action) -> ActionInfo:
    params = tuple(FieldInfo(param.id, param.name, param.bitwidth) for param in action.params)
    return ActionInfo(action.preamble.id, action.preamble.name, action.preamble.alias, params)


def _profile(profile: p4i.ActionProfile) -> ActionProfileInfo:
    return ActionProfileInfo(
        id=profile.preamble.id,
        name=profile.preamble.name,
        alias=profile.preamble.alias,
        table_ids=tuple(profile.table_ids),
        with_selector=profile.with_selector,
        size=profile.size,
        max_group_size=profile.max_group_size,
    )


def _counter(counter: p4i.Counter) -> CounterInfo:
    return CounterInfo(counter.preamble.id, counter.preamble.name, counter.preamble.alias, 0, counter.size)


def _direct_counter(counter: p4i.DirectCounter) -> CounterInfo:
    name, alias = counter.preamble.name, counter.preamble.alias
    return CounterInfo(counter.preamble.id, name, alias, counter.direct_table_id, 0)


def _meter(meter: p4i.Meter) -> MeterInfo:
    octets = meter.spec.unit == p4i.MeterSpec.BYTES
    return MeterInfo(meter.preamble.id, meter.preamble.name, meter.preamble.alias, 0, meter.size, octets)


def _direct_meter(meter: p4i.DirectMeter) -> MeterInfo:
    octets = meter.spec.unit == p4i.MeterSpec.BYTES
    name, alias = meter.preamble.name, meter.preamble.alias
    return MeterInfo(meter.preamble.id, name, alias, meter.direct_table_id, 0, octets)


def _register(register: p4i.Register, types: p4t.P4TypeInfo) -> RegisterInfo:
    widths = _widths(register.type_spec, types)
    width = widths[0] if widths is not None and len(widths) == 1 else 0
    return RegisterInfo(register.preamble.id, register.preamble.name, register.preamble.alias, register.size, width)


def _digest(digest: p4i.Digest, types: p4t.P4TypeInfo) -> DigestInfo:
    widths = _widths(digest.type_spec, types)
    return DigestInfo(digest.preamble.id, digest.preamble.name, digest.preamble.alias, widths)


def _controller_header(header: p4i.ControllerPacketMetadata) -> ControllerHeaderInfo:
    fields = tuple(FieldInfo(field.id, field.name, field.bitwidth) for field in header.metadata)
    return ControllerHeaderInfo(header.preamble.id, header.preamble.name, fields)


def _widths(spec: p4t.P4DataTypeSpec, types: p4t.P4TypeInfo) -> tuple[int, ...] | None:
    """Widths of the bit strings that a type is made of, in order; None where it is made of something else."""
    match spec.WhichOneof("type_spec"):
        case "bitstring":
            kind = spec.bitstring.WhichOneof("type_spec")
            width = getattr(spec.bitstring, kind).bitwidth if kind in ("bit", "int") else None
            return None if width is None else (width,)
        case "bool":
            return (1,)
        case "new_type":
            new_type = types.new_types[spec.new_type.name]
            if new_type.WhichOneof("representation") == "original_type":
                return _widths(new_type.original_type, types)
            return None
        case "serializable_enum":
            return (types.serializable_enums[spec.serializable_enum.name].underlying_type.bitwidth,)
        case "struct":
            parts = [_widths(member.type_spec, types) for member in types.structs[spec.struct.name].members]
        case "tuple":
            parts = [_widths(member, types) for member in spec.tuple.members]
        case "header":
            return tuple(m.type_spec.bit.bitwidth for m in types.headers[spec.header.name].members)
        case _:
            return None
    known = [part for part in parts if part is not None]
    return tuple(width for part in known for width in part) if len(known) == len(parts) else None
