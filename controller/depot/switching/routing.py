"""Where addresses lie as seen from one switch: ports, on-link networks, routes, and the entries that say so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from depot.address import ALL_IPV4, Prefix, same_family
from depot.config.model import PortConfig, SwitchConfig
from depot.p4runtime.entry import (
    Entry,
    admission_entry,
    local_address_entry,
    no_ipv4_route_entry,
    route_connected_entry,
    route_local_entry,
    route_via_entry,
)

__all__ = ["NextHop", "Routing"]


class NextHop(NamedTuple):
    """A neighbour's place."""

    port: int
    """The switch's port."""
    address: int
    """128-bit address."""


class _Route(NamedTuple):
    prefix: Prefix
    port: PortConfig
    via: int | None


class Routing:
    """The interfaces and routes of one switch."""

    def __init__(self, switch: SwitchConfig) -> None:
        self.ports: dict[int, PortConfig] = {port.number: port for port in switch.ports}
        """The ports by number."""
        routes = {
            interface.prefix: _Route(interface.prefix, port, None)
            for port in switch.ports
            for interface in port.addresses
        }
        for route in switch.routes:
            if route.port in self.ports:
                routes[route.prefix] = _Route(route.prefix, self.ports[route.port], route.via)
        self._routes = sorted(routes.values(), key=lambda one: -one.prefix.length)
        self._on_link: dict[int, list[Prefix]] = {number: [] for number in self.ports}
        self._gateways: set[NextHop] = set()
        for one in self._routes:
            if one.via is None:
                self._on_link[one.port.number].append(one.prefix)
            else:
                self._gateways.add(NextHop(one.port.number, one.via))
        self._own = {one.address for port in switch.ports for one in port.addresses}

    @property
    def gateways(self) -> frozenset[NextHop]:
        """Every next hop of a route."""
        return frozenset(self._gateways)

    def on_link(self, hop: NextHop) -> bool:
        """Say whether another host may have this address on this port."""
        if hop.address in self._own:
            return False
        return hop in self._gateways or any(hop.address in prefix for prefix in self._on_link.get(hop.port, ()))

    def next_hop(self, address: int) -> NextHop | None:
        """Return whom packets to this address are handed to; None: there is no route, or it is our own."""
        if address in self._own:
            return None
        for route in self._routes:
            if address in route.prefix:
                return NextHop(route.port.number, route.via if route.via is not None else address)
        return None

    def source_for(self, hop: NextHop) -> int | None:
        """Return the port's address to ask a next hop from: in its network, else of its family; None if none."""
        addresses = self.ports[hop.port].addresses
        near = (one.address for one in addresses if hop.address in one.prefix)
        any_of_family = (one.address for one in addresses if same_family(one.address, hop.address))
        return next(near, next(any_of_family, None))

    def entries(self, vip_addresses: Iterable[int]) -> list[Entry]:
        """Return what the switch needs to be a router with these VIPs.

        Every own address and every VIP is answered at every port: whoever asks there reaches us there.
        """
        ours = dict.fromkeys([*self._own, *vip_addresses])
        found = [admission_entry(port.number, port.mac) for port in self.ports.values()]
        found += [local_address_entry(port.number, own, port.mac) for port in self.ports.values() for own in ours]
        found += [route_local_entry(own) for own in ours]
        host_routes = set(ours)
        for prefix, port, via in self._routes:
            if prefix.length == 128 and prefix.network in host_routes:
                continue  # a network of one address, ours
            if via is None:
                found.append(route_connected_entry(prefix, port.number, port.mtu))
            else:
                found.append(route_via_entry(prefix, port.number, via, port.mtu))
        if all(prefix != ALL_IPV4 for prefix, _, _ in self._routes):
            found.append(no_ipv4_route_entry())
        return found
