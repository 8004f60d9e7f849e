"""The program that runs for each frame: start, parser, ingress, what was asked for, egress, deparser, transmit."""

from __future__ import annotations

from importlib.resources import files

from softswitch.engine.xdp.assignment import EGRESS_START, Assignment
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.deparsing import DeparserWriter
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.parsing import ParserWriter
from softswitch.engine.xdp.places import find_places
from softswitch.engine.xdp.state import StateLayout
from softswitch.engine.xdp.terms import WORD
from softswitch.engine.xdp.timestamps import TIMESTAMPS, needs_moment, takes_ticks
from softswitch.engine.xdp.traces import Traces
from softswitch.engine.xdp.writer import Writer
from softswitch.program.parsers import Execute
from softswitch.program.statements import Assert, EmitDigest, Recirculate, Resubmit, Truncate, flatten
from softswitch.trace.record import Verdict

__all__ = ["STATISTICS", "EntryWriter"]

STATISTICS = (
    "packets_in",
    "packets_out",
    "drops",
    "parser_errors",
    "assertions_failed",
    "digests_lost",
    "no_room",
    "unknown_port",
    "events_lost",
    "foreign",
    "traces_lost",
)
"""Members of `struct statistics`, u64 each, in order: those of `softswitch.stats.Stats` that a packet's way through the
kernel counts, and
no_room       packets dropped because the frame has no room for its headers, or would have less than 14 bytes
unknown_port  packets for a port that neither the kernel nor user space has
events_lost   packets dropped because user space was told too much at once
foreign       frames from interfaces that are no port, which go on to the kernel's network stack
traces_lost   packets that somebody traced and that could not be told of"""

_ZEROED_AT_ONCE = 512
"""Bytes that clang turns into plain stores; it refuses to call a memset."""


class EntryWriter:
    """Writes everything but what the pipelines do and look up."""

    def __init__(self, context: Context, writer: Writer) -> None:
        """Raises `UnsupportedConstruct` for a parser that cannot be run here."""
        self._context = context
        self._writer = writer
        self._places = find_places(context)
        self._assignment = Assignment(context)
        self.layout = StateLayout.of(context, self._places, frozenset(self._assignment.unassigned))
        """Where the members of `struct state` are in a dump."""
        self._deparser = DeparserWriter(context, writer, self._places)
        self._kinds = context.usage.kinds
        self._traces = Traces(context, writer)
        self._spec = context.intrinsic("egress_spec") or "s->spec"

    def lazy_fields(self, node: str) -> list[str]:
        """Lines before a node of a pipeline: timestamps that it reads and that nobody else fills."""
        lines = []
        for name in TIMESTAMPS:
            field = self._context.program.intrinsic(name)
            pipeline = self._context.program.egress if name in EGRESS_START else None
            if field is None or not self._is_lazy(name):
                continue
            here = pipeline is None or node in pipeline.tables or node in pipeline.conditions
            if here and (field.header, field.field) in self._assignment.reads.get(node, ()):
                lines.append(self._timestamp(name))
        return lines

    def _is_lazy(self, name: str) -> bool:
        """Whether a timestamp is filled where it is read: only nodes read it and nothing changes it."""
        field = self._context.program.intrinsic(name)
        if field is None:
            return False
        key = (field.header, field.field)
        return key not in self._context.usage.writes and key not in self._assignment.reads[""]

    def _timestamp(self, name: str) -> str:
        field = self._context.program.intrinsic(name)
        mask = (1 << field.width) - 1 if field is not None else 0
        return f"{self._context.intrinsic(name)} = micros(s) & {mask:#x}ull;"

    # Declarations

    def declare(self) -> None:
        """Write `struct state`, the maps that belong to no table, and what is near them."""
        line = self._writer.line
        line("")
        zeroed = f"The first {self.layout.zeroed} bytes are zeroed for each packet."
        self._writer.comment(f"What is known of the packet that this CPU works on. {zeroed}")
        self.layout.write(self._writer)
        line(f'_Static_assert(sizeof(struct state) == {self.layout.size}, "state.py");')
        line("")
        with self._writer.block("struct statistics", tail=" __attribute__((aligned(64)));"):
            for name in STATISTICS:
                line(f"u64 {name};")
        line("")
        line(f"enum {{ ASIDE = {max(1, self._deparser.aside)}, HEADERS = {max(1, self._deparser.headers)} }};")
        self._paste("entry.h")
        if self._context.traces:
            line("")
            self._traces.constants()
            self._paste("trace_steps.h")
        if needs_moment(self._context):
            line("")
            line(f"#define clock_of_packets bpf_ktime_get_{'coarse_' if takes_ticks(self._context) else ''}ns")
            self._paste("timestamps.h")

    def _paste(self, name: str) -> None:
        self._writer.line("")
        for text in files(__package__).joinpath("runtime", name).read_text("utf-8").rstrip().split("\n"):
            self._writer.line(text)

    # Functions

    def define(self) -> None:
        """Write the functions, `softswitch` last."""
        self._function("void parse(struct xdp_md *ctx, struct state *s)")
        with self._writer.block(""):
            ParserWriter(self._context, self._writer, self._places).write()
        self._function("void verify(struct state *s)")
        with self._writer.block(""):
            self._deparser.verify()
        self._function("void update(struct state *s)")
        with self._writer.block(""):
            self._deparser.update()
        self._deparser.functions()
        self._function("int deparse(struct xdp_md *ctx, struct state *s)")
        with self._writer.block(""):
            self._deparser.write()
        self._paste("events.h")
        if self._context.traces:
            self._paste("traces.h")
        if EmitDigest in self._kinds:
            self._digests()
        if Truncate in self._kinds:
            self._paste("truncate.h")
        for head, body in (
            ("void begin(struct state *s)", self._begin),
            ("int end_ingress(struct xdp_md *ctx, struct state *s, struct statistics *counts)", self._end_ingress),
            ("void begin_egress(struct state *s)", self._begin_egress),
            ("int end_egress(struct xdp_md *ctx, struct state *s, struct statistics *counts)", self._end_egress),
        ):
            self._function(head)
            with self._writer.block(""):
                body()
        self._softswitch()

    def _function(self, head: str) -> None:
        self._writer.line("")
        self._writer.line(f"static __always_inline {head}")

    def _digests(self) -> None:
        self._writer.line("")
        line = self._writer.line
        line("static __always_inline void send_digest(struct state *s)")
        with self._writer.block(""):
            for number, digest in self._context.program.digests.items():
                words: list[str] = []
                with self._writer.block(f"if (s->digest == {number})", digest.location):
                    expressions = Expressions(self._context, self._writer)
                    for member in digest.members:
                        term = expressions.integer(member)
                        words += [term.word(index) for index in range(len(term.words))]
                    line(f"struct {{ struct event event; u64 words[{len(words)}]; }} *record;")
                    line("record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);")
                    with self._writer.block("if (!record)"):
                        line("COUNT(digests_lost);")
                        line("return;")
                    line("record->event = (struct event){")
                    line(f"\t.kind = EVENT_DIGEST, .length = sizeof(*record), .number = {number},")
                    line("};")
                    for index, word in enumerate(words):
                        line(f"record->words[{index}] = {word};")
                    line("bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP); /* tick() wakes */")

    def _set(self, intrinsic: str, value: str) -> None:
        """Give a standard metadata field its value, if anything reads it."""
        variable = self._context.intrinsic(intrinsic)
        field = self._context.program.intrinsic(intrinsic)
        if variable is not None and field is not None:
            mask = (1 << field.width) - 1
            whole = value.isdigit() or field.width in (8, 16, 32, WORD)
            self._writer.line(f"{variable} = {value};" if whole else f"{variable} = {value} & {mask:#x};")

    def _set_time(self, intrinsic: str) -> None:
        if self._context.intrinsic(intrinsic) is not None and not self._is_lazy(intrinsic):
            self._writer.line(self._timestamp(intrinsic))

    def _begin(self) -> None:
        """What a packet starts with, beside zeroes; `s->ingress_port` and `s->size` are there already."""
        line, program = self._writer.line, self._context.program
        tables = [*program.ingress.tables.values(), *program.egress.tables.values()]
        if any(table.idle_timeout for table in tables):
            line("s->now = clock_now();")
        line(f"s->error = {self._context.no_error};")
        if "length" in self.layout.members:
            line("s->length = s->size;")
        if "cut" in self.layout.members:
            line("s->cut = 0xffffffff;")
        self._set("ingress_port", "s->ingress_port")
        self._set("instance_type", "0")
        self._set("packet_length", "s->size")
        self._set_time("ingress_global_timestamp")

    def _drop(self, counter: str, verdict: Verdict) -> None:
        self._traces.end(verdict)
        self._writer.line(f"counts->{counter}++;")
        self._writer.line("return XDP_DROP;")

    def _drop_if_failed(self) -> None:
        if Assert in self._kinds:
            with self._writer.block("if (s->failed)"):
                self._drop("assertions_failed", Verdict.ASSERTION)

    def _dump(self, request: str, event: str) -> None:
        with self._writer.block(f"if ({request})"):
            self._writer.line(f"return dump(ctx, {event});")

    def _end_ingress(self) -> None:
        """XDP_PASS: the packet goes on to egress."""
        line = self._writer.line
        self._drop_if_failed()
        if self._context.usage.clones(False):
            with self._writer.block("if (s->clone_session)"):
                self._traces.cloned()
                line("dump(ctx, EVENT_CLONE);")
        if EmitDigest in self._kinds:
            with self._writer.block("if (s->digest)"):
                line("send_digest(s);")
        if Resubmit in self._kinds:
            self._dump("s->resubmit_list", "EVENT_RESUBMIT")
        group = self._context.program.intrinsic("mcast_grp")
        if group is not None and (group.header, group.field) in self._context.usage.writes:
            self._dump(self._context.intrinsic("mcast_grp") or "0", "EVENT_REPLICATE")
        with self._writer.block(f"if ({self._spec} == {self._context.drop_value})"):
            self._drop("drops", Verdict.DROPPED_INGRESS)
        line(f"s->port = {self._spec};")
        line("return XDP_PASS;")

    def _begin_egress(self) -> None:
        line, spec = self._writer.line, self._context.program.intrinsic("egress_spec")
        self._set("egress_port", "s->port")
        line(f"{self._spec} = {(self._context.drop_port + 1) & ((1 << (spec.width if spec else 9)) - 1)};")
        self._set("egress_rid", "0")
        self._set("instance_type", "0")
        self._set("packet_length", "s->length")
        self._set_time("egress_global_timestamp")
        self._set_time("enq_timestamp")
        for name in ("enq_qdepth", "deq_timedelta", "deq_qdepth", "qid"):
            self._set(name, "0")
        if self._context.usage.clones(True):
            line("s->clone_session = 0;")
        if Recirculate in self._kinds:
            line("s->recirculate_list = 0;")

    def _end_egress(self) -> None:
        line = self._writer.line
        self._drop_if_failed()
        if self._context.usage.clones(True):
            with self._writer.block("if (s->clone_session)"):
                line("dump(ctx, EVENT_EGRESS_CLONE);")
        with self._writer.block(f"if ({self._spec} == {self._context.drop_value})"):
            self._drop("drops", Verdict.DROPPED_EGRESS)
        line("update(s);")
        cut = " || truncate(ctx, s)" if Truncate in self._kinds else ""
        with self._writer.block(f"if (deparse(ctx, s){cut})"):
            self._drop("no_room", Verdict.NO_ROOM)
        if Recirculate in self._kinds:
            self._dump("s->recirculate_list", "EVENT_RECIRCULATE")
        self._traces.end(Verdict.LEFT)
        with self._writer.block("if (bpf_redirect_map(&ports, s->port, 0) != XDP_REDIRECT)"):
            line("return deliver(ctx);")
        line("counts->packets_out++;")
        line("return XDP_REDIRECT;")

    def _softswitch(self) -> None:
        line = self._writer.line
        line("")
        line('SEC("xdp")')
        line("int softswitch(struct xdp_md *ctx)")
        with self._writer.block(""):
            line("const u32 zero = 0, interface = ctx->ingress_ifindex;")
            line("const struct interfaces *known = bpf_map_lookup_elem(&port_of, &zero);")
            line("struct statistics *counts = counts_here();")
            line("struct state *s = this_state();")
            line("")
            with self._writer.block("if (!known || !counts || !s)"):
                line("return XDP_ABORTED;")
            line("const u16 port = interface < INTERFACES ? known->port[interface] : 0;")
            with self._writer.block("if (!port)"):
                line("counts->foreign++;")
                line("return XDP_PASS;")
            line("counts->packets_in++;")
            for start in range(0, self.layout.zeroed, _ZEROED_AT_ONCE):
                if start:
                    line("barrier(); /* or clang makes one memset of two */")
                size = min(_ZEROED_AT_ONCE, self.layout.zeroed - start)
                line(f"__builtin_memset((u64 *)s + {start // 8}, 0, {size});")
            line("s->ingress_port = port - 1;")
            line("s->size = (u64)(long)ctx->data_end - (u64)(long)ctx->data;")
            line("begin(s);")
            line("parse(ctx, s);")
            if self._asserts_in_parser():
                self._drop_if_failed()
            with self._writer.block(f"if (s->error != {self._context.no_error})"):
                line("counts->parser_errors++;")
            self._set("parser_error", "s->error")
            line("verify(s);")
            self._traces.choose()
            line("ingress(s);")
            with self._writer.block("if (end_ingress(ctx, s, counts) != XDP_PASS)"):
                line("return XDP_DROP;")
            line("begin_egress(s);")
            line("egress(s);")
            line("return end_egress(ctx, s, counts);")

    def _asserts_in_parser(self) -> bool:
        operations = (item for state in self._context.program.parser.states.values() for item in state.operations)
        statements = (item.statement for item in operations if isinstance(item, Execute))
        return any(isinstance(item, Assert) for item in flatten(tuple(statements)))
