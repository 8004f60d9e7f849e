"""This depot as one of the gateways behind one address (seed 004): between their messages, the core and our switch.

The core (`depot.vmac.gateway`) lives while we may write to the switch: a gateway without its switch serves nobody, so
it falls silent and the others take over. With the switch it begins anew, under a new incarnation.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from depot.config.host_port import HostPort
from depot.config.vmac_model import VmacConfig
from depot.daemon.bucket_rates import BucketRates
from depot.daemon.event_log import EventLog
from depot.daemon.gateway_news import describe
from depot.daemon.gateway_view import GatewayRow, GatewaysView, MoveRow
from depot.daemon.load_shell import LoadMeter
from depot.daemon.switch_runner import SwitchRunner
from depot.daemon.tasks import tell_failure
from depot.p4runtime.entry import Action
from depot.p4runtime.packets import PacketIn, PacketOut, PuntReason
from depot.p4runtime.rpc_shell import ConnectionLostError
from depot.switching.frames import ETHERNET_LENGTH, ethernet
from depot.switching.lan import LAN_ETHER_TYPE, Service
from depot.vmac.events import (
    BucketsGiven,
    BucketsLost,
    BucketsTaken,
    GatewayUp,
    Holding,
    Holdings,
    MessageRefused,
    Output,
    PhaseChanged,
    VmacEvent,
)
from depot.vmac.gateway import Gateway
from depot.vmac.settings import MIN_KEY, GatewaySettings, VmacError
from depot.vmac.smoothing import smoothed
from depot.vmac.status import MoveView
from depot.vmac.wire import Phase, Refusal

__all__ = ["GatewayMember", "KeyFileError", "pause"]

LEAVE_TIMEOUT = 2.0
"""Seconds that a gateway that ends waits for the others to take another of its buckets."""
NEWS_TIMES, NEWS_INTERVAL = 3, 1.0
"""How often, and how many seconds apart, hosts of a bucket that we took over are told its MAC (RFC 5227, 3)."""
KEPT_MOVES = 64
"""Rows of moves that are shown."""
_HOW: dict[type, str] = {BucketsTaken: "taken", BucketsGiven: "given", BucketsLost: "lost"}
_SERVICES = {Holding.OWN: Service(Action.OWN), Holding.WATCH: Service(Action.WATCH)}


class KeyFileError(Exception):
    """The file with the gateways' key will not do."""


class GatewayMember(asyncio.DatagramProtocol):
    """Our part among the gateways. Raises KeyFileError."""

    def __init__(self, config: VmacConfig, event_log: EventLog) -> None:
        self.config = config
        """What is in force."""
        self.gateway: Gateway | None = None
        """The core; None while the switch is not ours to write."""
        self._key = _read_key(config)
        self._event_log = event_log
        self._meter = LoadMeter(config)
        self._runner: SwitchRunner | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: dict[str, tuple[str, int]] = {}
        self._holdings: Holdings | None = None
        self._latest: Holdings | None = None
        self._is_writing = False
        self._left = asyncio.Event()
        self._moved: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        """Of the core's former lives."""

    # Life

    async def start(self) -> None:
        """Listen for the others. Raises OSError that says where it cannot, or which of them has no address."""
        loop, where = asyncio.get_running_loop(), self.config.listen
        local = None if where is None else (where.host, where.port)
        try:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local)
        except OSError as error:
            raise OSError(f"vmac.listen: {where}: {error.strerror}") from None
        await self._find_peers(self.config)
        await self._meter.start()
        self._event_log.add("gateway-started", f"vmac: gateway {self.config.name} listens at {where}")

    async def _find_peers(self, config: VmacConfig) -> None:
        """Look up where the others are. Raises OSError, and then nothing has changed."""
        family = self._transport.get_extra_info("socket").family if self._transport is not None else 0
        self._addresses = {
            peer.name: await _resolve(peer.name, peer.address, family)
            for peer in config.gateways
            if peer.address is not None
        }

    def reconfigure(self, config: VmacConfig) -> None:
        """Take another list of gateways; the rest stays until the daemon is started again."""
        if config.gateways != self.config.gateways:
            self.config = replace(self.config, gateways=config.gateways)
            self._spawn(self._meet(self.config))

    async def _meet(self, config: VmacConfig) -> None:
        """Hear and speak with those that are listed now."""
        try:
            await self._find_peers(config)
        except OSError as error:
            self._event_log.add("gateway-unknown", str(error), level=logging.WARNING)
        if self.gateway is not None:
            self.gateway.set_peers([peer.name for peer in config.gateways], self.now())
            self.settle()

    async def stop(self) -> None:
        """Hand over what is ours as far as the others take it, and let go."""
        if self.gateway is not None:
            await self._leave(self.gateway)
        self._end()
        await self._meter.stop()
        if self._transport is not None:
            self._transport.close()

    async def _leave(self, gateway: Gateway) -> None:
        """Hand over as long as somebody takes."""
        gateway.leave(self.now())
        self.settle()
        ours, before = self._owned(gateway), -1
        while ours != before and gateway is self.gateway and not self._left.is_set():
            before = ours
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), LEAVE_TIMEOUT)
            ours = self._owned(gateway)
        if gateway is self.gateway and not self._left.is_set():
            text = f"vmac: {ours} buckets are left, which nobody takes; the switch goes on serving them"
            self._event_log.add("gateway-left", text, level=logging.WARNING)

    def _owned(self, gateway: Gateway) -> int:
        return gateway.status().owners.count(self.config.name)

    def now(self) -> float:
        """The loop's time, seconds."""
        return asyncio.get_running_loop().time()

    # The switch

    def switch_ready(self, runner: SwitchRunner) -> None:
        """We may write to the switch."""
        self._end()
        self._runner = runner
        self.gateway = Gateway(self._settings(), random.Random(), time.time_ns() // 1000, self.now())
        self._spawn(self._measure(runner, self.gateway))
        self.settle()

    def switch_lost(self, runner: SwitchRunner) -> None:
        """We may write to it no more."""
        if runner is not self._runner:
            return  # another has its place already, after a reload
        if self.gateway is not None:
            text = "vmac: silent while our switch cannot be reached, so that the others take over"
            self._event_log.add("gateway-silent", text, level=logging.WARNING)
        self._end()

    def _settings(self) -> GatewaySettings:
        config = self.config
        return GatewaySettings(
            name=config.name,
            peers=tuple(peer.name for peer in config.gateways),
            key=self._key,
            virtual_macs=config.virtual_macs,
            algorithm=config.balancing,
            report_interval=config.report_interval,
            decision_interval=config.decision_interval,
            threshold=config.threshold,
            subset_size=config.subset,
            learning_interval=config.learning_interval,
            capacity=config.capacity,
        )

    def _end(self) -> None:
        if self.gateway is not None:
            self._counts.update(self.gateway.status().counters)
        self.gateway = self._runner = self._holdings = self._latest = None
        self._is_writing = False
        for task in self._tasks:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="vmac")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        tell_failure(task)

    # In

    def datagram_received(self, data: bytes, address: tuple[str | object, int]) -> None:
        """Somebody says something."""
        if self.gateway is not None:
            self.gateway.receive(data, self.now(), self._whose(address))
            self.settle()

    def _whose(self, address: tuple[str | object, int]) -> str:
        """Return which gateway an address belongs to; empty: none, whoever it is."""
        return next((name for name, known in self._addresses.items() if known == (address[0], address[1])), "")

    def error_received(self, error: Exception) -> None:
        """A gateway cannot be reached for now: its silence tells the core."""

    def lan_packet(self, packet: PacketIn, now: float) -> None:
        """Our switch hands over a host's ask, with the answer ready, or a frame between gateways."""
        if self.gateway is None or len(packet.payload) < ETHERNET_LENGTH:
            return
        source = int.from_bytes(packet.payload[6:12], "big")
        if packet.reason == PuntReason.GATEWAY_FRAME:
            self.gateway.receive_frame(source, packet.payload[ETHERNET_LENGTH:], now)
        else:
            bucket = self.config.virtual_macs.bucket_of(source)
            if bucket is not None:
                self.gateway.asked(bucket, packet.address, packet.payload, packet.ingress_port, now)
        self.settle()

    # Out

    def settle(self) -> None:
        """Do what follows from what the core was told."""
        gateway, runner = self.gateway, self._runner
        if gateway is None or runner is None:
            return
        output = gateway.take_output()
        if self._transport is not None:
            for peer, data in output.datagrams:
                if (address := self._addresses.get(peer)) is not None:
                    self._transport.sendto(data, address)
        self._emit(runner, output)
        if output.holdings is not None:
            self._holdings = self._latest = output.holdings
        if any(isinstance(event, PhaseChanged) for event in output.events):
            self._holdings = self._latest  # what was left alone while we listened
        if self._holdings is not None and not self._is_writing:
            self._is_writing = True
            self._spawn(self._serve(runner, gateway))
        if output.hosts:
            runner.core.lan.told_of_hosts(output.hosts, self.now())
            runner.settle()
        if output.announce:
            self._spawn(self._tell_hosts(runner, frozenset(output.announce)))
        for event in output.events:
            self._tell(runner, gateway, event)
        if gateway.has_left:
            self._left.set()
        self._arm(gateway)

    def _tell(self, runner: SwitchRunner, gateway: Gateway, event: VmacEvent) -> None:
        if isinstance(event, MessageRefused) and event.refusal is Refusal.REPEATED:
            return  # frames are sent in each LAN, and all the gateways are in each
        if isinstance(event, GatewayUp):
            gateway.tell_hosts(event.name, self._hosts(runner, gateway))
        if isinstance(event, BucketsTaken | BucketsGiven | BucketsLost):
            self._moved[_HOW[type(event)]] += len(event.buckets)
        kind, text, level = describe(event)
        self._event_log.add(kind, f"vmac: {text}", level=level)

    async def _serve(self, runner: SwitchRunner, gateway: Gateway) -> None:
        """Have the switch do what the core says, and tell the core; what it says meanwhile is written together.

        A gateway that only listens leaves the switch what it had before a restart.
        """
        with suppress(ConnectionLostError):  # then this life of the gateway ends too
            while gateway is self.gateway and (holdings := self._holdings) is not None:
                self._holdings = None
                if holdings.buckets or gateway.status().phase is not Phase.LISTENING:
                    runner.core.lan.serve({bucket: _SERVICES[held] for bucket, held in holdings.buckets.items()})
                    runner.settle()
                    await runner.shell.flushed()
                gateway.written(holdings.generation, self.now())
                self.settle()
            self._is_writing = False

    def _emit(self, runner: SwitchRunner, output: Output) -> None:
        macs = self.config.virtual_macs
        for frame in output.frames:
            data = ethernet(macs.group_mac, macs.mac(frame.bucket), LAN_ETHER_TYPE, frame.payload)
            for port in self.config.ports:
                runner.shell.send(PacketOut(data, egress_port=port))
        for port, data in output.answers:
            runner.shell.send(PacketOut(data, egress_port=port))

    async def _tell_hosts(self, runner: SwitchRunner, buckets: frozenset[int]) -> None:
        """Tell the hosts of buckets that are newly ours, each alone, which MAC the gateway has for it."""
        for _ in range(NEWS_TIMES):
            for frame, port in self._news(runner, buckets):
                runner.shell.send(PacketOut(frame, egress_port=port))
            await asyncio.sleep(NEWS_INTERVAL)

    def _hosts(self, runner: SwitchRunner, gateway: Gateway) -> list[tuple[int, int]]:
        """The hosts that we serve, address and MAC each."""
        bucket, owners = self.config.virtual_macs.bucket, gateway.status().owners
        known = runner.core.neighbours.at(self.config.ports)
        return [(hop.address, mac) for hop, mac in known if owners[bucket(mac)] == self.config.name]

    def _news(self, runner: SwitchRunner, buckets: frozenset[int]) -> Iterable[tuple[bytes, int]]:
        for hop, mac in runner.core.neighbours.at(self.config.ports):
            if self.config.virtual_macs.bucket(mac) in buckets:
                frame = runner.core.routing.lan_news(hop, mac)
                if frame is not None:
                    yield frame, hop.port

    def _arm(self, gateway: Gateway) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = gateway.next_deadline()
        self._timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self.gateway is not None:
            self.gateway.handle_timer(self.now())
            self.settle()

    # Load

    async def _measure(self, runner: SwitchRunner, gateway: Gateway) -> None:
        """Read what each bucket has brought, once in a report interval; less often where that is much work."""
        rates = BucketRates(runner, self.config)
        load: float | None = None
        while True:
            await asyncio.sleep(pause(self.config.report_interval, rates.took))
            if (found := await rates.read()) is not None:
                load = smoothed(load, self._meter.load(sum(found.values())))
                gateway.measured(load, found, self.now())
                self.settle()

    # What is asked

    def move(self, buckets: Sequence[int], to: str) -> None:
        """Do as the operator says. Raises VmacError."""
        if self.gateway is None:
            raise VmacError("our switch cannot be reached, so this gateway takes part in nothing")
        self.gateway.move(buckets, to, self.now())
        self.settle()

    def view(self) -> GatewaysView:
        """What can be said of them."""
        if self.gateway is None:
            rows = [GatewayRow(self.config.name, False, None, 0, None)]
            return GatewaysView("silent: our switch cannot be reached", rows, moved=self._moved, counts=self._counts)
        status = self.gateway.status()
        state = "" if status.phase is Phase.ACTIVE else status.phase.name.lower()
        if status.is_disputed:
            state = "another gateway has our name"
        rows = [GatewayRow(one.name, one.phase is not None, one.load, one.buckets, one.rate) for one in status.gateways]
        counts = self._counts.copy()
        counts.update(status.counters)
        return GatewaysView(
            state, rows, status.owners, status.rates, _together(status.moves), self._moved,
            counts,
        )  # fmt: skip


def pause(interval: float, took: float) -> float:
    """Return the seconds until counters are read again: they are read in a fifth of the time at most."""
    return max(interval, 4 * took)


def _together(moves: Sequence[MoveView]) -> list[MoveRow]:
    """Moves of single buckets that were heard of at once, as one; the newest first."""
    found: list[MoveRow] = []
    for move in reversed(moves):
        source = move.source or ""
        last = found[-1] if found else None
        if last is not None and (last.source, last.to) == (source, move.to) and last.at - move.at < 1.0:
            found[-1] = replace(last, count=last.count + 1)
        else:
            found.append(MoveRow(move.at, 1, source, move.to))
    return found[:KEPT_MOVES]


async def _resolve(name: str, address: HostPort, family: int) -> tuple[str, int]:
    """Return a gateway's address for a socket of this family. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, family=family, type=socket.SOCK_DGRAM, flags=socket.AI_V4MAPPED
        )
    except OSError as error:
        raise OSError(f"vmac: gateway {name}: {address}: {error.strerror}") from None
    host, port, *_ = found[0][4]
    return str(host), int(port)


def _read_key(config: VmacConfig) -> bytes:
    try:
        key = config.key.read_bytes().strip()
    except OSError as error:
        raise KeyFileError(f"{config.key}: {error.strerror}") from None
    if len(key) < MIN_KEY:
        raise KeyFileError(f"{config.key}: shorter than {MIN_KEY} bytes; `depot vmac init` makes one")
    return key
