"""The PTF suite on every target, over real veth ports."""

import os
import re
import subprocess

import pytest

from ptf_tests.all_cases import CASES
from ptf_tests.run import ROOT, TARGETS, inside_namespace, missing

pytestmark = pytest.mark.netns


def run_suite(target: str, *options: str, seconds: float = 240) -> str:
    """PTF's report of a run that passed."""
    reason = missing(target)
    if reason is not None:
        pytest.skip(reason)
    command = inside_namespace("ptf_tests.run", "--inside", "--target", target, *options)
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
    report = finished.stdout + finished.stderr
    assert finished.returncode == 0, report[-20_000:]
    return report


@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=[pytest.mark.matrix] if name == "softswitch" else []) for name in TARGETS]
)
def test_every_case_over_real_ports(target: str) -> None:
    report = run_suite(target)
    ran = re.search(r"^Ran (\d+) tests", report, re.MULTILINE)
    assert ran is not None, report
    assert int(ran[1]) == sum(case.wire for case in CASES.values())


@pytest.mark.parametrize(
    ("target", "engine"),
    [
        ("softswitch", "python"),
        ("xdp", "python"),
        pytest.param("bmv2", "python", marks=pytest.mark.matrix),
        ("bmv2", "xdp"),
    ],
)
@pytest.mark.soak
def test_random_packets_fare_as_in_the_library(target: str, engine: str) -> None:
    """A short run in `make test`, a longer one in `make soak`."""
    reason = missing("xdp") if engine == "xdp" else None
    if reason is not None:
        pytest.skip(reason)
    batches = "300" if "SOAK_SECONDS" in os.environ else "20"
    report = run_suite(target, "--random", batches, "--seed", "20", "--against", engine)
    assert re.search(r"^\d+ packets compared", report, re.MULTILINE), report
