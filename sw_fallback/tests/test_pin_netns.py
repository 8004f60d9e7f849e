"""`softswitch --pin`: packets go on while the process ends, is killed, comes back, and brings another program."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from finsy.proto import p4r
from google.protobuf import text_format
from sw_fallback.tests.crossing import Crossing, within
from sw_fallback.tests.entities_program import INSERT, canonical, config, entity, mac_entry, update
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.p4runtime_client import Client, SetRequest
from sw_fallback.tests.pinned_life import bpffs
from sw_fallback.tests.softswitch_process import SoftswitchProcess, command, environment
from sw_fallback.tests.xdp_kernel_programs import attached_program

from softswitch.engine.xdp.availability import why_not

REASON = why_not()
pytestmark = [
    pytest.mark.netns,
    pytest.mark.server,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]

PATIENCE = 20.0
ETHER_TYPE = 0x1234
DST = 5
WHOLE_STATE = [
    entity("table_entry { counter_data {} meter_config {} }"),
    entity("action_profile_member {}"),
    entity("packet_replication_engine_entry { multicast_group_entry {} }"),
    entity("counter_entry {}"),
    entity("meter_entry {}"),
    entity("register_entry {}"),
    entity("digest_entry {}"),
]
ENTITIES = [
    mac_entry(DST, 2, "idle_timeout_ns: 1000000000000"),
    entity(
        "table_entry { table_id: $ROUTE match { field_id: 1 lpm { value: '\\200\\000\\000\\000\\000\\000' prefix_len: 1"
        " } } action { action { action_id: $DROP } } }"
    ),
    entity(
        "table_entry { table_id: $ACL priority: 10 match { field_id: 3 optional { value: '\\007' } } action { action {"
        " action_id: $DROP } } metadata: 'mine' }"
    ),
    entity("action_profile_member { action_profile_id: $UPLINKS member_id: 3 action { action_id: $DROP } }"),
    entity("packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 7 } }"),
    entity("digest_entry { digest_id: $DIGEST config { max_timeout_ns: 1000 max_list_size: 100 } }"),
]


@dataclass
class Lab:
    """`far1` - `near1`, port 1; port 2, `near2` - `far2`."""

    space: Namespace
    pins: Path
    crossing: Crossing
    switches: list[SoftswitchProcess] = field(default_factory=list)

    def arguments(self, *more: str) -> tuple[str, ...]:
        ports = ("-i", "1@near1", "-i", "2@near2", "--cpu-port", "255")
        return (*ports, "--engine", "xdp", "--pin", str(self.pins), *more)

    def start(self, *more: str) -> SoftswitchProcess:
        """A process that ends with the test at the latest."""
        return self.start_with(*self.arguments(*more))

    def start_with(self, *arguments: str) -> SoftswitchProcess:
        """The same with other arguments."""
        switch = SoftswitchProcess(*arguments, prefix=self.space.exec())
        self.switches.append(switch)
        switch.__enter__()
        self.crossing.target = switch.address
        return switch

    def client(self) -> Client:
        """Of the process that was started last."""
        return Client(self.crossing.address)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command."""
        return subprocess.run(
            [*self.space.exec(), *command(), *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )

    def wire(self, number: int) -> None:
        """Make a port's interface and its peer."""
        self.space.veth(f"near{number}", f"far{number}")
        switch_on = self.space.exec("ethtool", "-K", f"far{number}", "gro", "on")
        subprocess.run(switch_on, check=True, capture_output=True)

    def programs(self) -> list[bool]:
        """Whether the ports' interfaces have one."""
        names = ("near1", "near2")
        return within(self.space, lambda: [attached_program(socket.if_nametoindex(name)) != 0 for name in names])

    def socket(self, interface: str, protocol: int = 0) -> socket.socket:
        """A raw one."""
        made = within(self.space, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)))
        made.bind((interface, protocol))
        return made


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with bpffs(tmp_path) as folder, lab_at(folder / "switch") as made:
        yield made


@contextmanager
def lab_at(pins: Path) -> Iterator[Lab]:
    """A namespace with all that is in it; when it ends no process is left."""
    with namespace(enter=False) as space:
        made = Lab(space, pins, Crossing(space))
        made.wire(1)
        made.wire(2)
        try:
            yield made
        finally:
            for switch in made.switches:
                switch.stop()
            made.crossing.close()


class Stream:
    """Numbered packets from `far1`, one each millisecond, and those that arrive at `far2`."""

    def __init__(self, lab: Lab) -> None:
        self.sent = 0
        self.received: list[int] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        self._source, self._sink = lab.socket("far1"), lab.socket("far2", ETHER_TYPE)
        self._sink.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE: the test may be slow
        self._sink.settimeout(1.0)

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._sink.close()
        self._source.close()

    def go_on(self) -> None:
        """Wait for two hundred more packets to be sent, and for the last one to arrive."""
        goal, deadline = self.sent + 200, time.monotonic() + PATIENCE
        while self.sent < goal or not self.received or self.received[-1] < goal - 1:
            assert time.monotonic() < deadline, f"{len(self.received)} of {self.sent} packets arrived"
            time.sleep(0.001)

    @property
    def lost(self) -> int:
        """Once ended."""
        return self.sent - len(set(self.received))

    def _send(self) -> None:
        head = DST.to_bytes(6, "big") + bytes(6) + ETHER_TYPE.to_bytes(2, "big")
        while not self._ended.wait(0.001):
            self._source.send(head + struct.pack("!I", self.sent) + bytes(46))
            self.sent += 1

    def _receive(self) -> None:
        while True:
            try:
                self.received.append(struct.unpack_from("!I", self._sink.recv(2048), 14)[0])
            except TimeoutError:
                if self._ended.is_set():
                    return


async def set_up(lab: Lab) -> None:
    async with lab.client() as client:
        await client.lead()
        await client.write(*(update(INSERT, one) for one in ENTITIES))


async def read(lab: Lab) -> list[str]:
    """All that can be read."""
    async with lab.client() as client:
        return sorted(map(str, await client.read(*WHOLE_STATE)))


def end(switch: SoftswitchProcess, number: signal.Signals) -> None:
    os.kill(switch.pid, number)
    switch.stop()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
async def test_no_packet_is_lost_while_the_process_is_replaced(lab: Lab, number: signal.Signals) -> None:
    """Once in `make test`, again and again in `make soak`."""
    switch = lab.start()
    await set_up(lab)
    with Stream(lab) as stream:
        for _ in range(30 if "SOAK_SECONDS" in os.environ else 1):
            end(switch, number)
            stream.go_on()
            switch = lab.start()
            stream.go_on()
    switch.stop()
    assert stream.lost == 0


async def test_no_packet_is_lost_while_the_program_is_replaced(lab: Lab, tmp_path: Path) -> None:
    """Another size of a table: other maps, other code."""
    files = [_write_program(tmp_path, size) for size in (65536, 1000)]
    switch = lab.start("--p4info", str(files[0][0]), "--config", str(files[0][1]))
    async with lab.client() as client:
        await client.lead(program=False)
        await client.write(*(update(INSERT, one) for one in ENTITIES))
    with Stream(lab) as stream:
        for p4info, device in (files[1], files[0]):
            end(switch, signal.SIGTERM)
            stream.go_on()
            switch = lab.start("--p4info", str(p4info), "--config", str(device))
            stream.go_on()
    async with lab.client() as client:
        (counted,) = await client.read(entity("direct_counter_entry { table_entry { table_id: $MAC } }"))
    switch.stop()
    assert stream.lost == 0
    assert counted.direct_counter_entry.data.packet_count == stream.sent


def _write_program(folder: Path, size: int) -> tuple[Path, Path]:
    made = config()
    device = json.loads(made.p4_device_config)
    for table in device["pipelines"][0]["tables"]:
        if table["name"] == "ingress.mac_table":
            table["max_size"] = size
    for described in made.p4info.tables:
        if described.preamble.name == "ingress.mac_table":
            described.size = size
    paths = folder / f"{size}.p4info.txtpb", folder / f"{size}.json"
    paths[0].write_text(text_format.MessageToString(made.p4info))
    paths[1].write_text(json.dumps(device))
    return paths


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_clients_find_everything_as_it_was(lab: Lab, number: signal.Signals) -> None:
    switch = lab.start()
    await set_up(lab)
    with Stream(lab):
        pass
    before = await read(lab)
    end(switch, number)
    switch = lab.start()
    assert await read(lab) == before
    async with lab.client() as client:
        found = await client.stub.GetForwardingPipelineConfig(p4r.GetForwardingPipelineConfigRequest(device_id=1))
        assert found.config == config()
    switch.stop()


async def test_a_new_sessions_digest_comes_after_a_crash(lab: Lab) -> None:
    switch = lab.start()
    await set_up(lab)
    end(switch, signal.SIGKILL)
    switch = lab.start()
    async with lab.client() as client:
        await client.lead(program=False)
        with lab.socket("far1") as source:
            source.send(DST.to_bytes(6, "big") + bytes.fromhex("0a0b0c0d0e0f") + b"\x12\x34" + bytes(50))
        digest = (await client.hear()).digest
        (source, _) = digest.data[0].struct.members
        assert source.bitstring == bytes.fromhex("0a0b0c0d0e0f")
    switch.stop()


async def test_an_entry_that_packets_hit_meanwhile_is_not_idle(lab: Lab) -> None:
    switch = lab.start()
    await set_up(lab)
    end(switch, signal.SIGKILL)
    with Stream(lab) as stream:
        before = time.monotonic_ns()
        stream.go_on()
    switch = lab.start()
    async with lab.client() as client:
        (entry,) = await client.read(entity("table_entry { table_id: $MAC time_since_last_hit {} }"))
        last_hit = time.monotonic_ns() - entry.table_entry.time_since_last_hit.elapsed_ns
    switch.stop()
    assert last_hit > before


async def test_an_idle_entry_is_told_after_a_crash(lab: Lab) -> None:
    switch = lab.start()
    async with lab.client() as client:
        await client.lead()
        await client.write(update(INSERT, mac_entry(9, 2, "idle_timeout_ns: 1000000000")))
    end(switch, signal.SIGKILL)
    switch = lab.start()
    async with lab.client() as client:
        await client.lead(program=False)
        told = (await client.hear()).idle_timeout_notification
        assert told.table_entry[0].match[0].exact.value == canonical(9)
    switch.stop()


def test_without_it_nothing_stays(lab: Lab) -> None:
    arguments = lab.arguments()
    at = arguments.index("--pin")
    end(lab.start_with(*arguments[:at]), signal.SIGKILL)
    assert lab.programs() == [False, False]


async def test_a_second_process_is_refused(lab: Lab) -> None:
    switch = lab.start()
    done = lab.run("--grpc-server-addr", "127.0.0.1:0", *lab.arguments())
    assert done.returncode == 1
    assert "belongs to a softswitch that is running" in done.stderr
    assert "belongs to a softswitch that is running" in lab.run("unpin", str(lab.pins)).stderr
    switch.stop()


async def test_unpin_ends_it(lab: Lab) -> None:
    switch = lab.start()
    await set_up(lab)
    end(switch, signal.SIGKILL)
    assert lab.programs() == [True, True]
    done = lab.run("unpin", str(lab.pins))
    assert (done.returncode, done.stdout) == (0, "softswitch: near1, near2: no program any more\n")
    assert lab.programs() == [False, False]
    assert not lab.pins.exists()
    assert lab.run("unpin", str(lab.pins)).returncode == 1


async def test_a_start_that_fails_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    p4info, device = _write_program(tmp_path, 1000)
    program = ("--p4info", str(p4info), "--config", str(device))
    with within(lab.space, lambda: socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = lab.run("--grpc-server-addr", address, *lab.arguments(*program))
        assert done.returncode == 1
        assert lab.programs() == [False, False]
        # but one that goes on with what was left leaves that alone
        switch = lab.start(*program)
        end(switch, signal.SIGKILL)
        done = lab.run("--grpc-server-addr", address, *lab.arguments(*program))
        assert done.returncode == 1
        assert lab.programs() == [True, True]
    assert lab.run("unpin", str(lab.pins)).returncode == 0


async def test_interfaces_that_change_meanwhile(lab: Lab) -> None:
    switch = lab.start()
    await set_up(lab)
    end(switch, signal.SIGTERM)
    lab.space.ip("link", "del", "near2")
    lab.wire(2)
    switch = lab.start()
    with Stream(lab) as stream:
        pass
    assert stream.lost == 0
    end(switch, signal.SIGTERM)
    arguments = ("-i", "1@near1", "--cpu-port", "255", "--engine", "xdp", "--pin", str(lab.pins))
    lab.start_with(*arguments)
    assert lab.programs() == [True, False]


def test_the_python_engine_has_no_pins() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "softswitch", "--engine", "python", "--pin", "/sys/fs/bpf/switch"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert "--pin leaves packets to the kernel: it needs the XDP engine" in done.stderr


async def test_an_interface_of_another_namespace_is_left_alone(lab: Lab) -> None:
    """The same numbers and the same folder, but another namespace: the links there are of no use here."""
    switch = lab.start()
    await set_up(lab)
    end(switch, signal.SIGKILL)
    with lab_at(lab.pins) as here:
        switch = here.start()
        assert here.programs() == [True, True]
        with Stream(here) as stream:
            pass
        switch.stop()
        assert stream.lost == 0
    assert lab.programs() == [False, False]


async def test_a_program_for_the_python_engine_leaves_nothing(lab: Lab) -> None:
    arguments = [text if text != "xdp" else "auto" for text in lab.arguments()]
    switch = lab.start_with(*arguments)
    async with lab.client() as client:
        await client.lead()
        assert lab.programs() == [True, True]
        await client.set_config(SetRequest.VERIFY_AND_COMMIT, stacks())
        assert lab.programs() == [False, False]
        end(switch, signal.SIGKILL)
    assert list(lab.pins.iterdir()) == []


def stacks() -> p4r.ForwardingPipelineConfig:
    """A program that one pass of XDP does not run."""
    folder = Path(__file__).parent / "p4"
    made = p4r.ForwardingPipelineConfig(p4_device_config=(folder / "stacks.json").read_bytes())
    text_format.Parse((folder / "stacks.p4info.txtpb").read_text(), made.p4info)
    return made
