"""A channel under coverage-guided fuzzing, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_coverage_guided_bytes_in_every_state(tmp_path: Path) -> None:
    """As long as SOAK_SECONDS says; three seconds without."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python or machine")
    seconds = int(float(os.environ.get("SOAK_SECONDS", "3")))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "controller.tests.fuzz_channel",
            f"-max_total_time={seconds}",
            f"-artifact_prefix={tmp_path}/",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None, done.stderr[-4000:]
    print(f"{runs[0]} in {seconds} s")
    assert int(runs[1]) > 100
