"""The command where the XDP engine cannot run: `--engine xdp` says why and ends, `auto` says why and goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.softswitch_process import PATIENCE, SoftswitchProcess, command, environment
from sw_fallback.tests.test_ports_netns import receive

from softswitch.engine.xdp.availability import BTF, why_not
from softswitch.ports import PacketSocketPort

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not on the PATH"),
    pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not on the PATH"),
]

FRAME = bytes(range(60))


@dataclass(frozen=True)
class Lack:
    """Something that the engine needs and a process can be started without."""

    prefix: tuple[str, ...]
    """In front of the command."""
    says: str
    """Part of the reason."""


LACKS = {
    # the packet sockets of the python engine are all that is left to this one
    "privileges": Lack(
        ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_raw"), "it needs root, or the capabilities CAP_BPF"
    ),
    "clang": Lack(("env", "PATH=/nonexistent"), "clang is not on the PATH: install the package clang"),
    "BTF": Lack(
        ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {BTF.parent} && exec "$@"', "sh"),
        f"the kernel has no type information of its own ({BTF}",
    ),
}


@pytest.fixture(params=LACKS.values(), ids=list(LACKS))
def lack(request: pytest.FixtureRequest) -> Lack:
    found: Lack = request.param
    return found


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        for number in (1, 9):
            made.veth(f"switch{number}", f"test{number}")
        yield made


def arguments(program: str) -> tuple[str, ...]:
    """For a switch with two ports."""
    made = CompiledProgram(program)
    ports = ("-i", "1@switch1", "-i", "9@switch9")
    return ("--cpu-port", "500", "--p4info", str(made.p4info_path), "--config", str(made.json_path), *ports)


def refused(engine_arguments: tuple[str, ...], prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    words = [*prefix, *command(), "--grpc-server-addr", "127.0.0.1:0", *engine_arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=False)


def exchange(prefix: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> str:
    """Send a frame through a switch that chooses its engine; what it logged."""
    process = SoftswitchProcess("--engine", "auto", *arguments("timestamps"), *more, prefix=prefix)
    with ExitStack() as held:
        ends = [PacketSocketPort(number, f"test{number}") for number in (1, 9)]
        for end in ends:
            end.open()
            held.callback(end.close)
        with process:
            ends[0].send(FRAME)
            (left,) = receive(ends[1])
    assert len(left) == len(FRAME)
    assert left[20:] == FRAME[20:]
    return process.log


def test_xdp_says_why_and_ends_with_1(space: Namespace, lack: Lack) -> None:
    ended = refused(("--engine", "xdp", *arguments("timestamps")), lack.prefix)
    assert ended.returncode == 1
    assert ended.stderr.startswith("softswitch: the XDP engine cannot run here: ")
    assert lack.says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_auto_says_why_once_and_switches_with_the_python_engine(space: Namespace, lack: Lack) -> None:
    log = exchange(lack.prefix)
    (said,) = [line for line in log.splitlines() if "the XDP engine cannot run here" in line]
    assert lack.says in said
    assert "WARNING" in said
    assert "python engine" in said


def test_a_program_that_xdp_does_not_run(space: Namespace) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    ended = refused(("--engine", "xdp", *arguments("stacks")))
    assert ended.returncode == 1
    assert ended.stderr.startswith("softswitch: ")
    assert "header stack 'labels'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_auto_runs_such_a_program_with_the_python_engine(space: Namespace) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    made = CompiledProgram("stacks")
    program = ("--p4info", str(made.p4info_path), "--config", str(made.json_path))
    with SoftswitchProcess("--engine", "auto", *program, "-i", "1@switch1") as switch:
        pass
    (said,) = [line for line in switch.log.splitlines() if "does not run this program" in line]
    assert "header stack 'labels'" in said
    assert "the python engine switches packets" in switch.log


@pytest.mark.parametrize(
    ("link", "says"),
    [
        (("mtu", "9000", "type", "veth", "peer", "name", "other", "mtu", "9000"), "MTU"),
        (("type", "bridge"), "native XDP"),
    ],
    ids=["large-mtu", "bridge"],
)
def test_an_interface_that_xdp_cannot_have(space: Namespace, link: tuple[str, ...], says: str) -> None:
    """The reason names the interface; `auto` goes on with the python engine at every port."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    space.ip("link", "add", "bulky", *link)
    space.ip("link", "set", "bulky", "up")
    ended = refused(("--engine", "xdp", *arguments("timestamps"), "-i", "3@bulky"))
    assert ended.returncode == 1
    assert "bulky" in ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    log = exchange(more=("-i", "3@bulky"))
    (said,) = [line for line in log.splitlines() if "WARNING" in line and "bulky" in line]
    assert says in said
    assert "the python engine switches packets" in log


def test_auto_takes_xdp_where_it_can(space: Namespace) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    for end in ("test1", "test9"):  # a veth takes redirected frames only where it polls
        subprocess.run(["ethtool", "-K", end, "gro", "on"], check=True, capture_output=True)
    log = exchange()
    assert "the XDP engine switches packets" in log
    assert "python engine" not in log
