"""Gateways in memory under a virtual clock: an interconnect that loses, delays, reorders and repeats, a LAN with a
learning switch, data planes whose entries take effect after a while, hosts that ask.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from controller.tests.virtual_time import VirtualTime

from depot.vmac import (
    Algorithm,
    Gateway,
    GatewaySettings,
    Holding,
    Holdings,
    LanFrame,
    Output,
    VirtualMacs,
    VmacEvent,
)

__all__ = ["KEY", "Conditions", "Node", "VmacNetwork"]

KEY = b"the key of the gateways of a site"
BASE = 0x028888888800


@dataclass(frozen=True)
class Conditions:
    """What the interconnect and the data planes are like; seconds and shares of 1."""

    loss: float = 0.0
    delays: tuple[float, float] = (0.0005, 0.03)
    duplication: float = 0.0
    write_delays: tuple[float, float] = (0.001, 0.08)
    ask_delays: tuple[float, float] = (0.0, 0.1)
    """Between the data plane's handing over of an ask and the core's hearing of it."""


class Node:
    """One life of one gateway with its data plane."""

    def __init__(self, network: VmacNetwork, name: str, peers: Iterable[str], algorithm: Algorithm) -> None:
        self.network = network
        self.name = name
        self.is_alive = True
        self.entries: dict[int, Holding] = {}
        self.events: list[VmacEvent] = []
        self.announced: list[int] = []
        self.writes: list[Holdings] = []
        settings = GatewaySettings(
            name, tuple(peer for peer in peers if peer != name), KEY, network.virtual_macs, algorithm
        )
        network.incarnation += 1
        self.gateway = Gateway(settings, network.draws, network.incarnation, network.now)
        self.pump()

    def pump(self) -> None:
        """Carry out what the core wants."""
        output = self.gateway.take_output()
        self.events += output.events
        self.announced += output.announce
        self.network.carry(self, output)
        if output.holdings is not None:
            is_writing = bool(self.writes)
            self.writes = [*self.writes[:1], output.holdings]
            if not is_writing:
                self._write()

    def call(self, what: Callable[[], object]) -> None:
        """Let the core do something, if it lives."""
        if self.is_alive:
            what()
            self.pump()

    def _write(self) -> None:
        """Writes are done one after the other, each at one moment; the core hears of it later still.

        Of those that wait only the last is done.
        """
        self.network.later(self.network.draw(self.network.conditions.write_delays), self._take_effect)

    def _take_effect(self) -> None:
        if not self.is_alive:
            return
        holdings = self.writes.pop(0)
        self.entries = dict(holdings.buckets)
        self.network.check_owners()
        self.network.later(
            self.network.draw(self.network.conditions.delays),
            lambda: self.call(lambda: self.gateway.written(holdings.generation, self.network.now)),
        )
        if self.writes:
            self._write()


@dataclass
class Ask:
    """One ask of one host."""

    at: float
    bucket: int
    answers: list[str] = field(default_factory=list)


class VmacNetwork(VirtualTime):
    """All gateways of a site, the network between them and the LAN."""

    def __init__(self, seed: int, count: int = 16, conditions: Conditions | None = None) -> None:
        super().__init__()
        self.draws = random.Random(seed)
        self.conditions = conditions or Conditions()
        self.virtual_macs = VirtualMacs(BASE, count)
        self.nodes: dict[str, Node] = {}
        self.incarnation = 0
        self.learnt: dict[int, str] = {}
        self.asks: list[Ask] = []
        self.doubles: list[str] = []
        self.deaths = 0
        self.lost_frames = 0.0

    # Gateways.

    def start(self, *names: str, peers: Iterable[str] = (), algorithm: Algorithm = Algorithm.NONE) -> None:
        """Start gateways; `peers`: all that are on their lists, else those of all that run."""
        everyone = sorted({*names, *peers, *self.nodes})
        for name in names:
            self.nodes[name] = Node(self, name, everyone, algorithm)

    def kill(self, name: str) -> None:
        """A gateway dies, its data plane with it."""
        node = self.nodes.pop(name)
        node.is_alive = False
        node.entries = {}

    def gateway(self, name: str) -> Gateway:
        return self.nodes[name].gateway

    def order(self, name: str, what: Callable[[Gateway], object]) -> None:
        """Let a gateway's core do something now."""
        node = self.nodes[name]
        node.call(lambda: what(node.gateway))

    # The world.

    def draw(self, limits: tuple[float, float]) -> float:
        return self.draws.uniform(*limits)

    def next_timer(self) -> tuple[float, Callable[[], None] | None]:
        times = [(at, node) for node in self.nodes.values() if (at := node.gateway.next_deadline()) is not None]
        if not times:
            return float("inf"), None
        at, node = min(times, key=lambda item: item[0])
        return at, lambda: node.call(lambda: node.gateway.handle_timer(self.now))

    def carry(self, node: Node, output: Output) -> None:
        """Bring away what a core has to say."""
        for peer, data in output.datagrams:
            for _ in range(1 + (self.draws.random() < self.conditions.duplication)):
                if self.draws.random() >= self.conditions.loss:
                    self._later_at(peer, lambda at, data=data: at.gateway.receive(data, self.now))
        for frame in output.frames:
            self._send_frame(node, frame)
        for _, frame in output.answers:
            self.asks[int.from_bytes(frame, "big")].answers.append(f"core of {node.name}")

    def _later_at(self, name: str, what: Callable[[Node], object]) -> None:
        def arrive() -> None:
            node = self.nodes.get(name)
            if node is not None:
                node.call(lambda: what(node))

        self.later(self.draw(self.conditions.delays), arrive)

    def _send_frame(self, node: Node, frame: LanFrame) -> None:
        """The switch learns where the virtual MAC is and floods: the group MAC is multicast."""
        mac = self.virtual_macs.mac(frame.bucket)
        self.learnt[mac] = node.name
        for name in self.nodes:
            if self.nodes[name] is not node and self.draws.random() >= self.lost_frames:
                self._later_at(name, lambda at: at.gateway.receive_frame(mac, frame.payload, self.now))

    def ask(self, host: int) -> Ask:
        """A host asks for the gateway: broadcast, so all data planes see it at one moment."""
        bucket = self.virtual_macs.bucket(host)
        ask = Ask(self.now, bucket)
        number = len(self.asks).to_bytes(4, "big")
        self.asks.append(ask)
        for node in self.nodes.values():
            entry = node.entries.get(bucket)
            if entry is Holding.OWN:
                ask.answers.append(f"data plane of {node.name}")
            elif entry is Holding.WATCH:
                self._hand_over(node, bucket, host, number)
        return ask

    def _hand_over(self, node: Node, bucket: int, host: int, number: bytes) -> None:
        self.later(
            self.draw(self.conditions.ask_delays),
            lambda: node.call(lambda: node.gateway.asked(bucket, host, number, 1, self.now)),
        )

    # What must be so.

    def check_owners(self) -> None:
        """Note each moment at which two data planes own one bucket."""
        owners: dict[int, str] = {}
        for node in self.nodes.values():
            for bucket, holding in node.entries.items():
                if holding is Holding.OWN and owners.setdefault(bucket, node.name) != node.name:
                    self.doubles.append(f"{self.now:.3f}: bucket {bucket} is of {owners[bucket]} and {node.name}")

    def owners(self) -> list[list[str]]:
        """Return by bucket who owns it, as the data planes have it."""
        return [
            [name for name, node in sorted(self.nodes.items()) if node.entries.get(bucket) is Holding.OWN]
            for bucket in range(self.virtual_macs.count)
        ]

    def shares(self) -> dict[str, int]:
        """Return how many buckets each data plane owns."""
        owners = self.owners()
        return {name: sum(name in each for each in owners) for name in self.nodes}

    def problems(self) -> list[str]:
        """Return what is not as it must be when nothing has happened for a while."""
        found = [f"bucket {bucket}: {each}" for bucket, each in enumerate(self.owners()) if len(each) != 1]
        expected = tuple(each[0] if each else None for each in self.owners())
        for name, node in self.nodes.items():
            status = node.gateway.status()
            if status.owners != expected:
                found.append(f"{name} thinks {status.owners}, it is {expected}")
            if status.under_way:
                found.append(f"{name}: {dict(status.under_way)} under way")
            if Holding.WATCH in node.entries.values():
                found.append(f"{name} watches still")
        return found
