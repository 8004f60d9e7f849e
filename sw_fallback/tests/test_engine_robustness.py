"""Whatever bytes arrive, nothing is raised and nothing is lost that the program did not touch."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sw_fallback.tests.engine_packets import (
    Packet,
    arithmetic_packets,
    matches_entities,
    matches_packets,
    replicas_entities,
    replicas_packets,
    stacks_packets,
)
from sw_fallback.tests.engine_programs import CompiledProgram, VirtualClock

from softswitch.switch import Switch

DEPOT = Path(__file__).parents[2] / "p4src" / "build"
GENERATORS = {
    "arithmetic": arithmetic_packets,
    "matches": matches_packets,
    "replicas": replicas_packets,
    "stacks": stacks_packets,
}


def _filled(name: str) -> Switch:
    program = CompiledProgram(name)
    switch = program.switch(VirtualClock())
    entities = {"matches": lambda: matches_entities(program, Random(3)), "replicas": lambda: replicas_entities(program)}
    for entity in entities.get(name, list)():
        switch.insert(entity)
    return switch


SWITCHES = {name: _filled(name) for name in (*GENERATORS, "timestamps")}
SWITCHES["depot"] = Switch.load(DEPOT / "depot.p4info.txtpb", DEPOT / "depot.json", cpu_port=255)

ports = st.sampled_from([0, 1, 4, 255, 500, 511, 65535])


@pytest.mark.parametrize("name", SWITCHES)
@given(ports, st.binary(max_size=200))
@example(0, b"")
def test_random_bytes_are_taken(name: str, port: int, packet: bytes) -> None:
    switch = SWITCHES[name]
    before = switch.stats.packets_in
    for out_port, out in switch.process(port, packet):
        assert isinstance(out_port, int)
        assert isinstance(out, bytes)
    assert switch.stats.packets_in == before + 1


@pytest.mark.parametrize("name", GENERATORS)
@given(seed=st.integers(0, 1 << 32), position=st.integers(0, 79), value=st.integers(0, 255), cut=st.integers(0, 90))
def test_damaged_packets_are_taken(name: str, seed: int, position: int, value: int, cut: int) -> None:
    ((port, packet),) = GENERATORS[name](Random(seed), 1)
    damaged = bytearray(packet)
    if position < len(damaged):
        damaged[position] = value
    SWITCHES[name].process(port, bytes(damaged))
    SWITCHES[name].process(port, bytes(damaged[:cut]))


_ETHERNET = bytes(range(12))


def _untouched(random: Random) -> Packet:
    """A packet of which `stacks.p4` changes 5 bytes of the source address, and nothing else."""
    count = random.randrange(1, 5)
    labels = b"".join(
        ((100 + number) << 12 | (number == count - 1) << 8 | number).to_bytes(4, "big") for number in range(count)
    )
    length = random.randrange(5, 16)
    header = bytes([0x40 | length, 0]) + random.randbytes(6) + b"\x40" + random.randbytes(4 * length - 9)
    return 1, _ETHERNET + b"\x88\x47" + labels + header + random.randbytes(random.randrange(50))


@given(st.integers(0, 1 << 32))
def test_what_is_parsed_is_deparsed(seed: int) -> None:
    port, packet = _untouched(Random(seed))
    ((_, out),) = SWITCHES["stacks"].process(port, packet)
    assert out[:6] == packet[:6]
    assert out[11:] == packet[11:]


@given(st.integers(0, 1 << 32))
def test_a_header_is_packed_as_it_was_unpacked(seed: int) -> None:
    """The program changes one byte of the result, so the header is made anew from its fields."""
    random = Random(seed)
    packet = b"\x01" + random.randbytes(20) + bytes(40)
    ((_, out),) = SWITCHES["arithmetic"].process(1, packet)
    assert (out[:13], out[19:]) == (packet[:13], packet[19:])
