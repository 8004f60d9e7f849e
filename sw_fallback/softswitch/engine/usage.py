"""Which fields a program reads and writes, so that translated code can leave out the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from softswitch.program import Program
from softswitch.program.expressions import (
    VALID_FIELD,
    AnyHeader,
    Binary,
    BinaryOp,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    StackElement,
    StackElementField,
    StackLastField,
    children,
    walk,
)
from softswitch.program.parsers import Advance, Execute, Extract, ExtractStack, ExtractVarbit, SetField, Verify
from softswitch.program.program import Payload, SizedConstant
from softswitch.program.statements import (
    Assert,
    Assign,
    AssignHeader,
    AssignStack,
    AssignVarbit,
    Clone,
    CountPacket,
    Drop,
    EmitDigest,
    ExecuteMeter,
    Hash,
    If,
    LogMessage,
    PopStack,
    PushStack,
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
    flatten,
)

__all__ = ["Usage"]


class Usage:
    """Facts about a program, found by walking over all of it once."""

    def __init__(self, program: Program, also_read: Sequence[Expression] = ()) -> None:
        """`also_read`: expressions beside the program that want its fields, as the filters of a trace do."""
        self._program = program
        self.lowest_bits: dict[tuple[str, str], int] = {}
        """Fields whose value something depends on, other than emission, and the lowest bit that it depends on."""
        self.writes: set[tuple[str, str]] = set()
        """Fields that are assigned to."""
        self.extracted: set[str] = set()
        """Headers that the parser reads from the packet."""
        self.changed: set[str] = set()
        """Headers that may have to be packed anew."""
        self.invalidated: set[str] = set()
        """Headers that may become invalid while their fields have values."""
        self.made_valid: set[str] = set()
        """Headers that something other than the parser's extraction can make valid."""
        self.statements: list[Statement] = [*self._all_statements()]
        self.kinds: set[type[Statement]] = {type(statement) for statement in self.statements}
        for statement in self.statements:
            self._statement(statement)
        for expression in also_read:
            self._read(expression)
        self._parser()
        self._controls()
        self._others()

    @property
    def reads(self) -> Set[tuple[str, str]]:
        """Fields whose value something depends on, other than emission."""
        return self.lowest_bits.keys()

    def reads_intrinsic(self, name: str) -> bool:
        """Whether anything depends on a standard metadata field."""
        field = self._program.intrinsic(name)
        return field is not None and (field.header, field.field) in self.reads

    def clones(self, egress: bool) -> bool:
        """Whether the program clones at the end of ingress, or of egress."""
        return any(isinstance(statement, Clone) and statement.egress is egress for statement in self.statements)

    def _all_statements(self) -> Iterator[Statement]:
        for action in self._program.actions.values():
            yield from flatten(action.body)
        for state in self._program.parser.states.values():
            for operation in state.operations:
                if isinstance(operation, Execute):
                    yield from flatten((operation.statement,))

    def _read(self, expression: Expression) -> None:
        for key, bit in _slices(expression, 0):
            self._note(key, bit)
        for part in walk(expression):
            match part:
                case StackLastField(stack, field) | StackElementField(stack, _, field):
                    for member in self._program.stacks[stack].members:
                        self._note((member, field), 0)
                case Binary(_, HeaderRef() | StackElement() as left, HeaderRef() | StackElement() as right):
                    self._read_whole(left)
                    self._read_whole(right)
                case _:
                    pass

    def _note(self, key: tuple[str, str], bit: int) -> None:
        self.lowest_bits[key] = min(bit, self.lowest_bits.get(key, bit))

    def _members(self, header: AnyHeader) -> tuple[str, ...]:
        if isinstance(header, HeaderRef):
            return (header.header,)
        self._read(header.index)
        return self._program.stacks[header.stack].members

    def _read_whole(self, header: AnyHeader) -> None:
        for member in self._members(header):
            for field in self._program.headers[member].type.fields:
                self._note((member, field.name), 0)

    def _write_whole(self, header: AnyHeader) -> None:
        for member in self._members(header):
            self.changed.add(member)
            self.invalidated.add(member)
            self.made_valid.add(member)
            self.writes.update((member, field.name) for field in self._program.headers[member].type.fields)

    def _write(self, target: Target) -> None:
        if isinstance(target, FieldRef):
            members: tuple[str, ...] = (target.header,)
        else:
            self._read(target.index)
            members = self._program.stacks[target.stack].members
        for member in members:
            self.writes.add((member, target.field))
            self.changed.add(member)
            self.invalidated.add(member)  # an invalid header's field may be written too

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Assign(target, value):
                self._write(target)
                self._read(value)
            case AssignVarbit(target, value):
                self._write(target)
                self._read(value)
            case AssignHeader(target, source):
                self._write_whole(target)
                self._read_whole(source)
                self._read_whole(target)
            case AssignStack(target, source):
                self._whole_stack(target)
                self._whole_stack(source)
            case PushStack(stack) | PopStack(stack):
                self._whole_stack(stack)
            case SetValid(header):
                self.changed.update(self._members(header))
                self.made_valid.update(self._members(header))
            case SetInvalid(header):
                self.invalidated.update(self._members(header))
            case Drop() | EmitDigest() | Resubmit() | Recirculate():
                self._note_requests(statement)
            case Hash(target, base, _, maximum):
                self._write(target)
                self._read(base)
                self._read(maximum)
            case Random(target, low, high):
                self._write(target)
                self._read(low)
                self._read(high)
            case _:
                self._rest(statement)

    def _rest(self, statement: Statement) -> None:
        match statement:
            case ReadRegister(target, _, index) | ExecuteMeter(_, index, target):
                self._write(target)
                self._read(index)
            case WriteRegister(_, index, value):
                self._read(index)
                self._read(value)
            case CountPacket(_, index):
                self._read(index)
            case LogMessage(_, values):
                for value in values:
                    self._read(value)
            case Assert(value) | If(value) | Truncate(value) | Clone(value):
                self._read(value)
            case _:
                pass

    def _note_requests(self, statement: Statement) -> None:
        if isinstance(statement, EmitDigest) and statement.digest in self._program.digests:
            for member in self._program.digests[statement.digest].members:
                self._read(member)

    def _whole_stack(self, stack: str) -> None:
        for member in self._program.stacks[stack].members:
            self._read_whole(HeaderRef(member))
            self._write_whole(HeaderRef(member))

    def _parser(self) -> None:
        for state in self._program.parser.states.values():
            for key in state.key:
                self._read(key)
            for operation in state.operations:
                match operation:
                    case Extract(header):
                        self.extracted.add(header)
                    case ExtractVarbit(header, length):
                        self.extracted.add(header)
                        self._read(length)
                    case ExtractStack(stack):
                        self.extracted.update(self._program.stacks[stack].members)
                    case SetField(target, value):
                        self._write(target)
                        self._read(value)
                    case Verify(condition, error):
                        self._read(condition)
                        self._read(error)
                    case Advance(bits):
                        self._read(bits)
                    case Execute():
                        pass  # its statement is among the others

    def _controls(self) -> None:
        for pipeline in (self._program.ingress, self._program.egress):
            for condition in pipeline.conditions.values():
                self._read(condition.expression)
            for table in pipeline.tables.values():
                for field in table.key:
                    self._read(field.target)
        for profile in self._program.profiles.values():
            for selected in profile.selector.inputs if profile.selector else ():
                self._read(selected)
        for meter in self._program.meters.values():
            if meter.target is not None:
                self._write(meter.target)

    def _others(self) -> None:
        for checksum in self._program.checksums:
            self._read(checksum.target)
            if checksum.update:
                self._write(checksum.target)
            if checksum.condition is not None:
                self._read(checksum.condition)
        for calculation in self._program.calculations.values():
            for item in calculation.inputs:
                if not isinstance(item, SizedConstant | Payload):
                    self._read(item)
        for fields in self._program.field_lists.values():
            for field in fields:
                self._read(field)
        for name in ("egress_spec", "mcast_grp"):
            intrinsic = self._program.intrinsic(name)
            if intrinsic is not None:
                self._read(intrinsic)
        self.lowest_bits = {key: bit for key, bit in self.lowest_bits.items() if key[1] != VALID_FIELD}


def _slices(expression: Expression, lowest: int) -> Iterator[tuple[tuple[str, str], int]]:
    """The fields in an expression of which the bits from `lowest` on are wanted, and the lowest bit wanted of each."""
    match expression:
        case FieldRef(header, field):
            yield (header, field), lowest
        case Binary(BinaryOp.SHIFT_RIGHT, part, Constant(count)) if count >= 0:
            yield from _slices(part, lowest + count)
        case Binary(BinaryOp.AND, part, Constant(mask)) | Binary(BinaryOp.AND, Constant(mask), part) if mask > 0:
            yield from _slices(part, max(lowest, (mask & -mask).bit_length() - 1))
        case _:
            for child in children(expression):
                yield from _slices(child, 0)
