"""The bus of one member as a NATS client: subjects, the store in JetStream, one timer, the core's orders carried out.

No decision is made here. What `tell_peers` is given is with the transport to the server when it returns, in order.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
import time
from collections.abc import Coroutine, Iterable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig, StorageType
from nats.js.kv import KeyValue

from depot.cluster.bus import Bus, BusOrder, FetchTable, StoreTable
from depot.cluster.mesh_shell import MeshObserver, OwnChange, peer_settings
from depot.cluster.tls_shell import TlsContexts
from depot.config.cluster_model import ClusterConfig

__all__ = ["BUCKET", "NatsShell"]

BUCKET = "depot-tables"
"""The key-value store of the tables."""
PART = 1 << 18
"""Bytes of a value: a quarter of what a server takes by default."""
RECONNECT_WAIT = 0.25
"""Seconds between attempts to reach the server."""
REFUSED_WAIT = 1.0
"""Seconds until a server is tried again that has thrown us out."""
PING_INTERVAL = 2
"""Seconds; a server that does not answer two of them is left."""
STORE_TIMEOUT = 5.0
"""Seconds that a table may take on its way to or from the store."""

_SAY, _ASK = "depot.say.", "depot.ask."
_PART_HEAD = struct.Struct("!QQ")
"""Epoch and number: parts of different tables never make one."""

wire = logging.getLogger("depot.wire")
events = logging.getLogger("depot.events")


class _Client(Client):
    """nats-py hands what is published to a task of its own; a packet must not be quicker than the word of it."""

    @property
    def offers_tls(self) -> bool:
        """Whether the connection is TLS; a server that does not ask for it is spoken to without, contexts or not."""
        return bool(self._server_info.get("tls_required"))

    def publish_now(self, subject: str, payload: bytes) -> bool:
        """Publish; returns when the transport has it. False: there is no connection."""
        if not self.is_connected or self._transport is None:
            return False
        self._transport.write(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
        return True


class NatsShell:
    """One member on the bus. Raises OSError, ssl.SSLError for certificates that will not do."""

    def __init__(self, config: ClusterConfig, observer: MeshObserver) -> None:
        self._config = config
        self._observer = observer
        self._tls: ssl.SSLContext | None = None
        if config.ca is not None and config.cert is not None and config.key is not None:
            self._tls = TlsContexts(config.ca, config.cert, config.key).client
        self.mesh = Bus(config.name, peer_settings(config), time.time_ns() // 1000, self.now())
        """The core, by the name that it has where channels make a mesh."""
        self._client = _Client()
        self._store: KeyValue | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._settling_soon: asyncio.Handle | None = None
        self._settling = self._stopped = self._is_missed = self._is_storeless = False

    def now(self) -> float:
        """The loop's time, seconds."""
        return asyncio.get_running_loop().time()

    # Life

    async def start(self) -> None:
        """Begin to look for the server."""
        self._spawn(self._connect())
        self.settle()

    def reconfigure(self, config: ClusterConfig) -> None:
        """Take other peers; what else has changed takes effect at the next start."""
        self._config = config
        self.mesh.set_peers(peer_settings(config), self.now())
        self.settle()

    def leave(self) -> None:
        """Tell all peers that we leave: they forget our connections at once."""
        self.mesh.leave(self.now())
        self.settle()

    async def stop(self) -> None:
        """Let go. The peers keep what they know of us for as long as they would for a silent member."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def address_of(self, channel: int) -> str:
        """Nobody calls us: nobody has an address."""
        return ""

    # For the switch

    def tell_peers(self, changes: Iterable[OwnChange]) -> None:
        """Tell all peers of own connections that began or ended; returns when the transport has it."""
        now = self.now()
        for flow, source_is_hi, action in changes:
            if action is None:
                self.mesh.remove(flow)
            else:
                self.mesh.install(flow, source_is_hi, action, now)
        self._publish()
        if not self._settling and self._settling_soon is None:
            self._settling_soon = asyncio.get_running_loop().call_soon(self.settle)

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
            while True:
                events = self.mesh.take_events()
                orders = self.mesh.take_orders()
                self._publish()
                if not (events or orders):
                    break
                for order in orders:
                    self._spawn(self._carry_out(order))
                if events:
                    self._observer.mesh_events(events)
        finally:
            self._settling = False
        self._arm()

    def _publish(self) -> None:
        own = _SAY + _token(self._config.name)
        for peer, data in self.mesh.take_messages(self.now()):
            self._client.publish_now(own if peer is None else _ASK + _token(peer), data)

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
        self.mesh.handle_timer(self.now())
        self.settle()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The server

    async def _connect(self) -> None:
        await self._client.connect(
            f"nats://{self._config.nats}",
            name=self._config.name,
            error_cb=self._failed,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._connected,
            closed_cb=self._closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT,  # type: ignore[arg-type]  # any number of seconds will do
            ping_interval=PING_INTERVAL,
            tls=self._tls,
            pending_size=0,  # without a server nothing is kept: the numbers tell of the gap
            no_echo=True,
        )
        await self._client.subscribe(_SAY + "*", cb=self._heard)
        await self._client.subscribe(_ASK + _token(self._config.name), cb=self._asked)
        await self._connected()

    async def _connected(self) -> None:
        """The server has our subscriptions when it answers what was sent behind them."""
        self._store = None
        try:
            await self._client.flush()
        except NatsError as error:
            await self._failed(error)  # gone again; it will be back
        if self._tls is not None and not self._client.offers_tls:
            events.error(
                "cluster: the NATS server %s has no TLS, but [cluster] has certificates: not used", self._config.nats
            )
        elif self._client.is_connected:
            self._is_missed = False
            events.info("cluster: connected to the NATS server %s", self._config.nats)
            self.mesh.connected(self.now())
            self.settle()

    async def _disconnected(self) -> None:
        self.mesh.disconnected(self.now(), f"no connection to {self._config.nats}")
        self.settle()

    async def _closed(self) -> None:
        """The client has given up, as nats-py does when a server throws it out."""
        if not self._stopped:
            self._spawn(self._begin_anew())

    async def _begin_anew(self) -> None:
        await self._disconnected()
        await self._failed(self._client.last_error or NatsError("thrown out"))
        await asyncio.sleep(REFUSED_WAIT)
        self._client = _Client()
        await self._connect()

    async def _failed(self, error: Exception) -> None:
        """Once for each time that the server is away, the operator is told."""
        text = str(error) or type(error).__name__
        wire.debug("NATS server %s: %s", self._config.nats, text)
        if not self._client.is_connected and not self._is_missed and not self._stopped:
            self._is_missed = True
            events.warning("cluster: the NATS server %s cannot be reached: %s; trying again", self._config.nats, text)

    async def _heard(self, message: Msg) -> None:
        self.mesh.receive(_identity(message.subject[len(_SAY) :]), message.data, self.now())
        self.settle()

    async def _asked(self, message: Msg) -> None:
        self.mesh.receive_ask(message.data, self.now())
        self.settle()

    # The store

    async def _carry_out(self, order: BusOrder) -> None:
        if isinstance(order, StoreTable):
            parts = await self._put(order)
            self.mesh.table_stored(order.sequence, parts, self.now())
        else:
            data = await self._get(order)
            self.mesh.table_fetched(order, data, self.now())
        self.settle()

    async def _bucket(self) -> KeyValue:
        if self._store is None:
            config = KeyValueConfig(BUCKET, storage=StorageType.MEMORY, direct=True)
            self._store = await self._client.jetstream().create_key_value(config)
        return self._store

    async def _put(self, order: StoreTable) -> int:
        """Return how many parts were stored; 0: it failed."""
        name = _token(self._config.name)
        parts = max(1, -(-len(order.data) // PART))
        head = _PART_HEAD.pack(order.epoch, order.sequence)
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                store = await self._bucket()
                for part in range(parts):
                    await store.put(f"{name}.{part}", head + order.data[part * PART : (part + 1) * PART])
        except (NatsError, TimeoutError, OSError) as error:
            await self._store_failed(error)
            return 0
        self._is_storeless = False
        return parts

    async def _get(self, order: FetchTable) -> bytes | None:
        name = _token(order.identity)
        head = _PART_HEAD.pack(order.epoch, order.sequence)
        data = bytearray()
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                store = await self._bucket()
                for part in range(order.parts):
                    value = (await store.get(f"{name}.{part}")).value or b""
                    if value[: len(head)] != head:
                        return None  # it has stored another meanwhile
                    data += memoryview(value)[len(head) :]
        except (NatsError, TimeoutError, OSError) as error:
            await self._store_failed(error)
            return None
        return bytes(data)

    async def _store_failed(self, error: Exception) -> None:
        """Once until a table is stored again, the operator is told."""
        self._store = None
        await self._failed(error)
        if self._client.is_connected and not self._is_storeless:
            self._is_storeless = True
            text = "cluster: the NATS server %s keeps no tables: %s; does it have JetStream, and may we use it?"
            events.warning(text, self._config.nats, str(error) or type(error).__name__)


def _token(identity: str) -> str:
    """A name as one token of a subject: no name has a "="."""
    return identity.replace(".", "=")


def _identity(token: str) -> str:
    return token.replace("=", ".")
