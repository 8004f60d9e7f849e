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
from softswitch.engine.xdp.places import live_targets, live_transitions
from softswitch.engine.xdp.terms import Term
from softswitch.engine.xdp.writer import Writer
from softswitch.program.controls import Action, Condition, Pipeline, Table
from softswitch.program.expressions import (
    VALID_FIELD,
    Binary,
    BinaryOp,
    Choice,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    Lookahead,
    Unary,
    UnaryOp,
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

Assigned = int
"""A bit for each kept field: assigned on every way to here."""
_EVERYTHING = -1
"""What holds where no way leads."""


class Assignment:
    """The analysis of one program."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._program = context.program
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
        self._run()

    def _run(self) -> None:
        assigned = self._parser(self._intrinsics(INGRESS_START)) | self._intrinsics(("parser_error",))
        for checksum in self._program.checksums:
            if checksum.verify:
                self._checksum(checksum, assigned)
        assigned = self._pipeline(self._program.ingress, assigned)
        self._read_intrinsics(("mcast_grp", "egress_spec"), assigned)
        assigned = self._pipeline(self._program.egress, assigned | self._intrinsics(EGRESS_START))
        self._read_intrinsics(("egress_spec",), assigned)
        for checksum in self._program.checksums:
            if checksum.update:
                self._checksum(checksum, assigned)

    def _intrinsics(self, names: Iterable[str]) -> Assigned:
        fields = (self._program.intrinsic(name) for name in names)
        return sum(self._bits.get((field.header, field.field), 0) for field in fields if field is not None)

    def _read_intrinsics(self, names: Iterable[str], assigned: Assigned) -> None:
        for name in names:
            field = self._program.intrinsic(name)
            if field is not None:
                self._read(field, assigned)

    # Expressions

    def _read(self, expression: Expression, assigned: Assigned) -> None:
        """Note what an expression reads; the right side of `and` and `or` is read only where the left one leaves it
        open."""
        match expression:
            case FieldRef(header, field) if field != VALID_FIELD:
                self._read_field(header, field, assigned)
            case Binary(BinaryOp.BOTH, left, right):
                self._read(left, assigned)
                self._read(right, assigned | self._implied(left, True))
            case Binary(BinaryOp.EITHER, left, right):
                self._read(left, assigned)
                self._read(right, assigned | self._implied(left, False))
            case Choice(condition, then, otherwise):
                self._read(condition, assigned)
                self._read(then, assigned | self._implied(condition, True))
                self._read(otherwise, assigned | self._implied(condition, False))
            case _:
                for child in children(expression):
                    self._read(child, assigned)

    def _read_field(self, header: str, field: str, assigned: Assigned) -> None:
        self.reads[self._node].add((header, field))
        bit = self._bits.get((header, field), 0)
        if bit and not assigned & bit:
            self.unassigned.add((header, field))

    def _read_guarded(self, inputs: Iterable[CalculationInput], assigned: Assigned) -> None:
        """Inputs of a calculation: fields of invalid headers are left out."""
        for item in inputs:
            if isinstance(item, FieldRef) and self._program.headers[item.header].metadata:
                self._read(item, assigned)

    def _implied(self, condition: Expression, outcome: bool) -> Assigned:
        """What is assigned where a condition has an outcome: all of the headers that are valid then."""
        match condition:
            case Valid(HeaderRef(header)) if outcome:
                return self._header_bits[header]
            case FieldRef(header, field) if outcome and field == VALID_FIELD:
                return self._header_bits[header]
            case Unary(UnaryOp.NOT, operand):
                return self._implied(operand, not outcome)
            case Unary(UnaryOp.DATA_TO_BOOL | UnaryOp.BOOL_TO_DATA, operand):
                return self._implied(operand, outcome)
            case Binary(BinaryOp.EQUAL, FieldRef() as left, Constant(value)) if value in (0, 1):
                return self._implied(left, outcome is (value == 1)) if left.field == VALID_FIELD else 0
            case Binary(BinaryOp.BOTH, left, right) if outcome:
                return self._implied(left, True) | self._implied(right, True)
            case Binary(BinaryOp.EITHER, left, right) if not outcome:
                return self._implied(left, False) | self._implied(right, False)
            case Binary(BinaryOp.BOTH | BinaryOp.EITHER, left, right):
                return self._implied(left, outcome) & self._implied(right, outcome)
            case _:
                return 0

    # Statements

    def _write(self, target: Target, assigned: Assigned) -> Assigned:
        return assigned | self._bits.get((target.header, target.field), 0) if isinstance(target, FieldRef) else assigned

    def _body(self, statements: Sequence[Statement], assigned: Assigned, params: Mapping[int, Term]) -> Assigned:
        for statement in statements:
            assigned = self._statement(statement, assigned, params)
        return assigned

    def _statement(self, statement: Statement, assigned: Assigned, params: Mapping[int, Term]) -> Assigned:
        match statement:
            case Assign(target, value):
                self._read(value, assigned)
                return self._write(target, assigned)
            case SetValid(HeaderRef(header)):
                return assigned | self._header_bits[header]
            case AssignHeader(HeaderRef(target), HeaderRef(source)):
                return self._assign_header(target, source, assigned)
            case If(condition, then, otherwise):
                self._read(condition, assigned)
                one = self._body(then, assigned | self._implied(condition, True), params)
                other = self._body(otherwise, assigned | self._implied(condition, False), params)
                return one & other
            case Hash(target, base, calculation, maximum):
                self._read_guarded(self._program.calculations[calculation].inputs, assigned)
                self._read(base, assigned)
                self._read(maximum, assigned)
                return self._write(target, assigned)
            case ReadRegister(target, register, index):
                self._read(index, assigned)
                size = self._program.registers[register].size
                return self._write(target, assigned) if self._is_inside(index, size, params) else assigned
            case ExecuteMeter(meter, index, target):
                self._read(index, assigned)
                size = self._program.meters[meter].size
                return self._write(target, assigned) if self._is_inside(index, size, params) else assigned
            case _:
                return self._other(statement, assigned)

    def _other(self, statement: Statement, assigned: Assigned) -> Assigned:
        match statement:
            case Drop():
                return assigned | self._intrinsics(("egress_spec", "mcast_grp"))
            case Random(_, low, high):  # nothing is assigned where `low` is the greater
                self._read(low, assigned)
                self._read(high, assigned)
            case EmitDigest(digest):
                layout = self._program.digests.get(digest)
                for member in layout.members if layout else ():
                    self._read(member, assigned)
            case Clone(value, field_list):
                self._read(value, assigned)
                self._read_list(field_list, assigned)
            case Resubmit(field_list) | Recirculate(field_list):
                self._read_list(field_list, assigned)
            case WriteRegister(_, index, value):
                self._read(index, assigned)
                self._read(value, assigned)
            case CountPacket(_, index):
                self._read(index, assigned)
            case Assert(value) | Truncate(value):
                self._read(value, assigned)
            case _:
                pass
        return assigned

    def _read_list(self, number: int, assigned: Assigned) -> None:
        for field in self._program.field_lists.get(number, ()):
            self._read(field, assigned)

    def _assign_header(self, target: str, source: str, assigned: Assigned) -> Assigned:
        """Metadata is copied whatever it is; a header only if it is valid, and the target is as valid afterwards."""
        headers = self._program.headers
        if not headers[target].metadata and not headers[source].metadata:
            return assigned
        for field in headers[target].type.fields:
            if self._context.keeps(target, field.name):
                self._read_field(source, field.name, assigned)
        return assigned | self._header_bits[target]

    def _is_inside(self, index: Expression, size: int, params: Mapping[int, Term]) -> bool:
        """Whether an index cannot be past the end; it is rendered for its bounds only."""
        term = Expressions(self._context, Writer(), params).integer(index)
        return term.low >= 0 and term.high < size

    def _action(self, action: Action, assigned: Assigned) -> Assigned:
        params = {
            index: Term(("0",), 0, (1 << parameter.width) - 1, atom=True)
            for index, parameter in enumerate(action.parameters)
        }
        return self._body(action.body, assigned, params)

    # Parser and checksums

    def _parser(self, assigned: Assigned) -> Assigned:
        """What is assigned however the parser ends."""
        parser = self._program.parser
        if parser.start is None:
            return assigned
        graph = {name: live_targets(self._context, state) for name, state in parser.states.items()}
        entry = dict.fromkeys(graph, _EVERYTHING)
        entry[parser.start] = assigned
        end = _EVERYTHING
        for name in topological(parser.start, graph):
            state, assigned = parser.states[name], entry[name]
            for operation in state.operations:
                end &= assigned  # it may fail
                assigned = self._operation(operation, assigned)
            for key in state.key if live_transitions(self._context, state) else ():
                self._read(key, assigned)
                end &= assigned if isinstance(key, Lookahead) else _EVERYTHING
            for target in graph[name]:
                if target is None:
                    end &= assigned
                else:
                    entry[target] &= assigned
        return end

    def _operation(self, operation: ParserOp, assigned: Assigned) -> Assigned:
        match operation:
            case Extract(header):
                return assigned | self._header_bits[header]
            case SetField(target, value):
                self._read(value, assigned)
                return self._write(target, assigned)
            case Verify(condition, error):
                self._read(condition, assigned)
                self._read(error, assigned)
            case Advance(bits):
                self._read(bits, assigned)
            case Execute(statement):
                return self._statement(statement, assigned, {})
            case _:
                pass
        return assigned

    def _checksum(self, checksum: Checksum, assigned: Assigned) -> None:
        if checksum.verify and not self._program.headers[checksum.target.header].metadata:
            assigned |= self._header_bits[checksum.target.header]
        if checksum.condition is not None:
            self._read(checksum.condition, assigned)
            assigned |= self._implied(checksum.condition, True)
        self._read_guarded(self._program.calculations[checksum.calculation].inputs, assigned)
        if checksum.verify:
            self._read(checksum.target, assigned)

    # Pipelines

    def _pipeline(self, pipeline: Pipeline, assigned: Assigned) -> Assigned:
        """What is assigned at a pipeline's end."""
        if pipeline.start is None:
            return assigned
        graph = {name: _targets(pipeline.tables[name]) for name in pipeline.tables}
        graph |= {name: (node.if_true, node.if_false) for name, node in pipeline.conditions.items()}
        entry = dict.fromkeys(graph, _EVERYTHING)
        entry[pipeline.start] = assigned
        end = _EVERYTHING

        def leave(target: str | None, assigned: Assigned) -> None:
            nonlocal end
            if target is None:
                end &= assigned
            else:
                entry[target] &= assigned

        for name in topological(pipeline.start, graph):
            self._node = name
            self.reads.setdefault(name, set())
            if name in pipeline.tables:
                self._table(pipeline.tables[name], entry[name], leave)
            else:
                self._branch(pipeline.conditions[name], entry[name], leave)
        self._node = ""
        return end

    def _branch(self, node: Condition, assigned: Assigned, leave: Callable[[str | None, Assigned], None]) -> None:
        self._read(node.expression, assigned)
        leave(node.if_true, assigned | self._implied(node.expression, True))
        leave(node.if_false, assigned | self._implied(node.expression, False))

    def _table(self, table: Table, assigned: Assigned, leave: Callable[[str | None, Assigned], None]) -> None:
        for field in table.key:
            self._read_guarded((field.target,), assigned)
        profile = self._program.profiles.get(table.profile or "")
        if profile is not None and profile.selector is not None:
            self._read_guarded(profile.selector.inputs, assigned)
        for outcome in (True, False) if table.key else (False,):
            for number in (*self._choices(table, outcome), None):
                if number is None and not self._may_do_nothing(table, outcome):
                    continue
                after = self._hit(table, assigned) if outcome else assigned
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

    def _hit(self, table: Table, assigned: Assigned) -> Assigned:
        meter = self._program.meters.get(table.direct_meter or "")
        return assigned if meter is None or meter.target is None else self._write(meter.target, assigned)

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


def _targets(table: Table) -> tuple[str | None, ...]:
    return (*table.next_by_action.values(), *(table.next_by_hit or ()), table.next_without_action)


def _may_exit(statements: Sequence[Statement]) -> bool:
    return any(
        isinstance(item, Exit) or (isinstance(item, If) and (_may_exit(item.then) or _may_exit(item.otherwise)))
        for item in statements
    )
