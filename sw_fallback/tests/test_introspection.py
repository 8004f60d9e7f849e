"""The second service of a running switch, over real gRPC: counters, source, traces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.entities_program import CONST, config
from sw_fallback.tests.fake_switch import CPU_PORT
from sw_fallback.tests.inside import DST, OTHER, Inside, frame, inside
from sw_fallback.tests.p4runtime_client import DEVICE, Client, SetRequest, until

from softswitch.entities import Exact
from softswitch.server import introspection
from softswitch.server.introspection_requests import StatsRequest, TraceRequest, read_request
from softswitch.trace import Record
from softswitch.trace.document import from_document
from softswitch.trace.tracer import MAX_WATCHES

pytestmark = pytest.mark.server

PROGRAM = CompiledProgram("p4runtime_entities")
StatusCode = grpc.StatusCode


@pytest.fixture
async def running() -> AsyncIterator[Inside]:
    async with inside() as made:
        made.switch.insert(PROGRAM.entry("mac_table", (Exact(DST),), PROGRAM.call("count_and_forward", 2)))
        yield made


async def refused(awaitable: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await awaitable  # type: ignore[misc]
    return error.value


async def greeted(call: grpc.aio.UnaryStreamCall[bytes, bytes]) -> dict[str, object]:
    """The first message of a trace: from here on packets are told about."""
    message = await call.read()
    assert isinstance(message, bytes)
    greeting: dict[str, object] = json.loads(message)
    return greeting


async def records(call: grpc.aio.UnaryStreamCall[bytes, bytes], count: int) -> list[Record]:
    """The next records of a trace."""
    found: list[Record] = []
    while len(found) < count:
        message = await asyncio.wait_for(call.read(), 10)
        assert isinstance(message, bytes)
        found += map(from_document, json.loads(message)["records"])
    return found


# Stats


async def test_stats_tell_what_became_of_packets(running: Inside) -> None:
    for number, packet in ((1, frame()), (1, frame()), (2, frame(OTHER)), (3, frame(ether_type=0x88CC)), (3, b"x")):
        running.ports[number - 1].inject(packet)
    await until(lambda: running.switch.stats.packets_in == 5)
    stats = await running.ask("Stats", {})
    assert stats["engine"] == {"name": "python", "reason": None}
    assert stats["device_id"] == DEVICE
    assert stats["uptime_s"] >= 0
    assert stats["packets"] == {"packets_in": 5, "packets_out": 5, "parser_errors": 1, "digests_lost": 0}
    # for the controller, which is not there; the short one and the other address miss
    assert {name: count for name, count in stats["drops"].items() if count} == {"packet_ins_dropped": 2}
    tables = {table["name"]: (table["entries"], table["size"]) for table in stats["tables"]}
    assert tables["ingress.mac_table"] == (1, 65536)
    assert tables["ingress.const_table"] == (2, running.switch.p4info.tables[CONST].size)
    counted = {(cell["name"], cell["index"]): (cell["packets"], cell["octets"]) for cell in stats["counters"]}
    assert counted == {
        ("ingress.port_counter", 1): (2, 42),
        ("ingress.port_counter", 2): (1, 21),
        ("ingress.port_counter", 3): (2, 22),
    }
    assert not stats["counters_cut"]
    assert [
        (port["number"], port["name"], port["open"], port["received"], port["sent"]) for port in stats["ports"]
    ] == [
        (1, "memory1", True, 2, 0),
        (2, "memory2", True, 1, 3),
        (3, "memory3", True, 2, 0),
    ]
    assert stats["time_per_packet"] is None


async def test_packets_are_timed_while_somebody_asks(running: Inside) -> None:
    asked = asyncio.create_task(running.ask("Stats", {"seconds": 0.2}))
    await until(lambda: running.switch._engine._timing is not None)
    for _ in range(20):
        running.ports[0].inject(frame())
    timed = (await asked)["time_per_packet"]
    assert (timed["seconds"], timed["packets"]) == (0.2, 20)
    assert 100 < timed["ns_per_packet"] < 10_000_000
    assert running.switch._engine._timing is None
    silent = (await running.ask("Stats", {"seconds": 0.01}))["time_per_packet"]
    assert silent == {"seconds": 0.01, "packets": 0, "ns_per_packet": None}


async def test_a_switch_without_a_program() -> None:
    async with inside(program=False) as made:
        made.ports[0].inject(frame())
        await until(lambda: made.daemon.device.stats.no_pipeline)
        stats = await made.ask("Stats", {"seconds": 0.01})
        assert stats["program"] is None
        assert stats["drops"]["no_pipeline"] == 1
        for method in ("Source", "Trace"):
            call = made.ask(method, {}) if method == "Source" else greeted(made.trace({}))
            assert (await refused(call)).code() == StatusCode.FAILED_PRECONDITION


async def test_source_is_the_code_that_runs(running: Inside) -> None:
    assert await running.ask("Source", {}) == {"language": "python", "source": running.switch.source}
    assert "def ingress(" in running.switch.source


# Trace


async def test_a_trace_tells_of_the_packets_that_fit(running: Inside) -> None:
    call = running.trace({"filter": "ethernet.ether_type == 0x0800 && port != 3", "both": True})
    greeting = await greeted(call)
    assert greeting["cpu_port"] == CPU_PORT
    assert greeting["ports"] == [{"number": number, "name": f"memory{number}"} for number in (1, 2, 3)]
    for number, packet in ((1, frame()), (1, frame(ether_type=0x86DD)), (3, frame()), (2, frame(OTHER))):
        running.ports[number - 1].inject(packet)
    first, second = await records(call, 2)
    assert (first.port, first.frame, first.ends[0].port, first.ends[0].frame) == (1, frame(), 2, frame())
    assert (second.port, second.frame, second.ends[0].verdict.name) == (2, frame(OTHER), "CONTROLLER")
    assert running.traced
    call.cancel()
    await until(lambda: not running.traced)


async def test_a_trace_ends_after_its_count(running: Inside) -> None:
    call = running.trace({"count": 3, "snaplen": 4})
    await greeted(call)
    for _ in range(5):
        running.ports[0].inject(frame())
    told = await records(call, 3)
    assert [(record.frame, record.length, record.ends[0].frame) for record in told] == [(frame()[:4], 21, None)] * 3
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == StatusCode.OK
    await until(lambda: not running.traced)


async def test_two_traces_at_once(running: Inside) -> None:
    one, two = running.trace({"filter": "port == 1"}), running.trace({"filter": "port == 2"})
    await greeted(one)
    await greeted(two)
    for port in running.ports:
        port.inject(frame())
    assert [record.port for record in await records(one, 1)] == [1]
    assert [record.port for record in await records(two, 1)] == [2]
    one.cancel()
    running.ports[1].inject(frame())
    assert [record.port for record in await records(two, 1)] == [2]


async def test_a_wrong_filter_is_refused_with_its_place(running: Inside) -> None:
    error = await refused(greeted(running.trace({"filter": "ethernet.ethertype == 1"})))
    assert error.code() == StatusCode.INVALID_ARGUMENT
    assert "has no field 'ethertype'; there is ethernet.ether_type" in (error.details() or "")
    assert not running.traced


async def test_too_many_traces_are_refused(running: Inside) -> None:
    calls = [running.trace({"filter": f"port == {number}"}) for number in range(MAX_WATCHES)]
    for call in calls:
        await greeted(call)
    error = await refused(greeted(running.trace({})))
    assert error.code() == StatusCode.RESOURCE_EXHAUSTED


async def test_a_trace_ends_when_another_program_is_set(running: Inside) -> None:
    call = running.trace({})
    await greeted(call)
    async with Client(running.daemon.address) as client:
        await client.lead(program=False)
        other = config()
        other.p4_device_config += b" "
        await client.set_config(SetRequest.VERIFY_AND_COMMIT, other)
        error = await refused(call.read())
    assert error.code() == StatusCode.ABORTED
    assert "another program was set" in (error.details() or "")


async def test_what_a_slow_client_cannot_take_is_counted(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "_WAITING", 10)
    call = running.trace({})
    await greeted(call)
    for _ in range(40):  # one bunch: the loop sends nothing meanwhile
        running.ports[0].inject(frame())
    message = json.loads(await call.read())  # type: ignore[arg-type]
    assert (len(message["records"]), message["lost"]) == (10, 30)


WRONG_REQUESTS = {
    "no JSON": b"{",
    "no object": [1],
    "unknown member": {"filters": "tcp"},
    "filter no text": {"filter": 1},
    "count no number": {"count": True},
    "count below zero": {"count": -1},
    "snaplen too long": {"snaplen": 70000},
    "both no flag": {"both": 1},
    "nested deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("request_", WRONG_REQUESTS.values(), ids=WRONG_REQUESTS.keys())
async def test_wrong_requests_are_refused(running: Inside, request_: object) -> None:
    assert (await refused(greeted(running.trace(request_)))).code() == StatusCode.INVALID_ARGUMENT


async def test_seconds_are_limited(running: Inside) -> None:
    assert (await refused(running.ask("Stats", {"seconds": 11}))).code() == StatusCode.INVALID_ARGUMENT


def test_requests_have_defaults() -> None:
    assert read_request(TraceRequest, b"") == TraceRequest()
    assert read_request(StatsRequest, b'{"seconds": 2}') == StatsRequest(2)
