"""New sessions per second, from the data plane's digest to the entry it installed: SYNs come in at a real switch's veth
port, the controller's own runner takes the digests, tracks the sessions and writes the entries. softswitch with each of
its engines, BMv2 beside it where it is. The SYNs are paced by what is installed and sent by the controller's process;
the switch is another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from finsy.proto import p4r
from ptf_tests.run import GRPC_ADDRESS, ROOT, inside_namespace, make_ports, missing, running_target, test_end

from bench.harness import AtLeast, Reference, Row, publish
from depot.address import Endpoint, parse_address, parse_mac
from depot.config import Config, parse
from depot.daemon.switch_runner import SwitchRunner
from depot.p4runtime.codec import Codec, parse_p4info
from depot.p4runtime.switch_shell import Pipeline
from depot.program import find_compiled_program
from depot.switching.frames import ETHER_TYPE_ARP, ethernet, ip_frame, ip_packet, transport_checksum
from depot.switching.switch_core import SwitchCore

COMMAND = "make bench NAME=new_sessions"
SESSIONS = 40_000
MOST_WAITING = {"bmv2": 2_000}
"""Sessions under way at once: SYNs sent whose entry is not installed. BMv2 loses digests of more."""
WAITING = 12_000
"""Of the others: the controller lets a session that the flow cache remembers wait 0.3 s for its entry."""
BURSTS = {"bmv2": 32, "softswitch": 24}
"""SYNs sent at once, each millisecond at the most: BMv2 loses longer bursts, the python engine takes no more."""
BURST = 64
"""Of the others."""
MOST_LOST = {"bmv2": 0.1}
"""Part of the sessions that may have no entry in the end: of BMv2's the digest was lost."""
LOST = 0.02
"""Of the others'."""
ENGINES = {"xdp": ("xdp", 20_000), "python": ("softswitch", 5_000)}
"""Name as a target of the packet tests, and the sessions per second that are wanted."""
STALL = 0.5
"""Seconds without a new entry after which what is under way counts as lost."""
PATIENCE = 20.0
CONFIG = """
[[switch]]
name = "edge"
address = "{address}"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16"]
[[switch.port]]
number = 2
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.1/16"]
[[vip]]
name = "web"
address = "10.1.255.1"
port = 80
handshake_timeout = "300s"
{members}
"""
MEMBERS = "".join(f'[[vip.member]]\nname = "m{n}"\naddress = "10.2.0.{n}"\n' for n in range(10, 14))
VIP = Endpoint(parse_address("10.1.255.1"), 80)
PORT_1, PORT_2 = parse_mac("02:00:00:00:01:01"), parse_mac("02:00:00:00:02:01")
OURS = parse_address("10.2.0.1")


def configuration(address: str) -> Config:
    """One VIP with four members."""
    return parse(CONFIG.format(address=address, members=MEMBERS))


def syn(number: int) -> bytes:
    """The first packet of a client's session: 40 clients, a thousand ports each."""
    client = Endpoint(parse_address("10.1.1.0") + number % 40, 1024 + number // 40)
    start = struct.pack("!HHIIBBH", client.port, VIP.port, number, 0, 5 << 4, 2, 65535)
    total = transport_checksum(client.address, VIP.address, 6, start + bytes(4))
    packet = ip_packet(client.address, VIP.address, 6, start + struct.pack("!HH", total, 0))
    return ip_frame(PORT_1, parse_mac("02:00:00:00:00:01"), packet)


def arp_reply(address: int) -> bytes:
    """A member tells its MAC."""
    mac = parse_mac("02:00:00:00:03:00") + address % 256
    sender = mac.to_bytes(6, "big") + (address & 0xFFFFFFFF).to_bytes(4, "big")
    target = PORT_2.to_bytes(6, "big") + (OURS & 0xFFFFFFFF).to_bytes(4, "big")
    return ethernet(PORT_2, mac, ETHER_TYPE_ARP, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + sender + target)


def test_port(port: int) -> socket.socket:
    """The test's end of a port."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((test_end(port), 0))
    return made


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 what is waited for happens in other processes
            await asyncio.sleep(0.001)


async def session_rate(address: str, burst: int, waiting: int, most_lost: float) -> float:
    """Sessions per second at the switch with this address, whose ports are there, `burst` SYNs at once."""
    config = configuration(address)
    pipeline = Pipeline(find_compiled_program())
    runner = SwitchRunner(config.switches[0], config.vips, pipeline, lambda *_: None, lambda _: None)
    members = config.vips[0].members
    runner.core.set_schedules({"web": [member.name for member in members]}, asyncio.get_running_loop().time())
    task = asyncio.create_task(runner.run())
    await until(lambda: runner.in_sync)
    with test_port(1) as clients, test_port(2) as servers:
        for member in members:
            servers.send(arp_reply(member.address))
        await until(lambda: runner.core.neighbours.count() == len(members) and runner.in_sync)
        rate = await paced_rate(runner, clients, [syn(number) for number in range(SESSIONS)], burst, waiting, most_lost)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return rate


async def paced_rate(
    runner: SwitchRunner, clients: socket.socket, packets: list[bytes], burst: int, waiting: int, most_lost: float
) -> float:
    """Send every SYN, no faster than entries are installed; installed sessions per second.

    What a switch loses is not waited for; exits if that is more than `most_lost` of all.
    """
    before, sent, lost, installed = runner.shell.updates_written, 0, 0, 0
    begun = progress = time.perf_counter()
    while sent < len(packets) or installed + lost < sent:
        now = time.perf_counter()
        if runner.shell.updates_written - before > installed:
            installed, progress = runner.shell.updates_written - before, now
        elif now - progress > STALL:
            lost, progress = sent - installed, now
        room = max(0, min(waiting - (sent - installed - lost), burst, len(packets) - sent))
        for packet in packets[sent : sent + room]:
            clients.send(packet)
        sent += room
        await asyncio.sleep(0.001)
    if min(installed, len(runner.core.tracker)) < len(packets) * (1 - most_lost):
        raise SystemExit(f"{len(packets)} SYNs: {installed} entries, {len(runner.core.tracker)} sessions")
    return installed / (progress - begun)


def rate_over_veth(target: str) -> float:
    """`session_rate` of a target started here. Run inside the namespace."""
    make_ports()
    program = find_compiled_program()
    with tempfile.TemporaryDirectory(prefix="depot-bench-") as scratch, running_target(target, program, Path(scratch)):
        limits = BURSTS.get(target, BURST), MOST_WAITING.get(target, WAITING), MOST_LOST.get(target, LOST)
        return asyncio.run(session_rate(GRPC_ADDRESS, *limits))


def rate_in_namespace(target: str) -> float | None:
    """`rate_over_veth` in a namespace of its own; None, with the reason printed, where it cannot run here."""
    reason = missing(target)
    if reason is not None:
        print(f"{target} not measured: {reason}")
        return None
    command = inside_namespace("bench.new_sessions", "--wire", target)
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{target}: {finished.stdout}{finished.stderr}")
    rate: float = json.loads(finished.stdout.splitlines()[-1])
    return rate


def controller_alone() -> float:
    """Sessions per second that the controller's core and codec do, without a switch."""
    codec = Codec(parse_p4info(find_compiled_program().p4info.read_text()))
    config = configuration("127.0.0.1:1")
    core = SwitchCore(config.switches[0], config.vips)
    core.set_schedules({"web": [member.name for member in config.vips[0].members]}, 0.0)
    core.connected([], 0.0)
    core.take_output(0.0)
    samples = [
        (VIP.address - 1 - number, VIP.address, 1024, 80, 6, 0, 2, 0, number % 4, 0) for number in range(SESSIONS)
    ]
    begun = time.perf_counter()
    for first in range(0, SESSIONS, 32):
        core.digest("new_flow_t", samples[first : first + 32], first / 1e6)
        request = p4r.WriteRequest()
        codec.encode_updates(core.take_output(first / 1e6).connections, request)
        request.SerializeToString()
    return SESSIONS / (time.perf_counter() - begun)


def main() -> None:
    """Measure and publish; with `--wire`, measure one target in this namespace and print its rate."""
    parser = argparse.ArgumentParser(description="New sessions per second through the controller")
    parser.add_argument("--wire", metavar="TARGET")
    given = parser.parse_args()
    if given.wire:
        print(json.dumps(rate_over_veth(given.wire)))
        return
    bmv2 = rate_in_namespace("bmv2")
    reference = None if bmv2 is None else Reference("BMv2", bmv2)
    rows = []
    for engine, (target, least) in ENGINES.items():
        rate = rate_in_namespace(target)
        if rate is not None:
            what = f"softswitch, {engine} engine, digest to installed entry"
            rows.append(Row(what, rate, "sessions/s", COMMAND, reference, AtLeast(least)))
    rows.append(Row("controller's core and codec alone", controller_alone(), "sessions/s", COMMAND))
    publish(__file__, "New sessions per second through the controller", rows)


if __name__ == "__main__":
    main()
