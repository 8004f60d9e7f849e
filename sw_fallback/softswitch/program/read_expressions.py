"""From the device config's type-value objects to expressions."""

from __future__ import annotations

from softswitch.program.cursor import Cursor
from softswitch.program.expressions import (
    AnyHeader,
    Binary,
    BinaryOp,
    BoolConstant,
    Choice,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    LastIndex,
    Lookahead,
    Param,
    RegisterRef,
    StackElement,
    StackElementField,
    StackLastField,
    StackSize,
    Unary,
    UnaryOp,
    Valid,
)
from softswitch.program.scope import Scope
from softswitch.program.statements import Target

__all__ = ["read_expression", "read_header", "read_target"]

_UNARY = {op.value: op for op in UnaryOp}
_BINARY = {op.value: op for op in BinaryOp}


def read_expression(at: Cursor, scope: Scope) -> Expression:
    """The expression that a type-value object stands for."""
    kind, value = at["type"].text(), at["value"]
    match kind:
        case "expression":
            # the compiler wraps an expression into a second object of the same type
            return read_expression(value, scope) if value.get("type") else _operation(value, scope)
        case "hexstr":
            return Constant(value.hexadecimal())
        case "bool":
            if not isinstance(value.value, bool):
                raise value.wrong("is not true or false")
            return BoolConstant(value.value)
        case "field":
            return scope.field(value)
        case "local" | "runtime_data":
            return _param(value, scope)
        case "header":
            return HeaderRef(scope.header(value).name)
        case "lookahead":
            offset_at, width_at = value.pair()
            return Lookahead(offset_at.width(), width_at.width())
        case "stack_field":
            stack, field, width = scope.stack_field(value)
            return StackLastField(stack.name, field, width)
        case "register":
            name_at, index_at = value.pair()
            return RegisterRef(scope.named("register", scope.registers, name_at), read_expression(index_at, scope))
        case "header_union" | "header_union_stack" | "union_stack_field":
            raise scope.refuse("header union", "keep the alternatives in separate headers")
        case _:
            raise at.wrong(f"{kind!r} is no kind of expression")


def read_header(at: Cursor, scope: Scope) -> AnyHeader:
    """A type-value object that stands for a header."""
    found = read_expression(at, scope)
    if not isinstance(found, HeaderRef | StackElement):
        raise at.wrong("is not a header")
    return found


def read_target(at: Cursor, scope: Scope) -> Target:
    """A type-value object that can be assigned to."""
    if at["type"].text() == "register":
        raise scope.refuse("assignment to a register reference", "use register.write")
    found = read_expression(at, scope)
    if not isinstance(found, FieldRef | StackElementField):
        raise at.wrong("cannot be assigned to")
    return found


def _param(at: Cursor, scope: Scope) -> Param:
    index = at.count()
    if index >= len(scope.parameters):
        raise at.wrong(f"the action has {len(scope.parameters)} parameters")
    return Param(index, scope.parameters[index].width)


def _operation(at: Cursor, scope: Scope) -> Expression:
    op = at["op"].text()
    if op in _BINARY:
        return _binary(_BINARY[op], at, scope)
    if op in _UNARY:
        return Unary(_UNARY[op], read_expression(at["right"], scope))
    match op:
        case "?":
            left, right = read_expression(at["left"], scope), read_expression(at["right"], scope)
            return Choice(read_expression(at["cond"], scope), left, right)
        case "valid":
            return Valid(read_header(at["right"], scope))
        case "access_field":
            return _access_field(at, scope)
        case "dereference_header_stack":
            return _element(at, scope)
        case "last_stack_index":
            return LastIndex(scope.stack(at["right"]["value"]).name)
        case "size_stack":
            return StackSize(scope.stack(at["right"]["value"]).name)
        case "valid_union" | "access_union_header" | "dereference_union_stack":
            raise scope.refuse("header union", "keep the alternatives in separate headers")
        case _:
            raise scope.refuse(f"operator '{op}'")


def _binary(op: BinaryOp, at: Cursor, scope: Scope) -> Expression:
    left = at.get("left")
    if left is None and op in (BinaryOp.ADD, BinaryOp.SUBTRACT):  # a sign
        return Binary(op, Constant(0), read_expression(at["right"], scope))
    return Binary(op, read_expression(at["left"], scope), read_expression(at["right"], scope))


def _element(at: Cursor, scope: Scope) -> AnyHeader:
    stack = scope.stack(at["left"]["value"])
    index = read_expression(at["right"], scope)
    if isinstance(index, Constant) and index.value < len(stack.members):
        return HeaderRef(stack.members[index.value])
    return StackElement(stack.name, index)


def _access_field(at: Cursor, scope: Scope) -> FieldRef | StackElementField:
    header = read_header(at["left"], scope)
    number = at["right"].count()
    owner = scope.headers[header.header] if isinstance(header, HeaderRef) else scope.stacks[header.stack]
    if number >= len(owner.type.fields):
        raise at["right"].wrong(f"{owner.type.name!r} has {len(owner.type.fields)} fields")
    field = owner.type.fields[number]
    if isinstance(header, HeaderRef):
        return FieldRef(header.header, field.name, field.width, field.signed)
    return StackElementField(header.stack, header.index, field.name, field.width, field.signed)
