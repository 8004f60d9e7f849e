"""Whatever bytes arrive, the switch goes on and every packet has one fate that is counted."""

from __future__ import annotations

import os
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptf_tests.all_cases import CASES
from ptf_tests.case import CPU_PORT, DropReason, Outcome, Step, Submit
from ptf_tests.library_target import LibraryTarget
from ptf_tests.network import NETWORK, PORTS
from ptf_tests.random_packets import RandomPackets
from ptf_tests.target import run_case

SEED = 11
MAY_NAME_NOBODY = (b"\x08\x06", b"\x86\xdd")  # ARP and neighbour discovery of nobody: heard, and no news
SHORTEST_HEADER = 14  # Ethernet's: whatever is shorter is malformed


def fates(outcome: Outcome) -> int:
    """Left at a port, went to the controller, was dropped with a reason, or was taken in as a neighbour's news."""
    heard = 0 if outcome.outputs else outcome.digests.total()
    return outcome.outputs.total() + outcome.packet_ins.total() + outcome.drops.total() + heard


@pytest.fixture(scope="module")
def target(target: LibraryTarget) -> LibraryTarget:
    target.load((*NETWORK, *RandomPackets(SEED).entries()))
    return target


@settings(max_examples=500, deadline=None)
@given(packet=st.binary(max_size=200), port=st.sampled_from((*PORTS, 0, 7, 510)))
def test_any_bytes(target: LibraryTarget, packet: bytes, port: int) -> None:
    outcome = target.run(Step(packet, port))
    assert outcome.outputs.total() <= 1
    if len(packet) < SHORTEST_HEADER:
        assert outcome.drops == {DropReason.MALFORMED: 1}
    else:
        assert fates(outcome) >= 1


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(CASES)))
def test_whole_packets_cut_and_bent(target: LibraryTarget, data: st.DataObject, name: str) -> None:
    step = data.draw(st.sampled_from(CASES[name].steps))
    packet = bytearray(step.packet)
    for _ in range(data.draw(st.integers(0, 4))):
        if packet:
            packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    outcome = target.run(Step(bytes(packet[:cut]), data.draw(st.sampled_from(PORTS))))
    assert outcome.outputs.total() <= 1


@settings(max_examples=200, deadline=None)
@given(packet=st.binary(max_size=100))
def test_any_bytes_from_the_controller(target: LibraryTarget, packet: bytes) -> None:
    """A packet-out needs no whole header in front: what has none is malformed."""
    before = target.switch.stats.packets_in
    left = target.switch.process(CPU_PORT, packet)
    assert len(left) <= 1
    assert target.switch.stats.packets_in == before + 1


@settings(max_examples=100, deadline=None)
@given(
    packet=st.binary(max_size=100),
    submit=st.builds(Submit, st.integers(0, 65535), st.integers(0, 65535), st.booleans()),
)
def test_packet_outs_for_any_port(target: LibraryTarget, packet: bytes, submit: Submit) -> None:
    outcome = target.run(Step(packet, submit))
    assert outcome.outputs.total() <= 1


@pytest.mark.soak
def test_random_bytes_for_long(target: LibraryTarget) -> None:
    """Three seconds, or SOAK_SECONDS, of noise and half-sensible packets; afterwards the switch does its work."""
    seconds = float(os.environ.get("SOAK_SECONDS", "3"))
    seed = random.randrange(1 << 32) if "SOAK_SECONDS" in os.environ else SEED
    packets, noise = RandomPackets(seed), random.Random(seed)
    sent, drops, end = 0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        port, batch = packets.batch(500)
        batch += [noise.randbytes(noise.randrange(120)) for _ in range(500)]
        for packet in batch:
            outcome = target.run(Step(packet, port))
            assert fates(outcome) >= 1 or packet[12:14] in MAY_NAME_NOBODY, f"seed {seed}: {packet.hex()} left no trace"
            drops += outcome.drops.total()
        sent += len(batch)
    assert sent > 0
    assert drops > sent / 4
    print(f"{sent} packets, {drops} of them dropped and counted, seed {seed}")
    run_case(target, CASES["nat_ipv4_tcp_new_sessions_take_turns"])
