"""The commands about the gateways behind one address: `depot vmac …`."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depot.cli.client import ask
from depot.cli.tables import Column, duration, table
from depot.vmac.hashing import MAX_BUCKETS

__all__ = ["add_commands"]

KEY_BYTES = 32
_COMMON = "repeated"
"""Refused all the time where there are several LANs: a gateway's frame comes once from each."""

if TYPE_CHECKING:
    from collections.abc import Callable

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_GATEWAYS = (
    Column("GATEWAY", "name"), Column("UP", "up", lambda up: "yes" if up else "no"),
    Column("LOAD", "load", lambda load: "-" if load is None else f"{load:.0%}"), Column("BUCKETS", "buckets"),
    Column("PACKETS/S", "rate", lambda rate: "-" if rate is None else f"{rate:.0f}"),
)  # fmt: skip
_BUCKETS = (
    Column("BUCKET", "bucket"), Column("VIRTUAL MAC", "mac"), Column("OWNER", "owner"),
    Column("PACKETS/S", "rate", lambda rate: "-" if rate is None else f"{rate:.0f}"),
)  # fmt: skip
_MOVES = (
    Column("AGO", "age", duration), Column("BUCKETS", "buckets"), Column("FROM", "from"), Column("TO", "to"),
    Column("WHY", "why"),
)  # fmt: skip


def add_commands(commands: _Commands, add_socket: Callable[[argparse.ArgumentParser], None]) -> None:
    """`depot vmac` with its verbs."""
    vmac = commands.add_parser("vmac", help="the gateways behind one address")
    verbs = vmac.add_subparsers(dest="verb", required=True, metavar="VERB")

    init = verbs.add_parser("init", help="make the key that all gateways share")
    init.add_argument("file", type=Path, help="where; a file that is there already stays as it is")
    init.set_defaults(run=_init)

    status = verbs.add_parser("status", help="gateways with their load, and who owns which bucket")
    status.add_argument("--buckets", action="store_true", help="every bucket with its virtual MAC, owner and rate")
    add_socket(status)
    status.set_defaults(run=_status)

    move = verbs.add_parser("move", help="have a gateway own some buckets")
    move.add_argument("buckets", type=_buckets, help="numbers and ranges from 0: 3,8-15")
    move.add_argument("gateway", help="its name")
    add_socket(move)
    move.set_defaults(run=_move)


def _init(given: argparse.Namespace) -> int:
    try:
        descriptor = os.open(given.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        print(f"depot vmac init: {given.file}: {error.strerror}", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
    print(f"{given.file}: copy it to every gateway, and nobody else; whoever has it may speak for a gateway.")
    return 0


def _status(given: argparse.Namespace) -> int:
    """Fails when a gateway is not there, a bucket is nobody's, or this gateway takes no part."""
    answer = ask(given.socket, "vmac")
    if given.json:
        print(json.dumps(answer, indent=2))
    else:
        _show(answer, with_buckets=given.buckets)
    is_whole = all(one["up"] for one in answer["gateways"]) and not answer["ownerless"]
    return 0 if is_whole and not answer["state"] else 1


def _show(answer: dict[str, Any], *, with_buckets: bool) -> None:
    macs = f"{answer['count']} virtual MACs from {answer['base']} ({answer['hash']})"
    print(f"{', '.join(answer['addresses'])} behind {macs}")
    print(f"mode {answer['mode']}, {answer['balancing']}{', ' + answer['state'] if answer['state'] else ''}\n")
    print(table(answer["gateways"], _GATEWAYS))
    if answer["ownerless"]:
        print(f"\n{answer['ownerless']} buckets are nobody's")
    if answer["moves"]:
        is_said = any(one["why"] for one in answer["moves"])
        print("\n" + table(answer["moves"], _MOVES if is_said else _MOVES[:-1]))
    if with_buckets:
        print("\n" + table(answer["buckets"], _BUCKETS))
    told = {name: count for name, count in answer["counts"].items() if count and name != _COMMON}
    if told:
        print("\nmessages since the start: " + ", ".join(f"{name} {count}" for name, count in told.items()))


def _move(given: argparse.Namespace) -> int:
    answer = ask(given.socket, "vmac-move", buckets=given.buckets, gateway=given.gateway)
    if given.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['ordered']} buckets go to {given.gateway}; `depot vmac status` shows when they are there")
    return 0


def _buckets(text: str) -> list[int]:
    """The numbers in order, each once."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"{part!r} is neither a bucket nor a range of them like 8-15")
        if int(last or first) >= MAX_BUCKETS:
            raise argparse.ArgumentTypeError(f"{part!r} is out of range; buckets are numbered 0 to {MAX_BUCKETS - 1}")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)
