"""TLS of the control channels: what a caller sends together with the end of its handshake is heard."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from depot.address import parse_address
from depot.cluster.certificates_shell import issue
from depot.cluster.events import ClusterEvent
from depot.cluster.mesh_shell import MeshShell
from depot.cluster.tls_shell import TlsContexts
from depot.cluster.wire import Join, encode_join, read_message
from depot.config.cluster_model import ClusterConfig, PeerConfig
from depot.config.host_port import HostPort

pytestmark = pytest.mark.server


class Observer:
    """Hears nothing of interest."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def mesh_events(self, events: Sequence[ClusterEvent]) -> None:
        """Forget them."""

    def turned_away(self, address: str, reason: str) -> None:
        """Somebody was not let in."""
        self.refused.append(reason)


async def answer_to_join(port: int, tls: ssl.SSLContext, identity: str) -> bytes:
    """Call, and send PEER_JOIN in one piece with the last message of the handshake; what is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.wrap_bio(incoming, outgoing)
    try:
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(1 << 16))
        session.write(encode_join(identity))
        writer.write(outgoing.read())
        while True:
            try:
                return session.read(1 << 16)
            except ssl.SSLWantReadError:
                data = await reader.read(1 << 16)
                if not data:
                    return b""
                incoming.write(data)
    finally:
        writer.close()


def test_a_join_that_comes_with_the_end_of_the_handshake_is_heard(tmp_path: Path) -> None:
    issue(tmp_path, ["a", "b"])
    tunnels = [(parse_address(address),) for address in ("192.0.2.1", "192.0.2.2")]
    peer = PeerConfig("b", HostPort("127.0.0.1", 1), tunnels[1], retries=1)
    config = ClusterConfig(
        "a", HostPort("127.0.0.1", 0), tunnels[0],
        ca=tmp_path / "ca.pem", cert=tmp_path / "a.pem", key=tmp_path / "a.key", peers=(peer,),
    )  # fmt: skip

    async def call() -> bytes:
        shell = MeshShell(config, Observer())
        await shell.start()
        try:
            tls = TlsContexts(tmp_path / "ca.pem", tmp_path / "b.pem", tmp_path / "b.key").client
            async with asyncio.timeout(3):
                return await answer_to_join(shell.port, tls, "b")
        finally:
            await shell.stop()

    answer = read_message(asyncio.run(call()), 0)
    assert answer is not None
    assert isinstance(answer[0], Join)
    assert answer[0].identity == "a"
