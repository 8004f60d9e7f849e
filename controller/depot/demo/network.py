"""The network of the lab: who lives where, and how the namespaces are joined.

    client1  client2                                   member1  member2  member3
       |        |                                         |        |        |
    ===+========+==========+=====+==== clients   ====+====+========+========+====+==== members
                           |     |                   |                           |
                           |  port 1 -- depot -- port 2        depot's own leg (health checks)
                           |                         |
                           +------- router ----------+  (the way back of direct server return)

Clients reach the VIPs through the depot. Members send what they answer for a NAT VIP by their default route, which is
the depot, and what they answer for a DSR VIP, by its source address, through the router.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from depot.demo.lab import Lab

__all__ = [
    "CLIENTS",
    "DEPOT",
    "HEALTH_SOURCE",
    "LAN_SPACE",
    "MEMBERS",
    "NO_IPV6",
    "PORTS",
    "QUIET",
    "Host",
    "SwitchPort",
    "build_network",
    "give_vip",
]


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with one interface, `eth0`."""

    name: str
    """Namespace and host name."""
    ipv4: str
    """Address in its LAN's /24."""
    ipv6: str
    """Address in its LAN's /64."""

    def address(self, family: int) -> str:
        """Its address of family 4 or 6."""
        return self.ipv4 if family == 4 else self.ipv6


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A port of the depot's switch."""

    number: int
    """Data plane port."""
    interface: str
    """Interface in the depot's namespace that the switch program drives."""
    lan: str
    """The LAN it is plugged into."""
    mac: str
    """The router MAC the depot uses there."""
    ipv4: str
    """The depot's address there."""
    ipv6: str
    """The depot's address there."""


DEPOT = "depot"
LAN_SPACE = "lan"
"""The namespace of the bridges."""
_ROUTER = "router"
_CLIENTS_LAN = "clients"
_MEMBERS_LAN = "members"
_VIPS = ("203.0.113.0/24", "2001:db8::/32")
"""Where VIPs are taken from (RFC 5737, RFC 3849)."""
_DSR_TABLE = 81
"""Routing table of members for what they answer in the name of a DSR VIP."""

CLIENTS = (Host("client1", "10.1.0.11", "fd00:1::11"), Host("client2", "10.1.0.12", "fd00:1::12"))
MEMBERS = (
    Host("member1", "10.2.0.11", "fd00:2::11"),
    Host("member2", "10.2.0.12", "fd00:2::12"),
    Host("member3", "10.2.0.13", "fd00:2::13"),
)
PORTS = (
    SwitchPort(1, "port1", _CLIENTS_LAN, "02:de:00:00:00:01", "10.1.0.1", "fd00:1::1"),
    SwitchPort(2, "port2", _MEMBERS_LAN, "02:de:00:00:00:02", "10.2.0.1", "fd00:2::1"),
)
HEALTH_SOURCE = Host("checks", "10.2.0.250", "fd00:2::250")
"""The depot's own leg in the members' LAN: health checks must not pass the switch, which would translate answers."""
_ROUTER_LEGS = {
    _CLIENTS_LAN: Host(_ROUTER, "10.1.0.254", "fd00:1::254"),
    _MEMBERS_LAN: Host(_ROUTER, "10.2.0.254", "fd00:2::254"),
}

QUIET = {
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/autoconf": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
}
"""No autoconfiguration, no waiting for duplicate addresses; asymmetric ways are what direct server return is."""
NO_IPV6 = {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1}
_DSR_ARP = {"ipv4/conf/all/arp_ignore": 1, "ipv4/conf/all/arp_announce": 2}
"""A member has the VIP on its loopback and must not answer or speak for it on the LAN."""


def build_network(lab: Lab, members: Sequence[Host] = MEMBERS) -> None:
    """Make all namespaces and join them. Raises LabError."""
    lab.add_namespace(LAN_SPACE, NO_IPV6)
    for lan in (_CLIENTS_LAN, _MEMBERS_LAN):
        lab.ip(
            LAN_SPACE,
            f"link add name {lan} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {lan} up",
        )
    _build_depot(lab)
    _build_router(lab)
    for host in CLIENTS:
        lab.add_namespace(host.name, QUIET)
        _plug(lab, host, "eth0", _CLIENTS_LAN)
        _route_by_default(lab, host.name, PORTS[0].ipv4, PORTS[0].ipv6)
    for host in members:
        lab.add_namespace(host.name, QUIET | _DSR_ARP)
        _plug(lab, host, "eth0", _MEMBERS_LAN)
        _route_by_default(lab, host.name, PORTS[1].ipv4, PORTS[1].ipv6)
        leg = _ROUTER_LEGS[_MEMBERS_LAN]
        lab.ip(
            host.name,
            f"route add default via {leg.ipv4} table {_DSR_TABLE}",
            f"route add ::/0 via {leg.ipv6} table {_DSR_TABLE}",
        )


def give_vip(lab: Lab, member: Host, vip: str) -> None:
    """Put a DSR VIP on a member's loopback, and its answers on the way through the router."""
    family, bits = (6, "128 dev lo nodad") if ":" in vip else (4, "32 dev lo")
    lab.ip(member.name, f"address add {vip}/{bits}", f"rule add from {vip} lookup {_DSR_TABLE}", family=family)


def _build_depot(lab: Lab) -> None:
    lab.add_namespace(DEPOT, QUIET)
    for port in PORTS:
        lab.add_link((DEPOT, port.interface), (LAN_SPACE, f"{port.lan}-p{port.number}"))
        # The interface is the switch's: the kernel beside it keeps silent.
        lab.set(
            DEPOT,
            {
                f"ipv6/conf/{port.interface}/disable_ipv6": 1,
                f"ipv4/conf/{port.interface}/arp_ignore": 8,
                f"ipv4/conf/{port.interface}/forwarding": 0,
            },
        )
        # What XDP redirects reaches the other end of a veth only where that end polls, as it does for receive offload.
        lab.run(LAN_SPACE, "ethtool", "-K", f"{port.lan}-p{port.number}", "gro", "on")
        lab.ip(DEPOT, f"link set {port.interface} up")
        lab.ip(LAN_SPACE, f"link set {port.lan}-p{port.number} master {port.lan} up")
    _plug(lab, Host(DEPOT, HEALTH_SOURCE.ipv4, HEALTH_SOURCE.ipv6), HEALTH_SOURCE.name, _MEMBERS_LAN)


def _build_router(lab: Lab) -> None:
    lab.add_namespace(_ROUTER, QUIET | {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})
    for lan, leg in _ROUTER_LEGS.items():
        _plug(lab, leg, lan, lan)


def _plug(lab: Lab, host: Host, interface: str, lan: str) -> None:
    end = f"{lan[0]}-{host.name}"
    lab.add_link((host.name, interface), (LAN_SPACE, end))
    lab.ip(LAN_SPACE, f"link set {end} master {lan} up")
    lab.ip(
        host.name,
        f"address add {host.ipv4}/24 dev {interface}",
        f"address add {host.ipv6}/64 dev {interface} nodad",
        f"link set {interface} up",
    )


def _route_by_default(lab: Lab, namespace: str, ipv4: str, ipv6: str) -> None:
    lab.ip(namespace, f"route add default via {ipv4}", f"route add ::/0 via {ipv6}")
