"""What follows from what was told to a switch's core."""

from __future__ import annotations

from dataclasses import dataclass, field

from depot.p4runtime.packets import PacketOut
from depot.p4runtime.reconcile import Update
from depot.switching.announcer import Announcement
from depot.switching.commands import SessionNotice

__all__ = ["Output", "Reconciled"]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The tables were read and compared with what they should hold."""

    entries: int
    """Entries that the switch held."""
    sessions: int
    """Sessions among them that were adopted or known already."""
    differences: int
    """Updates that follow."""


@dataclass(slots=True)
class Output:
    """What follows from what was told to a core, in the order in which it should be done."""

    announcements: list[Announcement] = field(default_factory=list)
    """To be told to all peers first; then `SwitchCore.announced` is to be called, and the output taken again."""
    batches: list[list[Update]] = field(default_factory=list)
    """Writes to be done one batch after the other; those of sessions known when a switch connects among them."""
    connections: list[Update] = field(default_factory=list)
    """Writes of `connection_table`, after the batches; one for each key."""
    packets: list[PacketOut] = field(default_factory=list)
    """Packets to be sent now."""
    packets_after: list[PacketOut] = field(default_factory=list)
    """Packets to be sent when the writes are done."""
    notices: list[SessionNotice] = field(default_factory=list)
    """What became of sessions."""
    reconciled: list[Reconciled] = field(default_factory=list)
    """Comparisons made."""
    reread: bool = False
    """Whether the tables should be read back and given to `reread`."""
