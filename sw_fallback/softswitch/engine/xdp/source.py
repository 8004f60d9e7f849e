"""A whole program as C source for clang's eBPF back end, in the order of reading: runtime, state, tables, controls."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.controls import PipelineWriter
from softswitch.engine.xdp.entry import EntryWriter
from softswitch.engine.xdp.lookups import TableLookups
from softswitch.engine.xdp.writer import Writer

__all__ = ["Source", "generate"]

_RUNTIME = ("types.h", "packet.h", "tables.h", "halves.h", "vectors.h", "intervals.h", "meters.h", "hashes.h")
"""Hand-written parts, in the order in which they need one another."""


@dataclass(frozen=True, slots=True)
class Source:
    """The C source of a program and what user space must know of it."""

    text: str
    context: Context
    entry: EntryWriter
    lookups: TableLookups


def generate(context: Context) -> Source:
    """Translate a program. Raises `UnsupportedConstruct` and `MalformedPipeline`."""
    writer = Writer()
    entry, lookups = EntryWriter(context, writer), TableLookups(context)
    writer.comment(f"Translated from {context.program.name or 'a P4 program'}.")
    writer.line("")
    writer.line("#include <stddef.h>")
    writer.line("#include <linux/bpf.h>")
    writer.line("#include <bpf/bpf_helpers.h>")
    writer.line("")
    for macro, value in (("CPUS", context.cpus), ("COUNTER_CELLS", context.cells), ("HASH_WORDS", lookups.hash_words)):
        writer.line(f"#define {macro} {value}")
    for name in _RUNTIME:
        writer.line("")
        for line in files(__package__).joinpath("runtime", name).read_text("utf-8").rstrip().split("\n"):
            writer.line(line)
    writer.line("")
    entry.declare()
    lookups.write(writer)
    for pipeline in (context.program.ingress, context.program.egress):
        writer.line("")
        with writer.block(f"static __always_inline void {pipeline.name}(struct state *s)"):
            PipelineWriter(context, writer, pipeline, entry.lazy_fields).write()
    entry.define()
    writer.line("")
    writer.line('char _license[] SEC("license") = "Dual MIT/GPL";')
    return Source(writer.text(), context, entry, lookups)
