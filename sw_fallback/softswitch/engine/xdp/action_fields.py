"""Metadata that lives inside of one action only: variables of the generated code instead of members of its state.

The compiler makes such fields of the arguments of externs: the inputs of a hash, the index of a register.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

from softswitch.errors import SourceLocation
from softswitch.program import Program
from softswitch.program.controls import Action
from softswitch.program.expressions import Expression, FieldRef, HeaderRef
from softswitch.program.statements import Assign, ExecuteMeter, Hash, If, Random, ReadRegister, Statement

__all__ = ["action_fields", "fields_of"]

Key = tuple[str, str]
"""Header and field."""
_ASSIGNING = Assign | ExecuteMeter | Hash | Random | ReadRegister


def action_fields(program: Program, watched: Iterable[Expression]) -> frozenset[Key]:
    """Fields that one action alone uses, and always assigns before it reads them. `watched` are expressions beside
    the program that read fields."""
    users: dict[Key, set[int]] = {}
    for number, action in program.actions.items():
        for field in fields_of(program, action.body):
            users.setdefault((field.header, field.field), set()).add(number)
    found = {key for key, actions in users.items() if len(actions) == 1 and _is_plain(program, key)}
    found -= {(field.header, field.field) for field in _elsewhere(program, watched)}
    for action in program.actions.values():
        found -= _read_first(program, action, found)
    return frozenset(found)


def fields_of(program: Program, statements: Sequence[Statement]) -> list[FieldRef]:
    """Every field that statements read or assign, in the order of their first use."""
    found = dict.fromkeys(field for statement in statements for field in _inside(program, statement))
    return list({(field.header, field.field): field for field in found}.values())


def _is_plain(program: Program, key: Key) -> bool:
    """Whether nobody but the program knows the field."""
    header = program.headers[key[0]]
    field = header.type.field(key[1])
    return header.metadata and header.name != "standard_metadata" and field is not None


def _elsewhere(program: Program, watched: Iterable[Expression]) -> Iterator[FieldRef]:
    """Fields that something beside the actions uses."""
    for part in (program.parser, program.ingress, program.egress, program.profiles, program.meters, program.checksums,
                 program.digests, program.field_lists, program.aliases, tuple(watched)):  # fmt: skip
        yield from _inside(program, part)
    for checksum in program.checksums:
        yield from _inside(program, program.calculations[checksum.calculation])
    for action in program.actions.values():  # headers as a whole
        for item in _parts(action.body):
            if isinstance(item, HeaderRef):
                yield from (FieldRef(item.header, f.name, f.width) for f in program.headers[item.header].type.fields)


def _inside(program: Program, part: object) -> Iterator[FieldRef]:
    for item in _parts(part):
        if isinstance(item, FieldRef):
            yield item
        elif isinstance(item, Hash):
            yield from _inside(program, program.calculations[item.calculation])


def _parts(part: object) -> Iterator[object]:
    """Whatever of the model is in a part of the model."""
    if isinstance(part, SourceLocation):
        return
    if isinstance(part, Mapping):
        part = tuple(part.values())
    if isinstance(part, tuple | list):
        for item in part:
            yield from _parts(item)
    elif is_dataclass(part):
        yield part
        for field in fields(part):
            yield from _parts(getattr(part, field.name))


def _read_first(program: Program, action: Action, candidates: set[Key]) -> set[Key]:
    """Those that an action may read before it has assigned them."""
    found: set[Key] = set()

    def follow(statements: Sequence[Statement], assigned: set[Key]) -> None:
        for statement in statements:
            target = statement.target if isinstance(statement, _ASSIGNING) else None
            parts = [statement.condition] if isinstance(statement, If) else [
                getattr(statement, field.name) for field in fields(statement) if field.name != "target"
            ]  # fmt: skip
            if isinstance(statement, Hash):
                parts.append(program.calculations[statement.calculation])
            read = {(field.header, field.field) for part in parts for field in _inside(program, part)}
            found.update((read & candidates) - assigned)
            if isinstance(statement, If):
                follow(statement.then, set(assigned))
                follow(statement.otherwise, set(assigned))
            elif isinstance(statement, Assign | Hash) and isinstance(target, FieldRef):
                assigned.add((target.header, target.field))

    follow(action.body, set())
    return found
