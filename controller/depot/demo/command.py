"""The command `depot demo`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from depot.demo.box import Box, Engine, Target
from depot.demo.configuration import configuration
from depot.demo.lab import Lab, LabError, missing_programs, remove_lab
from depot.demo.network import CLIENTS, DEPOT
from depot.demo.screen import Finding, Screen, findings_as_json
from depot.demo.story import Story, services

__all__ = ["add_arguments", "main", "run"]

_HELD = 0
_NOT_HELD = 1
_COULD_NOT = 2
_INTERRUPTED = 130
_NEEDED = ("ip", "ethtool", "nginx", "curl", "wrk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the demo's options."""
    targets = [target.value for target in Target]
    parser.add_argument("--target", choices=targets, default="softswitch", help="the switch, default: %(default)s")
    engines = [engine.value for engine in Engine]
    engine_help = "what switches packets in the software switch, default: %(default)s (XDP if possible)"
    parser.add_argument("--engine", choices=engines, default="auto", help=engine_help)
    parser.add_argument("--keep", action="store_true", help="leave everything standing and say how to look around")
    parser.add_argument("--json", action="store_true", help="print the closing table as JSON, the story to stderr")
    parser.add_argument("--print-config", action="store_true", help="print its depot.toml, an example, and do no more")
    parser.add_argument("--remove", metavar="PREFIX", help="remove what an earlier run left standing, and do no more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo from a command line of its own; the exit status."""
    parser = argparse.ArgumentParser(prog="depot demo", description="Real sessions over a real switch, with accidents.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def run(given: argparse.Namespace) -> int:
    """Run the demo.

    Returns 0 if all that is claimed held, 1 if not, 2 if it could not be run here, 130 after Ctrl-C or SIGTERM.
    """
    if given.print_config:
        print(configuration(services(), Path("/run/depot.sock")), end="")
        return _HELD
    try:
        _expect_able(Target(given.target))
        if given.remove:
            count = remove_lab(given.remove)
            print(f"removed {given.remove}: {count} namespaces")
            return _HELD
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
        return _play(given)
    except LabError as error:
        print(f"depot demo: {error}", file=sys.stderr)
        return _COULD_NOT
    except KeyboardInterrupt:
        print("\ndepot demo: interrupted; everything it made is removed", file=sys.stderr)
        return _INTERRUPTED


def _play(given: argparse.Namespace) -> int:
    target = Target(given.target)
    screen = Screen(sys.stderr if given.json else sys.stdout)
    screen.plain(f"depot demo: two clients, three nginx, one P4 switch ({target.program}); half a minute")
    with Lab(keep=given.keep) as lab:
        story = Story(lab, Box(lab, target, engine=Engine(given.engine)), screen)
        try:
            findings = story.tell()
        except LabError:
            _show_logs(story, screen)
            raise
        finally:
            if given.keep:
                _say_how_to_look(lab, screen)
            else:
                screen.say("removing everything")
    return _close(findings, screen, given.json)


def _close(findings: Sequence[Finding], screen: Screen, as_json: bool) -> int:
    screen.table(findings)
    failed = sum(not finding.held for finding in findings)
    screen.plain()
    screen.plain(f"{failed} of {len(findings)} claims did NOT hold" if failed else f"all {len(findings)} claims held")
    if as_json:
        print(findings_as_json(findings))
    return _NOT_HELD if failed else _HELD


def _show_logs(story: Story, screen: Screen) -> None:
    for process in (story.box.switch, story.box.controller):
        if process is not None:
            screen.say(f"last lines of {process.name}:\n{process.log_tail()}")


def _say_how_to_look(lab: Lab, screen: Screen) -> None:
    socket = lab.folder / "depot.sock"
    screen.say(
        f"kept standing; files in {lab.folder}\n"
        f"  depot members --socket {socket}\n"
        f"  ip netns exec {lab.full_name(CLIENTS[0].name)} curl -s http://203.0.113.80/\n"
        f"  ip -n {lab.full_name(DEPOT)} link\n"
        f"remove it with: depot demo --remove {lab.prefix}"
    )


def _expect_able(target: Target) -> None:
    """Raise LabError if this machine, or this user, cannot run the demo."""
    if os.geteuid() != 0:
        raise LabError("needs root: it makes network namespaces (run it with sudo)")
    missing = missing_programs(_NEEDED)
    if missing:
        raise LabError(f"missing programs: {', '.join(missing)} (make setup installs their Debian packages)")
    if target is Target.BMV2 and shutil.which(target.program) is None:
        raise LabError(f"--target bmv2 needs {target.program} on the PATH; --target softswitch needs nothing")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
