"""The `depot.toml` of the lab, written from what the network is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from depot.demo.network import HEALTH_SOURCE, MEMBERS, PORTS, Host

__all__ = ["QUICK_CHECKS", "SWITCH_ADDRESS", "Service", "configuration", "toml_table"]

SWITCH_ADDRESS = "127.0.0.1:9559"
"""The switch's P4Runtime server, in the depot's own namespace."""
QUICK_CHECKS: Mapping[str, object] = {"type": "tcp", "interval": "500ms", "timeout": "500ms", "rise": 2, "fall": 2}
"""Health checks that notice a dead member within about a second."""


@dataclass(frozen=True, slots=True)
class Service:
    """One `[[vip]]`."""

    name: str
    """Unique name."""
    address: str
    """The VIP."""
    port: int = 80
    """The VIP's port."""
    mode: str = "nat"
    """How members are reached."""
    members: Sequence[Host] = MEMBERS
    """Who serves it, at their address of the VIP's family."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Weights by member name, 1 where nothing is said."""
    member_port: int | None = None
    """The members' port; None: the VIP's."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """More keys of `[[vip]]`."""
    health: Mapping[str, object] = field(default_factory=lambda: dict(QUICK_CHECKS))
    """Keys of `[vip.health]`."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


def configuration(services: Iterable[Service], socket: Path, switch_address: str = SWITCH_ADDRESS) -> str:
    """The file for `depot run -c`: one switch with the lab's two ports, and these services."""
    parts = [
        toml_table("[depot]", {"name": "lab", "socket": str(socket)}),
        toml_table("[[switch]]", {"name": "edge", "address": switch_address, "device_id": 1}),
    ]
    for port in PORTS:
        addresses = [f"{port.ipv4}/24", f"{port.ipv6}/64"]
        values = {"number": port.number, "mac": port.mac, "addresses": addresses}
        parts.append(toml_table("[[switch.port]]", values, note=f"towards the {port.lan}"))
    for service in services:
        parts += _service(service)
    return "\n".join(parts)


def _service(service: Service) -> list[str]:
    values: dict[str, object] = {"name": service.name, "address": service.address, "port": service.port}
    parts = [toml_table("[[vip]]", values | {"mode": service.mode} | dict(service.settings))]
    if service.health:
        source = HEALTH_SOURCE.address(service.family)
        parts.append(toml_table("[vip.health]", dict(service.health) | {"source": source}))
    for host in service.members:
        member: dict[str, object] = {"name": host.name, "address": host.address(service.family)}
        if service.member_port is not None:
            member["port"] = service.member_port
        if host.name in service.weights:
            member["weight"] = service.weights[host.name]
        parts.append(toml_table("[[vip.member]]", member))
    return parts


def toml_table(header: str, values: Mapping[str, object], note: str = "") -> str:
    """One table of a TOML file; `note` is a remark beside its header."""
    title = f"{header}  # {note}" if note else header
    return "\n".join([title, *(f"{key} = {_value(value)}" for key, value in values.items())]) + "\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
