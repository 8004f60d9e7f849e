"""A switch as the controller's client sees it: stays connected, becomes primary, reads back, then writes and listens.

The shell moves bytes and arms timers. What to write is the observer's decision; what the switch says goes to it as
plain values, in order, and only after the tables have been read back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from finsy.proto import p4r

from depot.p4runtime.arbitration import Arbitration, Role, StatusCode
from depot.p4runtime.codec import CodecError, Count, Digest, RemoteEntryError, decode_count
from depot.p4runtime.entry import Entry, EntryKey, Table
from depot.p4runtime.packets import PacketIn, PacketOut
from depot.p4runtime.prepare_shell import Pipeline, prepare, read_tables
from depot.p4runtime.reconcile import Update
from depot.p4runtime.rpc_shell import (
    ConnectionLostError,
    ElectionIdInUseError,
    NotPrimaryError,
    RefusedError,
    RpcConnection,
    RpcError,
    TlsFiles,
)
from depot.p4runtime.write_errors import UpdateError, WriteFailure, sort_failures

__all__ = ["Observer", "Pipeline", "SwitchShell", "SwitchTarget"]

BATCH_SIZE = 500
"""Updates in one write request: large enough to make the call cheap, small enough to answer within milliseconds."""
FIRST_RETRY, LAST_RETRY = 0.2, 5.0
"""Seconds to the first and, doubling, to any later attempt to connect."""
HANDSHAKE_TIMEOUT = 5.0
"""Seconds that the server may take to answer a bid."""
WATCH_INTERVAL = 5.0
"""Seconds between two signs of life."""
EARLY_MESSAGES = 10_000
"""Kept until the tables have been read; what is lost beyond announces itself again."""
events = logging.getLogger("depot.events")
wire = logging.getLogger("depot.wire")


@dataclass(frozen=True, slots=True)
class SwitchTarget:
    """Where a switch is and how to introduce ourselves."""

    name: str
    """The operator's name for it."""
    address: str
    """``host:port`` of its P4Runtime server."""
    device_id: int = 1
    """P4Runtime device id."""
    election_id: int | None = None
    """Our 128-bit election id; None: chosen."""
    tls: TlsFiles | None = None
    """TLS; None: plain text."""


class Observer(Protocol):
    """Who decides. Calls come from the event loop and must not block."""

    def primary(self, entries: list[Entry], carried: list[Entry]) -> None:
        """We may write; the switch holds these entries. Writes that had not been done before are forgotten.

        carried: what it held of VIPs, members and connections before its program was replaced just now.
        """

    def lost(self, reason: str, *, superseded: bool) -> None:
        """We may no longer write: disconnected, or (superseded) another controller may."""

    def digest(self, digest: Digest) -> None:
        """The data plane tells something."""

    def packet_in(self, packet: PacketIn) -> None:
        """The data plane hands over a packet."""

    def idle(self, keys: Sequence[EntryKey]) -> None:
        """These entries were not hit for their idle timeout."""

    def failed(self, failures: Sequence[WriteFailure]) -> None:
        """These updates were refused."""

    def drained(self) -> None:
        """There is room for more updates of connections."""


class SwitchShell:
    """The client of one switch. `run` it as a task; `submit` and `send` may be called while it is primary."""

    def __init__(self, target: SwitchTarget, pipeline: Pipeline, observer: Observer) -> None:
        self._target = target
        self._pipeline = pipeline
        self._observer = observer
        self._codec = pipeline.codec
        self._arbitration = Arbitration(target.election_id)
        self._connection: RpcConnection | None = None
        self._work: deque[list[Update] | PacketOut | asyncio.Future[None]] = deque()
        """What waits, in order: batches to be written, packets to be sent and people to be told after them."""
        self._open_batch: list[Update] | None = None
        """The last batch of connections while it may still grow."""
        self._open_keys: set[tuple[object, ...]] = set()
        """The keys in it."""
        self._in_flight: list[Update] = []
        """The batch that is being written."""
        self._wake = asyncio.Event()
        self._outbox: asyncio.Queue[p4r.StreamMessageRequest] = asyncio.Queue()
        self._early: deque[p4r.StreamMessageResponse] = deque(maxlen=EARLY_MESSAGES)
        """What the switch said while its tables were being read."""
        self._ready = False
        self.updates_written = 0
        """Updates the switch has done, since the start."""
        self.updates_failed = 0
        """Updates the switch refused, since the start."""
        self.connects = 0
        """Times that we became primary."""
        self.version = "unknown"
        """The P4Runtime version that the server speaks."""

    @property
    def role(self) -> Role:
        """What we are to the switch now."""
        return self._arbitration.role

    @property
    def ready(self) -> bool:
        """Whether we are primary and the tables have been read back."""
        return self._ready

    @property
    def backlog(self) -> int:
        """Updates that are not known to be written yet."""
        return len(self._in_flight) + sum(len(work) for work in self._work if isinstance(work, list))

    @property
    def settled(self) -> bool:
        """Whether everything but connections is written, as far as it was submitted."""
        waiting = [self._in_flight, *(work for work in self._work if isinstance(work, list))]
        return all(batch[0].entry.table is Table.CONNECTION for batch in waiting if batch)

    @property
    def has_room(self) -> bool:
        """Whether updates of connections should be submitted now: what comes later would wait behind them."""
        return self.backlog < 2 * BATCH_SIZE

    # Writing

    def submit(self, batches: Iterable[list[Update]]) -> None:
        """Queue batches to be written one after the other, behind all that was queued before."""
        for batch in batches:
            for start in range(0, len(batch), BATCH_SIZE):
                self._queue(batch[start : start + BATCH_SIZE])

    def submit_connections(self, updates: Iterable[Update]) -> None:
        """Queue updates of `connection_table`; those of one key keep their order, others share batches."""
        batch, keys = self._open_batch, self._open_keys
        for update in updates:
            key = update[1][:2]
            if batch is None or key in keys or len(batch) >= BATCH_SIZE:
                batch = []
                self._queue(batch)
                self._open_batch, keys = batch, self._open_keys
            keys.add(key)
            batch.append(update)

    def send_after(self, packets: Iterable[PacketOut]) -> None:
        """Send packets when all that is queued now has been written."""
        for packet in packets:
            self._queue(packet)

    async def flushed(self) -> None:
        """Return when all that is queued now has been written or refused. Raises ConnectionLostError."""
        if self._ready:
            done = asyncio.get_running_loop().create_future()
            self._queue(done)
            await done
        else:
            raise ConnectionLostError("not connected as primary")

    def _queue(self, work: list[Update] | PacketOut | asyncio.Future[None]) -> None:
        self._work.append(work)
        self._open_batch = None
        self._open_keys = set()
        self._wake.set()

    def send(self, packet: PacketOut) -> None:
        """Send a packet."""
        self._outbox.put_nowait(self._codec.encode_packet_out(packet))

    # Reading

    async def read_counts(self, tables: Sequence[Table]) -> dict[EntryKey, Count]:
        """Return the direct counters of whole tables. Raises RpcError, CodecError."""
        wanted = [self._codec.read_table(table, counters=True) for table in tables]
        return {
            self._codec.decode_key(entity.table_entry): decode_count(entity.table_entry.counter_data)
            async for entity in self._required().read(wanted)
        }

    async def read_counters(self) -> dict[tuple[str, int], Count]:
        """Return every cell of the indirect counters by name and index. Raises RpcError, CodecError."""
        found: dict[tuple[str, int], Count] = {}
        async for entity in self._required().read(self._codec.read_counters()):
            name, index, count = self._codec.decode_counter(entity.counter_entry)
            found[name, index] = count
        return found

    async def read_entries(self, tables: Sequence[Table]) -> list[Entry]:
        """Return the entries of whole tables. Raises RpcError, CodecError."""
        return await read_tables(self._required(), self._codec, tables)

    def _required(self) -> RpcConnection:
        if self._connection is None:
            raise ConnectionLostError("not connected")
        return self._connection

    # Life

    async def run(self) -> None:
        """Stay connected until cancelled: every failure is told to the observer, then tried again with backoff."""
        delay = FIRST_RETRY
        while True:
            before = self.connects
            try:
                await self._session()
            except (RpcError, CodecError, OSError, TimeoutError) as error:
                self._ended(_describe(error), superseded=isinstance(error, NotPrimaryError))
            except Exception as error:  # our own mistake must not cost the switch its controller
                wire.exception("%s: internal error, connecting again", self._target.name)
                self._ended(f"internal error: {error!r}", superseded=False)
            delay = FIRST_RETRY if self.connects > before else min(delay * 2, LAST_RETRY)
            await asyncio.sleep(delay * random.uniform(0.8, 1.0))

    def _ended(self, reason: str, *, superseded: bool) -> None:
        self._arbitration.disconnected()
        self._pause()
        self._observer.lost(reason, superseded=superseded)

    def _pause(self) -> None:
        """Forget what waits: after the next read back, the difference is computed anew."""
        self._ready = False
        self._early.clear()
        self._open_batch = None
        self._in_flight = []
        while self._work:
            work = self._work.popleft()
            if isinstance(work, asyncio.Future) and not work.done():
                work.set_exception(ConnectionLostError("the connection ended before all was written"))
        while not self._outbox.empty():
            self._outbox.get_nowait()

    async def _session(self) -> None:
        """One connection from its first bid to its end."""
        target = self._target
        async with RpcConnection(target.address, target.device_id, target.tls) as connection:
            self._connection = connection
            try:
                await self._listen(connection)
            except ElectionIdInUseError:
                self._arbitration.id_in_use()
                raise
            finally:
                self._connection = None

    async def _listen(self, connection: RpcConnection) -> None:
        await connection.bid(self._arbitration.election_id)
        message = await asyncio.wait_for(connection.receive(), HANDSHAKE_TIMEOUT)
        work: asyncio.Task[None] | None = None
        try:
            while True:
                if message.WhichOneof("update") == "arbitration":
                    work = await self._arbitrate(connection, message.arbitration, work)
                elif self._ready:
                    self._take(message)
                else:
                    self._early.append(message)
                message = await connection.receive()
        except ConnectionLostError:
            if work is not None and work.done() and not work.cancelled() and (error := work.exception()):
                raise error from None
            raise
        finally:
            await _cancel(work)

    async def _arbitrate(
        self, connection: RpcConnection, answer: p4r.MasterArbitrationUpdate, work: asyncio.Task[None] | None
    ) -> asyncio.Task[None] | None:
        """Take a word on who is primary; return the task that does the primary's work, if that is us."""
        again = self._arbitration.receive(answer.status.code, (answer.election_id.high << 64) | answer.election_id.low)
        if self._arbitration.role is Role.PRIMARY:
            return work or asyncio.create_task(self._serve(connection), name=f"serve {self._target.name}")
        if work is not None or not again:
            await _cancel(work)
            self._pause()
            reason = f"another controller is primary, election id {self._arbitration.primary_id:#x}"
            self._observer.lost(reason, superseded=True)
        if again:
            await connection.bid(self._arbitration.election_id)
        return None

    async def _serve(self, connection: RpcConnection) -> None:
        """Do what a primary does, until cancelled; a failure ends the connection."""
        try:
            prepared = await prepare(connection, self._pipeline, self._target.name)
            self.version = prepared.version
            self.connects += 1
            self._ready = True
            self._observer.primary(prepared.entries, prepared.carried)
            while self._early:
                self._take(self._early.popleft())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write_all(connection))
                group.create_task(self._send_all(connection))
                group.create_task(self._watch(connection))
        except BaseExceptionGroup as errors:
            connection.give_up("")
            raise errors.exceptions[0] from None
        except Exception as error:
            connection.give_up(_describe(error))
            raise

    # The primary's three loops

    async def _write_all(self, connection: RpcConnection) -> None:
        while True:
            await self._wake.wait()
            while self._work:
                work = self._work.popleft()
                if not self._work:
                    self._open_batch = None
                if isinstance(work, list):
                    self._in_flight = work
                    await self._write(connection, work)
                    self._in_flight = []
                    self._observer.drained()
                elif isinstance(work, PacketOut):
                    self.send(work)
                elif not work.done():
                    work.set_result(None)
            self._wake.clear()

    async def _write(self, connection: RpcConnection, batch: list[Update], *, first: bool = True) -> None:
        request = p4r.WriteRequest()
        self._codec.encode_updates(batch, request)
        try:
            errors = await connection.write(request)
        except RefusedError as error:
            if error.code == StatusCode.FAILED_PRECONDITION:
                raise  # no pipeline: start again
            if len(batch) > 1:  # which update it was, the server does not say
                await self._write(connection, batch[: len(batch) // 2], first=first)
                await self._write(connection, batch[len(batch) // 2 :], first=first)
                return
            errors = [UpdateError(error.code, str(error))]
        wire.debug("%s: %d updates written, first %s", self._target.name, len(batch), batch[0])
        if not errors:
            self.updates_written += len(batch)
            return
        again, failed = sort_failures(batch, errors)
        if again and first:
            await self._write(connection, again, first=False)
        elif again:
            failed += [WriteFailure(update, StatusCode.ABORTED, "neither there nor absent") for update in again]
            again = []
        self.updates_written += len(batch) - len(again) - len(failed)
        self.updates_failed += len(failed)
        if failed:
            self._observer.failed(failed)

    async def _send_all(self, connection: RpcConnection) -> None:
        while True:
            await connection.send(await self._outbox.get())

    async def _watch(self, connection: RpcConnection) -> None:
        """Notice a switch that hangs, or that somebody gave another program."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            held = await connection.get_pipeline(cookie_only=True)
            if held is None:
                raise RefusedError(StatusCode.FAILED_PRECONDITION, "the switch lost its forwarding program")

    # What the switch says

    def _take(self, message: p4r.StreamMessageResponse) -> None:
        try:
            self._dispatch(message)
        except RemoteEntryError as error:
            wire.error("%s: message ignored: %s", self._target.name, error)

    def _dispatch(self, message: p4r.StreamMessageResponse) -> None:
        kind = message.WhichOneof("update")
        if kind == "digest":
            digest = self._codec.decode_digest(message.digest)
            wire.debug("%s: %s, %d samples", self._target.name, digest.name, len(digest.samples))
            acknowledgement = p4r.DigestListAck(digest_id=digest.digest_id, list_id=digest.list_id)
            self._outbox.put_nowait(p4r.StreamMessageRequest(digest_ack=acknowledgement))
            self._observer.digest(digest)
        elif kind == "packet":
            packet = self._codec.decode_packet_in(message.packet)
            wire.debug("%s: packet-in, reason %d, port %d", self._target.name, packet.reason, packet.ingress_port)
            self._observer.packet_in(packet)
        elif kind == "idle_timeout_notification":
            entries = message.idle_timeout_notification.table_entry
            self._observer.idle([self._codec.decode_key(entry) for entry in entries])
        elif kind == "error":
            error = message.error
            wire.error("%s: refused what we sent: %s", self._target.name, error.message or error.canonical_code)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ElectionIdInUseError):
        return f"another controller has our election id ({error})"
    if isinstance(error, NotPrimaryError):
        return f"we are no longer primary ({error})"
    return str(error)
