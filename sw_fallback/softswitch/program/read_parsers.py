"""From the device config's parsers to `Parser`."""

from __future__ import annotations

from softswitch.program.cursor import Cursor
from softswitch.program.expressions import Expression, FieldRef, Lookahead, StackLastField
from softswitch.program.parsers import (
    Advance,
    Execute,
    Extract,
    ExtractStack,
    ExtractVarbit,
    Parser,
    ParserOp,
    ParseState,
    SelectKey,
    SetField,
    Transition,
    Verify,
)
from softswitch.program.read_expressions import read_expression, read_target
from softswitch.program.read_statements import read_statement
from softswitch.program.scope import Scope

__all__ = ["read_parser"]


def read_parser(at: Cursor, scope: Scope) -> Parser:
    """A parser whose states all exist."""
    states = {state.name: state for state in (_state(item, scope) for item in at.items("parse_states"))}
    start = at.optional_text("init_state")
    for state in states.values():
        targets = [transition.next_state for transition in state.transitions] + [state.default]
        for target in targets:
            if target is not None and target not in states:
                raise at.wrong(f"state {state.name!r} goes to {target!r}, which does not exist")
    if start is not None and start not in states:
        raise at.wrong(f"the start state {start!r} does not exist")
    return Parser(at["name"].text(), start, states)


def _state(at: Cursor, scope: Scope) -> ParseState:
    location = at.location()
    scope.place = location
    operations = tuple(_operation(item, scope) for item in at.items("parser_ops"))
    key = tuple(_select_key(item, scope) for item in at.items("transition_key"))
    transitions: list[Transition] = []
    default: str | None = None
    for item in at.items("transitions"):
        kind = item.optional_text("type") or "hexstr"
        if kind == "default" or item.optional_text("value") == "default":
            default = item.optional_text("next_state")
        elif kind == "hexstr":
            transitions.append(_transition(item, key))
        elif kind == "parse_vset":
            raise scope.refuse(f"parser value set '{item['value'].text()}'", "use a table in ingress")
        else:
            raise item.wrong(f"{kind!r} is no kind of transition")
    return ParseState(at["name"].text(), operations, key, tuple(transitions), default, location)


def _operation(at: Cursor, scope: Scope) -> ParserOp:
    op, parameters = at["op"].text(), at["parameters"]
    location = at.location() if at.get("source_info") else scope.place
    match op:
        case "extract" | "extract_VL":
            return _extract(parameters.at_least(1), op == "extract_VL", scope)
        case "set":
            target, value = parameters.pair()
            found = read_target(target, scope)
            if not isinstance(found, FieldRef):
                raise scope.refuse("assignment to a computed stack index in a parser")
            return SetField(found, read_expression(value, scope), location)
        case "verify":
            condition, error = parameters.pair()
            return Verify(read_expression(condition, scope), _error(error, scope), location)
        case "advance":
            (bits,) = parameters.exactly(1)
            return Advance(read_expression(bits, scope), location)
        case "primitive":
            (call,) = parameters.exactly(1)
            return Execute(read_statement(call, scope), location)
        case _:
            raise scope.refuse(f"parser operation '{op}'")


def _error(at: Cursor, scope: Scope) -> Expression:
    return read_expression(at, scope)


def _extract(parameters: list[Cursor], varbit: bool, scope: Scope) -> ParserOp:
    what = parameters[0]
    kind = what["type"].text()
    if kind == "stack":
        if varbit:
            raise scope.refuse("extract of a varbit header into a header stack")
        return ExtractStack(scope.stack(what["value"]).name, scope.place)
    if kind != "regular":
        raise scope.refuse("header union stack")
    header = scope.wire_header(what["value"])
    if not varbit:
        if header.type.has_varbit:
            raise what.wrong(f"header {header.name!r} has a varbit field and no length is given")
        return Extract(header.name, scope.place)
    if len(parameters) != 2:
        raise what.wrong("extract_VL needs a length")
    return ExtractVarbit(header.name, read_expression(parameters[1], scope), scope.place)


def _select_key(at: Cursor, scope: Scope) -> SelectKey:
    found = read_expression(at, scope)
    if not isinstance(found, FieldRef | StackLastField | Lookahead):
        raise at.wrong("is no field, stack field or lookahead")
    return found


def _transition(at: Cursor, key: tuple[SelectKey, ...]) -> Transition:
    size = sum((element.width + 7) // 8 for element in key)
    value_at, mask_at = at["value"], at.get("mask")
    value = value_at.hexadecimal()
    mask = (1 << 8 * size) - 1 if mask_at is None else mask_at.hexadecimal()
    if not 0 <= value < 1 << 8 * size or not 0 <= mask < 1 << 8 * size:
        raise value_at.wrong(f"is wider than the {size} bytes of the transition key")
    values, masks = [], []
    for element in reversed(key):  # each field is padded to whole bytes
        full = (1 << element.width) - 1
        values.append(value & full)
        masks.append(mask & full)
        shift = 8 * ((element.width + 7) // 8)
        value, mask = value >> shift, mask >> shift
    return Transition(tuple(reversed(values)), tuple(reversed(masks)), at.optional_text("next_state"))
