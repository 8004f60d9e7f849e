"""What is measured of a candidate: wrk with and without keep-alive, and single sessions under a stopwatch."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.candidates.topology import Candidate
from depot.demo.lab import Lab, LabError

__all__ = ["Measured", "Metric", "measured"]

_CONNECTIONS = 32
"""Requests on their way at once."""
_SESSIONS = 400
"""Under the stopwatch, in one round."""
_STOPWATCH = str(Path(__file__).with_name("stopwatch.py"))
_REPORT = """\
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\\n{"us": %d, "requests": %d, "failures": %d, "p50": %d, "p99": %d}\\n',
        summary.duration, summary.requests,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""
_TICK = 1e6 / os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6)
"""Of the numbers in /proc/stat: user, nice, system, irq, softirq."""


_REST_LOOK = 0.2
_RESTING = 0.15
"""Part of a core that resting programs may use, all together."""
_REST_SECONDS = 30.0


class Metric(Enum):
    """What is compared; the values are the words for it."""

    CONNECTIONS = "new connections"
    REQUESTS = "requests on kept connections"
    CONNECTION_CPU = "CPU per new connection"
    REQUEST_CPU = "CPU per request"
    SESSION_P50 = "a whole session, p50"
    SESSION_P99 = "a whole session, p99"
    REQUEST_P50 = "a request under load, p50"
    REQUEST_P99 = "a request under load, p99"

    @property
    def unit(self) -> str:
        """Unit of its values."""
        return _UNITS[self]

    @property
    def more_is_better(self) -> bool:
        """Else less is."""
        return self in (Metric.CONNECTIONS, Metric.REQUESTS)


_UNITS = {
    Metric.CONNECTIONS: "connections/s",
    Metric.REQUESTS: "requests/s",
    Metric.CONNECTION_CPU: "CPU µs",
    Metric.REQUEST_CPU: "CPU µs",
    Metric.SESSION_P50: "µs, one at a time",
    Metric.SESSION_P99: "µs, one at a time",
    Metric.REQUEST_P50: f"µs, {_CONNECTIONS} at a time",
    Metric.REQUEST_P99: f"µs, {_CONNECTIONS} at a time",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one candidate."""

    values: dict[Metric, float]
    """One for each metric."""
    failures: int
    """Requests of wrk that failed."""
    requests: int
    """Requests of wrk that were answered."""


def measured(candidate: Candidate, seconds: int) -> Measured:
    """Measure a running candidate: `seconds` of new connections, as many of kept ones, then single sessions."""
    closing, closing_cpu = _wrk(candidate, seconds, "-H", "Connection: close")
    keeping, keeping_cpu = _wrk(candidate, seconds)
    command = [sys.executable, _STOPWATCH, candidate.target, str(_SESSIONS)]
    single: list[float] = json.loads(candidate.lab.run(candidate.client, *command))
    percentiles = quantiles(single, n=100)
    values = {
        Metric.CONNECTIONS: closing["requests"] / closing["us"] * 1e6,
        Metric.REQUESTS: keeping["requests"] / keeping["us"] * 1e6,
        Metric.CONNECTION_CPU: closing_cpu / closing["requests"],
        Metric.REQUEST_CPU: keeping_cpu / keeping["requests"],
        Metric.SESSION_P50: percentiles[49],
        Metric.SESSION_P99: percentiles[98],
        Metric.REQUEST_P50: float(keeping["p50"]),
        Metric.REQUEST_P99: float(keeping["p99"]),
    }
    return Measured(values, closing["failures"] + keeping["failures"], closing["requests"] + keeping["requests"])


def _wrk(candidate: Candidate, seconds: int, *options: str) -> tuple[dict[str, Any], float]:
    """wrk's report, and the microseconds that all cores together were busy meanwhile, with what was put off."""
    script = candidate.folder / "report.lua"
    script.write_text(_REPORT)
    command = ["wrk", "-t2", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--timeout", "2s", "-s", str(script), *options]
    before = _busy()
    said = candidate.lab.run(candidate.client, *command, f"http://{candidate.target}/")
    after = _busy()
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    if not report["requests"]:
        raise LabError(f"{candidate.name}: no request was answered:\n{said}")
    return report, after - before + _put_off(candidate.lab)


def _put_off(lab: Lab) -> float:
    """Microseconds that the lab's programs are still busy with what came in; returns when they rest."""
    first = last = _used(lab)
    deadline = time.monotonic() + _REST_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_REST_LOOK)
        used = _used(lab)
        if used - last < _REST_LOOK * 1e6 * _RESTING:
            return used - first
        last = used
    raise LabError(f"the load has ended, but after {_REST_SECONDS:g} s the programs are still busy")


def _used(lab: Lab) -> float:
    """Microseconds that the lab's programs and what they started have been running so far."""
    sessions = {process.pid for process in lab.processes}
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended since
            words = stat.read_text().rpartition(")")[2].split()
            if int(words[3]) in sessions:
                ticks += int(words[11]) + int(words[12])
    return ticks * _TICK


def _busy() -> float:
    """Microseconds that all cores together were not idle, since the start."""
    numbers = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(int(numbers[place]) for place in _BUSY) * _TICK
