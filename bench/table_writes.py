"""Table writes per second over P4Runtime from one client: connections of the depot's program inserted in batches of
500 and one at a time, read back and deleted; softswitch with each of its engines, and BMv2 beside it where it is
present.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
from finsy.proto import p4r, p4r_grpc
from google.protobuf import text_format

from bench.harness import AtLeast, Reference, Row, publish
from depot.program import CompiledProgram, find_compiled_program
from softswitch.engine.xdp.availability import why_not

COMMAND = "make bench NAME=table_writes"
DEVICE = 1
ENTRIES = 20_000
BATCH = 500
SINGLE = 5_000
IN_FLIGHT = 32
PATIENCE = 20.0
TARGETS = {"python": 5_000, "xdp": 20_000}
"""Inserts per second, in batches."""
ELECTION = p4r.Uint128(low=1)
SERVICE = {"addr_hi": 0xFFFF_C000_0201, "port_lo": 40_000, "port_hi": 80, "protocol": 6}
"""What all sessions have in common."""


class Controller:
    """The one client."""

    def __init__(self, address: str, program: CompiledProgram) -> None:
        self._channel = grpc.aio.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)
        self._config = p4r.ForwardingPipelineConfig(p4_device_config=program.json.read_bytes())
        text_format.Parse(program.p4info.read_text(), self._config.p4info)

    async def start(self) -> None:
        """Become primary and set the program."""
        await asyncio.wait_for(self._channel.channel_ready(), PATIENCE)
        self._stream = self._stub.StreamChannel()
        update = p4r.MasterArbitrationUpdate(device_id=DEVICE, election_id=ELECTION)
        await self._stream.write(p4r.StreamMessageRequest(arbitration=update))
        await self._stream.read()
        request = p4r.SetForwardingPipelineConfigRequest(device_id=DEVICE, election_id=ELECTION, config=self._config)
        request.action = p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT
        await self._stub.SetForwardingPipelineConfig(request)

    async def stop(self) -> None:
        """Leave."""
        self._stream.cancel()
        await self._channel.close()

    def entry(self, number: int) -> p4r.Entity:
        """The connection of one client's session."""
        p4info = self._config.p4info
        table = next(one for one in p4info.tables if one.preamble.alias == "connection_table")
        action = next(one for one in p4info.actions if one.preamble.alias == "forward_to_member")
        entity = p4r.Entity()
        message = entity.table_entry
        message.table_id = table.preamble.id
        values = SERVICE | {"addr_lo": 0xFFFF_0A00_0000 + number}
        for field in table.match_fields:
            message.match.add(field_id=field.id).exact.value = _bytes(values[field.name])
        message.action.action.action_id = action.preamble.id
        for param in action.params:
            message.action.action.params.add(param_id=param.id, value=b"\x01")
        message.idle_timeout_ns = 300_000_000_000
        return entity

    async def write(self, kind: p4r.Update.Type.ValueType, entities: Sequence[p4r.Entity]) -> None:
        """One Write request."""
        updates = [p4r.Update(type=kind, entity=entity) for entity in entities]
        await self._stub.Write(p4r.WriteRequest(device_id=DEVICE, election_id=ELECTION, updates=updates))

    async def read_all(self) -> int:
        """How many entries all tables hold."""
        request = p4r.ReadRequest(device_id=DEVICE, entities=[p4r.Entity(table_entry=p4r.TableEntry())])
        return sum([len(response.entities) async for response in self._stub.Read(request)])


def _bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


async def measured(address: str, program: CompiledProgram) -> dict[str, float]:
    """Operations per second, each kind on fresh entries."""
    controller = Controller(address, program)
    await controller.start()
    entries = [controller.entry(number) for number in range(ENTRIES)]
    batches = [entries[first : first + BATCH] for first in range(0, ENTRIES, BATCH)]

    async def each_batch(kind: p4r.Update.Type.ValueType) -> None:
        for batch in batches:
            await controller.write(kind, batch)

    async def one_by_one(kind: p4r.Update.Type.ValueType) -> None:
        for entry in entries[:SINGLE]:
            await controller.write(kind, [entry])

    async def several_at_once(kind: p4r.Update.Type.ValueType) -> None:
        async def lane(first: int) -> None:
            for entry in entries[first:SINGLE:IN_FLIGHT]:
                await controller.write(kind, [entry])

        await asyncio.gather(*map(lane, range(IN_FLIGHT)))

    rates = {}
    rates["inserts, batches of 500"] = await rate(ENTRIES, lambda: each_batch(p4r.Update.INSERT))
    rates["modifies, batches of 500"] = await rate(ENTRIES, lambda: each_batch(p4r.Update.MODIFY))
    rates["entries read"] = await rate(ENTRIES, controller.read_all)
    rates["deletes, batches of 500"] = await rate(ENTRIES, lambda: each_batch(p4r.Update.DELETE))
    rates["inserts, one at a time"] = await rate(SINGLE, lambda: one_by_one(p4r.Update.INSERT))
    rates["deletes, one at a time"] = await rate(SINGLE, lambda: one_by_one(p4r.Update.DELETE))
    rates[f"single inserts, {IN_FLIGHT} in flight"] = await rate(SINGLE, lambda: several_at_once(p4r.Update.INSERT))
    await controller.stop()
    return rates


async def rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """Things per second."""
    begun = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begun)


@contextmanager
def softswitch(engine: str) -> Iterator[tuple[str, int]]:
    """A running softswitch without ports; its address and process id."""
    command = [sys.executable, "-m", "softswitch", "--engine", engine, "--grpc-server-addr", "127.0.0.1:0"]
    command += ["--cpu-port", "255", "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise SystemExit("softswitch has no output")
        yield process.stdout.readline().split()[-1], process.pid
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def bmv2() -> Iterator[str]:
    """A running simple_switch_grpc without ports; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="depot-bench-") as scratch:
        command = ["simple_switch_grpc", "--no-p4", "--device-id", str(DEVICE), "--notifications-addr"]
        command += [f"ipc://{Path(scratch, 'notifications')}", "--", "--grpc-server-addr", address, "--cpu-port", "255"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield address
        finally:
            process.terminate()
            process.wait()


def engines() -> list[str]:
    """Those that run here; why another does not is printed."""
    reason = why_not()
    if reason is not None:
        print(f"the XDP engine not measured: {reason}")
    return ["python"] if reason is not None else ["xdp", "python"]


def main() -> None:
    program = find_compiled_program()
    ours: dict[str, dict[str, float]] = {}
    for engine in engines():
        with softswitch(engine) as (address, _):
            ours[engine] = asyncio.run(measured(address, program))
    theirs: dict[str, float] = {}
    if shutil.which("simple_switch_grpc") is None:
        print("BMv2 not measured: simple_switch_grpc is not on the PATH")
    else:
        with bmv2() as address:
            theirs = asyncio.run(measured(address, program))
    rows = []
    for engine, rates in ours.items():
        for what, value in rates.items():
            reference = Reference("BMv2", theirs[what]) if what in theirs else None
            target = AtLeast(TARGETS[engine]) if what == "inserts, batches of 500" else None
            rows.append(Row(f"softswitch, {engine} engine, {what}", value, "entries/s", COMMAND, reference, target))
    publish(__file__, "P4Runtime table writes from one client", rows)


if __name__ == "__main__":
    main()
