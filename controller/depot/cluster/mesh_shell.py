"""The control channels of one member as TCP connections: bytes, one timer, and the core's orders carried out.

No decision is made here. What `tell_peers` is given is with the transports of all channels when it returns, in order;
what a peer does not read waits in the core, which gives up a peer that is too slow. What peers say is given to the core
once in each pass of the event loop, for all channels together: under load a member hears many of them in a pass, and
what follows from hearing costs as much for one of them as for all (docs/decisions/0011).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol, cast

from depot.address import FlowKey
from depot.cluster.events import CloseChannel, ClusterEvent, OpenChannel
from depot.cluster.mesh import MOST_STRANGERS, Mesh
from depot.cluster.settings import PeerSettings
from depot.cluster.tls_shell import TlsContexts, certified_name
from depot.cluster.wire import ConnectionAction
from depot.config.cluster_model import ClusterConfig
from depot.config.host_port import HostPort

__all__ = ["MeshObserver", "MeshShell", "OwnChange", "peer_settings"]

HANDSHAKE_TIMEOUT = 5.0
"""Seconds that a caller may take for TLS."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a peer may take to read the last message."""
CHUNK = 1 << 16
"""Bytes given to a transport at a time."""
READ = 1 << 16
"""Bytes taken from one at a time: 4096 messages. So a pass of the loop over twenty peers takes a tenth of a second at
most, and keepalives are sent in time."""

wire = logging.getLogger("depot.wire")

OwnChange = tuple[FlowKey, bool, ConnectionAction | None]
"""An own connection: its flow, whether its higher endpoint is the source, and the action; None: it has ended."""


class MeshObserver(Protocol):
    """Who hears what happens."""

    def mesh_events(self, events: Sequence[ClusterEvent]) -> None:
        """What the core tells, but for orders."""

    def turned_away(self, address: str, reason: str) -> None:
        """Somebody called and could not prove to be of the cluster."""


class MeshShell:
    """One member's control channels. Raises OSError, ssl.SSLError for certificates that will not do."""

    def __init__(self, config: ClusterConfig, observer: MeshObserver) -> None:
        self._config = config
        self._observer = observer
        self._tls = _contexts(config)
        self.mesh = Mesh(config.name, peer_settings(config), random.random, self.now())
        """The core."""
        self._lines: dict[int, _Line] = {}
        self._connecting: dict[int, asyncio.Task[None]] = {}
        self._callers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.buffer = memoryview(bytearray(READ))
        """Where channels read; asyncio would allocate as much anew for each read, which costs more than the reading."""
        self._heard: list[tuple[int, bytes]] = []  # what came on which channel in this pass of the loop
        self._settling_soon: asyncio.Handle | None = None
        self._settling = False
        self._stopped = False

    def now(self) -> float:
        """The loop's time, seconds."""
        return asyncio.get_running_loop().time()

    # Life

    async def start(self) -> None:
        """Listen, and call the peers. Raises OSError."""
        listen = self._config.listen
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Caller(self), listen.host, listen.port, reuse_address=True)
        self.mesh.handle_timer(self.now())
        self.settle()

    @property
    def port(self) -> int:
        """Where we listen, also if the system chose."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    def reconfigure(self, config: ClusterConfig) -> None:
        """Take other peers; what else has changed takes effect at the next start."""
        self._config = config
        self.mesh.set_peers(peer_settings(config), self.now())
        self.settle()

    def leave(self) -> None:
        """Tell all peers that we leave: they forget our connections at once. Nobody is called or let in any more."""
        self.mesh.leave(self.now())
        self.settle()

    async def stop(self) -> None:
        """Let go of everything. The peers keep what they know of us for as long as they would for a silent member."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        tasks = [*self._connecting.values(), *self._callers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = [line.closed for line in self._lines.values()]
        for line in self._lines.values():
            line.transport.close()
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_TIMEOUT)
        for line in list(self._lines.values()):
            line.transport.abort()

    # For the switch

    def tell_peers(self, changes: Iterable[OwnChange]) -> None:
        """Tell all peers of own connections that began or ended; returns when the transports have it."""
        now = self.now()
        for flow, source_is_hi, action in changes:
            if action is None:
                self.mesh.remove(flow)
            else:
                self.mesh.install(flow, source_is_hi, action, now)
        self._flush()
        if not self._settling:
            self._settle_soon()

    # Work

    def settle(self) -> None:
        """Do what follows from what the core was told."""
        if self._settling or self._stopped:
            return
        if self._settling_soon is not None:
            self._settling_soon.cancel()
            self._settling_soon = None
        self._settling = True
        try:
            self._hear()
            while True:
                events = self.mesh.take_events()
                self._flush()
                if not events:
                    break
                self._carry_out(events)
        finally:
            self._settling = False
        self._arm()

    def _settle_soon(self) -> None:
        """Settle once before the loop waits again."""
        if self._settling_soon is None:
            self._settling_soon = asyncio.get_running_loop().call_soon(self.settle)

    def _hear(self) -> None:
        """Let the core hear what came in this pass of the loop."""
        heard, self._heard = self._heard, []
        now = self.now()
        for number, data in heard:
            self.mesh.receive(number, data, now)

    def _carry_out(self, events: Sequence[ClusterEvent]) -> None:
        news: list[ClusterEvent] = []
        for event in events:
            if isinstance(event, OpenChannel):
                task = asyncio.create_task(self._connect(event), name=f"call {event.identity}")
                self._connecting[event.channel] = task
            elif isinstance(event, CloseChannel):
                self._close(event.channel)
            else:
                news.append(event)
        if news:
            self._observer.mesh_events(news)

    def _flush(self) -> None:
        for number in self.mesh.take_writable(self.now()):
            if (line := self._lines.get(number)) is not None:
                line.write()

    def _arm(self) -> None:
        deadline = self.mesh.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._stopped:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._hear()
        self.mesh.handle_timer(self.now())
        self.settle()

    # Channels

    async def _connect(self, order: OpenChannel) -> None:
        """Call a peer."""
        peer = next((one for one in self._config.peers if one.name == order.identity), None)
        detail = "" if peer is not None else "no longer a peer"
        try:
            if peer is not None:
                await asyncio.get_running_loop().create_connection(
                    lambda: _Line(self, order.channel, is_call=True),
                    peer.address.host,
                    peer.address.port,
                    ssl=None if self._tls is None else self._tls.client,
                    local_addr=_local_address(self._config.listen, peer.address),
                )
        except OSError as error:
            detail = _describe(error)
        finally:
            self._connecting.pop(order.channel, None)
        if detail:
            wire.debug("%s: cannot be called: %s", order.identity, detail)
            self.mesh.disconnected(order.channel, self.now(), detail)
            self.settle()

    def connected(self, line: _Line) -> None:
        """A call of ours was taken."""
        self._lines[line.number] = line
        self.mesh.connected(line.number, self.now(), certified_name(line.transport))
        self.settle()

    def _close(self, number: int) -> None:
        """Give up a channel: its last message is sent if the peer takes it soon."""
        if (line := self._lines.get(number)) is not None:
            line.finish()
        elif (task := self._connecting.pop(number, None)) is not None:
            task.cancel()
            self.mesh.disconnected(number, self.now())

    def called(self, transport: asyncio.Transport, caller: _Caller) -> None:
        """Somebody has called: have TLS done, then let the core hear it."""
        if self._stopped or len(self._callers) >= MOST_STRANGERS:
            transport.abort()
            return
        transport.pause_reading()
        task = asyncio.create_task(self._welcome(transport, caller), name="caller")
        self._callers.add(task)
        task.add_done_callback(self._callers.discard)

    async def _welcome(self, transport: asyncio.Transport, caller: _Caller) -> None:
        address = _address(transport)
        if self._tls is not None:
            try:
                upgraded = await asyncio.get_running_loop().start_tls(
                    transport, caller, self._tls.server, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
                )
            except (OSError, EOFError) as error:
                transport.abort()
                self._observer.turned_away(address, _describe(error))
                return
            if upgraded is None:
                return
            transport = upgraded
        number = self.mesh.accept(self.now(), certified_name(transport))
        if number is None:
            transport.abort()
            self._observer.turned_away(address, "too many callers, or we are leaving")
            return
        line = self._lines[number] = _Line(self, number, is_call=False)
        line.connection_made(transport)
        transport.set_protocol(line)
        if caller.early:
            self.mesh.receive(number, bytes(caller.early), self.now())
        if transport.is_closing():
            self.lost(number, "")
        else:
            transport.resume_reading()
        self.settle()

    def received(self, number: int, data: bytes) -> None:
        """Bytes came on a channel."""
        self._heard.append((number, data))
        self._settle_soon()

    def lost(self, number: int, detail: str) -> None:
        """A channel's TCP connection has ended."""
        if self._lines.pop(number, None) is not None:
            self._hear()
            self.mesh.disconnected(number, self.now(), detail)
            self.settle()

    def address_of(self, number: int) -> str:
        """Who is at the other end of a channel; empty if it is no more."""
        line = self._lines.get(number)
        return "" if line is None else line.address


class _Caller(asyncio.Protocol):
    """Somebody who has called and is not in yet."""

    def __init__(self, shell: MeshShell) -> None:
        self._shell = shell
        self.early = bytearray()
        """What came with the last message of TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._shell.called(cast("asyncio.Transport", transport), self)

    def data_received(self, data: bytes) -> None:
        self.early += data


class _Line(asyncio.BufferedProtocol):
    """A channel."""

    transport: asyncio.Transport
    address = ""
    """Who is at the other end; asked at the start, since TLS does not tell any more when it has ended."""

    def __init__(self, shell: MeshShell, number: int, *, is_call: bool) -> None:
        self._shell = shell
        self.number = number
        self._is_call = is_call
        self._paused = self._finishing = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.address = _address(transport)
        if self._is_call:
            self._shell.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._shell.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._shell.received(self.number, bytes(self._shell.buffer[:nbytes]))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._shell.lost(self.number, "" if error is None else _describe(error))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.write()

    def write(self) -> None:
        """Give the transport what it takes."""
        while not self._paused and (data := self._shell.mesh.data_to_send(self.number, CHUNK)):
            self.transport.write(data)

    def finish(self) -> None:
        """Send the last of it and close, in time."""
        if self._finishing:
            return
        self._finishing = True
        if data := self._shell.mesh.data_to_send(self.number):
            self.transport.write(data)
        self.transport.close()
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.transport.abort)


def peer_settings(config: ClusterConfig) -> list[PeerSettings]:
    """The core's settings of the configured peers."""
    return [
        PeerSettings(
            peer.name,
            keepalive_interval=peer.keepalive,
            silence_intervals=peer.misses,
            connect_attempts=peer.retries,
            first_backoff=peer.retry_interval,
            longest_backoff=peer.longest_retry_interval,
        )
        for peer in config.peers
    ]


def _contexts(config: ClusterConfig) -> TlsContexts | None:
    if config.ca is None or config.cert is None or config.key is None:
        return None
    return TlsContexts(config.ca, config.cert, config.key)


def _local_address(listen: HostPort, peer: HostPort) -> tuple[str, int] | None:
    """We call from where we listen, as far as that is one address of the peer's family."""
    with suppress(ValueError):
        own, other = ipaddress.ip_address(listen.host), ipaddress.ip_address(peer.host)
        if own.version == other.version and not own.is_unspecified:
            return listen.host, 0
    return None


def _address(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    return "somebody" if not name else str(HostPort(name[0], name[1]))


def _describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
