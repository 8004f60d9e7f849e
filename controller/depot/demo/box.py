"""The depot of the lab: a switch program and `depot run`, started as an operator would start them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from depot.demo.configuration import SWITCH_ADDRESS, Service, configuration
from depot.demo.kernel import listens
from depot.demo.lab import Lab, LabError, Process, wait_until
from depot.demo.network import DEPOT, PORTS

__all__ = ["Box", "Engine", "Target", "program"]

_CPU_PORT = 255
_START_SECONDS = 20.0
_ANSWER_SECONDS = 15.0
_ENGINE = re.compile(r"the (\w+) engine switches packets")


class Target(Enum):
    """Which program is the switch."""

    SOFTSWITCH = "softswitch"
    """This project's software switch."""
    BMV2 = "bmv2"
    """The reference: `simple_switch_grpc`."""

    @property
    def program(self) -> str:
        """The program's name."""
        return "simple_switch_grpc" if self is Target.BMV2 else "softswitch"


class Engine(Enum):
    """What switches packets in the software switch."""

    AUTO = "auto"
    """XDP where this machine can, else python."""
    XDP = "xdp"
    """The kernel, or the switch does not start."""
    PYTHON = "python"
    """The switch's process."""


def program(name: str) -> str:
    """Path of one of our commands: beside this Python, where it was installed with us, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise LabError(f"the command {name} is neither beside {sys.executable} nor on the PATH")
    return found


@dataclass(slots=True)
class Box:
    """A switch and its controller in the depot's namespace."""

    lab: Lab
    """Where they run."""
    target: Target = Target.SOFTSWITCH
    """Which switch."""
    switch_address: str = SWITCH_ADDRESS
    """Where the controller finds the switch."""
    engine: Engine = Engine.AUTO
    """Of the software switch."""
    options: tuple[str, ...] = ()
    """More arguments for the software switch."""
    namespace: str = DEPOT
    """Where both run."""
    interfaces: Mapping[int, str] = field(default_factory=lambda: {port.number: port.interface for port in PORTS})
    """The switch's ports, by number."""
    label: str = ""
    """What its files and processes begin with, where there are several depots."""
    switch_starts: int = 0
    """How often the switch was started."""
    switch: Process | None = None
    """The switch program, once started."""
    controller: Process | None = None
    """`depot run`, while it should be running."""
    starts: int = 0
    """How often the controller was started."""

    @property
    def config_file(self) -> Path:
        """The controller's configuration."""
        return self.lab.folder / f"{self.label}depot.toml"

    @property
    def socket(self) -> Path:
        """Where the controller listens for the command line."""
        return self.lab.folder / f"{self.label}depot.sock"

    def configure(self, services: Iterable[Service]) -> None:
        """Write the configuration; a running controller reads it at `reload`."""
        self.config_file.write_text(configuration(services, self.socket, self.switch_address))

    def start_switch(self) -> None:
        """Start the switch; returns when its P4Runtime server listens. Raises LabError."""
        ports = [word for number, name in self.interfaces.items() for word in ("-i", f"{number}@{name}")]
        server = ["--grpc-server-addr", SWITCH_ADDRESS, "--cpu-port", str(_CPU_PORT)]
        if self.target is Target.BMV2:
            events = f"ipc://{self.lab.folder}/{self.label}bmv2-notifications.ipc"
            argv = [self.target.program, "--no-p4", *ports, "--device-id", "1", "--notifications-addr", events]
            argv += ["--", *server]
        else:
            engine = ["--engine", self.engine.value, *self.options]
            argv = [program(self.target.program), *ports, "--device-id", "1", *engine, *server]
        self.switch_starts += 1
        name = f"{self.label}switch" + (f"-{self.switch_starts}" if self.switch_starts > 1 else "")
        self.switch = switch = self.lab.start(self.namespace, name, *argv)
        port = int(SWITCH_ADDRESS.rpartition(":")[2])

        def ready() -> bool:
            self.lab.expect_running(switch)
            return listens(switch.pid, port, 4) or listens(switch.pid, port, 6)

        wait_until(ready, _START_SECONDS, f"{self.target.program} listens at {SWITCH_ADDRESS}")

    def engine_in_use(self) -> str:
        """Who switches packets, as the software switch's log says it since it has its program; "" for another."""
        if self.switch is None:
            raise LabError("the switch does not run")
        said = _ENGINE.findall(self.switch.log.read_text(errors="replace"))
        return said[-1] if said else ""

    def start_controller(self) -> None:
        """Start `depot run`; returns when the switch holds all it should. Raises LabError."""
        self.starts += 1
        argv = [program("depot"), "run", "-c", str(self.config_file)]
        self.controller = self.lab.start(self.namespace, f"{self.label}controller-{self.starts}", *argv)
        self.wait_in_sync()

    def wait_in_sync(self, seconds: float = _START_SECONDS) -> None:
        """Wait until the switch's tables are what the controller wants. Raises LabError."""
        wait_until(self.in_sync, seconds, "the switch's tables equal the desired state", every=0.1)

    def in_sync(self) -> bool:
        """Whether the controller says that its switch holds the desired state. Raises LabError if it has ended."""
        if self.controller is None:
            raise LabError("the controller does not run")
        self.lab.expect_running(self.controller)
        try:
            status = self.ask("status")
        except LabError:
            return False
        return all(switch["in_sync"] for switch in status["switches"])

    def kill_controller(self) -> None:
        """kill -9."""
        if self.controller is None:
            raise LabError("the controller does not run")
        self.controller.kill()
        self.controller = None

    def kill_switch(self) -> None:
        """kill -9."""
        if self.switch is None:
            raise LabError("the switch does not run")
        self.switch.kill()
        self.switch = None

    def stop_controller(self) -> None:
        """Ask it to end, as a service manager does."""
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a `depot` command against the running controller, whatever comes of it."""
        argv = [program("depot"), *words, "--socket", str(self.socket)]
        environment = os.environ | {"COLUMNS": "120"}
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False, env=environment
        )

    def tell(self, *words: str) -> str:
        """Run a `depot` command; what it prints. Raises LabError if it fails."""
        done = self.command(*words)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"depot {' '.join(words)}: status {done.returncode}: {said}")
        return done.stdout

    def ask(self, *words: str) -> Any:
        """What a `depot` command answers with `--json`. Raises LabError if it fails."""
        return json.loads(self.tell(*words, "--json"))
