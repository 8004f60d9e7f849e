"""What clients wrote and the program's memory does not hold, each entity as it was last written.

Entries of exact tables and of tables with many prefixes are rows in memory, as are counters and registers. All the
rest comes here: small tables, members and groups, replication, default actions, meters, digests; of entries in memory
their metadata. A record is an operation, the number of an entry's row, and the entity.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from finsy.proto import p4r

from softswitch.engine.xdp.kernel import KernelError
from softswitch.entities import TableKey
from softswitch.pinned.log import Log
from softswitch.server.pipeline import Pipeline

__all__ = ["Entries", "Journal", "Noted", "read_journal"]

_LOG = logging.getLogger("softswitch.pin")

_HEAD = struct.Struct("=BI")
_ROOM = 1 << 20
"""Bytes for what is to come, at least; as many again as what is there is the rule, so that copying stays rare."""


class _Operation(IntEnum):
    """What a record says of its entity. Numbers are never used for anything else."""

    PUT = 1
    """It is like this."""
    REMOVE = 2
    """It is gone; only its key is told."""
    ANNOTATE = 3
    """The metadata of an entry whose row is in memory."""


class Journal:
    """Follows the writes to one pipeline."""

    def __init__(self, pipeline: Pipeline, in_memory: Collection[int], renew: Callable[[Log], None]) -> None:
        """`in_memory`: ids of the tables whose entries are not written here; `renew` is given a log that takes the
        place of the one before. Raises `KernelError`."""
        self._pipeline = pipeline
        self._in_memory = in_memory
        self._annotated = set(filter(pipeline.switch.has_metadata, in_memory))
        """Tables in memory whose entries have metadata, or had."""
        self._renew = renew
        self.log = self._whole()

    def note(self, kind: int, entity: p4r.Entity) -> None:
        """An update was carried out."""
        if self._is_in_memory(entity.table_entry):
            return
        for record in self._records(kind, entity):
            if not self.log.append(record):
                self._start_anew()
                return

    def _is_in_memory(self, message: p4r.TableEntry) -> bool:
        """Whether it is an entry that the rows in memory tell all about: as nearly every update is."""
        table_id = message.table_id
        if table_id not in self._in_memory or message.is_default_action:
            return False
        return not message.metadata and table_id not in self._annotated

    def _start_anew(self) -> None:
        try:
            log = self._whole()
            self._renew(log)
        except KernelError as error:
            _LOG.error("what clients write is not kept for the next process: %s", error)
            return
        self.log.close()
        self.log = log

    def _whole(self) -> Log:
        """A log of everything."""
        schema, pipeline = self._pipeline.schema, self._pipeline
        tables = [table_id for table_id in schema.tables if table_id not in self._in_memory]
        records = [
            self._put(entity) for entity in pipeline.entities(tables=tables, arrays=("meter_entry",), counts=False)
        ]
        for table_id in tables:
            if schema.tables[table_id].is_const:
                entries = pipeline.switch.entries(table_id)
                records += [self._put(pipeline.reader.whole_entry(entry.key)) for entry in entries]
        for table_id in self._annotated:
            entries = pipeline.switch.entries(table_id)
            records += [self._annotation(entry.key, entry.metadata) for entry in entries if entry.metadata]
        return Log.create("journal", max(_ROOM, sum(map(len, records))), records)

    def _records(self, kind: int, entity: p4r.Entity) -> Iterator[bytes]:
        match entity.WhichOneof("entity"):
            case "counter_entry" | "direct_counter_entry" | "register_entry":
                return
            case "table_entry" if not entity.table_entry.is_default_action:
                yield from self._entry(kind, entity.table_entry)
            case "direct_meter_entry":
                if entity.direct_meter_entry.table_entry.table_id not in self._in_memory:
                    yield from self._entry(kind, entity.direct_meter_entry.table_entry)
            case _ if kind == p4r.Update.DELETE:
                yield _record(_Operation.REMOVE, entity)
            case _:
                for present in self._pipeline.reader.read(entity):
                    yield self._put(present) if self._pipeline.differs(present) else _record(_Operation.REMOVE, present)

    def _entry(self, kind: int, message: p4r.TableEntry) -> Iterator[bytes]:
        table_id, is_gone = message.table_id, kind == p4r.Update.DELETE
        key = self._pipeline.schema.tables[table_id].decode_key(message)
        if table_id in self._in_memory:
            self._annotated.add(table_id)
            yield self._annotation(key, b"" if is_gone else message.metadata)
        elif is_gone:
            yield _record(_Operation.REMOVE, self._keyed(key))
        else:
            yield self._put(self._pipeline.reader.whole_entry(key))

    def _annotation(self, key: TableKey, metadata: bytes) -> bytes:
        entity = self._keyed(key)
        entity.table_entry.metadata = metadata
        return _record(_Operation.ANNOTATE, entity)

    def _keyed(self, key: TableKey) -> p4r.Entity:
        """An entry with nothing but its key."""
        entity = p4r.Entity()
        self._pipeline.schema.tables[key.table_id].encode_key(key, entity.table_entry)
        return entity

    def _put(self, entity: p4r.Entity) -> bytes:
        place = 0
        if entity.HasField("table_entry") and not entity.table_entry.is_default_action:
            entity.table_entry.ClearField("counter_data")  # what was counted is in the row
            table = self._pipeline.schema.tables[entity.table_entry.table_id]
            place = self._pipeline.switch.place(table.decode_key(entity.table_entry))
        return _record(_Operation.PUT, entity, place)


def _record(operation: _Operation, entity: p4r.Entity, place: int = 0) -> bytes:
    return _HEAD.pack(operation, place) + entity.SerializeToString()


@dataclass(frozen=True, slots=True)
class Noted:
    """An entity as it was last written."""

    entity: p4r.Entity
    place: int
    """The number of an entry's row; zero for anything else."""


@dataclass(frozen=True, slots=True)
class Entries:
    """What a journal says in the end."""

    entities: tuple[Noted, ...]
    """In an order in which they can be written."""
    annotations: tuple[p4r.TableEntry, ...]
    """Keys and metadata."""


def read_journal(records: Iterable[bytes]) -> Entries:
    """Put together what was written when. Raises ValueError for a record that is none."""
    entities: dict[bytes, Noted] = {}
    annotations: dict[bytes, p4r.TableEntry] = {}
    for record in records:
        operation, place = _HEAD.unpack_from(record)
        entity = p4r.Entity.FromString(record[_HEAD.size :])
        key = _identity(entity)
        match _Operation(operation):
            case _Operation.PUT:
                entities[key] = Noted(entity, place)  # what was there keeps its turn: order is age
            case _Operation.REMOVE:
                entities.pop(key, None)
            case _Operation.ANNOTATE:
                annotations[key] = entity.table_entry
    ordered = sorted(
        entities.values(), key=lambda noted: _RANKS.get(noted.entity.WhichOneof("entity") or "", len(_RANKS))
    )
    return Entries(tuple(ordered), tuple(annotations.values()))


_RANKS = {
    "action_profile_member": 0,
    "action_profile_group": 1,
    "packet_replication_engine_entry": 2,
    "table_entry": 3,
}
"""What is written first; the rest comes after."""


def _identity(entity: p4r.Entity) -> bytes:
    """What names an entity: its message with nothing but the key."""
    key = p4r.Entity()
    match entity.WhichOneof("entity"):
        case "table_entry":
            key.table_entry.CopyFrom(entity.table_entry)
            for field in ("action", "counter_data", "meter_config", "idle_timeout_ns", "metadata", "is_const"):
                key.table_entry.ClearField(field)
        case "action_profile_member":
            message = entity.action_profile_member
            key.action_profile_member.action_profile_id = message.action_profile_id
            key.action_profile_member.member_id = message.member_id
        case "action_profile_group":
            group = entity.action_profile_group
            key.action_profile_group.action_profile_id = group.action_profile_id
            key.action_profile_group.group_id = group.group_id
        case "packet_replication_engine_entry":
            replication, into = entity.packet_replication_engine_entry, key.packet_replication_engine_entry
            into.multicast_group_entry.multicast_group_id = replication.multicast_group_entry.multicast_group_id
            if replication.HasField("clone_session_entry"):
                into.clone_session_entry.session_id = replication.clone_session_entry.session_id
        case "meter_entry":
            key.meter_entry.CopyFrom(entity.meter_entry)
            key.meter_entry.ClearField("config")
        case "digest_entry":
            key.digest_entry.digest_id = entity.digest_entry.digest_id
        case other:
            raise ValueError(f"a journal has no {other}")
    return key.SerializeToString(deterministic=True)
