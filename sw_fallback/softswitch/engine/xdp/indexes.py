"""How programs find the rows of a table: what their maps look like, and the C text of a lookup.

`tables.h`, `vectors.h` and `intervals.h` in `runtime/` explain the structures, `memory/` fills them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from softswitch.engine.xdp.layout import KeyLayout
from softswitch.engine.xdp.sizes import (
    MAX_VECTOR_ENTRIES,
    PREFIX_ENTRIES,
    bucket_count,
    first_homes,
    interval_places,
    row_count,
)
from softswitch.errors import UnsupportedConstruct
from softswitch.program.controls import MatchKind, Table

__all__ = ["IndexText", "PrefixKey", "Span", "VectorKey", "VectorLayout", "index_text"]

_WORDS = 8
"""Of a trie's key at most: TRIE_WORDS."""


@dataclass(frozen=True, slots=True)
class _Range:
    """Where a field with ranges is in the key's words."""

    index: int
    """Which field of the table's key."""
    word: int
    shift: int
    width: int


@dataclass(frozen=True, slots=True)
class VectorKey:
    """What an entry asks of the key."""

    value: bytes
    mask: bytes
    """Of all bytes of the key's words, little-endian; zero where fields with ranges are."""
    ranges: tuple[tuple[int, int], ...]
    """Lowest and highest value of each field with ranges."""


class VectorLayout:
    """Which bytes of a table's key have planes, and in which order."""

    def __init__(self, table: Table) -> None:
        """Raises `UnsupportedConstruct` for a table that is too big, or with ranges on more than 64 bits."""
        if table.size > MAX_VECTOR_ENTRIES:
            construct = f"{table.kind.value} table '{table.name}' of {table.size} entries"
            raise UnsupportedConstruct(construct, table.location)
        self.entries = max(1, table.size)
        """How many there may be."""
        self.key = KeyLayout(table.key)
        ranges, compared = [], [0] * self.key.words
        for index, part in enumerate(self.key.parts):
            width = part.field.target.width
            if part.field.kind is not MatchKind.RANGE:
                for word in range(part.words):
                    bits = min(64, width - 64 * word)
                    compared[part.word + word] |= (1 << bits) - 1 << part.shift
            elif part.words > 1:
                construct = f"range of {width} bits in the key of table '{table.name}'"
                raise UnsupportedConstruct(construct, table.location)
            else:
                ranges.append(_Range(index, part.word, part.shift, width))
        together = b"".join(word.to_bytes(8, "little") for word in compared)
        self.columns = tuple(index for index, byte in enumerate(together) if byte)
        """The bytes of the key that are compared with a value and a mask."""
        self.ranges = tuple(ranges)
        self.planes = len(self.columns) + sum(4 * -(-item.width // 8) - 2 for item in ranges)

    def entry(self, parts: Sequence[tuple[int, int]]) -> VectorKey:
        """`parts`: value and mask, or lowest and highest value, of each field in the order of the table's key."""
        ranged = {item.index for item in self.ranges}
        plain = [(0, 0) if index in ranged else part for index, part in enumerate(parts)]
        values, masks = self.key.pack([value for value, _ in plain]), self.key.pack([mask for _, mask in plain])
        return VectorKey(
            b"".join(word.to_bytes(8, "little") for word in values),
            b"".join(word.to_bytes(8, "little") for word in masks),
            tuple(parts[item.index] for item in self.ranges),
        )


class Span(NamedTuple):
    """The keys that a prefix covers."""

    low: int
    high: int
    """The last of them."""


class PrefixKey:
    """A key with a prefix as one number: the words of the table's key that have exact fields, then the prefix from the
    top of its first word on; most significant first."""

    def __init__(self, table: Table) -> None:
        """Raises `UnsupportedConstruct` for too long a key of a table that may need the trie."""
        self.layout = KeyLayout(table.key)
        self.position = next(index for index, field in enumerate(table.key) if field.kind is MatchKind.LPM)
        """Which field has the prefix."""
        self.part = self.layout.parts[self.position]
        self.width = self.part.field.target.width
        taken: set[int] = set()
        for index, part in enumerate(self.layout.parts):
            if index != self.position:
                taken.update(range(part.word, part.word + part.words))
        self.exact = tuple(sorted(taken))
        """Words of the table's key that have exact fields."""
        self.words = len(self.exact) + self.part.words
        self.length = 64 * len(self.exact) + self.width
        """Bits down to the end of the prefix's field."""
        if self.words > _WORDS and table.size > PREFIX_ENTRIES:
            construct = f"longest prefix match on {64 * self.words} bits in table '{table.name}'"
            raise UnsupportedConstruct(construct, table.location)

    def pack(self, length: int, values: tuple[int, ...]) -> bytes:
        """The key of the trie, which has the length in bits before it. `values`: of all fields, that of the prefix
        masked."""
        bits = 64 * len(self.exact) + length
        return bits.to_bytes(4, "little") + self._number(values).to_bytes(8 * self.words, "big")

    def span(self, length: int, values: tuple[int, ...]) -> Span:
        """The keys of such an entry."""
        low, free = self._number(values), 64 * self.part.words - length
        return Span(low, low | (1 << free) - 1)

    def texts(self) -> list[str]:
        """The words in C, over `key[]`."""
        part, found = self.part, []
        for word in self.exact:
            own = (1 << self.width) - 1 << part.shift if part.words == 1 and word == part.word else 0
            found.append(f"key[{word}] & {own ^ (1 << 64) - 1:#x}ull" if own else f"key[{word}]")
        left = 64 * part.words - self.width
        for word in reversed(range(part.word, part.word + part.words)):
            text = f"key[{word}] >> {part.shift}" if part.shift else f"key[{word}]"
            text = f"{text} << {left}" if left else text
            found.append(f"{text} | key[{word - 1}] >> {64 - left}" if left and word > part.word else text)
        return found

    def _number(self, values: tuple[int, ...]) -> int:
        words = self.layout.pack([0 if index == self.position else value for index, value in enumerate(values)])
        number = 0
        for word in self.exact:
            number = number << 64 | words[word]
        left = 64 * self.part.words - self.width
        return number << 64 * self.part.words | values[self.position] << left


@dataclass(frozen=True, slots=True)
class IndexText:
    """How C finds the rows of one table."""

    declarations: tuple[str, ...]
    """Lines at file scope, after TABLE_ROWS."""
    call: str
    """An expression of type void *, over `const u64 key[]`, the words of `KeyLayout`."""


def index_text(table: Table, stem: str) -> IndexText:
    """The text for a table with a key. Raises `UnsupportedConstruct`."""
    key = KeyLayout(table.key)
    if table.kind is MatchKind.EXACT:
        buckets = bucket_count(table.size)
        find = "exact_find" if first_homes(buckets) == buckets else "growing_find"
        call = f"{find}(&{stem}_buckets, {buckets}, &{stem}_rows, {row_count(table.size)}, key, {key.words})"
        return IndexText((f"TABLE_BUCKETS({stem}, {buckets});",), call)
    if table.kind is MatchKind.LPM:
        return _prefix_text(table, stem)
    layout = VectorLayout(table)
    lines = (
        f"TABLE_VECTORS({stem}, {layout.planes}, {layout.entries});",
        *_match_function(layout, stem),
        f"VECTOR_SCAN({stem}, {layout.planes}, {layout.entries})",
    )
    return IndexText(lines, f"row_of(&{stem}_rows, {stem}_scan(key))")


def _prefix_text(table: Table, stem: str) -> IndexText:
    prefix = PrefixKey(table)
    places = interval_places(min(table.size, PREFIX_ENTRIES))
    lines = [
        f"TABLE_INTERVALS({stem}, {prefix.words}, {places});",
        f"INTERVAL_SEARCH({stem}, {prefix.words}, {places}, {_is_below(prefix.words)})",
        *((f"TABLE_TRIE({stem}, {prefix.words}, {table.size});",) if table.size > PREFIX_ENTRIES else ()),
        f"static __always_inline void *{stem}_longest(const u64 *key)",
        "{",
        f"	const u64 ordered[{prefix.words}] = {{ {', '.join(prefix.texts())} }};",
        f"	u32 number = {stem}_search(ordered);",
        "",
    ]
    if table.size > PREFIX_ENTRIES:
        lines += [
            "	if (number == HALVES_UNUSED)",
            f"		number = trie_find(&{stem}_trie, ordered, {prefix.words}, {prefix.length});",
        ]
    lines += [f"	return row_of(&{stem}_rows, number);", "}"]
    return IndexText(tuple(lines), f"{stem}_longest(key)")


def _is_below(words: int) -> str:
    """Whether `key[]` is below `bound[]`, numbers of so many words, the most significant first."""
    text = f"key[{words - 1}] < bound[{words - 1}]"
    for word in reversed(range(words - 1)):
        text = f"key[{word}] < bound[{word}] || (key[{word}] == bound[{word}] && ({text}))"
    return text


def _match_function(layout: VectorLayout, stem: str) -> list[str]:
    """`stem_match` (see VECTOR_SCAN), in straight lines: clang would not unroll a loop over columns in time."""
    lines = [
        f"static __always_inline u64 {stem}_match(const u8 *planes, u32 words, u32 at, const u64 *key)",
        "{",
        "	u64 match = ~0ull, above, below;" if layout.ranges else "	u64 match = ~0ull;",
        "",
    ]
    lines += [
        f"	match &= vector_of(planes, {plane}, key_byte(key, {column}), words, at);"
        for plane, column in enumerate(layout.columns)
    ]
    plane = len(layout.columns)
    for field in layout.ranges:
        for byte in range(-(-field.width // 8)):
            value = f"key_bits(key, {64 * field.word + field.shift + 8 * byte}, {min(8, field.width - 8 * byte)})"
            if byte:
                lines.append(f"	above &= vector_of(planes, {plane + 2}, {value}, words, at);")
                lines.append(f"	below &= vector_of(planes, {plane + 3}, {value}, words, at);")
            lines.append(f"	above {'|' if byte else ''}= vector_of(planes, {plane}, {value}, words, at);")
            lines.append(f"	below {'|' if byte else ''}= vector_of(planes, {plane + 1}, {value}, words, at);")
            plane += 4 if byte else 2
        lines.append("	match &= above & below;")
    return [*lines, "	return match;", "}"]
