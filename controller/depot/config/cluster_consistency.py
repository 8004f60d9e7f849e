"""What must fit together in a cluster: members, tunnels, rules and what they refer to. Reads drafts, notes problems."""

from __future__ import annotations

from collections.abc import Sequence

from depot.address import Prefix, format_address, is_ipv4, same_family
from depot.config.cluster_model import BusKind, PolicyAction
from depot.config.cluster_tables import ClusterDraft, PolicyDraft
from depot.config.problems import KeyPath, ProblemList, format_path
from depot.config.tables import SwitchDraft, VipDraft
from depot.config.values import suggestion

__all__ = ["check_cluster"]


def check_cluster(
    cluster: ClusterDraft | None,
    policies: Sequence[PolicyDraft],
    switches: Sequence[SwitchDraft],
    vips: Sequence[VipDraft],
    problems: ProblemList,
    *,
    is_alone: bool,
) -> None:
    """Note every contradiction. is_alone: there is no ``[cluster]``; `cluster` is None too when it cannot be read."""
    if cluster is not None:
        _check_members(cluster, problems)
        _check_own_tunnel(cluster, switches, problems)
        _check_peer_tunnels(cluster, switches, problems)
    for draft in vips:
        if is_alone and draft.says_shared:
            problems.add((*draft.path, "shared"), "there is no [cluster] to share its sessions with; leave it out")
    first: dict[str, KeyPath] = {}
    for rule in policies:
        if (place := first.setdefault(rule.policy.name, rule.path)) is not rule.path:
            taken = f"policy name {rule.policy.name} is taken already by {format_path((*place, 'name'))}"
            problems.add((*rule.path, "name"), f"{taken} (line {problems.line((*place, 'name'))})")
        _check_families(rule, problems)
        _check_holder(rule, cluster, problems, is_alone=is_alone)
        _check_target(rule, cluster, vips, problems)


def _check_members(draft: ClusterDraft, problems: ProblemList) -> None:
    own = draft.cluster.name
    names: dict[str, KeyPath] = {}
    addresses: dict[str, KeyPath] = {}
    for peer, path in zip(draft.cluster.peers, draft.peer_paths, strict=True):
        if peer.name == own:
            problems.add((*path, "name"), f"{own} is this member itself; [[cluster.peer]] is for the others only")
        _refuse_repeat(names, peer.name, (*path, "name"), f"peer name {peer.name}", problems)
        if draft.cluster.bus is BusKind.NATS:
            continue
        _refuse_repeat(addresses, str(peer.address), (*path, "address"), f"peer address {peer.address}", problems)
        if peer.address == draft.cluster.listen:
            problems.add((*path, "address"), f"{peer.address} is where this member listens itself")


def _refuse_repeat(seen: dict[str, KeyPath], value: str, path: KeyPath, what: str, problems: ProblemList) -> None:
    if value in seen:
        message = f"{what} is taken already by {format_path(seen[value])} (line {problems.line(seen[value])})"
        problems.add(path, message)
    else:
        seen[value] = path


def _check_own_tunnel(draft: ClusterDraft, switches: Sequence[SwitchDraft], problems: ProblemList) -> None:
    if len(switches) > 1:
        message = "a member of a cluster has one switch; let each switch be a member with a depot of its own"
        problems.add((*switches[1].path,), message)
    tunnel, path = draft.cluster.tunnel, (*draft.path, "tunnel")
    _check_one_of_each_family(tunnel, path, problems)
    own = _port_addresses(switches)
    is_known = bool(switches) and all(switch.is_whole for switch in switches)
    for index, address in enumerate(tunnel):
        if is_known and address not in own:
            message = f"{format_address(address)} is no address of a switch port; peers could not reach it"
            problems.add((*path, index), message)


def _port_addresses(switches: Sequence[SwitchDraft]) -> set[int]:
    return {one.address for draft in switches for port in draft.switch.ports for one in port.addresses}


def _check_one_of_each_family(tunnel: Sequence[int], path: KeyPath, problems: ProblemList) -> None:
    if not tunnel:
        problems.add(path, "is empty; give the address where tunnels end, one for each family that is used")
    families = [is_ipv4(address) for address in tunnel]
    for index in range(1, len(tunnel)):
        if families[index] in families[:index]:
            problems.add((*path, index), "is the second address of its family; one is enough")


def _check_peer_tunnels(draft: ClusterDraft, switches: Sequence[SwitchDraft], problems: ProblemList) -> None:
    ours, own = draft.cluster.tunnel, _port_addresses(switches)
    seen: dict[str, KeyPath] = {}
    for peer, peer_path in zip(draft.cluster.peers, draft.peer_paths, strict=True):
        path = (*peer_path, "tunnel")
        _check_one_of_each_family(peer.tunnel, path, problems)
        if ours and peer.tunnel and not any(same_family(one, other) for one in ours for other in peer.tunnel):
            message = "has no address of a family that [cluster] tunnel has too, so there is no tunnel"
            problems.add(path, message)
        for index, address in enumerate(peer.tunnel):
            shown = format_address(address)
            _refuse_repeat(seen, shown, (*path, index), f"tunnel address {shown}", problems)
            if address in own or address in ours:
                problems.add((*path, index), f"{shown} is an address of our own switch")
            elif not _has_way(address, switches):
                message = f"the switch has no way to {shown}; give a port an address in its network or add a route"
                problems.add((*path, index), message)


def _has_way(address: int, switches: Sequence[SwitchDraft]) -> bool:
    """Whether a packet would leave towards an address, as far as the file tells."""
    return any(
        not draft.is_whole
        or draft.switch.port_towards(address) is not None
        or any(address in route.prefix for route in draft.switch.routes)
        for draft in switches
    )


def _check_families(rule: PolicyDraft, problems: ProblemList) -> None:
    policy = rule.policy
    if not policy.clients or not policy.servers:
        return
    sides = {"client": (policy.clients, policy.servers), "server": (policy.servers, policy.clients)}
    for key, (prefixes, others) in sides.items():
        for index, prefix in enumerate(prefixes):
            if not any(_same(prefix, other) for other in others):
                other_side = "server" if key == "client" else "client"
                message = f'{prefix} is of another family than every "{other_side}", so nothing would fit'
                problems.add((*rule.path, key, index) if len(prefixes) > 1 else (*rule.path, key), message)


def _same(one: Prefix, other: Prefix) -> bool:
    return one.ipv4 == other.ipv4


def _check_holder(rule: PolicyDraft, cluster: ClusterDraft | None, problems: ProblemList, *, is_alone: bool) -> None:
    holder, steer = rule.policy.holder, rule.policy.steer
    for key, value in (("holder", holder), ("steer", steer)):
        if value is not None and is_alone:
            problems.add((*rule.path, key), "there is no [cluster]; leave it out, or say who its members are")
    if holder is None or cluster is None or not cluster.has_all_peers:
        return
    members = [cluster.cluster.name, *(peer.name for peer in cluster.cluster.peers)]
    if holder not in members:
        problems.add((*rule.path, "holder"), f"{holder} is no member of the cluster{suggestion(holder, members)}")


def _check_target(
    rule: PolicyDraft, cluster: ClusterDraft | None, vips: Sequence[VipDraft], problems: ProblemList
) -> None:
    """An intercepting rule of ours needs a transparent VIP; one that another member holds, only there."""
    policy = rule.policy
    if policy.action is not PolicyAction.INTERCEPT or policy.to is None:
        return
    if policy.holder is not None and (cluster is None or policy.holder != cluster.cluster.name):
        return
    vip = next((draft.vip for draft in vips if draft.vip.name == policy.to), None)
    at = (*rule.path, "to")
    if vip is None:
        known = [draft.vip.name for draft in vips if draft.vip.transparent]
        hint = suggestion(policy.to, known) if known else "; add [[vip]] with this name and transparent = true"
        problems.add(at, f"there is no VIP {policy.to}{hint}")
    elif not vip.transparent:
        problems.add(
            at, f"VIP {policy.to} is not transparent; give it transparent = true and no address, or name another"
        )
    elif vip.protocol not in policy.protocols:
        message = f"VIP {policy.to} is for {vip.protocol.name}, which this rule does not let through"
        problems.add(at, message)
    elif len(policy.protocols) > 1:
        name = vip.protocol.name
        message = f'VIP {policy.to} is for {name} only; say protocol = "{name.lower()}"'
        problems.add(rule.path, message)
