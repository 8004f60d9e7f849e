"""The P4Runtime service over real gRPC on loopback, with ports in memory and a switch without an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest
from finsy.proto import p4r
from sw_fallback.tests.entities_program import DELETE, DIGEST, INSERT, MAC, config, entity, mac_entry, update
from sw_fallback.tests.fake_switch import CPU_PORT, FakeSwitch
from sw_fallback.tests.p4runtime_client import DEVICE, PATIENCE, Client, SetRequest, errors_of, until

from softswitch.daemon import Daemon, Options
from softswitch.ports import MemoryPort
from softswitch.server.status import Code
from softswitch.switch import Switch

pytestmark = pytest.mark.server

FRAME = bytes(6) + b"\x02\0\0\0\0\x07" + b"\x08\0payload"
StatusCode = grpc.StatusCode


@dataclass
class Running:
    """A switch that serves."""

    daemon: Daemon
    ports: list[MemoryPort]
    fake: FakeSwitch

    def client(self) -> Client:
        return Client(self.daemon.address)


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    fakes: list[FakeSwitch] = []

    def load(*_: object, **__: object) -> Switch:
        fakes.append(FakeSwitch())
        running.fake = fakes[-1]
        return fakes[-1].as_switch()

    monkeypatch.setattr(Switch, "load", load)
    ports = [MemoryPort(1, "one"), MemoryPort(2, "two")]
    daemon = Daemon(Options(device_id=DEVICE, address="127.0.0.1:0", ports=ports, cpu_port=CPU_PORT))
    running = Running(daemon, ports, FakeSwitch())
    await daemon.start()
    yield running
    await daemon.stop()


async def refused(awaitable: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await awaitable  # type: ignore[misc]
    return error.value


# sessions


async def test_arbitration_tells_everybody(running: Running) -> None:
    async with running.client() as one, running.client() as two:
        one.arbitrate(1 << 100)
        first = (await one.hear()).arbitration
        assert (first.status.code, first.device_id, first.election_id.high) == (Code.OK, DEVICE, 1 << 36)
        two.arbitrate(5)
        assert (await two.hear()).arbitration.status.code == Code.ALREADY_EXISTS
        two.arbitrate((1 << 100) + 1)
        assert (await one.hear()).arbitration.status.code == Code.ALREADY_EXISTS
        assert (await two.hear()).arbitration.status.code == Code.OK
        await two.hang_up()
        gone = (await one.hear()).arbitration
        assert (gone.status.code, gone.election_id.low) == (Code.NOT_FOUND, 1)
        assert (await refused(one.write())).code() == StatusCode.PERMISSION_DENIED


async def test_second_client_with_the_same_election_id_is_turned_away(running: Running) -> None:
    async with running.client() as one, running.client() as two:
        await one.lead(program=False)
        two.arbitrate(1)
        error = await refused(two.hear())
        assert error.code() == StatusCode.INVALID_ARGUMENT
        assert "already used" in (await two.stream.details())
        await one.lead()


async def test_wrong_device_ends_the_stream(running: Running) -> None:
    async with running.client() as one:
        one.arbitrate(1, device_id=9)
        assert (await refused(one.hear())).code() == StatusCode.NOT_FOUND


async def test_named_role_is_its_own_election(running: Running) -> None:
    async with running.client() as one, running.client() as two:
        await one.lead()
        two.arbitrate(1, role="watcher")
        update_ = (await two.hear()).arbitration
        assert (update_.status.code, update_.role.name) == (Code.OK, "watcher")
        await two.write(update(INSERT, mac_entry(1)))
        two.role = "nobody"
        assert (await refused(two.write())).code() == StatusCode.NOT_FOUND


async def test_a_switch_that_goes_down_tells_its_clients(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        await running.daemon.stop()
        assert (await refused(one.hear())).code() == StatusCode.UNAVAILABLE


# requests that are refused as a whole


async def test_nothing_works_without_a_pipeline(running: Running) -> None:
    async with running.client() as one:
        await one.lead(program=False)
        error = await refused(one.write(update(INSERT, mac_entry(1))))
        assert error.code() == StatusCode.FAILED_PRECONDITION
        assert (
            await refused(one.read(entity("table_entry { table_id: $MAC }")))
        ).code() == StatusCode.FAILED_PRECONDITION
        answer = await one.stub.GetForwardingPipelineConfig(p4r.GetForwardingPipelineConfigRequest(device_id=DEVICE))
        assert not answer.HasField("config")


async def test_only_the_primary_changes_things(running: Running) -> None:
    async with running.client() as one, running.client() as two:
        await one.lead(2)
        two.arbitrate(1)
        await two.hear()
        assert (await refused(two.write(update(INSERT, mac_entry(1))))).code() == StatusCode.PERMISSION_DENIED
        error = await refused(two.set_config(SetRequest.VERIFY_AND_COMMIT, config()))
        assert error.code() == StatusCode.PERMISSION_DENIED
        await one.write(update(INSERT, mac_entry(1)))
        assert len(await two.read(entity("table_entry { table_id: $MAC }"))) == 1


async def test_other_devices_are_not_found(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        stub = one.stub
        calls = [
            stub.Write(p4r.WriteRequest(device_id=2, election_id=one.uint128())),
            one.read(entity("table_entry { table_id: $MAC }"), device_id=2),
            one.set_config(SetRequest.VERIFY, config(), device_id=2),
            stub.GetForwardingPipelineConfig(p4r.GetForwardingPipelineConfigRequest(device_id=2)),
        ]
        for call in calls:
            assert (await refused(call)).code() == StatusCode.NOT_FOUND


async def test_capabilities(running: Running) -> None:
    async with running.client() as one:
        answer = await one.stub.Capabilities(p4r.CapabilitiesRequest())
        assert answer.p4runtime_api_version == "1.4.1"


# writes and reads


async def test_every_update_of_a_batch_has_its_own_error(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        error = await refused(
            one.write(
                update(INSERT, mac_entry(1)), update(INSERT, mac_entry(1)), update(DELETE, mac_entry(2)), p4r.Update()
            )
        )
        assert error.code() == StatusCode.UNKNOWN
        codes = [Code.OK, Code.ALREADY_EXISTS, Code.NOT_FOUND, Code.INVALID_ARGUMENT]
        assert [one.canonical_code for one in errors_of(error)] == codes
        assert all(bool(one.message) == bool(one.canonical_code) for one in errors_of(error))


async def test_a_batch_of_500_errors_reaches_a_client_with_finsy_s_limit(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        error = await refused(one.write(*[update(DELETE, mac_entry(number)) for number in range(500)]))
        assert [one.canonical_code for one in errors_of(error)] == [Code.NOT_FOUND] * 500


async def test_rollback_over_the_wire(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        updates = [update(INSERT, mac_entry(1)), update(DELETE, mac_entry(2))]
        error = await refused(one.write(*updates, atomicity=p4r.WriteRequest.ROLLBACK_ON_ERROR))
        assert [one.canonical_code for one in errors_of(error)] == [Code.ABORTED, Code.NOT_FOUND]
        assert await one.read(entity("table_entry { table_id: $MAC }")) == []
        assert (await refused(one.write(*updates, atomicity=9))).code() == StatusCode.INVALID_ARGUMENT


async def test_large_reads_come_in_pieces_and_whole(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        await one.write(*[update(INSERT, mac_entry(number)) for number in range(1000)])
        request = p4r.ReadRequest(device_id=DEVICE, entities=[entity("table_entry { table_id: $MAC }")])
        pieces = [len(response.entities) async for response in one.stub.Read(request)]
        assert sum(pieces) == 1000
        assert max(pieces) <= 256


async def test_bad_reads_report_each_and_answer_the_good_ones(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        await one.write(update(INSERT, mac_entry(1)))
        request = p4r.ReadRequest(device_id=DEVICE)
        request.entities.extend(
            [entity("table_entry { table_id: 5 }"), entity("table_entry { table_id: $MAC }"), p4r.Entity()]
        )
        call = one.stub.Read(request)
        assert list((await call.read()).entities) == [mac_entry(1)]
        error = await refused(call.read())
        codes = [Code.INVALID_ARGUMENT, Code.OK, Code.INVALID_ARGUMENT]
        assert [one.canonical_code for one in errors_of(error)] == codes


async def test_pipeline_actions_over_the_wire(running: Running) -> None:
    async with running.client() as one:
        await one.lead(program=False)
        assert (await refused(one.set_config(SetRequest.COMMIT, None))).code() == StatusCode.NOT_FOUND
        assert (await refused(one.set_config(SetRequest.VERIFY, None))).code() == StatusCode.INVALID_ARGUMENT
        await one.set_config(SetRequest.VERIFY_AND_SAVE, config(cookie=77))
        await one.write(update(INSERT, mac_entry(1)))
        await one.set_config(SetRequest.COMMIT, None)
        assert len(await one.read(entity("table_entry { table_id: $MAC }"))) == 1
        await one.set_config(SetRequest.RECONCILE_AND_COMMIT, config(cookie=78))
        assert len(await one.read(entity("table_entry { table_id: $MAC }"))) == 1
        answer = await one.stub.GetForwardingPipelineConfig(p4r.GetForwardingPipelineConfigRequest(device_id=DEVICE))
        assert answer.config == config(cookie=78)


# packets


async def test_packet_in_goes_to_the_primary_with_its_metadata(running: Running) -> None:
    async with running.client() as one, running.client() as two:
        await one.lead(2)
        two.arbitrate(1)
        await two.hear()
        running.ports[1].inject(FRAME)
        packet = (await one.hear()).packet
        assert packet.payload == FRAME
        assert [(one.metadata_id, one.value) for one in packet.metadata] == [(1, b"\x02"), (2, b"\x05"), (3, b"\x00")]
        two.arbitrate(3)
        assert (await two.hear()).HasField("arbitration")
        running.ports[0].inject(FRAME)
        assert (await two.hear()).packet.metadata[0].value == b"\x01"


def packet_out(port: bytes, padding: bytes = b"\0") -> p4r.StreamMessageRequest:
    request = p4r.StreamMessageRequest()
    request.packet.payload = FRAME
    request.packet.metadata.add(metadata_id=1, value=port)
    request.packet.metadata.add(metadata_id=2, value=padding)
    return request


async def sent(port: MemoryPort) -> bytes:
    await until(lambda: port.sent)
    return port.sent.popleft()


async def test_packet_out_leaves_by_its_port(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        one.say(packet_out(b"\x02"))
        assert await sent(running.ports[1]) == FRAME
        assert not running.ports[0].sent


async def test_bad_packet_outs_are_answered_on_the_stream(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        bad = packet_out(b"\x02\x00")
        one.say(bad)
        error = (await one.hear()).error
        assert error.canonical_code == Code.INVALID_ARGUMENT
        assert error.packet_out.packet_out == bad.packet
        one.say(p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=b"x")))
        assert "missing" in (await one.hear()).error.message
        one.say(p4r.StreamMessageRequest())
        assert (await one.hear()).error.canonical_code == Code.UNIMPLEMENTED
        one.say(packet_out(b"\x01"))
        assert await sent(running.ports[0]) == FRAME


async def test_packet_outs_of_others_are_refused(running: Running) -> None:
    async with running.client() as one, running.client() as two, running.client() as three:
        await one.lead(2)
        two.arbitrate(1)
        await two.hear()
        for client in (two, three):
            client.say(packet_out(b"\x01"))
            assert (await client.hear()).error.canonical_code == Code.PERMISSION_DENIED
        assert not running.ports[0].sent


async def test_frames_before_a_pipeline_and_packet_ins_without_primary_are_counted(running: Running) -> None:
    running.ports[0].inject(FRAME)
    await until(lambda: running.daemon.device.stats.no_pipeline)
    async with running.client() as one:
        await one.lead()
    await until(lambda: not running.daemon.device.arbitration.primaries())
    running.ports[0].inject(FRAME)
    await until(lambda: running.daemon.device.stats.packet_ins_dropped)


# digests and idle entries


async def test_digests_are_delivered_and_acknowledged(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        await one.write(
            update(INSERT, entity("digest_entry { digest_id: $DIGEST config { ack_timeout_ns: 3600000000000 } }"))
        )
        running.ports[0].inject(FRAME)
        assert (await one.hear()).HasField("packet")
        digest = (await one.hear()).digest
        assert (digest.digest_id, digest.list_id) == (DIGEST, 1)
        assert digest.timestamp > 10**18
        (sample,) = digest.data
        assert [member.bitstring for member in sample.struct.members] == [b"\x02\0\0\0\0\x07", b"\x01"]
        running.ports[0].inject(FRAME)
        assert (await one.hear()).HasField("packet")
        one.say(p4r.StreamMessageRequest(digest_ack=p4r.DigestListAck(digest_id=DIGEST, list_id=1)))
        one.say(p4r.StreamMessageRequest(digest_ack=p4r.DigestListAck(digest_id=5)))
        assert (await one.hear()).error.digest_list_ack.digest_list_ack.digest_id == 5
        running.ports[0].inject(FRAME)
        assert (await one.hear()).HasField("packet")
        assert (await one.hear()).digest.list_id == 2


async def test_digests_wait_for_others_until_their_timeout(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        await one.write(
            update(INSERT, entity("digest_entry { digest_id: $DIGEST config { max_timeout_ns: 20000000 } }"))
        )
        for port in running.ports:
            port.inject(FRAME)
        got = [await one.hear() for _ in range(3)]
        assert [message.WhichOneof("update") for message in got] == ["packet", "packet", "digest"]
        assert len(got[2].digest.data) == 2


async def test_idle_entries_are_reported_with_key_and_timeout(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        written = mac_entry(1, extra="idle_timeout_ns: 5 metadata: 'mine'")
        await one.write(update(INSERT, written))
        running.fake.idle = [next(running.fake.entries(MAC)).key]
        notice = (await one.hear()).idle_timeout_notification
        assert list(notice.table_entry) == [written.table_entry]
        assert notice.timestamp > 10**18


async def test_writes_and_packets_do_not_starve_each_other(running: Running) -> None:
    async with running.client() as one:
        await one.lead()
        for _ in range(2000):
            running.ports[0].inject(FRAME)
        writes = [
            one.write(*[update(INSERT, mac_entry(batch * 200 + number)) for number in range(200)]) for batch in range(5)
        ]
        await asyncio.wait_for(asyncio.gather(*writes), PATIENCE)
        for _ in range(2000):
            assert (await one.hear()).HasField("packet")
        assert len(await one.read(entity("table_entry { table_id: $MAC }"))) == 1000
