"""A cluster of seven under a virtual clock, and a hundred random schedules of faults."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from controller.tests.cluster_network import Network
from controller.tests.cluster_values import flow_number, peer_settings

from depot.cluster.settings import PeerSettings

NAMES = [f"m{number}" for number in range(1, 8)]
SHARED = range(100_000, 100_004)


def settings(identity: str) -> PeerSettings:
    """Small limits, so that a few seconds have everything in them."""
    return peer_settings(
        identity, connect_timeout=2.0, join_timeout=2.0, sync_timeout=5.0, longest_backoff=2.0, max_outgoing=600
    )


class Schedule:
    """One random story."""

    def __init__(self, seed: int) -> None:
        self.network = Network(NAMES, settings, seed)
        self.chance = self.network.chance
        self.happened: list[str] = []
        self.faults: list[Callable[[], None]] = [
            self.kill, self.kill, self.start, self.start, self.start, self.storm, self.cut, self.heal, self.slow_reader,
            self.half_open, self.swallow, self.leap, self.slow_network, self.leave,
        ]  # fmt: skip

    def pick(self) -> str | None:
        return self.chance.choice(sorted(self.network.nodes)) if self.network.nodes else None

    def kill(self) -> None:
        if (name := self.pick()) is not None:
            self.network.kill(name, unplug=self.chance.random() < 0.4)

    def leave(self) -> None:
        if (name := self.pick()) is not None:
            node = self.network.nodes[name]
            node.act(lambda: node.mesh.leave(node.now))
            self.network.kill(name)

    def start(self) -> None:
        dead = sorted(set(NAMES) - set(self.network.nodes))
        if dead:
            name = self.chance.choice(dead)
            self.network.start(name, clock=self.chance.uniform(0, 1e6))
            self.work(name, self.chance.randrange(40))

    def storm(self) -> None:
        for name in self.chance.sample(NAMES, 4):
            for _ in range(3):
                if name in self.network.nodes:
                    self.network.kill(name, unplug=self.chance.random() < 0.2)
                self.network.start(name)
                self.network.run(self.chance.choice((0.0, 0.01, 0.3)))

    def cut(self) -> None:
        self.network.cut(set(self.chance.sample(NAMES, self.chance.randrange(1, 4))))

    def heal(self) -> None:
        self.network.heal()

    def slow_reader(self) -> None:
        for end in self.some_ends(4):
            self.network.stop_reading(end, self.chance.uniform(0.5, 4.0))
        for name in sorted(self.network.nodes):
            self.work(name, 150)

    def half_open(self) -> None:
        for end in self.some_ends(2):
            self.network.halve(end)

    def swallow(self) -> None:
        for end in self.some_ends(2):
            self.network.swallow(end)

    def some_ends(self, number: int) -> list:  # type: ignore[type-arg]
        ends = self.network.ends()
        return self.chance.sample(ends, min(number, len(ends)))

    def leap(self) -> None:
        if (name := self.pick()) is not None:
            self.network.nodes[name].clock_offset += self.chance.choice((1.0, 5.0, 3600.0))

    def slow_network(self) -> None:
        """Calls and answers cross, come late and in another order."""
        self.network.latency = self.chance.choice(((0.001, 0.02), (0.05, 0.5), (0.0, 2.5)))

    def work(self, name: str, changes: int) -> None:
        """A member takes up and ends connections, its own and some that others take up, too."""
        node = self.network.nodes[name]
        base = 1000 * NAMES.index(name)
        for _ in range(changes):
            shared = self.chance.random() < 0.05
            flow = flow_number(self.chance.choice(SHARED) if shared else base + self.chance.randrange(60))
            if self.chance.random() < 0.6:
                node.install(flow, self.chance.random() < 0.5, self.chance.choice((1, 1, 2)))
            else:
                node.remove(flow)

    def play(self, faults: int) -> None:
        """All start, much goes wrong, then nothing more does; in the end everything is right."""
        self.network.start_all()
        for _ in range(faults):
            for name in sorted(self.network.nodes):
                if self.chance.random() < 0.5:
                    self.work(name, self.chance.randrange(6))
            self.network.run(self.chance.choice((0.0, 0.02, 0.3, 1.5, 4.0)))
            fault = self.chance.choice(self.faults)
            self.happened.append(f"{self.network.now:.2f} {fault.__name__}")
            fault()
            for node in self.network.nodes.values():
                node.check_what_was_told()
        self.network.heal()
        self.network.latency = (0.001, 0.02)
        self.network.run(18.0)
        for name in sorted(self.network.nodes):
            self.work(name, 5)
        self.network.run(1.0)


def check(seed: int, faults: int) -> None:
    schedule = Schedule(seed)
    try:
        schedule.play(faults)
        schedule.network.check_settled()
    except Exception as error:
        error.add_note(f"seed {seed}, {faults} faults: {', '.join(schedule.happened)}")
        raise


@pytest.mark.parametrize("decade", range(10))
def test_a_hundred_schedules_of_faults(decade: int) -> None:
    for seed in range(10 * decade, 10 * decade + 10):
        check(seed, faults=8)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_schedules_of_faults_for_long() -> None:
    """As long as SOAK_SECONDS says, other seeds each time; a few without."""
    end = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "2"))
    chance = random.Random()
    while time.monotonic() < end:
        check(chance.randrange(1000, 2**32), chance.choice((3, 10, 30)))
