"""The command `softswitch` as a child process, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
_ADDRESS = re.compile(r"P4Runtime server on (\S+)$")


class SoftswitchProcess:
    """A running switch; a context manager that ends it."""

    def __init__(self, *arguments: str, address: str = "127.0.0.1:0", prefix: tuple[str, ...] = ()) -> None:
        """`prefix` is put before the command, as in `ip netns exec NAME`."""
        self._process = subprocess.Popen(
            [*prefix, *command(), "--grpc-server-addr", address, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.address = ""
        self.log = ""
        """What it wrote to standard error, once stopped."""

    def __enter__(self) -> SoftswitchProcess:
        if self._process.stdout is None:
            raise RuntimeError("no standard output")
        found = _ADDRESS.search(self._process.stdout.readline().rstrip("\n"))
        if found is None:
            self.stop()
            raise RuntimeError(f"softswitch did not start:\n{self.log}")
        self.address = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """End it like an operator would; its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            _, log = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, log = self._process.communicate()
        except ValueError:  # stopped before
            return self._process.returncode
        self.log += log
        return self._process.returncode

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid


def command() -> list[str]:
    """How to start the switch of this source tree."""
    return [sys.executable, "-m", "softswitch"]


def environment() -> dict[str, str]:
    """Where the child finds the package."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "sw_fallback")}
