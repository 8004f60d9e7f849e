"""LANs, hosts and routers of a lab, as data and as namespaces: what the cluster's networks are drawn with.

A LAN is a bridge; a node is a namespace with a leg in one LAN or in several; a depot's legs are its switch's ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from depot.demo.lab import Lab
from depot.demo.network import LAN_SPACE, NO_IPV6, QUIET, Host

__all__ = ["FAMILIES", "Lan", "Leg", "Port", "Route", "add_host", "add_lans", "add_router", "add_switch", "set_route"]

FAMILIES = (4, 6)
_FORWARDING = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
}
"""A router that tells nobody of shorter ways: the ways here are what the static routes say."""


@dataclass(frozen=True, slots=True)
class Lan:
    """A LAN with one network of each family."""

    name: str
    """At most 8 characters: interfaces are named after it."""
    ipv4: str
    """Its /24, without the last number: "10.1.0"."""
    ipv6: str
    """Its /64, without the interface's part: "fd00:1"."""

    def prefix(self, family: int) -> str:
        """Its network of family 4 or 6."""
        return f"{self.ipv4}.0/24" if family == 4 else f"{self.ipv6}::/64"


@dataclass(frozen=True, slots=True)
class Leg:
    """A node's place in a LAN."""

    node: str
    """The namespace."""
    lan: Lan
    """Where it is plugged in."""
    host: int
    """Which host of the LAN it is, in both families: 10.1.0.11 and fd00:1::11."""

    def address(self, family: int) -> str:
        """Its address of family 4 or 6."""
        return f"{self.lan.ipv4}.{self.host}" if family == 4 else f"{self.lan.ipv6}::{self.host}"

    def with_length(self, family: int) -> str:
        """Its address with the length of the LAN's prefix."""
        return f"{self.address(family)}/{24 if family == 4 else 64}"

    def as_host(self) -> Host:
        """The same place as the programs of the first story know it."""
        return Host(self.node, self.address(4), self.address(6))


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a depot's switch."""

    number: int
    """Data plane port."""
    leg: Leg
    """Where it is plugged in, and its addresses as a router."""
    mac: str
    """Its router MAC."""

    @property
    def interface(self) -> str:
        """The interface that the switch program drives."""
        return f"port{self.number}"


@dataclass(frozen=True, slots=True)
class Route:
    """A static route, in both families."""

    to: Lan | None
    """Where it leads; None: everywhere else."""
    via: Leg
    """The next router's leg in a LAN of ours."""

    def prefix(self, family: int) -> str:
        """The destinations of family 4 or 6."""
        if self.to is not None:
            return self.to.prefix(family)
        return "0.0.0.0/0" if family == 4 else "::/0"


def add_lans(lab: Lab, lans: Iterable[Lan]) -> None:
    """Make the bridges."""
    lab.add_namespace(LAN_SPACE, NO_IPV6)
    for lan in lans:
        bridge = f"link add name {lan.name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        lab.ip(LAN_SPACE, bridge, f"link set {lan.name} up")


def add_host(lab: Lab, *legs: Leg, routes: Sequence[Route] = ()) -> None:
    """Make a node that forwards nothing. Its interfaces are named after the LANs."""
    lab.add_namespace(legs[0].node, QUIET)
    _plug_in(lab, legs, routes)


def add_router(lab: Lab, *legs: Leg, routes: Sequence[Route] = ()) -> None:
    """Make a node whose kernel routes between its legs."""
    lab.add_namespace(legs[0].node, QUIET | _FORWARDING)
    _plug_in(lab, legs, routes)


def add_switch(lab: Lab, ports: Sequence[Port], *others: Leg) -> None:
    """Make a depot's node: interfaces that belong to its switch, and legs of its kernel's own."""
    node = ports[0].leg.node
    lab.add_namespace(node, QUIET)
    for port in ports:
        end = _end(port.leg)
        lab.add_link((node, port.interface), (LAN_SPACE, end))
        lab.set(
            node,
            {
                f"ipv6/conf/{port.interface}/disable_ipv6": 1,
                f"ipv4/conf/{port.interface}/arp_ignore": 8,
                f"ipv4/conf/{port.interface}/forwarding": 0,
            },
        )
        # What XDP redirects reaches the other end of a veth only where that end polls, as it does for receive offload.
        lab.run(LAN_SPACE, "ethtool", "-K", end, "gro", "on")
        lab.ip(node, f"link set {port.interface} up")
        lab.ip(LAN_SPACE, f"link set {end} master {port.leg.lan.name} up")
    _plug_in(lab, others, ())


def set_route(lab: Lab, node: str, route: Route) -> None:
    """Give a node a route, in place of the one it had to there."""
    for family in FAMILIES:
        lab.ip(node, f"route replace {route.prefix(family)} via {route.via.address(family)}", family=family)


def _end(leg: Leg) -> str:
    """The far end of a leg, at the bridge."""
    return f"{leg.lan.name}-{leg.host}"


def _plug_in(lab: Lab, legs: Sequence[Leg], routes: Sequence[Route]) -> None:
    for leg in legs:
        lab.add_link((leg.node, leg.lan.name), (LAN_SPACE, _end(leg)))
        lab.ip(LAN_SPACE, f"link set {_end(leg)} master {leg.lan.name} up")
        lab.ip(
            leg.node,
            f"address add {leg.with_length(4)} dev {leg.lan.name}",
            f"address add {leg.with_length(6)} dev {leg.lan.name} nodad",
            f"link set {leg.lan.name} up",
        )
    for route in routes:
        set_route(lab, legs[0].node, route)
