"""Which object of the P4Info stands for which of the device config: by name, since their ids differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from softswitch.errors import PipelineMismatch
from softswitch.p4info import ActionInfo, MatchType, P4Info, TableInfo
from softswitch.program import Program
from softswitch.program.controls import Action, MatchKind, Table

__all__ = ["ActionNumbers", "Binding", "TableBinding", "bind"]

_KINDS = {
    MatchType.EXACT: (MatchKind.EXACT,),
    MatchType.LPM: (MatchKind.LPM,),
    MatchType.TERNARY: (MatchKind.TERNARY,),
    MatchType.RANGE: (MatchKind.RANGE,),
    MatchType.OPTIONAL: (MatchKind.TERNARY,),
}


class _Sized(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...


class ActionNumbers:
    """A small number for each action name, the same in all tables; translated code tells actions apart by it."""

    def __init__(self, program: Program) -> None:
        self._by_name: dict[str, int] = {}
        for action in program.actions.values():
            self._by_name.setdefault(action.name, len(self._by_name))

    def __getitem__(self, name: str) -> int:
        return self._by_name[name]


@dataclass(frozen=True, slots=True)
class TableBinding:
    """A table under both of its descriptions."""

    info: TableInfo
    table: Table
    positions: tuple[int, ...]
    """For each key field of the device config: its place in the P4Info's match fields."""
    widths: tuple[int, ...]
    """Of the match fields in bits, in the order of the P4Info."""
    actions: dict[int, Action]
    """The device config's action for each P4Info action id that the table may run."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A P4Info matched with a device config."""

    tables: dict[int, TableBinding]
    """By P4Info id."""
    actions: dict[int, Action]
    """One of the device config's actions for each P4Info action id."""
    action_ids: dict[str, int]
    """P4Info ids by name."""
    profiles: dict[int, str]
    counters: dict[int, str]
    meters: dict[int, str]
    registers: dict[int, str]
    digests: dict[int, int]
    """P4Info digest id by the device config's."""
    direct_meters: dict[int, str]
    """Name of the meter array by P4Info table id."""


def bind(info: P4Info, program: Program) -> Binding:
    """Match the two by name. Raises `PipelineMismatch` with the first object that does not fit."""
    by_name: dict[str, Action] = {}
    for action in program.actions.values():
        by_name.setdefault(action.name, action)
    actions = {}
    for described in info.actions.values():
        if described.name not in by_name:
            raise PipelineMismatch(f"action '{described.name}' of the P4Info is not in the device config")
        actions[described.id] = by_name[described.name]
        _check_parameters(described, actions[described.id])
    tables = {**program.ingress.tables, **program.egress.tables}
    direct = {meter.table: meter.name for meter in program.meters.values() if meter.table is not None}
    bound = {table.id: _bind_table(table, info, program, tables) for table in info.tables.values()}
    _check_counters(info, bound)
    return Binding(
        tables=bound,
        actions=actions,
        action_ids={described.name: described.id for described in info.actions.values()},
        profiles=_same_names("action profile", info.profiles, program.profiles),
        counters=_same_names("counter", info.counters, program.counters),
        meters=_same_names("meter", info.meters, program.meters),
        registers=_registers(info, program),
        digests=_digests(info, program),
        direct_meters={
            table.info.id: direct[table.table.name] for table in bound.values() if table.table.name in direct
        },
    )


def _check_parameters(described: ActionInfo, action: Action) -> None:
    names = [param.name for param in described.params]
    compiled = [parameter.name for parameter in action.parameters]
    if names != compiled:
        raise PipelineMismatch(
            f"action '{described.name}' has the parameters {names} in the P4Info and {compiled} in the device config"
        )
    for param, parameter in zip(described.params, action.parameters, strict=True):
        if param.width not in (0, parameter.width):
            raise PipelineMismatch(
                f"parameter '{param.name}' of action '{described.name}' has {param.width} bits in the P4Info"
                f" and {parameter.width} in the device config"
            )


def _bind_table(described: TableInfo, info: P4Info, program: Program, tables: Mapping[str, Table]) -> TableBinding:
    table = tables.get(described.name)
    if table is None:
        raise PipelineMismatch(f"table '{described.name}' of the P4Info is not in the device config")
    names = [field.name for field in described.match_fields]
    if sorted(names) != sorted(field.name for field in table.key):
        raise PipelineMismatch(
            f"table '{described.name}' has the key {names} in the P4Info"
            f" and {[field.name for field in table.key]} in the device config"
        )
    positions = tuple(names.index(field.name) for field in table.key)
    for position, field in zip(positions, table.key, strict=True):
        match = described.match_fields[position]
        if field.kind not in _KINDS[match.match_type] or match.width not in (0, field.target.width):
            raise PipelineMismatch(
                f"match field '{match.name}' of table '{described.name}' is {match.match_type.value} of {match.width}"
                f" bits in the P4Info and {field.kind.value} of {field.target.width} in the device config"
            )
    widths = {position: field.target.width for position, field in zip(positions, table.key, strict=True)}
    return TableBinding(
        info=described,
        table=table,
        positions=positions,
        widths=tuple(widths[position] for position in range(len(widths))),
        actions=_table_actions(described, table, info, program),
    )


def _table_actions(described: TableInfo, table: Table, info: P4Info, program: Program) -> dict[int, Action]:
    compiled = {program.actions[action_id].name: program.actions[action_id] for action_id in table.actions}
    found = {}
    for action_id in described.action_ids:
        if action_id not in info.actions:
            raise PipelineMismatch(f"table '{described.name}' refers to action {action_id:#x}, which the P4Info lacks")
        name = info.actions[action_id].name
        if name not in compiled:
            raise PipelineMismatch(f"table '{described.name}' has no action '{name}' in the device config")
        found[action_id] = compiled[name]
    return found


def _check_counters(info: P4Info, bound: dict[int, TableBinding]) -> None:
    for counter in info.direct_counters.values():
        table = bound.get(counter.table_id)
        if table is None or not table.table.direct_counter:
            raise PipelineMismatch(f"direct counter '{counter.name}' has no table with counters in the device config")


def _same_names(kind: str, described: Mapping[int, _Sized], compiled: Mapping[str, _Sized]) -> dict[int, str]:
    for item in described.values():
        if item.name not in compiled:
            raise PipelineMismatch(f"{kind} '{item.name}' of the P4Info is not in the device config")
        size = compiled[item.name].size
        if item.size != size:
            raise PipelineMismatch(
                f"{kind} '{item.name}' has the size {item.size} in the P4Info and {size} in the device config"
            )
    return {number: item.name for number, item in described.items()}


def _registers(info: P4Info, program: Program) -> dict[int, str]:
    for register in info.registers.values():
        compiled = program.registers.get(register.name)
        if compiled is not None and register.width not in (0, compiled.width):
            raise PipelineMismatch(
                f"register '{register.name}' has {register.width} bits in the P4Info"
                f" and {compiled.width} in the device config"
            )
    return _same_names("register", info.registers, program.registers)


def _digests(info: P4Info, program: Program) -> dict[int, int]:
    found: dict[int, int] = {}
    for digest in info.digests.values():
        layouts = [layout for layout in program.digests.values() if layout.name == digest.name]
        if not layouts:
            raise PipelineMismatch(f"digest '{digest.name}' of the P4Info is not in the device config")
        for layout in layouts:
            if digest.widths is not None and len(digest.widths) != len(layout.members):
                raise PipelineMismatch(
                    f"digest '{digest.name}' has {len(digest.widths)} members in the P4Info"
                    f" and {len(layout.members)} in the device config"
                )
            found[layout.id] = digest.id
    return found
