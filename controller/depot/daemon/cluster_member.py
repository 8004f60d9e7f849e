"""This depot as a member of its cluster: between the control channels and the switch's core."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from depot.address import FlowKey
from depot.cluster import (
    Claim,
    ClusterEvent,
    PeerDown,
    PeerLost,
    PeerUp,
    StrangerTurnedAway,
    SyncChanged,
)
from depot.cluster.mesh_shell import MeshShell
from depot.cluster.nats_shell import NatsShell
from depot.config.cluster_model import BusKind, ClusterConfig
from depot.daemon.event_log import EventLog
from depot.daemon.switch_runner import SwitchRunner
from depot.switching.announcer import Announcement

__all__ = ["ClusterMember"]

MOST_SECONDS = 60.0
"""A stranger that calls again and again is told of once in so many seconds."""

_SHELLS: dict[BusKind, type[MeshShell] | type[NatsShell]] = {BusKind.MESH: MeshShell, BusKind.NATS: NatsShell}


class ClusterMember:
    """A directory of the peers' connections (`depot.switching.directory`), and who tells them of ours.

    Raises OSError, ssl.SSLError for certificates that will not do.
    """

    def __init__(
        self, config: ClusterConfig, event_log: EventLog, runners: Callable[[], Iterable[SwitchRunner]]
    ) -> None:
        self.config = config
        """What is in force."""
        self._event_log = event_log
        self._runners = runners
        self.shell: MeshShell | NatsShell = _SHELLS[config.bus](config, self)
        """The control channels, or the bus."""
        self.strangers: Counter[str] = Counter()
        """Callers that were turned away, by reason."""
        self._told_of: dict[str, float] = {}

    async def start(self) -> None:
        """Listen, and call the peers. Raises OSError."""
        await self.shell.start()
        where = f"listens at {self.config.listen}"
        if self.config.nats is not None:
            where = f"speaks through the NATS server {self.config.nats}"
        text = f"cluster: member {self.config.name} {where}"
        insecure = ", without TLS: whoever reaches it may speak for a member" if self.config.insecure else ""
        level = logging.WARNING if self.config.insecure else logging.INFO
        self._event_log.add("cluster-started", text + insecure, level=level)

    async def stop(self) -> None:
        """Let go of the channels."""
        await self.shell.stop()

    def reconfigure(self, config: ClusterConfig) -> list[str]:
        """Take other peers and limits; return notes on what needs a new start."""
        before = self.config
        self.config = replace(
            config, name=before.name, listen=before.listen, bus=before.bus, nats=before.nats,
            ca=before.ca, cert=before.cert, key=before.key,
        )  # fmt: skip
        self.shell.reconfigure(self.config)
        if self.config != config:
            return ["[cluster]: name, listen, bus, nats and certificates take effect when the daemon is started again"]
        return []

    def leave(self) -> None:
        """Leave the cluster until the daemon is started again; the peers forget our connections at once."""
        self.shell.leave()
        self._event_log.add("cluster-left", f"cluster: {self.config.name} leaves by the operator's order")

    # The directory

    @property
    def in_sync(self) -> bool:
        """Whether all connections of all peers that can be reached are known."""
        return self.shell.mesh.in_sync

    def lookup(self, flow: FlowKey) -> Claim | None:
        """Return the peers' claim that counts for a flow; None: nobody's."""
        return self.shell.mesh.database.lookup(flow)

    def tell_peers(self, announcements: Sequence[Announcement]) -> None:
        """Tell all peers of own connections that began or ended."""
        self.shell.tell_peers((one.flow, one.source_is_hi, one.action) for one in announcements)

    # What the channels tell

    def mesh_events(self, events: Sequence[ClusterEvent]) -> None:
        """Give the switches what concerns them, and people the rest."""
        now = self.shell.now()
        for event in events:
            self._tell_people(event)
            for runner in self._runners():
                runner.core.cluster.peers_said(event, now)
        for runner in self._runners():
            runner.settle()

    def turned_away(self, address: str, reason: str) -> None:
        """Somebody could not prove to be of the cluster."""
        self.strangers[reason] += 1
        host, now = address.rpartition(":")[0], self.shell.now()
        if now - self._told_of.get(host, now - MOST_SECONDS) >= MOST_SECONDS:
            self._told_of = {one: at for one, at in self._told_of.items() if now - at < MOST_SECONDS} | {host: now}
            text = f"cluster: a caller from {address} was turned away: {reason}"
            self._event_log.add("cluster-stranger", text, level=logging.WARNING, address=address, reason=reason)

    def _tell_people(self, event: ClusterEvent) -> None:
        add = self._event_log.add
        if isinstance(event, PeerUp):
            count = self.shell.mesh.database.count(event.identity)
            add("peer-up", f"cluster: {event.identity} is up, {count} connections", peer=event.identity)
        elif isinstance(event, PeerDown | PeerLost):
            kind, verb = ("peer-down", "gone") if isinstance(event, PeerDown) else ("peer-lost", "lost")
            detail = f": {event.detail}" if event.detail else ""
            text = f"cluster: {event.identity} is {verb}: {event.reason.value}{detail}"
            add(kind, text, level=logging.WARNING, peer=event.identity, reason=event.reason.value)
        elif isinstance(event, SyncChanged):
            text = "every peer's connections are known" if event.in_sync else "waiting for peers' connections"
            add("cluster-sync", f"cluster: {text}", in_sync=event.in_sync)
        elif isinstance(event, StrangerTurnedAway):
            self.turned_away(self.shell.address_of(event.channel) or "somebody", str(event))
