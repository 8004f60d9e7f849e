"""From a BMv2 JSON device config to a `Program`, refusing what the model or the switch does not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from softswitch.errors import MalformedPipeline
from softswitch.program.controls import Action, ActionProfile, CounterArray, MeterArray, RegisterArray
from softswitch.program.cursor import Cursor
from softswitch.program.expressions import Constant, FieldRef
from softswitch.program.headers import Field, Header, HeaderStack, HeaderType, HeaderUnion, HeaderUnionStack
from softswitch.program.program import (
    Calculation,
    CalculationInput,
    Checksum,
    DigestLayout,
    Payload,
    Program,
    SizedConstant,
)
from softswitch.program.read_controls import read_action, read_pipeline, read_profiles
from softswitch.program.read_expressions import read_expression
from softswitch.program.read_parsers import read_parser
from softswitch.program.scope import Scope

__all__ = ["DeviceConfig", "read_program"]

DeviceConfig = str | PathLike[str] | bytes | Mapping[str, object]
"""A path, the JSON text, its bytes, or the decoded object."""

_REQUIRED = ("ingress_port", "packet_length", "instance_type", "egress_spec", "egress_port")
"""Fields that simple_switch cannot do without (simple_switch.cpp)."""
_MAJOR = 2
"""The major version of the BMv2 JSON format this reads (docs/JSON_format.md of behavioral-model)."""


def read_program(config: DeviceConfig) -> Program:
    """Read and check a device config. Raises `MalformedPipeline` and `UnsupportedConstruct`."""
    root = Cursor(_decode(config))
    _check_version(root)
    scope = Scope()
    _read_headers(root, scope)
    _check_standard_metadata(root, scope)
    _read_stacks(root, scope)
    _read_names(root, scope)
    actions = _read_actions(root, scope)
    profiles: dict[str, ActionProfile] = {}
    for item in root.items("pipelines"):
        profiles |= read_profiles(item, scope)
    pipelines = {p.name: p for p in (read_pipeline(i, scope, actions, set(profiles)) for i in root.items("pipelines"))}
    for name in ("ingress", "egress"):
        if name not in pipelines:
            raise root.wrong(f"there is no pipeline {name!r}: compile for v1model")
    meters = {m.name: m for m in (_meter(item, scope) for item in root.items("meter_arrays"))}
    for pipeline in pipelines.values():
        for table in pipeline.tables.values():
            if table.direct_meter is not None and table.direct_meter not in meters:
                raise root.wrong(f"table {table.name!r} has the direct meter {table.direct_meter!r}, which is missing")
    return Program(
        name=root.optional_text("program") or "",
        headers=scope.headers,
        stacks=scope.stacks,
        unions=scope.unions,
        union_stacks=scope.union_stacks,
        errors={name.text(): value.count() for name, value in (item.pair() for item in root.items("errors"))},
        parser=read_parser(_single(root, "parsers"), scope),
        deparser=_read_deparser(_single(root, "deparsers"), scope),
        actions=actions,
        ingress=pipelines["ingress"],
        egress=pipelines["egress"],
        profiles=profiles,
        registers={r.name: r for r in map(_register, root.items("register_arrays"))},
        counters={c.name: c for c in map(_counter, root.items("counter_arrays"))},
        meters=meters,
        calculations={c.name: c for c in (_calculation(item, scope) for item in root.items("calculations"))},
        checksums=tuple(_checksum(item, scope) for item in root.items("checksums")),
        digests={d.id: d for d in (_digest(item, scope) for item in root.items("learn_lists"))},
        field_lists={item["id"].count(): _field_list(item, scope) for item in root.items("field_lists")},
        aliases=_read_aliases(root, scope),
    )


def _decode(config: DeviceConfig) -> object:
    if isinstance(config, Mapping):
        return config
    text: str | bytes
    if isinstance(config, bytes) or (isinstance(config, str) and config.lstrip()[:1] == "{"):
        text = config
    else:
        try:
            text = Path(config).read_bytes()
        except OSError as error:
            raise MalformedPipeline(f"device config {config}: {error.strerror}") from error
        except ValueError as error:
            raise MalformedPipeline(f"device config {config!r}: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise MalformedPipeline(f"device config: is not JSON: {error}") from error


def _check_version(root: Cursor) -> None:
    meta = root.get("__meta__")
    version = meta.get("version") if meta else None
    if version is not None and version.pair()[0].number() != _MAJOR:
        raise version.wrong(f"the major version is not {_MAJOR}")


def _single(root: Cursor, key: str) -> Cursor:
    """The only parser or deparser that v1model has."""
    found = list(root.items(key))
    if len(found) != 1:
        raise root.wrong(f"has {len(found)} {key}, not 1: compile for v1model")
    return found[0]


def _read_headers(root: Cursor, scope: Scope) -> None:
    for item in root.items("header_types"):
        name, limit = item["name"].text(), item.get("max_length")
        if item.get("length_exp"):
            raise scope.refuse(f"P4_14 length expression of header type '{name}'")
        fields = tuple(_field(member) for member in item.items("fields"))
        scope.types[name] = HeaderType(name, fields, limit.count() if limit else 0)
    for item in root.items("headers"):
        name, type_at = item["name"].text(), item["header_type"]
        header_type = scope.types.get(type_at.text())
        if header_type is None:
            raise type_at.wrong(f"there is no header type {type_at.text()!r}")
        if header_type.has_varbit and item.flag("metadata"):
            raise scope.refuse(f"varbit field in metadata '{name}'")
        scope.headers[name] = Header(name, header_type, item.flag("metadata"))


def _check_standard_metadata(root: Cursor, scope: Scope) -> None:
    header = scope.headers.get("standard_metadata")
    if header is None or not header.metadata:
        raise root.wrong("there is no metadata 'standard_metadata': compile for v1model")
    for name in _REQUIRED:
        field = header.type.field(name)
        if field is None or not field.width:
            raise root.wrong(f"there is no field 'standard_metadata.{name}': compile for v1model")


def _field(at: Cursor) -> Field:
    name, width, *rest = at.at_least(2)
    signed = bool(rest and rest[0].value is True)
    if len(rest) > 1 and rest[1].value is True:
        raise at.wrong("saturating fields are not part of P4_16")
    if width.value == "*":
        return Field(name.text(), 0, signed, varbit=True)
    if width.width() < 1 + signed:
        raise width.wrong("is too narrow for a field")
    return Field(name.text(), width.width(), signed)


def _read_stacks(root: Cursor, scope: Scope) -> None:
    by_id = {item["id"].number(): item["name"].text() for item in root.items("headers")}
    for item in root.items("header_stacks"):
        name, header_type = item["name"].text(), scope.types.get(item["header_type"].text())
        if header_type is None:
            raise item.wrong("its header type does not exist")
        members = _members(item, "header_ids", by_id)
        if not members or any(scope.headers[member].type != header_type for member in members):
            raise item.wrong("its members are not headers of its type")
        scope.stacks[name] = HeaderStack(name, header_type, members)
    unions = {item["id"].number(): item["name"].text() for item in root.items("header_unions")}
    for item in root.items("header_unions"):
        name = item["name"].text()
        scope.unions[name] = HeaderUnion(name, _members(item, "header_ids", by_id))
    for item in root.items("header_union_stacks"):
        name = item["name"].text()
        scope.union_stacks[name] = HeaderUnionStack(name, _members(item, "header_union_ids", unions))
    for name in scope.unions:
        raise scope.refuse(f"header union '{name}'", "keep the alternatives in separate headers")


def _members(at: Cursor, key: str, names: dict[int, str]) -> tuple[str, ...]:
    ids = [item.number() for item in at.items(key)]
    if not all(number in names for number in ids):
        raise at[key].wrong("names a header that does not exist")
    return tuple(names[number] for number in ids)


def _read_names(root: Cursor, scope: Scope) -> None:
    for item in root.items("extern_instances"):
        scope.place = item.location()
        raise scope.refuse(f"extern '{item['type'].text()}' ('{item['name'].text()}')")
    scope.calculations = {item["name"].text() for item in root.items("calculations")}
    scope.registers = {item["name"].text() for item in root.items("register_arrays")}
    scope.counters = {item["name"].text() for item in root.items("counter_arrays") if not item.flag("is_direct")}
    scope.meters = {item["name"].text() for item in root.items("meter_arrays") if not item.flag("is_direct")}


def _read_actions(root: Cursor, scope: Scope) -> dict[int, Action]:
    actions: dict[int, Action] = {}
    for item in root.items("actions"):
        action = read_action(item, scope)
        if action.id in actions:
            raise item.wrong(f"a second action {action.id}")
        actions[action.id] = action
    return actions


def _read_deparser(at: Cursor, scope: Scope) -> tuple[str, ...]:
    scope.place = at.location()
    if primitives := list(at.items("primitives")):
        raise scope.refuse(f"primitive '{primitives[0]['op'].text()}' in the deparser")
    return tuple(scope.wire_header(item).name for item in at.items("order"))


def _register(at: Cursor) -> RegisterArray:
    return RegisterArray(at["name"].text(), at["size"].count(), at["bitwidth"].width(), at.location())


def _counter(at: Cursor) -> CounterArray:
    size = at.get("size")
    table = at.optional_text("binding") if at.flag("is_direct") else None
    return CounterArray(at["name"].text(), size.count() if size else 0, table, at.location())


def _meter(at: Cursor, scope: Scope) -> MeterArray:
    direct, scope.place = at.flag("is_direct"), at.location()
    if at["rate_count"].number() != 2:
        raise scope.refuse(f"meter of {at['rate_count'].number()} rates")
    target = at.get("result_target") if direct else None
    return MeterArray(
        name=at["name"].text(),
        size=at["size"].count(),
        table=at.optional_text("binding") if direct else None,
        octets=at["type"].text() == "bytes",
        target=scope.field(target) if target else None,
        location=at.location(),
    )


def _calculation(at: Cursor, scope: Scope) -> Calculation:
    location = at.location()
    scope.place = location
    inputs: list[CalculationInput] = []
    for item in at.items("input"):
        kind = item["type"].text()
        if kind == "field":
            inputs.append(scope.field(item["value"]))
        elif kind == "hexstr":
            inputs.append(SizedConstant(item["value"].hexadecimal(), item["bitwidth"].width()))
        elif kind == "payload":
            inputs.append(Payload())
        elif kind == "header":
            header = scope.header(item["value"])
            inputs += [FieldRef(header.name, field.name, field.width, field.signed) for field in header.type.fields]
        else:
            raise item.wrong(f"{kind!r} is no kind of calculation input")
    return Calculation(at["name"].text(), at["algo"].text(), tuple(inputs), location)


def _checksum(at: Cursor, scope: Scope) -> Checksum:
    location = at.location()
    scope.place = location
    if at["type"].text() != "generic":
        raise scope.refuse(f"checksum of type '{at['type'].text()}'")
    condition = at.get("if_cond")
    return Checksum(
        name=at["name"].text(),
        target=scope.field(at["target"]),
        calculation=scope.named("calculation", scope.calculations, at["calculation"]),
        verify=at.flag("verify", default=True),
        update=at.flag("update", default=True),
        condition=read_expression(condition, scope) if condition else None,
        location=location,
    )


def _digest(at: Cursor, scope: Scope) -> DigestLayout:
    members: list[FieldRef | Constant] = []
    for item in at.items("elements"):
        found = read_expression(item, scope)
        if not isinstance(found, FieldRef | Constant):
            raise item.wrong("is no field or constant")
        members.append(found)
    return DigestLayout(at["id"].count(), at["name"].text(), tuple(members), at.location())


def _field_list(at: Cursor, scope: Scope) -> tuple[FieldRef, ...]:
    fields = []
    for item in at.items("elements"):
        if item["type"].text() == "field":
            fields.append(scope.field(item["value"]))
    return tuple(fields)


def _read_aliases(root: Cursor, scope: Scope) -> dict[str, FieldRef]:
    return {name.text(): scope.field(target) for name, target in (item.pair() for item in root.items("field_aliases"))}
