"""What table rows and keys look like in memory: the generated C and the Python that fills the maps go by this.

A row is a C struct with natural alignment, little-endian:

    key        u64[K]   the key's words, exact tables only: see `KeyLayout`
    action     u32      the action's number; in an indirect table the number of a group of the profile
    arguments  union    one struct for each action, its parameters in order
    hit        u64      nanoseconds of the monotonic clock, tables with idle timeouts only
    counters   struct counter[COUNTER_CELLS]  packets and octets of each CPU, tables with direct counters only
    meter      struct meter                   tables with a direct meter only

A parameter of up to 64 bits has the smallest unsigned type that holds it, a wider one is an array of u64 words, the
least significant first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softswitch.engine.xdp.terms import WORD, words_of
from softswitch.program.controls import Action, KeyField, Table

__all__ = ["COUNTER_BYTES", "METER_BYTES", "ArgumentLayout", "KeyLayout", "KeyPart", "RowLayout", "size_of"]

COUNTER_BYTES = 16
"""Packets and octets, a u64 each."""
METER_BYTES = 88
"""struct meter: see `runtime/meters.h`."""


_CACHE_LINE = 64


def size_of(width: int) -> int:
    """Bytes of a C variable that holds this many bits."""
    if width > WORD:
        return 8 * words_of(width)
    return next(size for size in (1, 2, 4, 8) if width <= 8 * size)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


@dataclass(frozen=True, slots=True)
class KeyPart:
    """Where a key field goes: `words` whole words from `word` on, or a part of one word from bit `shift` on."""

    field: KeyField
    word: int
    shift: int
    words: int


class KeyLayout:
    """A key as u64 words. Fields of more than 64 bits take whole words, in order; the others share the words after."""

    def __init__(self, key: Sequence[KeyField]) -> None:
        placed: dict[int, KeyPart] = {}
        word = 0
        for index, field in enumerate(key):
            if field.target.width > WORD:
                count = words_of(field.target.width)
                placed[index] = KeyPart(field, word, 0, count)
                word += count
        shift = 0
        for index, field in enumerate(key):
            width = field.target.width
            if width > WORD:
                continue
            if shift + width > WORD:
                word, shift = word + 1, 0
            placed[index] = KeyPart(field, word, shift, 1)
            shift += width
        self.parts = tuple(placed[index] for index in range(len(key)))
        """In the order of the table's key."""
        self.words = word + (1 if shift else 0)

    def pack(self, values: Sequence[int]) -> list[int]:
        """The words of a key whose fields have these values (unsigned), in the order of the table's key."""
        words = [0] * self.words
        for part, value in zip(self.parts, values, strict=True):
            if part.words == 1:
                words[part.word] |= value << part.shift
            else:
                for index in range(part.words):
                    words[part.word + index] = value >> WORD * index & (1 << WORD) - 1
        return words

    def unpack(self, words: Sequence[int]) -> tuple[int, ...]:
        """The values of the fields of a packed key."""
        values = []
        for part in self.parts:
            value = sum(words[part.word + index] << WORD * index for index in range(part.words))
            values.append(value >> part.shift & (1 << part.field.target.width) - 1)
        return tuple(values)


class ArgumentLayout:
    """The struct of an action's parameters."""

    def __init__(self, action: Action) -> None:
        self.offsets: list[tuple[int, int]] = []
        """(offset from the struct's start, bytes) of each parameter."""
        self.alignment, end = 1, 0
        for parameter in action.parameters:
            size = size_of(parameter.width)
            alignment = min(size, 8)
            start = _aligned(end, alignment)
            self.offsets.append((start, size))
            self.alignment = max(self.alignment, alignment)
            end = start + size
        self.size = _aligned(end, self.alignment)

    def pack(self, values: Sequence[int]) -> bytes:
        """The struct with these values."""
        data = bytearray(self.size)
        for (offset, size), value in zip(self.offsets, values, strict=True):
            data[offset : offset + size] = value.to_bytes(size, "little")
        return bytes(data)

    def unpack(self, data: bytes) -> tuple[int, ...]:
        """The values in a struct."""
        return tuple(int.from_bytes(data[offset : offset + size], "little") for offset, size in self.offsets)


class RowLayout:
    """The row of a table, or of a profile's members: offsets and sizes in bytes."""

    def __init__(
        self,
        actions: Sequence[Action],
        cells: int,
        *,
        key: KeyLayout | None = None,
        hit: bool = False,
        counters: bool = False,
        meter: bool = False,
    ) -> None:
        """`cells` is COUNTER_CELLS, how many CPUs count apart."""
        self.key = key
        self.arguments: dict[str, ArgumentLayout] = {}
        """By action name."""
        for action in actions:
            self.arguments.setdefault(action.name, ArgumentLayout(action))
        self.action_at = 8 * key.words if key is not None else 0
        alignment = max((item.alignment for item in self.arguments.values()), default=1)
        self.arguments_at = _aligned(self.action_at + 4, alignment)
        end = self.arguments_at + max((item.size for item in self.arguments.values()), default=0)
        self.hit_at: int | None = None
        if hit:
            self.hit_at = _aligned(end, 8)
            end = self.hit_at + 8
        self.counters_at: int | None = None
        self.cells = cells
        if counters:
            self.counters_at = _aligned(end, 8)
            end = self.counters_at + COUNTER_BYTES * cells
        self.meter_at: int | None = None
        if meter:
            self.meter_at = _aligned(end, 8)
            end = self.meter_at + METER_BYTES
        self.alignment = _CACHE_LINE if end > _CACHE_LINE else 8
        """Where a row begins: at random in a million rows, one that straddles lines costs 75 ns more."""
        self.size = _aligned(end, self.alignment)

    @classmethod
    def of(cls, table: Table, actions: Sequence[Action], cells: int, *, with_key: bool) -> RowLayout:
        """The row of a match table; an indirect one has no arguments."""
        return cls(
            actions if table.profile is None else (),
            cells,
            key=KeyLayout(table.key) if with_key else None,
            hit=table.idle_timeout,
            counters=table.direct_counter,
            meter=table.direct_meter is not None,
        )
