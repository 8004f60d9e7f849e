"""The XDP engine leaves nothing behind, however it ends, and two switches on one host do not meet."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.entities_program import INSERT, JSON_PATH, P4INFO_PATH, entity, mac_entry, update
from sw_fallback.tests.kernel_objects import KernelObject, alive, held_by, wait_until_gone
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.p4runtime_client import PATIENCE, Client
from sw_fallback.tests.softswitch_process import SoftswitchProcess
from sw_fallback.tests.xdp_kernel_programs import attached_program

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import Attachment, Object
from softswitch.entities import Exact, TableEntry, TableKey
from softswitch.switch import Switch

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loads programs into the kernel"),
]

LOADS = 1000 if "SOAK_SECONDS" in os.environ else 25
SETTLED = 10
"""Loads after which the process has what memory it needs."""
GROWTH = 8 << 20
"""Bytes that memory may grow beyond that; a leak of one small map in a thousand loads would be more."""
DST, SRC = 0x0200_0000_0009, 0x0200_0000_0007


@pytest.fixture(autouse=True)
def _able() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def frame(dst: int = DST, src: int = SRC) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + b"\x08\x00" + bytes(46)


def live_once(program: CompiledProgram, interface: int) -> set[KernelObject]:
    """Load, attach, write, switch, end; what it had in the kernel."""
    before = held_by(os.getpid())
    switch = Switch.load(program.p4info_path, program.json_path, cpu_port=255, kernel=XdpEngine)
    assert isinstance(switch.kernel, XdpEngine)
    table = program.info.table("mac_table").id
    for number in range(20):
        switch.insert(TableEntry(TableKey(table, (Exact(DST + number),)), program.call("count_and_forward", 2)))
    assert switch.process(1, frame())[0][0] == 2
    with Attachment.attach(switch.kernel.program, interface):
        had = held_by(os.getpid()) - before
    switch.close()
    return had


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_thousand_lives() -> None:
    """Twenty-five in `make test`."""
    program = CompiledProgram("p4runtime_entities")
    with namespace() as space:
        space.veth("one", "two")
        index = socket.if_nametoindex("one")
        settled, files = 0, set[str]()
        for number in range(LOADS):
            had = live_once(program, index)
            assert {each.kind for each in had} == {"map", "prog", "link"}
            assert len(had) > 20
            assert wait_until_gone(had) == set()
            if number == SETTLED:
                settled, files = resident(), set(os.listdir("/proc/self/fd"))
        assert set(os.listdir("/proc/self/fd")) == files
        assert resident() - settled < GROWTH
        assert attached_program(index) == 0


def test_what_is_refused_leaves_nothing() -> None:
    """A program that the engine does not run, and one that is no program."""
    before, files = held_by(os.getpid()), set(os.listdir("/proc/self/fd"))
    for name in ("stacks", "replicas"):
        program = CompiledProgram(name)
        with pytest.raises(Exception, match="not supported"):
            Switch.load(program.p4info_path, program.json_path, kernel=XdpEngine)
    assert held_by(os.getpid()) == before
    assert set(os.listdir("/proc/self/fd")) == files


PASS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int let_pass(struct xdp_md *context) { return XDP_PASS; }
char _license[] SEC("license") = "Dual BSD/GPL";
"""


class Cable:
    """The test's end of a port: a socket that takes what the switch redirects there."""

    def __init__(self, interface: str, program: int, held: ExitStack) -> None:
        held.enter_context(Attachment.attach(program, socket.if_nametoindex(interface)))
        self._socket = held.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        self._socket.bind((interface, 0))

    def send(self, packet: bytes) -> None:
        """To the switch."""
        self._socket.send(packet)

    def receive(self) -> bytes:
        """The next frame from the switch."""
        while True:
            assert select.select([self._socket], [], [], PATIENCE)[0], "no frame comes"
            packet, address = self._socket.recvfrom(4096)
            if address[2] != socket.PACKET_OUTGOING:
                return packet

    def silent(self) -> bool:
        """Whether nothing has come."""
        while select.select([self._socket], [], [], 0)[0]:
            if self._socket.recvfrom(4096)[1][2] != socket.PACKET_OUTGOING:
                return False
        return True


@contextmanager
def cables(space: Namespace, *names: str) -> Iterator[list[Cable]]:
    """A veth pair for each name, switch end NAME and test end NAME-t. This thread is in the namespace."""
    with ExitStack() as held:
        loaded = held.enter_context(Object.load(compile_object(PASS), name="pass"))
        for name in names:
            space.veth(name, f"{name}-t")
        yield [Cable(f"{name}-t", loaded.programs["let_pass"], held) for name in names]


def start(*interfaces: str, prefix: tuple[str, ...] = ()) -> SoftswitchProcess:
    """A softswitch of device 1 with the program and ports 1, 2, …"""
    ports = [word for number, name in enumerate(interfaces, 1) for word in ("-i", f"{number}@{name}")]
    program = ("--p4info", str(P4INFO_PATH), "--config", str(JSON_PATH), "--cpu-port", "255")
    return SoftswitchProcess("--engine", "xdp", "--device-id", "1", *program, *ports, prefix=prefix)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_process(number: signal.Signals) -> None:
    with namespace() as space, cables(space, "one", "two"):
        pins = list_pins()
        with start("one", "two") as switch:
            mine = held_by(os.getpid())
            held = held_by(switch.pid) - mine
            assert {each.kind for each in held} == {"map", "prog", "link"}
            assert all(attached_program(socket.if_nametoindex(name)) for name in ("one", "two"))
            os.kill(switch.pid, number)
            assert switch.stop() == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
        assert wait_until_gone(held) == set()
        assert not any(attached_program(socket.if_nametoindex(name)) for name in ("one", "two"))
        assert list_pins() == pins


def list_pins() -> set[str]:
    """Everything in the file system where pins are."""
    return {os.path.join(folder, name) for folder, _, names in os.walk("/sys/fs/bpf") for name in names}


async def forward(client: Client, port: int) -> None:
    """Let the client's switch send our frames out of a port."""
    await client.lead(program=False)
    await client.write(update(INSERT, mac_entry(DST, port=port)))


async def packets_counted(client: Client) -> int:
    """Packets that met the entries of mac_table."""
    entries = await client.read(entity("table_entry { table_id: $MAC counter_data { } }"))
    return sum(entry.table_entry.counter_data.packet_count for entry in entries)


@pytest.mark.timeout(60)
async def test_two_switches_in_one_namespace_do_not_meet() -> None:
    """The same program and device; each has ports of its own and forwards its own flows, also after the other died."""
    with ExitStack() as held:
        space = held.enter_context(namespace())
        a1, a2, b1, b2 = held.enter_context(cables(space, "a1", "a2", "b1", "b2"))
        first, second = (held.enter_context(start(*names)) for names in (("a1", "a2"), ("b1", "b2")))
        assert not held_by(first.pid) & held_by(second.pid)
        async with Client(first.address) as one, Client(second.address) as other:
            await forward(one, port=2)
            await forward(other, port=1)
            for packet in (frame(), frame(src=SRC + 1), frame(src=SRC + 2)):
                a1.send(packet)
                assert a2.receive() == packet
            b2.send(frame())
            assert b1.receive() == frame()
            assert await packets_counted(one) == 3
            assert await packets_counted(other) == 1
        assert all(cable.silent() for cable in (a1, b2))
        os.kill(first.pid, signal.SIGKILL)
        first.stop()
        b2.send(frame())
        assert b1.receive() == frame()
        assert all(cable.silent() for cable in (a1, a2, b2))


@pytest.mark.timeout(60)
async def test_two_switches_in_namespaces_with_equal_interface_numbers_do_not_meet() -> None:
    """Their interfaces have the same names and numbers."""
    with namespace() as near, cables(near, "one", "two") as (a1, a2):
        indices = [socket.if_nametoindex(name) for name in ("one", "two")]
        with start("one", "two") as first, namespace() as far, cables(far, "one", "two") as (b1, b2):
            assert [socket.if_nametoindex(name) for name in ("one", "two")] == indices
            with start("one", "two") as second:
                async with Client(second.address) as other:
                    await forward(other, port=1)
                b2.send(frame())
                assert b1.receive() == frame()
                assert all(cable.silent() for cable in (a1, a2, b2))
                held = held_by(second.pid)
            assert wait_until_gone(held) == set()
            assert alive(held_by(first.pid))
