"""Definite assignment: which fields may be read before anything was assigned to them in this packet's pass.

All others need no zero at the packet's start. The analysis goes forward once over parser, ingress and egress, which
have no cycles, with one bit for each kept field. A valid header has all its fields assigned, so a test of validity
says as much, and what the generated code reads only of valid headers (keys, calculations, the deparser) is no read
here. A table may run any of its actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from softswitch.engine.flow import topological
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.facts import Conditions, Facts
from softswitch.engine.xdp.places import live_targets, live_transitions
from softswitch.engine.xdp.terms import FAR, Term
from softswitch.engine.xdp.writer import Writer
from softswitch.program.controls import Action, Condition, Pipeline, Table
from softswitch.program.expressions import (
    VALID_FIELD,
    Binary,
    BinaryOp,
    Choice,
    Expression,
    FieldRef,
    HeaderRef,
    Lookahead,
    Valid,
    children,
)
from softswitch.program.parsers import Advance, Execute, Extract, ParserOp, SetField, Verify
from softswitch.program.program import CalculationInput, Checksum
from softswitch.program.statements import (
    Assert,
    Assign,
    AssignHeader,
    Clone,
    CountPacket,
    Drop,
    EmitDigest,
    ExecuteMeter,
    Exit,
    Hash,
    If,
    Random,
    ReadRegister,
    Recirculate,
    Resubmit,
    SetInvalid,
    SetValid,
    Statement,
    Target,
    Truncate,
    WriteRegister,
)

__all__ = ["EGRESS_START", "INGRESS_START", "Assignment"]

INGRESS_START = ("ingress_port", "instance_type", "packet_length", "ingress_global_timestamp")
"""Standard metadata that a packet's start assigns."""
EGRESS_START = (
    "egress_port",
    "egress_spec",
    "egress_rid",
    "instance_type",
    "packet_length",
    "egress_global_timestamp",
    "enq_timestamp",
    "enq_qdepth",
    "deq_timedelta",
    "deq_qdepth",
    "qid",
)
"""Standard metadata that the start of egress assigns."""


class Assignment:
    """The analysis of one program."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._program = context.program
        self._conditions = Conditions(context, context.usage.statements)
        self._bits: dict[tuple[str, str], int] = {}
        self._header_bits: dict[str, int] = {}
        for header in self._program.headers.values():
            kept = [field for field in header.type.fields if context.keeps(header.name, field.name)]
            for field in kept:
                self._bits[header.name, field.name] = 1 << len(self._bits)
            self._header_bits[header.name] = sum(self._bits[header.name, field.name] for field in kept)
        self.unassigned: set[tuple[str, str]] = set()
        """Fields, as (header, field), that may be read before they are assigned."""
        self.reads: dict[str, set[tuple[str, str]]] = {"": set()}
        """Fields that each node of a pipeline reads; those read elsewhere are under the empty name."""
        self._node = ""
        self._indices = {
            (statement.index.header, statement.index.field)
            for statement in context.usage.statements
            if isinstance(statement, ReadRegister | ExecuteMeter) and isinstance(statement.index, FieldRef)
        }
        self._run()

    def _run(self) -> None:
        facts = self._intrinsics(INGRESS_START, self._conditions.start)
        facts = self._intrinsics(("parser_error",), self._parser(facts))
        for checksum in self._program.checksums:
            if checksum.verify:
                facts = self._verify(checksum, facts)
        for watched in self._context.filters or ():
            self._read(watched, facts)
        facts = self._pipeline(self._program.ingress, facts)
        self._read_intrinsics(("mcast_grp", "egress_spec"), facts)
        facts = self._pipeline(self._program.egress, self._intrinsics(EGRESS_START, facts))
        self._read_intrinsics(("egress_spec",), facts)
        for checksum in self._program.checksums:
            if checksum.update:
                facts = self._update(checksum, facts)

    def _intrinsics(self, names: Iterable[str], facts: Facts) -> Facts:
        """After standard metadata was assigned."""
        for field in map(self._program.intrinsic, names):
            if field is not None:
                facts = self._write(field, facts)
        return facts

    def _read_intrinsics(self, names: Iterable[str], facts: Facts) -> None:
        for field in map(self._program.intrinsic, names):
            if field is not None:
                self._read(field, facts)

    # Expressions

    def _read(self, expression: Expression, facts: Facts) -> None:
        """Note what an expression reads; the right side of `and` and `or` is read only where the left one leaves it
        open."""
        match expression:
            case FieldRef(header, field) if field != VALID_FIELD:
                self._read_field(header, field, facts)
            case Binary(BinaryOp.BOTH | BinaryOp.EITHER as op, left, right):
                self._read(left, facts)
                self._read(right, self._conditions.given(facts, left, op is BinaryOp.BOTH))
            case Choice(condition, then, otherwise):
                self._read(condition, facts)
                self._read(then, self._conditions.given(facts, condition, True))
                self._read(otherwise, self._conditions.given(facts, condition, False))
            case _:
                for child in children(expression):
                    self._read(child, facts)

    def _read_field(self, header: str, field: str, facts: Facts) -> None:
        self.reads[self._node].add((header, field))
        bit = self._bits.get((header, field), 0)
        if bit and not facts.always & bit:
            self.unassigned.add((header, field))

    def _read_guarded(self, inputs: Iterable[CalculationInput], facts: Facts) -> None:
        """Inputs of a calculation: fields of invalid headers are left out."""
        for item in inputs:
            if isinstance(item, FieldRef) and self._program.headers[item.header].metadata:
                self._read(item, facts)

    # Statements

    def _write(self, target: Target, facts: Facts, value: Expression | None = None) -> Facts:
        """After an assignment of a value; None: of one that is not known here."""
        if not isinstance(target, FieldRef):
            return facts
        bit = self._bits.get((target.header, target.field), 0)
        return self._conditions.assigned(facts, target, value).assigned(bit)

    def _may_write(self, target: Target, facts: Facts) -> Facts:
        """After an assignment that may not be made."""
        return self._conditions.assigned(facts, target, None) if isinstance(target, FieldRef) else facts

    def _body(self, statements: Sequence[Statement], facts: Facts, params: Mapping[int, Term]) -> Facts:
        for statement in statements:
            facts = self._statement(statement, facts, params)
        return facts

    def _statement(self, statement: Statement, facts: Facts, params: Mapping[int, Term]) -> Facts:
        match statement:
            case Assign(target, value):
                self._read(value, facts)
                return self._bounded(target, value, params, self._write(target, facts, value))
            case SetValid(HeaderRef(header)):
                return self._made_valid(header, facts)
            case SetInvalid(HeaderRef(header)):
                return self._conditions.after(facts, (header, VALID_FIELD), 0)
            case AssignHeader(HeaderRef(target), HeaderRef(source)):
                return self._assign_header(target, source, facts)
            case If(condition, then, otherwise):
                self._read(condition, facts)
                one = self._body(then, self._conditions.given(facts, condition, True), params)
                other = self._body(otherwise, self._conditions.given(facts, condition, False), params)
                return one & other
            case Hash(target, base, calculation, maximum):
                self._read_guarded(self._program.calculations[calculation].inputs, facts)
                self._read(base, facts)
                self._read(maximum, facts)
                return self._write(target, facts)
            case ReadRegister(target, register, index):
                self._read(index, facts)
                size = self._program.registers[register].size
                inside = self._is_inside(index, size, params, facts)
                return self._write(target, facts) if inside else self._may_write(target, facts)
            case ExecuteMeter(meter, index, target):
                self._read(index, facts)
                size = self._program.meters[meter].size
                inside = self._is_inside(index, size, params, facts)
                return self._write(target, facts) if inside else self._may_write(target, facts)
            case _:
                return self._other(statement, facts)

    def _other(self, statement: Statement, facts: Facts) -> Facts:
        match statement:
            case Drop():
                return self._intrinsics(("egress_spec", "mcast_grp"), facts)
            case Random(target, low, high):  # nothing is assigned where `low` is the greater
                self._read(low, facts)
                self._read(high, facts)
                return self._may_write(target, facts)
            case EmitDigest(digest):
                layout = self._program.digests.get(digest)
                for member in layout.members if layout else ():
                    self._read(member, facts)
            case Clone(value, field_list):
                self._read(value, facts)
                self._read_list(field_list, facts)
            case Resubmit(field_list) | Recirculate(field_list):
                self._read_list(field_list, facts)
            case WriteRegister(_, index, value):
                self._read(index, facts)
                self._read(value, facts)
            case CountPacket(_, index):
                self._read(index, facts)
            case Assert(value) | Truncate(value):
                self._read(value, facts)
            case _:
                pass
        return facts

    def _read_list(self, number: int, facts: Facts) -> None:
        for field in self._program.field_lists.get(number, ()):
            self._read(field, facts)

    def _assign_header(self, target: str, source: str, facts: Facts) -> Facts:
        """Metadata is copied whatever it is; a header only if it is valid, and the target is as valid afterwards."""
        headers = self._program.headers
        if not headers[target].metadata and not headers[source].metadata:
            keys = (target, VALID_FIELD), (source, VALID_FIELD)
            return self._conditions.copied(facts, *keys, self._header_bits[target])
        for field in headers[target].type.fields:
            if self._context.keeps(target, field.name):
                self._read_field(source, field.name, facts)
            facts = self._write(FieldRef(target, field.name, field.width, field.signed), facts)
        return facts

    def _made_valid(self, header: str, facts: Facts) -> Facts:
        """After all fields of a header were assigned with its validity."""
        return self._conditions.after(facts.assigned(self._header_bits[header]), (header, VALID_FIELD), 1)

    def _bounded(self, target: Target, value: Expression, params: Mapping[int, Term], facts: Facts) -> Facts:
        """With the bound of a value that an array's index gets."""
        if not isinstance(target, FieldRef) or (target.header, target.field) not in self._indices:
            return facts
        top = self._bound(value, params)
        return facts.bounded((target.header, target.field), top if top < 1 << target.width else None)

    def _bound(self, value: Expression, params: Mapping[int, Term]) -> int:
        """The greatest value of an expression, which is rendered for that only; beyond every array if it may be less
        than zero."""
        term = Expressions(self._context, Writer(), params).integer(value)
        return term.high if term.low >= 0 else FAR

    def _is_inside(self, index: Expression, size: int, params: Mapping[int, Term], facts: Facts) -> bool:
        """Whether an index cannot be past the end."""
        if isinstance(index, FieldRef):
            return facts.bounds.get((index.header, index.field), FAR) < size
        return self._bound(index, params) < size

    def _action(self, action: Action, facts: Facts) -> Facts:
        params = {
            index: Term(("0",), 0, (1 << parameter.width) - 1, atom=True)
            for index, parameter in enumerate(action.parameters)
        }
        return self._body(action.body, facts, params)

    # Parser and checksums

    def _parser(self, facts: Facts) -> Facts:
        """What is assigned however the parser ends."""
        parser = self._program.parser
        if parser.start is None:
            return facts
        graph = {name: live_targets(self._context, state) for name, state in parser.states.items()}
        entry = dict.fromkeys(graph, self._conditions.nowhere)
        entry[parser.start] = facts
        end = self._conditions.nowhere
        for name in topological(parser.start, graph):
            state, facts = parser.states[name], entry[name]
            for operation in state.operations:
                end &= facts if _may_fail(operation) else self._conditions.nowhere
                facts = self._operation(operation, facts)
            for key in state.key if live_transitions(self._context, state) else ():
                self._read(key, facts)
                end &= facts if isinstance(key, Lookahead) else self._conditions.nowhere
            for target in graph[name]:
                if target is None:
                    end &= facts
                else:
                    entry[target] &= facts
        return end

    def _operation(self, operation: ParserOp, facts: Facts) -> Facts:
        match operation:
            case Extract(header):
                return self._made_valid(header, facts)
            case SetField(target, value):
                self._read(value, facts)
                return self._write(target, facts, value)
            case Verify(condition, error):
                self._read(condition, facts)
                self._read(error, facts)
            case Advance(bits):
                self._read(bits, facts)
            case Execute(statement):
                return self._statement(statement, facts, {})
            case _:
                pass
        return facts

    def _verify(self, checksum: Checksum, facts: Facts) -> Facts:
        where = facts
        if not self._program.headers[checksum.target.header].metadata:
            where = self._conditions.given(where, Valid(HeaderRef(checksum.target.header)), True)
        self._read(checksum.target, self._calculation(checksum, where))
        result = self._program.intrinsic("checksum_error")
        return facts if result is None else self._may_write(result, facts)

    def _update(self, checksum: Checksum, facts: Facts) -> Facts:
        self._calculation(checksum, facts)
        return self._may_write(checksum.target, facts)

    def _calculation(self, checksum: Checksum, facts: Facts) -> Facts:
        """What is known where a checksum is calculated."""
        if checksum.condition is not None:
            self._read(checksum.condition, facts)
            facts = self._conditions.given(facts, checksum.condition, True)
        self._read_guarded(self._program.calculations[checksum.calculation].inputs, facts)
        return facts

    # Pipelines

    def _pipeline(self, pipeline: Pipeline, facts: Facts) -> Facts:
        """What is facts at a pipeline's end."""
        if pipeline.start is None:
            return facts
        graph = {name: _targets(pipeline.tables[name]) for name in pipeline.tables}
        graph |= {name: (node.if_true, node.if_false) for name, node in pipeline.conditions.items()}
        entry = dict.fromkeys(graph, self._conditions.nowhere)
        entry[pipeline.start] = facts
        end = self._conditions.nowhere

        def leave(target: str | None, facts: Facts) -> None:
            nonlocal end
            if target is None:
                end &= facts
            else:
                entry[target] &= facts

        for name in topological(pipeline.start, graph):
            self._node = name
            self.reads.setdefault(name, set())
            if name in pipeline.tables:
                self._table(pipeline.tables[name], entry[name], leave)
            else:
                self._branch(pipeline.conditions[name], entry[name], leave)
        self._node = ""
        return end

    def _branch(self, node: Condition, facts: Facts, leave: Callable[[str | None, Facts], None]) -> None:
        self._read(node.expression, facts)
        leave(node.if_true, self._conditions.given(facts, node.expression, True))
        leave(node.if_false, self._conditions.given(facts, node.expression, False))

    def _table(self, table: Table, facts: Facts, leave: Callable[[str | None, Facts], None]) -> None:
        for field in table.key:
            self._read_guarded((field.target,), facts)
        profile = self._program.profiles.get(table.profile or "")
        if profile is not None and profile.selector is not None:
            self._read_guarded(profile.selector.inputs, facts)
        for outcome in (True, False) if table.key else (False,):
            for number in (*self._choices(table, outcome), None):
                if number is None and not self._may_do_nothing(table, outcome):
                    continue
                after = self._hit(table, facts) if outcome else facts
                target = table.next_without_action
                if number is not None:
                    action = self._program.actions[number]
                    after = self._action(action, after)
                    target = table.next_by_action.get(number)
                    if any(isinstance(statement, Exit) for statement in action.body):
                        leave(None, after)
                        continue
                    if _may_exit(action.body):
                        leave(None, after)
                if table.next_by_hit is not None:
                    target = table.next_by_hit[0 if outcome else 1]
                leave(target, after)

    def _hit(self, table: Table, facts: Facts) -> Facts:
        meter = self._program.meters.get(table.direct_meter or "")
        return facts if meter is None or meter.target is None else self._write(meter.target, facts)

    @staticmethod
    def _choices(table: Table, hit: bool) -> Sequence[int]:
        """Actions that a hit, or a miss, may run."""
        if not hit and table.default is not None and table.default.constant:
            return (table.default.action_id,)
        return table.actions

    @staticmethod
    def _may_do_nothing(table: Table, hit: bool) -> bool:
        """A hit on an empty group, a miss without a default action."""
        return table.profile is not None or (not hit and table.default is None)


def _may_fail(operation: ParserOp) -> bool:
    """Whether the parser may end here."""
    if isinstance(operation, SetField):
        return isinstance(operation.value, Lookahead)
    return isinstance(operation, Extract | Verify | Advance)


def _targets(table: Table) -> tuple[str | None, ...]:
    return (*table.next_by_action.values(), *(table.next_by_hit or ()), table.next_without_action)


def _may_exit(statements: Sequence[Statement]) -> bool:
    return any(
        isinstance(item, Exit) or (isinstance(item, If) and (_may_exit(item.then) or _may_exit(item.otherwise)))
        for item in statements
    )
