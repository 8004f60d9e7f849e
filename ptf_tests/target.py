"""What every target of the packet cases can do, and how a case is judged on one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from ptf_tests.case import Case, Entry, Outcome, Step
from ptf_tests.network import NETWORK

__all__ = ["CaseFailed", "Loaded", "Target", "run_case"]


class CaseFailed(AssertionError):
    """A step of a case had another outcome; the message shows both."""


class Target(Protocol):
    """A switch with the depot's program."""

    def load(self, entries: Iterable[Entry]) -> None:
        """Make these the switch's entries, and no others."""
        ...

    def run(self, step: Step) -> Outcome:
        """Send the step's packet and collect what comes of it."""
        ...

    def counted(self, entry: Entry) -> tuple[int, int]:
        """(packets, bytes) of the entry's own counter."""
        ...


class Loaded:
    """The entries a target holds now; says what to change for others."""

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], Entry] = {}

    def change_to(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
        """(entries to delete, entries to insert) for the target to hold `entries` only; takes them as done."""
        wanted = {entry.key: entry for entry in entries}
        gone = [entry for key, entry in self._held.items() if wanted.get(key) != entry]
        new = [entry for key, entry in wanted.items() if self._held.get(key) != entry]
        self._held = wanted
        return gone, new


def run_case(target: Target, case: Case) -> None:
    """Load the network and the case's entries, then play its steps. Raises `CaseFailed`."""
    target.load((*NETWORK, *case.entries))
    for number, step in enumerate(case.steps, start=1):
        expected, outcome = step.expected(), target.run(step)
        if outcome != expected:
            where = f"{case.name}, step {number} of {len(case.steps)}, packet {_described(step.packet)} at {step.port}"
            raise CaseFailed(f"{where}\n{difference(expected, outcome)}")
    for entry, right in case.counted:
        counted = target.counted(entry)
        if counted != right:
            raise CaseFailed(f"{case.name}: {entry} has counted (packets, bytes) {counted}, right is {right}")


def difference(expected: Outcome, outcome: Outcome) -> str:
    """What is missing and what is too much, one line each."""
    lines = []
    for kind in ("outputs", "packet_ins", "digests", "drops", "punts"):
        right: Counter[object] = getattr(expected, kind)
        seen: Counter[object] = getattr(outcome, kind)
        lines += [f"  missing  {kind}: {_shown(item)}" for item in (right - seen).elements()]
        lines += [f"  too much {kind}: {_shown(item)}" for item in (seen - right).elements()]
    return "\n".join(lines)


def _shown(item: object) -> str:
    match item:
        case (int() as port, bytes() as packet):
            return f"port {port} {_described(packet)}"
        case _:
            return repr(item)


def _described(packet: bytes) -> str:
    """The layers in words where scapy sees some, and the bytes."""
    from scapy.layers.l2 import Ether  # it takes its time: only a failure needs it

    try:
        words = Ether(packet).summary()
    except Exception:
        words = "no whole frame"
    return f"{words} [{packet.hex()}]"
