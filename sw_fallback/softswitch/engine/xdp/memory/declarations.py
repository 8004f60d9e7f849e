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
    columns = f"{stem}_columns, {len(layout.columns)}" if layout.columns else "NULL, 0"
    ranges = f"{stem}_ranges, {len(layout.ranges)}" if layout.ranges else "NULL, 0"
    entries = min(table.size, PREFIX_ENTRIES) if table.kind is MatchKind.LPM else table.size
    lines = [f"TABLE_VECTORS({stem}, {layout.planes}, {entries});"]
    if layout.columns:
        listed = ", ".join(map(str, layout.columns))
        lines.append(f"const u8 {stem}_columns[] = {{{listed}}};")
    if layout.ranges:
        listed = ", ".join(f"{{{item.word}, {item.shift}, {item.width}}}" for item in layout.ranges)
        lines.append(f"const struct range {stem}_ranges[] = {{{listed}}};")
    if table.kind is not MatchKind.LPM or table.size <= PREFIX_ENTRIES:
        call = f"vector_find(&{stem}_vectors, {layout.planes}, {entries}, &{stem}_rows, key, {columns}, {ranges})"
        return IndexText(tuple(lines), call)
    prefix = PrefixKey(table)
    lines.append(f"TABLE_PREFIXES({stem}, {prefix.words}, {table.size});")
    exact = sum(1 << word for word in prefix.exact)
    field = f"(struct prefix_field){{{prefix.part.word}, {prefix.part.shift}, {prefix.width}}}"
    call = (
        f"prefix_find(&{stem}_vectors, {layout.planes}, &{stem}_trie, &{stem}_rows, key, {key.words}, {columns},"
        f" {exact}, {field})"
    )
    return IndexText(tuple(lines), call)
