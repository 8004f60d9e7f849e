"""Packets through a switch with a watch on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from softswitch import Switch
from softswitch.trace import Record, TableStep, Watch, parse_filter

NOW_NS = 1_700_000_000_123_456_789


@contextmanager
def watched(switch: Switch, text: str = "1") -> Iterator[list[Record]]:
    """The records of the packets that a filter fits, as they come."""
    records: list[Record] = []
    tracer = switch.tracer(lambda: NOW_NS)
    watch = Watch(parse_filter(text, switch.program), records.append)
    tracer.join(watch, tracer.prepare(watch))
    try:
        yield records
    finally:
        tracer.leave(watch)


def trace(switch: Switch, packets: Iterable[tuple[int, bytes]], text: str = "1") -> list[Record]:
    """The records of these packets."""
    with watched(switch, text) as records:
        for port, packet in packets:
            switch.process(port, packet)
    return records


def steps(record: Record) -> list[str]:
    """A record's steps in short: `acl_table miss NoAction`, or the name of a pass."""
    return [
        f"{_last(step.table)} {'hit' if step.hit else 'miss'} {_last(step.action or 'nothing')}"
        if isinstance(step, TableStep)
        else step.name
        for step in record.steps
    ]


def ends(record: Record) -> list[str]:
    """A record's ends in short: `LEFT 2`, `DROPPED_INGRESS`."""
    return [end.verdict.name if end.port is None else f"{end.verdict.name} {end.port}" for end in record.ends]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
