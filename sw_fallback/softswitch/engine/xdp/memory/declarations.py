"""C text of how a table's rows are found: the maps beside its rows, and the call."""

from __future__ import annotations

from dataclasses import dataclass

from softswitch.engine.xdp.layout import KeyLayout
from softswitch.engine.xdp.memory.exact import bucket_count
from softswitch.engine.xdp.memory.prefix import PREFIX_ENTRIES, PrefixKey
from softswitch.engine.xdp.memory.rows import row_count
from softswitch.engine.xdp.memory.vectors import VectorLayout
from softswitch.program.controls import MatchKind, Table

__all__ = ["IndexText", "index_text"]


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
        call = f"exact_find(&{stem}_buckets, {buckets}, &{stem}_rows, {row_count(table.size)}, key, {key.words})"
        return IndexText((f"TABLE_BUCKETS({stem}, {buckets});",), call)
    layout = VectorLayout(table)
    is_prefix = table.kind is MatchKind.LPM
    entries = min(table.size, PREFIX_ENTRIES) if is_prefix else table.size
    lines = [
        f"TABLE_VECTORS({stem}, {layout.planes}, {entries});",
        *_match_function(layout, stem),
        f"VECTOR_SCAN({stem}, {layout.planes}, {entries})",
    ]
    if not is_prefix or table.size <= PREFIX_ENTRIES:
        return IndexText(tuple(lines), f"row_of(&{stem}_rows, {stem}_scan(key))")
    prefix = PrefixKey(table)
    exact = sum(1 << word for word in prefix.exact)
    field = f"(struct prefix_field){{{prefix.part.word}, {prefix.part.shift}, {prefix.width}}}"
    lines += [
        f"TABLE_PREFIXES({stem}, {prefix.words}, {table.size});",
        f"static __always_inline void *{stem}_longest(const u64 *key)",
        "{",
        f"	u32 number = {stem}_scan(key);",
        "",
        "	if (number == VECTORS_UNUSED)",
        f"		number = trie_find(&{stem}_trie, key, {exact}, {field});",
        f"	return row_of(&{stem}_rows, number);",
        "}",
    ]
    return IndexText(tuple(lines), f"{stem}_longest(key)")


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
