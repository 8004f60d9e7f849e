"""Where addresses lie as seen from one switch: ports, on-link networks, routes, and the entries that say so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from depot.address import ALL_IPV4, Prefix, is_ipv4, same_family
from depot.config.model import PortConfig, SwitchConfig
from depot.config.vmac_model import VmacConfig
from depot.p4runtime.entry import (
    Entry,
    admission_entry,
    local_address_entry,
    no_ipv4_route_entry,
    route_connected_entry,
    route_local_entry,
    route_via_entry,
)
from depot.switching.frames import arp_reply, neighbour_advertisement
from depot.switching.lan import Lan

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

    def __init__(self, switch: SwitchConfig, vmac: VmacConfig | None = None) -> None:
        self.lan = Lan(vmac, switch.name)
        """The LAN whose hosts share a gateway address."""
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
        self._shared = set(self.lan.addresses)

    @property
    def gateways(self) -> frozenset[NextHop]:
        """Every next hop of a route."""
        return frozenset(self._gateways)

    def on_link(self, hop: NextHop) -> bool:
        """Say whether another host may have this address on this port."""
        if hop.address in self._own or hop.address in self._shared:
            return False
        return hop in self._gateways or any(hop.address in prefix for prefix in self._on_link.get(hop.port, ()))

    def next_hop(self, address: int) -> NextHop | None:
        """Return whom packets to this address are handed to; None: there is no route, or it is our own."""
        if address in self._own or address in self._shared:
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

    def neighbour_entry(self, hop: NextHop, mac: int) -> Entry:
        """Return the entry of a next hop that has this MAC."""
        return self.lan.neighbour(*hop, mac, self.ports[hop.port].mac)

    def lan_news(self, hop: NextHop, mac: int) -> bytes | None:
        """Return the frame that tells one host of the LAN, unasked, the virtual MAC of its bucket.

        To it alone: told to all, every host would take it for its own. None: the gateway has no address in its network.
        """
        if self.lan.virtual_macs is None:
            return None
        for interface in self.ports[hop.port].addresses:
            for gateway in self.lan.addresses:
                if hop.address in interface.prefix and gateway in interface.prefix:
                    make = arp_reply if is_ipv4(gateway) else neighbour_advertisement
                    return make(self.lan.virtual_macs.virtual_mac(mac), gateway, mac, hop.address)
        return None

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
        return found + self.lan.answers()
