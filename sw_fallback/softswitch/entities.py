"""What a P4Runtime client reads and writes, without protobuf: plain values keyed by P4Info ids.

The server turns protobuf messages into these and checks them against the P4Info; an engine keeps them and
switches by them. All values are unsigned integers; times are nanoseconds of the switch's own clock.
Source: P4Runtime specification 1.4, section 9 (P4 entity messages).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ActionCall",
    "ActionSet",
    "CloneSession",
    "Counter",
    "DigestList",
    "Exact",
    "FieldMatch",
    "GroupMember",
    "GroupRef",
    "Lpm",
    "MemberRef",
    "MeterConfig",
    "MulticastGroup",
    "PacketIn",
    "PacketOut",
    "Range",
    "Replica",
    "SelectorGroup",
    "SelectorMember",
    "TableAction",
    "TableEntry",
    "TableKey",
    "Ternary",
]


@dataclass(frozen=True, slots=True)
class Exact:
    """An exact (or a present optional) match."""

    value: int


@dataclass(frozen=True, slots=True)
class Lpm:
    """A longest-prefix match; bits of `value` past the prefix are zero."""

    value: int
    prefix_len: int
    """In bits, 1 to the field's width (a zero-length prefix is an absent match)."""


@dataclass(frozen=True, slots=True)
class Ternary:
    """A masked match; `value & ~mask` is zero and `mask` is not zero."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Range:
    """An inclusive interval that is not the whole field."""

    low: int
    high: int


FieldMatch = Exact | Lpm | Ternary | Range


@dataclass(frozen=True, slots=True)
class TableKey:
    """What names a table entry (P4Runtime 9.1: match key and priority)."""

    table_id: int
    match: tuple[FieldMatch | None, ...]
    """One place per match field, in the order of the P4Info; None is "don't care"."""
    priority: int = 0
    """Above zero where the table has a ternary, range or optional field, else zero. Higher wins."""


@dataclass(frozen=True, slots=True)
class ActionCall:
    """An action and its arguments."""

    action_id: int
    params: tuple[int, ...] = ()
    """In the order of the action's parameters in the P4Info."""


@dataclass(frozen=True, slots=True)
class MemberRef:
    """An indirect table entry that points at one member of its action profile."""

    member_id: int


@dataclass(frozen=True, slots=True)
class GroupRef:
    """An indirect table entry that points at a group of its action selector."""

    group_id: int


@dataclass(frozen=True, slots=True)
class ActionSet:
    """A one-shot action set (P4Runtime 9.2.3): (action, weight, watch port or 0)."""

    actions: tuple[tuple[ActionCall, int, int], ...]


TableAction = ActionCall | MemberRef | GroupRef | ActionSet


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter cell's reading."""

    packets: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """A meter's two rates and bursts (RFC 2698); bytes or packets per second as the P4Info's unit says."""

    cir: int
    cburst: int
    pir: int
    pburst: int


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table entry as a client wrote it."""

    key: TableKey
    action: TableAction
    idle_timeout_ns: int = 0
    """Zero: the entry never ages."""
    metadata: bytes = b""
    """Opaque to the switch (P4Runtime 9.1)."""


@dataclass(frozen=True, slots=True)
class SelectorMember:
    """A member of an action profile or selector."""

    profile_id: int
    member_id: int
    action: ActionCall


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One seat in a selector group."""

    member_id: int
    weight: int
    watch_port: int = 0
    """Zero: none."""


@dataclass(frozen=True, slots=True)
class SelectorGroup:
    """A group of an action selector."""

    profile_id: int
    group_id: int
    members: tuple[GroupMember, ...]
    max_size: int = 0


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy that the packet replication engine makes (P4Runtime 9.5)."""

    port: int
    instance: int = 0
    """What the copy reads as `egress_rid`."""


@dataclass(frozen=True, slots=True)
class MulticastGroup:
    """The copies of a packet whose `mcast_grp` names this group (P4Runtime 9.5.1)."""

    group_id: int
    """Above zero."""
    replicas: tuple[Replica, ...]
    """No (port, instance) pair twice."""
    metadata: bytes = b""
    """Opaque to the switch."""


@dataclass(frozen=True, slots=True)
class CloneSession:
    """The copies of a packet that is cloned to this session (P4Runtime 9.5.2)."""

    session_id: int
    """1 to 32767."""
    replicas: tuple[Replica, ...]
    class_of_service: int = 0
    packet_length: int = 0
    """Copies are cut to this many bytes; zero: not cut."""


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet for the controller."""

    payload: bytes
    metadata: tuple[int, ...]
    """One value per field of the P4Info's `packet_in` header, in order."""


@dataclass(frozen=True, slots=True)
class PacketOut:
    """A packet from the controller."""

    payload: bytes
    metadata: tuple[int, ...]
    """One value per field of the P4Info's `packet_out` header, in order."""


@dataclass(frozen=True, slots=True)
class DigestList:
    """Digest samples of one digest, oldest first."""

    digest_id: int
    samples: tuple[tuple[int, ...], ...]
    """Each sample: one value per struct field, in order."""
