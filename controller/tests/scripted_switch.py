"""A P4Runtime server that answers as a test says: the errors that no sane switch gives on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
from controller.tests.p4runtime_values import codec
from finsy.proto import p4r, p4r_grpc, rpc_status

from depot.p4runtime.entry import Action, Entry
from depot.p4runtime.reconcile import Operation, Update

__all__ = ["Refusal", "ScriptedSwitch", "scripted_switch"]


@dataclass
class Refusal(Exception):
    """How a Write ends."""

    code: grpc.StatusCode
    message: str = ""
    details: list[tuple[int, str]] | None = None
    """(canonical code, message) of each update; None: the server tells of none."""
    raw: bytes | None = None
    """In place of the details: any bytes."""


@dataclass
class ScriptedSwitch(p4r_grpc.P4RuntimeServicer):
    """Everything succeeds unless the test says otherwise."""

    on_write: Callable[[list[Update]], None] = lambda updates: None
    """May raise `Refusal`."""
    writes: list[list[Update]] = field(default_factory=list)
    pipelines: int = 0
    held: p4r.ForwardingPipelineConfig | None = None
    arbitration: tuple[int, int] = (0, 0)
    """Status code, and election id to be told; 0: the bidder's own."""
    bids: list[int] = field(default_factory=list)
    streams: list[asyncio.Queue[p4r.StreamMessageResponse | None]] = field(default_factory=list)
    address: str = ""

    async def StreamChannel(  # noqa: N802 the service's own name
        self, requests: AsyncIterator[p4r.StreamMessageRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[p4r.StreamMessageResponse]:
        queue: asyncio.Queue[p4r.StreamMessageResponse | None] = asyncio.Queue()
        self.streams.append(queue)
        reader = asyncio.create_task(self._hear(requests, queue))
        try:
            while (message := await queue.get()) is not None:
                yield message
        finally:
            reader.cancel()

    async def _hear(
        self,
        requests: AsyncIterator[p4r.StreamMessageRequest],
        queue: asyncio.Queue[p4r.StreamMessageResponse | None],
    ) -> None:
        async for request in requests:
            if request.HasField("arbitration"):
                bid = request.arbitration.election_id.low
                self.bids.append(bid)
                code, told = self.arbitration
                queue.put_nowait(arbitrated(code, told or bid))

    def say(self, message: p4r.StreamMessageResponse) -> None:
        """Say something to the latest client."""
        self.streams[-1].put_nowait(message)

    async def Write(self, request: p4r.WriteRequest, context: grpc.aio.ServicerContext) -> p4r.WriteResponse:  # noqa: N802
        entries = [one for one in request.updates if one.entity.HasField("table_entry")]
        updates = [Update(Operation(one.type), _entry(one)) for one in entries]
        if not updates:
            return p4r.WriteResponse()  # digests
        self.writes.append(updates)
        try:
            self.on_write(updates)
        except Refusal as refusal:
            await _refuse(context, refusal)
        return p4r.WriteResponse()

    async def Read(  # noqa: N802
        self, request: p4r.ReadRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[p4r.ReadResponse]:
        yield p4r.ReadResponse()

    async def GetForwardingPipelineConfig(  # noqa: N802
        self, request: p4r.GetForwardingPipelineConfigRequest, context: grpc.aio.ServicerContext
    ) -> p4r.GetForwardingPipelineConfigResponse:
        if self.held is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no forwarding pipeline config")
        config = p4r.ForwardingPipelineConfig(cookie=self.held.cookie)
        if request.response_type == request.ALL:
            config = self.held
        return p4r.GetForwardingPipelineConfigResponse(config=config)

    async def SetForwardingPipelineConfig(  # noqa: N802
        self, request: p4r.SetForwardingPipelineConfigRequest, context: grpc.aio.ServicerContext
    ) -> p4r.SetForwardingPipelineConfigResponse:
        self.pipelines += 1
        self.held = request.config
        return p4r.SetForwardingPipelineConfigResponse()

    async def Capabilities(  # noqa: N802
        self, request: p4r.CapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> p4r.CapabilitiesResponse:
        return p4r.CapabilitiesResponse(p4runtime_api_version="1.3.0")


def arbitrated(code: int, election_id: int) -> p4r.StreamMessageResponse:
    """A word on who is primary."""
    update = p4r.MasterArbitrationUpdate(device_id=1, election_id=p4r.Uint128(low=election_id))
    update.status.code = code
    return p4r.StreamMessageResponse(arbitration=update)


def _entry(update: p4r.Update) -> Entry:
    message = update.entity.table_entry
    if update.type == p4r.Update.DELETE:
        return Entry(*codec().decode_key(message), Action.NO_ROUTE)  # a delete names no action: any will do
    return codec().decode_entry(message)


async def _refuse(context: grpc.aio.ServicerContext, refusal: Refusal) -> None:
    if refusal.raw is not None:
        context.set_trailing_metadata((("grpc-status-details-bin", refusal.raw),))
    elif refusal.details is not None:
        status = rpc_status.Status(code=refusal.code.value[0], message=refusal.message)
        for code, message in refusal.details:
            status.details.add().Pack(p4r.Error(canonical_code=code, message=message))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(refusal.code, refusal.message)


@asynccontextmanager
async def scripted_switch(switch: ScriptedSwitch | None = None) -> AsyncIterator[ScriptedSwitch]:
    """A running one: this one, or one that does as it should."""
    switch = switch or ScriptedSwitch()
    server = grpc.aio.server()
    p4r_grpc.add_P4RuntimeServicer_to_server(switch, server)
    switch.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield switch
    finally:
        for queue in switch.streams:
            queue.put_nowait(None)
        await server.stop(None)
