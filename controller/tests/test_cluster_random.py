"""Random lives of a small cluster with the real program: whatever happens, in the end everybody agrees."""

from __future__ import annotations

import random

import pytest
from controller.tests.cluster_loop import INTERCEPT, SERVER, ClusterWorld, Site
from scapy.packet import Raw

from depot.address import FlowKey
from depot.cluster import ConnectionAction, key_of
from depot.p4runtime.entry import Action, Entry, Table, connection_flow

RULES = '[[policy]]\nname = "pass"\nport = 443\nprotocol = "tcp"\naction = "bypass"\n' + INTERCEPT
CLIENT = "10.1.0.50"


class Life:
    """A cluster of three to which things happen by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = ClusterWorld("abc", RULES, delay=self.chance.choice((0.0, 0.01, 0.08)))
        self.dead: set[str] = set()
        self.serial = 0
        self.sent: dict[tuple[int, bool], list[int]] = {}
        for site in self.world.sites.values():
            for host in site.hosts:
                site.greet(host)
        self.world.advance(1.0)

    def site(self) -> Site:
        return self.world[self.chance.choice("abc")]

    def step(self) -> None:
        sport = self.chance.randrange(4000, 4012)
        port = self.chance.choice((80, 443))
        verb = self.chance.choices(
            ("opens", "speaks", "answers", "connects", "closes", "waits", "dies", "returns"),
            (6, 8, 8, 5, 3, 6, 0.4, 1),
        )[0]
        site = self.site()
        self.serial += 1
        data = b"%08d" % self.serial
        if verb in ("opens", "speaks", "closes"):
            flags = {"opens": "S", "speaks": "PA", "closes": "R"}[verb]
            site.send(
                4, site.packet(site.gateway, CLIENT, sport, SERVER, port, flags, data if verb == "speaks" else b"")
            )
        elif verb == "answers":
            site.send(4, site.packet(site.gateway, SERVER, port, CLIENT, sport, "PA", data))
        elif verb == "connects":
            site.send(2, site.packet(site.proxy, CLIENT, sport + 1000, SERVER, 80, "S"))
        elif verb == "waits":
            self.world.advance(self.chance.choice((0.01, 0.05, 0.3, 3.0)))
        elif verb == "dies" and not self.dead:
            self.dead.add(site.name)
            self.world.kill(site.name)
        elif verb == "returns" and self.dead:
            self.world.restart(self.dead.pop())
        self.world.pump()

    def settle(self) -> None:
        while self.dead:
            self.world.restart(self.dead.pop())
        self.world.advance(12.0)


def announced(site: Site) -> dict[bytes, ConnectionAction]:
    return {key_of(claim.flow): claim.action for claim in site.mesh.own.claims()}


@pytest.mark.parametrize("seed", range(12))
def test_in_the_end_everybody_agrees(seed: int) -> None:
    life = Life(seed)
    for _ in range(120):
        life.step()
    life.settle()
    sites = life.world.sites
    for site in sites.values():
        assert site.failures == []
        side = site.core.cluster
        # what peers know of a member is what it has
        for other in sites.values():
            if other is not site:
                known = {key_of(c.flow): c.action for c in other.mesh.database.claims(site.name)}
                assert known == announced(site)
        # nothing waits for ever, and the bookkeeping of the core is that of the channels
        assert (side.holding.packets, side.holding.octets, side.holding.relayed) == (0, 0, 0)
        assert set(announced(site)) == set(side.own._own)
        assert not side._beginnings
        assert not side._announcing
        for entry in site.entries(Table.CONNECTION):
            check_entry(site, entry)


def check_entry(site: Site, entry: Entry) -> None:
    """Every entry is of a session of ours, or of what its owner says now."""
    flow: FlowKey = connection_flow(entry.values)
    session = site.core.tracker.session(flow)
    claim = site.mesh.database.lookup(flow)
    if entry.action is Action.FORWARD_TO_MEMBER:
        assert session is not None
    elif session is None:
        assert claim is not None
        if entry.action is Action.FORWARD_TO_PEER:
            assert claim.action is ConnectionAction.FORWARD


@pytest.mark.parametrize("seed", range(8))
def test_no_order_is_lost_on_the_way_to_a_proxy(seed: int) -> None:
    """A stream of answers that arrive at any member while announcements are under way comes in order, and whole."""
    chance = random.Random(seed)
    world = ClusterWorld("abc", INTERCEPT, delay=chance.choice((0.0, 0.03, 0.15)))
    a = world["a"]
    for site in world.sites.values():
        for host in site.hosts:
            site.greet(host)
    world.advance(1.0)
    a.send(2, a.packet(a.proxy, CLIENT, 5000, SERVER, 80, "S"))
    entrance = world[chance.choice("bc")]
    a.proxy.received.clear()
    sent = []
    for number in range(60):
        sent.append(b"%04d" % number)
        entrance.send(4, entrance.packet(entrance.gateway, SERVER, 80, CLIENT, 5000, "PA", sent[-1]))
        world.advance(chance.choice((0.0, 0.001, 0.01, 0.03)), step=0.01)
    world.advance(0.5)
    assert [bytes(frame[Raw]) for frame in a.proxy.received] == sent
