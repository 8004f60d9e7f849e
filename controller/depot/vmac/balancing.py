"""Which buckets are to move so that no gateway has more to do than another: pure functions of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from depot.vmac.settings import Draws

__all__ = ["Measured", "Plan", "balanced", "capacities", "ring"]

_SATURATED = 0.95
_IDLE = 0.2


@dataclass(frozen=True, slots=True)
class Measured:
    """What a gateway says of itself."""

    load: float
    """Measured, >= 0. A gateway that can do no more shows 1, however much is wanted of it."""
    rate: float
    """Packets a second that are offered to its buckets."""
    capacity: float | None
    """Packets a second that it can do, if it knows."""


Plan = dict[int, str]
"""Bucket: the gateway that is to have it."""


def ring(
    own: str, gateways: Mapping[str, Measured], buckets: Sequence[int], threshold: float, size: int, draws: Draws
) -> Plan:
    """Return the seed's Algorithm 5, step 3: `size` buckets drawn at random to the successor, if it has less to do.

    `gateways`: all, ourselves too; their names in order are the ring. `buckets`: ours.
    """
    names = sorted(gateways)
    successor = names[(names.index(own) + 1) % len(names)]
    if gateways[own].load - gateways[successor].load <= threshold:
        return {}
    return dict.fromkeys(draws.sample(list(buckets), min(size, len(buckets))), successor)


def balanced(own: str, gateways: Mapping[str, Measured], rates: Mapping[int, float], threshold: float) -> Plan:
    """Return the moves after which all gateways have equal shares of their capacity to do, as nearly as buckets allow.

    `rates`: of our buckets, packets/s. Only the gateway with the most to do moves anything, and only if it has
    `threshold` more than the one with the least.
    """
    capacity = capacities(gateways)
    use = {name: measured.rate / capacity[name] for name, measured in gateways.items()}
    if min(use, key=lambda name: (-use[name], name)) != own or use[own] - min(use.values()) <= threshold:
        return {}
    mean = sum(measured.rate for measured in gateways.values()) / sum(capacity.values())
    room = {name: (mean - use[name]) * capacity[name] for name in gateways if name != own and use[name] < mean}
    surplus = (use[own] - mean) * capacity[own]
    plan: Plan = {}
    for bucket, rate in sorted(rates.items(), key=lambda item: (-item[1], item[0])):
        target = max(sorted(room), key=lambda name: room[name])
        if 0 < rate <= min(surplus, room[target]):
            plan[bucket] = target
            surplus -= rate
            room[target] -= rate
    return plan or _one_that_helps(own, use, capacity, rates, threshold / 2)


def _one_that_helps(
    own: str, use: Mapping[str, float], capacity: Mapping[str, float], rates: Mapping[int, float], least_gain: float
) -> Plan:
    """Return the one move of a bucket that is larger than the room it goes to and lowers the maximum all the same."""
    target = min(use, key=lambda name: (use[name], name))
    after = {
        bucket: max(use[own] - rate / capacity[own], use[target] + rate / capacity[target])
        for bucket, rate in rates.items()
        if rate > 0
    }
    best = min(after, key=lambda bucket: (after[bucket], bucket), default=None)
    return {} if best is None or after[best] > use[own] - least_gain else {best: target}


def capacities(gateways: Mapping[str, Measured]) -> dict[str, float]:
    """Return packets a second at a load of 1: as stated, else as measured, else as the others'."""
    known = {name: found for name, measured in gateways.items() if (found := _capacity(measured))}
    usual = median(known.values()) if known else max((m.rate for m in gateways.values()), default=0) or 1.0
    return {name: known.get(name, usual) for name in gateways}


def _capacity(measured: Measured) -> float | None:
    """Return what a gateway can do; None: it does too little or too much to tell."""
    if measured.capacity:
        return measured.capacity
    if _IDLE < measured.load < _SATURATED and measured.rate > 0:
        return measured.rate / measured.load
    return None
