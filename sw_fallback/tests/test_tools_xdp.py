"""The subcommands on a switch whose packets stay in the kernel, over interfaces."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.utils import PcapNgReader
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.softswitch_process import PATIENCE, SoftswitchProcess, command, environment

from softswitch.engine.xdp.availability import why_not

REASON = why_not() if os.geteuid() == 0 else "needs root"
pytestmark = [
    pytest.mark.netns,
    pytest.mark.server,
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]

PROGRAM = CompiledProgram("p4runtime_entities")
LLDP = bytes.fromhex("02000000000902000000000788cc") + bytes(46)
PLAIN = bytes.fromhex("0200000000090200000000070800") + bytes(46)


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        for number in (1, 2):
            made.veth(f"port{number}", f"host{number}")
        yield made


@pytest.fixture
def switch(space: Namespace) -> Iterator[SoftswitchProcess]:
    program = ["--p4info", str(PROGRAM.p4info_path), "--config", str(PROGRAM.json_path)]
    ports = ["-i", "1@port1", "-i", "2@port2"]
    with SoftswitchProcess("--engine", "xdp", "--cpu-port", "255", *program, *ports) as running:
        yield running


def run(switch: SoftswitchProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A subcommand, to its end."""
    return subprocess.run(
        [*command(), *arguments, "--grpc-server-addr", switch.address],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )


def send(interface: str, *frames: bytes) -> None:
    """Put frames on the wire."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for frame in frames:
            sender.send(frame)


def trace(switch: SoftswitchProcess, *arguments: str) -> subprocess.Popen[str]:
    """A trace that has begun."""
    running = subprocess.Popen(
        [*command(), "trace", "--grpc-server-addr", switch.address, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert running.stderr is not None
    assert "on the xdp engine" in running.stderr.readline()
    return running


def test_stats(switch: SoftswitchProcess) -> None:
    send("host1", PLAIN, PLAIN, LLDP)
    ended = run(switch, "stats", "--json", "--seconds", "0")
    stats = json.loads(ended.stdout)
    assert stats["engine"] == {"name": "xdp", "reason": None}
    assert stats["packets"]["packets_in"] == 3
    assert stats["drops"]["packet_ins_dropped"] == 3
    assert {cell["index"]: cell["packets"] for cell in stats["counters"]} == {1: 3}
    assert [port["received"] for port in stats["ports"]] == [3, 0]
    assert "on the xdp engine" in run(switch, "stats", "--seconds", "0").stdout


def test_dump_is_c(switch: SoftswitchProcess) -> None:
    shown = run(switch, "dump-c")
    assert 'SEC("xdp")' in shown.stdout
    assert shown.stderr == ""


def test_trace(switch: SoftswitchProcess, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    running = trace(switch, "--filter", "port == 2", "--count", "2", "-w", str(path), "--both")
    send("host1", PLAIN)
    send("host2", LLDP, PLAIN)
    out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    ways = [line.split("  ", 1)[1] for line in out.splitlines()]
    start = "source_table miss learn, acl_table miss NoAction, const_table"
    middle = "keyless_table miss NoAction, mac_table miss to_controller"
    end = f"{middle}, route_table miss NoAction, uplink_table miss nothing → controller"
    assert ways == [f"{start} hit drop, {end}", f"{start} miss NoAction, {end}"]
    with PcapNgReader(str(path)) as reader:
        packets = list(reader)
    assert [packet.sniffed_on for packet in packets] == ["2@port2", "controller"] * 2
    assert [bytes(packet) for packet in packets[::2]] == [LLDP, PLAIN]
    assert (packets[0].comment or b"").decode() == ways[0]
    stats = json.loads(run(switch, "stats", "--json", "--seconds", "0").stdout)
    assert stats["packets"]["packets_in"] == 3


def test_packets_pass_while_traces_come_and_go(switch: SoftswitchProcess) -> None:
    sent = 0
    for _ in range(3):
        running = trace(switch, "--count", "1")
        send("host1", *[PLAIN] * 50)
        sent += 50
        running.communicate(timeout=PATIENCE)
        send("host1", *[PLAIN] * 50)
        sent += 50
    stats = json.loads(run(switch, "stats", "--json", "--seconds", "0").stdout)
    assert stats["packets"]["packets_in"] == sent
    assert stats["drops"]["events_lost"] == 0
