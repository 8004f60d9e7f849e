"""What translated code touches on every packet: table rows, profile members and groups."""

from __future__ import annotations

from typing import Any

from softswitch.entities import TableAction
from softswitch.meters import Meter

__all__ = ["NO_ACTION", "Call", "Row"]

NO_ACTION = -1
"""The action number of a miss without default action and of an empty group."""


class Call:
    """An action with its arguments: a default action, a profile member, or (with `seats`) a group of members."""

    __slots__ = ("action", "params", "seats")

    def __init__(self, action: int = NO_ACTION, params: tuple[int, ...] = ()) -> None:
        self.action = action
        """Number of the action, the same in all tables."""
        self.params = params
        self.seats: tuple[Call, ...] = ()
        """A group's members, each as often as its weight; empty for anything else."""


class Row(Call):
    """A table entry at work. Translated code reads `action` and `params`, or `target` in an indirect table.

    What a client wrote is put together again when it is read: a table may have a million rows.
    """

    __slots__ = ("deadline", "hit", "idle_timeout_ns", "metadata", "meter", "octets", "packets", "place", "priority",
                 "raw", "target", "written")  # fmt: skip

    def __init__(self, raw: Any, priority: int) -> None:
        super().__init__()
        self.raw = raw
        """What names it in its table's index (see `softswitch.lookup`)."""
        self.priority = priority
        """Higher wins; zero where the table has no priorities."""
        self.written: TableAction | None = None
        """The action of an indirect entry as a client wrote it; of others it is `action` and `params`."""
        self.idle_timeout_ns = 0
        self.metadata = b""
        self.target: Call | None = None
        """The member or group that an indirect entry points at."""
        self.packets = 0
        self.octets = 0
        self.hit = 0
        """When it was last hit, or else written; nanoseconds of the switch's clock."""
        self.deadline = 0
        """When its idle timeout is looked at next; zero: never."""
        self.meter: Meter | None = None
        self.place = 0
        """Its number in the memory of the XDP engine; zero: not there."""
