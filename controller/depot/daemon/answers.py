"""What the daemon says of itself: rows of plain JSON values, for tables and programs alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

from depot.address import format_address, parse_address
from depot.config.model import VipConfig
from depot.daemon.daemon import Daemon
from depot.daemon.switch_runner import SwitchRunner
from depot.p4runtime.codec import Count
from depot.p4runtime.entry import EntryKey, Table
from depot.switching.desired import member_action, vip_key
from depot.switching.policy import BYPASS_VIP_ID
from depot.switching.services import MemberStatus
from depot.switching.sessions import SessionView

__all__ = ["connection_rows", "member_row", "member_rows", "status", "switch_row", "vip_rows"]

Row = dict[str, object]

_NOTHING = Count(0, 0)


def program_version() -> str:
    """The installed version."""
    try:
        return version("p4depot")
    except PackageNotFoundError:
        return "unknown"


def status(daemon: Daemon) -> Row:
    """The whole at a glance."""
    return {
        "name": daemon.config.depot.name,
        "version": program_version(),
        "pid": os.getpid(),
        "uptime": round(daemon.now() - daemon.started_at, 3),
        "config": str(daemon.config_file),
        "switches": [switch_row(runner) for runner in daemon.runners.values()],
        "vips": vip_rows(daemon),
        "cluster": cluster_row(daemon),
    }


def cluster_row(daemon: Daemon) -> Row | None:
    """The cluster in one line; None: there is none."""
    if daemon.cluster is None:
        return None
    mesh = daemon.cluster.shell.mesh
    peers = list(mesh.peers())
    return {
        "name": mesh.identity,
        "in_sync": mesh.in_sync,
        "peers": len(peers),
        "peers_up": sum(peer.is_up for peer in peers),
        "connections": len(mesh.own),
        "known": len(mesh.database),
    }


def switch_row(runner: SwitchRunner) -> Row:
    """One switch."""
    core, shell = runner.core, runner.shell
    return {
        "name": runner.name,
        "address": str(runner.config.address),
        "device_id": runner.config.device_id,
        "role": shell.role.value,
        "in_sync": runner.in_sync,
        "trouble": runner.lost_reason,
        "p4runtime": shell.version,
        "sessions": len(core.tracker),
        "neighbours": core.neighbours.count(),
        "entries": {table.value: count for table, count in core.entries_held.items()},
        "backlog": runner.backlog,
        "updates_written": shell.updates_written,
        "updates_failed": shell.updates_failed,
        "connects": shell.connects,
        "differences": runner.differences,
        "drops": {str(index): count.packets for (name, index), count in runner.counters.items()
                  if name == "drops" and count.packets},
    }  # fmt: skip


def vip_rows(daemon: Daemon) -> list[Row]:
    """Every VIP."""
    rows: list[Row] = []
    for vip in daemon.config.vips:
        members = list(daemon.services.members(vip.name))
        count = vip_count(daemon, vip)
        rows.append(
            {
                "name": vip.name,
                "address": "transparent" if vip.transparent else format_address(vip.address),
                "port": vip.port,
                "protocol": vip.protocol.name.lower(),
                "mode": vip.mode.value,
                "scheduler": vip.scheduler.value,
                "members": len(members),
                "members_up": sum(status.state.value == "up" for status in members),
                "sessions": sum(daemon.load(vip.name, status.config.name) for status in members),
                "slots": len(daemon.services.schedules.get(vip.name, ())),
                "packets": count.packets,
                "bytes": count.octets,
            }
        )
    return rows


def member_rows(daemon: Daemon, vip: str | None = None) -> list[Row]:
    """Every member, or those of one VIP."""
    return [member_row(daemon, status) for status in daemon.services.members(vip)]


def member_row(daemon: Daemon, status: MemberStatus) -> Row:
    """One member of one VIP."""
    vip, member = status.vip, status.config
    key = (vip.name, member.name)
    slots = daemon.services.schedules.get(vip.name, ())
    response_time = daemon.checks.monitor.response_time(key)
    health = next((view for view in daemon.checks.monitor.members() if view.key == key), None)
    count = member_count(daemon, status)
    return {
        "vip": vip.name,
        "name": member.name,
        "address": format_address(member.address),
        "port": member.port,
        "state": status.state.value,
        "weight": status.weight,
        "share": round(slots.count(member.name) / len(slots), 4) if slots else 0.0,
        "sessions": daemon.load(*key),
        "opened": daemon.tally.opened[key],
        "unanswered": daemon.tally.unanswered[key],
        "response_time": None if response_time is None else round(response_time, 6),
        "since": round(daemon.now() - (health.since if health else status.since), 3),
        "health": health.state.value if health else "unknown",
        "detail": health.detail if health else "",
        "packets": count.packets,
        "bytes": count.octets,
    }


def vip_count(daemon: Daemon, vip: VipConfig) -> Count:
    """Packets and bytes that came for a VIP before their sessions had entries, as last read."""
    return _sum(daemon, lambda runner: EntryKey(Table.VIP, tuple(vip_key(vip))))


def member_count(daemon: Daemon, status: MemberStatus) -> Count:
    """Packets and bytes that went to a member, as last read; VIPs that reach it in the same way share the count."""
    action = member_action(status.vip, status.config)

    def key(runner: SwitchRunner) -> EntryKey | None:
        member_id = runner.core.identities.find_member(action)
        return None if member_id is None else EntryKey(Table.MEMBER, (member_id,))

    return _sum(daemon, key)


def _sum(daemon: Daemon, key_at: Callable[[SwitchRunner], EntryKey | None]) -> Count:
    packets = octets = 0
    for runner in daemon.runners.values():
        key = key_at(runner)
        if key is not None:
            count = runner.counts.get(key, _NOTHING)
            packets, octets = packets + count.packets, octets + count.octets
    return Count(packets, octets)


def connection_rows(daemon: Daemon, wanted: Mapping[str, object], limit: int) -> tuple[int, list[Row]]:
    """Sessions that fit: how many, and as many of them as `limit` allows. Raises AddressError for a bad client.

    wanted: any of switch, vip, member, state and client (an address), each with the value that a session must have.
    """
    client = wanted.get("client")
    address = parse_address(str(client)) if client is not None else None
    names = {name: value for name, value in wanted.items() if name != "client" and value is not None}
    count = 0
    rows: list[Row] = []
    for runner in daemon.runners.values():
        if names.get("switch", runner.name) != runner.name:
            continue
        for view in runner.core.tracker.sessions():
            vip, member = _names(runner, view)
            row: Row = {"switch": runner.name, "vip": vip, "member": member, "state": view.state.value}
            if (address is not None and view.client.address != address) or not names.items() <= row.items():
                continue
            count += 1
            if len(rows) < limit:
                rows.append(_connection_row(daemon, row, view))
    return count, rows


def _names(runner: SwitchRunner, view: SessionView) -> tuple[str, str]:
    if view.vip_id == BYPASS_VIP_ID:
        return "(bypassed)", "-"
    names = runner.core.names(view.vip_id, view.member_id)
    return names or (runner.core.vip_name(view.vip_id) or "?", f"#{view.member_id} (removed)")


def _connection_row(daemon: Daemon, row: Row, view: SessionView) -> Row:
    server = view.key.high if view.client == view.key.low else view.key.low
    age = daemon.now() - view.opened_at
    return {
        **row,
        "protocol": {6: "tcp", 17: "udp"}.get(view.key.protocol, str(view.key.protocol)),
        "client": str(view.client),
        "service": str(server),
        "age": round(age, 3),
        "opened": round(time.time() - age, 3),
    }
