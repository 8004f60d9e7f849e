"""A switch's counters as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softswitch.server.stats_document import DROPS

__all__ = ["stats_text"]

_GAP = "  "


def stats_text(stats: dict[str, Any]) -> str:
    """The answer to `Stats` of the introspection service: what runs, what became of packets, tables, ports."""
    parts = [_head(stats), _drops(stats["drops"])]
    if stats["program"] is not None:
        parts += [_counters(stats), _tables(stats["tables"])]
    parts.append(_ports(stats["ports"]))
    return "\n\n".join(part for part in parts if part)


def _head(stats: dict[str, Any]) -> str:
    runs = f"device {stats['device_id']}, up {_duration(stats['uptime_s'])}"
    if stats["program"] is None:
        return f"{runs}, no program yet"
    engine = stats["engine"]
    reason = f" ({engine['reason']})" if engine["reason"] else ""
    lines = [f"{runs}, {stats['program'] or 'a program'} on the {engine['name']} engine{reason}"]
    packets = stats["packets"]
    lines.append(
        f"packets: {packets['packets_in']} in, {packets['packets_out']} out{_timing(stats['time_per_packet'])}"
    )
    others = [
        f"{packets[name]} {text}"
        for name, text in (
            ("parser_errors", "with parser errors"),
            ("digests_lost", "digests lost"),
            ("foreign", "from interfaces that are no port"),
            ("traces_lost", "that a trace could not tell of"),
        )
        if packets.get(name)
    ]
    controller = stats["controller"]
    others += [
        f"{controller[name]} {text}"
        for name, text in (
            ("packet_ins", "to the controller"),
            ("packet_outs", "from the controller"),
            ("digest_lists", "digest lists"),
            ("digests_dropped", "digests that no controller was there for"),
            ("idle_entries", "idle entries told"),
        )
        if controller[name]
    ]
    return "\n".join([*lines, *([", ".join(others)] if others else [])])


def _timing(timing: dict[str, Any] | None) -> str:
    if timing is None:
        return ""
    if "reason" in timing:
        return f"; not timed: {timing['reason']}"
    if timing["ns_per_packet"] is None:
        return f"; none in {timing['seconds']:g} s"
    return f"; {timing['ns_per_packet']} ns each ({timing['packets']} in {timing['seconds']:g} s)"


def _drops(drops: dict[str, int]) -> str:
    rows: list[list[str | int]] = [[count, DROPS.get(name, name)] for name, count in drops.items() if count]
    return _table(["DROPPED", "WHY"], rows) if rows else "nothing dropped"


def _counters(stats: dict[str, Any]) -> str:
    rows = [[f"{cell['name']}[{cell['index']}]", cell["packets"], cell["octets"]] for cell in stats["counters"]]
    more = "\n(and more)" if stats["counters_cut"] else ""
    return _table(["COUNTER", "PACKETS", "OCTETS"], rows) + more if rows else ""


def _tables(tables: Sequence[dict[str, Any]]) -> str:
    return _table(["TABLE", "ENTRIES", "SIZE"], [[one["name"], one["entries"], one["size"]] for one in tables])


def _ports(ports: Sequence[dict[str, Any]]) -> str:
    rows = []
    for port in ports:
        lost = sum(port[name] for name in ("receive_dropped", "send_dropped", "oversized", "undelivered"))
        rows.append(
            [port["number"], port["name"], "up" if port["open"] else "gone", port["received"], port["sent"], lost]
        )
    return _table(["PORT", "INTERFACE", "STATE", "RECEIVED", "SENT", "LOST"], rows) if rows else ""


def _table(titles: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """Columns as wide as they must be, numbers to the right."""
    lines = [list(titles), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(titles))]
    right = [bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(titles))]
    return "\n".join(
        _GAP.join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
