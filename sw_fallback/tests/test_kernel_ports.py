"""Interfaces that come, go and refuse while the kernel switches, and what is told of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.softswitch_process import PATIENCE, SoftswitchProcess, command, environment
from sw_fallback.tests.xdp_kernel_programs import attached_program, counting

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import Attachment
from softswitch.kernel_ports import KernelPorts
from softswitch.ports import PacketSocketPort, PortError
from softswitch.switch import Switch

REASON = why_not() if os.geteuid() == 0 else "needs root"
pytestmark = [
    pytest.mark.netns,
    pytest.mark.server,
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]

PROGRAM = CompiledProgram("timestamps")
"""Every frame leaves at port 9."""
FRAME = bytes.fromhex("0200000000090200000000070800") + bytes(46)
LARGE_MTU = "9000"


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        for number in (1, 9):
            made.veth(f"port{number}", f"host{number}")
        yield made


@pytest.fixture
def kernel() -> Iterator[XdpEngine]:
    switch = Switch.load(PROGRAM.p4info_path, PROGRAM.json_path, cpu_port=500, kernel=XdpEngine)
    assert isinstance(switch.kernel, XdpEngine)
    yield switch.kernel
    switch.close()


@pytest.fixture
def ports() -> Iterator[KernelPorts]:
    made = KernelPorts([PacketSocketPort(1, "port1"), PacketSocketPort(9, "port9")])
    yield made
    made.close()


def is_attached(name: str) -> bool:
    return attached_program(socket.if_nametoindex(name)) != 0


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline


def send(interface: str, *frames: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for frame in frames:
            sender.send(frame)


def running(*more: str) -> SoftswitchProcess:
    program = ("--p4info", str(PROGRAM.p4info_path), "--config", str(PROGRAM.json_path), "--cpu-port", "500")
    return SoftswitchProcess(*more, *program, "-i", "1@port1", "-i", "9@port9")


def ask(switch: SoftswitchProcess, *arguments: str) -> str:
    words = [*command(), *arguments, "--grpc-server-addr", switch.address]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=True)
    return ended.stdout


def stats(switch: SoftswitchProcess) -> Any:
    return json.loads(ask(switch, "stats", "--json", "--seconds", "0"))


def test_a_missing_interface_is_attached_when_it_comes(
    space: Namespace, kernel: XdpEngine, ports: KernelPorts, caplog: pytest.LogCaptureFixture
) -> None:
    space.ip("link", "del", "port9")
    ports.activate(kernel)
    for _ in range(3):
        ports.look_after()
    assert is_attached("port1")
    assert warnings(caplog) == ["port 9: there is no interface port9; it is used when it comes"]
    space.veth("port9", "host9")
    ports.look_after()
    assert is_attached("port9")
    assert len(warnings(caplog)) == 1


def test_an_interface_that_refuses_is_said_once_until_it_changes(
    space: Namespace, kernel: XdpEngine, ports: KernelPorts, caplog: pytest.LogCaptureFixture
) -> None:
    ports.activate(kernel)
    for _ in range(2):
        space.ip("link", "del", "port9")
        ports.look_after()
        space.veth("port9", "host9")
        space.ip("link", "set", "host9", "mtu", LARGE_MTU)
        caplog.clear()
        for _ in range(3):
            ports.look_after()
        (said,) = warnings(caplog)
        assert re.search(r"port9 is not attached: .* must be at most \d+ bytes$", said)
    space.ip("link", "set", "host9", "mtu", "1500")
    ports.look_after()
    assert is_attached("port9")


def test_what_the_kernel_refuses_at_activation(space: Namespace, kernel: XdpEngine, ports: KernelPorts) -> None:
    with counting() as other, Attachment.attach(other.programs["count"], socket.if_nametoindex("port9")):
        with pytest.raises(PortError, match=r"'port9' \(port 9\).*another one is attached already"):
            ports.activate(kernel)
        assert not is_attached("port1")


def test_each_veth_has_its_advice_once(
    space: Namespace, kernel: XdpEngine, ports: KernelPorts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ports.activate(kernel)
    ports.activate(None)
    ports.activate(kernel)
    said = [record.getMessage() for record in caplog.records if "ethtool -K PEER tx off txvlan off" in record.message]
    assert [text.split()[1] for text in said] == ["1@port1", "9@port9"]


def test_lost_frames_are_told(space: Namespace) -> None:
    """A veth without GRO at its peer takes no redirected frames."""
    send("host1", FRAME, FRAME)  # before the switch has the interfaces: not its own
    subprocess.run(["ethtool", "-K", "host9", "gro", "off"], check=True, capture_output=True)
    with running("--engine", "xdp") as switch:
        send("host1", *[FRAME] * 5)
        eventually(lambda: bool(stats(switch)["drops"]["undelivered"] == 5))
        told = stats(switch)
        assert [(port["received"], port["undelivered"]) for port in told["ports"]] == [(5, 0), (0, 5)]
        text = ask(switch, "stats", "--seconds", "0")
    assert "nothing dropped" not in text
    assert re.search(r"^ +9  port9 .* 5$", text, re.MULTILINE)
    assert "port 1@port1: received 5\n" in switch.log
    assert "port 9@port9: undelivered 5\n" in switch.log
    assert "the program: packets_in 5, packets_out 5" in switch.log


def test_a_switch_that_fell_back_tells_of_the_python_engine(space: Namespace) -> None:
    with (
        counting() as other,
        Attachment.attach(other.programs["count"], socket.if_nametoindex("port9")),
        running("--engine", "auto") as switch,
    ):
        told = stats(switch)
        assert told["engine"]["name"] == "python"
        assert "another one is attached already" in told["engine"]["reason"]
        assert 'SEC("xdp")' not in ask(switch, "dump-c")
        send("host1", *[FRAME] * 3)
        eventually(lambda: bool(stats(switch)["packets"]["packets_in"] == 3))
    assert "the python engine switches packets" in switch.log
