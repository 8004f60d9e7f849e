"""Which entries make a switch a member of its cluster and enforce the access policy. Pure."""

from __future__ import annotations

from depot.p4runtime.entry import Entry, EntryKey, originator_entry
from depot.switching.access_policy import AccessPolicy
from depot.switching.desired import intercepting_services
from depot.switching.neighbours import Neighbours
from depot.switching.peer_tunnels import PeerTunnels
from depot.switching.roster import Roster
from depot.switching.routing import Routing

__all__ = ["originator_entries", "policy_entries"]


def policy_entries(policy: AccessPolicy, roster: Roster, tunnels: PeerTunnels, now: float) -> list[Entry]:
    """Return the access policy."""
    services = intercepting_services(roster.vips.values(), roster.schedules, roster.identities, now)
    return policy.entries(services, tunnels.numbers(roster.identities, now))


def originator_entries(roster: Roster, routing: Routing, neighbours: Neighbours) -> list[Entry]:
    """Return who opens connections of its own, perhaps with its clients' addresses: transparent proxies, by MAC."""
    found: dict[EntryKey, Entry] = {}
    for vip in roster.vips.values():
        for member in vip.members if vip.transparent else ():
            ids, hop = roster.ids(vip.name, member.name), routing.next_hop(member.address)
            mac = None if hop is None else neighbours.mac(hop)
            if ids is not None and hop is not None and mac is not None:
                entry = originator_entry(hop.port, mac, *ids)
                found.setdefault(entry.key, entry)
    return list(found.values())
