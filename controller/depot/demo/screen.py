"""What is seen of the demo: lines as things happen, and a table at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TextIO

__all__ = ["Finding", "Screen", "findings_as_json"]

_BAR = 24
_INDENT = " " * 11
_COLUMNS = ("what", "claimed", "measured", "held")


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim and what was found."""

    what: str
    """What was looked at."""
    claimed: str
    """What must be."""
    measured: str
    """What was."""
    held: bool
    """Whether the claim held."""


def findings_as_json(findings: Sequence[Finding]) -> str:
    """All findings as one JSON document."""
    return json.dumps({"held": all(f.held for f in findings), "findings": [asdict(f) for f in findings]}, indent=2)


@dataclass(slots=True)
class Screen:
    """Plain lines, each with the seconds since the start; needs no terminal."""

    stream: TextIO
    """Where lines go."""
    start: float = field(default_factory=time.monotonic)
    """When the demo began."""

    def plain(self, text: str = "") -> None:
        """A line without time."""
        print(text, file=self.stream, flush=True)

    def title(self, text: str) -> None:
        """The beginning of a part."""
        self.plain()
        self.plain(text)

    def say(self, text: str) -> None:
        """Something has happened."""
        first, *rest = text.splitlines() or [""]
        self.plain(f"[{time.monotonic() - self.start:5.1f} s]  {first}")
        for line in rest:
            self.plain(_INDENT + line)

    def shares(self, label: str, counts: Counter[str], names: Sequence[str]) -> None:
        """How many sessions each of `names` served, as bars; then whatever else was counted."""
        total = max(1, sum(counts.values()))
        self.say(f"{label}: {sum(counts.values())} sessions")
        for name in [*names, *(other for other in counts if other not in names)]:
            share = counts[name] / total
            bar = "#" * round(share * _BAR)
            self.plain(f"{_INDENT}  {name:<10} {counts[name]:5d}  {share:6.1%}  {bar}")

    def table(self, findings: Sequence[Finding]) -> None:
        """The closing table."""
        rows = [_COLUMNS, *((f.what, f.claimed, f.measured, "yes" if f.held else "NO") for f in findings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        self.plain()
        for number, row in enumerate(rows):
            self.plain("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
            if number == 0:
                self.plain("  ".join("-" * width for width in widths))
