"""The smallest program around one table in shared memory: it looks up the key that a test writes into a map."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType

from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import Object, run
from softswitch.engine.xdp.layout import KeyLayout, RowLayout
from softswitch.engine.xdp.memory import Grace, Shared, index_text, random_hash_keys, row_count
from softswitch.errors import SourceLocation
from softswitch.program.controls import Action, KeyField, MatchKind, Parameter, Table
from softswitch.program.expressions import FieldRef
from softswitch.rows import Row

NOWHERE = SourceLocation("", 0, 0, "")
FRAME = bytes(64)
CELLS = 2
ACTION = 5
"""The number of the one action, `serve(u32 value, u128 wide, u16 small)`."""
MISS = 0xFFFFFFFF

READS = 1_000_000
"""Of one run of the watching program: long enough that it is seldom waiting to be started again."""
WATCH = """
/* Reads a key again and again: value counts the misses, small counts rows that are not whole. */
SEC("xdp") int watch(struct xdp_md *ctx)
{
	u32 first = 0;
	struct bench *bench = bpf_map_lookup_elem(&benches, &first);
	struct t_row *row;

	if (!bench)
		return XDP_ABORTED;
	bench->runs++;
	row = find(bench);
	if (!row)
		bench->value++;
	else if (row->action != 5 || row->serve.small != (u16)row->serve.value)
		bench->small++;
	else if (row->serve.wide[0] != row->serve.value || row->serve.wide[1] != (u64)row->serve.value << 16)
		bench->small++;
	return XDP_PASS;
}
"""
"""To be put after a table's program, for `watched`."""

SERVE = Action(
    0, "serve", (Parameter("value", 32), Parameter("wide", 128), Parameter("small", 16)), body=(), location=NOWHERE
)


def runtime(*names: str, cells: int = CELLS) -> str:
    """What stands at the top of a program: headers, our types and these of the runtime's files."""
    texts = [files("softswitch.engine.xdp").joinpath("runtime", name).read_text("utf-8") for name in names]
    head = f"""\
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CPUS {CELLS}
#define COUNTER_CELLS {cells}

"""
    return head + "\n".join(texts)


LICENSE = 'char _license[] SEC("license") = "GPL";\n'


def load(text: str, *names: str, cells: int = CELLS) -> Object:
    """A program of these of the runtime's files and then this text."""
    source = "\n".join(
        (runtime("types.h", "tables.h", "halves.h", "vectors.h", "intervals.h", *names, cells=cells), text, LICENSE)
    )
    return Object.load(compile_object(source), name="memory")


def make_table(
    kind: MatchKind, fields: Sequence[tuple[MatchKind, int]], size: int, *, hit: bool = False, counters: bool = False
) -> Table:
    """A table `t` with key fields of these kinds and widths."""
    key = tuple(
        KeyField(f"f{index}", each, FieldRef("h", f"f{index}", width), None)
        for index, (each, width) in enumerate(fields)
    )
    return Table(
        name="t",
        kind=kind,
        key=key,
        actions=(0,),
        size=size,
        default=None,
        entries=(),
        next_by_action={},
        next_by_hit=None,
        next_without_action=None,
        profile=None,
        direct_counter=counters,
        direct_meter=None,
        idle_timeout=hit,
        location=NOWHERE,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup came to."""

    value: int
    wide: int
    small: int


class TableProgram:
    """A loaded program around one table, whose maps begin with `t_`."""

    def __init__(self, table: Table, *, further: str = "", extra: Sequence[str] = ()) -> None:
        """`further`: C text at its end; `extra`: runtime files beside tables.h."""
        self.table = table
        self.key = KeyLayout(table.key)
        self.layout = RowLayout.of(table, [SERVE], CELLS, with_key=table.kind is MatchKind.EXACT)
        self.hash_keys = random_hash_keys()
        rodata = {"hash_keys": self.hash_keys}
        self.object = Object.load(compile_object(self._source(further, extra)), name="table", rodata=rodata)
        self.shared = Shared("t", self.object.maps, self.layout, {"serve": ACTION}, Grace(), hash_keys=self.hash_keys)
        self._bench = self.object.maps["benches"].memory()

    def _source(self, further: str, extra: Sequence[str]) -> str:
        text = index_text(self.table, "t")
        words = ", ".join(f"bench->key[{word}]" for word in range(self.key.words))
        return f"""\
{runtime("types.h", "tables.h", "halves.h", "vectors.h", "intervals.h", *extra)}
struct t_row {{
	{f"u64 key[{self.key.words}];" if self.layout.key is not None else ""}
	u32 action;
	struct {{
		u32 value;
		u64 wide[2];
		u16 small;
	}} serve;
	{"u64 hit;" if self.layout.hit_at is not None else ""}
	{"struct counter counters[COUNTER_CELLS];" if self.layout.counters_at is not None else ""}
}} __attribute__((aligned({self.layout.alignment})));
_Static_assert(sizeof(struct t_row) == {self.layout.size}, "layout.py");

TABLE_ROWS(t, {row_count(self.table.size)});
{chr(10).join(text.declarations)}

struct bench {{
	u64 key[16], runs;
	u32 value, small;
	u64 wide[2];
}};
SHARED_ARRAY(benches, struct bench, 1);

static __always_inline struct t_row *find(struct bench *bench)
{{
	const u64 key[{self.key.words}] = {{ {words} }};

	return {text.call};
}}

SEC("xdp") int look_up(struct xdp_md *ctx)
{{
	u32 first = 0;
	struct bench *bench = bpf_map_lookup_elem(&benches, &first);
	struct t_row *row;

	if (!bench)
		return XDP_ABORTED;
	bench->runs++;
	row = find(bench);
	if (!row)
		return XDP_DROP;
	if (row->action != {ACTION})
		return XDP_ABORTED;
	{"count_in(row->counters, 100);" if self.layout.counters_at is not None else ""}
	{"row->hit = bench->runs;" if self.layout.hit_at is not None else ""}
	bench->value = row->serve.value;
	bench->wide[0] = row->serve.wide[0];
	bench->wide[1] = row->serve.wide[1];
	bench->small = row->serve.small;
	return XDP_PASS;
}}

SEC("xdp") int look_up_nothing(struct xdp_md *ctx)
{{
	u32 first = 0;
	struct bench *bench = bpf_map_lookup_elem(&benches, &first);

	if (!bench)
		return XDP_ABORTED;
	bench->runs++;
	return XDP_PASS;
}}
{further}
{LICENSE}"""

    def row(self, raw: object, value: int, priority: int = 0) -> Row:
        """A row that gives `found(value)` back."""
        row = Row(raw, priority)
        row.action, row.params = ACTION, (value, value << 80 | value, value & 0xFFFF)
        return row

    def set_key(self, values: Sequence[int]) -> None:
        words = self.key.pack(values)
        self._bench[: 8 * len(words)] = struct.pack(f"={len(words)}Q", *words)

    def look_up(self, values: Sequence[int]) -> int | None:
        """The value of the row that the program finds; checks that the row is whole."""
        self.set_key(values)
        verdict = run(self.object.programs["look_up"], FRAME).retval
        if verdict == 1:
            return None
        assert verdict == 2
        value, small, low, high = struct.unpack("=IIQQ", self._bench[136:160])
        assert (high << 64 | low, small) == (value << 80 | value, value & 0xFFFF)
        return int(value)

    def nanoseconds(self, values: Sequence[int], repeat: int = 300_000) -> int:
        """What a lookup of this key takes, an empty program taken off."""
        self.set_key(values)
        programs = self.object.programs
        full = min(run(programs["look_up"], FRAME, repeat=repeat).duration_ns for _ in range(5))
        return full - min(run(programs["look_up_nothing"], FRAME, repeat=repeat).duration_ns for _ in range(5))

    def close(self) -> None:
        self.object.close()

    def __enter__(self) -> TableProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def watched(program: TableProgram, change: Callable[[int], None], seconds: float) -> tuple[int, int, int, int]:
    """Runs, misses, torn rows of a program that reads while `change` is called over and over, and the calls."""
    bench = program.object.maps["benches"].memory()
    bench[128:144] = bytes(16)
    stopped = threading.Event()

    def read() -> None:
        while not stopped.is_set():
            run(program.object.programs["watch"], FRAME, repeat=READS)

    reader = threading.Thread(target=read)
    reader.start()
    calls, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            change(calls)
            calls += 1
    finally:
        stopped.set()
        reader.join()
    return *struct.unpack("=QII", bench[128:144]), calls
