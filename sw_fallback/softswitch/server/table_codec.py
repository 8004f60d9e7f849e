"""Table entries between TableEntry messages and `softswitch.entities`, checked against one table of the P4Info.

Source: P4Runtime specification 1.4, section 9.1 (TableEntry).
"""

from __future__ import annotations

from collections.abc import Mapping

from finsy.proto import p4i, p4r

from softswitch.entities import (
    ActionCall,
    ActionSet,
    FieldMatch,
    GroupRef,
    MemberRef,
    TableAction,
    TableEntry,
    TableKey,
)
from softswitch.server.action_codec import ActionCodec
from softswitch.server.match_codec import FieldCodec
from softswitch.server.status import Code, Refusal

__all__ = ["TableCodec", "decode_weight", "refuse_watch_port"]

_TABLE_ONLY = p4i.ActionRef.TABLE_ONLY
_DEFAULT_ONLY = p4i.ActionRef.DEFAULT_ONLY


class TableCodec:
    """One table."""

    def __init__(
        self,
        table: p4i.Table,
        actions: Mapping[int, ActionCodec],
        profiles: Mapping[int, p4i.ActionProfile],
        direct_counters: frozenset[int],
        direct_meters: frozenset[int],
    ) -> None:
        """`actions` are those of the whole program; the last two hold the ids of direct resources."""
        self.table_id = table.preamble.id
        self.name = table.preamble.name
        self.what = f"table {self.name}"
        self.fields = [FieldCodec(place, field, self.what) for place, field in enumerate(table.match_fields)]
        self._by_id = {field.field_id: field for field in self.fields}
        self._required = tuple(field.position for field in self.fields if field.is_exact)
        self.has_priority = any(field.is_ranked for field in self.fields)
        self._actions = {ref.id: (actions[ref.id], ref.scope) for ref in table.action_refs}
        self.profile = profiles.get(table.implementation_id)
        """What holds the actions of an indirect table; None for a direct one."""
        self.is_const = table.is_const_table
        self.has_const_default = bool(table.const_default_action_id) or self.profile is not None
        self.has_idle_timeout = table.idle_timeout_behavior == p4i.Table.NOTIFY_CONTROL
        self.has_counter = not direct_counters.isdisjoint(table.direct_resource_ids)
        self.has_meter = not direct_meters.isdisjoint(table.direct_resource_ids)

    def decode_key(self, message: p4r.TableEntry) -> TableKey:
        """The key of an entry that is not the default one. Raises `Refusal`."""
        match = self.decode_match(message)
        if not match:
            raise self.invalid("has no key: it holds nothing but its default entry")
        priority = message.priority
        if self.has_priority and priority <= 0:
            raise self.invalid(f"priority {priority}: entries need one above 0 (a field is ternary, range or optional)")
        if priority and not self.has_priority:
            raise self.invalid(f"priority {priority}: entries have none (every field is exact or lpm)")
        return TableKey(self.table_id, match, priority)

    def decode_match(self, message: p4r.TableEntry) -> tuple[FieldMatch | None, ...]:
        """The match fields of an entry, one place for each field of the table. Raises `Refusal`."""
        match: list[FieldMatch | None] = [None] * len(self.fields)
        by_id = self._by_id
        for field_match in message.match:
            field = by_id.get(field_match.field_id)
            if field is None:
                raise self.invalid(f"has no match field id {field_match.field_id}")
            if match[field.position] is not None:
                raise self.invalid(f"match field {field.name} is given twice")
            match[field.position] = field.decode(field_match)
        for place in self._required:
            if match[place] is None:
                raise self.invalid(f"exact match field {self.fields[place].name} is missing")
        return tuple(match)

    def decode_action(self, message: p4r.TableAction) -> TableAction:
        """The action of an entry that is not the default one. Raises `Refusal`."""
        kind = message.WhichOneof("type")
        if kind is None:
            raise self.invalid("entry without an action")
        if self.profile is None:
            if kind != "action":
                raise self.invalid(f"is direct: its entries take an action, not {kind}")
            return self.decode_call(message.action)
        if kind == "action_profile_member_id":
            return MemberRef(self._reference(message.action_profile_member_id, "member"))
        if self.profile.with_selector and kind == "action_profile_group_id":
            return GroupRef(self._reference(message.action_profile_group_id, "group"))
        if self.profile.with_selector and kind == "action_profile_action_set":
            return self._decode_set(message.action_profile_action_set)
        allowed = "a member, a group or an action set" if self.profile.with_selector else "a member"
        raise self.invalid(f"is indirect: its entries take {allowed}, not {kind}")

    def decode_call(self, message: p4r.Action, is_default: bool = False) -> ActionCall:
        """An action this table may run: in an entry, or as its default. Raises `Refusal`."""
        found = self._actions.get(message.action_id)
        if found is None:
            raise self.invalid(f"has no action id {message.action_id:#x}")
        codec, scope = found
        if scope == (_TABLE_ONLY if is_default else _DEFAULT_ONLY):
            place = "not as default" if is_default else "only as default"
            raise Refusal(Code.PERMISSION_DENIED, f"{self.what} takes action {codec.name} {place}")
        return codec.decode(message)

    def check_default_key(self, message: p4r.TableEntry) -> None:
        """Refuse a message about the default entry that has a key or an idle timeout."""
        if message.match or message.priority:
            raise self.invalid("the default entry has neither match fields nor priority")
        if message.idle_timeout_ns or message.HasField("time_since_last_hit"):
            raise self.invalid("the default entry has no idle timeout")

    def check_idle_timeout(self, message: p4r.TableEntry) -> None:
        """Refuse an idle timeout that is negative or that the table does not have."""
        if message.idle_timeout_ns < 0:
            raise self.invalid(f"idle timeout {message.idle_timeout_ns} is negative")
        if not self.has_idle_timeout and (message.idle_timeout_ns or message.HasField("time_since_last_hit")):
            raise self.invalid("does not support idle timeouts")

    def encode_key(self, key: TableKey, into: p4r.TableEntry) -> None:
        """Fill the key part of `into`."""
        into.table_id = self.table_id
        for field, match in zip(self.fields, key.match, strict=True):
            if match is not None:
                field.encode(match, into.match.add())
        if key.priority:
            into.priority = key.priority

    def encode_entry(self, entry: TableEntry, into: p4r.TableEntry) -> None:
        """Fill `into` with all that a client wrote."""
        self.encode_key(entry.key, into)
        self.encode_action(entry.action, into.action)
        if entry.idle_timeout_ns:
            into.idle_timeout_ns = entry.idle_timeout_ns
        if entry.metadata:
            into.metadata = entry.metadata
        if self.is_const:
            into.is_const = True

    def encode_action(self, action: TableAction, into: p4r.TableAction) -> None:
        """Fill `into`."""
        match action:
            case ActionCall():
                self._actions[action.action_id][0].encode(action, into.action)
            case MemberRef():
                into.action_profile_member_id = action.member_id
            case GroupRef():
                into.action_profile_group_id = action.group_id
            case ActionSet():
                for call, weight, _ in action.actions:
                    one = into.action_profile_action_set.action_profile_actions.add(weight=weight)
                    self._actions[call.action_id][0].encode(call, one.action)

    def invalid(self, why: str) -> Refusal:
        """An INVALID_ARGUMENT that names the table."""
        return Refusal(Code.INVALID_ARGUMENT, f"{self.what}: {why}")

    def _reference(self, number: int, kind: str) -> int:
        if not number:
            raise self.invalid(f"{kind} id 0 is no {kind}")
        return number

    def _decode_set(self, message: p4r.ActionProfileActionSet) -> ActionSet:
        if message.action_selection_mode or message.size_semantics:
            text = f"{self.what}: action sets of this switch have no selection mode or size semantics of their own"
            raise Refusal(Code.UNIMPLEMENTED, text)
        profile = self.profile
        actions = []
        for one in message.action_profile_actions:
            refuse_watch_port(one.WhichOneof("watch_kind"), self.what)
            weight = decode_weight(one.weight, profile, self.what)
            actions.append((self.decode_call(one.action), weight, 0))
        limit = profile.max_group_size if profile else 0
        size = (
            len(actions) if profile and profile.HasField("sum_of_members") else sum(weight for _, weight, _ in actions)
        )
        if limit and size > limit:
            raise self.invalid(f"an action set of size {size} is above the selector's limit of {limit}")
        return ActionSet(tuple(actions))


def decode_weight(weight: int, profile: p4i.ActionProfile | None, what: str) -> int:
    """A member's weight, at least 1 (sections 9.2.2 and 9.2.3). Raises `Refusal`."""
    if profile is not None and profile.weights_disallowed:
        if weight:
            raise Refusal(Code.INVALID_ARGUMENT, f"{what}: weight {weight} where the P4Info disallows weights")
        return 1
    if weight <= 0:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: weight {weight} is not above 0")
    heaviest = profile.sum_of_members.max_member_weight if profile is not None else 0
    if heaviest and weight > heaviest:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: weight {weight} is above the selector's limit of {heaviest}")
    return weight


def refuse_watch_port(watch_kind: str | None, what: str) -> None:
    """This switch does not take a member out of a group when its port goes down."""
    if watch_kind is not None:
        raise Refusal(
            Code.UNIMPLEMENTED, f"{what}: watch ports are not supported by this switch; leave {watch_kind} unset"
        )
