"""Forty members on a bus under a virtual clock, and random schedules of faults."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from controller.tests.bus_network import BusNetwork, BusNode
from controller.tests.cluster_values import flow_number, peer_settings

from depot.cluster.bus import OUTAGE_LIMIT, Bus
from depot.cluster.bus_wire import BusKind, BusMessage, encode_bus
from depot.cluster.events import StrangerTurnedAway
from depot.cluster.settings import PeerSettings
from depot.cluster.wire import KEEPALIVE

NAMES = [f"m{number}" for number in range(1, 41)]


def settings(identity: str) -> PeerSettings:
    """Small limits, so that a few seconds have everything in them."""
    return peer_settings(identity, sync_timeout=5.0, max_outgoing=600)


class Schedule:
    """One random story."""

    def __init__(self, seed: int, names: list[str]) -> None:
        self.names = names
        self.network = BusNetwork(names, settings, seed)
        self.chance = self.network.chance
        self.happened: list[str] = []
        self.faults: list[Callable[[], None]] = [
            self.kill, self.kill, self.start, self.start, self.start, self.leave, self.storm, self.break_link,
            self.deafen, self.restart_bus, self.lose, self.double, self.reorder, self.fail_to_store, self.leap,
        ]  # fmt: skip

    def some(self, most: int) -> list[BusNode]:
        names = sorted(self.network.nodes)
        return [self.network.nodes[name] for name in self.chance.sample(names, min(len(names), most))]

    def kill(self) -> None:
        for node in self.some(2):
            self.network.kill(node.name)

    def leave(self) -> None:
        for node in self.some(1):
            self.network.leave(node.name)

    def start(self) -> None:
        for name in sorted(set(self.names) - set(self.network.nodes))[:3]:
            self.network.start(name, clock=self.chance.uniform(0, 1e6))
            self.work(name, self.chance.randrange(40))

    def storm(self) -> None:
        for name in self.chance.sample(self.names, 4):
            for _ in range(3):
                if name in self.network.nodes:
                    self.network.kill(name)
                self.network.start(name)
                self.network.run(self.chance.choice((0.0, 0.01, 0.3)))

    def break_link(self) -> None:
        for node in self.some(5):
            self.network.break_link(node, self.chance.choice((0.01, 1.0, 4.0)))

    def deafen(self) -> None:
        for node in self.some(3):
            self.network.deafen(node, self.chance.choice((0.5, 2.0, 5.0)))

    def restart_bus(self) -> None:
        self.network.restart_bus(self.chance.choice((0.1, 1.0, 5.0, OUTAGE_LIMIT + 1)))

    def lose(self) -> None:
        self.network.loss = self.chance.choice((0.0, 0.01, 0.2))

    def double(self) -> None:
        self.network.doubling = self.chance.choice((0.0, 0.1))

    def reorder(self) -> None:
        self.network.latency = self.chance.choice(((0.001, 0.02), (0.0, 0.5)))

    def fail_to_store(self) -> None:
        self.network.store_failure = self.chance.choice((0.0, 0.3))

    def leap(self) -> None:
        for node in self.some(1):
            node.clock_offset += self.chance.choice((1.0, 5.0, 3600.0))

    def work(self, name: str, changes: int) -> None:
        """A member takes up and ends connections."""
        node, base = self.network.nodes[name], 1000 * self.names.index(name)
        for _ in range(changes):
            flow = flow_number(base + self.chance.randrange(60))
            if self.chance.random() < 0.6:
                node.install(flow, self.chance.random() < 0.5, self.chance.choice((1, 1, 2)))
            else:
                node.remove(flow)

    def play(self, faults: int) -> None:
        """All start, much goes wrong, then nothing more does; in the end everything is right."""
        self.network.start_all()
        for _ in range(faults):
            for name in sorted(self.network.nodes):
                if self.chance.random() < 0.3:
                    self.work(name, self.chance.randrange(6))
            self.network.run(self.chance.choice((0.0, 0.02, 0.3, 1.5, 4.0)))
            fault = self.chance.choice(self.faults)
            self.happened.append(f"{self.network.now:.2f} {fault.__name__}")
            fault()
            for node in self.network.nodes.values():
                node.check_what_was_told()
        self.network.calm()
        self.network.run(OUTAGE_LIMIT + 18.0)
        for name in sorted(self.network.nodes):
            self.work(name, 5)
        self.network.run(1.0)


def check(seed: int, faults: int, names: list[str]) -> None:
    schedule = Schedule(seed, names)
    try:
        schedule.play(faults)
        schedule.network.check_settled()
    except Exception as error:
        error.add_note(f"seed {seed}, {faults} faults: {', '.join(schedule.happened)}")
        raise


@pytest.mark.parametrize("seed", range(100))
def test_seven_members_after_random_faults(seed: int) -> None:
    check(seed, 8 + seed % 13, NAMES[:7])


@pytest.mark.parametrize("seed", range(2))
def test_forty_members_after_random_faults(seed: int) -> None:
    check(seed, 10, NAMES)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_schedules_of_faults_for_long() -> None:
    """As long as SOAK_SECONDS says, other seeds each time; a few without."""
    end, chance = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "2")), random.Random()
    while time.monotonic() < end:
        check(chance.randrange(1000, 2**32), chance.choice((3, 10, 30)), NAMES[:7])


@pytest.mark.parametrize(
    ("identity", "version", "reason"),
    [("z", 1, "z is no peer"), ("a", 1, "a is no peer"), ("b", 9, "b: the sender speaks version 9, we speak 1")],
)
def test_who_does_not_belong_here_is_told_of_and_not_heard(identity: str, version: int, reason: str) -> None:
    bus = Bus("a", [settings("b")], 1, 0.0)
    bus.connected(0.0)
    data = encode_bus(BusMessage(BusKind.SIGN, 5, 1, 0, KEEPALIVE))
    bus.receive(identity, bytes((version,)) + data[1:], 0.1)
    told = [event.detail for event in bus.take_events() if isinstance(event, StrangerTurnedAway)]
    assert told == [reason]
    assert all(view.connections == 0 and not view.is_up for view in bus.peers())
