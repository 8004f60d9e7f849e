"""What the daemon says of its cluster: members and the whole network's connections, as rows of plain JSON values."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from depot.address import Endpoint, parse_address
from depot.cluster import Claim, ConnectionAction
from depot.daemon.cluster_member import ClusterMember
from depot.daemon.daemon import Daemon
from depot.p4runtime.codec import CodecError, Count
from depot.p4runtime.entry import EntryKey, Table, connection_key
from depot.p4runtime.rpc_shell import RpcError
from depot.switching.access_policy import AccessPolicy
from depot.switching.cluster_side import ClusterSide

__all__ = ["NotAMemberError", "cluster_connection_rows", "cluster_status", "connection_row", "member_of"]

Row = dict[str, object]


class NotAMemberError(ValueError):
    """The depot is no member of a cluster."""


def member_of(daemon: Daemon) -> ClusterMember:
    """Return the daemon's membership. Raises NotAMemberError."""
    if daemon.cluster is None:
        raise NotAMemberError("this depot is no member of a cluster; add [cluster] to its file and start it again")
    return daemon.cluster


def cluster_status(daemon: Daemon) -> Row:
    """This member and its peers at a glance. Raises NotAMemberError."""
    member = member_of(daemon)
    mesh, config = member.shell.mesh, member.config
    now = daemon.now()
    by_name = {peer.name: peer for peer in config.peers}
    peers: list[Row] = []
    for view in mesh.peers():
        peer = by_name.get(view.identity)
        peers.append(
            {
                "name": view.identity,
                "address": "" if peer is None or config.nats is not None else str(peer.address),
                "up": view.is_up,
                "state": view.state.value,
                "since": round(now - view.since, 3),
                "connections": view.connections,
                "opened_by": "us" if view.opened_by_us else "them",
                "waiting": view.waiting,
                "failures": view.failures,
                "last_close": "" if view.last_close is None else view.last_close.reason.value,
                "detail": "" if view.last_close is None else view.last_close.detail,
            }
        )
    return {
        "name": config.name,
        "listen": str(config.listen) if config.nats is None else f"nats://{config.nats}",
        "tls": not config.insecure,
        "in_sync": mesh.in_sync,
        "connections": len(mesh.own),
        "known": len(mesh.database),
        "peers": peers,
        "switches": [_switch_row(runner.name, runner.core.cluster) for runner in daemon.runners.values()],
        "statistics": asdict(mesh.statistics),
    }


def _switch_row(name: str, side: ClusterSide) -> Row:
    held = side.holding
    return {
        "name": name,
        "off_box": len(side.peers.off_box),
        "own": len(side.own),
        "held_packets": held.packets,
        "held_bytes": held.octets,
        "relayed": held.relayed,
        **asdict(held.counts),
        **asdict(side.peers.counts),
        "conflicts": side.conflicts,
    }


async def cluster_connection_rows(daemon: Daemon, wanted: Mapping[str, object], limit: int) -> tuple[int, list[Row]]:
    """The whole network's connections that fit: how many, and the youngest of them up to `limit`.

    wanted: any of owner, action, client (an address), each with the value that a connection must have. Raises
    NotAMemberError, AddressError for a bad client.
    """
    member = member_of(daemon)
    client = wanted.get("client")
    address = parse_address(str(client)) if client is not None else None
    owner, action = wanted.get("owner"), wanted.get("action")
    count = 0

    def fitting() -> Iterator[Claim]:
        nonlocal count
        for claim in _claims(member):
            ends = (claim.flow.addr_lo, claim.flow.addr_hi)
            if (
                owner in (None, claim.owner)
                and action in (None, claim.action.name.lower())
                and (address is None or address in ends)
            ):
                count += 1
                yield claim

    youngest = heapq.nlargest(limit, fitting(), key=lambda claim: claim.since) if limit else list(fitting())[:0]
    counts = await _counts(daemon) if youngest else {}
    policy = AccessPolicy(daemon.config.policies, member.config.name)
    return count, [connection_row(claim, policy, counts, daemon.now()) for claim in youngest]


def _claims(member: ClusterMember) -> Iterator[Claim]:
    mesh = member.shell.mesh
    yield from mesh.own.claims()
    for view in mesh.peers():
        yield from mesh.database.claims(view.identity)


async def _counts(daemon: Daemon) -> dict[EntryKey, Count]:
    """Packets and bytes of the connections that have an entry in our switch."""
    found: dict[EntryKey, Count] = {}
    for runner in daemon.runners.values():
        if runner.shell.ready:
            try:
                found |= await runner.shell.read_counts([Table.CONNECTION])
            except (RpcError, CodecError):
                continue  # without them, as for connections that do not pass here
    return found


def connection_row(claim: Claim, policy: AccessPolicy, counts: Mapping[EntryKey, Count], now: float) -> Row:
    """One connection, as a person would describe it."""
    source, destination = claim.flow.client(claim.source_is_hi), claim.flow.server(claim.source_is_hi)
    direction = _direction(claim, source, destination, policy)
    client, server = (destination, source) if direction == "outbound" else (source, destination)
    count = counts.get(connection_key(claim.flow))
    age = now - claim.since
    return {
        "owner": claim.owner,
        "action": claim.action.name.lower(),
        "direction": direction,
        "protocol": {6: "tcp", 17: "udp"}.get(claim.flow.protocol, str(claim.flow.protocol)),
        "client": str(client),
        "server": str(server),
        "age": round(age, 3),
        "since": round(time.time() - age, 3),
        "packets": None if count is None else count.packets,
        "bytes": None if count is None else count.octets,
    }


def _direction(claim: Claim, source: Endpoint, destination: Endpoint, policy: AccessPolicy) -> str:
    """Inbound: a client's, taken by its owner; outbound: opened by the owner's proxy; through: bypassed.

    The source of a forwarded connection is the far end, and a message does not say whether that is a client or a
    server: the access policy does, and a VIP's clients are always far.
    """
    if claim.action is ConnectionAction.BYPASS:
        return "through"
    protocol = claim.flow.protocol
    backwards = policy.rule_for(source, destination, protocol) is None and policy.rule_for(
        destination, source, protocol
    )
    return "outbound" if backwards else "inbound"
