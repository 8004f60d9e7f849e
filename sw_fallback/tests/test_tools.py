"""The subcommands: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from scapy.utils import PcapNgReader
from sw_fallback.tests.certificates import Authority
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.inside import DST, OTHER, Inside, frame, inside
from sw_fallback.tests.p4runtime_client import until

from softswitch import cli, tools
from softswitch.entities import Exact
from softswitch.server.listener import TlsFiles

pytestmark = pytest.mark.server

PROGRAM = CompiledProgram("p4runtime_entities")


@pytest.fixture
async def running() -> AsyncIterator[Inside]:
    async with inside() as made:
        made.switch.insert(PROGRAM.entry("mac_table", (Exact(DST),), PROGRAM.call("count_and_forward", 2)))
        yield made


async def run(running: Inside, *arguments: str) -> int:
    """The command in a thread of its own, at this switch."""
    return await asyncio.to_thread(cli.main, [*arguments, "--grpc-server-addr", running.daemon.address])


async def traced(running: Inside, *arguments: str) -> int:
    """A trace of three packets."""
    command = asyncio.create_task(run(running, "trace", "--count", "3", *arguments))
    await until(lambda: running.traced or command.done())
    for number, packet in ((1, frame()), (3, frame(OTHER)), (2, frame(ether_type=0x88CC))):
        running.ports[number - 1].inject(packet)
    return await command


async def test_stats_as_tables(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    running.ports[0].inject(frame())
    running.ports[0].inject(frame(OTHER))
    await until(lambda: running.switch.stats.packets_in == 2)
    assert await run(running, "stats", "--seconds", "0") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("device 1, up 0:00:0")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0].endswith("on the python engine")
    for line in (
        "packets: 2 in, 2 out",
        "1 for the controller, but no primary was there",
        "ingress.port_counter[1] 2 42",
        "ingress.mac_table 1 65536",
        "1 memory1 up 2 0 0",
    ):
        assert line in lines


async def test_stats_as_json(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(running, "stats", "--json", "--seconds", "0.01") == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["time_per_packet"]["packets"] == 0
    assert {"engine", "packets", "drops", "tables", "counters", "ports", "uptime_s"} <= set(stats)


async def test_stats_of_a_switch_without_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    async with inside(program=False) as made:
        assert await run(made, "stats") == 0
    shown = capsys.readouterr().out
    assert "no program yet" in shown
    assert "nothing dropped" in shown


async def test_dump_says_that_it_is_python(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(running, "dump-c") == 0
    shown = capsys.readouterr()
    assert shown.out == running.switch.source
    assert "python engine" in shown.err


def test_dump_of_files_is_c(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--p4info", str(PROGRAM.p4info_path), "--config", str(PROGRAM.json_path), "--cpu-port", "255"]
    assert cli.main(["dump-c", *files]) == 0
    shown = capsys.readouterr().out
    assert 'SEC("xdp")' in shown
    assert "table ingress.mac_table, p4runtime_entities.p4:" in shown


async def test_trace_as_lines(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    assert await traced(running) == 0
    shown = capsys.readouterr()
    lines = [line.split(" ", 1)[1] for line in shown.out.splitlines()]
    assert lines == [
        "port 1 0x0800 02:00:00:00:00:07 > 02:00:00:00:00:09  source_table miss learn, acl_table miss NoAction,"
        " const_table miss NoAction, keyless_table miss NoAction, mac_table hit count_and_forward → port 2",
        "port 3 0x0800 02:00:00:00:00:07 > 02:00:00:00:00:08  source_table miss learn, acl_table miss NoAction,"
        " const_table miss NoAction, keyless_table miss NoAction, mac_table miss to_controller,"
        " route_table miss NoAction, uplink_table miss nothing → controller",
        "port 2 0x88cc 02:00:00:00:00:07 > 02:00:00:00:00:09  source_table miss learn, acl_table miss NoAction,"
        " const_table hit drop, keyless_table miss NoAction, mac_table hit count_and_forward → port 2",
    ]
    assert "on the python engine" in shown.err
    assert shown.err.endswith("softswitch: 3 packets traced\n")


async def test_trace_as_json(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    assert await traced(running, "--json", "--filter", "ethernet") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["port"] for record in told] == [1, 3, 2]
    assert told[0]["ends"] == [{"verdict": "left", "port": 2, "length": 21}]


async def test_trace_into_a_file(running: Inside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.pcapng"
    assert await traced(running, "-w", str(path), "--both") == 0
    with PcapNgReader(str(path)) as reader:
        packets = [(packet.sniffed_on, packet.direction, (packet.comment or b"").decode()) for packet in reader]
    assert [packet[:2] for packet in packets] == [
        ("1@memory1", 1),
        ("2@memory2", 2),
        ("3@memory3", 1),
        ("controller", 2),
        ("2@memory2", 1),
        ("2@memory2", 2),
    ]
    assert packets[0][2].endswith("mac_table hit count_and_forward → port 2")
    assert len(capsys.readouterr().out.splitlines()) == 3


async def test_a_wrong_filter_ends_with_2(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(running, "trace", "--filter", "ethernet.dst == 10.0.0.1") == 2
    assert "softswitch: filter: ethernet.dst has 48 bits, an address like 10.0.0.1 has 32" in capsys.readouterr().err


async def test_a_switch_that_ends_ends_the_trace(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    command = asyncio.create_task(run(running, "trace"))
    await until(lambda: running.traced)
    running.ports[0].inject(frame())
    await until(lambda: running.switch.stats.packets_in)
    await running.daemon.stop()
    assert await command == 1
    shown = capsys.readouterr().err
    assert "softswitch: 1 packets traced" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("command", ["stats", "dump-c", "trace"])
async def test_no_switch_ends_with_1(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with inside(program=False) as made:
        address = made.daemon.address
    assert await asyncio.to_thread(cli.main, [command, "--grpc-server-addr", address]) == 1
    assert f"no switch answers at {address}" in capsys.readouterr().err


async def test_another_server_is_not_taken_for_a_switch(capsys: pytest.CaptureFixture[str]) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await asyncio.to_thread(cli.main, ["stats", "--grpc-server-addr", f"127.0.0.1:{port}"]) == 1
    assert "is no softswitch" in capsys.readouterr().err
    await server.stop(None)


async def test_a_file_that_cannot_be_written_ends_with_1(running: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(running, "trace", "-w", "/nonexistent/trace.pcapng") == 1
    assert "/nonexistent/trace.pcapng" in capsys.readouterr().err


async def test_mutual_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path, "ours")
    ours, theirs = authority.sign("switch"), authority.sign("operator")
    tls = TlsFiles(ours.certificate, ours.key, authority.certificate, client_auth=True)
    flags = ["--grpc-server-ssl", "--grpc-server-cacert", str(authority.certificate)]
    own = ["--grpc-server-cert", str(theirs.certificate), "--grpc-server-key", str(theirs.key)]
    async with inside(tls=tls) as made:
        assert await run(made, "stats", "--json", "--seconds", "0", *flags, *own) == 0
        assert json.loads(capsys.readouterr().out)["device_id"] == 1
        assert await run(made, "stats", *flags) == 1
        assert await run(made, "stats") == 1


WRONG = {
    "TLS files without TLS": (["stats", "--grpc-server-cert", "x"], "mean nothing without --grpc-server-ssl"),
    "missing TLS file": (["stats", "--grpc-server-ssl", "--grpc-server-cacert", "/nonexistent"], "/nonexistent"),
    "half a program": (["dump-c", "--config", "x"], "--p4info and --config go together"),
    "no program": (["dump-c", "--config", "/nonexistent/x", "--p4info", "/nonexistent/y"], "/nonexistent/y"),
    "two on standard output": (["trace", "--json", "-w", "-"], "both want standard output"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "why"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_say_why(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) in (1, 2)
    assert why in capsys.readouterr().err


def test_help_tells_of_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    for name in tools.SUBCOMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert ("PATH" if name == "unpin" else "--grpc-server-addr") in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "{stats,dump-c,trace,unpin}" in capsys.readouterr().out
