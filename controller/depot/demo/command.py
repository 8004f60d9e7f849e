"""The command `depot demo`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn, Protocol

from depot.demo.box import Box, Engine, Target
from depot.demo.cluster_network import CLIENT, OFFICE, SERVER, SITES
from depot.demo.cluster_story import ClusterStory
from depot.demo.configuration import configuration
from depot.demo.farm_story import FarmStory
from depot.demo.lab import Lab, LabError, missing_programs, remove_lab
from depot.demo.member import certificates, member_configuration
from depot.demo.network import CLIENTS, DEPOT
from depot.demo.screen import Finding, Screen, findings_as_json
from depot.demo.story import Story, services

__all__ = ["add_arguments", "main", "run"]

_HELD = 0
_NOT_HELD = 1
_COULD_NOT = 2
_INTERRUPTED = 130
_EXAMPLE_SOCKET = Path("/run/depot.sock")


class _Playable(Protocol):
    """A story on a lab of its own."""

    @property
    def boxes(self) -> Sequence[Box]:
        """Its depots."""

    def tell(self) -> list[Finding]:
        """Play it."""


class _Act(NamedTuple):
    """A story, and how to look around in its lab when it is left standing."""

    begin: Callable[[Lab, Screen, Mapping[str, Any]], _Playable]
    """Make the story; the mapping holds options of `Box`."""
    looks: tuple[str, ...]
    """Commands; {folder} and {prefix} are the lab's."""


class _Play(NamedTuple):
    """What one name on the command line stands for."""

    title: str
    """The first line on the screen; {switch} is the switch's program."""
    programs: tuple[str, ...]
    """What must be installed."""
    acts: tuple[_Act, ...]
    """One after the other, each on a lab of its own."""
    example: Callable[[], str]
    """Its `depot.toml`."""


def _web(lab: Lab, screen: Screen, options: Mapping[str, Any]) -> _Playable:
    return Story(lab, Box(lab, **options), screen)


_PLAYS = {
    "web": _Play(
        "depot demo: two clients, three nginx, one P4 switch ({switch}); half a minute",
        ("ip", "ethtool", "nginx", "curl", "wrk"),
        (
            _Act(
                _web,
                (
                    "depot members --socket {folder}/depot.sock",
                    f"ip netns exec {{prefix}}-{CLIENTS[0].name} curl -s http://203.0.113.80/",
                    f"ip -n {{prefix}}-{DEPOT} link",
                ),
            ),
        ),
        lambda: configuration(services(), _EXAMPLE_SOCKET),
    ),
    "cluster": _Play(
        "depot demo cluster: transparent proxies (Squid) that answers do not come back to ({switch}); a minute",
        ("ip", "ethtool", "nft", "nginx", "curl", "wrk", "squid"),
        (
            _Act(
                ClusterStory,
                (
                    "depot cluster status --socket {folder}/b-depot.sock",
                    "depot connections --cluster --socket {folder}/b-depot.sock",
                    f"ip netns exec {{prefix}}-{CLIENT.node} curl -si http://{SERVER.address(4)}/",
                ),
            ),
            _Act(FarmStory, ("depot cluster status --socket {folder}/c-depot.sock",)),
        ),
        lambda: member_configuration(SITES[0], SITES[1:], OFFICE, _EXAMPLE_SOCKET, certificates(Path(), SITES[0].name)),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the demo's options."""
    story_help = "web: one depot before web servers; cluster: two depots before proxies; default: %(default)s"
    parser.add_argument("story", nargs="?", choices=list(_PLAYS), default="web", help=story_help)
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
    play = _PLAYS[given.story]
    if given.print_config:
        print(play.example(), end="")
        return _HELD
    try:
        _expect_able(Target(given.target), play.programs)
        if given.remove:
            count = remove_lab(given.remove)
            print(f"removed {given.remove}: {count} namespaces")
            return _HELD
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
        return _perform(play, given)
    except LabError as error:
        print(f"depot demo: {error}", file=sys.stderr)
        return _COULD_NOT
    except KeyboardInterrupt:
        print("\ndepot demo: interrupted; everything it made is removed", file=sys.stderr)
        return _INTERRUPTED


def _perform(play: _Play, given: argparse.Namespace) -> int:
    target = Target(given.target)
    screen = Screen(sys.stderr if given.json else sys.stdout)
    screen.plain(play.title.format(switch=target.program))
    options = {"target": target, "engine": Engine(given.engine)}
    findings: list[Finding] = []
    for act in play.acts:
        with Lab(keep=given.keep) as lab:
            story = act.begin(lab, screen, options)
            try:
                findings += story.tell()
            except LabError:
                _show_logs(story, screen)
                raise
            finally:
                if given.keep:
                    _say_how_to_look(lab, act, screen)
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


def _show_logs(story: _Playable, screen: Screen) -> None:
    for process in [process for box in story.boxes for process in (box.switch, box.controller)]:
        if process is not None:
            screen.say(f"last lines of {process.name}:\n{process.log_tail()}")


def _say_how_to_look(lab: Lab, act: _Act, screen: Screen) -> None:
    looks = "\n".join("  " + look.format(folder=lab.folder, prefix=lab.prefix) for look in act.looks)
    screen.say(f"kept standing; files in {lab.folder}\n{looks}\nremove it with: depot demo --remove {lab.prefix}")


def _expect_able(target: Target, programs: Sequence[str]) -> None:
    """Raise LabError if this machine, or this user, cannot run the demo."""
    if os.geteuid() != 0:
        raise LabError("needs root: it makes network namespaces (run it with sudo)")
    missing = missing_programs(programs)
    if missing:
        raise LabError(f"missing programs: {', '.join(missing)} (make setup installs their Debian packages)")
    if target is Target.BMV2 and shutil.which(target.program) is None:
        raise LabError(f"--target bmv2 needs {target.program} on the PATH; --target softswitch needs nothing")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
