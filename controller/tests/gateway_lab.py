"""The lab of the gateways' system tests: two LANs with ordinary hosts, and depots between them that share one address.

       host11  host12  host13                                  host21
          |       |       |                                       |
    ======+=======+=======+====+======+======+= left    right =+==+====+======+==
                               |      |      |                 |       |      |
                            1 [g1] 2  |      |                 g1      |      |
                                   1 [g2] 2  |                         g2     |
                                          1 [g3] 2                            g3

Both LANs are plain Linux bridges that learn; each gateway has a port in both, and the hosts of both have the shared
address as their default route. The gateways speak with each other in a LAN of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.tests.system_lab import PATIENCE, PORT, TRAFFIC, Conversation

from depot.demo.box import Box, Engine, program
from depot.demo.configuration import SWITCH_ADDRESS, toml_table
from depot.demo.kernel import listens
from depot.demo.lab import Lab, LabError, wait_until
from depot.demo.topology import FAMILIES, Lan, Leg, Port, Route, add_host, add_lans, add_switch

__all__ = ["GATEWAYS", "HOSTS", "LEFT", "RIGHT", "SERVER", "SHARED", "GatewayLab"]

LEFT, RIGHT = Lan("left", "10.1.0", "fd00:1"), Lan("right", "10.2.0", "fd00:2")
CONTROL = Lan("control", "192.0.2", "2001:db8:2")
SHARED = {LEFT: Leg("shared", LEFT, 1), RIGHT: Leg("shared", RIGHT, 1)}
"""The gateway's address that the hosts know."""
HOSTS = tuple(Leg(f"host{number}", LEFT, number) for number in (11, 12, 13))
SERVER = Leg("host21", RIGHT, 21)
GATEWAYS = ("g1", "g2", "g3")
SETTINGS = {"report_interval": "500ms", "decision_interval": "1s", "learning_interval": "5s", "balancing": "none"}
"""Quicker than shipped, and no move that a test has not asked for."""


@dataclass
class GatewayLab:
    """Everything running, and how the tests speak with it."""

    lab: Lab
    engine: Engine = Engine.AUTO
    boxes: dict[str, Box] = field(default_factory=dict)
    """The gateways by name."""
    drivers: dict[str, Conversation] = field(default_factory=dict)
    """What holds sessions, by host."""

    @classmethod
    def build(
        cls, lab: Lab, names: Sequence[str] = GATEWAYS, engine: Engine = Engine.AUTO, **settings: object
    ) -> GatewayLab:
        """Network, hosts and gateways; returns when every bucket has its owner."""
        found = cls(lab, engine)
        add_lans(lab, (LEFT, RIGHT, CONTROL))
        for leg in (*HOSTS, SERVER):
            add_host(lab, leg, routes=[Route(None, SHARED[leg.lan])])
        key = lab.folder / "vmac.key"
        subprocess.run([program("depot"), "vmac", "init", str(key)], check=True, capture_output=True)
        for name in GATEWAYS:
            found.boxes[name] = found._box(name, key, settings)
        for name in names:
            found.start(name)
        found.wait_settled(names)
        server = lab.start(SERVER.node, "server", sys.executable, TRAFFIC, "serve", SERVER.node, str(PORT))
        wait_until(lambda: listens(server.pid, PORT, 6), 10.0, "the server listens")
        for leg in HOSTS:
            argv = [sys.executable, TRAFFIC, "drive"]
            process = lab.start(leg.node, f"driver-{leg.node}", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            found.drivers[leg.node] = Conversation(process)
        return found

    def _box(self, name: str, key: Path, settings: dict[str, Any]) -> Box:
        number = GATEWAYS.index(name) + 1
        ports = [Port(n, Leg(name, lan, 100 + number), f"02:de:00:00:{n:02x}:{number:02x}")
                 for n, lan in ((1, LEFT), (2, RIGHT))]  # fmt: skip
        add_switch(self.lab, ports, Leg(name, CONTROL, number))
        interfaces = {port.number: port.interface for port in ports}
        box = Box(self.lab, engine=self.engine, namespace=name, interfaces=interfaces, label=f"{name}-")
        box.config_file.write_text(configuration(name, ports, box.socket, key, settings))
        return box

    # Gateways

    def start(self, name: str) -> None:
        """Start a gateway's switch and controller."""
        box = self.boxes[name]
        box.start_switch()
        box.start_controller()

    def kill(self, name: str) -> None:
        """kill -9 of a gateway: its switch, then its controller."""
        self.boxes[name].kill_switch()
        self.boxes[name].kill_controller()

    def stop(self, name: str) -> None:
        """End a gateway in order: what it owns is handed over first."""
        self.boxes[name].stop_controller()
        self.boxes[name].kill_switch()

    def status(self, name: str) -> dict[str, Any]:
        """What `depot vmac status` says. Raises LabError."""
        done = self.boxes[name].command("vmac", "status", "--json")  # its status is 1 when a gateway is not there
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise LabError(f"depot vmac status: {(done.stderr or done.stdout).strip()}") from None
        return answer

    def owners(self, name: str) -> list[str | None]:
        """Who owns each bucket, as one gateway sees it."""
        return [row["owner"] for row in self.status(name)["buckets"]]

    def wait_settled(self, names: Sequence[str], seconds: float = 30.0) -> None:
        """Wait until these gateways own all buckets in shares that differ by one, and agree on them."""

        def settled() -> bool:
            views = [self.owners(name) for name in names]
            counts = [views[0].count(name) for name in names]
            agreed = all(view == views[0] for view in views)
            return agreed and sum(counts) == len(views[0]) and max(counts) - min(counts) <= 1

        wait_until(settled, seconds, f"{', '.join(names)} share all buckets", every=0.1)

    def move(self, buckets: str, to: str) -> None:
        """Have a gateway own buckets; returns when all that live say so."""
        alive = [name for name, box in self.boxes.items() if box.controller is not None]
        self.boxes[alive[0]].tell("vmac", "move", buckets, to)
        first, _, last = buckets.partition("-")
        wanted = range(int(first), int(last or first) + 1)
        wait_until(lambda: all(self._has(name, to, wanted) for name in alive), 10.0, f"buckets {buckets} are {to}'s")

    def _has(self, observer: str, owner: str, buckets: Iterable[int]) -> bool:
        owners = self.owners(observer)
        return all(owners[bucket] == owner for bucket in buckets)

    # Hosts

    def drive(self, host: str, do: str, **arguments: object) -> dict[str, Any]:
        """One command for a host's driver (see session_traffic.Driver)."""
        answer: dict[str, Any] = json.loads(self.drivers[host].say(json.dumps({"do": do} | arguments)))
        return answer

    def hold_sessions(self, count: int = 5) -> None:
        """Let each host hold sessions with the server, of both families."""
        for leg in HOSTS:
            for family in FAMILIES:
                answer = self.drive(
                    leg.node, "open", address=SERVER.address(family), port=PORT, count=count,
                    pauses=(0.05, 0.1), sizes=(1000, 3000), patience=PATIENCE,
                )  # fmt: skip
                assert answer["failed"] == [], answer["failed"]

    def expect_all_exchange(self, records: int = 5, seconds: float = 30.0) -> None:
        """Every session exchanges so many more records."""
        for leg in HOSTS:
            answer = self.drive(leg.node, "progress", records=records, seconds=seconds)
            assert answer["lost"] == []
            assert answer["behind"] == 0

    def end_sessions(self) -> None:
        """End every session, each with a last record that is answered."""
        for leg in HOSTS:
            answer = self.drive(leg.node, "finish", seconds=PATIENCE)
            assert answer["lost"] == []


def configuration(name: str, ports: Sequence[Port], socket: Path, key: Path, settings: dict[str, Any]) -> str:
    """One gateway's `depot.toml`."""
    number = GATEWAYS.index(name) + 1
    vmac = {
        "name": name, "listen": f"{CONTROL.ipv4}.{number}:7947", "key": str(key), "ports": [1, 2],
        "addresses": [SHARED[lan].address(family) for lan in (LEFT, RIGHT) for family in FAMILIES],
    }  # fmt: skip
    parts = [
        toml_table("[depot]", {"name": name, "socket": str(socket)}),
        toml_table("[[switch]]", {"name": "edge", "address": SWITCH_ADDRESS, "device_id": 1}),
    ]
    for port in ports:
        addresses = [port.leg.with_length(family) for family in FAMILIES]
        parts.append(toml_table("[[switch.port]]", {"number": port.number, "mac": port.mac, "addresses": addresses}))
    parts.append(toml_table("[vmac]", vmac | SETTINGS | settings))
    for other in GATEWAYS:
        if other != name:
            address = f"{CONTROL.ipv4}.{GATEWAYS.index(other) + 1}:7947"
            parts.append(toml_table("[[vmac.gateway]]", {"name": other, "address": address}))
    return "\n".join(parts)
