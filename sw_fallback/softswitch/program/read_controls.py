"""From the device config's actions and pipelines to theirs here."""

from __future__ import annotations

from softswitch.program.controls import (
    Action,
    ActionProfile,
    Condition,
    ConstEntry,
    DefaultAction,
    KeyField,
    KeyMatch,
    MatchKind,
    Parameter,
    Pipeline,
    Selector,
    Table,
)
from softswitch.program.cursor import Cursor
from softswitch.program.expressions import FieldRef
from softswitch.program.read_expressions import read_expression
from softswitch.program.read_statements import read_statements
from softswitch.program.scope import Scope

__all__ = ["read_action", "read_pipeline", "read_profiles"]

_HIT, _MISS = "__HIT__", "__MISS__"


def read_action(at: Cursor, scope: Scope) -> Action:
    """An action with its body."""
    location = at.location()
    parameters = tuple(Parameter(item["name"].text(), item["bitwidth"].width()) for item in at.items("runtime_data"))
    scope.parameters, scope.place = parameters, location
    body = read_statements(list(at.items("primitives")), scope)
    scope.parameters = ()
    return Action(at["id"].count(), at["name"].text(), parameters, body, location)


def read_profiles(at: Cursor, scope: Scope) -> dict[str, ActionProfile]:
    """The action profiles of a pipeline by name."""
    profiles: dict[str, ActionProfile] = {}
    for item in at.items("action_profiles"):
        location, selector = item.location(), item.get("selector")
        scope.place = location
        chosen = None
        if selector is not None:
            fields = tuple(scope.field(element["value"]) for element in selector.items("input"))
            chosen = Selector(selector["algo"].text(), fields)
        name = item["name"].text()
        profiles[name] = ActionProfile(name, item["max_size"].count(), chosen, location)
    return profiles


def read_pipeline(at: Cursor, scope: Scope, actions: dict[int, Action], profiles: set[str]) -> Pipeline:
    """A pipeline whose nodes, actions and profiles all exist."""
    if calls := list(at.items("action_calls")):
        scope.place = calls[0].location()
        raise scope.refuse("direct action call", "compile with p4c")
    tables = {table.name: table for table in (_table(item, scope, actions, profiles) for item in at.items("tables"))}
    conditions = {c.name: c for c in (_condition(item, scope) for item in at.items("conditionals"))}
    start = at.optional_text("init_table")
    wanted = [start]
    for condition in conditions.values():
        wanted += [condition.if_true, condition.if_false]
    for table in tables.values():
        wanted += [*table.next_by_action.values(), *(table.next_by_hit or ()), table.next_without_action]
    for name in wanted:
        if name is not None and name not in tables and name not in conditions:
            raise at.wrong(f"there is no table or condition {name!r}")
    return Pipeline(at["name"].text(), start, tables, conditions)


def _condition(at: Cursor, scope: Scope) -> Condition:
    location = at.location()
    scope.place = location
    expression = read_expression(at["expression"], scope)
    return Condition(
        at["name"].text(), expression, at.optional_text("true_next"), at.optional_text("false_next"), location
    )


def _table(at: Cursor, scope: Scope, actions: dict[int, Action], profiles: set[str]) -> Table:
    location = at.location()
    scope.place = location
    ids = tuple(item.count() for item in at.items("action_ids"))
    for action_id in ids:
        if action_id not in actions:
            raise at.wrong(f"there is no action {action_id}")
    default = _default(at, actions)
    if default is not None and default.action_id not in ids:
        raise at["default_entry"].wrong(f"action {default.action_id} is not among the table's actions")
    profile = at.optional_text("action_profile")
    if at["type"].text() != "simple" and profile not in profiles:
        raise at.wrong(f"there is no action profile {profile!r}")
    kind = _kind(at["match_type"], scope)
    key = tuple(_key_field(item, scope) for item in at.items("key"))
    by_action, by_hit = _next(at, ids, actions)
    entries = tuple(_entry(item, key, actions) for item in at.items("entries"))
    size = at.get("max_size")
    return Table(
        name=at["name"].text(),
        kind=kind,
        key=key,
        actions=ids,
        size=size.count() if size else len(entries),
        default=default,
        entries=entries,
        next_by_action=by_action,
        next_by_hit=by_hit,
        next_without_action=at.optional_text("base_default_next") if by_hit is None else by_hit[1],
        profile=profile,
        direct_counter=at.flag("with_counters"),
        direct_meter=at.optional_text("direct_meters"),
        idle_timeout=at.flag("support_timeout"),
        location=location,
    )


def _kind(at: Cursor, scope: Scope) -> MatchKind:
    try:
        return MatchKind(at.text())
    except ValueError:
        raise scope.refuse(f"match kind '{at.text()}'") from None


def _key_field(at: Cursor, scope: Scope) -> KeyField:
    kind = at["match_type"].text()
    if kind == "valid":
        header = scope.header(at["target"])
        name = at.optional_text("name") or header.name
        return KeyField(name, MatchKind.EXACT, FieldRef(header.name, "$valid$", 1), None)
    target, mask = scope.field(at["target"]), at.get("mask")
    name = at.optional_text("name") or f"{target.header}.{target.field}"
    limit = None if mask is None else mask.hexadecimal() & ((1 << target.width) - 1)
    return KeyField(name, _kind(at["match_type"], scope), target, limit)


def _next(
    at: Cursor, ids: tuple[int, ...], actions: dict[int, Action]
) -> tuple[dict[int, str | None], tuple[str | None, str | None] | None]:
    nodes = {name: None if item.value is None else item.text() for name, item in at["next_tables"].members()}
    if _HIT in nodes or _MISS in nodes:
        return {}, (nodes.get(_HIT), nodes.get(_MISS))
    for action_id in ids:
        if actions[action_id].name not in nodes:
            raise at["next_tables"].wrong(f"action {actions[action_id].name!r} is missing")
    return {action_id: nodes[actions[action_id].name] for action_id in ids}, None


def _arguments(at: Cursor, action: Action) -> tuple[int, ...]:
    values = [item.hexadecimal() for item in at.exactly(len(action.parameters))]
    for value, parameter in zip(values, action.parameters, strict=True):
        if not 0 <= value < 1 << parameter.width:
            raise at.wrong(f"{value:#x} does not fit parameter {parameter.name!r} of {parameter.width} bits")
    return tuple(values)


def _default(at: Cursor, actions: dict[int, Action]) -> DefaultAction | None:
    entry = at.get("default_entry")
    if entry is None:
        return None
    action = _action(entry["action_id"], actions)
    constant = entry.flag("action_const") or entry.flag("action_entry_const")
    return DefaultAction(action.id, _arguments(entry["action_data"], action), constant)


def _action(at: Cursor, actions: dict[int, Action]) -> Action:
    if at.count() not in actions:
        raise at.wrong(f"there is no action {at.count()}")
    return actions[at.count()]


def _entry(at: Cursor, key: tuple[KeyField, ...], actions: dict[int, Action]) -> ConstEntry:
    parts = at["match_key"].exactly(len(key))
    matches = tuple(_match(part, field) for part, field in zip(parts, key, strict=True))
    call = at["action_entry"]
    action = _action(call["action_id"], actions)
    priority = at.get("priority")
    return ConstEntry(matches, action.id, _arguments(call["action_data"], action), priority.number() if priority else 0)


def _match(at: Cursor, field: KeyField) -> KeyMatch:
    kind = at["match_type"].text()
    if kind == "valid":
        return KeyMatch(MatchKind.EXACT, int(at.flag("key")), 0)
    if kind != field.kind.value:
        raise at.wrong(f"is {kind} where the key is {field.kind.value}")
    full = (1 << field.target.width) - 1
    match field.kind:
        case MatchKind.EXACT:
            return KeyMatch(field.kind, at["key"].hexadecimal() & full, 0)
        case MatchKind.LPM:
            return KeyMatch(field.kind, at["key"].hexadecimal() & full, at["prefix_length"].count())
        case MatchKind.TERNARY:
            return KeyMatch(field.kind, at["key"].hexadecimal() & full, at["mask"].hexadecimal() & full)
        case MatchKind.RANGE:
            return KeyMatch(field.kind, at["start"].hexadecimal() & full, at["end"].hexadecimal() & full)
