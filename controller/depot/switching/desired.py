"""Which entries make a switch serve the configured VIPs: configuration and schedules in, entries out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from depot.config.model import MemberConfig, Mode, SchedulerKind, VipConfig
from depot.p4runtime.entry import Action, Entry, Table, nat_source_entry, schedule_entry, vip_entry
from depot.switching.access_policy import InterceptingService
from depot.switching.identities import Identities, MemberAction, VipKey

__all__ = [
    "intercepting_services", "member_action", "member_destination", "member_entry", "service_entries", "vip_key",
]  # fmt: skip


def vip_key(vip: VipConfig) -> VipKey:
    """What makes this VIP; a transparent one has nothing but its name."""
    if vip.transparent:
        return VipKey(-1 - int.from_bytes(vip.name.encode(), "big"), 0, int(vip.protocol))
    return VipKey(vip.address, vip.port, int(vip.protocol))


def member_action(vip: VipConfig, member: MemberConfig) -> MemberAction:
    """How packets of this VIP reach the member."""
    if vip.mode is Mode.NAT:
        return MemberAction(Action.NAT_TO_MEMBER, (member.address, member.port))
    if vip.mode is Mode.DSR:
        return MemberAction(Action.DSR_TO_MEMBER, (member.address,))
    return MemberAction(Action.IPIP_TO_MEMBER, (vip.tunnel_source or 0, member.address))


def member_destination(action: MemberAction) -> int:
    """The address that packets for the member are routed by."""
    return action.params[1] if action.action is Action.IPIP_TO_MEMBER else action.params[0]


def member_entry(member_id: int, action: MemberAction) -> Entry:
    """The member's entry."""
    return Entry(Table.MEMBER, (member_id,), action.action, action.params)


def service_entries(
    vips: Iterable[VipConfig], schedules: Mapping[str, Sequence[str]], identities: Identities, now: float
) -> list[Entry]:
    """Return VIPs, members, ways back and schedules as entries.

    schedules: by VIP name, the name of the member that each slot goes to; a VIP without one serves nobody.
    Raises IdentitiesExhaustedError.
    """
    found: list[Entry] = []
    for vip in vips:
        vip_id = identities.vip(vip_key(vip), now)
        ids: dict[str, int] = {}
        for member in vip.members:
            action = member_action(vip, member)
            ids[member.name] = identities.member(action, now)
            found.append(member_entry(ids[member.name], action))
            if vip.mode is Mode.NAT:
                found.append(nat_source_entry(*member.endpoint, int(vip.protocol), *vip.endpoint))
        slots = [ids[name] for name in schedules.get(vip.name, ()) if name in ids]
        found += [schedule_entry(vip_id, slot, member_id) for slot, member_id in enumerate(slots)]
        if not vip.transparent:
            by_hash, protocol = vip.scheduler is SchedulerKind.MAGLEV, int(vip.protocol)
            place = vip.address, vip.port, protocol
            found.append(vip_entry(*place, vip_id, len(slots), by_hash=by_hash, shared=vip.shared))
    return found


def intercepting_services(
    vips: Iterable[VipConfig], schedules: Mapping[str, Sequence[str]], identities: Identities, now: float
) -> dict[str, InterceptingService]:
    """Return what the access policy must know of transparent VIPs, by name."""
    found = {}
    for vip in vips:
        if vip.transparent:
            names = {member.name for member in vip.members}
            slots = sum(name in names for name in schedules.get(vip.name, ()))
            by_hash = vip.scheduler is SchedulerKind.MAGLEV
            found[vip.name] = InterceptingService(identities.vip(vip_key(vip), now), slots, by_hash, vip.shared)
    return found
