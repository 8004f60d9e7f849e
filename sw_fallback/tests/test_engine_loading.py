"""Programs that are refused: what is not supported with its P4 line, what is broken with its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from finsy.proto import p4i
from hypothesis import given, settings
from hypothesis import strategies as st
from sw_fallback.tests.compile_programs import COMPILER, stale
from sw_fallback.tests.engine_programs import FOLDER, CompiledProgram

from softswitch.errors import MalformedPipeline, PipelineError, PipelineMismatch, UnsupportedConstruct
from softswitch.program import read_program
from softswitch.switch import Switch

NAMES = ("arithmetic", "matches", "replicas", "stacks", "timestamps")
PROGRAMS = {name: CompiledProgram(name) for name in NAMES}

Json = dict[str, Any]


def _config(name: str) -> Json:
    loaded: Json = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def _load(name: str, config: object) -> Switch:
    return Switch.load(PROGRAMS[name].info.message, config)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_every_form_of_input(name: str) -> None:
    program = PROGRAMS[name]
    text, message = program.json_path.read_text(), program.info.message
    infos = (program.p4info_path, str(program.p4info_path), program.p4info_path.read_text(), message)
    for info in (*infos, message.SerializeToString()):
        for config in (program.json_path, str(program.json_path), text, text.encode(), json.loads(text)):
            assert Switch.load(info, config).source == program.switch().source


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not on the PATH")
def test_compiled_programs_match_their_sources() -> None:
    assert stale() == []


def _first_call(config: Json) -> Json:
    return next(call for action in config["actions"] for call in action["primitives"] if call.get("source_info"))


def _unknown_primitive(config: Json) -> None:
    _first_call(config)["op"] = "encrypt"


def _unknown_hash(config: Json) -> None:
    config["calculations"][0]["algo"] = "toeplitz"


def _extern(config: Json) -> None:
    place = {"filename": "x.p4", "line": 7}
    config["extern_instances"] = [{"name": "cipher", "id": 0, "type": "aes", "source_info": place}]


def _value_set(config: Json) -> None:
    state = next(state for state in config["parsers"][0]["parse_states"] if len(state["transitions"]) > 1)
    state["transitions"][0] |= {"type": "parse_vset", "value": "known_ports"}


def _union(config: Json) -> None:
    config["header_unions"] = [{"name": "either", "id": 0, "union_type": "u", "header_ids": []}]


@pytest.mark.parametrize(
    ("change", "construct"),
    [
        (_unknown_primitive, "primitive 'encrypt'"),
        (_unknown_hash, "hash algorithm 'toeplitz'"),
        (_extern, "extern 'aes' ('cipher')"),
        (_value_set, "parser value set 'known_ports'"),
        (_union, "header union 'either'"),
    ],
)
def test_unsupported_constructs_are_named(change: Callable[[Json], None], construct: str) -> None:
    config = _config("arithmetic")
    change(config)
    with pytest.raises(UnsupportedConstruct) as caught:
        _load("arithmetic", config)
    assert caught.value.construct == construct


def test_unsupported_constructs_say_their_line() -> None:
    config = _config("replicas")
    call = _first_call(config)
    call["op"] = "encrypt"
    with pytest.raises(UnsupportedConstruct) as caught:
        _load("replicas", config)
    assert caught.value.location.filename == "replicas.p4"
    assert caught.value.location.line == call["source_info"]["line"]
    assert f"replicas.p4:{call['source_info']['line']}: primitive 'encrypt'" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_pairs_of_two_programs(name: str, other: str) -> None:
    if name == other or "timestamps" in (name, other):  # its P4Info has nothing that could be missing
        return
    with pytest.raises(PipelineMismatch):
        Switch.load(PROGRAMS[name].info.message, PROGRAMS[other].json_path)


def _wider_key(info: p4i.P4Info) -> None:
    info.tables[0].match_fields[0].bitwidth += 1


def _other_match(info: p4i.P4Info) -> None:
    info.tables[0].match_fields[0].match_type = p4i.MatchField.RANGE


def _other_name(info: p4i.P4Info) -> None:
    info.tables[0].match_fields[0].name = "else"


def _fewer_parameters(info: p4i.P4Info) -> None:
    next(action for action in info.actions if action.params).params.pop()


def _wider_parameter(info: p4i.P4Info) -> None:
    next(action for action in info.actions if action.params).params[0].bitwidth += 1


def _unknown_action(info: p4i.P4Info) -> None:
    info.tables[0].action_refs[0].id = 1


def _other_size(info: p4i.P4Info) -> None:
    info.counters[0].size += 1


@pytest.mark.parametrize(
    "change",
    [_wider_key, _other_match, _other_name, _fewer_parameters, _wider_parameter, _unknown_action, _other_size],
)
def test_a_p4info_that_does_not_fit(change: Callable[[p4i.P4Info], None]) -> None:
    info = p4i.P4Info()
    info.CopyFrom(PROGRAMS["replicas"].info.message)
    change(info)
    with pytest.raises(PipelineMismatch):
        Switch.load(info, PROGRAMS["replicas"].json_path)


@pytest.mark.parametrize(
    ("info", "config"),
    [
        ("no such {", "{}"),
        (b"\xff\xff\xff", "{}"),
        ("/does/not/exist", "{}"),
        (p4i.P4Info(), "{"),
        (p4i.P4Info(), b"\xff"),
        (p4i.P4Info(), "{}"),
        (p4i.P4Info(), "[]"),
        (p4i.P4Info(), {"__meta__": {"version": [1, 0]}}),
        (p4i.P4Info(), "/does/not/exist"),
    ],
)
def test_garbage(info: p4i.P4Info | str | bytes, config: object) -> None:
    with pytest.raises(MalformedPipeline):
        Switch.load(info, config)  # type: ignore[arg-type]


def _nodes(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "source_info":
                found += _nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _nodes(item, (*path, index))
    return found


_PLACES = {name: _nodes(_config(name)) for name in NAMES}
_WRONG = st.sampled_from([None, -1, 0, 7, 1 << 40, "", "none", "0x", "egress", [], {}, [1], {"type": "field"}, True])


@settings(max_examples=300)
@given(st.sampled_from(NAMES), st.data())
def test_a_damaged_config_is_refused_or_runs(name: str, data: st.DataObject) -> None:
    """Whatever is wrong in a device config, `PipelineError` says so; what loads also takes a packet."""
    config: Any = _config(name)
    place = data.draw(st.sampled_from(_PLACES[name]))
    node = config
    for step in place[:-1]:
        node = node[step]
    if data.draw(st.booleans()):
        del node[place[-1]]
    else:
        node[place[-1]] = data.draw(_WRONG)
    try:
        switch = _load(name, config)
    except PipelineError:
        return
    switch.process(1, bytes(64))


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_random_configs(config: str | bytes) -> None:
    with pytest.raises(PipelineError):
        read_program(config)


def _chained(conditions: int, *, nested: bool) -> Json:
    """`timestamps.p4` with an ingress of conditions only: one after another, or one inside of another."""
    config = _config("timestamps")
    names = [f"node_{number}" for number in range(conditions)]
    condition = {
        "type": "expression",
        "value": {"op": "d2b", "left": None, "right": {"type": "hexstr", "value": "0x1"}},
    }
    nodes = []
    for number, name in enumerate(names):
        after = names[number + 1] if number + 1 < conditions else None
        false_next = names[-1] if nested and after and after != names[-1] else after
        node = {"name": name, "id": number, "expression": condition, "true_next": after, "false_next": false_next}
        nodes.append(node)
    ingress = next(pipeline for pipeline in config["pipelines"] if pipeline["name"] == "ingress")
    ingress |= {"init_table": names[0], "tables": [], "conditionals": nodes}
    return config


def test_a_long_program() -> None:
    assert len(_load("timestamps", _chained(5000, nested=False)).process(1, bytes(20))) == 1


def test_a_program_nested_too_deeply() -> None:
    with pytest.raises(UnsupportedConstruct, match="nested"):
        _load("timestamps", _chained(300, nested=True))
