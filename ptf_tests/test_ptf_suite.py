"""The PTF suite on every target, over real veth ports."""

import re
import subprocess

import pytest

from ptf_tests.all_cases import CASES
from ptf_tests.run import ROOT, TARGETS, inside_namespace, missing

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("target", TARGETS)
def test_every_case_over_real_ports(target: str) -> None:
    reason = missing(target)
    if reason is not None:
        pytest.skip(reason)
    command = inside_namespace("ptf_tests.run", "--inside", "--target", target)
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    report = finished.stdout + finished.stderr
    assert finished.returncode == 0, report[-20_000:]
    ran = re.search(r"^Ran (\d+) tests", report, re.MULTILINE)
    assert ran is not None, report
    assert int(ran[1]) == sum(case.wire for case in CASES.values())
