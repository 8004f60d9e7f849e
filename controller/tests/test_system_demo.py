"""`depot demo` as a user meets it: all its claims hold, and nothing is left behind, also after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from controller.tests.system_lab import NEEDS

from depot.demo.box import Target, program
from depot.demo.lab import Lab, LabError, missing_programs, remove_lab
from depot.demo.network import build_network

pytestmark = [
    *NEEDS,
    pytest.mark.skipif(bool(missing_programs(("nginx", "curl", "wrk"))), reason="needs nginx, curl and wrk"),
]


def traces(prefix: str) -> list[str]:
    """What exists of a lab: namespaces, links outside of them, files, processes that name it or run in it."""
    assert prefix.startswith("depot-")
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    namespaces = [line.split()[0] for line in listed if line.startswith(prefix)]
    inside = [
        f"process {pid} in {name}"
        for name in namespaces
        for pid in subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
        ).stdout.split()
    ]
    files = [str(path) for path in Path(tempfile.gettempdir()).glob(prefix + "*")]
    return [*namespaces, *inside, *files, *processes_of(prefix)]


def links() -> set[str]:
    """Interfaces outside the labs' namespaces."""
    listed = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {line.split(": ")[1] for line in listed.splitlines()}


def processes_of(prefix: str) -> list[str]:
    """Command lines that name a lab's prefix, of processes that run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if prefix in words:
                found.append(words)
    return found


def prefix_in(text: str) -> str:
    """The prefix that the demo's first lines tell."""
    return next(line for line in text.splitlines() if "names begin with" in line).split()[-1].rstrip("-")


def start(*words: str) -> subprocess.Popen[str]:
    """The demo in the background."""
    argv = [program("depot"), "demo", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("target", "options"),
    [
        (Target.SOFTSWITCH, ()),
        pytest.param(Target.SOFTSWITCH, ("--engine", "python"), marks=pytest.mark.matrix),
        pytest.param(Target.BMV2, (), marks=pytest.mark.matrix),
    ],
    ids=["softswitch", "softswitch-python", "bmv2"],
)
def test_all_claims_hold(target: Target, options: tuple[str, ...]) -> None:
    if missing_programs([target.program]) and target is Target.BMV2:
        pytest.skip("simple_switch_grpc is not on the PATH")
    before = links()
    demo = start("--json", "--target", target.value, *options)
    out, story = demo.communicate(timeout=200)
    assert demo.returncode == 0, story
    report = json.loads(out)
    assert report["held"] is True
    assert len(report["findings"]) >= 15
    assert all(finding["held"] for finding in report["findings"])
    assert traces(prefix_in(story)) == []
    assert links() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("line", ["nginx runs", "curl http"])
def test_nothing_is_left_after_an_interruption(number: signal.Signals, line: str) -> None:
    demo = start()
    assert demo.stdout is not None
    story = ""
    for text in demo.stdout:
        story += text
        if line in text:
            break
    assert traces(prefix_in(story)) != []
    os.killpg(demo.pid, number)
    demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert traces(prefix_in(story)) == []


def test_nothing_is_left_after_an_error() -> None:
    lab = Lab()
    build_network(lab)
    sleeper = lab.start("client1", "sleeper", "sleep", "1000")
    with pytest.raises(LabError, match="status 3"), lab:
        lab.run("client1", "sh", "-c", "exit 3")
    assert traces(lab.prefix) == []
    assert not sleeper.running


def test_a_kept_lab_is_removed_by_its_name() -> None:
    with Lab(keep=True) as lab:
        build_network(lab)
        sleeper = lab.start("client1", "sleeper", "sleep", "1000")
    assert sleeper.running
    assert lab.full_name("client1") in traces(lab.prefix)
    assert remove_lab(lab.prefix) == len(lab.namespaces) == 8
    assert sleeper.popen.wait(5) != 0
    assert traces(lab.prefix) == []


def test_a_foreign_prefix_is_refused() -> None:
    with pytest.raises(LabError, match="begin with depot-"):
        remove_lab("somebody")
    with pytest.raises(LabError, match="no lab"):
        remove_lab(f"depot-none-{time.time_ns()}")


def test_without_root_it_says_so() -> None:
    code = "import os, sys; from depot.demo.command import main; os.setuid(65534); sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs root" in done.stderr
