"""From the device config's primitive calls to statements; jumps become `If` blocks."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.program.cursor import Cursor
from softswitch.program.expressions import Constant, Expression, FieldRef, Unary, UnaryOp
from softswitch.program.read_expressions import read_expression, read_header, read_target
from softswitch.program.scope import Scope
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
    Exit,
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
    Truncate,
    WriteRegister,
)

__all__ = ["read_statement", "read_statements"]

_JUMP, _JUMP_IF_ZERO = "_jump", "_jump_if_zero"
_IGNORED = frozenset({"no_op"})


def read_statements(calls: list[Cursor], scope: Scope) -> tuple[Statement, ...]:
    """The body of an action: its primitive calls in order."""
    return _block(calls, 0, len(calls), scope)


def read_statement(call: Cursor, scope: Scope) -> Statement:
    """One primitive call. Raises `UnsupportedConstruct` for a primitive that this switch does not have."""
    op = call["op"].text()
    outer = scope.place
    scope.place = call.location() if call.get("source_info") else outer
    try:
        if op not in _READERS:
            raise scope.refuse(f"primitive '{op}'")
        count, reader = _READERS[op]
        return reader(call["parameters"].exactly(count), scope)
    finally:
        scope.place = outer


def _block(calls: list[Cursor], start: int, end: int, scope: Scope) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    position = start
    while position < end:
        op = calls[position]["op"].text()
        if op == _JUMP_IF_ZERO:
            statement, position = _branch(calls, position, end, scope)
            statements.append(statement)
        elif op == _JUMP:
            target = _offset(calls[position])
            if not position < target <= end:
                raise scope.refuse("jump out of a block", "the compiler made control flow that is no if or else")
            position = target
        else:
            if op not in _IGNORED:
                statements.append(read_statement(calls[position], scope))
            position += 1
    return tuple(statements)


def _branch(calls: list[Cursor], position: int, end: int, scope: Scope) -> tuple[If, int]:
    """The `If` that starts at a conditional jump, and where the calls go on after it."""
    call = calls[position]
    condition_at, target_at = call["parameters"].pair()
    otherwise = _number(target_at, scope)
    if not position < otherwise <= end:
        raise scope.refuse("jump out of a block", "the compiler made control flow that is no if or else")
    condition = _as_condition(read_expression(condition_at, scope))
    last, after = otherwise - 1, otherwise
    if last > position and calls[last]["op"].text() == _JUMP and otherwise < _offset(calls[last]) <= end:
        after = _offset(calls[last])
        then = _block(calls, position + 1, last, scope)
    else:
        then = _block(calls, position + 1, otherwise, scope)
    return If(condition, then, _block(calls, otherwise, after, scope), call.location()), after


def _as_condition(value: Expression) -> Expression:
    if isinstance(value, Unary) and value.op is UnaryOp.BOOL_TO_DATA:
        return value.operand
    return Unary(UnaryOp.DATA_TO_BOOL, value)


def _offset(call: Cursor) -> int:
    (parameter,) = call["parameters"].exactly(1)
    return parameter["value"].hexadecimal()


def _number(at: Cursor, scope: Scope) -> int:
    value = read_expression(at, scope)
    if not isinstance(value, Constant):
        raise at.wrong("is not a constant")
    return value.value


def _assign(at: list[Cursor], scope: Scope) -> Statement:
    return Assign(read_target(at[0], scope), read_expression(at[1], scope), scope.place)


def _assign_varbit(at: list[Cursor], scope: Scope) -> Statement:
    target, source = read_target(at[0], scope), read_expression(at[1], scope)
    if not isinstance(target, FieldRef) or not isinstance(source, FieldRef):
        raise scope.refuse("assignment of a varbit field at a computed stack index")
    return AssignVarbit(target, source, scope.place)


def _assign_header(at: list[Cursor], scope: Scope) -> Statement:
    return AssignHeader(read_header(at[0], scope), read_header(at[1], scope), scope.place)


def _assign_stack(at: list[Cursor], scope: Scope) -> Statement:
    target, source = scope.stack(at[0]["value"]), scope.stack(at[1]["value"])
    if target.type != source.type or len(target.members) != len(source.members):
        raise at[1].wrong(f"stacks {target.name!r} and {source.name!r} are not of one type and size")
    return AssignStack(target.name, source.name, scope.place)


def _set_valid(at: list[Cursor], scope: Scope) -> Statement:
    return SetValid(read_header(at[0], scope), scope.place)


def _set_invalid(at: list[Cursor], scope: Scope) -> Statement:
    return SetInvalid(read_header(at[0], scope), scope.place)


def _push(at: list[Cursor], scope: Scope) -> Statement:
    return PushStack(scope.stack(at[0]["value"]).name, _number(at[1], scope), scope.place)


def _pop(at: list[Cursor], scope: Scope) -> Statement:
    return PopStack(scope.stack(at[0]["value"]).name, _number(at[1], scope), scope.place)


def _mark_to_drop(at: list[Cursor], scope: Scope) -> Statement:
    return Drop(scope.place)


def _digest(at: list[Cursor], scope: Scope) -> Statement:
    return EmitDigest(_number(at[1], scope), scope.place)


def _clone_ingress(at: list[Cursor], scope: Scope) -> Statement:
    return Clone(read_expression(at[0], scope), _number(at[1], scope), False, scope.place)


def _clone_egress(at: list[Cursor], scope: Scope) -> Statement:
    return Clone(read_expression(at[0], scope), _number(at[1], scope), True, scope.place)


def _resubmit(at: list[Cursor], scope: Scope) -> Statement:
    return Resubmit(_number(at[0], scope), scope.place)


def _recirculate(at: list[Cursor], scope: Scope) -> Statement:
    return Recirculate(_number(at[0], scope), scope.place)


def _truncate(at: list[Cursor], scope: Scope) -> Statement:
    return Truncate(read_expression(at[0], scope), scope.place)


def _hash(at: list[Cursor], scope: Scope) -> Statement:
    calculation = scope.named("calculation", scope.calculations, at[2]["value"])
    base, maximum = read_expression(at[1], scope), read_expression(at[3], scope)
    return Hash(read_target(at[0], scope), base, calculation, maximum, scope.place)


def _random(at: list[Cursor], scope: Scope) -> Statement:
    low, high = read_expression(at[1], scope), read_expression(at[2], scope)
    return Random(read_target(at[0], scope), low, high, scope.place)


def _register_read(at: list[Cursor], scope: Scope) -> Statement:
    name = scope.named("register", scope.registers, at[1]["value"])
    return ReadRegister(read_target(at[0], scope), name, read_expression(at[2], scope), scope.place)


def _register_write(at: list[Cursor], scope: Scope) -> Statement:
    name = scope.named("register", scope.registers, at[0]["value"])
    return WriteRegister(name, read_expression(at[1], scope), read_expression(at[2], scope), scope.place)


def _count(at: list[Cursor], scope: Scope) -> Statement:
    name = scope.named("counter", scope.counters, at[0]["value"])
    return CountPacket(name, read_expression(at[1], scope), scope.place)


def _meter(at: list[Cursor], scope: Scope) -> Statement:
    name = scope.named("meter", scope.meters, at[0]["value"])
    return ExecuteMeter(name, read_expression(at[1], scope), read_target(at[2], scope), scope.place)


def _log(at: list[Cursor], scope: Scope) -> Statement:
    values = tuple(read_expression(value, scope) for value in at[1]["value"].elements())
    return LogMessage(at[0]["value"].text(), values, scope.place)


def _assert(keyword: str) -> Callable[[list[Cursor], Scope], Statement]:
    def read(at: list[Cursor], scope: Scope) -> Statement:
        return Assert(_as_condition(read_expression(at[0], scope)), keyword, scope.place)

    return read


def _exit(at: list[Cursor], scope: Scope) -> Statement:
    return Exit(scope.place)


_READERS: dict[str, tuple[int, Callable[[list[Cursor], Scope], Statement]]] = {
    "assign": (2, _assign),
    "assign_VL": (2, _assign_varbit),
    "assign_header": (2, _assign_header),
    "assign_header_stack": (2, _assign_stack),
    "set": (2, _assign),
    "add_header": (1, _set_valid),
    "remove_header": (1, _set_invalid),
    "push": (2, _push),
    "pop": (2, _pop),
    "drop": (0, _mark_to_drop),
    "mark_to_drop": (1, _mark_to_drop),
    "generate_digest": (2, _digest),
    "clone_ingress_pkt_to_egress": (2, _clone_ingress),
    "clone_egress_pkt_to_egress": (2, _clone_egress),
    "resubmit": (1, _resubmit),
    "recirculate": (1, _recirculate),
    "truncate": (1, _truncate),
    "modify_field_with_hash_based_offset": (4, _hash),
    "modify_field_rng_uniform": (3, _random),
    "register_read": (3, _register_read),
    "register_write": (3, _register_write),
    "count": (2, _count),
    "execute_meter": (3, _meter),
    "log_msg": (2, _log),
    "assert": (1, _assert("assert")),
    "assume": (1, _assert("assume")),
    "exit": (0, _exit),
}
"""Primitive name, number of parameters, reader (simple_switch's primitives.cpp and bm_sim/core)."""
