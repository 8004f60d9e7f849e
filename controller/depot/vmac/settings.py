"""What an operator may set for a gateway, and misuse of its core."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from depot.vmac.hashing import VirtualMacs

__all__ = ["MAX_NAME", "MIN_KEY", "Algorithm", "Draws", "GatewaySettings", "VmacError", "check_names"]

MAX_NAME = 48
"""Letters of a gateway's name: with the most gateways and buckets a report still fits into a datagram."""
MAX_PEERS = 64
MIN_KEY = 16
"""Bytes of the key."""


class VmacError(Exception):
    """An order that cannot be carried out, or settings that cannot work; for people."""


class Algorithm(Enum):
    """How load is balanced."""

    RING = "ring"
    """The seed's Algorithm 5."""
    BALANCED = "balanced"
    """By the measured rate of each bucket, to whoever has room."""
    NONE = "none"
    """Not at all."""


class Draws(Protocol):
    """What is needed of `random.Random`."""

    def random(self) -> float:
        """Return a number in 0..1."""

    def getrandbits(self, k: int, /) -> int:
        """Return k random bits."""

    def sample(self, population: list[int], k: int) -> list[int]:
        """Return k different elements."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway of a cluster. Raises VmacError if it cannot work."""

    name: str
    """Its name, 1..48 visible ASCII letters, different from any peer's."""
    peers: tuple[str, ...]
    """The names of all others, at most 64."""
    key: bytes
    """What the cluster's messages are sealed with, at least 16 bytes."""
    virtual_macs: VirtualMacs
    """The same in all gateways."""
    algorithm: Algorithm = Algorithm.BALANCED
    """How load is balanced."""
    report_interval: float = 0.5
    """The seed's T_L, seconds: a gateway that is silent for three of these is dead."""
    decision_interval: float = 1.0
    """The seed's T_M, seconds."""
    threshold: float = 0.1
    """The seed's L_D: the difference in load that is worth a move, 0..1."""
    subset_size: int = 4
    """The size of the seed's W: how many buckets `ring` moves at once."""
    learning_interval: float = 30.0
    """Seconds between port-learning frames of a virtual MAC (the seed's Algorithm 3); switches forget after minutes."""
    capacity: float | None = None
    """Packets a second that are a load of 1; None: unknown."""

    def __post_init__(self) -> None:
        check_names(self.name, self.peers)
        if len(self.key) < MIN_KEY:
            raise VmacError(f"the key has {len(self.key)} bytes, {MIN_KEY} is the least")
        if min(self.report_interval, self.decision_interval, self.learning_interval) <= 0:
            raise VmacError("intervals must be above 0")
        if not 0 <= self.threshold <= 1 or self.subset_size < 1:
            raise VmacError("the threshold must be in 0..1, the size of the subset 1 or more")
        if self.capacity is not None and self.capacity <= 0:
            raise VmacError("the capacity must be above 0")

    @property
    def silence_limit(self) -> float:
        """Seconds without a word after which a gateway is dead."""
        return 3 * self.report_interval


def check_names(name: str, peers: Iterable[str]) -> None:
    """Raise VmacError if names are none, or come twice."""
    names = [name, *peers]
    for each in names:
        if not 1 <= len(each) <= MAX_NAME or not all("!" <= letter <= "~" for letter in each):
            raise VmacError(f"{each!r} is no name of a gateway: 1 to {MAX_NAME} visible ASCII letters")
    if len(set(names)) != len(names):
        raise VmacError(f"a gateway is named twice: {', '.join(sorted(names))}")
    if len(names) > MAX_PEERS + 1:
        raise VmacError(f"{len(names)} gateways, {MAX_PEERS + 1} is the most")
