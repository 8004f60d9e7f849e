"""One real member in a process of its own: a depot's control channels, database and all that it does about what its
peers say; only the switch is missing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from depot.address import Endpoint, FlowKey, Protocol, parse_address
from depot.cluster import ClusterEvent, ConnectionAction
from depot.cluster.mesh_shell import MeshShell, OwnChange
from depot.config import parse
from depot.config.cluster_model import ClusterConfig, PeerConfig
from depot.config.host_port import HostPort
from depot.daemon.cluster_member import ClusterMember
from depot.daemon.event_log import EventLog
from depot.daemon.switch_runner import Membership, SwitchRunner
from depot.p4runtime.switch_shell import Pipeline
from depot.program import find_compiled_program

__all__ = ["LOOPBACK", "Account", "Place", "changes", "name_of", "ring", "serve"]

LOOPBACK = "127.0.0.1"
PERIOD = 0.001
"""Seconds between looks for requests that are due."""
SWITCH = """
[[switch]]
name = "edge"
address = "127.0.0.1:9"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16"]
"""
_TCP_INFO = struct.Struct("156xI40xQ")
"""The beginning of Linux's `tcp_info`: segments with data and bytes that were sent."""


@dataclass(frozen=True, slots=True)
class Place:
    """A member of the benchmark's cluster."""

    ports: tuple[int, ...]
    """Where each member listens."""
    number: int
    """Which of them it is."""
    requests: int
    """Its requests under way from the beginning."""
    certificates: Path | None = None
    """Folder of all members' certificates; None: plain TCP."""

    def config(self) -> ClusterConfig:
        """The member's configuration."""
        peers = tuple(
            PeerConfig(name_of(number), HostPort(LOOPBACK, port), (_tunnel(number),))
            for number, port in enumerate(self.ports)
            if number != self.number
        )
        name, listen = name_of(self.number), HostPort(LOOPBACK, self.ports[self.number])
        if (folder := self.certificates) is None:
            return ClusterConfig(name, listen, (_tunnel(self.number),), peers=peers)
        ca, cert, key = folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key"
        return ClusterConfig(name, listen, (_tunnel(self.number),), ca, cert, key, peers=peers)


def name_of(number: int) -> str:
    """A member's name."""
    return f"m{number:02}"


def _tunnel(number: int) -> int:
    return parse_address(f"192.0.2.{number + 1}")


@dataclass(frozen=True, slots=True)
class Account:
    """A member at a moment."""

    at: float
    """Seconds of the machine's steady clock."""
    cpu: float
    """Seconds of processor that its process has had."""
    messages: int
    """Connection messages received."""
    requests: int
    """Own requests begun."""
    bytes_sent: int
    """What TCP has sent on all channels: no headers."""
    segments_sent: int
    """In how many segments."""
    resident: int
    """Bytes of memory that its process has of its own."""


_CLIENTS = parse_address("10.0.0.0")
_SERVER = Endpoint(parse_address("198.51.100.1"), 80)


def ring(requests: int) -> int:
    """How many requests of a member differ that has so many at once; then the first comes again."""
    return requests + max(1, requests // 10)


def changes(member: int, request: int, action: ConnectionAction | None) -> list[OwnChange]:
    """What is told of a request's two connections, the client's to the proxy and the proxy's to the server.

    `request`: below 65 536; `action`: None when they have ended.
    """
    client = _CLIENTS + (member << 16) + request
    inbound = FlowKey.between(Endpoint(client, 40_000), _SERVER, Protocol.TCP)
    outbound = FlowKey.between(Endpoint(client, 50_000), _SERVER, Protocol.TCP)
    return [(inbound, False, action), (outbound, True, action)]


class _Member(ClusterMember):
    """A depot in its cluster that tells when it knows enough."""

    def __init__(self, place: Place, pipe: Connection) -> None:
        self._runner: list[SwitchRunner] = []
        super().__init__(place.config(), EventLog(), lambda: self._runner)
        self._place = place
        self._pipe = pipe
        self._wanted = -1
        self._requests = 0  # begun since the start
        self._tasks: list[asyncio.Task[None]] = []
        pipeline = Pipeline(find_compiled_program())
        membership = Membership(self.config, (), self, self.tell_peers)
        switch = parse(SWITCH).switches[0]
        self._runner.append(SwitchRunner(switch, (), pipeline, lambda *_: None, lambda _: None, membership))

    def mesh_events(self, events: Sequence[ClusterEvent]) -> None:
        super().mesh_events(events)
        self._look()

    def _look(self) -> None:
        if self._wanted >= 0 and self.in_sync and len(self.shell.mesh.database) == self._wanted:
            self._wanted = -1
            self._pipe.send(time.monotonic())

    def obey(self) -> None:
        """Do what the benchmark says."""
        order, number = self._pipe.recv()
        if order == "own":
            for request in range(self._place.requests):
                for flow, source_is_hi, _ in changes(self._place.number, request, None):
                    self.shell.mesh.install(flow, source_is_hi, ConnectionAction.FORWARD, self.shell.now())
        elif order == "start":
            self._tasks.append(asyncio.create_task(self.start()))
        elif order == "know":
            self._wanted = number
            self._look()
        elif order == "requests":
            self._tasks.append(asyncio.create_task(self._work(number)))
        elif order == "account":
            self._pipe.send(self._account())

    async def _work(self, rate: int) -> None:
        """So many requests begin each second, and as many end."""
        active, different = self._place.requests, ring(self._place.requests)
        begun = time.monotonic()
        while True:
            due = int((time.monotonic() - begun) * rate)
            told: list[OwnChange] = []
            for request in range(self._requests, due):
                told += changes(self._place.number, request % different, None)
                told += changes(self._place.number, (request + active) % different, ConnectionAction.FORWARD)
            if told:
                self.shell.tell_peers(told)
                self._requests = due
            await asyncio.sleep(PERIOD)

    def _account(self) -> Account:
        sent = segments = 0
        assert isinstance(self.shell, MeshShell)
        for line in self.shell._lines.values():  # what TCP counts, no other part of the product wants to know
            plug = line.transport.get_extra_info("socket")
            counts = _TCP_INFO.unpack(plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
            segments += counts[0]
            sent += counts[1]
        mesh, now = self.shell.mesh, time.monotonic()
        received = mesh.statistics.messages_received
        return Account(now, time.process_time(), received, self._requests, sent, segments, _resident())


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:"))


def serve(place: Place, pipe: Connection) -> None:
    """Be a member until the pipe ends."""
    asyncio.run(_serve(place, pipe))


async def _serve(place: Place, pipe: Connection) -> None:
    member, ended = _Member(place, pipe), asyncio.Event()

    def readable() -> None:
        try:
            member.obey()
        except (EOFError, ConnectionResetError):
            loop.remove_reader(pipe.fileno())
            ended.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), readable)
    pipe.send("ready")
    await ended.wait()
    await member.stop()
