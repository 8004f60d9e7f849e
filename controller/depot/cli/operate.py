"""The commands of `depot`, each given its parsed arguments and returning the exit status. What a command needs is
imported when it runs, so that questions are answered quickly."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from depot.cli import cluster
from depot.cli.client import ask, follow
from depot.cli.tables import Column, duration, percent, seconds, size, table

__all__ = [
    "add_demo_arguments", "check_config", "connections", "demo", "drain", "events", "members", "program_version",
    "reload", "run", "shell", "status", "weight",
]  # fmt: skip

_SWITCHES = (
    Column("SWITCH", "name"), Column("ADDRESS", "address"), Column("ROLE", "role"),
    Column("TABLES", "in_sync", lambda ok: "in sync" if ok else "not in sync"), Column("SESSIONS", "sessions"),
    Column("NEIGHBOURS", "neighbours"), Column("BACKLOG", "backlog"), Column("WRITTEN", "updates_written"),
    Column("REFUSED", "updates_failed"),
)  # fmt: skip
_VIPS = (
    Column("VIP", "name"), Column("ADDRESS", "address"), Column("PORT", "port"), Column("PROTOCOL", "protocol"),
    Column("MODE", "mode"), Column("SCHEDULER", "scheduler"), Column("UP", "members_up"), Column("OF", "members"),
    Column("SESSIONS", "sessions"), Column("SLOTS", "slots"),
)  # fmt: skip
_MEMBERS = (
    Column("VIP", "vip"), Column("MEMBER", "name"), Column("ADDRESS", "address"), Column("PORT", "port"),
    Column("STATE", "state"), Column("SINCE", "since", duration), Column("WEIGHT", "weight"),
    Column("SHARE", "share", percent), Column("SESSIONS", "sessions"), Column("OPENED", "opened"),
    Column("RESPONSE", "response_time", seconds), Column("BYTES", "bytes", size), Column("CHECK", "detail"),
)  # fmt: skip
_CONNECTIONS = (
    Column("SWITCH", "switch"), Column("VIP", "vip"), Column("PROTOCOL", "protocol"), Column("CLIENT", "client"),
    Column("SERVICE", "service"), Column("MEMBER", "member"), Column("STATE", "state"), Column("AGE", "age", duration),
)  # fmt: skip


def program_version() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("p4depot")
    except PackageNotFoundError:
        return "unknown"


# Programs


def run(given: argparse.Namespace) -> int:
    """`depot run`."""
    from depot.config import ConfigError, load
    from depot.daemon.run import run as run_daemon

    try:
        config = load(given.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return run_daemon(config, given.config.resolve())


def check_config(given: argparse.Namespace) -> int:
    """`depot check-config`."""
    from depot.config import ConfigError, load

    try:
        config = load(given.config)
    except ConfigError as error:
        if given.json:
            found = [{"line": one.line, "key": one.key, "message": one.message} for one in error.problems]
            print(json.dumps({"ok": False, "problems": found}, indent=2))
        else:
            print(error, file=sys.stderr)
        return 1
    count = sum(len(vip.members) for vip in config.vips)
    if given.json:
        print(json.dumps({"ok": True, "problems": []}, indent=2))
    else:
        print(f"{given.config}: good: {len(config.switches)} switches, {len(config.vips)} VIPs, {count} members")
    return 0


def shell(given: argparse.Namespace) -> int:
    """`depot shell`."""
    from depot.cli.shell import open_shell

    return open_shell(given.config, given.switch, given.python, given.election_id)


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `depot demo`."""
    from depot.demo import add_arguments

    add_arguments(parser)


def demo(given: argparse.Namespace) -> int:
    """`depot demo`."""
    from depot.demo import run as run_demo

    return run_demo(given)


# Questions


def status(given: argparse.Namespace) -> int:
    """`depot status`; fails when a switch is not as it should be."""
    answer = ask(given.socket, "status")
    if given.json:
        _print_json(answer)
    else:
        print(f"depot {answer['name']} {answer['version']}, pid {answer['pid']}, up {duration(answer['uptime'])}")
        print(f"configuration {answer['config']}\n")
        print(table(answer["switches"], _SWITCHES))
        for switch in answer["switches"]:
            if switch["trouble"]:
                print(f"{switch['name']}: {switch['trouble']}")
        print("\n" + (table(answer["vips"], _VIPS) if answer["vips"] else "no VIPs"))
        if (member := answer["cluster"]) is not None:
            print(
                f"\ncluster member {member['name']}: {member['peers_up']} of {member['peers']} peers up, "
                f"{member['connections']} connections of its own, {member['known']} of theirs"
            )
    return 0 if all(switch["in_sync"] for switch in answer["switches"]) else 1


def members(given: argparse.Namespace) -> int:
    """`depot members`."""
    return _print_rows(ask(given.socket, "members", vip=given.vip), _MEMBERS, given.json)


def connections(given: argparse.Namespace) -> int:
    """`depot connections`."""
    if given.cluster:
        return cluster.connections(given)
    wanted = {name: getattr(given, name) for name in ("vip", "member", "state", "switch", "client")}
    answer = ask(given.socket, "connections", limit=0 if given.count else given.limit, **wanted)
    if given.json:
        _print_json(answer)
    elif given.count:
        print(answer["count"])
    else:
        print(table(answer["connections"], _CONNECTIONS))
        hidden = answer["count"] - len(answer["connections"])
        if hidden:
            print(f"and {hidden} more (--limit)")
    return 0


def events(given: argparse.Namespace) -> int:
    """`depot events`."""
    if not given.follow:
        for event in ask(given.socket, "events", last=given.last):
            _print_event(event, given.json)
        return 0
    for event in follow(given.socket, last=given.last, sessions=given.sessions):
        _print_event(event, given.json)
        sys.stdout.flush()
    return 0


# Orders


def drain(given: argparse.Namespace) -> int:
    """`depot drain` and `depot undrain`."""
    return _print_rows(ask(given.socket, given.command, member=given.member, vip=given.vip), _MEMBERS, given.json)


def weight(given: argparse.Namespace) -> int:
    """`depot weight`."""
    answer = ask(given.socket, "weight", member=given.member, weight=given.weight, vip=given.vip)
    return _print_rows(answer, _MEMBERS, given.json)


def reload(given: argparse.Namespace) -> int:
    """`depot reload`."""
    answer = ask(given.socket, "reload")
    if given.json:
        _print_json(answer)
    else:
        print("\n".join(["reloaded", *answer["notes"]]))
    return 0


def _print_rows(rows: list[dict[str, Any]], columns: tuple[Column, ...], as_json: bool) -> int:
    if as_json:
        _print_json(rows)
    else:
        print(table(rows, columns))
    return 0


def _print_json(answer: object) -> None:
    print(json.dumps(answer, indent=2))


def _print_event(event: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(event, separators=(",", ":")))
    else:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
        print(f"{at}.{int(event['time'] % 1 * 1000):03d}  {event['kind']:<20}  {event['text']}")
