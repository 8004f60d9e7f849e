"""The network of the seed's Fig. 1: two access points, two depots inline, and answers that come back another way.

       office                               squida         RA          X
    ===+======+=====                          |
       |      |          +------- port 3 -----+
    client    +- port 1 - depot A - port 2 ------- ra ------- x ---+
       |                                                           |
       |                                                        internet --- server
       |                                                           |
       +------ rb ------- port 2 - depot B - port 1 ------- y -----+
                           +------- port 3 -----+
                                              |
                                            squidb

The client's default gateway is depot A, the server's is the access point y. Each depot hands its Squid what it
intercepts through port 3. The controllers speak with each other in a network of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from depot.demo.lab import Lab
from depot.demo.member import Site
from depot.demo.topology import Lan, Leg, Port, Route, add_host, add_lans, add_router, add_switch

__all__ = ["BETWEEN", "CLIENT", "CLIENT_PORTS", "OFFICE", "SERVER", "SITES", "X_AT_SERVER", "Y_AT_SERVER", "build"]


OFFICE = Lan("office", "10.1.0", "fd00:1")
"""The clients' network."""
_A_RA = Lan("a-ra", "10.11.0", "fd00:11")
_A_SQUID = Lan("a-squid", "10.12.0", "fd00:12")
_RA_X = Lan("ra-x", "10.13.0", "fd00:13")
_B_RB = Lan("b-rb", "10.21.0", "fd00:21")
_B_SQUID = Lan("b-squid", "10.22.0", "fd00:22")
_Y_B = Lan("y-b", "10.23.0", "fd00:23")
_INTERNET = Lan("internet", "198.51.100", "2001:db8:100")
_CONTROL = Lan("control", "192.0.2", "2001:db8:2")
_LANS = (OFFICE, _A_RA, _A_SQUID, _RA_X, _B_RB, _B_SQUID, _Y_B, _INTERNET, _CONTROL)

CLIENT = Leg("client", OFFICE, 11)
CLIENT_PORTS = (32768, 49151)
"""Of the client's own connections: the Squids', which bear its address, have others."""
SERVER = Leg("server", _INTERNET, 80)
_SQUID_A, _SQUID_B = Leg("squida", _A_SQUID, 10), Leg("squidb", _B_SQUID, 10)
_RA_AT_A, _RA_AT_X = Leg("ra", _A_RA, 2), Leg("ra", _RA_X, 1)
_RB_AT_B, _RB_AT_OFFICE = Leg("rb", _B_RB, 2), Leg("rb", OFFICE, 254)
_X_AT_RA, X_AT_SERVER = Leg("x", _RA_X, 2), Leg("x", _INTERNET, 1)
_Y_AT_B, Y_AT_SERVER = Leg("y", _Y_B, 2), Leg("y", _INTERNET, 2)

BETWEEN = "rb"
"""A plain router that all tunnels pass."""

_A_PORTS = (
    Port(1, Leg("depota", OFFICE, 1), "02:de:00:00:0a:01"),
    Port(2, Leg("depota", _A_RA, 1), "02:de:00:00:0a:02"),
    Port(3, Leg("depota", _A_SQUID, 1), "02:de:00:00:0a:03"),
)
_B_PORTS = (
    Port(1, Leg("depotb", _Y_B, 1), "02:de:00:00:0b:01"),
    Port(2, Leg("depotb", _B_RB, 1), "02:de:00:00:0b:02"),
    Port(3, Leg("depotb", _B_SQUID, 1), "02:de:00:00:0b:03"),
)
SITES = (
    Site(
        name="a",
        ports=_A_PORTS,
        routes=(Route(None, _RA_AT_A), Route(_B_RB, _RB_AT_OFFICE)),
        control=Leg("depota", _CONTROL, 1),
        checks=Leg("depota", _A_SQUID, 250),
        squid=_SQUID_A,
        squid_ports=(49152, 57343),
        tunnel=_A_PORTS[0].leg,
    ),
    Site(
        name="b",
        ports=_B_PORTS,
        routes=(Route(None, _Y_AT_B), Route(OFFICE, _RB_AT_B)),
        control=Leg("depotb", _CONTROL, 2),
        checks=Leg("depotb", _B_SQUID, 250),
        squid=_SQUID_B,
        squid_ports=(57344, 65535),
        tunnel=_B_PORTS[1].leg,
    ),
)


def build(lab: Lab, add_depot: Callable[..., None] = add_switch) -> None:
    """Make all namespaces and join them; `add_depot` makes the depots', from ports and other legs. Raises LabError."""
    a, b = SITES
    add_lans(lab, _LANS)
    for site in SITES:
        add_depot(lab, site.ports, site.control, site.checks)
        add_host(lab, site.squid, routes=[Route(None, site.ports[2].leg)])
    add_router(lab, _RA_AT_A, _RA_AT_X, routes=[Route(None, _X_AT_RA), Route(OFFICE, a.ports[1].leg)])
    add_router(lab, _X_AT_RA, X_AT_SERVER, routes=[Route(OFFICE, _RA_AT_X)])
    add_router(lab, _Y_AT_B, Y_AT_SERVER, routes=[Route(OFFICE, b.ports[0].leg)])
    add_router(lab, _RB_AT_B, _RB_AT_OFFICE, routes=[Route(None, b.ports[1].leg)])
    add_host(lab, CLIENT, routes=[Route(None, a.ports[0].leg)])
    lab.set(CLIENT.node, {"ipv4/ip_local_port_range": f"{CLIENT_PORTS[0]} {CLIENT_PORTS[1]}"})
    add_host(lab, SERVER, routes=[Route(None, Y_AT_SERVER)])
