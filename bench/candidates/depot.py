"""The depot: softswitch with one of its engines, and `depot run`, started as an operator would."""

from __future__ import annotations

import json

from bench.candidates.topology import MEMBERS, START_SECONDS, VIP, Candidate, member_address
from depot.demo.box import program
from depot.demo.kernel import listens
from depot.demo.lab import Lab, LabError, wait_until

__all__ = ["ENGINES", "Depot"]

ENGINES = ("auto", "python", "xdp")
_P4RUNTIME_PORT = 9559
_CPU_PORT = 255
_PORTS = (("clients", "10.1.0.1"), *((f"member{number}", f"10.2.{number}.1") for number in MEMBERS))
"""Interface and address of each port, from port 1."""


class Depot(Candidate):
    """Round robin, NAT, no health checks, as the others have none."""

    title = "depot"

    def __init__(self, lab: Lab, short_name: str, engine: str) -> None:
        super().__init__(lab, short_name)
        self.engine = engine

    @property
    def name(self) -> str:
        return self.title if self.engine == "auto" else f"{self.title}, {self.engine} engine"

    @classmethod
    def missing(cls) -> str | None:
        return None

    def balance(self) -> None:
        for interface, _ in _PORTS:  # they are the switch's: the kernel beside it keeps silent
            settings = {"arp_ignore": 8, "forwarding": 0}
            self.lab.set(self.balancer, {f"ipv4/conf/{interface}/{name}": v for name, v in settings.items()})
        self._start_switch()
        config, socket = self.folder / "depot.toml", self.folder / "depot.sock"
        config.write_text(self._configuration())
        argv = [program("depot"), "run", "-c", str(config)]
        controller = self.lab.start(self.balancer, f"{self.short_name}-controller", *argv)

        def in_sync() -> bool:
            self.lab.expect_running(controller)
            try:
                status = self.lab.run(self.balancer, program("depot"), "status", "--json", "--socket", str(socket))
            except LabError:
                return False
            return all(switch["in_sync"] for switch in json.loads(status)["switches"])

        wait_until(in_sync, START_SECONDS, "the switch's tables equal the desired state", every=0.2)

    def _start_switch(self) -> None:
        argv = [program("softswitch"), "--device-id", "1", "--cpu-port", str(_CPU_PORT), "--log-level", "warning"]
        argv += ["--grpc-server-addr", f"127.0.0.1:{_P4RUNTIME_PORT}"]
        argv += [] if self.engine == "auto" else ["--engine", self.engine]
        for number, (interface, _) in enumerate(_PORTS, 1):
            argv += ["-i", f"{number}@{interface}"]
        switch = self.lab.start(self.balancer, f"{self.short_name}-switch", *argv)

        def ready() -> bool:
            self.lab.expect_running(switch)
            return listens(switch.pid, _P4RUNTIME_PORT, 4) or listens(switch.pid, _P4RUNTIME_PORT, 6)

        wait_until(ready, START_SECONDS, "softswitch serves P4Runtime")

    def _configuration(self) -> str:
        lines = ["[depot]", f'socket = "{self.folder}/depot.sock"', 'log_level = "warning"']
        lines += ["[[switch]]", 'name = "edge"', f'address = "127.0.0.1:{_P4RUNTIME_PORT}"', "device_id = 1"]
        for number, (_, address) in enumerate(_PORTS, 1):
            lines += ["[[switch.port]]", f"number = {number}", f'mac = "02:de:00:00:00:{number:02x}"']
            lines.append(f'addresses = ["{address}/24"]')
        lines += ["[[vip]]", 'name = "web"', f'address = "{VIP}"', "port = 80", "[vip.health]", 'type = "none"']
        for number in MEMBERS:
            lines += ["[[vip.member]]", f'name = "member{number}"', f'address = "{member_address(number)}"']
        return "\n".join(lines) + "\n"
