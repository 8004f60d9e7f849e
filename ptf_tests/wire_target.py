"""A switch behind real ports: packets through PTF's data plane, entries and news over P4Runtime.

Nothing here sleeps to see whether something else comes: behind each packet goes an ARP request for the switch's own
address, and when its answer and its digest are there, whatever the packet caused has happened before.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from depot.address import parse_address, parse_mac
from ptf_tests.case import Digest, Entry, Outcome, PacketIn, Step, Submit
from ptf_tests.network import PORTS, our_address, our_mac
from ptf_tests.p4runtime_client import P4RuntimeClient
from ptf_tests.packets import arp, frame
from ptf_tests.target import Loaded

__all__ = ["PortSet", "WireTarget"]

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.02
BROADCAST = "ff:ff:ff:ff:ff:ff"


class PortSet(Protocol):
    """The test's ends of the switch's ports."""

    def send(self, port: int, packet: bytes) -> None:
        """Put one frame on a port."""
        ...

    def receive(self, timeout: float) -> tuple[int, bytes] | None:
        """The next frame that left the switch, of any port; None when none comes in `timeout` seconds."""
        ...


class WireTarget:
    """One running switch."""

    def __init__(self, ports: PortSet, client: P4RuntimeClient) -> None:
        self._ports = ports
        self._client = client
        self._loaded = Loaded()
        self._fences = itertools.count(1)

    def load(self, entries: Iterable[Entry]) -> None:
        self._client.change(*self._loaded.change_to(entries))

    def counted(self, entry: Entry) -> tuple[int, int]:
        return self._client.direct_counter(entry)

    def run(self, step: Step) -> Outcome:
        return self.run_all([step], step.expected().count())

    def run_all(self, steps: list[Step], expected: int) -> Outcome:
        """Send the steps' packets in one go, all at the same port; `expected` frames and messages are waited for."""
        drops, punts = self._counts("drops"), self._counts("punts")
        for step in steps:
            if isinstance(step.port, Submit):
                self._client.packet_out(step.port, step.packet)
            else:
                self._ports.send(step.port, step.packet)
        outcome = Outcome()
        port = steps[0].port
        if isinstance(port, Submit):
            self._await_packet_out(steps, drops, outcome, expected)
        self._fence(port if isinstance(port, int) else PORTS[0], outcome)
        self._collect(outcome, expected)
        outcome.drops = self._counts("drops") - drops
        outcome.punts = self._counts("punts") - punts
        return outcome

    def _await_packet_out(self, steps: list[Step], drops: Counter[int], outcome: Outcome, expected: int) -> None:
        """An ARP request can overtake a packet-out: wait for what it is to cause."""
        wanted = Counter(step.drop for step in steps if step.drop is not None)
        self._collect(outcome, expected)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._counts("drops") - drops >= wanted and time.monotonic() < deadline:
            self._collect(outcome, outcome.count() + 1, POLL_SECONDS)

    def _fence(self, port: int, outcome: Outcome) -> None:
        """Ask the switch for its address and collect all that comes until it has answered. Raises `TimeoutError`."""
        number = next(self._fences) & 0xFFFF
        ours, asker, mac = (
            our_address(port, 4),
            f"10.0.{port}.250",
            f"02:fe:00:00:{number >> 8:02x}:{number & 0xFF:02x}",
        )
        answer = frame(our_mac(port), mac, arp(2, our_mac(port), ours, mac, asker))
        told = Digest("neighbour_seen_t", (port, parse_address(asker), parse_mac(mac)))
        self._ports.send(port, frame(mac, BROADCAST, arp(1, mac, asker, "00:00:00:00:00:00", ours)))
        deadline = time.monotonic() + ANSWER_SECONDS
        while not (outcome.outputs[port, answer] and outcome.digests[told]):
            self._listen(outcome)
            received = self._ports.receive(POLL_SECONDS if not outcome.outputs[port, answer] else POLL_SECONDS / 20)
            if received is not None:
                outcome.outputs[received] += 1
            elif time.monotonic() > deadline:
                raise TimeoutError(f"the switch answers no ARP request at port {port} within {ANSWER_SECONDS} s")
        outcome.outputs -= Counter({(port, answer): 1})
        outcome.digests -= Counter({told: 1})

    def _collect(self, outcome: Outcome, expected: int, seconds: float = ANSWER_SECONDS) -> None:
        """Take what has come, and wait at most `seconds` while it is less than `expected`."""
        deadline = time.monotonic() + seconds
        while True:
            self._listen(outcome)
            missing = outcome.count() < expected and time.monotonic() < deadline
            received = self._ports.receive(POLL_SECONDS if missing else 0.0)
            if received is not None:
                outcome.outputs[received] += 1
            elif not missing:
                return

    def _listen(self, outcome: Outcome) -> None:
        """Take the packet-ins and digests that have come."""
        while True:
            try:
                heard = self._client.heard.get_nowait()
            except queue.Empty:
                return
            if isinstance(heard, PacketIn):
                outcome.packet_ins[heard] += 1
            elif isinstance(heard, Digest):
                outcome.digests[heard] += 1

    def _counts(self, counter: str) -> Counter[int]:
        return Counter(self._client.counts(counter))
