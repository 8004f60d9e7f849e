"""A member of the cluster in a lab: its place in the network, its depot, and the Squid behind it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from depot.demo.box import Box, program
from depot.demo.configuration import SWITCH_ADDRESS, toml_table
from depot.demo.lab import Lab, LabError, wait_until
from depot.demo.squid import HTTP, Squid
from depot.demo.topology import FAMILIES, Lan, Leg, Port, Route

__all__ = ["OPEN_PORT", "Member", "Site", "certificates", "introduce", "member_configuration"]

OPEN_PORT = 8080
"""The servers' port that a rule lets pass."""
_CONTROL_PORT = 4646
_PROXIES = "proxies"
_KEEPALIVE = {"keepalive": "500ms", "misses": 3, "retry_interval": "250ms", "longest_retry_interval": "500ms"}
"""A peer that is silent for a second and a half is gone; one that comes back is met within half a second."""
_CHECKS = {"type": "tcp", "port": HTTP, "interval": "500ms", "timeout": "500ms", "rise": 1, "fall": 2}
_TIMES = {"time_wait": "5s", "idle_timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a member is."""

    name: str
    """The member's name in the cluster."""
    ports: tuple[Port, ...]
    """Of its switch."""
    routes: tuple[Route, ...]
    """Its static routes."""
    control: Leg
    """Where other members' controllers reach its own."""
    checks: Leg
    """Where its health checks come from."""
    squid: Leg
    """The proxy's host."""
    squid_ports: tuple[int, int]
    """Ports of the connections that its Squid opens."""
    tunnel: Leg
    """Its tunnel's end in the data plane."""

    @property
    def node(self) -> str:
        """The depot's namespace."""
        return self.control.node

    @property
    def channel(self) -> str:
        """Address and port of its control channel."""
        return f"{self.control.address(4)}:{_CONTROL_PORT}"

    @property
    def tunnel_ends(self) -> list[str]:
        """Its tunnel's addresses, one of each family."""
        return [self.tunnel.address(family) for family in FAMILIES]


def member_configuration(
    site: Site,
    peers: Sequence[Site],
    clients: Lan,
    socket: Path,
    cluster: Mapping[str, object] | None,
    steer: str | None = None,
) -> str:
    """One member's `depot.toml`: it intercepts the clients' HTTP, and lets another port pass.

    cluster: more keys of ``[cluster]``; None: it is on its own. steer: who chooses the member for a connection.
    """
    parts = [
        toml_table("[depot]", {"name": site.name, "socket": str(socket)}),
        toml_table("[[switch]]", {"name": site.node, "address": SWITCH_ADDRESS, "device_id": 1}),
        *_switch(site),
    ]
    if cluster is not None:
        own = {"name": site.name, "listen": site.channel, "tunnel": site.tunnel_ends}
        parts.append(toml_table("[cluster]", own | dict(cluster)))
        for peer in peers:
            values = {"name": peer.name, "address": peer.channel, "tunnel": peer.tunnel_ends} | _KEEPALIVE
            parts.append(toml_table("[[cluster.peer]]", values))
    of_clients = {"client": [clients.prefix(family) for family in FAMILIES], "protocol": "tcp"}
    web = {"name": "web", **of_clients, "port": HTTP, "action": "intercept", "to": _PROXIES}
    parts += [
        toml_table("[[policy]]", web | ({"steer": steer} if steer else {})),
        toml_table("[[policy]]", {"name": "open", **of_clients, "port": OPEN_PORT, "action": "bypass"}),
        toml_table("[[vip]]", {"name": _PROXIES, "transparent": True, "protocol": "tcp"} | _TIMES),
        toml_table("[vip.health]", _CHECKS | {"source": site.checks.address(4)}),
        toml_table("[[vip.member]]", {"name": site.squid.node, "address": site.squid.address(4)}),
    ]
    return "\n".join(parts)


def _switch(site: Site) -> Iterator[str]:
    for port in site.ports:
        addresses = [port.leg.with_length(family) for family in FAMILIES]
        values = {"number": port.number, "mac": port.mac, "addresses": addresses}
        yield toml_table("[[switch.port]]", values, note=port.leg.lan.name)
    for route in site.routes:
        for family in FAMILIES:
            values = {"prefix": route.prefix(family), "via": route.via.address(family)}
            yield toml_table("[[switch.route]]", values)


@dataclass(slots=True)
class Member:
    """Switch, controller and Squid of one site."""

    site: Site
    """Where it is."""
    box: Box
    """Switch and controller."""
    squid: Squid
    """The proxy."""
    peers: Sequence[Site] = field(default_factory=tuple)
    """The other members' places."""

    keys: Mapping[str, object] | None = None
    """What its ``[cluster]`` says of certificates, once it has some."""

    @classmethod
    def group(cls, lab: Lab, sites: Sequence[Site], **options: Any) -> list[Member]:
        """Prepare the members of a cluster; `options` are those of `Box`."""
        members = []
        for site in sites:
            interfaces = {port.number: port.interface for port in site.ports}
            box = Box(lab, namespace=site.node, interfaces=interfaces, label=f"{site.name}-", **options)
            squid = Squid(lab, site.squid.node, site.squid_ports)
            members.append(cls(site, box, squid, [other for other in sites if other is not site]))
        return members

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.site.name

    def configure(self, clients: Lan, steer: str | None = None) -> None:
        """Write its configuration (see `member_configuration`), in the cluster once it has been introduced."""
        text = member_configuration(self.site, self.peers, clients, self.box.socket, self.keys, steer)
        self.box.config_file.write_text(text)

    def start_squid(self) -> None:
        """Start the proxy; everything that comes to its host is for it."""
        self.squid.prepare([f"iif {self.site.squid.lan.name}"])
        self.squid.start()

    def start_depot(self) -> None:
        """Start switch and controller; returns when Squid is found alive and the switch is as it should be."""
        self.box.start_switch()
        self.start_controller()

    def start_controller(self) -> None:
        """Start the controller; returns when Squid is found alive and the switch is as it should be."""
        self.box.start_controller()
        wait_until(self._squid_up, 10.0, f"depot {self.name} finds its Squid alive")
        self.box.wait_in_sync()

    def _squid_up(self) -> bool:
        return all(row["state"] == "up" for row in self.box.ask("members"))

    def kill(self) -> None:
        """kill -9 of controller and switch."""
        self.box.kill_controller()
        self.box.kill_switch()

    def meets(self, names: Collection[str]) -> bool:
        """Whether these members are there, and it knows what they know."""
        try:
            status = self.cluster_status()
        except LabError:
            return False
        up = {peer["name"] for peer in status["peers"] if peer["up"]}
        return bool(status["in_sync"]) and up.issuperset(names)

    def misses(self, name: str) -> bool:
        """Whether it has noticed that a member is not there. Raises LabError."""
        return any(peer["name"] == name and not peer["up"] for peer in self.cluster_status()["peers"])

    def cluster_status(self) -> dict[str, Any]:
        """What `depot cluster status` says. Raises LabError."""
        done = self.box.command("cluster", "status", "--json")  # its status is 1 when a peer is not there
        try:
            status: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise LabError(f"depot cluster status: {(done.stderr or done.stdout).strip()}") from None
        return status

    def connections(self, owner: str) -> list[dict[str, Any]]:
        """One member's connections, as `depot connections --cluster` shows them here. Raises LabError."""
        answer = self.box.ask("connections", "--cluster", "--owner", owner, "--limit", "1000")
        rows: list[dict[str, Any]] = answer["connections"]
        return rows

    def flows_of(self, owner: str) -> set[str]:
        """The same in words: what, from where, where to. Raises LabError."""
        return {f"{row['direction']} {row['protocol']} {row['client']} {row['server']}"
                for row in self.connections(owner)}  # fmt: skip


def introduce(lab: Lab, members: Sequence[Member]) -> None:
    """Make the cluster's certificates; from now on the members' configuration has ``[cluster]``. Raises LabError."""
    folder = lab.folder / "keys"
    words = ["cluster", "init", str(folder), *(member.name for member in members)]
    done = subprocess.run([program("depot"), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"depot {' '.join(words)}: {done.stderr.strip()}")
    for member in members:
        member.keys = certificates(folder, member.name)


def certificates(folder: Path, name: str) -> dict[str, object]:
    """What a member's ``[cluster]`` says of its certificates, made by `depot cluster init`."""
    files = {"ca": "ca.pem", "cert": f"{name}.pem", "key": f"{name}.key"}
    return {key: str(folder / file) for key, file in files.items()}
