"""Schedules: which member serves the i-th next session of a VIP (seed 001, section 3: the pre-load).

A schedule is a tuple of member names. The data plane's cursor walks over its slots and begins again at the end; where
the cursor stands is not known here, so any stretch of a schedule should be fair. Every scheduler is a function of the
members and of the schedule in force: the same input gives the same slots, and a change rewrites few of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from depot.config.model import CostConfig, SchedulerKind
from depot.switching.cost import LoadReport, costs
from depot.switching.maglev import maglev_schedule
from depot.switching.slots import MAX_SLOTS, apportion, rearrange, spread

__all__ = ["MAX_SLOTS", "RAMP_STEPS", "Candidate", "make_schedule"]

RAMP_STEPS = 8
"""A slow start grows in this many steps, so that it costs few writes."""

_SLOTS_PER_MEMBER = 16
"""Least connections and cost: how finely a member's share can be set."""

_TOLERANCE = 8
"""Least connections and cost: a share that is off by no more than one part in this many of an equal one stays."""

_HORIZON = 4
"""Least connections: slots look ahead over one part in this many of the active sessions, so that small differences
between busy members change nothing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A living member as a scheduler sees it. Dead members are left out."""

    name: str
    """Which one."""
    weight: int = 1
    """Its share relative to the others; 0: drained, it gets no new session."""
    sessions: int = 0
    """Its active sessions. Only least connections looks."""
    ramp: float = 1.0
    """Slow start: the part of its share that it may have by now, above 0 up to 1."""
    report: LoadReport | None = None
    """What it last said of itself, None if it said nothing lately. Only the cost function looks."""


def make_schedule(
    kind: SchedulerKind, candidates: Sequence[Candidate], previous: Sequence[str] = (), cost: CostConfig | None = None
) -> tuple[str, ...]:
    """Return the slots, at most MAX_SLOTS; empty if no candidate has a weight.

    `previous` is the schedule in force, `cost` the coefficients of the cost function (the default ones if None).
    The order of the candidates does not matter. Raises ValueError if two have one name or there are too many.
    """
    serving = sorted((c for c in candidates if c.weight > 0), key=lambda c: c.name)
    if len({c.name for c in serving}) != len(serving):
        raise ValueError("two candidates have the same name")
    if len(serving) > MAX_SLOTS:
        raise ValueError(f"{len(serving)} members do not fit into a schedule of {MAX_SLOTS} slots")
    if not serving:
        return ()
    match kind:
        case SchedulerKind.ROUND_ROBIN:
            return _by_weight({c.name: _ramped(1, c.ramp) for c in serving}, previous)
        case SchedulerKind.WEIGHTED_ROUND_ROBIN:
            return _by_weight({c.name: _ramped(c.weight, c.ramp) for c in serving}, previous)
        case SchedulerKind.LEAST_CONNECTIONS:
            return _least_connections(serving, previous)
        case SchedulerKind.MAGLEV:
            return maglev_schedule({c.name: _ramped(c.weight, c.ramp) for c in serving})
        case SchedulerKind.COST:
            return _by_cost(serving, previous, cost or CostConfig())


def _ramped(weight: int, ramp: float) -> int:
    """A weight with its slow start, in steps; comparable among members only."""
    return weight * max(1, min(RAMP_STEPS, math.floor(ramp * RAMP_STEPS)))


def _by_weight(weights: Mapping[str, int], previous: Sequence[str]) -> tuple[str, ...]:
    """Weighted round robin; with equal weights any order will do, so the one in force is kept."""
    common = math.gcd(*weights.values())
    counts = {name: weight // common for name, weight in weights.items()}
    if sum(counts.values()) > MAX_SLOTS:
        counts = apportion({name: float(count) for name, count in counts.items()}, MAX_SLOTS, at_least=1)
    if set(counts.values()) == {1}:
        return rearrange(previous, counts)
    return tuple(spread(counts))


def _least_connections(serving: Sequence[Candidate], previous: Sequence[str]) -> tuple[str, ...]:
    """The next sessions go where they level the sessions per weight."""
    slots = _fine_slots(serving)
    ahead = max(slots, sum(c.sessions for c in serving) // _HORIZON)
    weights = {c.name: float(_ramped(c.weight, c.ramp)) for c in serving}
    shares = _fill_up({c.name: c.sessions for c in serving}, weights, ahead)
    return _settled(apportion(shares, slots), previous)


def _fill_up(sessions: Mapping[str, int], weights: Mapping[str, float], amount: float) -> dict[str, float]:
    """Pour an amount over members so that the lowest sessions per weight rise to one level."""
    order = sorted(sessions, key=lambda name: sessions[name] / weights[name])
    weight = poured = level = 0.0
    for name in order:
        height = sessions[name] / weights[name]
        if weight and poured + (height - level) * weight > amount:
            break
        poured += (height - level) * weight
        level = height
        weight += weights[name]
    level += (amount - poured) / weight
    return {name: max(0.0, level * weights[name] - sessions[name]) for name in sessions}


def _by_cost(serving: Sequence[Candidate], previous: Sequence[str], coefficients: CostConfig) -> tuple[str, ...]:
    """Shares are weights divided by costs; nobody is left out, since a report may be wrong or old."""
    reports = {c.name: _completed(c) for c in serving}
    burden = costs(reports, coefficients)
    shares = {c.name: _ramped(c.weight, c.ramp) / burden[c.name] for c in serving}
    return _settled(apportion(shares, _fine_slots(serving), at_least=1), previous)


def _completed(candidate: Candidate) -> LoadReport:
    """What a member reports, with its active sessions for its active requests if it does not tell them."""
    report = candidate.report or LoadReport()
    if report.active_requests is None:
        report = replace(report, active_requests=float(candidate.sessions))
    return report


def _fine_slots(serving: Sequence[Candidate]) -> int:
    return min(MAX_SLOTS, _SLOTS_PER_MEMBER * len(serving))


def _settled(counts: Mapping[str, int], previous: Sequence[str]) -> tuple[str, ...]:
    """The previous slots if they are near enough, else slots with these counts that differ little from them."""
    size = sum(counts.values())
    held = Counter(previous)
    near = size // len(counts) // _TOLERANCE
    is_same_size = len(previous) == size and held.keys() <= counts.keys()
    if is_same_size and all(abs(count - held[name]) <= near for name, count in counts.items()):
        return tuple(previous)
    return rearrange(previous, counts)
