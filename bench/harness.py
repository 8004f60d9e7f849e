"""What every benchmark shares: rows of results, the machine they were measured on, the picture.

A benchmark is a module `bench/<name>.py` with a `main()` that measures, with its references in the same run, and ends
with `publish(__file__, title, rows)`. That writes `bench/results/<name>.json` and `bench/results/<name>.svg`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RESULTS", "AtLeast", "AtMost", "Reference", "Row", "machine", "publish"]

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a value is compared with, measured in the same run."""

    what: str
    value: float
    """In the unit of the row."""


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A target that a larger number meets."""

    limit: float
    of_reference: bool = False
    """True: the limit is on the ratio, not on the value."""

    def met(self, number: float) -> bool:
        """Whether the value, or the ratio, reaches the limit."""
        return number >= self.limit

    def words(self, unit: str, reference: Reference | None) -> str:
        """Such as "≥ 10 000 packets/s"."""
        return _target_words("≥", self.limit, unit, reference if self.of_reference else None)


@dataclass(frozen=True, slots=True)
class AtMost:
    """A target that a smaller number meets."""

    limit: float
    of_reference: bool = False
    """True: the limit is on the ratio, not on the value."""

    def met(self, number: float) -> bool:
        """Whether the value, or the ratio, stays within the limit."""
        return number <= self.limit

    def words(self, unit: str, reference: Reference | None) -> str:
        """Such as "≤ 300 ms"."""
        return _target_words("≤", self.limit, unit, reference if self.of_reference else None)


def _target_words(sign: str, limit: float, unit: str, reference: Reference | None) -> str:
    return f"{sign} {number_words(limit)} × {reference.what}" if reference else f"{sign} {number_words(limit)} {unit}"


def number_words(value: float) -> str:
    """A number as people read it: three significant digits, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def value_words(value: float, spread: float | None) -> str:
    """A value with its spread, if it has one."""
    return number_words(value) if spread is None else f"{number_words(value)} ± {number_words(spread)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value."""

    what: str
    value: float
    unit: str
    command: str
    """What prints it again."""
    reference: Reference | None = None
    target: AtLeast | AtMost | None = None
    spread: float | None = None
    """Half of what lies between the lowest and the highest of several rounds, in `unit`; None where there was one."""

    @property
    def ratio(self) -> float | None:
        """Value over reference."""
        return None if self.reference is None else self.value / self.reference.value

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one, or where its reference could not be measured."""
        if self.target is None:
            return None
        number = self.ratio if self.target.of_reference else self.value
        return None if number is None else self.target.met(number)

    def as_json(self, machine_words: str) -> dict[str, object]:
        """The row as it is published."""
        reference = None if self.reference is None else {"what": self.reference.what, "value": self.reference.value}
        target = None if self.target is None else self.target.words(self.unit, self.reference)
        return {
            "what": self.what,
            "value": self.value,
            "spread": self.spread,
            "unit": self.unit,
            "reference": reference,
            "ratio": self.ratio,
            "target": target,
            "met": self.met,
            "command": self.command,
            "machine": machine_words,
        }


def machine() -> str:
    """Processor, cores, kernel and Python of this machine; nothing that names it."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{model}, {os.cpu_count()} cores, Linux {kernel}, Python {platform.python_version()}"


def publish(benchmark: str, title: str, rows: Sequence[Row]) -> None:
    """Print the rows and write them and their picture to `bench/results/`; `benchmark` is the module's file."""
    name, words = Path(benchmark).stem, machine()
    for row in rows:
        print(_printed(row))
    RESULTS.mkdir(exist_ok=True)
    results = [row.as_json(words) for row in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    _draw(RESULTS / f"{name}.svg", title, rows)


def _printed(row: Row) -> str:
    parts = [f"{row.what}: {value_words(row.value, row.spread)} {row.unit}"]
    if row.reference is not None and row.ratio is not None:
        parts.append(f"{row.ratio:.3g} × {row.reference.what} ({number_words(row.reference.value)})")
    if row.target is not None:
        verdict = {True: "met", False: "MISSED", None: "not judged"}[row.met]
        parts.append(f"target {row.target.words(row.unit, row.reference)}: {verdict}")
    return ", ".join(parts)


def _draw(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Bars, one panel for each unit: values, their references beside them, targets as marks."""
    import matplotlib  # it takes its time: only a finished benchmark needs it

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.stem
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    units = list(dict.fromkeys(row.unit for row in rows))
    bars = {unit: [row for row in rows if row.unit == unit] for unit in units}
    height = sum(0.9 + 0.62 * len(group) for group in bars.values())
    figure, axes = pyplot.subplots(
        len(units),
        figsize=(9, height),
        squeeze=False,
        height_ratios=[1 + len(group) for group in bars.values()],
        layout="constrained",
    )
    figure.suptitle(title)
    for (unit, group), axis in zip(bars.items(), axes[:, 0], strict=True):
        for place, row in enumerate(group):
            colour = "tab:red" if row.met is False else "tab:blue"
            axis.barh(place, row.value, height=0.4, color=colour)
            axis.annotate(f" {number_words(row.value)}", (row.value, place), va="center")
            if row.reference is not None:
                axis.barh(place + 0.32, row.reference.value, height=0.2, color="lightgrey")
                axis.annotate(f" {row.reference.what}", (row.reference.value, place + 0.32), va="center", fontsize=7)
            limit = _limit_of(row)
            if limit is not None:
                axis.plot([limit, limit], [place - 0.3, place + 0.3], color="black", linewidth=2)
        axis.set_yticks(range(len(group)), [row.what for row in group])
        axis.invert_yaxis()
        axis.set_xlabel(f"{unit} (black: target)")
        axis.margins(x=0.2)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _limit_of(row: Row) -> float | None:
    """The target as a value of the row's unit."""
    if row.target is None:
        return None
    if not row.target.of_reference:
        return row.target.limit
    return None if row.reference is None else row.target.limit * row.reference.value
