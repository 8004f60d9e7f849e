"""The software switch as a library: one compiled P4 program, its tables and `process`.

Pure: no socket, no task, no clock of its own. Not safe for use from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from softswitch.entities import (
    ActionCall,
    CloneSession,
    Counter,
    MeterConfig,
    MulticastGroup,
    SelectorGroup,
    SelectorMember,
    TableEntry,
    TableKey,
)

if TYPE_CHECKING:
    from finsy.proto import p4i

    from softswitch.p4info import P4Info

__all__ = ["Entity", "EntityKey", "GroupKey", "MemberKey", "MulticastKey", "SessionKey", "Stats", "Switch"]


@dataclass(frozen=True, slots=True)
class MemberKey:
    """Names an action profile member."""

    profile_id: int
    member_id: int


@dataclass(frozen=True, slots=True)
class GroupKey:
    """Names an action selector group."""

    profile_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class MulticastKey:
    """Names a multicast group."""

    group_id: int


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Names a clone session."""

    session_id: int


Entity = TableEntry | SelectorMember | SelectorGroup | MulticastGroup | CloneSession
EntityKey = TableKey | MemberKey | GroupKey | MulticastKey | SessionKey


@dataclass(slots=True)
class Stats:
    """Counts since the program was loaded; what a shell publishes as metrics."""

    packets_in: int = 0
    """Packets given to `process`."""
    packets_out: int = 0
    """Packets that `process` returned."""
    drops: int = 0
    """Packets that ended at the drop port, at the end of ingress or egress, or in an empty multicast group."""
    parser_errors: int = 0
    """Packets whose parser stopped with an error (they go on to ingress, as v1model says)."""
    digests_lost: int = 0
    """Digest samples thrown away because nobody took them in time."""
    passes_exceeded: int = 0
    """Packets dropped because they were resubmitted or recirculated too often."""
    assertions_failed: int = 0
    """Packets dropped by an `assert` or `assume` of the P4 program that did not hold."""


class Switch:
    """One loaded program with its state.

    Match fields in `TableKey.match`, parameters in `ActionCall.params` and digest members keep the order of
    the P4Info. Every method raises an `EntityError` when it refuses, and then has changed nothing.
    """

    stats: Stats
    p4info: P4Info
    """Index of the P4Info by id and name."""

    @classmethod
    def load(
        cls,
        p4info: str | PathLike[str] | bytes | p4i.P4Info,
        device_config: str | PathLike[str] | bytes | Mapping[str, object],
        *,
        cpu_port: int | None = None,
        drop_port: int = 511,
        clock: Callable[[], int] | None = None,
    ) -> Switch:
        """Translate a compiled program and return a switch with empty tables.

        p4info: a path, its text format, its serialized bytes, or the message. device_config: the BMv2 JSON as a path,
        text, bytes or decoded. cpu_port: the port of packet-in and packet-out. drop_port: what `mark_to_drop` writes.
        clock: nanoseconds, monotonic; without it the switch's time stands still at zero.
        Raises `PipelineError`.
        """
        raise NotImplementedError

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet that arrived at `port`; return (port, packet) for each one that leaves, in order.

        A packet for the controller leaves at `cpu_port` with the packet_in header in front; a packet-out enters
        at `cpu_port` with the packet_out header in front. Never raises, whatever the bytes are.
        """
        raise NotImplementedError

    # Entities

    def insert(self, entity: Entity) -> None:
        """Add an entity. Raises `EntryExists`, `TableFull`, `InvalidArgument`, `UnknownId`, `NotPermitted`."""
        raise NotImplementedError

    def modify(self, entity: Entity) -> None:
        """Replace an entity (its direct counter stays). Raises `EntryNotFound` and as `insert`."""
        raise NotImplementedError

    def delete(self, entity_or_key: Entity | EntityKey) -> None:
        """Remove an entity. Raises `EntryNotFound`, `StillReferenced`, `NotPermitted`."""
        raise NotImplementedError

    def entries(self, table_id: int) -> Iterator[TableEntry]:
        """Every entry of a table, constant ones too, without the default action. Raises `UnknownId`."""
        raise NotImplementedError

    def entry(self, key: TableKey) -> TableEntry:
        """One entry. Raises `EntryNotFound`."""
        raise NotImplementedError

    def default_action(self, table_id: int) -> ActionCall | None:
        """What a miss runs now; None where the program gives the table nothing to run."""
        raise NotImplementedError

    def set_default_action(self, table_id: int, action: ActionCall | None) -> None:
        """Change what a miss runs; None puts the program's own back. Raises `NotPermitted` for a constant one."""
        raise NotImplementedError

    def selector_members(self, profile_id: int) -> Iterator[SelectorMember]:
        """Every member of an action profile or selector."""
        raise NotImplementedError

    def selector_groups(self, profile_id: int) -> Iterator[SelectorGroup]:
        """Every group of an action selector."""
        raise NotImplementedError

    def multicast_groups(self) -> Iterator[MulticastGroup]:
        """Every multicast group."""
        raise NotImplementedError

    def clone_sessions(self) -> Iterator[CloneSession]:
        """Every clone session."""
        raise NotImplementedError

    # Counters, meters, registers

    def direct_counter(self, key: TableKey) -> Counter:
        """The entry's direct counter. Raises `InvalidArgument` where the table has none."""
        raise NotImplementedError

    def set_direct_counter(self, key: TableKey, value: Counter) -> None:
        """Write the entry's direct counter."""
        raise NotImplementedError

    def counter(self, counter_id: int, index: int) -> Counter:
        """One cell of an indirect counter. Raises `OutOfRange`."""
        raise NotImplementedError

    def set_counter(self, counter_id: int, index: int, value: Counter) -> None:
        """Write one cell of an indirect counter."""
        raise NotImplementedError

    def counter_size(self, counter_id: int) -> int:
        """Number of cells."""
        raise NotImplementedError

    def direct_meter(self, key: TableKey) -> MeterConfig | None:
        """The entry's meter configuration; None: not configured, every packet is green."""
        raise NotImplementedError

    def set_direct_meter(self, key: TableKey, config: MeterConfig | None) -> None:
        """Configure the entry's meter; None: back to all green."""
        raise NotImplementedError

    def meter(self, meter_id: int, index: int) -> MeterConfig | None:
        """The configuration of one cell of an indirect meter; None: not configured."""
        raise NotImplementedError

    def set_meter(self, meter_id: int, index: int, config: MeterConfig | None) -> None:
        """Configure one cell of an indirect meter."""
        raise NotImplementedError

    def meter_size(self, meter_id: int) -> int:
        """Number of cells."""
        raise NotImplementedError

    def register(self, register_id: int, index: int) -> int:
        """One register cell. Raises `OutOfRange`."""
        raise NotImplementedError

    def set_register(self, register_id: int, index: int, value: int) -> None:
        """Write one register cell. Raises `OutOfRange`, and `InvalidArgument` for a value that is too wide."""
        raise NotImplementedError

    def register_size(self, register_id: int) -> int:
        """Number of cells."""
        raise NotImplementedError

    # What the switch has to tell

    def take_digests(self) -> list[tuple[int, tuple[int, ...]]]:
        """The digest samples since the last call as (digest id, members), oldest first."""
        raise NotImplementedError

    def idle_entries(self, now_ns: int) -> list[TableKey]:
        """Entries not hit for their idle timeout; each is reported once per timeout that passes (P4Runtime 16.5)."""
        raise NotImplementedError

    def time_since_last_hit(self, key: TableKey) -> int:
        """Nanoseconds since the entry was last hit, or written when it never was."""
        raise NotImplementedError
