"""A gateway as an operator would build it: switch and depot in front, the kernel and a WireGuard tunnel behind.

The tunnel is wireguard-go, which encrypts in user space. What a gateway forwards, both ways together, is limited by a
token bucket of nftables, so that gateways on one machine have a capacity of their own each, as ones with a processor of
their own have.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gateway_sites import load_program
from bench.gateway_sites.places import INNER, SITES, GatewayPlace
from depot.cli.client import ask
from depot.demo.box import Box, Engine
from depot.demo.configuration import SWITCH_ADDRESS, toml_table
from depot.demo.lab import Lab, LabError, wait_until
from depot.demo.topology import add_switch

__all__ = ["Forwarded", "Gateway", "Limit"]

_CONTROL_PORT = 7947
_TUNNEL_PORT = 51820
_LIMIT = """
table inet gateway {{
    counter passed {{ }}
    counter dropped {{ }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        limit rate over {rate}/second burst {burst} packets counter name "dropped" drop
        counter name "passed"
    }}
}}
"""
_START_SECONDS = 20.0
_LOAD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limit:
    """What a gateway can do."""

    rate: int
    """Packets a second, both ways together."""
    burst: int
    """Packets at once."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Packets of a gateway since it began, both ways together."""

    passed: int
    dropped: int


@dataclass(slots=True)
class Gateway:
    """One gateway, from its namespace to its depot."""

    lab: Lab
    place: GatewayPlace
    limit: Limit
    box: Box

    @classmethod
    def build(cls, lab: Lab, place: GatewayPlace, limit: Limit) -> Gateway:
        """Its network and its limit; the tunnel when both ends are built. Raises LabError."""
        node = place.node
        add_switch(lab, [place.port], place.wan, place.control)
        _add_inner_link(lab, node)
        rules = lab.folder / f"{node}.nft"
        rules.write_text(_LIMIT.format(rate=limit.rate, burst=limit.burst))
        lab.run(node, "nft", "-f", str(rules))
        interfaces = {1: place.port.interface, 2: "port2"}
        box = Box(lab, engine=Engine.XDP, namespace=node, label=f"{node}-", interfaces=interfaces)
        return cls(lab, place, limit, box)

    @property
    def private_key(self) -> Path:
        """Of its end of the tunnel."""
        return self.lab.folder / f"{self.place.node}.key"

    @property
    def tunnel(self) -> str:
        """Its tunnel's interface: a name of this run's own, since wireguard-go makes a socket in /run of that name."""
        return f"{self.place.node[0]}{self.place.number}-{self.lab.prefix[-8:]}"

    def make_key(self) -> str:
        """Its private key into a file; its public key."""
        self.private_key.touch(0o600)
        self.private_key.write_text(self.lab.run(self.place.node, "wg", "genkey"))
        return self.lab.run(self.place.node, "sh", "-c", f"wg pubkey < {self.private_key}").strip()

    def start_tunnel(self, peer_key: str, *, begins: bool) -> None:
        """WireGuard to the counterpart, and routes: the other site through it, our own by the switch.

        The end that `begins` does so at once; if both did, both would be ignored for some seconds.
        """
        lab, place, other = self.lab, self.place, self.place.counterpart
        node = place.node
        process = lab.start(node, f"{node}-wireguard", "wireguard-go", "--foreground", self.tunnel)

        def is_there() -> bool:
            lab.expect_running(process)
            try:
                lab.run(node, "wg", "show", self.tunnel)
            except LabError:
                return False
            return True

        wait_until(is_there, _START_SECONDS, f"wireguard-go runs in {node}")
        network, own = SITES[other.site].network, SITES[place.site].network
        internet = f"{place.wan.lan.ipv4}.254"
        lab.ip(
            node,
            f"link set {self.tunnel} mtu 1420 up",
            f"route add {network} dev {self.tunnel}",
            f"route add {own} via {INNER}.1",
            f"route add {other.wan.address(4)}/32 via {internet}",
        )
        lab.run(
            node, "wg", "set", self.tunnel, "private-key", str(self.private_key), "listen-port", str(_TUNNEL_PORT),
            "peer", peer_key, "allowed-ips", str(network), "endpoint", f"{other.wan.address(4)}:{_TUNNEL_PORT}",
            "persistent-keepalive", "25" if begins else "off",
        )  # fmt: skip

    def is_tunnelled(self) -> bool:
        """Whether the tunnel's ends have met."""
        times = self.lab.run(self.place.node, "wg", "show", self.tunnel, "latest-handshakes").split()
        return len(times) == 2 and times[1] != "0"

    def start_depot(self, peers: Sequence[GatewayPlace], vmac: Mapping[str, object] | None) -> None:
        """Its switch and its depot, with the others of its site; `vmac`: settings of ``[vmac]``; None: without."""
        self.box.config_file.write_text(self._configuration(peers, vmac))
        if self.box.switch is None:
            self.box.start_switch()
        self.box.start_controller()

    def forwarded(self) -> Forwarded:
        """What has passed and what the limit has dropped."""
        listed = json.loads(self.lab.run(self.place.node, "nft", "-j", "list", "counters"))["nftables"]
        found = {one["counter"]["name"]: one["counter"]["packets"] for one in listed if "counter" in one}
        return Forwarded(found["passed"], found["dropped"])

    def used(self) -> int:
        """Packets that it was to forward since it began."""
        forwarded = self.forwarded()
        return forwarded.passed + forwarded.dropped

    def status(self) -> dict[str, Any]:
        """What `depot vmac status` says. Raises DaemonError."""
        answer: dict[str, Any] = ask(self.box.socket, "vmac")
        return answer

    def _configuration(self, peers: Sequence[GatewayPlace], vmac: Mapping[str, object] | None) -> str:
        place = self.place
        site, other = SITES[place.site], SITES[place.counterpart.site]
        own = place.port.leg.with_length(4)
        shared = [] if vmac is not None else [f"{site.gateway}/24"]
        parts = [
            toml_table("[depot]", {"name": place.node, "socket": str(self.box.socket), "log_level": "warning"}),
            toml_table("[[switch]]", {"name": "edge", "address": SWITCH_ADDRESS, "device_id": 1}),
            toml_table("[[switch.port]]", {"number": 1, "mac": place.port.mac, "addresses": [own, *shared]}),
            toml_table("[[switch.port]]", {"number": 2, "mac": place.inner_port_mac, "addresses": [f"{INNER}.1/24"]}),
            toml_table("[[switch.route]]", {"prefix": str(other.network), "via": f"{INNER}.2"}),
        ]
        if vmac is not None:
            listen = f"{place.control.address(4)}:{_CONTROL_PORT}"
            load = [sys.executable, str(Path(load_program.__file__)), str(_LOAD_SECONDS), str(self.limit.rate)]
            given = {
                "name": place.name, "listen": listen, "addresses": [str(site.gateway)], "ports": [1],
                "load_command": [*load, "inner", self.tunnel],
            }  # fmt: skip
            parts.append(toml_table("[vmac]", given | dict(vmac)))
            for peer in peers:
                address = f"{peer.control.address(4)}:{_CONTROL_PORT}"
                parts.append(toml_table("[[vmac.gateway]]", {"name": peer.name, "address": address}))
        return "\n".join(parts)


def _add_inner_link(lab: Lab, node: str) -> None:
    """Between the switch's port 2 and the kernel beside it, which routes."""
    lab.add_link((node, "port2"), (node, "inner"))
    lab.set(
        node,
        {
            "ipv4/ip_forward": 1,
            "ipv4/conf/all/send_redirects": 0,
            "ipv4/conf/inner/send_redirects": 0,
            "ipv6/conf/port2/disable_ipv6": 1,
            "ipv4/conf/port1/arp_ignore": 8,
            "ipv4/conf/port1/forwarding": 0,
            "ipv4/conf/port2/arp_ignore": 8,
            "ipv4/conf/port2/forwarding": 0,
        },
    )
    lab.run(node, "ethtool", "-K", "inner", "gro", "on")  # what XDP redirects arrives only where the end polls
    lab.ip(node, "link set port2 up", f"address add {INNER}.2/24 dev inner", "link set inner up")
