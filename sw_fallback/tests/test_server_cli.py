"""The command line: wrong arguments, starting, stopping, TLS."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from pathlib import Path

import grpc
import pytest
from finsy.proto import p4r
from sw_fallback.tests.certificates import Authority, Pair
from sw_fallback.tests.entities_program import JSON_PATH, P4INFO_PATH, config
from sw_fallback.tests.p4runtime_client import DEVICE, Client
from sw_fallback.tests.softswitch_process import PATIENCE, SoftswitchProcess, command, environment

from softswitch import cli

pytestmark = pytest.mark.server


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(), *arguments], capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=False
    )


WRONG = {
    "port without number": (["-i", "veth1"], "NUMBER@INTERFACE"),
    "port without interface": (["-i", "1@"], "no interface name"),
    "tap without name": (["-i", "1@tap:"], "no interface name"),
    "port number too large": (["-i", "511@veth1"], "0 to 510"),
    "interface name too long": (["-i", "1@abcdefghijklmnopq"], "no interface name"),
    "port twice": (["-i", "1@a", "-i", "1@b"], "same number"),
    "interface twice": (["-i", "1@a", "-i", "2@a"], "same interface"),
    "port is the CPU port": (["-i", "255@a", "--cpu-port", "255"], "CPU port"),
    "drop port is the CPU port": (["--cpu-port", "511"], "both 511"),
    "device id zero": (["--device-id", "0"], "no device id"),
    "device id word": (["--device-id", "x"], "no device id"),
    "address without port": (["--grpc-server-addr", "localhost"], "HOST:PORT"),
    "address port too large": (["--grpc-server-addr", "localhost:65536"], "HOST:PORT"),
    "cpu port too large": (["--cpu-port", "512"], "0 to 511"),
    "program half given": (["--p4info", "x"], "go together"),
    "program and none": (["--no-p4", "--p4info", "x", "--config", "y"], "contradicts"),
    "program missing": (["--p4info", "/nonexistent/x", "--config", "/nonexistent/y"], "cannot read /nonexistent/y"),
    "TLS without certificate": (["--grpc-server-ssl"], "needs --grpc-server-cert"),
    "TLS file without TLS": (["--grpc-server-key", "x"], "without --grpc-server-ssl"),
    "client certificates without CA": (
        ["--grpc-server-ssl", "--grpc-server-cert", "a", "--grpc-server-key", "b", "--grpc-server-with-client-auth"],
        "needs --grpc-server-cacert",
    ),
    "log level": (["--log-level", "loud"], "invalid choice"),
    "unknown option": (["--frobnicate"], "unrecognized"),
}


@pytest.mark.parametrize(("arguments", "why"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_end_with_2_and_say_why(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_p4info_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.txtpb"
    bad.write_text("tables { nonsense }")
    with pytest.raises(SystemExit):
        cli.main(["--p4info", str(bad), "--config", str(JSON_PATH)])
    assert "bad.txtpb: no P4Info in text format" in capsys.readouterr().err


def test_version_and_help_through_the_module() -> None:
    assert run("--version").stdout.startswith("softswitch ")
    shown = run("--help").stdout
    assert "--grpc-server-with-client-auth" in shown
    assert "1@tap:NAME" in shown


def test_interface_that_does_not_exist_is_named() -> None:
    ended = run("-i", "3@nosuchport", "--grpc-server-addr", "127.0.0.1:0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("softswitch: port 3: ")
    assert "'nosuchport'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_address_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("--grpc-server-addr", address)
    assert ended.returncode == 1
    assert f"softswitch: cannot listen on {address}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    with SoftswitchProcess() as switch:
        host, _, port = switch.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        switch._process.send_signal(number)
        assert switch._process.wait(PATIENCE) == 0
    assert "Traceback" not in switch.log


async def test_stops_cleanly_with_a_client_connected() -> None:
    with SoftswitchProcess() as switch:
        async with Client(switch.address) as client:
            await client.lead(program=False)
            assert await asyncio.to_thread(switch.stop) == 0
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.hear()
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "Traceback" not in switch.log


async def test_starts_with_a_program() -> None:
    with SoftswitchProcess("--p4info", str(P4INFO_PATH), "--config", str(JSON_PATH), "--cpu-port", "255") as switch:
        async with Client(switch.address) as client:
            request = p4r.GetForwardingPipelineConfigRequest(device_id=DEVICE)
            assert (await client.stub.GetForwardingPipelineConfig(request)).config == config()


def test_program_that_does_not_load_ends_with_1(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    ended = run("--p4info", str(P4INFO_PATH), "--config", str(broken), "--grpc-server-addr", "127.0.0.1:0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("softswitch: ")
    assert "Traceback" not in ended.stderr


# TLS


def tls_arguments(pair: Pair) -> list[str]:
    return ["--grpc-server-ssl", "--grpc-server-cert", str(pair.certificate), "--grpc-server-key", str(pair.key)]


async def answers(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    async with Client(address, credentials) as client:
        call = client.stub.Capabilities(p4r.CapabilitiesRequest(), timeout=PATIENCE)
        code = await call.code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return code == grpc.StatusCode.OK


async def test_tls_serves_who_trusts_its_authority(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    with SoftswitchProcess(*tls_arguments(ours.sign("switch"))) as switch:
        trusting = grpc.ssl_channel_credentials(ours.certificate.read_bytes())
        distrusting = grpc.ssl_channel_credentials(theirs.certificate.read_bytes())
        assert await answers(switch.address, trusting)
        assert not await answers(switch.address, distrusting)
        assert not await answers(switch.address, None)


async def test_mutual_tls_serves_only_clients_with_a_certificate(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    client_auth = ["--grpc-server-cacert", str(ours.certificate), "--grpc-server-with-client-auth"]
    with SoftswitchProcess(*tls_arguments(ours.sign("switch")), *client_auth) as switch:
        root = ours.certificate.read_bytes()
        for authority, welcome in ((ours, True), (theirs, False)):
            pair = authority.sign(f"client of {authority.certificate.stem}")
            shown = grpc.ssl_channel_credentials(root, pair.key.read_bytes(), pair.certificate.read_bytes())
            assert await answers(switch.address, shown) == welcome
        assert not await answers(switch.address, grpc.ssl_channel_credentials(root))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_tls_files_that_are_missing_or_broken_end_with_1(tmp_path: Path, content: str | None) -> None:
    pair = Pair(tmp_path / "a.pem", tmp_path / "a.key")
    if content is not None:
        pair.certificate.write_text(content)
        pair.key.write_text(content)
    ended = run(*tls_arguments(pair), "--grpc-server-addr", "127.0.0.1:0")
    assert ended.returncode == 1
    assert "a.pem" in ended.stderr
    assert ended.stderr.startswith("softswitch: ")
    assert "Traceback" not in ended.stderr
