"""Whom a switch's schedules name, as read back: what is known of members before anybody has checked them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depot.config.model import VipConfig
from depot.p4runtime.entry import Entry, Table
from depot.switching.desired import member_action, vip_key
from depot.switching.identities import MemberAction

__all__ = ["left_out_members"]


def left_out_members(entries: Sequence[Entry], vips: Iterable[VipConfig]) -> list[tuple[str, str]]:
    """Return the configured members, by names of VIP and member, that the schedule of a VIP the switch serves lacks.

    A schedule that names only members that are configured no more says nothing of the others; an empty one says that
    nobody is to serve.
    """
    members = {e.values[0]: MemberAction(e.action, e.params) for e in entries if e.table is Table.MEMBER}
    slots = {e.values: members.get(e.params[0]) for e in entries if e.table is Table.SCHEDULE}
    served = {e.values: e.params for e in entries if e.table is Table.VIP}
    found = []
    for vip in vips:
        if (params := served.get(tuple(vip_key(vip)))) is None:
            continue
        vip_id, size, _ = params
        named = {slots.get((vip_id, slot)) for slot in range(size)}
        configured = {member.name: member_action(vip, member) for member in vip.members}
        left_out = [(vip.name, name) for name, action in configured.items() if action not in named]
        if size == 0 or len(left_out) < len(configured):
            found += left_out
    return found
