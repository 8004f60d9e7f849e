"""The seed's figures in namespaces: with plain routers, which shows that nothing is arranged, then with depots."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Sequence

import pytest
from controller.tests.system_lab import NEEDS
from controller.tests.test_system_demo import links, prefix_in, start, traces

from depot.demo import cluster_network, farm_network
from depot.demo.box import Engine, Target
from depot.demo.cluster_story import ClusterStory
from depot.demo.kernel import counter_in
from depot.demo.lab import Lab, missing_programs
from depot.demo.member import Site
from depot.demo.proxied import Answer, fetch
from depot.demo.screen import Screen
from depot.demo.squid import HTTP, Squid
from depot.demo.topology import FAMILIES, Leg, Port, Route, add_router, set_route
from depot.demo.web import WebMember

pytestmark = [
    *NEEDS,
    pytest.mark.skipif(
        bool(missing_programs(("nft", "nginx", "curl", "wrk", "squid"))), reason="needs nft, nginx, curl, wrk, squid"
    ),
]

_TABLE = 80
"""Routing table of a plain router for what goes to its Squid."""


def add_plain_router(lab: Lab, ports: Sequence[Port], *_: Leg) -> None:
    """A Linux router in a depot's place."""
    add_router(lab, *(port.leg for port in ports))


def hand_to_squid(lab: Lab, site: Site, *selectors: str) -> None:
    """Policy routing: packets that a selector of `ip rule` names go to the site's Squid."""
    for family in FAMILIES:
        way = f"route add {Route(None, site.squid).prefix(family)} via {site.squid.address(family)} table {_TABLE}"
        rules = [f"rule add {selector} ipproto tcp lookup {_TABLE}" for selector in selectors]
        lab.ip(site.node, way, *rules, family=family)


def squid_of(lab: Lab, site: Site) -> Squid:
    """A site's Squid, running."""
    squid = Squid(lab, site.squid.node, site.squid_ports, patience=1)
    squid.prepare([f"iif {site.squid.lan.name}"])
    squid.start()
    return squid


def server_of(lab: Lab, leg: Leg) -> WebMember:
    """The origin server, running."""
    server = WebMember(lab, leg.as_host())
    server.prepare()
    server.start()
    return server


def visit(lab: Lab) -> list[Answer]:
    """One request of each family in the first figure's network."""
    network = cluster_network
    return [fetch(lab, network.CLIENT.node, network.SERVER.address(family))[0] for family in FAMILIES]


def test_plain_routers_and_squids_fail_as_the_seed_says() -> None:
    """Answers come back past the proxy that asked, and the client resets what it knows nothing of."""
    network = cluster_network
    with Lab() as lab:
        network.build(lab, add_plain_router)
        for site in network.SITES:
            for route in site.routes:
                set_route(lab, site.node, route)
        server = server_of(lab, network.SERVER)
        squids = [squid_of(lab, site) for site in network.SITES]
        assert [answer.outcome for answer in visit(lab)] == ["200", "200"]  # nobody intercepts
        a, b = network.SITES
        outside, inside = (port.leg.lan.name for port in b.ports[:2])
        hand_to_squid(lab, b, f"iif {outside} dport {HTTP}", f"iif {inside} dport {HTTP}")
        office, uplink = (port.leg.lan.name for port in a.ports[:2])
        hand_to_squid(lab, a, f"iif {office} dport {HTTP}", f"iif {uplink} sport {HTTP}")
        resets = counter_in(lab, network.CLIENT.node, "Tcp", "OutRsts")
        assert [answer.outcome for answer in visit(lab)] == ["HTTP 503 by squida"] * 2
        assert counter_in(lab, network.CLIENT.node, "Tcp", "OutRsts") >= resets + 2
        set_route(lab, network.SERVER.node, Route(network.OFFICE, network.X_AT_SERVER))
        assert [answer.outcome for answer in visit(lab)] == ["200", "200"]
        assert [len(squid.requests()) for squid in squids] == [4, 0]
        clients = [network.CLIENT.address(family) for family in FAMILIES]
        assert [seen.client for seen in server.visits()] == clients * 2  # Squid speaks in its client's name


def received(lab: Lab, leg: Leg) -> int:
    """Packets that a plain router has received by a leg."""
    return int(lab.run(leg.node, "cat", f"/sys/class/net/{leg.lan.name}/statistics/rx_packets"))


def test_a_balancer_tears_pairs_apart_when_the_downstream_proxy_has_the_clients_address() -> None:
    """Plain routers in the depots' place: one client's requests to one server pass both."""
    network = farm_network
    with Lab() as lab:
        network.build(lab, add_plain_router)
        for site in network.SITES:
            for route in site.routes:
                set_route(lab, site.node, route)
        server = server_of(lab, network.SERVER)
        downstream = Squid(lab, network.DOWNSTREAM, network.DOWNSTREAM_PORTS, patience=1)
        downstream.prepare(network.DIVERTED)
        downstream.start()
        for family in FAMILIES:
            client, at = network.CLIENTS[1].address(family), network.SERVER.address(family)
            before = [received(lab, site.ports[0].leg) for site in network.SITES]
            answers = fetch(lab, network.CLIENT_NODE, at, 12, client)
            assert [answer.proxies for answer in answers] == [("downstream",)] * 12
            assert {visit.client for visit in server.visits()[-12:]} == {client}
            after = [received(lab, site.ports[0].leg) for site in network.SITES]
            assert all(later - earlier > 10 for earlier, later in zip(before, after, strict=True))


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "options",
    [pytest.param({"engine": Engine.PYTHON}, marks=pytest.mark.matrix), {"target": Target.BMV2}],
    ids=["softswitch-python", "bmv2"],
)
def test_figure_1(options: dict[str, object]) -> None:
    """Without the cluster nothing succeeds, with it everything does; the demo below runs on the engine it chooses."""
    if options.get("target") is Target.BMV2 and missing_programs([Target.BMV2.program]):
        pytest.skip("simple_switch_grpc is not on the PATH")
    told = io.StringIO()
    with Lab() as lab:
        story = ClusterStory(lab, Screen(told), options)
        story.set_up()
        story.fail_alone()
        story.join()
        story.succeed()
        story.show_what_is_known()
        assert len(story.findings) > 10
        assert [finding for finding in story.findings if not finding.held] == [], told.getvalue()


@pytest.mark.timeout(240)
def test_the_demo_as_a_user_meets_it() -> None:
    """Every claim holds, and nothing is left."""
    before = links()
    demo = start("cluster", "--json")
    out, told = demo.communicate(timeout=200)
    assert demo.returncode == 0, told
    report = json.loads(out)
    assert report["held"] is True
    assert len(report["findings"]) >= 20
    assert traces(prefix_in(told)) == []
    assert links() == before


def test_nothing_is_left_after_an_interruption() -> None:
    """Squids and depots are ended, and their files are gone."""
    demo = start("cluster")
    assert demo.stdout is not None
    told = ""
    for text in demo.stdout:
        told += text
        if "Squid runs behind" in text:
            break
    assert traces(prefix_in(told)) != []
    os.killpg(demo.pid, signal.SIGINT)
    demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert traces(prefix_in(told)) == []
    listed = subprocess.run(["pgrep", "-a", "squid"], capture_output=True, text=True, check=False).stdout
    assert prefix_in(told) not in listed
