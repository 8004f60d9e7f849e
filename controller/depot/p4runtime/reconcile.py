"""What must be written so that a switch holds the entries that it should: pure, and the only place that compares.

The difference comes as ordered batches. Within a batch the order does not matter (P4Runtime 12 leaves it open); between
batches it does: what others refer to is inserted before them and deleted after them. So a member exists before a slot
names it, a longer schedule has its slots before the VIP counts them, and a shorter one loses them afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

from depot.p4runtime.entry import Entry, EntryKey, Table

__all__ = ["INSERT_ORDER", "Operation", "Update", "reconcile"]


class Operation(IntEnum):
    """Types of an update (P4Runtime 1.4, 12: `Update.Type`)."""

    INSERT = 1
    MODIFY = 2
    DELETE = 3


class Update(NamedTuple):
    """One write."""

    operation: Operation
    """What to do."""
    entry: Entry
    """The entry; of a deleted one only the key counts."""

    def __str__(self) -> str:
        return f"{self.operation.name.lower()} {self.entry if self.operation != Operation.DELETE else self.entry.key}"


INSERT_ORDER: tuple[tuple[Table, ...], ...] = (
    (
        Table.ADMISSION,
        Table.VIRTUAL_MAC,
        Table.LOCAL_ADDRESS,
        Table.NEIGHBOUR,
        Table.ROUTE,
        Table.MEMBER,
        Table.NAT_SOURCE,
        Table.TUNNEL,
        Table.MSS,
    ),
    (Table.SCHEDULE, Table.CONNECTION, Table.ORIGINATOR),
    (Table.VIP, Table.POLICY),
)
"""Tables by what they stand on: entries of a group refer only to groups before it."""

_RANK = {table: rank for rank, tables in enumerate(INSERT_ORDER) for table in tables}


def reconcile(
    desired: Iterable[Entry] | Mapping[EntryKey, Entry], actual: Mapping[EntryKey, Entry]
) -> list[list[Update]]:
    """Return the updates that turn `actual` into `desired`, in batches to be written one after the other.

    Equal entries cause nothing. Inserts come first, then modifications, then deletes in the reverse order.
    """
    wanted = desired if isinstance(desired, Mapping) else {entry.key: entry for entry in desired}
    ranks = range(len(INSERT_ORDER))
    inserts: list[list[Update]] = [[] for _ in ranks]
    deletes: list[list[Update]] = [[] for _ in ranks]
    modifications: list[Update] = []
    for key, entry in wanted.items():
        held = actual.get(key)
        if held is None:
            inserts[_RANK[entry.table]].append(Update(Operation.INSERT, entry))
        elif held != entry:
            modifications.append(Update(Operation.MODIFY, entry))
    for key, entry in actual.items():
        if key not in wanted:
            deletes[_RANK[entry.table]].append(Update(Operation.DELETE, entry))
    batches = [*inserts, modifications, *reversed(deletes)]
    return [batch for batch in batches if batch]
