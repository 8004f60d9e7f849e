"""Load that begins on one of three gateways (seed 004, 4.3), in whole sites under a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from controller.tests.vmac_network import VmacNetwork

from depot.vmac import Algorithm, BucketsTaken, Cause, Holding

GATEWAYS = ("g1", "g2", "g3")
HOSTS = [0x000003001800 + 0x100 * number for number in range(224)]
MEASURED_EVERY = 0.5


@dataclass
class Course:
    """What came of it."""

    without_loss_after: float | None
    """Seconds until no gateway was offered more than it can do, for good; None: never."""
    moves: int
    """Buckets that changed hands."""
    last_move: float
    """Seconds until the last of them did."""
    uses: list[float]
    """What is offered to each gateway in the end, as a share of what it can do."""


class Site(VmacNetwork):
    """Three gateways, of which the first owns all, and hosts that send steadily."""

    def __init__(self, algorithm: Algorithm, rates: list[float], sees_only_what_it_does: bool) -> None:
        super().__init__(1, 256)
        self.rates: dict[int, float] = {}
        for host, rate in zip(HOSTS, rates, strict=True):
            bucket = self.virtual_macs.bucket(host)
            self.rates[bucket] = self.rates.get(bucket, 0.0) + rate
        self.capacity = sum(rates) / 2.5
        self.sees_only_what_it_does = sees_only_what_it_does
        self.start("g1", peers=GATEWAYS, algorithm=algorithm)
        self.run(3)
        self.enough_at: float | None = None
        for name in GATEWAYS[1:]:
            self.start(name, peers=GATEWAYS, algorithm=algorithm)
        self.run(8)
        self.order("g1", lambda gateway: gateway.move(range(256), "g1", self.now))
        self.run(8)
        assert self.shares() == {"g1": 256, "g2": 0, "g3": 0}
        self.begin = self.now
        self._measure()

    def offered(self, name: str) -> float:
        entries = self.nodes[name].entries
        return sum(rate for bucket, rate in self.rates.items() if entries.get(bucket) is Holding.OWN)

    def _measure(self) -> None:
        for name, node in self.nodes.items():
            noisy = {
                bucket: rate * self.draws.uniform(0.95, 1.05)
                for bucket, rate in self.rates.items()
                if node.entries.get(bucket) is Holding.OWN
            }
            load = sum(noisy.values()) / self.capacity
            if self.sees_only_what_it_does and load > 1:
                noisy = {bucket: rate / load for bucket, rate in noisy.items()}
            node.call(lambda node=node, load=load, noisy=noisy: node.gateway.measured(min(1.0, load), noisy, self.now))
            if self.offered(name) > self.capacity:
                self.enough_at = None
        if self.enough_at is None and all(self.offered(name) <= self.capacity for name in GATEWAYS):
            self.enough_at = self.now
        self.later(MEASURED_EVERY, self._measure)

    def course(self, seconds: float) -> Course:
        """Let time pass and tell what has come of it."""
        moves, last = 0, 0.0
        for node in self.nodes.values():
            node.events.clear()
        while self.now < self.begin + seconds:
            self.run(0.5)
            for node in self.nodes.values():
                taken = [e for e in node.events if isinstance(e, BucketsTaken) and e.cause is Cause.MOVED]
                moves += sum(len(event.buckets) for event in taken)
                last = self.now - self.begin if taken else last
                node.events.clear()
        after = None if self.enough_at is None else self.enough_at - self.begin
        return Course(after, moves, last, [self.offered(name) / self.capacity for name in GATEWAYS])


EQUAL = [10.0] * len(HOSTS)
UNEQUAL = [1000.0 / number for number in range(1, len(HOSTS) + 1)]


@pytest.mark.parametrize("sees_only_what_it_does", [False, True])
@pytest.mark.parametrize("rates", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_balanced_ends_loss_within_20_seconds_and_then_rests(rates: list[float], sees_only_what_it_does: bool) -> None:
    course = Site(Algorithm.BALANCED, rates, sees_only_what_it_does).course(30)
    assert course.without_loss_after is not None
    assert course.without_loss_after <= 20
    assert course.last_move <= 20
    assert max(course.uses) - min(course.uses) <= 0.1


@pytest.mark.parametrize("rates", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_balanced_needs_fewer_moves_than_the_ring(rates: list[float]) -> None:
    balanced = Site(Algorithm.BALANCED, rates, False).course(30)
    ring = Site(Algorithm.RING, rates, False).course(65)
    assert ring.without_loss_after is not None
    assert balanced.without_loss_after is not None
    assert balanced.without_loss_after < ring.without_loss_after
    assert balanced.moves < ring.moves
