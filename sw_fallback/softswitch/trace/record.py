"""What is told of one packet: where it came from, the tables it hit, and what became of it.

Engines tell it in numbers (of the program's tables, actions and errors); the `Legend` has their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from softswitch.program import Program

__all__ = ["NO_ACTION", "End", "Legend", "Pass", "Record", "Step", "TableStep", "Verdict", "short_names"]

NO_ACTION = -1
"""The action number of a miss without default action and of an empty group."""


class Verdict(IntEnum):
    """What became of a packet, or of a copy of it. The numbers are the generated C's too."""

    LEFT = 0
    """Sent out of a port."""
    CONTROLLER = 1
    """Given to the controller."""
    DROPPED_INGRESS = 2
    """At the drop port at the end of ingress."""
    DROPPED_EGRESS = 3
    """At the drop port at the end of egress."""
    NO_COPIES = 4
    """For a multicast group that is not there, or has no members."""
    ASSERTION = 5
    """An `assert` or `assume` of the program did not hold."""
    TOO_MANY_PASSES = 6
    """Resubmitted, recirculated or cloned without end."""
    NO_ROOM = 7
    """The frame's new headers had no room in the kernel's buffer."""


class Pass(IntEnum):
    """Where a packet, or a copy of it, began again (simple_switch.h, PktInstanceType)."""

    INGRESS_CLONE = 1
    EGRESS_CLONE = 2
    RECIRCULATED = 4
    REPLICATED = 5
    RESUBMITTED = 6


@dataclass(frozen=True, slots=True)
class TableStep:
    """A table that the packet was looked up in."""

    table: str
    hit: bool
    action: str | None
    """What ran; None: nothing."""


Step = TableStep | Pass


@dataclass(frozen=True, slots=True)
class End:
    """What became of the packet or of one of its copies."""

    verdict: Verdict
    port: int | None = None
    """Where it left."""
    frame: bytes | None = None
    """As it left; may be cut; None where nobody knows."""
    length: int | None = None
    """Of the whole frame that left, in bytes."""


@dataclass(frozen=True, slots=True)
class Record:
    """One packet's way through the switch."""

    time_ns: int
    """Since 1970, when the switch worked on it."""
    port: int
    """Where it came in."""
    frame: bytes
    """As it came; may be cut."""
    length: int
    """Of the whole frame in bytes."""
    steps: tuple[Step, ...]
    """In order."""
    ends: tuple[End, ...]
    """In order; a packet without copies has one."""
    parser_error: str | None = None
    """What the parser stopped with."""


class _Numbers(Protocol):
    def __getitem__(self, name: str, /) -> int: ...


class Legend:
    """The names behind the numbers that engines tell of.

    A table's number is its place in `Program.tables()`, an action's the one that the engines tell actions apart by.
    """

    def __init__(self, program: Program, numbers: _Numbers, cpu_port: int | None) -> None:
        self.tables = tuple(program.tables())
        self.table_numbers = {name: number for number, name in enumerate(self.tables)}
        self.actions = {numbers[action.name]: action.name for action in program.actions.values()}
        self._errors = {number: name for name, number in program.errors.items()}
        self._no_error = program.errors.get("NoError", 0)
        self._cpu_port = cpu_port

    def step(self, table: int, hit: bool, action: int) -> TableStep:
        """A lookup; `NO_ACTION` stands for none."""
        return TableStep(self.tables[table], hit, self.actions.get(action))

    def end(self, verdict: int, port: int = 0, frame: bytes | None = None) -> End:
        """An end; what leaves at the CPU port is for the controller."""
        if verdict != Verdict.LEFT:
            return End(Verdict(verdict))
        length = None if frame is None else len(frame)
        return End(Verdict.CONTROLLER if port == self._cpu_port else Verdict.LEFT, port, frame, length)

    def error(self, number: int) -> str | None:
        """A parser error; None for none."""
        return None if number == self._no_error else self._errors.get(number, f"error {number}")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """For each of some dotted names the shortest end of it that is no end of another."""
    found = {}
    for name in names:
        parts = name.split(".")
        for start in range(len(parts) - 1, -1, -1):
            short = ".".join(parts[start:])
            if not any(other != name and (other == short or other.endswith(f".{short}")) for other in names):
                break
        found[name] = short
    return found
