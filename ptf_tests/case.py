"""What a packet case is: entries, packets in, and everything that must come of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from depot.p4runtime.packets import DropReason, PuntReason, Submission

__all__ = [
    "CPU_PORT",
    "Case",
    "Digest",
    "DropReason",
    "Entry",
    "Outcome",
    "PacketIn",
    "PuntReason",
    "Step",
    "Submission",
    "Submit",
]

CPU_PORT = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """A table entry by the P4Info's names."""

    table: str
    match: Mapping[str, int | tuple[int, int]]
    """Field to value. (value, prefix length in bits) for a longest-prefix field, 0: every address; (value, mask) for a
    ternary one, (low, high) for a range. An optional, ternary or range field that is left out may be anything."""
    action: str
    params: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    """Above zero where the table has optional, ternary or range fields; the highest decides."""

    @property
    def key(self) -> tuple[object, ...]:
        """What names the entry within the switch."""
        return (self.table, tuple(sorted(self.match.items())), self.priority)


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet at the controller."""

    reason: int
    ingress_port: int
    payload: bytes
    detail: int = 0
    address: int = 0
    from_peer: int = 0
    """1: a peer's tunnel brought it."""

    @classmethod
    def of(cls, header: Mapping[str, int], payload: bytes) -> PacketIn:
        """From the fields of a `packet_in` header."""
        reason, port = header["reason"], header["ingress_port"]
        return cls(reason, port, payload, header["detail"], header["address"], header["from_peer"])


@dataclass(frozen=True, slots=True)
class Digest:
    """One sample: the digest's name and its members in the order of the struct."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Submit:
    """A packet-out instead of a packet on a port."""

    egress_port: int = 0
    ingress_port: int = 0
    submission: int = Submission.EMIT
    """One of `Submission`, or a number that the program does not know."""
    member_id: int = 0
    """For `Submission.RELEASE`."""
    from_peer: int = 0
    """1: a peer had sent it."""

    @property
    def fields(self) -> Mapping[str, int]:
        """The fields of a `packet_out` header."""
        return {
            "egress_port": self.egress_port,
            "ingress_port": self.ingress_port,
            "submit_to_ingress": int(self.submission),
            "member_id": self.member_id,
            "from_peer": self.from_peer,
        }


@dataclass(slots=True)
class Outcome:
    """Everything that one packet caused. Two outcomes are equal whatever the order within each kind was."""

    outputs: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    """(port, frame)"""
    packet_ins: Counter[PacketIn] = field(default_factory=Counter)
    digests: Counter[Digest] = field(default_factory=Counter)
    drops: Counter[int] = field(default_factory=Counter)
    """By `DropReason`."""
    punts: Counter[int] = field(default_factory=Counter)
    """By `PuntReason`."""

    def __add__(self, other: Outcome) -> Outcome:
        """What two packets caused together."""
        return Outcome(
            self.outputs + other.outputs,
            self.packet_ins + other.packet_ins,
            self.digests + other.digests,
            self.drops + other.drops,
            self.punts + other.punts,
        )

    def count(self) -> int:
        """Frames, packet-ins and digests together."""
        return self.outputs.total() + self.packet_ins.total() + self.digests.total()


@dataclass(frozen=True, slots=True)
class Step:
    """One packet and what must come of it; what is not named must not happen."""

    packet: bytes
    port: int | Submit
    """Where it arrives."""
    out: tuple[tuple[int, bytes], ...] = ()
    """(port, frame) of each frame that leaves."""
    drop: DropReason | None = None
    packet_in: PacketIn | None = None
    digest: Digest | None = None

    def expected(self) -> Outcome:
        """The step's right outcome."""
        outcome = Outcome(outputs=Counter(self.out))
        if self.drop is not None:
            outcome.drops[self.drop] += 1
        if self.packet_in is not None:
            outcome.packet_ins[self.packet_in] += 1
            outcome.punts[self.packet_in.reason] += 1
        if self.digest is not None:
            outcome.digests[self.digest] += 1
        return outcome


@dataclass(frozen=True, slots=True)
class Case:
    """A short story: entries beyond those of the network, then packets in order."""

    name: str
    """A Python identifier, unique over all cases."""
    steps: tuple[Step, ...]
    entries: tuple[Entry, ...] = ()
    counted: tuple[tuple[Entry, tuple[int, int]], ...] = ()
    """(entry, (packets, bytes)): what entries' own counters show after the last step; frames count whole."""
    wire: bool = True
    """False where a real port cannot carry a packet of the case."""
