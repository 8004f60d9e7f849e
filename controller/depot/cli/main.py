"""`depot`: which command is meant, and what the exit status is.

Exit status: 0 done, 1 failed or refused, 2 used wrongly.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from depot.cli import cluster, operate, vmac
from depot.cli.client import DaemonError

__all__ = ["main"]

DEFAULT_SOCKET = "/run/depot.sock"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    given = _parser(words).parse_args(words)
    try:
        status: int = given.run(given)
    except DaemonError as error:
        print(f"depot {given.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone: that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="depot", description="Spreads sessions over members with a programmable switch."
    )
    parser.add_argument("--version", action="version", version=f"depot {operate.program_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_programs(commands, words)
    _add_questions(commands)
    _add_orders(commands)
    cluster.add_commands(commands, _add_socket)
    vmac.add_commands(commands, _add_socket)
    return parser


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _add_programs(commands: _Commands, words: Sequence[str]) -> None:
    run = commands.add_parser("run", help="run the daemon until it is told to stop")
    _add_config(run)
    run.set_defaults(run=operate.run)

    check = commands.add_parser("check-config", help="say what is wrong with a configuration file")
    _add_config(check)
    check.add_argument("--json", action="store_true", help="print problems as JSON")
    check.set_defaults(run=operate.check_config)

    shell = commands.add_parser("shell", help="open p4runtime-shell at a configured switch")
    _add_config(shell)
    shell.add_argument("switch", nargs="?", help="its name; may be left out where there is only one")
    shell.add_argument("--python", metavar="FILE", help="the Python that has p4runtime-shell, default: found")
    shell.add_argument("--election-id", type=int, default=None, metavar="ID", help="default: 1, which only reads")
    shell.set_defaults(run=operate.shell)

    demo = commands.add_parser("demo", help="real sessions over a real switch, with accidents (root)")
    if "demo" in words:  # other commands need not wait until the whole demo is loaded
        operate.add_demo_arguments(demo)
    demo.set_defaults(run=operate.demo)


def _add_questions(commands: _Commands) -> None:
    status = commands.add_parser("status", help="switches and VIPs at a glance")
    _add_socket(status)
    status.set_defaults(run=operate.status)

    members = commands.add_parser("members", help="members with their health, weight and sessions")
    members.add_argument("--vip", help="only this VIP's")
    _add_socket(members)
    members.set_defaults(run=operate.members)

    connections = commands.add_parser("connections", help="sessions, filtered")
    for name in ("vip", "member", "state", "switch"):
        connections.add_argument(f"--{name}", help=f"only of this {name}")
    connections.add_argument("--client", metavar="ADDRESS", help="only from this address; with --cluster: or to it")
    connections.add_argument("--cluster", action="store_true", help="those of all members, whoever owns them")
    connections.add_argument("--owner", metavar="MEMBER", help="with --cluster: only this member's")
    connections.add_argument("--action", choices=("forward", "bypass"), help="with --cluster: only those")
    connections.add_argument("--limit", type=_count, default=1000, metavar="N", help="at most, default: %(default)s")
    connections.add_argument("--count", action="store_true", help="only say how many")
    _add_socket(connections)
    connections.set_defaults(run=operate.connections)

    happened = commands.add_parser("events", help="what happened")
    happened.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")
    happened.add_argument("--sessions", action="store_true", help="with --follow: single sessions too")
    happened.add_argument("--last", "-n", type=_count, default=50, metavar="N", help="default: %(default)s")
    _add_socket(happened)
    happened.set_defaults(run=operate.events)


def _add_orders(commands: _Commands) -> None:
    for name, text in (("drain", "give a member no new sessions"), ("undrain", "give it new sessions again")):
        order = commands.add_parser(name, help=text)
        order.add_argument("member", help="its name")
        order.add_argument("--vip", help="only in this VIP, default: in all")
        _add_socket(order)
        order.set_defaults(run=operate.drain)

    weight = commands.add_parser("weight", help="change a member's share of new sessions")
    weight.add_argument("member", help="its name")
    weight.add_argument("weight", type=_weight, help="0 to 256, or `config` for what the file says")
    weight.add_argument("--vip", help="only in this VIP, default: in all")
    _add_socket(weight)
    weight.set_defaults(run=operate.weight)

    reload = commands.add_parser("reload", help="have the daemon read its file again")
    _add_socket(reload)
    reload.set_defaults(run=operate.reload)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", "-c", type=Path, required=True, metavar="FILE", help="the configuration, TOML")


def _add_socket(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("DEPOT_SOCKET", DEFAULT_SOCKET))
    parser.add_argument(
        "--socket", type=Path, default=default, metavar="FILE",
        help="the daemon's socket, default: $DEPOT_SOCKET or %(default)s",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def _weight(text: str) -> int | None:
    if text == "config":
        return None
    if not text.isdigit() or int(text) > 256:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 to 256 nor `config`")
    return int(text)
