"""The network around the switch that every packet case lives in, and the entries that describe it.

    port 1  clients    10.0.1.0/24  2001:db8:1::/64   mtu 1500
    port 2  members    10.0.2.0/24  2001:db8:2::/64   mtu 1500
    port 3  uplink     10.0.3.0/24  2001:db8:3::/64   mtu 1500; the way to 198.51.100.0/24 and 2001:db8:ff::/48;
                     another member of the cluster
    port 4  far side   10.0.4.0/24  2001:db8:4::/64   mtu 1400

The switch has address .1 (::1) on each port. The VIP addresses are 192.0.2.80 and 2001:db8:80::80.
"""

from __future__ import annotations

from dataclasses import dataclass

from depot.address import parse_address, parse_mac, parse_prefix
from ptf_tests.case import Entry

__all__ = [
    "CLIENT",
    "FAMILIES",
    "FAR",
    "MEMBER_1",
    "MEMBER_2",
    "NETWORK",
    "PEER",
    "PORTS",
    "ROUTER",
    "STRANGER",
    "UNRESOLVED",
    "Host",
    "mtu_of",
    "our_address",
    "our_mac",
    "route",
    "vip_address",
]

PORTS = (1, 2, 3, 4)
MTU = {1: 1500, 2: 1500, 3: 1500, 4: 1400}
FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Host:
    """A host on one of the ports, or behind a router there."""

    port: int
    mac: str
    """Its own, or that of the router it is behind."""
    ipv4: str
    ipv6: str

    def address(self, family: int) -> str:
        """Its address of family 4 or 6."""
        return self.ipv4 if family == 4 else self.ipv6


CLIENT = Host(1, "02:00:00:00:01:0a", "10.0.1.10", "2001:db8:1::10")
MEMBER_1 = Host(2, "02:00:00:00:02:0b", "10.0.2.11", "2001:db8:2::11")
MEMBER_2 = Host(2, "02:00:00:00:02:0c", "10.0.2.12", "2001:db8:2::12")
ROUTER = Host(3, "02:00:00:00:03:fe", "10.0.3.254", "2001:db8:3::fe")
STRANGER = Host(3, ROUTER.mac, "198.51.100.7", "2001:db8:ff::7")
PEER = Host(3, "02:00:00:00:03:0e", "10.0.3.14", "2001:db8:3::14")
FAR = Host(4, "02:00:00:00:04:0d", "10.0.4.13", "2001:db8:4::13")
UNRESOLVED = Host(2, "02:00:00:00:02:63", "10.0.2.99", "2001:db8:2::99")


def our_mac(port: int) -> str:
    """The router MAC of a port."""
    return f"02:00:00:00:{port:02x}:01"


def our_address(port: int, family: int) -> str:
    """The switch's own address on a port."""
    return f"10.0.{port}.1" if family == 4 else f"2001:db8:{port}::1"


def vip_address(family: int) -> str:
    """The address that VIPs are served at."""
    return "192.0.2.80" if family == 4 else "2001:db8:80::80"


def mtu_of(port: int) -> int:
    """Largest IP packet that a port's network takes, in bytes."""
    return MTU[port]


def route(prefix: str, action: str, **params: int) -> Entry:
    """A route to a prefix such as `10.0.1.0/24`."""
    parsed = parse_prefix(prefix)
    return Entry("route_table", {"address": (parsed.network, parsed.length)}, action, params)


def neighbour_entry(host: Host, family: int) -> Entry:
    """The neighbour entry of a host that is on a port itself."""
    return Entry(
        "neighbour_table",
        {"port": host.port, "address": parse_address(host.address(family))},
        "set_neighbour",
        {"src_mac": parse_mac(our_mac(host.port)), "dst_mac": parse_mac(host.mac)},
    )


def _local(port: int, address: str) -> Entry:
    return Entry(
        "local_address_table",
        {"port": port, "address": parse_address(address)},
        "answer",
        {"mac": parse_mac(our_mac(port))},
    )


def _entries_of_port(port: int) -> list[Entry]:
    entries = [Entry("admission_table", {"port": port, "mac": parse_mac(our_mac(port))}, "admit")]
    for family in FAMILIES:
        ours = our_address(port, family)
        host_bits = "/32" if family == 4 else "/128"
        network = f"10.0.{port}.0/24" if family == 4 else f"2001:db8:{port}::/64"
        entries += [
            _local(port, ours),
            _local(port, vip_address(family)),
            route(ours + host_bits, "route_local"),
            route(network, "route_connected", port=port, mtu=MTU[port]),
        ]
    return entries


def _shared_entries() -> list[Entry]:
    entries = [neighbour_entry(h, f) for h in (CLIENT, MEMBER_1, MEMBER_2, ROUTER, PEER, FAR) for f in FAMILIES]
    for family, stranger_net in zip(FAMILIES, ("198.51.100.0/24", "2001:db8:ff::/48"), strict=True):
        host_bits = "/32" if family == 4 else "/128"
        next_hop = parse_address(ROUTER.address(family))
        entries += [
            route(stranger_net, "route_via", port=ROUTER.port, next_hop=next_hop, mtu=MTU[ROUTER.port]),
            route(vip_address(family) + host_bits, "route_local"),
        ]
    return entries


NETWORK: tuple[Entry, ...] = (*(entry for port in PORTS for entry in _entries_of_port(port)), *_shared_entries())
