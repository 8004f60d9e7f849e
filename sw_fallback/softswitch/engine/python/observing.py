"""Ways to watch the engine at work: each stands in for the translated `ingress` and is gone when nobody looks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from softswitch.stats import Stats
from softswitch.trace.record import Verdict
from softswitch.trace.recorder import Recorder

__all__ = ["AssertionFailed", "Ingress", "Timing", "Work", "timed", "traced"]

Ingress = Callable[..., None]
"""The translated `ingress(port, packet, octets, kind, now, kept_list, kept, out, work)`."""
Work = deque[tuple[Callable[..., None], tuple[object, ...]]]
"""Passes that are still to be made."""


class AssertionFailed(Exception):
    """An `assert` or `assume` of the P4 program did not hold."""


@dataclass(slots=True)
class Timing:
    """How long packets took."""

    packets: int = 0
    ns: int = 0
    """All of them together."""


def timed(ingress: Ingress, drain: Callable[[], None], timing: Timing, clock: Callable[[], int]) -> Ingress:
    """The same, and `timing` knows how long each packet took with its copies; `clock` tells nanoseconds."""

    def run(
        port: int,
        packet: bytes,
        octets: int,
        kind: int,
        now: int,
        kept_list: int,
        kept: object,
        out: object,
        work: Work,
    ) -> None:
        begun = clock()
        try:
            ingress(port, packet, octets, kind, now, kept_list, kept, out, work)
            if work:
                drain()
        finally:
            timing.ns += clock() - begun
            timing.packets += 1

    return run


def traced(ingress: Ingress, drain: Callable[[], None], recorder: Recorder, stats: Stats) -> Ingress:
    """A traced `ingress` with what it needs around it: each packet begins and finishes a record."""

    def run(
        port: int,
        packet: bytes,
        octets: int,
        kind: int,
        now: int,
        kept_list: int,
        kept: object,
        out: list[tuple[int, bytes]],
        work: Work,
    ) -> None:
        recorder.begin()
        exceeded = stats.passes_exceeded
        try:
            ingress(port, packet, octets, kind, now, kept_list, kept, out, work)
            if work:
                drain()
        except AssertionFailed:
            recorder.ends.append((Verdict.ASSERTION, 0))
            raise
        finally:
            if stats.passes_exceeded != exceeded:
                recorder.ends.append((Verdict.TOO_MANY_PASSES, 0))
            recorder.finish(port, packet, out)

    return run
