"""Tables for people: columns as wide as they must be, numbers to the right. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Column", "duration", "percent", "seconds", "size", "table"]

GAP = "  "


class Column(NamedTuple):
    """One column."""

    title: str
    """Its heading."""
    key: str
    """What of a row it shows."""
    show: Callable[[Any], str] = str
    """How."""


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """Return the rows under their headings, one line each, without a newline at the end."""
    rows = list(rows)
    shown = [[column.show(row[column.key]) for column in columns] for row in rows]
    lines = [[column.title for column in columns], *shown]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    right = [_is_number(column, rows) for column in columns]
    return "\n".join(
        GAP.join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(column: Column, rows: Sequence[Mapping[str, Any]]) -> bool:
    return bool(rows) and all(isinstance(row[column.key], int | float | None) for row in rows)


def percent(value: float) -> str:
    """0.25 as 25.0 %."""
    return f"{value * 100:.1f} %"


def seconds(value: float | None) -> str:
    """Seconds as milliseconds; a dash for none."""
    return "-" if value is None else f"{value * 1000:.1f} ms"


def duration(value: float) -> str:
    """Seconds as the two largest of days, hours, minutes and seconds."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(value: float) -> str:
    """Bytes with a binary prefix."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
