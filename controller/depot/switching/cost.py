"""The weighted cost function (seed 001, section 2) over what members report of themselves.

"We can select the coefficients and parameters in a weighted cost function … Possible indices for choosing proxy could
be the available cache size, disk bandwidth, response time from depot to proxy, the proxy server CPU loading and the
number of active and pending requests."

Metrics have different units, so each is first made comparable: the member that is worst in it counts 1, one that is
twice as good 0.5, and ten times as good or more 0.1. A grain is added before, so that differences nobody would notice
(one request or none, 1 % or 2 % CPU) weigh little. The cost of a member is the mean of these, weighted with the
coefficients, and so lies in 0.1..1. A member's share of sessions is its weight divided by its cost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from depot.config.model import CostConfig

__all__ = ["LoadReport", "ReportError", "costs", "parse_report"]

_BEST = 0.1
_MIDDLE = 0.5
_MIB = float(1 << 20)

_GRAINS = {
    "cache_size": _MIB,
    "disk_bandwidth": _MIB,
    "response_time": 0.001,
    "cpu_load": 0.05,
    "active_requests": 1.0,
    "pending_requests": 1.0,
}
_MORE_IS_BETTER = frozenset({"cache_size", "disk_bandwidth"})
_MOST_BYTES = 65536
_GREATEST = 1e18


class ReportError(Exception):
    """A member sent a report that is none."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a member says of itself; None where it says nothing. Nothing is negative."""

    cache_size: float | None = None
    """Bytes of cache that are free."""
    disk_bandwidth: float | None = None
    """Bytes per second that the disk could still do."""
    response_time: float | None = None
    """Seconds it takes to answer the depot."""
    cpu_load: float | None = None
    """Busy part of the CPU, 1: all of it."""
    active_requests: float | None = None
    """Requests being served."""
    pending_requests: float | None = None
    """Requests waiting."""


def parse_report(body: bytes) -> LoadReport:
    """Read a report: a JSON object with the names of LoadReport's fields; others are ignored. Raises ReportError."""
    if len(body) > _MOST_BYTES:
        raise ReportError(f"report of {len(body)} bytes; the most is {_MOST_BYTES}")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"report is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ReportError("report is no JSON object")
    values: dict[str, float] = {}
    for name in (field.name for field in fields(LoadReport)):
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _GREATEST:
            raise ReportError(
                f'report gives "{name}" as {str(value)[:40]}; it must be a number from 0 to {_GREATEST:g}'
            )
        values[name] = float(value)
    return LoadReport(**values)


def costs(reports: Mapping[str, LoadReport], coefficients: CostConfig) -> dict[str, float]:
    """Return the cost of each member, 0.1 (best) to 1 (worst), by name.

    A metric that a member does not report counts for it as the mean of those who do; what nobody reports, 0.5.
    """
    weighted = dict.fromkeys(reports, 0.0)
    total = 0.0
    for metric in _GRAINS:
        coefficient: float = getattr(coefficients, metric)
        if coefficient <= 0:
            continue
        total += coefficient
        for name, value in _comparable(metric, reports).items():
            weighted[name] += coefficient * value
    return {name: value / total if total else _MIDDLE for name, value in weighted.items()}


def _comparable(metric: str, reports: Mapping[str, LoadReport]) -> dict[str, float]:
    grain = _GRAINS[metric]
    burdens: dict[str, float] = {}
    for name, report in reports.items():
        value: float | None = getattr(report, metric)
        if value is not None:
            burdens[name] = 1 / (value + grain) if metric in _MORE_IS_BETTER else value + grain
    if not burdens:
        return dict.fromkeys(reports, _MIDDLE)
    worst = max(burdens.values())
    known = {name: max(_BEST, burden / worst) for name, burden in burdens.items()}
    mean = sum(known.values()) / len(known)
    return {name: known.get(name, mean) for name in reports}
