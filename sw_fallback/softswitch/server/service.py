"""The P4Runtime service over grpc.aio: requests go to the device's cores, their answers and refusals come back.

Writes, reads and pipeline changes take turns: a read sees the state before or after a write, never within it.
Source: P4Runtime specification 1.4, sections 12 to 17 (the RPCs).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NoReturn

import grpc
import grpc.aio
from finsy.proto import p4r, p4r_grpc

from softswitch.server.batch import Batch
from softswitch.server.batch_status import batch_status
from softswitch.server.device import Device
from softswitch.server.status import Code, Refusal
from softswitch.server.stream import Stream

__all__ = ["API_VERSION", "P4RuntimeService"]

_LOG = logging.getLogger("softswitch.p4runtime")

API_VERSION = "1.4.1"
"""The P4Runtime version that this server follows; the bindings carry its messages."""

_READ_CHUNK = 256
"""Entities in one ReadResponse: some tens of kilobytes."""

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
_Context = grpc.aio.ServicerContext[Any, Any]


class P4RuntimeService(p4r_grpc.P4RuntimeServicer):
    """Serves one device."""

    def __init__(self, device: Device, after_write: Callable[[], None]) -> None:
        """`after_write` is called when a client changed something: the device's next deadline may be another."""
        self._device = device
        self._after_write = after_write
        self._turn = asyncio.Lock()
        self._streams: set[Stream] = set()

    async def Write(self, request: p4r.WriteRequest, context: _Context) -> p4r.WriteResponse:  # noqa: N802
        """Carry out a batch of updates (section 12)."""
        try:
            self._check_writer(request)
            async with self._turn:
                self._check_writer(request)  # another client may have become primary meanwhile
                pipeline = self._device.pipelines.current()
                batch = Batch(
                    pipeline.writer,
                    pipeline.reader,
                    pipeline.schema,
                    request.updates,
                    stops_packets=pipeline.switch.kernel is None,
                )
                try:
                    for _ in batch.run(request.atomicity):
                        await asyncio.sleep(0)
                finally:
                    pipeline.switch.flush()
                self._after_write()
        except Refusal as refusal:
            await _abort(context, refusal)
        await _abort_batch(context, batch.outcomes, "Write failure.")
        return p4r.WriteResponse()

    async def Read(self, request: p4r.ReadRequest, context: _Context) -> AsyncIterator[p4r.ReadResponse]:  # noqa: N802
        """Stream the entities that each element of the request selects (section 13)."""
        answers: list[Iterator[p4r.Entity]] = []
        outcomes: list[Refusal | None] = []
        try:
            self._device.check_device(request.device_id)
            async with self._turn:
                reader = self._device.pipelines.current().reader
                for entity in request.entities:
                    try:
                        answers.append(reader.read(entity))
                        outcomes.append(None)
                    except Refusal as refusal:
                        outcomes.append(refusal)
        except Refusal as refusal:
            await _abort(context, refusal)
        for answer in answers:
            while chunk := list(islice(answer, _READ_CHUNK)):
                yield p4r.ReadResponse(entities=chunk)
        await _abort_batch(context, outcomes, "Read failure.")

    async def SetForwardingPipelineConfig(  # noqa: N802
        self, request: p4r.SetForwardingPipelineConfigRequest, context: _Context
    ) -> p4r.SetForwardingPipelineConfigResponse:
        """Verify, save or commit a program (section 14)."""
        name = p4r.SetForwardingPipelineConfigRequest.Action.Name
        try:
            self._check_writer(request)
            async with self._turn:
                self._check_writer(request)
                begun = time.monotonic()
                # loading takes long and touches nothing that is in use: packets are switched meanwhile
                pipeline = await asyncio.to_thread(self._device.pipelines.prepare, request)
                try:
                    self._check_writer(request)
                except Refusal:
                    if pipeline is not None:
                        pipeline.switch.close()
                    raise
                self._device.pipelines.finish(request.action, pipeline)
        except Refusal as refusal:
            _LOG.warning("pipeline config from %s refused: %s", context.peer(), refusal)
            await _abort(context, refusal)
        _LOG.info("pipeline config: %s done in %.2f s", name(request.action), time.monotonic() - begun)
        return p4r.SetForwardingPipelineConfigResponse()

    async def GetForwardingPipelineConfig(  # noqa: N802
        self, request: p4r.GetForwardingPipelineConfigRequest, context: _Context
    ) -> p4r.GetForwardingPipelineConfigResponse:
        """The program that is set (section 15)."""
        try:
            self._device.check_device(request.device_id)
            return self._device.pipelines.answer(request.response_type)
        except Refusal as refusal:
            await _abort(context, refusal)

    async def Capabilities(  # noqa: N802
        self, request: p4r.CapabilitiesRequest, context: _Context
    ) -> p4r.CapabilitiesResponse:
        """The version of the API (section 17)."""
        try:
            if request.device_id:
                self._device.check_device(request.device_id)
        except Refusal as refusal:
            await _abort(context, refusal)
        return p4r.CapabilitiesResponse(p4runtime_api_version=API_VERSION)

    async def StreamChannel(  # noqa: N802
        self, requests: AsyncIterator[p4r.StreamMessageRequest], context: _Context
    ) -> AsyncIterator[p4r.StreamMessageResponse]:
        """One client's session: arbitration, packets, digests and idle timeouts (sections 5 and 16)."""
        stream = Stream(context.peer())
        self._streams.add(stream)
        listener = asyncio.create_task(self._listen(stream, requests))
        _LOG.info("client %s connected", stream.peer)
        try:
            while (message := await stream.next()) is not None:
                yield message
            if stream.refusal is not None:
                level = logging.INFO if stream.refusal.code == Code.UNAVAILABLE else logging.WARNING
                _LOG.log(level, "client %s: stream closed: %s", stream.peer, stream.refusal)
                await _abort(context, stream.refusal)
        finally:
            listener.cancel()
            self._streams.discard(stream)
            self._device.disconnect(stream)
            _LOG.info("client %s disconnected, %d messages dropped", stream.peer, stream.dropped)

    def close(self) -> None:
        """End every stream: the server is going down."""
        for stream in self._streams:
            stream.close(Refusal(Code.UNAVAILABLE, "the switch is shutting down"))

    async def _listen(self, stream: Stream, requests: AsyncIterator[p4r.StreamMessageRequest]) -> None:
        try:
            async for request in requests:
                self._device.receive(stream, request, time.monotonic_ns())
                self._after_write()
        except Refusal as refusal:
            stream.close(refusal)
        except grpc.aio.BaseError:
            stream.close()
        except Exception:
            _LOG.exception("client %s: a message could not be handled", stream.peer)
            stream.close(Refusal(Code.INTERNAL, "the switch could not handle a message; see its log"))
        else:
            stream.close()

    def _check_writer(self, request: p4r.WriteRequest | p4r.SetForwardingPipelineConfigRequest) -> None:
        """Device, then role, then primary, in the order of sections 12 and 14. Raises `Refusal`."""
        self._device.check_device(request.device_id)
        election_id = None
        if request.HasField("election_id"):
            election_id = request.election_id.high << 64 | request.election_id.low
        self._device.arbitration.check_write(request.role, election_id)


async def _abort(context: _Context, refusal: Refusal) -> NoReturn:
    await context.abort(_GRPC_CODES[refusal.code], refusal.message)


async def _abort_batch(context: _Context, outcomes: Sequence[Refusal | None], message: str) -> None:
    """End the call with every element's own error; does nothing when there was none."""
    status = batch_status(outcomes, message)
    if status is not None:
        details = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.UNKNOWN, message, details)
