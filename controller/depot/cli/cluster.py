"""The commands about the cluster: `depot cluster …` and `depot connections --cluster`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depot.cli.client import ask
from depot.cli.tables import Column, duration, size, table

__all__ = ["add_commands", "connections"]

if TYPE_CHECKING:
    from collections.abc import Callable

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_PEERS = (
    Column("PEER", "name"), Column("ADDRESS", "address"), Column("UP", "up", lambda up: "yes" if up else "no"),
    Column("CHANNEL", "state"), Column("SINCE", "since", duration), Column("CONNECTIONS", "connections"),
    Column("OPENED BY", "opened_by"), Column("WAITING", "waiting", size), Column("FAILURES", "failures"),
    Column("LAST END", "last_close"), Column("DETAIL", "detail"),
)  # fmt: skip
_SWITCHES = (
    Column("SWITCH", "name"), Column("OWN", "own"), Column("OFF-BOX", "off_box"), Column("HELD", "held_packets"),
    Column("HELD BYTES", "held_bytes", size), Column("RELEASED", "released"), Column("EXPIRED", "expired"),
    Column("OVERFLOWED", "overflowed"), Column("HANDED OFF", "handoffs"),
)  # fmt: skip
_CONNECTIONS = (
    Column("OWNER", "owner"), Column("ACTION", "action"), Column("DIRECTION", "direction"),
    Column("PROTOCOL", "protocol"), Column("CLIENT", "client"), Column("SERVER", "server"),
    Column("AGE", "age", duration), Column("BYTES", "bytes", lambda value: "-" if value is None else size(value)),
)  # fmt: skip


def add_commands(commands: _Commands, add_socket: Callable[[argparse.ArgumentParser], None]) -> None:
    """`depot cluster` with its verbs."""
    cluster = commands.add_parser("cluster", help="this depot as a member of a cluster")
    verbs = cluster.add_subparsers(dest="verb", required=True, metavar="VERB")

    init = verbs.add_parser("init", help="make a certificate authority and certificates for members")
    init.add_argument("directory", type=Path, help="where; an authority that is there already signs the new ones")
    init.add_argument("names", nargs="+", metavar="NAME", help="the members' names in the cluster")
    init.add_argument("--days", type=_days, default=825, metavar="N", help="lifetime, default: %(default)s")
    init.set_defaults(run=_init)

    status = verbs.add_parser("status", help="this member and its peers at a glance")
    add_socket(status)
    status.set_defaults(run=_status)

    leave = verbs.add_parser("leave", help="leave the cluster until the daemon is started again")
    add_socket(leave)
    leave.set_defaults(run=_leave)


def _init(given: argparse.Namespace) -> int:
    from depot.cluster.certificates_shell import CertificateError, issue
    from depot.config.cluster_tables import check_member_name

    try:
        for name in given.names:
            check_member_name(name)
        written = issue(given.directory, given.names, days=given.days)
    except (CertificateError, OSError, ValueError) as error:
        print(f"depot cluster init: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path) for path in written))
    print(f"Each member needs ca.pem, its own .pem and its own .key; keep {given.directory / 'ca.key'} away from all.")
    return 0


def _status(given: argparse.Namespace) -> int:
    """Fails when a peer is not there."""
    return _show(ask(given.socket, "cluster"), given.json)


def _leave(given: argparse.Namespace) -> int:
    _show(ask(given.socket, "cluster-leave"), given.json)
    return 0


def _show(answer: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        tls = "mutual TLS" if answer["tls"] else "no TLS"
        sync = "in sync" if answer["in_sync"] else "not in sync"
        print(f"member {answer['name']}, listens at {answer['listen']}, {tls}, {sync}")
        print(f"{answer['connections']} connections of its own, {answer['known']} of its peers\n")
        print(table(answer["peers"], _PEERS) if answer["peers"] else "no peers")
        print("\n" + table(answer["switches"], _SWITCHES))
    return 0 if all(peer["up"] for peer in answer["peers"]) else 1


def connections(given: argparse.Namespace) -> int:
    """`depot connections --cluster`: the whole network's flows, the youngest first."""
    wanted = {name: getattr(given, name) for name in ("owner", "action", "client")}
    limit = 0 if given.count else given.limit
    answer = ask(given.socket, "connections", cluster=True, limit=limit, **wanted)
    if given.json:
        print(json.dumps(answer, indent=2))
    elif given.count:
        print(answer["count"])
    else:
        print(table(answer["connections"], _CONNECTIONS))
        if hidden := answer["count"] - len(answer["connections"]):
            print(f"and {hidden} more (--limit)")
    return 0


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to 3650")
    return int(text)
