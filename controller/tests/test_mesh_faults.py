"""Members on loopback behind relays that can be cut: halves that meet again, half-open channels, restart storms."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import permutations

import pytest
from controller.tests.test_mesh_shell import Heard, free_port, until

from depot.address import FlowKey
from depot.cluster import ConnectionAction, PeerDown, PeerLost
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


async def test_a_half_open_channel_is_noticed_and_replaced_by_the_member_that_is_back() -> None:
    async with net("ab") as made:
        made.shells["a"].tell_peers([(flow_of(1), False, ConnectionAction.FORWARD)])
        await until(lambda: made.owner("b", flow_of(1)) == "a")
        for relay in made.between("a", "b"):
            relay.cut()
        await made.shells["a"].stop()  # b sees no end of its channel
        await asyncio.sleep(0.1)
        assert not any(isinstance(event, PeerLost | PeerDown) for event in made.heard["b"].events)
        await until(lambda: made.down("b") == {"a"}, 10)
        assert made.owner("b", flow_of(1)) is None
        for relay in made.between("a", "b"):
            relay.heal()
        await made.start("a")
        made.shells["a"].tell_peers([(flow_of(2), False, ConnectionAction.FORWARD)])
        await until(lambda: made.owner("b", flow_of(2)) == "a")
        assert made.owner("b", flow_of(1)) is None


MEMBER = """
import asyncio, sys
from controller.tests.test_mesh_faults import Net, flow_of
from depot.cluster import ConnectionAction

async def main(port, peer_port):
    made = Net("ab")
    made.ports["a"] = port
    made.relays["a", "b"].port = peer_port
    await made.start("a")
    made.shells["a"].tell_peers([(flow_of(1), False, ConnectionAction.FORWARD)])
    while True:
        print(len(made.shells["a"].mesh.database), flush=True)
        await asyncio.sleep(0.02)

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


@asynccontextmanager
async def b_and_a_process() -> AsyncIterator[tuple[Net, asyncio.subprocess.Process]]:
    """Member b here, and member a, which has the connection 1 and prints how many of b's it knows, as a process."""
    made = Net("ab")
    made.relays["b", "a"].port = made.ports["a"]  # no relay
    await made.start("b")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEMBER, str(made.ports["a"]), str(made.ports["b"]), stdout=asyncio.subprocess.PIPE
    )
    try:
        await until(lambda: made.owner("b", flow_of(1)) == "a", 20)
        yield made, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        await made.shells["b"].stop()


async def test_a_killed_member_has_no_entries_left() -> None:
    async with b_and_a_process() as (made, process):
        process.kill()
        await until(lambda: made.down("b") == {"a"}, 10)
        assert made.owner("b", flow_of(1)) is None


async def test_a_member_that_does_not_read_is_given_up_and_knows_all_when_it_reads_again() -> None:
    """The kernel takes bytes for a stopped process until its window is closed."""
    connections, rounds = 30_000, 12
    flows = [flow_of(2 + number) for number in range(connections)]
    async with b_and_a_process() as (made, process):
        process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(rounds):  # 11 MB, more than the kernel and the limit take together
                made.shells["b"].tell_peers([(flow, False, ConnectionAction.BYPASS) for flow in flows])
                made.shells["b"].tell_peers([(flow, False, None) for flow in flows])
            made.shells["b"].tell_peers([(flow, False, ConnectionAction.BYPASS) for flow in flows])
            await until(lambda: made.down("b") == {"a"}, 15)
            assert made.shells["b"].mesh.statistics.slow_readers == 1
            assert made.owner("b", flow_of(1)) is None
        finally:
            process.send_signal(signal.SIGCONT)
        await until(lambda: made.owner("b", flow_of(1)) == "a", 20)
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while int(await process.stdout.readline()) != connections:
                pass
