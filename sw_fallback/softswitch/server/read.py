"""Read requests: which entities a request selects, as messages.

A request is answered from the state at the moment of the call: `read` looks everything up at once and encodes it
while the caller takes it, so a slow reader sees one consistent state and holds nobody up.
Source: P4Runtime specification 1.4, section 13 (Read RPC) and the rules of each entity in section 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from finsy.proto import p4r

from softswitch.entities import Counter, MeterConfig, TableEntry, TableKey
from softswitch.errors import EntityError, EntryNotFound
from softswitch.server.digests import DigestLists
from softswitch.server.replication_codec import ReplicationCodec
from softswitch.server.schema import Schema
from softswitch.server.selector_codec import encode_group, encode_member
from softswitch.server.status import Code, Refusal
from softswitch.server.table_codec import TableCodec
from softswitch.switch import Switch

__all__ = ["Reader"]

Entities = Iterator[p4r.Entity]

_WITH_DIRECT_RESOURCES = p4r.TableEntry(counter_data=p4r.CounterData(), meter_config=p4r.MeterConfig())


class Reader:
    """Answers requests from one switch."""

    def __init__(self, switch: Switch, schema: Schema, digests: DigestLists, replicas: ReplicationCodec) -> None:
        self._switch = switch
        self._schema = schema
        self._digests = digests
        self._replicas = replicas
        self._handlers: dict[str | None, Callable[[p4r.Entity], Entities]] = {
            "table_entry": self._table_entries,
            "action_profile_member": self._members,
            "action_profile_group": self._groups,
            "meter_entry": self._meters,
            "direct_meter_entry": self._direct_meters,
            "counter_entry": self._counters,
            "direct_counter_entry": self._direct_counters,
            "packet_replication_engine_entry": self._replication,
            "register_entry": self._registers,
            "digest_entry": self._digest_entries,
        }

    def read(self, request: p4r.Entity) -> Entities:
        """The entities that one request selects. Raises `Refusal` at once, never while iterating."""
        name = request.WhichOneof("entity")
        handler = self._handlers.get(name)
        if handler is not None:
            try:
                return handler(request)
            except EntityError as error:
                raise Refusal(Code(error.code), str(error)) from error
        if name is None:
            raise Refusal(Code.INVALID_ARGUMENT, "request without an entity: name the kind to read")
        wildcard = name == "extern_entry" and not request.extern_entry.extern_type_id
        if wildcard or (name == "value_set_entry" and not request.value_set_entry.value_set_id):
            return iter(())
        raise Refusal(Code.UNIMPLEMENTED, f"{name} cannot be read: this switch has none")

    def whole_entry(self, key: TableKey) -> p4r.Entity:
        """One table entry with its direct resources, as it would have to be written. Raises `EntityError`."""
        table = self._schema.table(key.table_id)
        entity = self._encode_entry(table, self._switch.entry(key), _WITH_DIRECT_RESOURCES)
        if table.is_const:
            entity.table_entry.ClearField("action")
            entity.table_entry.ClearField("is_const")
        return entity

    def _table_entries(self, request: p4r.Entity) -> Entities:
        query = request.table_entry
        if not query.table_id:
            if query.match or query.HasField("action"):
                raise Refusal(Code.INVALID_ARGUMENT, "a read of all tables cannot be filtered by match or action")
            return chain.from_iterable([self._one_table(table, query) for table in self._schema.tables.values()])
        table = self._schema.table(query.table_id)
        if query.is_default_action:
            table.check_default_key(query)
        else:
            table.check_idle_timeout(query)
        return self._one_table(table, query)

    def _one_table(self, table: TableCodec, query: p4r.TableEntry) -> Entities:
        if query.is_default_action:
            return iter([self._default_entry(table)])
        entities = (self._encode_entry(table, entry, query) for entry in self._select(table, query))
        volatile = (
            query.HasField("counter_data") or query.HasField("meter_config") or query.HasField("time_since_last_hit")
        )
        # what packets change, or what goes with its entry, is looked up now
        return iter(list(entities)) if volatile else entities

    def _select(self, table: TableCodec, query: p4r.TableEntry) -> list[TableEntry]:
        entries: Iterable[TableEntry]
        if query.match and (query.priority or not table.has_priority):
            try:
                entries = [self._switch.entry(table.decode_key(query))]
            except EntryNotFound:
                return []
        else:
            entries = self._switch.entries(table.table_id)
            if query.match:
                match = table.decode_match(query)
                entries = [entry for entry in entries if entry.key.match == match]
            elif query.priority:
                entries = [entry for entry in entries if entry.key.priority == query.priority]
        if query.metadata:
            entries = [entry for entry in entries if entry.metadata == query.metadata]
        action_id = query.action.action.action_id
        if action_id:
            entries = [entry for entry in entries if getattr(entry.action, "action_id", 0) == action_id]
        return list(entries)

    def _encode_entry(self, table: TableCodec, entry: TableEntry, query: p4r.TableEntry) -> p4r.Entity:
        key = entry.key
        entity = p4r.Entity()
        message = entity.table_entry
        table.encode_entry(entry, message)
        if query.HasField("counter_data") and table.has_counter:
            _encode_counter(self._switch.direct_counter(key), message.counter_data)
        if query.HasField("meter_config") and table.has_meter:
            _encode_meter(self._switch.direct_meter(key), message.meter_config)
        if query.HasField("time_since_last_hit") and table.has_idle_timeout:
            message.time_since_last_hit.elapsed_ns = self._switch.time_since_last_hit(key)
        return entity

    def _default_entry(self, table: TableCodec) -> p4r.Entity:
        entity = p4r.Entity()
        message = entity.table_entry
        message.table_id = table.table_id
        message.is_default_action = True
        action = self._switch.default_action(table.table_id)
        if action is not None:
            table.encode_action(action, message.action)
        return entity

    def _direct_counters(self, request: p4r.Entity) -> Entities:
        def encode(table: TableCodec, key: TableKey) -> p4r.Entity:
            entity = p4r.Entity()
            table.encode_key(key, entity.direct_counter_entry.table_entry)
            _encode_counter(self._switch.direct_counter(key), entity.direct_counter_entry.data)
            return entity

        tables = [table for table in self._schema.tables.values() if table.has_counter]
        return self._direct(request.direct_counter_entry.table_entry, tables, "counter", encode)

    def _direct_meters(self, request: p4r.Entity) -> Entities:
        def encode(table: TableCodec, key: TableKey) -> p4r.Entity:
            entity = p4r.Entity()
            table.encode_key(key, entity.direct_meter_entry.table_entry)
            _encode_meter(self._switch.direct_meter(key), entity.direct_meter_entry.config)
            return entity

        if request.direct_meter_entry.HasField("counter_data"):
            raise Refusal(Code.UNIMPLEMENTED, "meters of this switch do not count colours")
        tables = [table for table in self._schema.tables.values() if table.has_meter]
        return self._direct(request.direct_meter_entry.table_entry, tables, "meter", encode)

    def _direct(
        self,
        query: p4r.TableEntry,
        tables: list[TableCodec],
        kind: str,
        encode: Callable[[TableCodec, TableKey], p4r.Entity],
    ) -> Entities:
        """The direct resources of one entry, of one table's entries, or of all tables that have any."""
        if query.is_default_action:
            raise Refusal(Code.UNIMPLEMENTED, f"direct {kind}s of default entries are not supported by this switch")
        if query.table_id:
            table = self._schema.table(query.table_id)
            if table not in tables:
                raise table.invalid(f"has no direct {kind}")
            if query.match:
                return iter([encode(table, table.decode_key(query))])
            tables = [table]
        return iter([encode(table, entry.key) for table in tables for entry in self._switch.entries(table.table_id)])

    def _members(self, request: p4r.Entity) -> Entities:
        query = request.action_profile_member
        members = [
            member
            for profile_id in self._profiles(query.action_profile_id)
            for member in self._switch.selector_members(profile_id)
            if query.member_id in (0, member.member_id)
        ]
        return (encode_member(self._schema, member) for member in members)

    def _groups(self, request: p4r.Entity) -> Entities:
        query = request.action_profile_group
        groups = [
            group
            for profile_id in self._profiles(query.action_profile_id)
            if self._schema.profiles[profile_id].with_selector
            for group in self._switch.selector_groups(profile_id)
            if query.group_id in (0, group.group_id)
        ]
        return (encode_group(group) for group in groups)

    def _profiles(self, profile_id: int) -> list[int]:
        if not profile_id:
            return list(self._schema.profiles)
        self._schema.profile(profile_id)
        return [profile_id]

    def _replication(self, request: p4r.Entity) -> Entities:
        query = request.packet_replication_engine_entry
        match query.WhichOneof("type"):
            case "multicast_group_entry":
                wanted = query.multicast_group_entry.multicast_group_id
                groups = [group for group in self._switch.multicast_groups() if wanted in (0, group.group_id)]
                return (self._replicas.encode_multicast(group) for group in groups)
            case "clone_session_entry":
                wanted = query.clone_session_entry.session_id
                sessions = [one for one in self._switch.clone_sessions() if wanted in (0, one.session_id)]
                return (self._replicas.encode_clone(session) for session in sessions)
        raise Refusal(Code.INVALID_ARGUMENT, "packet replication entry without its type")

    def _counters(self, request: p4r.Entity) -> Entities:
        query = request.counter_entry
        if query.counter_id:
            self._schema.counter(query.counter_id)
        cells = [
            (counter_id, index, self._switch.counter(counter_id, index))
            for counter_id in ([query.counter_id] if query.counter_id else self._schema.counters)
            for index in indexes(query, self._switch.counter_size(counter_id), "counter")
        ]
        return (_counter_cell(*cell) for cell in cells)

    def _meters(self, request: p4r.Entity) -> Entities:
        query = request.meter_entry
        if query.meter_id:
            self._schema.meter(query.meter_id)
        if query.HasField("counter_data"):
            raise Refusal(Code.UNIMPLEMENTED, "meters of this switch do not count colours")
        cells = [
            (meter_id, index, self._switch.meter(meter_id, index))
            for meter_id in ([query.meter_id] if query.meter_id else self._schema.meters)
            for index in indexes(query, self._switch.meter_size(meter_id), "meter")
        ]
        return (_meter_cell(*cell) for cell in cells)

    def _registers(self, request: p4r.Entity) -> Entities:
        query = request.register_entry
        if query.register_id:
            self._schema.register(query.register_id)
        cells = [
            (register_id, index, self._switch.register(register_id, index))
            for register_id in ([query.register_id] if query.register_id else self._schema.registers)
            for index in indexes(query, self._switch.register_size(register_id), "register")
        ]
        return (self._register_cell(*cell) for cell in cells)

    def _register_cell(self, register_id: int, index: int, value: int) -> p4r.Entity:
        entity = p4r.Entity()
        message = entity.register_entry
        message.register_id = register_id
        message.index.index = index
        self._schema.registers[register_id].encode((value,), message.data)
        return entity

    def _digest_entries(self, request: p4r.Entity) -> Entities:
        wanted = request.digest_entry.digest_id
        if wanted:
            self._schema.digest(wanted)
        entities = []
        for digest_id, config in self._digests.configs().items():
            if wanted in (0, digest_id):
                entity = p4r.Entity()
                entity.digest_entry.digest_id = digest_id
                entity.digest_entry.config.max_timeout_ns = config.max_timeout_ns
                entity.digest_entry.config.max_list_size = config.max_list_size
                entity.digest_entry.config.ack_timeout_ns = config.ack_timeout_ns
                entities.append(entity)
        return iter(entities)


def indexes(message: p4r.CounterEntry | p4r.MeterEntry | p4r.RegisterEntry, size: int, what: str) -> range:
    """The cells an entry is about: one, or all where it leaves the index out. Raises `Refusal`."""
    if not message.HasField("index"):
        return range(size)
    index = message.index.index
    if index < 0:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: index {index} is negative")
    if index >= size:
        raise Refusal(Code.OUT_OF_RANGE, f"{what}: index {index}, it has {size} cells")
    return range(index, index + 1)


def _counter_cell(counter_id: int, index: int, value: Counter) -> p4r.Entity:
    entity = p4r.Entity()
    message = entity.counter_entry
    message.counter_id = counter_id
    message.index.index = index
    _encode_counter(value, message.data)
    return entity


def _meter_cell(meter_id: int, index: int, config: MeterConfig | None) -> p4r.Entity:
    entity = p4r.Entity()
    message = entity.meter_entry
    message.meter_id = meter_id
    message.index.index = index
    if config is not None:
        _encode_meter(config, message.config)
    return entity


def _encode_counter(value: Counter, into: p4r.CounterData) -> None:
    into.SetInParent()
    into.packet_count = value.packets
    into.byte_count = value.octets


def _encode_meter(config: MeterConfig | None, into: p4r.MeterConfig) -> None:
    if config is not None:
        into.SetInParent()
        into.cir, into.cburst = config.cir, config.cburst
        into.pir, into.pburst = config.pir, config.pburst
