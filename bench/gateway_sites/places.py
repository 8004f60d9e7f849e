"""Who is where: two sites, the Internet between them, the gateways.

    224 hosts                                                                                       224 hosts
       |                                                                                               |
    ===+====+======= left            wanleft ====+====        ====+==== wanright            right =+====+===
            |                                    |                |                                |
            1 [left1: switch] 2 - kernel - tunnel +- - internet - -+ tunnel - kernel - 2 [right1: switch] 1
            (left2, left3 alike, each with its own tunnel to right2, right3)

All LANs are plain Linux bridges that learn. The gateways of a site speak with each other in a LAN of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from bench.gateway_sites.hosts import Site
from depot.demo.topology import Lan, Leg, Port

__all__ = ["INNER", "INTERNET", "LANS", "SITES", "GatewayPlace", "hosts_leg"]

SITES = {
    "left": Site(3, IPv4Network("192.168.203.0/24"), IPv4Address("192.168.203.1")),
    "right": Site(4, IPv4Network("192.168.204.0/24"), IPv4Address("192.168.204.1")),
}
INNER = "10.8.0"
"""Between a switch's port 2 (.1) and its gateway's kernel (.2)."""
_LAN = {"left": Lan("left", "192.168.203", "fd00:203"), "right": Lan("right", "192.168.204", "fd00:204")}
_WAN = {"left": Lan("wanleft", "192.168.103", "fd00:103"), "right": Lan("wanright", "192.168.104", "fd00:104")}
_CONTROL = {"left": Lan("ctlleft", "10.9.3", "fd00:93"), "right": Lan("ctlright", "10.9.4", "fd00:94")}
LANS = (*_LAN.values(), *_WAN.values(), *_CONTROL.values())
INTERNET = tuple(Leg("internet", lan, 254) for lan in _WAN.values())
_OWN_ADDRESS = 10
"""Added to a gateway's number: its own address in the LAN beside the shared one."""


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """A gateway: its namespace and its legs."""

    site: str
    """left or right."""
    number: int
    """From 1; its tunnel leads to the one of the same number."""

    @property
    def name(self) -> str:
        """As its peers know it."""
        return f"g{self.number}"

    @property
    def node(self) -> str:
        """Its namespace."""
        return f"{self.site}{self.number}"

    @property
    def port(self) -> Port:
        """Port 1 of its switch, in the LAN."""
        leg = Leg(self.node, _LAN[self.site], _OWN_ADDRESS + self.number)
        return Port(1, leg, f"02:de:0{SITES[self.site].number}:00:00:0{self.number}")

    @property
    def inner_port_mac(self) -> str:
        """Of port 2."""
        return f"02:de:0{SITES[self.site].number}:00:01:0{self.number}"

    @property
    def wan(self) -> Leg:
        """Its tunnel's end."""
        return Leg(self.node, _WAN[self.site], self.number)

    @property
    def control(self) -> Leg:
        """Where it speaks with its peers."""
        return Leg(self.node, _CONTROL[self.site], self.number)

    @property
    def counterpart(self) -> GatewayPlace:
        """The other end of its tunnel."""
        return GatewayPlace("right" if self.site == "left" else "left", self.number)


def hosts_leg(site: str) -> Leg:
    """The port of the LAN at which all hosts of a site are."""
    return Leg(f"{site}-hosts", _LAN[site], 9)
