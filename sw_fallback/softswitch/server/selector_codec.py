"""Action profile members and groups between messages and `softswitch.entities`.

Source: P4Runtime specification 1.4, section 9.2 (ActionProfileMember and ActionProfileGroup).
"""

from __future__ import annotations

from finsy.proto import p4r

from softswitch.entities import GroupMember, SelectorGroup, SelectorMember
from softswitch.server.schema import Schema
from softswitch.server.status import Code, Refusal
from softswitch.server.table_codec import decode_weight, refuse_watch_port

__all__ = ["decode_group", "decode_member", "encode_group", "encode_member", "group_profile"]


def decode_member(schema: Schema, message: p4r.ActionProfileMember) -> SelectorMember:
    """A member for INSERT or MODIFY. Raises `Refusal`."""
    profile = schema.profile(message.action_profile_id)
    what = f"action profile {profile.preamble.name}"
    if not message.member_id:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: member id 0 is no member")
    if not message.HasField("action"):
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: member {message.member_id} without an action")
    action_id = message.action.action_id
    if action_id not in schema.profile_actions[message.action_profile_id]:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: none of its tables has action id {action_id:#x}")
    return SelectorMember(
        message.action_profile_id, message.member_id, schema.actions[action_id].decode(message.action)
    )


def decode_group(schema: Schema, message: p4r.ActionProfileGroup) -> SelectorGroup:
    """A group for INSERT or MODIFY. Raises `Refusal`."""
    what = group_profile(schema, message.action_profile_id)
    profile = schema.profile(message.action_profile_id)
    if not message.group_id:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: group id 0 is no group")
    what = f"{what} group {message.group_id}"
    limit = profile.max_group_size
    if message.max_size < 0 or (limit and not 0 < message.max_size <= limit):
        asked = f"1 to {limit}" if limit else "0 or more"
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: max_size {message.max_size} is not {asked}")
    members = []
    seen: set[int] = set()
    for member in message.members:
        refuse_watch_port(member.WhichOneof("watch_kind"), what)
        if member.member_id in seen:
            raise Refusal(Code.INVALID_ARGUMENT, f"{what}: member {member.member_id} is given twice")
        seen.add(member.member_id)
        members.append(GroupMember(member.member_id, decode_weight(member.weight, profile, what)))
    size = len(members) if profile.HasField("sum_of_members") else sum(member.weight for member in members)
    if message.max_size and size > message.max_size:
        raise Refusal(Code.RESOURCE_EXHAUSTED, f"{what}: size {size} is above its max_size {message.max_size}")
    return SelectorGroup(message.action_profile_id, message.group_id, tuple(members), message.max_size)


def group_profile(schema: Schema, profile_id: int) -> str:
    """The selector's name for errors. Raises `Refusal` when the profile is none or cannot hold groups."""
    profile = schema.profile(profile_id)
    what = f"action profile {profile.preamble.name}"
    if not profile.with_selector:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what} has no selector: it holds members, not groups")
    return what


def encode_member(schema: Schema, member: SelectorMember) -> p4r.Entity:
    """The message."""
    entity = p4r.Entity()
    message = entity.action_profile_member
    message.action_profile_id = member.profile_id
    message.member_id = member.member_id
    schema.actions[member.action.action_id].encode(member.action, message.action)
    return entity


def encode_group(group: SelectorGroup) -> p4r.Entity:
    """The message."""
    entity = p4r.Entity()
    message = entity.action_profile_group
    message.action_profile_id = group.profile_id
    message.group_id = group.group_id
    message.max_size = group.max_size
    for member in group.members:
        message.members.add(member_id=member.member_id, weight=member.weight)
    return entity
