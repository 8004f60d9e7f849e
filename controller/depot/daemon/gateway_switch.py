"""Our switch in front of gateways that know nothing of it: which of them live, what they do, who gets which hosts.

A gateway lives as long as it answers ARP or neighbour discovery; each is asked once in a report interval.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence

from depot.config.vmac_model import VmacConfig
from depot.daemon.bucket_rates import BucketRates
from depot.daemon.event_log import EventLog
from depot.daemon.gateway_view import GatewayRow, GatewaysView, MoveRow
from depot.daemon.switch_runner import SwitchRunner
from depot.daemon.tasks import tell_failure
from depot.p4runtime.entry import Action
from depot.p4runtime.packets import PacketIn
from depot.switching.lan import Service
from depot.switching.routing import NextHop
from depot.vmac.dispatcher import Dispatcher, Move
from depot.vmac.settings import VmacError

__all__ = ["GatewaySwitch"]

SILENT_INTERVALS = 3
"""Report intervals without an answer after which a gateway is dead."""


class GatewaySwitch:
    """The gateways behind our switch."""

    def __init__(self, config: VmacConfig, event_log: EventLog) -> None:
        self.config = config
        """What is in force."""
        self._event_log = event_log
        capacities = {gateway.name: gateway.capacity for gateway in config.gateways}
        self.dispatcher = Dispatcher(
            config.virtual_macs.count, capacities, config.balancing, config.threshold, config.subset,
            random.Random(),
        )  # fmt: skip
        """Who has which buckets."""
        self._runner: SwitchRunner | None = None
        self._work: asyncio.Task[None] | None = None
        self._told_of: Move | None = None
        self._moved: Counter[str] = Counter()

    async def start(self) -> None:
        """Nothing is to be listened to."""

    async def stop(self) -> None:
        """The switch goes on with what it has."""
        self._end()

    def now(self) -> float:
        """The loop's time, seconds."""
        return asyncio.get_running_loop().time()

    def reconfigure(self, config: VmacConfig) -> None:
        """Nothing changes before the daemon is started again."""

    # The switch

    def switch_ready(self, runner: SwitchRunner) -> None:
        """We may write to the switch."""
        self._end()
        self._runner = runner
        hops = {hop: name for name, hop in self._hops(runner).items()}
        led = runner.core.lan.led()
        bucket_of = self.config.virtual_macs.bucket_of
        self.dispatcher.adopt(
            {bucket: hops[hop] for mac, hop in led.items() if (bucket := bucket_of(mac)) is not None and hop in hops}
        )
        self._work = asyncio.create_task(self._watch(runner), name="vmac gateways")
        self._work.add_done_callback(tell_failure)

    def switch_lost(self, runner: SwitchRunner) -> None:
        """We may write to it no more: it goes on with what it has."""
        if runner is self._runner:
            self._end()

    def lan_packet(self, packet: PacketIn, now: float) -> None:
        """No bucket is watched in this mode."""

    def _end(self) -> None:
        self._runner = None
        if self._work is not None:
            self._work.cancel()
            self._work = None

    def _hops(self, runner: SwitchRunner) -> dict[str, NextHop]:
        """Where each gateway is; one that a new configuration has made unreachable is missing."""
        found = {one.name: runner.core.routing.next_hop(one.via) for one in self.config.gateways}
        return {name: hop for name, hop in found.items() if hop is not None}

    async def _watch(self, runner: SwitchRunner) -> None:
        """Ask the gateways, measure, decide."""
        config, loop = self.config, asyncio.get_running_loop()
        started = decided_at = loop.time()
        rates = BucketRates(runner, config)
        while True:
            runner.core.lan.ask(self._hops(runner).values())
            runner.settle()
            await asyncio.sleep(config.report_interval)
            now = loop.time()
            self._look_who_lives(runner, started, now)
            if (found := await rates.read()) is not None:
                self.dispatcher.measured(found)
            if now >= decided_at + config.decision_interval:
                decided_at = now
                self.dispatcher.decide(now)
            self._settle(runner)

    def _look_who_lives(self, runner: SwitchRunner, started: float, now: float) -> None:
        """A gateway dies when it is silent, or no port leads to it any more."""
        limit, hops = SILENT_INTERVALS * self.config.report_interval, self._hops(runner)
        for name in (one.name for one in self.config.gateways):
            hop = hops.get(name)
            heard = None if hop is None else runner.core.neighbours.heard_at(hop)
            if heard is not None and now - heard < limit:
                self._set_alive(name, True, now)
            elif hop is None or now - max(heard or 0.0, started) >= limit:
                self._set_alive(name, False, now)

    def _set_alive(self, name: str, alive: bool, now: float) -> None:
        if alive == (name in self.dispatcher.alive):
            return
        self.dispatcher.set_alive(name, alive, now)
        word, level = ("answers", logging.INFO) if alive else ("does not answer", logging.WARNING)
        self._event_log.add("gateway-up" if alive else "gateway-down", f"vmac: gateway {name} {word}", level=level)

    def _settle(self, runner: SwitchRunner) -> None:
        """Write who has what, and tell of what has moved."""
        services, hops = {}, self._hops(runner)
        for bucket, owner in enumerate(self.dispatcher.owners):
            if owner in self.dispatcher.alive and (hop := hops.get(owner or "")) is not None:
                mtu = runner.core.routing.ports[hop.port].mtu
                services[bucket] = Service(Action.LEAD_TO_GATEWAY, (hop.port, hop.address, mtu))
        runner.core.lan.serve(services)
        runner.settle()
        for move in reversed(self._new_moves()):
            self._moved["moved" if move.source else "assigned"] += len(move.buckets)
            source = f" from {move.source}" if move.source else ""
            self._event_log.add(
                "buckets-moved", f"vmac: {len(move.buckets)} buckets go{source} to {move.to}: {move.why}"
            )

    def _new_moves(self) -> list[Move]:
        found: list[Move] = []
        for move in self.dispatcher.moves:
            if move is self._told_of:
                break
            found.append(move)
        if self.dispatcher.moves:
            self._told_of = self.dispatcher.moves[0]
        return found

    # What is asked

    def move(self, buckets: Sequence[int], to: str) -> None:
        """Do as the operator says. Raises VmacError."""
        if self._runner is None:
            raise VmacError("the switch cannot be written to, so nothing can be moved")
        self.dispatcher.move(buckets, to, self.now())
        self._settle(self._runner)

    def view(self) -> GatewaysView:
        """What can be said of them."""
        known = self.dispatcher
        rows = []
        for gateway in self.config.gateways:
            own = known.owned_by(gateway.name)
            rate = sum(known.rates.get(bucket, 0.0) for bucket in own)
            rows.append(GatewayRow(gateway.name, gateway.name in known.alive, known.load(gateway.name), len(own), rate))
        moves = [MoveRow(one.at, len(one.buckets), one.source or "", one.to, one.why) for one in known.moves]
        state = "" if self._runner is not None else "the switch cannot be written to"
        return GatewaysView(state, rows, known.owners, known.rates, moves, self._moved)
