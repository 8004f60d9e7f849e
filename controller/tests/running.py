"""Real programs on loopback for tests: the software switch without ports, and `depot run`. No fixed port or path."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Daemon", "SwitchProcess", "eventually", "until"]

PATIENCE = 20.0


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for other processes until a condition holds; what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return found


async def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """As `eventually`, on an event loop."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.01)
    return found


@dataclass
class SwitchProcess:
    """`softswitch` without ports."""

    options: tuple[str, ...] = ()
    place: str = "127.0.0.1:0"
    process: subprocess.Popen[str] | None = None
    address: str = ""

    @classmethod
    @contextmanager
    def running(cls, *options: str) -> Iterator[SwitchProcess]:
        """A running one."""
        made = cls(options)
        made.start()
        try:
            yield made
        finally:
            made.kill()

    def start(self) -> None:
        """Start it; at the same address as before, if it ran already."""
        argv = [sys.executable, "-m", "softswitch", "--grpc-server-addr", self.address or self.place]
        argv += ["--cpu-port", "255", "--log-level", "error", *self.options]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "softswitch has not started"
        self.address = line.split()[-1]

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@dataclass
class Daemon:
    """`depot run` with a file in a folder of its own."""

    folder: Path
    text: str
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def config_file(self) -> Path:
        """Its configuration."""
        return self.folder / "depot.toml"

    @property
    def socket(self) -> Path:
        """Its socket."""
        return self.folder / "depot.sock"

    @property
    def log(self) -> str:
        """What its last run has said."""
        return (self.folder / f"run-{self.starts}.log").read_text()

    def write(self, text: str | None = None) -> None:
        """Write the file."""
        self.config_file.write_text(f'[depot]\nname = "test"\nsocket = "{self.socket}"\n' + (text or self.text))

    def start(self, *, in_sync: bool = True) -> None:
        """Start it and wait until it answers."""
        if not self.config_file.exists():
            self.write()
        self.starts += 1
        with (self.folder / f"run-{self.starts}.log").open("wb") as log:
            argv = [sys.executable, "-m", "depot", "run", "-c", str(self.config_file)]
            self.process = subprocess.Popen(argv, stderr=log, env=os.environ | self.environment)
        eventually(self._listens, f"the daemon listens; it said: {self.log}")
        eventually(lambda: self.command("members").returncode == 0, f"the daemon answers; it said: {self.log}")
        if in_sync:
            self.wait_in_sync()

    def _listens(self) -> bool:
        """Whether somebody takes connections at its socket: cheaper to ask than by a command."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def wait_in_sync(self) -> None:
        """Wait until every switch holds what it should."""
        eventually(lambda: self.command("status").returncode == 0, "the switches are in sync")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A `depot` command for it, whatever comes of it."""
        argv = [sys.executable, "-m", "depot", *words, "--socket", str(self.socket)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def ask(self, *words: str) -> Any:
        """What a command answers to programs."""
        done = self.command(*words, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.process = None
        return status
