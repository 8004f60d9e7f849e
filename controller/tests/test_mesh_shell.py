"""Control channels over loopback: mutual TLS, strangers; what is told is told before the call returns, what is heard in
one pass of the event loop is heard together.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from depot.address import Endpoint, FlowKey, parse_address
from depot.cluster import (
    ClusterEvent,
    ConnectionAction,
    ConnectionsLearnt,
    PeerDown,
    PeerLost,
    PeerUp,
    StrangerTurnedAway,
    key_of,
)
from depot.cluster.certificates_shell import CertificateError, issue
from depot.cluster.mesh_shell import MeshShell
from depot.cluster.wire import encode_connection
from depot.config.cluster_model import ClusterConfig, PeerConfig
from depot.config.host_port import HostPort

pytestmark = pytest.mark.server

FLOW = FlowKey.between(Endpoint(parse_address("10.0.0.1"), 4000), Endpoint(parse_address("192.0.2.1"), 80), 6)


class Heard:
    """What a member hears."""

    def __init__(self) -> None:
        self.events: list[ClusterEvent] = []
        self.times = 0
        """That it was told anything."""
        self.strangers: list[str] = []

    def mesh_events(self, events: Sequence[ClusterEvent]) -> None:
        self.events += events
        self.times += 1

    def turned_away(self, address: str, reason: str) -> None:
        self.strangers.append(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 there are many things to wait for
            await asyncio.sleep(0.005)


class Cluster:
    """Members a, b, … on loopback; `folder`: their certificates, None: plain."""

    def __init__(self, folder: Path | None, names: str = "ab") -> None:
        self.ports = {name: free_port() for name in names}
        self.folder = folder
        self.heard = {name: Heard() for name in names}
        self.shells: dict[str, MeshShell] = {}

    def config(self, name: str) -> ClusterConfig:
        peers = tuple(
            PeerConfig(
                other, HostPort("127.0.0.1", port), (), keepalive=0.2, retry_interval=0.05, longest_retry_interval=0.1
            )
            for other, port in self.ports.items()
            if other != name
        )
        config = ClusterConfig(name, HostPort("127.0.0.1", self.ports[name]), (), peers=peers)
        if self.folder is None:
            return config
        return replace(
            config, ca=self.folder / "ca.pem", cert=self.folder / f"{name}.pem", key=self.folder / f"{name}.key"
        )

    async def start(self, name: str, **changes: Path) -> MeshShell:
        shell = MeshShell(replace(self.config(name), **changes), self.heard[name])  # type: ignore[arg-type]
        self.shells[name] = shell
        await shell.start()
        return shell

    def up(self, name: str) -> list[str]:
        return [event.identity for event in self.heard[name].events if isinstance(event, PeerUp)]


@asynccontextmanager
async def cluster(folder: Path | None, names: str = "ab") -> AsyncIterator[Cluster]:
    made = Cluster(folder, names)
    try:
        yield made
    finally:
        for shell in made.shells.values():
            await shell.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    issue(tmp_path / "pki", ["a", "b"])
    return tmp_path / "pki"


@pytest.mark.parametrize("with_tls", [True, False])
async def test_members_find_each_other_and_tell_their_connections(folder: Path, with_tls: bool) -> None:
    async with cluster(folder if with_tls else None) as made:
        a, b = await made.start("a"), await made.start("b")
        await until(lambda: made.up("a") and made.up("b"))
        assert a.mesh.in_sync
        a.tell_peers([(FLOW, True, ConnectionAction.FORWARD)])
        await until(lambda: b.mesh.database.lookup(FLOW))
        claim = b.mesh.database.lookup(FLOW)
        assert claim is not None
        assert (claim.owner, claim.action, claim.source_is_hi) == ("a", ConnectionAction.FORWARD, True)
        a.tell_peers([(FLOW, False, None)])
        await until(lambda: b.mesh.database.lookup(FLOW) is None)


async def test_what_is_told_is_with_the_transports_at_once() -> None:
    async with cluster(None) as made:
        a = await made.start("a")
        await made.start("b")
        await until(lambda: made.up("a") and made.up("b"))
        sent = a.mesh.statistics.bytes_sent
        a.tell_peers([(FLOW, False, ConnectionAction.FORWARD)])
        assert a.mesh.statistics.bytes_sent == sent + 16


def install(flow: FlowKey) -> bytes:
    return encode_connection(True, ConnectionAction.FORWARD, key_of(flow), False)


def flow_on(port: int) -> FlowKey:
    return FlowKey(1, port, 2, 80, 6)


def channel_of(shell: MeshShell, peer: str) -> int:
    counted = shell.mesh._peers[peer].counted
    assert counted is not None
    return counted.number


@asynccontextmanager
async def three() -> AsyncIterator[tuple[MeshShell, Heard]]:
    """Member a with its peers b and c, in sync; what it has heard so far is forgotten."""
    async with cluster(None, "abc") as made:
        a = await made.start("a")
        await made.start("b")
        await made.start("c")
        await until(lambda: set(made.up("a")) == {"b", "c"})
        heard = made.heard["a"]
        heard.events.clear()
        heard.times = 0
        yield a, heard


async def test_what_is_heard_in_one_pass_of_the_loop_is_told_at_once_and_in_order() -> None:
    async with three() as (a, heard):
        b, c = channel_of(a, "b"), channel_of(a, "c")
        for port, channel in enumerate((b, c, b), 1):
            a.received(channel, install(flow_on(port)))
        assert a.mesh.database.lookup(flow_on(1)) is None  # known and told are one: nobody relays what is still held
        await asyncio.sleep(0)
        assert heard.times == 1
        learnt = [event for event in heard.events if isinstance(event, ConnectionsLearnt)]
        assert [(event.identity, list(event.keys)) for event in learnt] == [
            ("b", [key_of(flow_on(1))]),
            ("c", [key_of(flow_on(2))]),
            ("b", [key_of(flow_on(3))]),
        ]
        assert all(a.mesh.database.lookup(flow_on(port)) for port in (1, 2, 3))


async def test_what_a_peer_said_before_its_channel_broke_is_heard_first() -> None:
    async with three() as (a, heard):
        channel = channel_of(a, "b")
        a.received(channel, install(FLOW))
        a.lost(channel, "broken")
        assert [type(event) for event in heard.events] == [ConnectionsLearnt, PeerLost]


async def test_bytes_that_came_with_the_timer_prove_a_peer_alive() -> None:
    async with three() as (a, heard):
        counted = a.mesh._peers["b"].counted
        assert counted is not None
        counted.channel.heard_at = a.now() - 0.7  # its three intervals are over
        a.received(channel_of(a, "b"), install(FLOW))
        a._fire()
        await asyncio.sleep(0)
        assert [type(event) for event in heard.events] == [ConnectionsLearnt]


async def test_own_connections_do_not_wait_for_the_end_of_the_pass() -> None:
    async with three() as (a, _):
        sent = a.mesh.statistics.bytes_sent
        a.received(channel_of(a, "b"), install(flow_on(1)))
        a.tell_peers([(FLOW, False, ConnectionAction.FORWARD)])
        assert a.mesh.statistics.bytes_sent == sent + 2 * 16
        assert a.mesh.database.lookup(flow_on(1)) is None


async def test_a_table_is_told_to_who_comes_later(folder: Path) -> None:
    async with cluster(folder) as made:
        a = await made.start("a")
        a.tell_peers([(FlowKey(1, 1, 2, port, 6), False, ConnectionAction.BYPASS) for port in range(1, 30_001)])
        b = await made.start("b")
        await until(lambda: made.up("b"))
        assert len(b.mesh.database) == 30_000


async def test_a_member_that_is_gone_is_missed_and_found_again(folder: Path) -> None:
    async with cluster(folder) as made:
        a = await made.start("a")
        a.tell_peers([(FLOW, False, ConnectionAction.FORWARD)])
        b = await made.start("b")
        await until(lambda: made.up("b"))
        await a.stop()
        await until(lambda: any(isinstance(event, PeerLost) for event in made.heard["b"].events))
        assert b.mesh.database.lookup(FLOW)  # it may be back in a moment
        await until(lambda: any(isinstance(event, PeerDown) for event in made.heard["b"].events))
        assert b.mesh.database.lookup(FLOW) is None
        await made.start("a")
        await until(lambda: len(made.up("b")) == 2)


async def test_a_member_that_leaves_is_forgotten_at_once(folder: Path) -> None:
    async with cluster(folder) as made:
        a = await made.start("a")
        await made.start("b")
        await until(lambda: made.up("a") and made.up("b"))
        a.leave()
        await until(lambda: any(isinstance(event, PeerDown) for event in made.heard["b"].events), 0.5)
        assert not any(isinstance(event, PeerLost) for event in made.heard["b"].events)


async def test_a_certificate_of_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    issue(tmp_path / "other", ["b"])
    async with cluster(folder) as made:
        await made.start("a")
        other = tmp_path / "other"
        await made.start("b", ca=folder / "ca.pem", cert=other / "b.pem", key=other / "b.key")
        await until(lambda: len(made.heard["a"].strangers) > 1)  # it calls again
        assert all("certificate refused" in reason for reason in made.heard["a"].strangers)
        assert made.up("a") == made.up("b") == []


async def test_an_expired_certificate_is_refused(folder: Path) -> None:
    (folder / "b.pem").unlink()
    (folder / "b.key").unlink()
    issue(folder, ["b"], days=1, now=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3))
    async with cluster(folder) as made:
        await made.start("a")
        await made.start("b")
        await until(lambda: len(made.heard["a"].strangers) > 1)  # it calls again
        assert all("certificate has expired" in reason for reason in made.heard["a"].strangers)
        assert made.up("a") == made.up("b") == []


async def test_nobody_speaks_for_another_member(folder: Path) -> None:
    issue(folder, ["c"])
    async with cluster(folder, "abc") as made:
        a = await made.start("a")
        shell = await made.start("b", cert=folder / "c.pem", key=folder / "c.key")  # c's certificate, b's name
        await until(lambda: a.mesh.statistics.rejects_sent + shell.mesh.statistics.rejects_received > 2)
        assert made.up("a") == []


async def test_a_stranger_on_the_port_is_turned_away_and_nobody_else_notices(folder: Path) -> None:
    async with cluster(folder) as made:
        await made.start("a")
        await made.start("b")
        await until(lambda: made.up("a") and made.up("b"))
        reader, writer = await asyncio.open_connection("127.0.0.1", made.ports["a"])
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read(100) is not None
        writer.close()
        await until(lambda: made.heard["a"].strangers)
        assert "TLS failed" in made.heard["a"].strangers[0]
        assert not any(isinstance(event, PeerLost | PeerDown) for event in made.heard["a"].events)


async def test_a_stranger_without_a_certificate_is_turned_away(folder: Path) -> None:
    async with cluster(folder) as made:
        await made.start("a")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(folder / "ca.pem")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.ports["a"], ssl=context)
            assert await reader.read(100) == b""
            writer.close()
        except OSError:
            pass
        await until(lambda: made.heard["a"].strangers)


async def test_a_stranger_on_a_plain_port_is_turned_away() -> None:
    async with cluster(None) as made:
        await made.start("a")
        reader, writer = await asyncio.open_connection("127.0.0.1", made.ports["a"])
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert len(await reader.read()) <= 64
        writer.close()
        await until(lambda: any(isinstance(event, StrangerTurnedAway) for event in made.heard["a"].events))


class TestCertificates:
    def test_a_member_added_later_is_signed_by_the_same_authority(self, folder: Path) -> None:
        before = (folder / "ca.pem").read_bytes(), (folder / "a.pem").read_bytes()
        written = issue(folder, ["c"])
        assert [path.name for path in written] == ["c.pem", "c.key"]
        assert ((folder / "ca.pem").read_bytes(), (folder / "a.pem").read_bytes()) == before

    def test_nothing_is_overwritten(self, folder: Path) -> None:
        before = (folder / "a.key").read_bytes()
        with pytest.raises(CertificateError, match=r"a\.pem exists"):
            issue(folder, ["d", "a"])
        assert (folder / "a.key").read_bytes() == before
        assert not (folder / "d.pem").exists()

    def test_keys_are_for_their_owner_only(self, folder: Path) -> None:
        assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}

    def test_without_the_authoritys_key_nothing_can_be_made(self, folder: Path) -> None:
        (folder / "ca.key").unlink()
        with pytest.raises(CertificateError, match=r"ca\.key is missing"):
            issue(folder, ["c"])
