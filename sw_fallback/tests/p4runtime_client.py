"""A plain P4Runtime client for tests: the generated stubs, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from finsy.proto import p4r, p4r_grpc, rpc_status
from sw_fallback.tests.entities_program import config

DEVICE = 1
PATIENCE = 10.0
"""Seconds after which a message that does not come fails a test."""

SetRequest = p4r.SetForwardingPipelineConfigRequest


class Client:
    """One client: a channel with its stream."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        options = [("grpc.max_metadata_size", 1 << 20), ("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(address, options)
        else:
            self.channel = grpc.aio.secure_channel(address, credentials, options)
        self.stub = p4r_grpc.P4RuntimeStub(self.channel)
        self.election_id = 0
        self.role = ""
        self._requests: asyncio.Queue[p4r.StreamMessageRequest | None] = asyncio.Queue()
        self.stream: Any = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()
        await self.channel.close()

    async def hang_up(self) -> None:
        """End the stream."""
        if self.stream is not None:
            self.stream.cancel()
            self.stream = None

    def say(self, request: p4r.StreamMessageRequest) -> None:
        """Send a stream message."""
        if self.stream is None:
            self.stream = self.stub.StreamChannel(self._outgoing())
        self._requests.put_nowait(request)

    async def hear(self) -> p4r.StreamMessageResponse:
        """The next stream message. Raises AioRpcError when the server closed the stream."""
        message = await asyncio.wait_for(self.stream.read(), PATIENCE)
        if message is grpc.aio.EOF:
            code = await self.stream.code()
            raise grpc.aio.AioRpcError(
                code, await self.stream.initial_metadata(), await self.stream.trailing_metadata()
            )
        return message

    def arbitrate(self, election_id: int | None, device_id: int = DEVICE, role: str = "") -> None:
        """Send a MasterArbitrationUpdate."""
        request = p4r.StreamMessageRequest()
        request.arbitration.device_id = device_id
        if role:
            request.arbitration.role.name = role
        if election_id is not None:
            request.arbitration.election_id.high = election_id >> 64
            request.arbitration.election_id.low = election_id & ((1 << 64) - 1)
            self.election_id = election_id
        self.role = role
        self.say(request)

    async def lead(self, election_id: int = 1, program: bool = True) -> Client:
        """Become primary, and set the program."""
        self.arbitrate(election_id)
        assert (await self.hear()).arbitration.status.code == 0
        if program:
            await self.set_config(SetRequest.VERIFY_AND_COMMIT, config())
        return self

    def uint128(self) -> p4r.Uint128:
        """This client's election id."""
        return p4r.Uint128(high=self.election_id >> 64, low=self.election_id & ((1 << 64) - 1))

    async def set_config(
        self, action: SetRequest.Action.ValueType, asked: p4r.ForwardingPipelineConfig | None, device_id: int = DEVICE
    ) -> None:
        """SetForwardingPipelineConfig."""
        request = SetRequest(
            device_id=device_id, election_id=self.uint128(), action=action, config=asked, role=self.role
        )
        await self.stub.SetForwardingPipelineConfig(request)

    async def write(self, *updates: p4r.Update, atomicity: Any = p4r.WriteRequest.CONTINUE_ON_ERROR) -> None:
        """Write a batch."""
        request = p4r.WriteRequest(
            device_id=DEVICE, election_id=self.uint128(), role=self.role, updates=updates, atomicity=atomicity
        )
        await self.stub.Write(request)

    async def read(self, *entities: p4r.Entity, device_id: int = DEVICE) -> list[p4r.Entity]:
        """Read entities."""
        request = p4r.ReadRequest(device_id=device_id, entities=entities)
        return [one async for response in self.stub.Read(request) for one in response.entities]

    async def _outgoing(self) -> AsyncIterator[p4r.StreamMessageRequest]:
        while (request := await self._requests.get()) is not None:
            yield request


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


def errors_of(error: grpc.aio.AioRpcError) -> list[p4r.Error]:
    """The errors in a failed batch's details."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = rpc_status.Status.FromString(value)
            assert status.code == error.code().value[0]
            errors = []
            for detail in status.details:
                one = p4r.Error()
                assert detail.Unpack(one)
                errors.append(one)
            return errors
    return []
