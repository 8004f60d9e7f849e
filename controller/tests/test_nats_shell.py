"""Members that speak through a real NATS server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from controller.tests.cluster_values import flow_number
from controller.tests.nats_server import NEEDS_NATS, NatsServer
from controller.tests.test_mesh_shell import Heard, until

from depot.address import FlowKey
from depot.cluster import ConnectionAction, PeerDown
from depot.cluster.certificates_shell import issue
from depot.cluster.nats_shell import PART, NatsShell
from depot.cluster.states import CloseReason
from depot.cluster.tls_shell import TlsContexts
from depot.config.cluster_model import BusKind, ClusterConfig, PeerConfig
from depot.config.host_port import HostPort

pytestmark = [pytest.mark.server, NEEDS_NATS]

NOWHERE = HostPort("", 0)
FORTY = [f"m{number}" for number in range(1, 41)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.kill()


class Members:
    """Shells of members with short times."""

    def __init__(self, server: NatsServer, names: list[str], certificates: Path | None = None) -> None:
        self.server = server
        self.names = names
        self.certificates = certificates
        self.heard = {name: Heard() for name in names}
        self.shells: dict[str, NatsShell] = {}

    def config(self, name: str, certificate: str | None = None) -> ClusterConfig:
        peers = tuple(PeerConfig(other, NOWHERE, (), keepalive=1.0) for other in self.names if other != name)
        host, folder, own = HostPort("127.0.0.1", self.server.port), self.certificates, certificate or name
        if folder is None:
            return ClusterConfig(name, NOWHERE, (), peers=peers, bus=BusKind.NATS, nats=host)
        return ClusterConfig(
            name, NOWHERE, (), peers=peers, bus=BusKind.NATS, nats=host,
            ca=folder / "ca.pem", cert=folder / f"{own}.pem", key=folder / f"{own}.key",
        )  # fmt: skip

    async def start(self, name: str, connections: int = 0) -> NatsShell:
        """Start a member that has so many connections from the start."""
        shell = self.shells[name] = NatsShell(self.config(name), self.heard[name])
        self.install(name, range(connections))
        await shell.start()
        return shell

    def flow(self, name: str, number: int) -> FlowKey:
        """One that only this member has."""
        return flow_number(1000 * self.names.index(name) + number)

    def install(self, name: str, numbers: range) -> None:
        """A member takes connections up."""
        self.shells[name].tell_peers([(self.flow(name, n), False, ConnectionAction.FORWARD) for n in numbers])

    def remove(self, name: str, numbers: range) -> None:
        """A member's connections end."""
        self.shells[name].tell_peers([(self.flow(name, n), False, None) for n in numbers])

    async def kill(self, name: str) -> None:
        """A member ends without a word."""
        await self.shells.pop(name).stop()

    def agree(self) -> bool:
        """All are in sync and know all connections of the living, and none of the dead."""
        return all(shell.mesh.in_sync and self._knows(name, shell) for name, shell in self.shells.items())

    def _knows(self, name: str, shell: NatsShell) -> bool:
        for peer in self.names:
            living = self.shells.get(peer)
            own = {} if living is None else {claim.flow: claim.action for claim in living.mesh.own.claims()}
            known = {claim.flow: claim.action for claim in shell.mesh.database.claims(peer)}
            if peer != name and known != own:
                return False
        return True

    def downs(self, name: str, peer: str) -> list[CloseReason]:
        """How a member heard that a peer has gone."""
        return [
            event.reason for event in self.heard[name].events if isinstance(event, PeerDown) and event.identity == peer
        ]


@asynccontextmanager
async def members(server: NatsServer, names: list[str], certificates: Path | None = None) -> AsyncIterator[Members]:
    made = Members(server, names, certificates)
    try:
        yield made
    finally:
        await asyncio.gather(*(shell.stop() for shell in made.shells.values()))


async def test_forty_members_agree_whatever_happens(server: NatsServer) -> None:
    """They start, take connections up and end some; one dies, one leaves, the server is killed, one comes back."""
    async with members(server, FORTY) as cluster:
        for name in FORTY:
            await cluster.start(name, connections=20)
        await until(cluster.agree, 20)
        for name in FORTY:
            cluster.remove(name, range(5))
            cluster.install(name, range(20, 25))
        await until(cluster.agree, 20)

        await cluster.kill("m7")
        cluster.shells["m8"].leave()
        await cluster.kill("m8")
        await until(cluster.agree, 20)
        assert cluster.downs("m1", "m7") == [CloseReason.SILENT]
        assert cluster.downs("m1", "m8") == [CloseReason.PEER_LEFT]

        server.kill()
        await until(lambda: not any(shell.mesh.in_sync for shell in cluster.shells.values()), 20)
        for name in list(cluster.shells):
            cluster.remove(name, range(5, 10))
            cluster.install(name, range(30, 35))
        server.start()
        await until(cluster.agree, 20)

        await cluster.start("m7", connections=40)
        await until(cluster.agree, 20)
        assert len(list(cluster.shells["m1"].mesh.database.claims("m7"))) == 40


async def test_a_table_of_several_parts(server: NatsServer) -> None:
    """20 000 connections are 320 kB: two values of the store."""
    assert PART < 20_000 * 16
    async with members(server, ["a", "b"]) as cluster:
        await cluster.start("a", connections=20_000)
        await cluster.start("b")
        await until(cluster.agree, 20)


async def test_certificates_of_the_clusters_authority_let_in_and_no_others(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    issue(ours, ["a", "b", "nats"])
    issue(others, ["c"])
    server = NatsServer(tmp_path, ours)
    server.start()
    try:
        async with members(server, ["a", "b", "c"], ours) as cluster:
            await cluster.start("a", connections=3)
            await cluster.start("b", connections=3)
            await until(cluster.agree, 20)
            cluster.certificates = others
            stranger = await cluster.start("c", connections=3)
            await asyncio.sleep(2)
            assert not stranger.mesh.in_sync
            assert not any(True for _ in stranger.mesh.database.claims("a"))
            del cluster.shells["c"]
            assert cluster.agree()
            await stranger.stop()
            assert "permissions violation" in await refusal(server, ours, "a", "depot.say.b")
    finally:
        server.kill()


async def refusal(server: NatsServer, certificates: Path, name: str, subject: str) -> str:
    """What the server says when a member publishes there."""
    said: list[str] = []

    async def note(error: Exception) -> None:
        said.append(str(error))

    tls = TlsContexts(certificates / "ca.pem", certificates / f"{name}.pem", certificates / f"{name}.key").client
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", tls=tls, error_cb=note)
    await client.publish(subject, b"")
    await until(lambda: said)
    await client.close()
    return said[0]


async def test_a_server_without_tls_is_not_trusted(
    server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issue(tmp_path / "ours", ["a", "b"])
    async with members(server, ["a", "b"], tmp_path / "ours") as cluster:
        await cluster.start("a", connections=3)
        await until(lambda: "has no TLS" in caplog.text, 10)
        assert not cluster.shells["a"].mesh.in_sync


async def test_a_server_that_is_not_there_is_told_of_once_and_found_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "depot.events")
    server = NatsServer(tmp_path)
    try:
        async with members(server, ["a", "b"]) as cluster:
            await cluster.start("a", connections=3)
            await asyncio.sleep(1)
            server.start()
            await cluster.start("b")
            await until(cluster.agree, 20)
    finally:
        server.kill()
    said = [record.getMessage() for record in caplog.records if f"127.0.0.1:{server.port}" in record.getMessage()]
    assert len([text for text in said if "cannot be reached" in text]) <= 2
    assert "cannot be reached" in said[0]
    assert "connected" in said[-1]


async def test_a_server_without_jetstream_is_told_of_once(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "depot.events")
    server.kill()
    server.set_options(jetstream=False)
    server.start()
    async with members(server, ["a", "b"]) as cluster:
        await cluster.start("a")
        await cluster.start("b")
        await until(lambda: caplog.text.count("does it have JetStream") == 2, 10)
        await asyncio.sleep(1.5)  # tables are asked for again meanwhile
        assert caplog.text.count("does it have JetStream") == 2


async def test_who_is_thrown_out_comes_back_when_the_server_lets_it(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "depot.events")
    async with members(server, ["a", "b"]) as cluster:
        await cluster.start("a", connections=3)
        await cluster.start("b")
        await until(cluster.agree, 20)
        server.set_options(password="nobody knows it")
        server.reload()
        await until(lambda: not any(shell.mesh.in_sync for shell in cluster.shells.values()))
        await until(lambda: "cannot be reached" in caplog.text)
        cluster.install("a", range(3, 8))
        server.set_options()
        server.reload()
        await until(cluster.agree, 20)
        assert cluster.shells["b"].mesh.database.count("a") == 8
