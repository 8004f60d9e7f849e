"""A client of a running switch's introspection service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from softswitch.server.introspection_requests import SERVICE, Request, StatsRequest, TraceRequest

__all__ = ["ClientTls", "Inquiry", "InquiryError"]

_PATIENCE_S = 10.0
"""For an answer, beside the time that was asked for."""


class InquiryError(Exception):
    """The switch did not answer, or said no: why."""

    def __init__(self, message: str, *, wrong_question: bool = False) -> None:
        self.wrong_question = wrong_question
        """Whether what was asked cannot be asked."""
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files of a client that speaks TLS."""

    ca: Path | None
    """What signed the switch's certificate; None: the authorities that this system trusts."""
    certificate: Path | None
    """The client's own certificate, for a switch that asks for one."""
    key: Path | None


class Inquiry:
    """A connection to one switch; a context manager that closes it."""

    def __init__(self, address: str, tls: ClientTls | None) -> None:
        """Raises `InquiryError` for files that cannot be read."""
        self._address = address
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, _credentials(tls), options)

    def __enter__(self) -> Inquiry:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def stats(self, seconds: float) -> dict[str, Any]:
        """What the switch counted; packets are timed for so many seconds. Raises `InquiryError`."""
        return self._ask("Stats", StatsRequest(seconds), seconds + _PATIENCE_S)

    def source(self) -> dict[str, Any]:
        """The code that runs. Raises `InquiryError`."""
        return self._ask("Source", Request(), _PATIENCE_S)

    def trace(self, request: TraceRequest) -> Iterator[dict[str, Any]]:
        """A greeting, then records as they come. Raises `InquiryError`, also when the switch goes away."""
        call: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(f"/{SERVICE}/Trace")
        with self._refusals():
            for answer in call(_packed(request)):
                yield json.loads(answer)

    def _ask(self, method: str, request: Request, patience_s: float) -> dict[str, Any]:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"/{SERVICE}/{method}")
        with self._refusals():
            answer: dict[str, Any] = json.loads(call(_packed(request), timeout=patience_s))
        return answer

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: grpc.RpcError) -> InquiryError:
        call: Any = error  # every error of a call is the call itself, which the stubs do not know
        code, details = call.code(), call.details()
        match code:
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                return InquiryError(f"no switch answers at {self._address}: {details}")
            case grpc.StatusCode.UNIMPLEMENTED:
                return InquiryError(f"what listens at {self._address} is no softswitch, or an older one")
            case grpc.StatusCode.INVALID_ARGUMENT:
                return InquiryError(f"{details}", wrong_question=True)
            case _:
                return InquiryError(f"{self._address}: {details}")


def _packed(request: Request) -> bytes:
    return json.dumps(asdict(request)).encode()


def _credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    try:
        ca, key, certificate = (
            None if path is None else path.read_bytes() for path in (tls.ca, tls.key, tls.certificate)
        )
    except OSError as error:
        raise InquiryError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_channel_credentials(ca, key, certificate)
