"""The same programs, entities and packets on the python engine and on BMv2: the same packets leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from sw_fallback.tests import bmv2
from sw_fallback.tests.engine_packets import (
    Packet,
    arithmetic_packets,
    matches_entities,
    matches_packets,
    replicas_entities,
    replicas_packets,
    stacks_packets,
)
from sw_fallback.tests.engine_programs import CompiledProgram

from softswitch.switch import Entity

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not bmv2.available(), reason="simple_switch_grpc is not on the PATH"),
]

COUNT = 600
"""Packets of each program."""


def _none(program: CompiledProgram) -> Sequence[Entity]:
    return ()


CASES: dict[str, tuple[Callable[[CompiledProgram], Sequence[Entity]], Callable[[Random, int], list[Packet]]]] = {
    "arithmetic": (_none, arithmetic_packets),
    "stacks": (_none, stacks_packets),
    "matches": (lambda program: matches_entities(program, Random(7)), matches_packets),
    "replicas": (replicas_entities, replicas_packets),
}


@pytest.mark.parametrize("name", CASES)
def test_same_packets_leave(name: str, tmp_path: Path) -> None:
    program = CompiledProgram(name)
    entities_of, packets_of = CASES[name]
    entities, packets = entities_of(program), packets_of(Random(2026), COUNT)
    switch = program.switch()
    for entity in entities:
        switch.insert(entity)
    ours = [switch.process(port, packet) for port, packet in packets]
    with bmv2.Bmv2(program.p4info_path, program.json_path, tmp_path) as reference:
        reference.insert(entities)
        theirs = reference.process(packets)
    different = [
        (packet, left, right)
        for packet, left, right in zip(packets, ours, theirs, strict=True)
        if sorted(left) != sorted(right)  # copies for different ports leave BMv2 in any order
    ]
    assert different == []
    assert sum(map(len, ours)) > COUNT // 2
