"""Ingress and egress in translated code: table lookups, the actions they choose, conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from softswitch.engine.flow import Cycle, Structure, structure
from softswitch.engine.python.calculations import Calculations
from softswitch.engine.python.context import Context
from softswitch.engine.python.statements import Statements
from softswitch.engine.python.terms import Term, bits, constant, number
from softswitch.engine.python.traces import Traces
from softswitch.engine.python.writer import Writer
from softswitch.errors import MalformedPipeline
from softswitch.lookup import ExactIndex, LpmIndex, RangeIndex, TernaryIndex
from softswitch.program.controls import Action, Condition, KeyField, MatchKind, Pipeline, Table
from softswitch.program.expressions import VALID_FIELD
from softswitch.program.statements import Exit, flatten
from softswitch.tables import TableStore

__all__ = ["PipelineWriter"]


class PipelineWriter:
    """Writes one pipeline as a loop that is left by `break` at its end."""

    def __init__(self, context: Context, writer: Writer, pipeline: Pipeline, stores: Mapping[str, TableStore]) -> None:
        self._context = context
        self._writer = writer
        self._pipeline = pipeline
        self._stores = stores
        self._numbers = {name: index for index, name in enumerate([*pipeline.tables, *pipeline.conditions])}
        self._calculations = Calculations(context, writer)
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
        if shape.guarded:
            self._writer.line("goto = -1")
        with self._writer.block("while True"):
            self._node(start, shape)
            self._writer.line("break")

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
        if self._may_run_nothing(table):
            targets.append(table.next_without_action)
        return (targets[0] if targets else None,) if len(set(targets)) < 2 else tuple(targets)

    @staticmethod
    def _may_run_nothing(table: Table) -> bool:
        return table.default is None or table.profile is not None

    def _node(self, name: str, shape: Structure) -> None:
        """Write a node and all that follows inside the same block. A straight line of any length takes no recursion."""
        following: str | None = name
        while following is not None:
            name, following = following, None
            if name in self._pipeline.tables:
                only = self._table(self._pipeline.tables[name], lambda target: self._go(target, shape))
                if only and only[0] is not None and only[0] not in shape.shared:
                    following = only[0]
                elif only:
                    self._go(only[0], shape)
            else:
                self._condition(self._pipeline.conditions[name], shape)
            for merge in shape.merges[name]:
                if merge in shape.guarded:
                    with self._writer.block(f"if goto == {self._numbers[merge]}"):
                        self._node(merge, shape)
                elif merge == shape.merges[name][-1]:
                    following = merge
                else:
                    self._node(merge, shape)

    def _go(self, target: str | None, shape: Structure) -> None:
        if target is None:
            self._writer.line("break")
        elif target not in shape.shared:
            self._node(target, shape)
        elif target in shape.guarded:
            self._writer.line(f"goto = {self._numbers[target]}")

    def _condition(self, condition: Condition, shape: Structure, keyword: str = "if") -> None:
        test = self._context.expressions.condition(condition.expression).text
        with self._writer.block(f"{keyword} {test}", condition.location):
            self._go(condition.if_true, shape)
        follower = self._pipeline.conditions.get(condition.if_false or "")
        if follower is not None and follower.name not in shape.shared and not shape.merges[follower.name]:
            self._condition(follower, shape, "elif")
            return
        with self._writer.block("else", optional=True):
            self._go(condition.if_false, shape)

    # Tables

    def _table(self, table: Table, go: Callable[[str | None], None]) -> tuple[str | None, ...]:
        """Write a table; returns the only way on from it, or nothing where each way has been written."""
        ways = self._ways(table)
        fixed = self._fixed_action(table)
        if fixed is not None:
            action, arguments = fixed
            self._body(action, {index: constant(value) for index, value in enumerate(arguments)})
            return () if _always_exits(action) else (self._after(table, action),)
        self._writer.comment(f"table {table.name}", table.location)
        tells_hit = table.next_by_hit is not None and len(ways) == 2
        self._lookup(table, keeps_row=tells_hit)
        self._traces.table(table)
        self._dispatch(table, go if len(ways) > 1 and not tells_hit else None)
        if tells_hit and table.next_by_hit is not None:
            with self._writer.block("if row is not None"):
                go(table.next_by_hit[0])
            with self._writer.block("else", optional=True):
                go(table.next_by_hit[1])
        return ways if len(ways) == 1 else ()

    def _fixed_action(self, table: Table) -> tuple[Action, Sequence[int]] | None:
        """The action of a table that always runs the same one, as the compiler makes around plain statements."""
        if table.key or table.default is None or not table.default.constant:
            return None
        return self._context.program.actions[table.default.action_id], table.default.arguments

    @staticmethod
    def _after(table: Table, action: Action) -> str | None:
        """The node after a table without a key, which every packet misses."""
        return table.next_by_hit[1] if table.next_by_hit is not None else table.next_by_action[action.id]

    def _lookup(self, table: Table, *, keeps_row: bool) -> None:
        """Leave what is to be run in `entry`; and the row, or None after a miss, in `row` when it `keeps_row`."""
        names, line = self._context.names, self._writer.line
        miss = names.object("miss", table.name)
        if not table.key:
            line(f"entry = {miss}")
            if keeps_row:
                line("row = None")
            return
        self._find(table)
        touches = table.direct_counter or table.idle_timeout or table.direct_meter is not None
        if not touches and table.profile is None and not keeps_row:
            line(f"entry = row or {miss}")
            return
        with self._writer.block("if row is None"):
            line(f"entry = {miss}")
        with self._writer.block("else"):
            self._touch(table)
            if table.profile is None:
                line("entry = row")
            else:
                self._choose(table)

    def _touch(self, table: Table) -> None:
        line = self._writer.line
        if table.direct_counter:
            line("row.packets += 1")
            line("row.octets += octets")
        if table.idle_timeout:
            line("row.hit = now")
        if table.direct_meter is not None:
            meter = self._context.program.meters[table.direct_meter]
            if meter.target is not None:
                line("meter = row.meter")
                amount = "octets" if meter.octets else "1"
                colour = Term(f"0 if meter is None else meter.execute(now, {amount})", 0, 2)
                Statements(self._context, self._writer).assign(meter.target, colour)

    def _choose(self, table: Table) -> None:
        """From a row's member or group to a member."""
        self._writer.line("entry = row.target")
        selector = self._context.program.profiles[table.profile or ""].selector
        if selector is not None:
            with self._writer.block("if entry.seats"):
                result = self._calculations.of(selector.algorithm, selector.inputs)
                self._writer.line(f"entry = entry.seats[{result.text} % len(entry.seats)]")

    def _find(self, table: Table) -> None:
        """Leave the row that fits, or None, in `row`."""
        store, line = self._stores[table.name], self._writer.line
        keys = [self._key(field) for field in table.key]
        match store.index:
            case ExactIndex():
                find = self._context.object("find", table.name, store.index.rows.get)
                line(f"row = {find}({_tuple([key.text for key in keys])})")
            case LpmIndex(levels=index):
                levels = self._context.object("levels", table.name, index)
                texts = []
                for field, key in zip(table.key, self._held(keys), strict=True):
                    texts.append(f"{key.text} & mask" if field.kind is MatchKind.LPM else key.text)
                with self._writer.block(f"for mask, find in {levels}"):
                    line(f"row = find({_tuple(texts)})")
                    with self._writer.block("if row is not None"):
                        line("break")
                with self._writer.block("else"):
                    line("row = None")
            case TernaryIndex(groups=index):
                self._find_ternary(self._context.object("groups", table.name, index), self._held(keys))
            case RangeIndex(ranked=index):
                self._find_range(table, self._context.object("ranked", table.name, index), self._held(keys))

    def _find_ternary(self, groups: str, keys: list[Term]) -> None:
        line = self._writer.line
        masks = [f"mask{index}" for index in range(len(keys))]
        masked = ", ".join(f"{key.text} & {mask}" for key, mask in zip(keys, masks, strict=True))
        line("row = None")
        line("best = 0")
        with self._writer.block(f"for top, find, {', '.join(masks)} in {groups}"):
            with self._writer.block("if top <= best"):
                line("break")
            line(f"found = find(({masked},))")
            with self._writer.block("if found is not None and found.priority > best"):
                line("row = found")
                line("best = found.priority")

    def _find_range(self, table: Table, ranked: str, keys: list[Term]) -> None:
        tests, pairs = [], []
        for index, (field, key) in enumerate(zip(table.key, keys, strict=True)):
            left, right = f"value{index}", f"mask{index}"
            pairs += [left, right]
            if field.kind is MatchKind.RANGE:
                tests.append(f"{left} <= {key.text} <= {right}")
            else:
                tests.append(f"{key.text} & {right} == {left}")
        with (
            self._writer.block(f"for row, {', '.join(pairs)} in {ranked}"),
            self._writer.block(f"if {' and '.join(tests)}"),
        ):
            self._writer.line("break")
        with self._writer.block("else"):
            self._writer.line("row = None")

    def _held(self, keys: list[Term]) -> list[Term]:
        """Keys that may be repeated."""
        held = []
        for index, key in enumerate(keys):
            if not key.atom:
                self._writer.line(f"key{index} = {key.text}")
                key = Term(f"key{index}", key.low, key.high, atom=True)
            held.append(key)
        return held

    def _key(self, field: KeyField) -> Term:
        """A key field's value; zero where its header is invalid."""
        target, full = field.target, (1 << field.target.width) - 1
        term = self._context.expressions.field(target)
        if target.signed:
            term = Term(f"{term.text} & {number(full)}", 0, full)
        header = self._context.program.headers[target.header]
        if not header.metadata and target.field != VALID_FIELD and header.name in self._context.usage.invalidated:
            term = Term(f"{term.wrapped()} if {self._context.names.valid(header.name)} else 0", 0, full)
        if field.mask is not None and field.mask != full:
            term = Term(f"{term.wrapped()} & {number(field.mask)}", 0, field.mask)
        return term

    # Actions

    def _dispatch(self, table: Table, go: Callable[[str | None], None] | None) -> None:
        """Run the action in `entry`; then `go` on from each where that depends on the action."""
        actions = [self._context.program.actions[number_] for number_ in table.actions]
        working = [action for action in actions if action.body or go is not None]
        if working:
            self._writer.line("action = entry.action")
        for index, action in enumerate(working):
            head = f"{'el' if index else ''}if action == {self._context.numbers[action.name]}"
            with self._writer.block(head):
                params = self._unpack(action)
                self._body(action, params)
                if go is not None and not _always_exits(action):
                    go(table.next_by_action[action.id])
        if go is not None and self._may_run_nothing(table):
            with self._writer.block("else"):
                go(table.next_without_action)

    def _unpack(self, action: Action) -> dict[int, Term]:
        """Put the entry's arguments into variables."""
        if not action.parameters:
            return {}
        names = [self._context.names.param(f"{action.id}", parameter.name) for parameter in action.parameters]
        self._writer.line(f"{', '.join(names)}, = entry.params")
        return {
            index: bits(name, parameter.width)
            for index, (name, parameter) in enumerate(zip(names, action.parameters, strict=True))
        }

    def _body(self, action: Action, params: Mapping[int, Term]) -> None:
        if action.body:
            self._writer.comment(f"{action.name}({', '.join(p.name for p in action.parameters)})", action.location)
        conditional = any(isinstance(item, Exit) for item in flatten(action.body)) and not _always_exits(action)
        if conditional:
            self._writer.line("exited = 0")
        Statements(self._context, self._writer, params).write(action.body)
        if _always_exits(action):
            self._writer.line("break")
        elif conditional:
            with self._writer.block("if exited"):
                self._writer.line("break")


def _always_exits(action: Action) -> bool:
    return any(isinstance(statement, Exit) for statement in action.body)


def _tuple(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
