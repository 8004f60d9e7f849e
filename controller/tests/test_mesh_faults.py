"""Members on loopback behind relays that can be cut: halves that meet again, half-open channels, restart storms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import permutations

import pytest
from controller.tests.test_mesh_shell import Heard, free_port, until

from depot.address import FlowKey
from depot.cluster import ConnectionAction, PeerDown
from depot.cluster.mesh_shell import MeshShell
from depot.config.cluster_model import ClusterConfig, PeerConfig
from depot.config.host_port import HostPort

pytestmark = pytest.mark.server


class Relay:
    """One member's way to another. While it is cut nothing passes, neither bytes nor ends, and nobody is told."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = free_port()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._called, "127.0.0.1", self.port)

    def cut(self) -> None:
        self._passes.clear()

    def heal(self) -> None:
        self._passes.set()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await self._passes.wait()
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
            for source, sink in ((reader, other_writer), (other_reader, writer)):
                task = asyncio.create_task(self._pump(source, sink))
                self._tasks.add(task)
            return
        writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                await self._passes.wait()
                sink.write(data)
            await self._passes.wait()
        except OSError:
            pass
        finally:
            sink.close()


class Net:
    """Members whose every channel passes a relay."""

    def __init__(self, names: str) -> None:
        self.ports = {name: free_port() for name in names}
        self.heard = {name: Heard() for name in names}
        self.shells: dict[str, MeshShell] = {}
        self.relays = {(one, other): Relay(self.ports[other]) for one, other in permutations(names, 2)}

    async def start(self, name: str) -> None:
        peers = tuple(
            PeerConfig(
                other,
                HostPort("127.0.0.1", self.relays[name, other].port),
                (),
                keepalive=0.2,
                retry_interval=0.05,
                longest_retry_interval=0.1,
            )
            for other in self.ports
            if other != name
        )
        config = ClusterConfig(name, HostPort("127.0.0.1", self.ports[name]), (), peers=peers)
        self.heard[name].events.clear()
        self.shells[name] = MeshShell(config, self.heard[name])
        await self.shells[name].start()

    def between(self, left: Iterable[str], right: Iterable[str]) -> list[Relay]:
        pairs = [(one, other) for one in left for other in right]
        return [relay for pair in pairs for relay in (self.relays[pair], self.relays[pair[::-1]])]

    def down(self, name: str) -> set[str]:
        return {event.identity for event in self.heard[name].events if isinstance(event, PeerDown)}

    def owner(self, name: str, flow: FlowKey) -> str | None:
        """Whom `name` takes for the owner of a peer's flow."""
        claim = self.shells[name].mesh.database.lookup(flow)
        return None if claim is None else claim.owner

    def all_know(self, flow: FlowKey, owner: str) -> bool:
        return all(self.owner(name, flow) == owner for name in self.shells if name != owner)


@asynccontextmanager
async def net(names: str) -> AsyncIterator[Net]:
    made = Net(names)
    try:
        for relay in made.relays.values():
            await relay.start()
        for name in names:
            await made.start(name)
        yield made
    finally:
        for relay in made.relays.values():
            relay.heal()
        for shell in made.shells.values():
            await shell.stop()
        for relay in made.relays.values():
            await relay.stop()


def flow_of(number: int) -> FlowKey:
    return FlowKey(1, 1, 2, number, 6)


async def test_halves_that_meet_again_have_no_stale_entry_and_all_live_ones() -> None:
    async with net("abcd") as made:
        for number, name in enumerate("abcd", 1):
            made.shells[name].tell_peers([(flow_of(number), False, ConnectionAction.FORWARD)])
        await until(lambda: all(made.all_know(flow_of(number), name) for number, name in enumerate("abcd", 1)))
        cuts = made.between("ab", "cd")
        for relay in cuts:
            relay.cut()
        await until(lambda: all(made.down(name) == set("cd" if name in "ab" else "ab") for name in "abcd"), 10)
        assert made.owner("a", flow_of(3)) is None
        assert made.owner("a", flow_of(2)) == "b"
        made.shells["a"].tell_peers([(flow_of(1), False, None), (flow_of(5), False, ConnectionAction.FORWARD)])
        for relay in cuts:
            relay.heal()
        expected = {2: "b", 3: "c", 4: "d", 5: "a"}
        await until(lambda: all(made.all_know(flow_of(number), name) for number, name in expected.items()), 10)
        assert [made.owner(name, flow_of(1)) for name in "bcd"] == [None] * 3


async def test_a_restart_storm_leaves_only_what_the_last_start_told() -> None:
    async with net("ab") as made:
        made.shells["b"].tell_peers([(flow_of(100), False, ConnectionAction.FORWARD)])
        for number in range(1, 11):
            await made.shells["a"].stop()
            await made.start("a")
            made.shells["a"].tell_peers([(flow_of(number), False, ConnectionAction.FORWARD)])
            if number % 2:
                await until(lambda number=number: made.owner("b", flow_of(number)) == "a")  # type: ignore[misc]
        await until(lambda: made.owner("b", flow_of(10)) == "a" and made.owner("a", flow_of(100)) == "b")
        await until(lambda: [made.owner("b", flow_of(number)) for number in range(1, 10)] == [None] * 9)
