"""Ingress and egress as C functions: nodes in the structure of the P4 source, tables, and the actions they choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from softswitch.engine.flow import Cycle, Structure, structure
from softswitch.engine.xdp.calculations import Calculations
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.lookups import is_changeable
from softswitch.engine.xdp.statements import Statements
from softswitch.engine.xdp.terms import WORD, Term, literal, words_of
from softswitch.engine.xdp.traces import Traces
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import MalformedPipeline
from softswitch.program.controls import Action, Condition, Pipeline, Table
from softswitch.program.statements import Exit, flatten

__all__ = ["PipelineWriter"]


class PipelineWriter:
    """Writes one pipeline as the body of a function; `return` is its end."""

    def __init__(
        self, context: Context, writer: Writer, pipeline: Pipeline, before: Callable[[str], Sequence[str]]
    ) -> None:
        """`before`: lines to write before a node (fields that are filled only where something reads them)."""
        self._before = before
        self._context = context
        self._writer = writer
        self._pipeline = pipeline
        self._expressions = Expressions(context, writer)
        self._traces = Traces(context, writer)

    def write(self) -> None:
        """Write the whole pipeline. Raises `MalformedPipeline` for one with a cycle."""
        start = self._pipeline.start
        if start is None:
            return
        try:
            shape = structure(start, self._graph())
        except Cycle:
            raise MalformedPipeline(f"pipeline '{self._pipeline.name}' has a cycle") from None
        self._node(start, shape)

    def _graph(self) -> dict[str, tuple[str | None, ...]]:
        graph: dict[str, tuple[str | None, ...]] = {
            condition.name: (condition.if_true, condition.if_false) for condition in self._pipeline.conditions.values()
        }
        for table in self._pipeline.tables.values():
            graph[table.name] = self._ways(table)
        return graph

    def _ways(self, table: Table) -> tuple[str | None, ...]:
        """One target for each way out of a table."""
        fixed = self._fixed_action(table)
        if fixed is not None:
            return (None,) if _always_exits(fixed[0]) else (self._after(table, fixed[0]),)
        if table.next_by_hit is not None:
            hit, miss = table.next_by_hit
            return (hit,) if hit == miss else table.next_by_hit
        targets = [table.next_by_action[action] for action in table.actions]
        if _may_run_nothing(table):
            targets.append(table.next_without_action)
        return (targets[0] if targets else None,) if len(set(targets)) < 2 else tuple(targets)

    def _node(self, name: str, shape: Structure) -> None:
        """Write a node and all that follows inside the same block. A straight line of any length takes no recursion."""
        following: str | None = name
        while following is not None:
            name, following = following, None
            for line in self._before(name):
                self._writer.line(line)
            if name in self._pipeline.tables:
                only = self._table(self._pipeline.tables[name], lambda target: self._go(target, shape))
                if only and only[0] is not None and only[0] not in shape.shared:
                    following = only[0]
                elif only:
                    self._go(only[0], shape)
            else:
                self._condition(self._pipeline.conditions[name], shape)
            for merge in shape.merges[name]:
                self._writer.label(self._context.names.label(merge))
                if merge == shape.merges[name][-1]:
                    following = merge
                else:
                    self._node(merge, shape)

    def _go(self, target: str | None, shape: Structure) -> None:
        if target is None:
            self._writer.line("return;")
        elif target in shape.shared:
            self._writer.line(f"goto {self._context.names.label(target)};")
        else:
            self._node(target, shape)

    def _condition(self, condition: Condition, shape: Structure) -> None:
        test = self._expressions.condition(condition.expression).text
        with self._writer.block(f"if ({test})", condition.location):
            self._go(condition.if_true, shape)
        self._go(condition.if_false, shape)

    # Tables

    def _table(self, table: Table, go: Callable[[str | None], None]) -> tuple[str | None, ...]:
        """Write a table; returns the only way on from it, or nothing where each way has been written."""
        fixed = self._fixed_action(table)
        if fixed is not None:
            action, arguments = fixed
            self._body(action, {index: literal(value) for index, value in enumerate(arguments)})
            return () if _always_exits(action) else (self._after(table, action),)
        ways = self._ways(table)
        self._writer.comment(f"table {table.name}", table.location)
        with self._writer.block(""):
            self._apply(table, go if len(ways) > 1 else None)
        return ways if len(ways) == 1 else ()

    def _apply(self, table: Table, go: Callable[[str | None], None] | None) -> None:
        """Look up, run the action; then, where the ways part, `go` on from each."""
        stem, line = self._context.names.object(table.name), self._writer.line
        by_action = go if table.next_by_hit is None else None
        if not table.key:
            line(f"struct {stem}_row *row = {stem}_default();")
            self._traces.step(table, False, "row")
        elif not is_changeable(table):
            self._hit_or_constant(table, stem, go)
            return
        else:
            line(f"struct {stem}_row *row = {stem}_find(s);")
            if table.next_by_hit is not None:
                line("const u8 hit = row != NULL;")
            with self._writer.block("if (row)"):
                self._touch(table)
                self._traces.step(table, True, "row")
            with self._writer.block("else"):
                line(f"row = {stem}_default();")
                self._traces.step(table, False, "row")
        with self._writer.block("if (row)"):
            self._dispatch(table, "row", by_action)
        if by_action is not None:
            by_action(table.next_without_action)
        elif go is not None and table.next_by_hit is not None:
            hit, miss = table.next_by_hit
            if not table.key:
                go(miss)
                return
            with self._writer.block("if (hit)"):
                go(hit)
            go(miss)

    def _hit_or_constant(self, table: Table, stem: str, go: Callable[[str | None], None] | None) -> None:
        """A table whose default action never changes: its code stands where the miss is."""
        by_action = go if table.next_by_hit is None else None
        self._writer.line(f"struct {stem}_row *row = {stem}_find(s);")
        with self._writer.block("if (row)"):
            self._touch(table)
            self._run_row(table, stem, by_action)
            if go is not None and table.next_by_hit is not None:
                go(table.next_by_hit[0])
        with self._writer.block("else"):
            default = table.default
            self._traces.miss(table, self._constant_action(table))
            if default is not None:
                action = self._context.program.actions[default.action_id]
                self._body(action, {index: literal(value) for index, value in enumerate(default.arguments)})
                if by_action is not None and not _always_exits(action):
                    by_action(table.next_by_action[action.id])
            elif by_action is not None:
                by_action(table.next_without_action)
            if go is not None and table.next_by_hit is not None:
                go(table.next_by_hit[1])

    def _run_row(self, table: Table, stem: str, by_action: Callable[[str | None], None] | None) -> None:
        """Run what a row says: its own action, or the one of a member of its group."""
        if table.profile is None:
            self._traces.step(table, True, "row")
            self._dispatch(table, "row", by_action)
            return
        profile = self._context.program.profiles[table.profile]
        name, line = self._context.names.object(profile.name), self._writer.line
        line(f"const u64 group = group_of(&{name}_groups, row->action);")
        if profile.selector is None:
            line(f"struct {name}_row *member = only_member(&{name}_rows, group);")
        else:
            line("u64 chosen = 0;")
            with self._writer.block("if (group_size(group) > 1)"):
                calculations = Calculations(self._context, self._writer)
                line(f"chosen = {calculations.of(profile.selector.algorithm, profile.selector.inputs).text};")
            line(f"struct {name}_row *member = group_member(&{name}_seats, &{name}_rows, group, chosen);")
        self._traces.step(table, True, "member")
        with self._writer.block("if (member)"):
            self._dispatch(table, "member", by_action)
        if by_action is not None:
            by_action(table.next_without_action)

    def _touch(self, table: Table) -> None:
        """What a hit leaves in its row."""
        if table.direct_counter:
            self._writer.line("count_in(row->counters, s->size);")
        if table.idle_timeout:
            with self._writer.block("if (row->hit != s->now)"):
                self._writer.line("row->hit = s->now;")
        if table.direct_meter is not None:
            meter = self._context.program.meters[table.direct_meter]
            if meter.target is not None:
                amount = "s->size" if meter.octets else "1"
                colour = self._writer.temporary("u32", f"meter_execute(&row->meter, packet_time(s), {amount})")
                Statements(self._context, self._writer).assign(meter.target, Term((colour,), 0, 2, atom=True))

    def _fixed_action(self, table: Table) -> tuple[Action, Sequence[int]] | None:
        """The action of a table that always runs the same one, as the compiler makes around plain statements."""
        if table.key or table.default is None or not table.default.constant:
            return None
        return self._context.program.actions[table.default.action_id], table.default.arguments

    def _constant_action(self, table: Table) -> int | None:
        """The number of the action that every miss runs."""
        if table.default is None:
            return None
        return self._context.numbers[self._context.program.actions[table.default.action_id].name]

    @staticmethod
    def _after(table: Table, action: Action) -> str | None:
        """The node after a table without a key, which every packet misses."""
        return table.next_by_hit[1] if table.next_by_hit is not None else table.next_by_action[action.id]

    # Actions

    def _dispatch(self, table: Table, row: str, go: Callable[[str | None], None] | None) -> None:
        """Run the action of a row; then `go` on from each where that depends on the action."""
        actions = [self._context.program.actions[number] for number in table.actions]
        working = [action for action in actions if action.body or go is not None]
        if not working:
            return
        with self._writer.block(f"switch ({row}->action)"):
            for action in working:
                with self._writer.block(f"case {self._context.names.action(action.name)}:"):
                    self._body(action, self._arguments(action, row))
                    if go is not None and not _always_exits(action):
                        go(table.next_by_action[action.id])
                    elif not _always_exits(action):
                        self._writer.line("break;")

    def _arguments(self, action: Action, row: str) -> dict[int, Term]:
        """The row's arguments as terms."""
        stem = f"{row}->{self._context.names.arguments(action.name)}"
        terms = {}
        for index, parameter in enumerate(action.parameters):
            name = f"{stem}.{self._context.names.parameter(action.name, parameter.name)}"
            count = words_of(parameter.width)
            words = (name,) if parameter.width <= WORD else tuple(f"{name}[{word}]" for word in range(count))
            terms[index] = Term(words, 0, (1 << parameter.width) - 1, atom=True)
        return terms

    def _body(self, action: Action, params: Mapping[int, Term]) -> None:
        if not action.body:
            return
        self._writer.comment(f"{action.name}({', '.join(p.name for p in action.parameters)})", action.location)
        conditional = any(isinstance(item, Exit) for item in flatten(action.body)) and not _always_exits(action)
        if conditional:
            self._writer.line("s->exited = 0;")
        Statements(self._context, self._writer, params).write_action(action.body)
        if _always_exits(action):
            self._writer.line("return;")
        elif conditional:
            with self._writer.block("if (s->exited)"):
                self._writer.line("return;")


def _may_run_nothing(table: Table) -> bool:
    return table.default is None or table.profile is not None


def _always_exits(action: Action) -> bool:
    return any(isinstance(statement, Exit) for statement in action.body)
