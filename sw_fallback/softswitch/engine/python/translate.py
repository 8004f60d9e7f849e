"""A whole program as Python source: `ingress`, `egress` and, for programs that clone, `clone`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from softswitch.engine.python.context import Context, Numbers
from softswitch.engine.python.controls import PipelineWriter
from softswitch.engine.python.deparsing import DeparserWriter
from softswitch.engine.python.layout import Layout
from softswitch.engine.python.names import Names
from softswitch.engine.python.parsing import ParserWriter
from softswitch.engine.python.traces import Traces
from softswitch.engine.python.writer import Writer
from softswitch.program import Program
from softswitch.program.expressions import Expression, FieldRef
from softswitch.program.statements import EmitDigest, Recirculate, Resubmit
from softswitch.tables import TableStore
from softswitch.trace.record import Verdict

__all__ = ["InstanceType", "Translation", "translate"]


class InstanceType(IntEnum):
    """What `instance_type` says of a packet (simple_switch.h, PktInstanceType)."""

    NORMAL = 0
    INGRESS_CLONE = 1
    EGRESS_CLONE = 2
    COALESCED = 3
    RECIRC = 4
    REPLICATION = 5
    RESUBMIT = 6


_EVERYTHING = "0x7fffffffffffffff"
"""A truncation length that cuts nothing."""


@dataclass(frozen=True, slots=True)
class Translation:
    """The Python source of a program and the objects it refers to."""

    source: str
    objects: dict[str, object]
    names: Names
    """The identifiers of everything that the program names."""
    needs_clock: bool
    """Whether it looks at the time."""
    state: tuple[str, ...]
    """Variables that `egress` takes after its fixed parameters."""
    layouts: Mapping[str, Layout]
    """How each header's bytes become variables."""
    field_lists: Mapping[int, tuple[FieldRef, ...]]
    """What a clone, resubmit or recirculate keeps, in the order of `kept`."""


def translate(
    program: Program,
    stores: Mapping[str, TableStore],
    numbers: Numbers,
    drop_port: int,
    filters: Sequence[Expression] | None = None,
) -> Translation:
    """Translate a program; with `filters` (even none) into code that tells a `trace` where each packet went.

    Raises `UnsupportedConstruct` and `MalformedPipeline`.
    """
    context = Context(program, numbers, drop_port, filters)
    return _Translator(context, stores).run()


class _Translator:
    def __init__(self, context: Context, stores: Mapping[str, TableStore]) -> None:
        self._context = context
        self._stores = stores
        self._metadata = context.metadata_variables()
        self._headers = context.header_variables()
        self._empty = {**dict.fromkeys(self._metadata, "0"), **self._headers}
        self._state: list[str] = []
        """Variables that egress takes over from ingress."""
        usage = context.usage
        self._given: set[str] = set()
        """Variables that egress gives a value itself before anything reads them."""
        self._clones_ingress, self._clones_egress = usage.clones(False), usage.clones(True)
        self._timestamps = any(
            usage.reads_intrinsic(name)
            for name in ("ingress_global_timestamp", "egress_global_timestamp", "enq_timestamp")
        )

    def run(self) -> Translation:
        self._state = sorted(self._kept_variables()) if self._clones_egress else []
        self._state = self._carried(self._egress())
        egress = self._egress()
        pieces = [self._heading(), egress]
        if self._clones_ingress:
            pieces.append(self._clone())
        pieces.append(self._ingress())
        source = "\n\n".join(pieces)
        tables = [*self._context.program.ingress.tables.values(), *self._context.program.egress.tables.values()]
        metered = bool(self._context.program.meters)
        needs_clock = self._timestamps or metered or any(table.idle_timeout for table in tables)
        names = self._context.names
        kept = {
            number: tuple(field for field in fields if names.field(field.header, field.field) in self._empty)
            for number, fields in self._context.program.field_lists.items()
        }
        state, layouts = tuple(self._state), self._context.layouts
        return Translation(source, self._context.objects, names, needs_clock, state, layouts, kept)

    def _heading(self) -> str:
        return f'"""Translated from {self._context.program.name or "a P4 program"}."""\n'

    # Variables

    def _kept_variables(self) -> set[str]:
        lists = self._context.program.field_lists.values()
        return {self._context.names.field(f.header, f.field) for fields in lists for f in fields} & set(self._empty)

    def _carried(self, body: str) -> list[str]:
        """Variables that a function needs from its caller."""
        extra = {"at", "length", "cut"} if self._context.truncates else {"at", "length"}
        loads = _names(body, ast.Load)
        wanted = loads - self._given
        return [name for name in self._empty if name in wanted] + sorted((extra & loads) - {"at"})

    def _start_values(self, writer: Writer, names: Iterable[str]) -> None:
        """Variables as they are before a packet is looked at."""
        by_value: dict[str, list[str]] = {}
        for name in names:
            by_value.setdefault(self._empty[name], []).append(name)
        for value, group in by_value.items():
            for start in range(0, len(group), 6):
                writer.line(f"{' = '.join(group[start : start + 6])} = {value}")

    def _set(self, writer: Writer, intrinsic: str, value: str, width: int | None = None) -> None:
        """Give a standard metadata field its value, if anything reads it."""
        variable = self._context.intrinsic(intrinsic)
        if variable is not None:
            mask = f" & {(1 << self._metadata[variable]) - 1:#x}" if width is None else ""
            writer.line(f"{variable} = {value}{mask}")

    def _micros(self, writer: Writer) -> None:
        if self._timestamps:
            writer.line("micros = (now - started) // 1000")

    def _field_list(self, fields: tuple[FieldRef, ...]) -> list[str]:
        names = [self._context.names.field(field.header, field.field) for field in fields]
        return [name for name in names if name in self._empty]

    def _restore(self, writer: Writer) -> None:
        """Take over the metadata that a clone, resubmit or recirculate kept."""
        for number, fields in self._context.program.field_lists.items():
            if names := self._field_list(fields):
                with writer.block(f"if kept_list == {number}"):
                    writer.line(f"{', '.join(names)}, = kept")

    def _keep(self, writer: Writer, request: str) -> None:
        """Leave in `kept` the values of the field list whose number is in `request`."""
        writer.line("kept = ()")
        for number, fields in self._context.program.field_lists.items():
            if names := self._field_list(fields):
                with writer.block(f"if {request} == {number}"):
                    writer.line(f"kept = ({', '.join(names)},)")

    # Functions

    def _ingress(self) -> str:
        body = Writer(depth=1)
        self._ingress_start(body)
        ParserWriter(self._context, body).write()
        with body.block(f"if error != {self._context.no_error}"):
            body.line("stats.parser_errors += 1")
        self._set(body, "parser_error", "error", 0)
        DeparserWriter(self._context, body).verify()
        Traces(self._context, body).ingress()
        body.comment("ingress")
        PipelineWriter(self._context, body, self._context.program.ingress, self._stores).write()
        self._ingress_end(body)
        text = body.text()
        head = Writer()
        head.line("def ingress(port, packet, octets, kind, now, kept_list, kept, out, work):")
        start = Writer(depth=1)
        self._start_values(start, self._initial(text, self._state))
        return head.text() + start.text() + text

    def _initial(self, body: str, state: Iterable[str]) -> list[str]:
        """Variables that a function must give their start values."""
        needed = _names(body, ast.Load) | set(state)
        return [name for name in self._empty if name in needed]

    def _ingress_start(self, body: Writer) -> None:
        body.line("size = len(packet)")
        self._micros(body)
        kinds = self._context.usage.kinds
        self._set(body, "ingress_port", "port")
        if Resubmit in kinds or Recirculate in kinds:
            self._set(body, "ingress_global_timestamp", "(0 if kind else micros)")
            self._restore(body)
        else:
            self._set(body, "ingress_global_timestamp", "micros")
        self._set(body, "instance_type", "kind", 0)
        self._set(body, "packet_length", "size")
        body.line(f"error = {self._context.no_error}")
        if self._context.tracks_length:
            body.line("length = size")
        if self._context.truncates:
            body.line(f"cut = {_EVERYTHING}")
        for name, used in self._requests():
            if used:
                body.line(f"{name} = 0")

    def _requests(self) -> list[tuple[str, bool]]:
        kinds = self._context.usage.kinds
        return [
            ("clone_session = clone_list", self._clones_ingress or self._clones_egress),
            ("digest", EmitDigest in kinds),
            ("resubmit_list", Resubmit in kinds),
            ("recirculate_list", Recirculate in kinds),
        ]

    def _ingress_end(self, body: Writer) -> None:
        body.comment("end of ingress")
        if self._clones_ingress:
            with body.block("if clone_session"):
                self._keep(body, "clone_list")
                body.line("copies, left = sessions.get(clone_session & 0x7fff, ((), 0))")
                with body.block("if copies"):
                    body.line("clone(port, packet, octets, now, copies, left, clone_list, kept, out, work)")
        self._digests(body)
        if Resubmit in self._context.usage.kinds:
            with body.block("if resubmit_list"):
                self._keep(body, "resubmit_list")
                request = f"0, packet, octets, {InstanceType.RESUBMIT:d}, now, resubmit_list, kept, out, work"
                body.line(f"work.append((ingress, ({request})))")
                body.line("return")
        self._multicast(body)
        spec = self._context.intrinsic("egress_spec") or "drop"
        with body.block(f"if {spec} == {self._context.drop_value}"):
            body.line("stats.drops += 1")
            Traces(self._context, body).end(Verdict.DROPPED_INGRESS)
            body.line("return")
        rid = self._context.intrinsic("egress_rid") or "0"
        body.line(self._call_egress(spec, rid, InstanceType.NORMAL))

    def _digests(self, body: Writer) -> None:
        if EmitDigest not in self._context.usage.kinds:
            return
        with body.block("if digest"):
            for index, layout in enumerate(self._context.program.digests.values()):
                members = ", ".join(self._context.expressions.integer(member).text for member in layout.members)
                with body.block(f"{'el' if index else ''}if digest == {layout.id}"):
                    body.line(f"emit_digest({layout.id}, ({members},))", layout.location)

    def _multicast(self, body: Writer) -> None:
        group = self._context.program.intrinsic("mcast_grp")
        if group is None or (group.header, group.field) not in self._context.usage.writes:
            return
        variable = self._context.intrinsic("mcast_grp")
        with body.block(f"if {variable}"):
            body.line(f"copies = groups.get({variable}, ())")
            with body.block("if not copies"):
                body.line("stats.drops += 1")
                Traces(self._context, body).end(Verdict.NO_COPIES)
            with body.block("for left, rid in copies"):
                body.line(self._call_egress("left", "rid", InstanceType.REPLICATION, whole=True))
            body.line("return")

    def _call_egress(self, port: str, rid: str, kind: InstanceType, *, whole: bool = False) -> str:
        """Copies made by the replication engine are `whole`: a truncation does not reach them."""
        state = [_EVERYTHING if whole and name == "cut" else name for name in self._state]
        fixed = [port, rid, f"{kind:d}", "packet", "at", "octets", "now", "out", "work"]
        return f"egress({', '.join([*fixed, *state])})"

    def _clone(self) -> str:
        """Ingress-to-egress copies: the packet as it came, parsed again, with the kept metadata only."""
        body = Writer(depth=1)
        body.line("size = len(packet)")
        if self._context.tracks_length:
            body.line("length = size")
        if self._context.truncates:
            body.line(f"cut = {_EVERYTHING}")
        self._set(body, "ingress_port", "port")
        body.line(f"error = {self._context.no_error}")
        ParserWriter(self._context, body).write()
        self._start_values(body, [name for name in self._state if name in self._metadata])
        self._restore(body)
        with body.block("if left_bytes"):
            body.line("packet = packet[:max(left_bytes, at)]")
        with body.block("for left, rid in copies"):
            body.line(self._call_egress("left", "rid", InstanceType.INGRESS_CLONE))
        text = body.text()
        head = Writer()
        head.line("def clone(port, packet, octets, now, copies, left_bytes, kept_list, kept, out, work):")
        start = Writer(depth=1)
        self._start_values(start, self._initial(text, self._state))
        return head.text() + start.text() + text

    def _egress(self) -> str:
        writer = Writer()
        fixed = "port, rid, kind, packet, at, octets, now, out, work"
        with writer.block(f"def egress({', '.join([fixed, *self._state])})"):
            self._egress_start(writer)
            self._given = _names("def start():\n" + writer.text().partition("\n")[2], ast.Store)
            Traces(self._context, writer).egress()
            writer.comment("egress")
            PipelineWriter(self._context, writer, self._context.program.egress, self._stores).write()
            writer.comment("end of egress")
            if self._clones_egress:
                self._clone_egress(writer)
            spec = self._context.intrinsic("egress_spec") or "drop"
            with writer.block(f"if {spec} == {self._context.drop_value}"):
                writer.line("stats.drops += 1")
                Traces(self._context, writer).end(Verdict.DROPPED_EGRESS)
                writer.line("return")
            deparser = DeparserWriter(self._context, writer)
            deparser.update()
            deparser.emit()
            if Recirculate in self._context.usage.kinds:
                with writer.block("if recirculate_list"):
                    self._keep(writer, "recirculate_list")
                    request = f"0, data, len(data), {InstanceType.RECIRC:d}, now, recirculate_list, kept, out, work"
                    writer.line(f"work.append((ingress, ({request})))")
                    writer.line("return")
            writer.line("out.append((port, data))")
            Traces(self._context, writer).end(Verdict.LEFT, "port")
        return writer.text()

    def _egress_start(self, writer: Writer) -> None:
        self._micros(writer)
        self._set(writer, "egress_port", "port")
        spec = (self._context.drop_port + 1) & ((1 << self._spec_width()) - 1)
        writer.line(f"{self._context.intrinsic('egress_spec') or 'drop'} = {spec}")
        self._set(writer, "egress_rid", "rid", 0)
        self._set(writer, "instance_type", "kind", 0)
        self._set(writer, "packet_length", "length")
        self._set(writer, "egress_global_timestamp", "micros")
        self._set(writer, "enq_timestamp", "micros")
        for name in ("enq_qdepth", "deq_timedelta", "deq_qdepth", "qid"):
            self._set(writer, name, "0", 0)
        for name, used in self._requests():
            if used:
                writer.line(f"{name} = 0")

    def _spec_width(self) -> int:
        field = self._context.program.intrinsic("egress_spec")
        return field.width if field is not None else 9

    def _clone_egress(self, writer: Writer) -> None:
        """Egress-to-egress copies: headers as they are now, with the kept metadata only."""
        lists: dict[str, list[int]] = {}
        for number, fields in self._context.program.field_lists.items():
            for name in self._field_list(fields):
                lists.setdefault(name, []).append(number)
        state = []
        for name in self._state:
            if name == "cut":
                state.append(_EVERYTHING)
            elif name not in self._metadata:
                state.append(name)
            elif name in lists:
                state.append(f"{name} if clone_list in ({', '.join(map(str, lists[name]))},) else 0")
            else:
                state.append("0")
        fixed = [f"{InstanceType.EGRESS_CLONE:d}", "packet[:max(left, at)] if left else packet", "at", "octets", "now"]
        with writer.block("if clone_session"):
            writer.line("copies, left = sessions.get(clone_session & 0x7fff, ((), 0))")
            with writer.block("for copy in copies"):
                writer.line(f"work.append((egress, (*copy, {', '.join([*fixed, 'out', 'work', *state])})))")


def _names(source: str, context: type[ast.expr_context]) -> set[str]:
    """The names that a piece of source loads (or stores)."""
    text = source if source.startswith("def ") else "def body():\n" + source
    found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))
    return {node.id for node in found if isinstance(node.ctx, context)}
