"""The entries of tables that another process wrote, read from its memory by its description."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory.ledger import Ledger
from softswitch.rows import Row

__all__ = ["Found", "Inheritance", "TableReader"]

_TOP = 1 << 31
"""Set in every slot of a bucket that leads to a row, and in nothing else there."""
_BUCKET = 8
"""Words of 32 bits in a bucket."""
_AT_ONCE = 1 << 16
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}

Arguments = Callable[[memoryview, int], tuple[int, ...]]
"""From the memory and where a row starts in it."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a program shares with the one before it, which another process has loaded."""

    maps: Mapping[str, Map]
    """All that the other process left, by name."""
    ledgers: Mapping[str, Map]
    """By the stem of a table or counter."""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The descriptions of tables whose entries are in shared memory, by name."""
    counters: Collection[str] = ()
    meters: Collection[str] = ()
    registers: Collection[str] = ()
    hash_keys: bytes = b""
    """What the other program was loaded with."""


class Found(NamedTuple):
    """An entry, and where it was found."""

    row: Row
    slot: int
    """Of an exact table: the position of its slot among the words of 32 bits of the buckets."""


class TableReader:
    """One table, of a description with `is_durable`, or any other for what its rows have counted."""

    def __init__(
        self, table: Mapping[str, Any], maps: Mapping[str, Map], ledger: Ledger | None, numbers: Mapping[str, int]
    ) -> None:
        """`numbers`: of this process's actions, by name; an action that it does not have makes `rows` raise."""
        self._table = table
        self._ledger = ledger
        stem, row = table["stem"], table["row"]
        self._maps = {
            suffix: maps[name] for suffix in ("rows", "buckets", "trie") if (name := f"{stem}_{suffix}") in maps
        }
        self._rows = self._maps["rows"]
        self._memory = self._rows.memory()
        self._words, self._halves = self._memory.cast("Q"), self._memory.cast("I")
        self._stride = row["size"]
        self._action_at, self._hit_at, self._counters_at = row["action"], row["hit"], row["counters"]
        self._cells = row["cells"]
        self._actions = {
            action["number"]: (numbers[name], _arguments(action["parameters"]))
            for name, action in table["actions"].items()
            if name in numbers
        }

    def counter(self, number: int) -> tuple[int, int]:
        """Packets and octets of a row, this process's and the other's together."""
        if self._counters_at is None:
            return 0, 0
        start = (number * self._stride + self._counters_at) >> 3
        cells: Any = self._words[start : start + 2 * self._cells]
        packets, octets = self._ledger.kept(number) if self._ledger is not None else (0, 0)
        return packets + sum(cells[::2]), octets + sum(cells[1::2])

    def last_hit(self, number: int) -> int:
        """When a row was last hit, or else written; nanoseconds, zero where the table has no idle timeouts."""
        return 0 if self._hit_at is None else self._words[(number * self._stride + self._hit_at) >> 3]

    def rows(self) -> Iterator[Found]:
        """Every entry, in no order; one of an exact table perhaps twice.

        Raises LookupError for an action that this process does not know.
        """
        if self._table["index"] == "exact":
            return self._exact_rows()
        return self._prefix_rows()

    def _exact_rows(self) -> Iterator[Found]:
        raw = raw_function(self._table["key"], self._table["words"])
        unpack = struct.Struct(f"={self._table['words']}Q").unpack_from
        memory, stride, fill = self._memory, self._stride, self._fill
        for slot, number in self._slots():
            row = Row(raw(*unpack(memory, number * stride)), 0)
            fill(row, number)
            yield Found(row, slot)

    def _prefix_rows(self) -> Iterator[Found]:
        raw = _PrefixReader(self._table)
        for key, value in self._maps["trie"].items():
            row = Row(raw(key), 0)
            self._fill(row, int.from_bytes(value, "little"))
            yield Found(row, 0)

    def _slots(self) -> Iterator[tuple[int, int]]:
        """Position and row number of every slot that is in use."""
        slots = self._maps["buckets"].memory().cast("I")
        numbers = (1 << (self._rows.max_entries - 1).bit_length()) - 1
        for start in range(0, len(slots), _AT_ONCE):
            words = slots[start : start + _AT_ONCE].tolist()
            yield from [(slot, word & numbers) for slot, word in enumerate(words, start) if word >= _TOP]

    def _fill(self, row: Row, number: int) -> None:
        start = number * self._stride
        row.place = number
        row.action, arguments = self._actions[self._halves[(start + self._action_at) >> 2]]
        row.params = arguments(self._memory, start)
        if self._hit_at is not None:
            row.hit = self._words[(start + self._hit_at) >> 3]
        if self._ledger is not None:
            row.idle_timeout_ns, row.packets, row.octets = self._ledger.line(number)


def raw_function(key: Sequence[Mapping[str, Any]], words: int) -> Callable[..., Any]:
    """From the words of a key to a raw key of `softswitch.lookup.ExactIndex`; written for each table."""
    fields = []
    for part in key:
        word, width = part["word"], part["width"]
        if part["words"] > 1:
            fields.append(" | ".join(f"w{word + index} << {64 * index}" for index in range(part["words"])))
        else:
            shifted = f"w{word} >> {part['shift']}" if part["shift"] else f"w{word}"
            fields.append(shifted if width + part["shift"] == 64 else f"{shifted} & {(1 << width) - 1}")
    result = fields[0] if len(fields) == 1 else f"({', '.join(fields)})"
    source = f"lambda {', '.join(f'w{index}' for index in range(words))}: {result}"
    function: Callable[..., Any] = eval(compile(source, "<raw key>", "eval"))
    return function


def _arguments(parameters: Sequence[Sequence[Any]]) -> Arguments:
    """How to read an action's parameters from a row."""
    if not parameters:
        return lambda memory, start: ()
    pieces, end, first = ["="], parameters[0][2], parameters[0][2]
    counts = []
    for _, _, offset, size in parameters:
        pieces.append(f"{offset - end}x")
        counts.append(max(1, size // 8))
        pieces.append(_LETTERS.get(size, f"{size // 8}Q"))
        end = offset + size
    unpack = struct.Struct("".join(pieces)).unpack_from
    if max(counts) == 1:
        return lambda memory, start: unpack(memory, start + first)

    def read(memory: memoryview, start: int) -> tuple[int, ...]:
        words = iter(unpack(memory, start + first))
        return tuple(sum(next(words) << 64 * index for index in range(count)) for count in counts)

    return read


class _PrefixReader:
    """From a key of the trie to a raw key of `softswitch.lookup.LpmIndex`; see `memory/prefix.py`."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        key = table["key"]
        self._position = next(index for index, part in enumerate(key) if part["kind"] == "lpm")
        prefix = key[self._position]
        others = [part for index, part in enumerate(key) if index != self._position]
        taken = {part["word"] + index for part in others for index in range(part["words"])}
        self._exact = sorted(taken)
        self._left = 64 * prefix["words"] - prefix["width"]
        self._others = raw_function(others, table["words"]) if others else None
        self._others_count = len(others)
        self._words = table["words"]

    def __call__(self, key: bytes) -> tuple[int, Any]:
        length = int.from_bytes(key[:4], "little") - 64 * len(self._exact)
        after = 4 + 8 * len(self._exact)
        value = int.from_bytes(key[after:], "big") >> self._left
        if self._others is None:
            return length, value
        words = [0] * self._words
        for index, word in enumerate(self._exact):
            words[word] = int.from_bytes(key[4 + 8 * index : 12 + 8 * index], "big")
        others = self._others(*words)
        values = list(others) if self._others_count > 1 else [others]
        values.insert(self._position, value)
        return length, tuple(values)
