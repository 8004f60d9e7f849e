"""How many entries the maps of tables and profiles have."""

from __future__ import annotations

from collections.abc import Iterable

from softswitch.program.controls import ActionProfile, Table

__all__ = [
    "HOMES_AT",
    "MAX_VECTOR_ENTRIES",
    "PREFIX_ENTRIES",
    "bucket_count",
    "first_homes",
    "interval_places",
    "profile_counts",
    "row_count",
    "vector_count",
]

MAX_VECTOR_ENTRIES = 16384
"""Entries that a program's verifier can be asked to look through; twice 64 bytes for each and each byte of the key."""
PREFIX_ENTRIES = 256
"""As many as intervals are made for (`intervals.h`)."""
HOMES_AT = 8
"""Where row 0 of a table whose index grows says how far it has (`tables.h`)."""
_FIXED = 1 << 14
"""Buckets of an index that does not grow, at most: 512 KB, those of 64 Ki entries, fit into a core's own cache."""
_FIRST = 256
"""Homes of an index that grows, when the table is empty: 8 KB."""
_SPARE = 2048
"""Rows beyond those that a table's size asks for: a wait of some 8 ms for so many changes is 4 µs for each."""
_SEATS = 1 << 16
"""Of a profile at least: a group's weights add up to as many."""


def row_count(size: int, *, changes: bool = True) -> int:
    """Rows of a table or profile of `size` entries: these, row 0, its default action, and spare ones if it changes."""
    return size + 2 + (max(_SPARE, min(size // 8, 1 << 16)) if changes else 0)


def bucket_count(size: int) -> int:
    """Buckets of a table of `size` entries: a power of two."""
    return 1 << max(0, (size - 1).bit_length() - 2)


def first_homes(buckets: int) -> int:
    """How many of a table's buckets are homes while it is empty; fewer than all: its index grows."""
    return buckets if buckets <= _FIXED else _FIRST


def interval_places(entries: int) -> int:
    """Places for the intervals of so many prefixes: a power of two."""
    return 1 << (2 * max(1, entries)).bit_length()


def vector_count(size: int) -> int:
    """Words of 64 entries that hold a table of this size."""
    return -(-size // 64)


def profile_counts(profile: ActionProfile, tables: Iterable[Table]) -> tuple[int, int, int]:
    """Groups, seats and members' rows of a profile: what PROFILE is given. `tables`: all of the program.

    Every entry may have a group of its own (action sets), and every member is one, beside the groups that clients
    name, whose number nothing bounds.
    """
    entries = sum(table.size for table in tables if table.profile == profile.name)
    groups = 2 * profile.size + entries + 1024
    seats = max(_SEATS, 4 * groups) if profile.selector is not None else 1
    members = profile.size + (entries if profile.selector is not None else 0)
    return groups, seats, row_count(members)
