"""The whole switch, engine included, over real gRPC with ports in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from finsy.proto import p4r
from sw_fallback.tests.entities_program import INSERT, MODIFY, config, entity, mac_entry, update
from sw_fallback.tests.fake_switch import CPU_PORT
from sw_fallback.tests.p4runtime_client import DEVICE, Client, SetRequest, until

from softswitch.daemon import Daemon, Options
from softswitch.ports import MemoryPort

pytestmark = pytest.mark.server

DEPOT_JSON = Path(__file__).parents[2] / "p4src" / "build" / "depot.json"
DST, SRC = 0x0200_0000_0009, 0x0200_0000_0007


@dataclass
class Running:
    """A switch and its primary."""

    daemon: Daemon
    ports: list[MemoryPort]
    client: Client


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    ports = [MemoryPort(number, f"port {number}") for number in range(4)]
    daemon = Daemon(Options(device_id=DEVICE, address="127.0.0.1:0", ports=ports, cpu_port=CPU_PORT))
    await daemon.start()
    async with Client(daemon.address) as client:
        await client.lead()
        yield Running(daemon, ports, client)
    await daemon.stop()


def frame(dst: int = DST, src: int = SRC, ether_type: int = 0x0800) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + ether_type.to_bytes(2, "big") + b"payload"


async def test_an_entry_forwards_and_counts(running: Running) -> None:
    await running.client.write(update(INSERT, mac_entry(DST, port=2)))
    for _ in range(3):
        running.ports[1].inject(frame())
    await until(lambda: len(running.ports[2].sent) == 3)
    assert set(running.ports[2].sent) == {frame()}
    (read,) = await running.client.read(entity("table_entry { table_id: $MAC counter_data { } }"))
    data = read.table_entry.counter_data
    assert (data.packet_count, data.byte_count) == (3, 3 * len(frame()))
    cells = await running.client.read(entity("counter_entry { counter_id: $PORT_COUNTER }"))
    assert [cell.counter_entry.data.packet_count for cell in cells] == [0, 3, 0, 0, 0, 0, 0, 0]
    (seen,) = await running.client.read(entity("register_entry { register_id: $SEEN index { index: 1 } }"))
    assert seen.register_entry.data.bitstring == b"\x08\0"


async def test_a_miss_goes_to_the_controller_and_a_packet_out_to_its_port(running: Running) -> None:
    running.ports[3].inject(frame())
    packet = (await running.client.hear()).packet
    assert packet.payload == frame()
    assert [one.value for one in packet.metadata] == [b"\x03", b"\x01", b"\x00"]
    request = p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=b"x" * 60))
    request.packet.metadata.add(metadata_id=1, value=b"\x02")
    request.packet.metadata.add(metadata_id=2, value=b"\x00")
    running.client.say(request)
    await until(lambda: running.ports[2].sent)
    assert running.ports[2].sent.popleft() == b"x" * 60


async def test_multicast_reaches_every_port_of_the_group(running: Running) -> None:
    flood = entity(
        "table_entry { table_id: $MAC action { action { action_id: $FLOOD params { param_id: 1 value: '5' } } } }"
    )
    flood.table_entry.match.add(field_id=1).exact.value = DST.to_bytes(6, "big").lstrip(b"\0")
    group = entity(
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 53 "
        "replicas { port: '\\001' instance: 1 } replicas { port: '\\002' instance: 2 } } }"
    )
    await running.client.write(update(INSERT, group), update(INSERT, flood))
    running.ports[3].inject(frame())
    await until(lambda: running.ports[1].sent and running.ports[2].sent)
    assert running.ports[1].sent[0] == running.ports[2].sent[0] == frame()


async def test_digests_carry_what_the_program_packed(running: Running) -> None:
    await running.client.write(
        update(INSERT, entity("digest_entry { digest_id: $DIGEST config { max_list_size: 1 } }"))
    )
    running.ports[3].inject(frame())
    messages = [await running.client.hear(), await running.client.hear()]
    (digest,) = [message.digest for message in messages if message.HasField("digest")]
    members = digest.data[0].struct.members
    assert [int.from_bytes(one.bitstring, "big") for one in members] == [SRC, 3]


async def test_an_idle_entry_is_reported_until_it_is_hit(running: Running) -> None:
    written = mac_entry(DST, port=2, extra="idle_timeout_ns: 1000000")
    await running.client.write(update(INSERT, written))
    for _ in range(2):
        notice = (await running.client.hear()).idle_timeout_notification
        assert list(notice.table_entry) == [written.table_entry]
    await running.client.write(update(MODIFY, mac_entry(DST, port=2)))
    (read,) = await running.client.read(entity("table_entry { table_id: $MAC time_since_last_hit { } }"))
    assert read.table_entry.time_since_last_hit.elapsed_ns >= 0


async def test_p4info_and_json_of_different_programs_are_refused(running: Running) -> None:
    wrong = config()
    wrong.p4_device_config = DEPOT_JSON.read_bytes()
    for action in (SetRequest.VERIFY, SetRequest.VERIFY_AND_COMMIT, SetRequest.RECONCILE_AND_COMMIT):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await running.client.set_config(action, wrong)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    await running.client.write(update(INSERT, mac_entry(DST, port=2)))


@pytest.mark.parametrize("broken", [b"{", b"[]", b"{}", b"\xff\xfe", b'{"parsers": 5}', b"null"])
async def test_json_that_is_none_is_refused(running: Running, broken: bytes) -> None:
    wrong = config()
    wrong.p4_device_config = broken
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await running.client.set_config(SetRequest.VERIFY, wrong)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details()


async def test_reconcile_keeps_entries_over_another_build(running: Running) -> None:
    await running.client.write(update(INSERT, mac_entry(DST, port=2, extra="counter_data { packet_count: 9 }")))
    rebuilt = config(cookie=4)
    rebuilt.p4_device_config += b"\n"
    await running.client.set_config(SetRequest.RECONCILE_AND_COMMIT, rebuilt)
    (read,) = await running.client.read(entity("table_entry { table_id: $MAC counter_data { } }"))
    assert read.table_entry.counter_data.packet_count == 9
    running.ports[1].inject(frame())
    await until(lambda: running.ports[2].sent)


async def test_random_frames_harm_nothing(running: Running) -> None:
    dice = random.Random(7)
    for _ in range(2000):
        running.ports[dice.randrange(4)].inject(dice.randbytes(dice.randrange(120)))
    await until(lambda: not any(port._waiting for port in running.ports))
    await running.client.write(update(INSERT, mac_entry(DST, port=2)))
    running.ports[2].sent.clear()
    running.ports[1].inject(frame())
    await until(lambda: frame() in running.ports[2].sent)


async def test_calls_are_answered_while_packets_keep_coming(running: Running) -> None:
    await running.client.write(update(INSERT, mac_entry(DST, port=2)))
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            for _ in range(200):
                running.ports[1].inject(frame())
            await asyncio.sleep(0)

    loading = asyncio.create_task(load())
    loop = asyncio.get_running_loop()
    slowest = 0.0
    for number in range(20):
        begun = loop.time()
        await running.client.write(update(INSERT, mac_entry(number)))
        slowest = max(slowest, loop.time() - begun)
    done.set()
    await loading
    assert running.ports[2].stats.sent > 100
    assert slowest < 1.0
