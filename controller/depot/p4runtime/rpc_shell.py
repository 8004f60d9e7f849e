"""One connection to a P4Runtime server: gRPC calls in, their errors told apart. Knows messages, no tables.

    RpcError
    ├── ConnectionLostError   the server does not answer, or ended the stream
    ├── ElectionIdInUseError  another controller has our election id
    ├── NotPrimaryError       the server wants our writes no more
    └── RefusedError          any other refusal of a whole call; carries its code

finsy's bindings carry the messages. Its `Switch` is not used: it drops digests when a queue of fifty lists is full,
waits ten seconds after a quick failure, ends each call after ten seconds, and reads back four megabytes at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from finsy.proto import U128, p4r, p4r_grpc, rpc_status
from google.protobuf.message import DecodeError

from depot.p4runtime.arbitration import StatusCode
from depot.p4runtime.write_errors import UpdateError

__all__ = [
    "ConnectionLostError",
    "ElectionIdInUseError",
    "NotPrimaryError",
    "RefusedError",
    "RpcConnection",
    "RpcError",
    "TlsFiles",
]

CALL_TIMEOUT = 10.0
"""Seconds that a small call may take."""
WRITE_TIMEOUT = 30.0
"""Seconds for a batch of writes."""
PIPELINE_TIMEOUT = 60.0
"""Seconds for a pipeline: the switch compiles it."""
READ_TIMEOUT = 300.0
"""Seconds to read whole tables; a million connections take a while."""

_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a server may answer a read with one message
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 1 << 20),  # errors of each update come in the trailing metadata
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a reconnect is a new connection, without an old one's backoff
]
_LOST = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED)


class RpcError(Exception):
    """A call that failed."""


class ConnectionLostError(RpcError):
    """The server is not there, or no longer."""


class ElectionIdInUseError(RpcError):
    """Another controller is connected with our election id."""


class NotPrimaryError(RpcError):
    """Only the primary may do this, and we are it no more."""


class RefusedError(RpcError):
    """The server refuses the whole call."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        """The canonical status code."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for TLS."""

    ca: Path
    """Who signed the server's certificate."""
    cert: Path | None = None
    """Our certificate, for mutual TLS."""
    key: Path | None = None
    """Its private key."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes(),
            private_key=self.key.read_bytes() if self.key else None,
            certificate_chain=self.cert.read_bytes() if self.cert else None,
        )


class RpcConnection:
    """Calls to one device of one server. Use as an async context manager; every call raises `RpcError`s."""

    def __init__(self, address: str, device_id: int, tls: TlsFiles | None = None) -> None:
        self._device_id = device_id
        try:
            self._channel = (
                grpc.aio.secure_channel(address, tls.credentials(), options=_CHANNEL_OPTIONS)
                if tls
                else grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
            )
        except OSError as error:
            raise ConnectionLostError(f"TLS file cannot be read: {error}") from error
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)
        self._stream = self._stub.StreamChannel(wait_for_ready=False)
        self._election_id = p4r.Uint128()
        self._sending = asyncio.Lock()
        self._given_up: str | None = None

    async def __aenter__(self) -> RpcConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stream.cancel()
        await self._channel.close()

    def give_up(self, reason: str) -> None:
        """End the stream: who waits for a message of it gets ConnectionLostError with this reason."""
        self._given_up = reason
        self._stream.cancel()

    # The stream

    async def bid(self, election_id: int) -> None:
        """Send a MasterArbitrationUpdate; later writes carry this election id."""
        self._election_id = U128.encode(election_id)
        update = p4r.MasterArbitrationUpdate(device_id=self._device_id, election_id=self._election_id)
        await self.send(p4r.StreamMessageRequest(arbitration=update))

    async def send(self, message: p4r.StreamMessageRequest) -> None:
        """Put a message on the stream."""
        try:
            async with self._sending:
                await self._stream.write(message)
        except grpc.aio.AioRpcError as error:
            raise _error(_number(error.code()), error.details(), of_stream=True) from None
        except (grpc.aio.UsageError, asyncio.InvalidStateError):
            raise await self._why_ended() from None
        except asyncio.CancelledError:
            self._raise_if_given_up()
            raise

    async def receive(self) -> p4r.StreamMessageResponse:
        """Wait for the next message of the stream."""
        try:
            message = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise _error(_number(error.code()), error.details(), of_stream=True) from None
        except asyncio.CancelledError:
            self._raise_if_given_up()
            raise
        if isinstance(message, p4r.StreamMessageResponse):
            return message
        raise await self._why_ended()

    def _raise_if_given_up(self) -> None:
        """grpc says CancelledError for a stream that we cancelled: tell that from a task being cancelled."""
        if self._given_up is not None and not _is_cancelled():
            raise ConnectionLostError(self._given_up) from None

    async def _why_ended(self) -> RpcError:
        code, details = await self._stream.code(), await self._stream.details()
        return _error(_number(code), details, of_stream=True)

    # Calls

    async def write(self, request: p4r.WriteRequest) -> list[UpdateError]:
        """Write a batch; return one result for each update, in order, or an empty list when all was done.

        Raises RefusedError when the server refuses without naming updates.
        """
        request.device_id = self._device_id
        request.election_id.CopyFrom(self._election_id)
        try:
            with _lost_when_closed():
                await self._stub.Write(request, timeout=WRITE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            results = _update_errors(error)
            if len(results) != len(request.updates):
                raise _call_error(error) from None
            return results
        return []

    async def read(self, entities: Iterable[p4r.Entity]) -> AsyncIterator[p4r.Entity]:
        """Read entities, wildcards too."""
        request = p4r.ReadRequest(device_id=self._device_id, entities=entities)
        try:
            with _lost_when_closed():
                async for response in self._stub.Read(request, timeout=READ_TIMEOUT):
                    for entity in response.entities:
                        yield entity
        except grpc.aio.AioRpcError as error:
            raise _call_error(error) from None

    async def get_pipeline(self, *, cookie_only: bool) -> p4r.ForwardingPipelineConfig | None:
        """Return the loaded pipeline, or None when there is none."""
        wanted = p4r.GetForwardingPipelineConfigRequest
        request = wanted(device_id=self._device_id, response_type=wanted.COOKIE_ONLY if cookie_only else wanted.ALL)
        try:
            with _lost_when_closed():
                response = await self._stub.GetForwardingPipelineConfig(request, timeout=CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if _number(error.code()) in (StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND):
                return None
            raise _call_error(error) from None
        return response.config if response.config.HasField("p4info") or cookie_only else None

    async def set_pipeline(self, config: p4r.ForwardingPipelineConfig) -> None:
        """Load a pipeline; every table becomes empty."""
        request = p4r.SetForwardingPipelineConfigRequest(
            device_id=self._device_id,
            election_id=self._election_id,
            action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
            config=config,
        )
        try:
            with _lost_when_closed():
                await self._stub.SetForwardingPipelineConfig(request, timeout=PIPELINE_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise _call_error(error) from None

    async def api_version(self) -> str:
        """Return the P4Runtime version the server speaks; "unknown" where it cannot say."""
        try:
            with _lost_when_closed():
                response = await self._stub.Capabilities(p4r.CapabilitiesRequest(), timeout=CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if _number(error.code()) == StatusCode.UNIMPLEMENTED:
                return "unknown"
            raise _call_error(error) from None
        return response.p4runtime_api_version


@contextmanager
def _lost_when_closed() -> Iterator[None]:
    """A call whose channel is closed ends as if its task were cancelled, and a later one as misuse: it is lost."""
    try:
        yield
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        raise ConnectionLostError("the connection was closed") from None
    except grpc.aio.UsageError:
        raise ConnectionLostError("the connection is closed") from None


def _is_cancelled() -> bool:
    """Whether somebody wants the task that runs now to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _number(code: grpc.StatusCode) -> int:
    return int(code.value[0])


def _call_error(error: grpc.aio.AioRpcError) -> RpcError:
    return _error(_number(error.code()), error.details(), of_stream=False)


def _error(code: int, details: str | None, *, of_stream: bool) -> RpcError:
    details = details or ("the server ended the stream" if of_stream else "no reason given")
    if code in _LOST or (of_stream and code == StatusCode.OK):
        return ConnectionLostError(details)
    if of_stream and code == StatusCode.INVALID_ARGUMENT and "election" in details.lower():
        return ElectionIdInUseError(details)
    if code == StatusCode.PERMISSION_DENIED:
        return NotPrimaryError(details)
    return RefusedError(code, details)


def _update_errors(error: grpc.aio.AioRpcError) -> list[UpdateError]:
    """The status of each update (P4Runtime 1.4, 12.3); empty where the server gave none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return _parse_status(value)
    return []


def _parse_status(value: bytes) -> list[UpdateError]:
    status = rpc_status.Status()
    results: list[UpdateError] = []
    try:
        status.ParseFromString(value)
        for detail in status.details:
            one = p4r.Error()
            if not detail.Unpack(one):
                return []
            results.append(UpdateError(one.canonical_code, one.message))
    except DecodeError:
        return []
    return results
