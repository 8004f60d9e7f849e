"""What a switch counts about itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stats"]


@dataclass(slots=True)
class Stats:
    """Counts since the program was loaded; what a shell publishes as metrics."""

    packets_in: int = 0
    """Packets given to `process`."""
    packets_out: int = 0
    """Packets that `process` returned."""
    drops: int = 0
    """Packets that ended at the drop port, at the end of ingress or egress, or in an empty multicast group."""
    parser_errors: int = 0
    """Packets whose parser stopped with an error (they go on to ingress, as v1model says)."""
    digests_lost: int = 0
    """Digest samples thrown away because nobody took them in time."""
    passes_exceeded: int = 0
    """Packets dropped because they were resubmitted or recirculated too often."""
    assertions_failed: int = 0
    """Packets dropped by an `assert` or `assume` of the P4 program that did not hold."""
