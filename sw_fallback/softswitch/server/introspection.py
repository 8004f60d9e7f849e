"""A second gRPC service beside P4Runtime: what the switch counted, the code it runs, and where packets go.

Service `softswitch.Introspection`; requests and answers are JSON objects in UTF-8. Whoever may connect may ask.

    Stats   {"seconds": 1.0}                                        one answer; seconds: how long packets are timed
    Source  {}                                                      {"language": "c" or "python", "source": …}
    Trace   {"filter": "tcp.dst_port == 80", "count": 10, "snaplen": 128, "both": false}, all of them optional
            first a greeting with names and ports, then {"records": […], "lost": n}, see `softswitch.trace.document`
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from softswitch.errors import EngineUnavailable, PipelineError
from softswitch.ports import Port
from softswitch.ports.interface import KernelCounts, interface_counters
from softswitch.program.expressions import BoolConstant
from softswitch.server.device import Device
from softswitch.server.introspection_requests import SERVICE, Request, StatsRequest, TraceRequest, read_request
from softswitch.server.pipeline import Pipeline
from softswitch.server.stats_document import counter_cells, device_part, ports_part, switch_part
from softswitch.switch import Switch
from softswitch.trace import FilterError, Record, Tracer, TracerBusy, Watch, parse_filter
from softswitch.trace.document import to_document

__all__ = ["Introspection", "Surroundings"]

_MAX_CELLS = 10_000
"""Counter cells in one answer."""
_WAITING = 4096
"""Records kept for a client that is slower than the packets it asked for."""
_AT_ONCE = 64
"""Records in one message."""
_LOOK_S = 0.5
"""How often a silent trace looks whether its program still runs."""

Q = TypeVar("Q", bound=Request)
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the service tells of beside the device."""

    ports: Sequence[Port]
    cpu_port: int | None
    unknown_port: Callable[[], int]
    """How many frames went to ports that do not exist."""
    kernel_counts: Callable[[], KernelCounts]
    """What the kernel did at the ports."""
    engine: Callable[[], str]
    """What switches packets: xdp or python."""
    why_python: Callable[[], str | None]
    """Why the XDP engine was wanted and does not run."""


class Introspection:
    """Serves one device."""

    def __init__(self, device: Device, surroundings: Surroundings) -> None:
        self._device = device
        self._surroundings = surroundings
        self._started = time.monotonic()
        self._measuring = asyncio.Lock()
        self._translating = asyncio.Lock()
        self._tracer: tuple[Switch, Tracer] | None = None

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server needs to serve it."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Stats": grpc.unary_unary_rpc_method_handler(self._stats),
            "Source": grpc.unary_unary_rpc_method_handler(self._source),
            "Trace": grpc.unary_stream_rpc_method_handler(self._trace),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    # Stats and source

    async def _stats(self, request: bytes, context: _Context) -> bytes:
        seconds = (await _read(StatsRequest, request, context)).seconds
        pipeline = self._device.pipelines.committed
        around = self._surroundings
        timed = None if pipeline is None or not seconds else await self._measure(pipeline.switch, seconds)
        engine, kernel = around.engine(), around.kernel_counts()
        answer: dict[str, Any] = {
            "uptime_s": round(time.monotonic() - self._started, 3),
            "engine": {"name": engine, "reason": around.why_python() if engine == "python" else None},
            "ports": ports_part(around.ports, interface_counters(), kernel),
            "program": None,
        }
        answer |= device_part(self._device, around.ports, around.unknown_port(), kernel)
        if pipeline is not None:
            part = switch_part(pipeline.switch)
            answer["drops"] = _sums(answer["drops"], part.pop("drops"))
            answer |= part
            answer["time_per_packet"] = timed
            answer["counters"], answer["counters_cut"] = await _counters(pipeline.switch)
        return _packed(answer)

    async def _measure(self, switch: Switch, seconds: float) -> dict[str, Any]:
        """Let packets be timed for a while."""
        try:
            async with self._measuring:
                timing = switch.measure(time.perf_counter_ns)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    switch.measure(None)
        except PipelineError as error:
            return {"seconds": seconds, "packets": None, "ns_per_packet": None, "reason": str(error)}
        per_packet = round(timing.ns / timing.packets, 1) if timing.packets else None
        return {"seconds": seconds, "packets": timing.packets, "ns_per_packet": per_packet}

    async def _source(self, request: bytes, context: _Context) -> bytes:
        switch = (await self._running(context)).switch
        language = "python" if switch.kernel is None else "c"
        return _packed({"language": language, "source": switch.source})

    # Trace

    async def _trace(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        asked = await _read(TraceRequest, request, context)
        pipeline = await self._running(context)
        queue = _Queue()
        watch = await _watch(asked, context, pipeline.switch, queue.put)
        tracer = await self._join(context, pipeline, watch)
        lost_before = tracer.lost()
        try:
            yield _packed(self._greeting(pipeline.switch))
            told = 0
            while not asked.count or told < asked.count:
                limit = min(asked.count - told, _AT_ONCE) if asked.count else _AT_ONCE
                records = await queue.take(limit, _LOOK_S)
                told += len(records)
                before, lost_before = lost_before, tracer.lost()
                lost = queue.take_lost() + lost_before - before
                if records or lost:
                    documents = [to_document(record, snaplen=asked.snaplen, both=asked.both) for record in records]
                    yield _packed({"records": documents, "lost": lost})
                elif self._device.pipelines.committed is not pipeline:
                    text = "another program was set: start the trace again"
                    await context.abort(grpc.StatusCode.ABORTED, text)
        finally:
            tracer.leave(watch)

    async def _join(self, context: _Context, pipeline: Pipeline, watch: Watch) -> Tracer:
        """Let the watch have records from now on."""
        async with self._translating:
            if self._tracer is None or self._tracer[0] is not pipeline.switch:
                self._tracer = pipeline.switch, pipeline.switch.tracer(time.time_ns)
            tracer = self._tracer[1]
            try:
                # packets are switched meanwhile
                prepared = await asyncio.to_thread(tracer.prepare, watch)
                tracer.join(watch, prepared)
            except TracerBusy as error:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            except EngineUnavailable as error:
                await context.abort(grpc.StatusCode.INTERNAL, str(error))
            except PipelineError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"filter: {error}")
        return tracer

    def _greeting(self, switch: Switch) -> dict[str, Any]:
        around = self._surroundings
        return {
            "program": switch.program.name,
            "engine": around.engine(),
            "tables": switch.program.tables(),
            "actions": sorted({action.name for action in switch.program.actions.values()}),
            "ports": [{"number": port.number, "name": port.name} for port in around.ports],
            "cpu_port": around.cpu_port,
        }

    async def _running(self, context: _Context) -> Pipeline:
        pipeline = self._device.pipelines.committed
        if pipeline is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the switch has no program yet")
        return pipeline


class _Queue:
    """Records on their way to one client; bounded, and what does not fit is counted."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._lost = 0
        self._filled = asyncio.Event()

    def put(self, record: Record) -> None:
        if len(self._records) >= _WAITING:
            self._lost += 1
            return
        self._records.append(record)
        self._filled.set()

    async def take(self, limit: int, seconds: float) -> list[Record]:
        """At most so many records, none when none comes for so long."""
        if not self._records:
            self._filled.clear()
            try:
                await asyncio.wait_for(self._filled.wait(), seconds)
            except TimeoutError:
                return []
        return [self._records.popleft() for _ in range(min(limit, len(self._records)))]

    def take_lost(self) -> int:
        lost, self._lost = self._lost, 0
        return lost


async def _counters(switch: Switch) -> tuple[list[dict[str, Any]], bool]:
    """Cells that counted something, and whether there are more than are told."""
    cells: list[dict[str, Any]] = []
    for cell in counter_cells(switch):
        if cell is None:
            await asyncio.sleep(0)
        elif len(cells) == _MAX_CELLS:
            return cells, True
        else:
            cells.append(cell)
    return cells, False


async def _watch(asked: TraceRequest, context: _Context, switch: Switch, sink: Callable[[Record], None]) -> Watch:
    if not asked.filter.strip():
        return Watch(BoolConstant(True), sink)
    try:
        return Watch(parse_filter(asked.filter, switch.program), sink)
    except FilterError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"filter: {error}")


async def _read(kind: type[Q], request: bytes, context: _Context) -> Q:
    """A request; one that is wrong ends the call."""
    try:
        return read_request(kind, request)
    except ValueError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _sums(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _packed(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
