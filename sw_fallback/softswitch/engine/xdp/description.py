"""What lies where in a program's memory, in a form that another version of this software reads: JSON.

    format      1; another number means that nothing below can be counted on
    cells       CPUs that count apart
    tables      by name: stem (of its maps' names), index (how rows are found: exact, trie, vectors, intervals), few
                (how instead of by the trie while there are few), hash (a sample of how an exact one hashes), size, rows
                and buckets (entries of these maps), profile, words (of the key), homes (where row 0 says how many
                buckets keys hash to; only of an index that grows: there an entry may have two slots),
                key (fields in order: name, kind, width, mask, and where in the key's words), row (offsets) and actions
                (by name: number, and parameters as name, width, offset in the row, bytes)
    registers   by name: stem, width, size
    counters    by name: stem, size            indirect ones
    meters      by name: stem, size, octets    indirect ones
    statistics  names of the program's own counters, in order

Two programs whose descriptions of an object are equal can work on the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.layout import METER_BYTES, KeyLayout, RowLayout
from softswitch.engine.xdp.lookups import TableLookups
from softswitch.engine.xdp.memory import bucket_count, row_count
from softswitch.engine.xdp.memory.keys import hash_sample
from softswitch.engine.xdp.memory.prefix import PREFIX_ENTRIES
from softswitch.engine.xdp.sizes import HOMES_AT, first_homes
from softswitch.program.controls import MatchKind, Table

__all__ = ["FORMAT", "Description", "describe", "is_durable"]

Description = dict[str, Any]

FORMAT = 1
"""To be raised with any change of `runtime/tables.h` or `meters.h` that old memory would be misread by."""


def describe(context: Context, lookups: TableLookups, statistics: Sequence[str]) -> Description:
    """The description of one program's memory."""
    program, names = context.program, context.names
    return {
        "format": FORMAT,
        "cells": context.cells,
        "tables": {
            table.name: _table(context, table, lookups.rows[table.name]) for table in lookups.tables if table.key
        },
        "registers": {
            array.name: {"stem": names.object(array.name), "width": array.width, "size": array.size}
            for array in program.registers.values()
        },
        "counters": {
            array.name: {"stem": names.object(array.name), "size": array.size}
            for array in program.counters.values()
            if array.table is None
        },
        "meters": {
            array.name: {
                "stem": names.object(array.name), "size": array.size, "octets": array.octets, "bytes": METER_BYTES,
            }
            for array in program.meters.values()
            if array.table is None
        },
        "statistics": list(statistics),
    }  # fmt: skip


def is_durable(table: Description) -> bool:
    """Whether the entries can be read back from the table's memory: the key is there, the action in the row."""
    return table["index"] in ("exact", "trie") and table["profile"] is None


def _table(context: Context, table: Table, row: RowLayout) -> Description:
    actions = {}
    for name, layout in row.arguments.items():
        action = next(item for item in context.program.actions.values() if item.name == name)
        actions[name] = {
            "number": context.numbers[name],
            "parameters": [
                [parameter.name, parameter.width, row.arguments_at + offset, size]
                for parameter, (offset, size) in zip(action.parameters, layout.offsets, strict=True)
            ],
        }
    buckets = bucket_count(table.size) if table.kind is MatchKind.EXACT else None
    grows = buckets is not None and first_homes(buckets) < buckets
    return {
        "stem": context.names.object(table.name),
        "index": _index(table),
        **({"few": "intervals"} if _index(table) == "trie" else {}),
        "hash": hash_sample(KeyLayout(table.key)) if table.kind is MatchKind.EXACT else None,
        "size": table.size,
        "rows": row_count(table.size),
        "buckets": buckets,
        **({"homes": HOMES_AT} if grows else {}),
        "profile": table.profile,
        "words": KeyLayout(table.key).words,
        "key": [
            {
                "name": part.field.name,
                "kind": part.field.kind.value,
                "width": part.field.target.width,
                "mask": part.field.mask,
                "word": part.word,
                "shift": part.shift,
                "words": part.words,
            }
            for part in KeyLayout(table.key).parts
        ],
        "row": {
            "size": row.size,
            "action": row.action_at,
            "hit": row.hit_at,
            "counters": row.counters_at,
            "cells": row.cells,
            "meter": row.meter_at,
        },
        "actions": actions,
    }


def _index(table: Table) -> str:
    match table.kind:
        case MatchKind.EXACT:
            return "exact"
        case MatchKind.LPM if table.size > PREFIX_ENTRIES:
            return "trie"
        case MatchKind.LPM:
            return "intervals"
        case _:
            return "vectors"
