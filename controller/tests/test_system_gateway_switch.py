"""One switch in front of gateways that know nothing of it: plain Linux routers, plain hosts, one shared address.

    host11 host12 host13                    [g1] [g2] [g3]              host21
       |      |      |                        |    |    |                  |
    ===+======+======+===+= left  1 depot 2  =+====+====+= between         |
                         |          3                                      |
                         +----------+  right ==+====+====+=================+

The gateways route to the right LAN; what comes back from it goes to whichever gateway the server has, and from there by
its route to the left LAN through the depot.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from controller.tests.system_lab import NEEDS, PATIENCE, PORT, TRAFFIC, Conversation

from depot.demo.box import Box, Target
from depot.demo.configuration import SWITCH_ADDRESS, toml_table
from depot.demo.kernel import listens
from depot.demo.lab import Lab, missing_programs, wait_until
from depot.demo.topology import FAMILIES, Lan, Leg, Port, Route, add_host, add_lans, add_router, add_switch

pytestmark = NEEDS

LEFT, BETWEEN, RIGHT = (
    Lan("left", "10.1.0", "fd00:1"),
    Lan("between", "10.9.0", "fd00:9"),
    Lan("right", "10.2.0", "fd00:2"),
)
SHARED = Leg("depot", LEFT, 1)
PORTS = (
    Port(1, Leg("depot", LEFT, 254), "02:de:00:00:00:01"),
    Port(2, Leg("depot", BETWEEN, 254), "02:de:00:00:00:02"),
)
NAMES = ("g1", "g2", "g3")
HOSTS = tuple(Leg(f"host{number}", LEFT, number) for number in (11, 12, 13))
SERVER = Leg("host21", RIGHT, 21)


class Site:
    """Hosts, switch and gateways."""

    def __init__(self, lab: Lab, target: Target) -> None:
        self.lab = lab
        add_lans(lab, (LEFT, BETWEEN, RIGHT))
        add_switch(lab, PORTS)
        for number, name in enumerate(NAMES, 1):
            back = Route(LEFT, PORTS[1].leg)
            add_router(lab, Leg(name, BETWEEN, number), Leg(name, RIGHT, number), routes=[back])
        for leg in HOSTS:
            add_host(lab, leg, routes=[Route(None, SHARED)])
        add_host(lab, SERVER, routes=[Route(None, Leg("g1", RIGHT, 1))])
        interfaces = {port.number: port.interface for port in PORTS}
        self.box = Box(lab, target, interfaces=interfaces, namespace="depot")
        self.box.config_file.write_text(configuration(self.box))
        self.box.start_switch()
        self.box.start_controller()
        wait_until(lambda: self.counts() in ([85, 85, 86], [84, 86, 86]), 15.0, "the gateways have their shares", 0.2)
        server = lab.start(SERVER.node, "server", sys.executable, TRAFFIC, "serve", SERVER.node, str(PORT))
        wait_until(lambda: listens(server.pid, PORT, 6), 10.0, "the server listens")
        self.drivers = {}
        for leg in HOSTS:
            argv = [sys.executable, TRAFFIC, "drive"]
            process = lab.start(leg.node, f"driver-{leg.node}", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.drivers[leg.node] = Conversation(process)

    def status(self) -> dict[str, object]:
        """What `depot vmac status` says; it fails when a gateway is missing."""
        answer: dict[str, object] = json.loads(self.box.command("vmac", "status", "--json").stdout)
        return answer

    def counts(self) -> list[int]:
        """Buckets of the gateways, fewest first."""
        return sorted(row["buckets"] for row in self.status()["gateways"])

    def owners(self) -> list[str]:
        """Who has each bucket."""
        return [row["owner"] for row in self.status()["buckets"]]

    def drive(self, host: str, do: str, **arguments: object) -> dict[str, object]:
        """One command for a host's driver (see session_traffic.Driver)."""
        answer: dict[str, object] = json.loads(self.drivers[host].say(json.dumps({"do": do} | arguments)))
        return answer

    def expect_all_exchange(self) -> None:
        """Every session goes on."""
        for leg in HOSTS:
            answer = self.drive(leg.node, "progress", records=5, seconds=15)
            assert answer["lost"] == []
            assert answer["behind"] == 0

    def passed(self, gateway: str) -> int:
        """Packets that a gateway has taken from the switch."""
        listed = json.loads(self.lab.run(gateway, "ip", "-s", "-j", "link", "show", BETWEEN.name))
        return int(listed[0]["stats64"]["rx"]["packets"])


def configuration(box: Box) -> str:
    """The depot's file."""
    shared = [SHARED.address(family) for family in FAMILIES]
    parts = [
        toml_table("[depot]", {"name": "front", "socket": str(box.socket)}),
        toml_table("[[switch]]", {"name": "edge", "address": SWITCH_ADDRESS, "device_id": 1}),
    ]
    for port in PORTS:
        addresses = [port.leg.with_length(family) for family in FAMILIES]
        parts.append(toml_table("[[switch.port]]", {"number": port.number, "mac": port.mac, "addresses": addresses}))
    parts.append(toml_table("[vmac]", {"mode": "switch", "addresses": shared, "ports": [1], "threshold": 1.0}))
    for number, name in enumerate(NAMES, 1):
        parts.append(toml_table("[[vmac.gateway]]", {"name": name, "via": f"{BETWEEN.ipv4}.{number}", "capacity": 1e5}))
    return "\n".join(parts)


@pytest.fixture(scope="module", params=list(Target), ids=lambda target: target.value)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    if request.param is Target.BMV2 and missing_programs([request.param.program]):
        pytest.skip(f"{request.param.program} is not on the PATH")
    with Lab() as lab:
        yield Site(lab, request.param)


def test_sessions_survive_moves_a_dead_gateway_and_its_return(site: Site):
    for leg in HOSTS:
        for family in FAMILIES:
            answer = site.drive(
                leg.node, "open", address=SERVER.address(family), port=PORT, count=4, pauses=(0.05,), sizes=(1000,),
                patience=PATIENCE,
            )  # fmt: skip
            assert answer["failed"] == []
    site.expect_all_exchange()
    for to in ("g2", "g3", "g1"):
        site.box.tell("vmac", "move", "0-255", to)
        wait_until(lambda to=to: set(site.owners()) == {to}, 5.0, f"all is {to}'s")
        before = {name: site.passed(name) for name in NAMES}
        site.expect_all_exchange()
        after = {name: site.passed(name) for name in NAMES}
        assert after[to] - before[to] > 50
    site.box.tell("vmac", "move", "0-255", "g2")
    site.lab.ip("g2", f"link set {BETWEEN.name} down")  # a gateway dies
    died = time.monotonic()
    wait_until(lambda: "g2" not in site.owners(), 10.0, "nothing is g2's")
    print(f"a dead gateway has nothing after {time.monotonic() - died:.2f} s")
    site.expect_all_exchange()
    site.lab.ip("g2", f"link set {BETWEEN.name} up")
    wait_until(lambda: site.owners().count("g2") >= 85, 20.0, "g2 has its share")
    site.expect_all_exchange()
    for leg in HOSTS:
        assert site.drive(leg.node, "finish", seconds=PATIENCE)["lost"] == []


def test_orders_that_cannot_be_are_refused(site: Site):
    for words, said in (
        (("0-255", "g9"), "there is no gateway g9; there are g1, g2, g3"),
        (("256", "g1"), "there is no bucket 256; they are 0 to 255"),
        (("5-2", "g1"), "'5-2' is neither a bucket nor a range of them like 8-15"),
    ):
        done = site.box.command("vmac", "move", *words)
        assert done.returncode != 0
        assert said in done.stderr
