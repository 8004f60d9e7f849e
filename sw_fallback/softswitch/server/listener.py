"""The gRPC server: address, TLS, limits."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from finsy.proto import p4r_grpc

from softswitch.server.service import P4RuntimeService

__all__ = ["ListenError", "TlsFiles", "parse_address", "start_server"]

_MAX_TCP_PORT = 65535

_MAX_REQUEST = 128 * 1024 * 1024
"""Bytes of one request; a compiled program is some megabytes (P4Runtime 1.4, section 19.1.2)."""

_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_REQUEST),
    ("grpc.so_reuseport", 0),  # a second switch on the same address is a mistake, not a load balancer
    # clients may probe an idle connection; the default answers more than two probes in five minutes with GOAWAY
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class ListenError(Exception):
    """The server cannot listen: where, why and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a server that speaks TLS."""

    certificate: Path
    """The server's certificate chain."""
    key: Path
    """Its private key."""
    ca: Path | None = None
    """The certificates that sign clients' certificates."""
    client_auth: bool = False
    """Whether a client must show a certificate signed by `ca`."""


async def start_server(
    service: P4RuntimeService, address: str, tls: TlsFiles | None, others: Sequence[grpc.GenericRpcHandler] = ()
) -> tuple[grpc.aio.Server, str]:
    """Serve on `address` (host:port; port 0 takes a free one); the server and the address it got. `others` are served
    beside P4Runtime.

    Raises `ListenError`.
    """
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(tuple(others))
    p4r_grpc.add_P4RuntimeServicer_to_server(service, server)
    host = parse_address(address)
    try:
        bound = server.add_insecure_port(address) if tls is None else server.add_secure_port(address, _credentials(tls))
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {address}: in use, or not an address of this machine") from error
    if not bound:
        raise ListenError(f"cannot listen on {address}: in use, or not an address of this machine")
    await server.start()
    return server, f"{host}:{bound}"


def parse_address(address: str) -> str:
    """The host of host:port. Raises `ListenError` for what is no such thing."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _MAX_TCP_PORT:
        raise ListenError(f"{address!r} is no address to listen on: give HOST:PORT, as in 127.0.0.1:9559")
    return host


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    _check(tls)
    pair = (_read(tls.key), _read(tls.certificate))
    return grpc.ssl_server_credentials(
        [pair],
        root_certificates=_read(tls.ca) if tls.ca is not None else None,
        require_client_auth=tls.client_auth,
    )


def _check(tls: TlsFiles) -> None:
    """Refuse files that gRPC would refuse without saying which. Raises `ListenError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (ssl.SSLError, ValueError) as error:
        raise ListenError(f"{tls.certificate} and {tls.key} are no certificate with its key: {error}") from error
    except OSError as error:
        raise ListenError(f"cannot read {tls.certificate} or {tls.key}: {error.strerror}") from error
    if tls.ca is not None:
        try:
            context.load_verify_locations(tls.ca)
        except ssl.SSLError as error:
            raise ListenError(f"{tls.ca} holds no certificates: {error}") from error
        except OSError as error:
            raise ListenError(f"cannot read {tls.ca}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ListenError(f"cannot read {path}: {error.strerror}") from error
