"""A whole switch with ports in memory, for tests of what looks inside it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from sw_fallback.tests.entities_program import config
from sw_fallback.tests.fake_switch import CPU_PORT
from sw_fallback.tests.p4runtime_client import DEVICE

from softswitch.daemon import Daemon, Options
from softswitch.ports import MemoryPort
from softswitch.server.listener import TlsFiles
from softswitch.switch import Switch

DST, SRC, OTHER = 0x0200_0000_0009, 0x0200_0000_0007, 0x0200_0000_0008


def frame(dst: int = DST, ether_type: int = 0x0800) -> bytes:
    return dst.to_bytes(6, "big") + SRC.to_bytes(6, "big") + ether_type.to_bytes(2, "big") + b"payload"


@dataclass
class Inside:
    """A switch and a client of its introspection service."""

    daemon: Daemon
    ports: list[MemoryPort]
    channel: grpc.aio.Channel

    @property
    def switch(self) -> Switch:
        pipeline = self.daemon.device.pipelines.committed
        assert pipeline is not None
        return pipeline.switch

    @property
    def traced(self) -> bool:
        """Whether somebody watches."""
        return self.switch._engine._traced is not None

    async def ask(self, method: str, request: object) -> dict[str, Any]:
        """One of the methods with one answer."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            f"/softswitch.Introspection/{method}"
        )
        answer: dict[str, Any] = json.loads(await call(_bytes(request)))
        return answer

    def trace(self, request: object) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        """A running trace."""
        call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(
            "/softswitch.Introspection/Trace"
        )
        return call(_bytes(request))


def _bytes(request: object) -> bytes:
    return request if isinstance(request, bytes) else json.dumps(request).encode()


@asynccontextmanager
async def inside(program: bool = True, tls: TlsFiles | None = None) -> AsyncIterator[Inside]:
    """A switch on the python engine that runs `p4runtime_entities.p4`, or nothing yet."""
    ports = [MemoryPort(number, f"memory{number}") for number in range(1, 4)]
    options = Options(
        device_id=DEVICE,
        address="127.0.0.1:0",
        ports=ports,
        cpu_port=CPU_PORT,
        tls=tls,
        program=config() if program else None,
        engine="python",
    )
    daemon = Daemon(options)
    await daemon.start()
    try:
        async with grpc.aio.insecure_channel(daemon.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield Inside(daemon, ports, channel)
    finally:
        await daemon.stop()
