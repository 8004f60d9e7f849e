"""Write requests: each update is checked and carried out on the switch.

Source: P4Runtime specification 1.4, section 12 (Write RPC) and the rules of each entity in section 9.
"""

from __future__ import annotations

from collections.abc import Callable

from finsy.proto import p4r

from softswitch.entities import ActionSet, Counter, MeterConfig, TableAction, TableEntry, TableKey
from softswitch.server import selector_codec
from softswitch.server.digests import DigestConfig, DigestLists
from softswitch.server.read import indexes
from softswitch.server.replication_codec import ReplicationCodec
from softswitch.server.schema import Schema
from softswitch.server.status import Code, Refusal
from softswitch.server.table_codec import TableCodec
from softswitch.switch import Entity, EntityKey, GroupKey, MemberKey, MulticastKey, SessionKey, Switch

__all__ = ["Writer"]

_INSERT = p4r.Update.INSERT
_MODIFY = p4r.Update.MODIFY
_DELETE = p4r.Update.DELETE


class Writer:
    """Carries out updates on one switch."""

    def __init__(self, switch: Switch, schema: Schema, digests: DigestLists, replicas: ReplicationCodec) -> None:
        self._switch = switch
        self._schema = schema
        self._digests = digests
        self._replicas = replicas
        self.changed_defaults: set[int] = set()
        """Ids of the tables whose default action is no longer the program's own."""
        self.observer: Callable[[int, p4r.Entity], None] = _ignore
        """Told of each update that was carried out."""
        self._handlers: dict[str | None, Callable[[int, p4r.Entity], None]] = {
            "table_entry": self._table_entry,
            "action_profile_member": self._member,
            "action_profile_group": self._group,
            "meter_entry": self._meter,
            "direct_meter_entry": self._direct_meter,
            "counter_entry": self._counter,
            "direct_counter_entry": self._direct_counter,
            "packet_replication_engine_entry": self._replication,
            "register_entry": self._register,
            "digest_entry": self._digest,
        }

    def apply(self, kind: int, entity: p4r.Entity) -> None:
        """Carry out one update. Raises `Refusal` or `EntityError`, and then has changed nothing."""
        name = entity.WhichOneof("entity")
        handler = self._handlers.get(name)
        if handler is None:
            if name is None:
                raise Refusal(Code.INVALID_ARGUMENT, "update without an entity")
            raise Refusal(Code.UNIMPLEMENTED, f"{name} cannot be written: this switch has none")
        if kind not in (_INSERT, _MODIFY, _DELETE):
            raise Refusal(Code.INVALID_ARGUMENT, f"update type {kind} is none of INSERT, MODIFY, DELETE")
        handler(kind, entity)
        self.observer(kind, entity)

    # table entries

    def _table_entry(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.table_entry
        table = self._schema.table(message.table_id)
        if message.is_const:
            raise table.invalid("is_const is for the switch to set")
        if message.is_default_action:
            self._default_entry(kind, table, message)
            return
        key = table.decode_key(message)
        if kind == _DELETE:
            self._switch.delete(key)
            return
        _check_entry(table, message)
        counter = _decode_counter(message.counter_data, table.what) if message.HasField("counter_data") else None
        meter = _decode_meter(message.meter_config, table.what) if message.HasField("meter_config") else None
        if kind == _INSERT:
            action = table.decode_action(message.action)
            self._check_style(table, action)
            self._switch.insert(TableEntry(key, action, message.idle_timeout_ns, message.metadata))
        else:
            self._modify_entry(table, key, message)
        if counter is not None:
            self._switch.set_direct_counter(key, counter)
        if meter is not None or (table.has_meter and kind == _MODIFY):
            self._switch.set_direct_meter(key, meter)

    def _modify_entry(self, table: TableCodec, key: TableKey, message: p4r.TableEntry) -> None:
        old = self._switch.entry(key)
        has_action = message.HasField("action")
        if table.is_const:
            if has_action:
                raise Refusal(Code.PERMISSION_DENIED, f"{table.what}: its entries are constant; leave the action out")
            return
        action = table.decode_action(message.action) if has_action else old.action
        self._check_style(table, action)
        self._switch.modify(TableEntry(key, action, message.idle_timeout_ns, message.metadata))

    def _check_style(self, table: TableCodec, action: TableAction) -> None:
        """A selector is programmed by one-shot action sets or by members and groups (section 9.2.3)."""
        if table.profile is None or not isinstance(action, ActionSet):
            return
        if next(iter(self._switch.selector_members(table.profile.preamble.id)), None) is not None:
            raise table.invalid("its selector has members: point at them, action sets cannot be mixed with members")

    def _default_entry(self, kind: int, table: TableCodec, message: p4r.TableEntry) -> None:
        table.check_default_key(message)
        if kind != _MODIFY:
            raise table.invalid("the default entry is always there: it can only be modified")
        if table.has_const_default:
            raise Refusal(Code.PERMISSION_DENIED, f"{table.what}: its default action is constant")
        for name in ("counter_data", "meter_config", "meter_counter_data"):
            if message.HasField(name):
                text = f"{table.what}: direct resources of default entries are not supported ({name})"
                raise Refusal(Code.UNIMPLEMENTED, text)
        if message.metadata or message.controller_metadata:
            raise Refusal(Code.UNIMPLEMENTED, f"{table.what}: metadata of default entries is not supported")
        action = None
        if message.HasField("action"):
            if message.action.WhichOneof("type") != "action":
                raise table.invalid("the default entry takes an action")
            action = table.decode_call(message.action.action, is_default=True)
        self._switch.set_default_action(table.table_id, action)
        if action is None:
            self.changed_defaults.discard(table.table_id)
        else:
            self.changed_defaults.add(table.table_id)

    # action profiles and packet replication

    def _member(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.action_profile_member
        profile = self._schema.profile(message.action_profile_id)
        if kind == _DELETE:
            self._switch.delete(MemberKey(message.action_profile_id, message.member_id))
            return
        for table_id in profile.table_ids:
            first = next(iter(self._switch.entries(table_id)), None)
            if first is not None and isinstance(first.action, ActionSet):
                text = (
                    f"action profile {profile.preamble.name}: its tables hold action sets, members cannot be mixed in"
                )
                raise Refusal(Code.INVALID_ARGUMENT, text)
        self._put(kind, selector_codec.decode_member(self._schema, message))

    def _group(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.action_profile_group
        selector_codec.group_profile(self._schema, message.action_profile_id)
        if kind == _DELETE:
            self._switch.delete(GroupKey(message.action_profile_id, message.group_id))
            return
        group = selector_codec.decode_group(self._schema, message)
        if kind == _MODIFY:
            for old in self._switch.selector_groups(group.profile_id):
                if old.group_id == group.group_id and old.max_size != group.max_size:
                    text = f"group {group.group_id}: max_size is {old.max_size} since its insertion and stays so"
                    raise Refusal(Code.INVALID_ARGUMENT, text)
        self._put(kind, group)

    def _replication(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.packet_replication_engine_entry
        match message.WhichOneof("type"):
            case "multicast_group_entry":
                group = self._replicas.decode_multicast(message.multicast_group_entry, key_only=kind == _DELETE)
                self._put_or_delete(kind, group, MulticastKey(group.group_id))
            case "clone_session_entry":
                session = self._replicas.decode_clone(message.clone_session_entry, key_only=kind == _DELETE)
                self._put_or_delete(kind, session, SessionKey(session.session_id))
            case _:
                raise Refusal(Code.INVALID_ARGUMENT, "packet replication entry without its type")

    def _put_or_delete(self, kind: int, entity: Entity, key: EntityKey) -> None:
        if kind == _DELETE:
            self._switch.delete(key)
        else:
            self._put(kind, entity)

    def _put(self, kind: int, entity: Entity) -> None:
        if kind == _INSERT:
            self._switch.insert(entity)
        else:
            self._switch.modify(entity)

    # counters, meters, registers: they are always there, so MODIFY is all there is

    def _counter(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.counter_entry
        what = f"counter {self._schema.counter(message.counter_id)}"
        _only_modify(kind, what)
        cells = indexes(message, self._switch.counter_size(message.counter_id), what)
        if message.HasField("data"):
            value = _decode_counter(message.data, what)
            for index in cells:
                self._switch.set_counter(message.counter_id, index, value)

    def _direct_counter(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.direct_counter_entry
        table = self._schema.table(message.table_entry.table_id)
        _only_modify(kind, f"{table.what} direct counter")
        if not table.has_counter:
            raise table.invalid("has no direct counter")
        key = _decode_direct_key(table, message.table_entry)
        self._switch.entry(key)
        if message.HasField("data"):
            self._switch.set_direct_counter(key, _decode_counter(message.data, table.what))

    def _meter(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.meter_entry
        what = f"meter {self._schema.meter(message.meter_id)}"
        _only_modify(kind, what)
        _refuse_colours(message, what)
        config = _decode_meter(message.config, what) if message.HasField("config") else None
        for index in indexes(message, self._switch.meter_size(message.meter_id), what):
            self._switch.set_meter(message.meter_id, index, config)

    def _direct_meter(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.direct_meter_entry
        table = self._schema.table(message.table_entry.table_id)
        _only_modify(kind, f"{table.what} direct meter")
        if not table.has_meter:
            raise table.invalid("has no direct meter")
        _refuse_colours(message, table.what)
        key = _decode_direct_key(table, message.table_entry)
        config = _decode_meter(message.config, table.what) if message.HasField("config") else None
        self._switch.set_direct_meter(key, config)

    def _register(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.register_entry
        codec = self._schema.register(message.register_id)
        _only_modify(kind, codec.what)
        cells = indexes(message, self._switch.register_size(message.register_id), codec.what)
        if not message.HasField("data"):
            raise Refusal(Code.INVALID_ARGUMENT, f"{codec.what}: an update without data")
        leaves = codec.decode(message.data)
        if len(leaves) != 1:
            text = f"{codec.what}: cells of {len(leaves)} values are not supported by this switch"
            raise Refusal(Code.UNIMPLEMENTED, text)
        for index in cells:
            self._switch.set_register(message.register_id, index, leaves[0])

    def _digest(self, kind: int, entity: p4r.Entity) -> None:
        message = entity.digest_entry
        self._schema.digest(message.digest_id)
        if kind == _DELETE:
            self._digests.delete(message.digest_id)
            return
        asked = message.config
        config = DigestConfig(asked.max_timeout_ns, asked.max_list_size, asked.ack_timeout_ns)
        if kind == _INSERT:
            self._digests.insert(message.digest_id, config)
        else:
            self._digests.modify(message.digest_id, config)


def _ignore(kind: int, entity: p4r.Entity) -> None:
    return


def _check_entry(table: TableCodec, message: p4r.TableEntry) -> None:
    """Refuse what an entry of this table cannot have."""
    if message.idle_timeout_ns or message.HasField("time_since_last_hit"):
        table.check_idle_timeout(message)
        if message.HasField("time_since_last_hit"):
            raise table.invalid("time_since_last_hit is for the switch to set")
    if message.controller_metadata:
        text = f"{table.what}: controller_metadata is deprecated and not kept here; use metadata"
        raise Refusal(Code.UNIMPLEMENTED, text)
    if message.HasField("meter_counter_data"):
        raise Refusal(Code.UNIMPLEMENTED, f"{table.what}: meters of this switch do not count colours")
    if message.HasField("counter_data") and not table.has_counter:
        raise table.invalid("has no direct counter")
    if message.HasField("meter_config") and not table.has_meter:
        raise table.invalid("has no direct meter")


def _decode_direct_key(table: TableCodec, message: p4r.TableEntry) -> TableKey:
    """The key of the entry that a direct resource belongs to."""
    if message.is_default_action:
        text = f"{table.what}: direct resources of default entries are not supported by this switch"
        raise Refusal(Code.UNIMPLEMENTED, text)
    return table.decode_key(message)


def _only_modify(kind: int, what: str) -> None:
    if kind != _MODIFY:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: can only be modified, not inserted or deleted")


def _refuse_colours(message: p4r.MeterEntry | p4r.DirectMeterEntry, what: str) -> None:
    if message.HasField("counter_data"):
        raise Refusal(Code.UNIMPLEMENTED, f"{what}: meters of this switch do not count colours")


def _decode_counter(data: p4r.CounterData, what: str) -> Counter:
    if data.packet_count < 0 or data.byte_count < 0:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: a negative count")
    return Counter(data.packet_count, data.byte_count)


def _decode_meter(config: p4r.MeterConfig, what: str) -> MeterConfig:
    if config.eburst:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: eburst is for single rate meters; leave it unset")
    rates = (config.cir, config.cburst, config.pir, config.pburst)
    if min(rates) < 0:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: a negative rate or burst")
    if config.cir > config.pir:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: committed rate {config.cir} is above peak rate {config.pir}")
    return MeterConfig(*rates)
