"""The network of the seed's Fig. 2: a downstream proxy, a load balancer, and a farm of upstream proxies.

                                                squidb
    office          uplink            farm        |              core         internet
    ===+=====+=   =====+=====+=====   ===+===  port 3          ===+==========  ===+====
       |     |         |     |           +- port 1 depot B port 2-+               |
    clients downstream-+  balancer ------+                        +----- gateway -+-- server
             Squid A                     +- port 1 depot C port 2-+
                                                port 3
                                                  |
                                                squidc

Downstream is a Linux router whose Squid opens connections with the clients' addresses. The balancer is a Linux router
too, with two routes of equal cost to everywhere, chosen by a hash of addresses and ports; so is the gateway, for the
way back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from depot.demo.lab import Lab
from depot.demo.member import Site
from depot.demo.squid import HTTP
from depot.demo.topology import FAMILIES, Lan, Leg, Port, Route, add_host, add_lans, add_router, add_switch

__all__ = [
    "CLIENTS",
    "CLIENT_NODE",
    "DIVERTED",
    "DOWNSTREAM",
    "DOWNSTREAM_PORTS",
    "OFFICE",
    "SERVER",
    "SITES",
    "UPLINK",
    "build",
]

OFFICE = Lan("office", "10.1.0", "fd00:1")
"""The clients' network."""
UPLINK = Lan("uplink", "10.2.0", "fd00:2")
"""Between the downstream proxy and the balancer."""
_FARM = Lan("farm", "10.3.0", "fd00:3")
_B_SQUID = Lan("b-squid", "10.4.0", "fd00:4")
_C_SQUID = Lan("c-squid", "10.5.0", "fd00:5")
_CORE = Lan("core", "10.6.0", "fd00:6")
_INTERNET = Lan("internet", "198.51.100", "2001:db8:100")
_CONTROL = Lan("control", "192.0.2", "2001:db8:2")
_LANS = (OFFICE, UPLINK, _FARM, _B_SQUID, _C_SQUID, _CORE, _INTERNET, _CONTROL)

CLIENT_NODE = "clients"
CLIENTS = tuple(Leg(CLIENT_NODE, OFFICE, host) for host in (11, 12, 13, 14))
"""Four addresses of one host."""
_CLIENT_PORTS = (32768, 40959)
DOWNSTREAM = "downstream"
DOWNSTREAM_PORTS = (40960, 49151)
"""Of the connections that the downstream proxy opens."""
DIVERTED = (f"iif {OFFICE.name} ipproto tcp dport {HTTP}", f"iif {UPLINK.name} ipproto tcp sport {HTTP}")
"""What that one takes: clients' packets to servers, and servers' packets to clients."""
SERVER = Leg("server", _INTERNET, 80)
_DOWNSTREAM_LEGS = (Leg(DOWNSTREAM, OFFICE, 1), Leg(DOWNSTREAM, UPLINK, 1))
_BALANCER_LEGS = (Leg("balancer", UPLINK, 2), Leg("balancer", _FARM, 1))
_GATEWAY_LEGS = (Leg("gateway", _CORE, 1), Leg("gateway", _INTERNET, 1))
_BY_PORTS_TOO = {"ipv4/fib_multipath_hash_policy": 1, "ipv6/fib_multipath_hash_policy": 1}
"""Which of several routes a packet takes is decided by addresses and ports."""


def _site(name: str, host: int, squids: Lan, squid_ports: tuple[int, int]) -> Site:
    node = f"depot{name}"
    ports = tuple(
        Port(number, Leg(node, lan, at), f"02:de:00:00:{host:02x}:{number:02x}")
        for number, (lan, at) in enumerate([(_FARM, host), (_CORE, host), (squids, 1)], 1)
    )
    return Site(
        name=name,
        ports=ports,
        routes=(Route(None, _GATEWAY_LEGS[0]), Route(OFFICE, _BALANCER_LEGS[1])),
        control=Leg(node, _CONTROL, host),
        checks=Leg(node, squids, 250),
        squid=Leg(f"squid{name}", squids, 10),
        squid_ports=squid_ports,
        tunnel=ports[0].leg,
    )


SITES = (_site("b", 11, _B_SQUID, (49152, 57343)), _site("c", 12, _C_SQUID, (57344, 65535)))


def build(lab: Lab, add_depot: Callable[..., None] = add_switch) -> None:
    """Make all namespaces and join them; `add_depot` makes the depots', from ports and other legs. Raises LabError."""
    add_lans(lab, _LANS)
    for site in SITES:
        add_depot(lab, site.ports, site.control, site.checks)
        add_host(lab, site.squid, routes=[Route(None, site.ports[2].leg)])
    add_router(lab, *_DOWNSTREAM_LEGS, routes=[Route(None, _BALANCER_LEGS[0])])
    add_router(lab, *_BALANCER_LEGS, routes=[Route(OFFICE, _DOWNSTREAM_LEGS[1])])
    _balance(lab, "balancer", None, [site.ports[0].leg for site in SITES])
    add_router(lab, *_GATEWAY_LEGS)
    _balance(lab, "gateway", OFFICE, [site.ports[1].leg for site in SITES])
    add_host(lab, *CLIENTS[:1], routes=[Route(None, _DOWNSTREAM_LEGS[0])])
    lab.set(CLIENT_NODE, {"ipv4/ip_local_port_range": f"{_CLIENT_PORTS[0]} {_CLIENT_PORTS[1]}"})
    for leg in CLIENTS[1:]:
        for family in FAMILIES:
            nodad = " nodad" if family == 6 else ""
            lab.ip(CLIENT_NODE, f"address add {leg.with_length(family)} dev {OFFICE.name}{nodad}")
    add_host(lab, SERVER, routes=[Route(None, _GATEWAY_LEGS[1])])


def _balance(lab: Lab, node: str, to: Lan | None, ways: Sequence[Leg]) -> None:
    """Give a router several ways of equal cost to the same destinations."""
    lab.set(node, _BY_PORTS_TOO)
    for family in FAMILIES:
        hops = " ".join(f"nexthop via {way.address(family)}" for way in ways)
        lab.ip(node, f"route add {Route(to, ways[0]).prefix(family)} {hops}", family=family)
