"""One switch at work: its client and its core, a clock and a timer between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from depot.config.cluster_model import ClusterConfig, PolicyConfig
from depot.config.model import SwitchConfig, VipConfig
from depot.config.vmac_model import VmacConfig
from depot.p4runtime.codec import CodecError, Count, Digest
from depot.p4runtime.entry import Entry, EntryKey, Table
from depot.p4runtime.packets import PacketIn, PuntReason
from depot.p4runtime.rpc_shell import RpcError, TlsFiles
from depot.p4runtime.switch_shell import Pipeline, SwitchShell, SwitchTarget
from depot.p4runtime.write_errors import WriteFailure
from depot.switching.announcer import Announcement
from depot.switching.commands import SessionNotice
from depot.switching.directory import NO_CLUSTER, Directory
from depot.switching.output import Reconciled
from depot.switching.switch_core import SwitchCore

__all__ = ["Membership", "SwitchRunner"]

MOST_FAILURES_LOGGED = 5
"""Of one refused batch; the rest is counted."""
_CONFIGURED_TABLES = tuple(table for table in Table if table is not Table.CONNECTION)

_OF_THE_LAN = frozenset({PuntReason.ASKED, PuntReason.GATEWAY_FRAME})
_COUNTED_TABLES = (Table.VIP, Table.MEMBER, Table.NAT_SOURCE)

events = logging.getLogger("depot.events")
wire = logging.getLogger("depot.wire")

Listener = Callable[["SwitchRunner", Sequence[SessionNotice]], None]
"""Who is told what became of sessions."""
Finder = Callable[[Sequence[Entry]], None]
"""Who is told what a switch holds before anything is written to it."""


class LanListener(Protocol):
    """Who speaks for the gateways of the LAN at this switch. Calls must not block."""

    def switch_ready(self, runner: SwitchRunner) -> None:
        """We may write to the switch, and it holds what it should."""

    def switch_lost(self, runner: SwitchRunner) -> None:
        """We may write to it no more."""

    def lan_packet(self, packet: PacketIn, now: float) -> None:
        """It hands over a host's ask, with the answer ready, or a frame between gateways."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a switch has to do with the cluster, and the access policy."""

    cluster: ClusterConfig | None = None
    """The cluster; None: none."""
    policies: tuple[PolicyConfig, ...] = ()
    """The access policy."""
    directory: Directory = NO_CLUSTER
    """What the peers say of connections."""
    tell_peers: Callable[[Sequence[Announcement]], None] = lambda announcements: None
    """Tells all peers of own connections; the bytes are with the transports when it returns."""
    vmac: VmacConfig | None = None
    """The gateways behind one address; None: there are none."""
    lan: LanListener | None = None
    """Who is told what concerns them."""


ALONE = Membership()


class SwitchRunner:
    """A switch's client and core. Run `run` as a task."""

    def __init__(
        self,
        config: SwitchConfig,
        vips: Sequence[VipConfig],
        pipeline: Pipeline,
        listener: Listener,
        finder: Finder,
        membership: Membership = ALONE,
    ) -> None:
        self.config = config
        """What is configured of it."""
        self._tell_peers = membership.tell_peers
        self._lan = membership.lan
        self.core = SwitchCore(
            config, vips, membership.cluster, membership.policies, membership.directory, membership.vmac
        )
        """What is decided about it."""
        tls = TlsFiles(config.tls.ca, config.tls.cert, config.tls.key) if config.tls else None
        target = SwitchTarget(config.name, str(config.address), config.device_id, config.election_id, tls)
        self.shell = SwitchShell(target, pipeline, self)
        """Its client."""
        self.counts: dict[EntryKey, Count] = {}
        """Packets and bytes of VIPs, members and ways back, as last read."""
        self.counters: dict[tuple[str, int], Count] = {}
        """The indirect counters by name and index, as last read."""
        self._listener, self._finder = listener, finder
        self._timer: asyncio.TimerHandle | None = None
        self._rereading: asyncio.Task[None] | None = None
        self._lost_reason = ""
        self.reconciled: Reconciled | None = None
        """The last comparison of its tables."""
        self.differences = 0
        """Updates that comparisons made necessary, since the start."""

    @property
    def name(self) -> str:
        """The operator's name for it."""
        return self.config.name

    @property
    def in_sync(self) -> bool:
        """Whether it holds all it should, as far as we know; what sessions of this moment need is in `backlog`."""
        shell = self.shell
        return shell.ready and shell.settled and self._rereading is None and not self.core.reread_pending

    @property
    def backlog(self) -> int:
        """Updates that the switch lacks."""
        return self.shell.backlog + self.core.waiting

    @property
    def lost_reason(self) -> str:
        """Why we cannot write to it; empty while we can."""
        return self._lost_reason

    async def run(self) -> None:
        """Stay connected until cancelled; the switch's tables stay as they are then."""
        try:
            await self.shell.run()
        finally:
            if self._lan is not None:
                self._lan.switch_lost(self)
            if self._timer is not None:
                self._timer.cancel()
            if self._rereading is not None:
                self._rereading.cancel()

    def settle(self) -> None:
        """Do what follows from what the core was told."""
        now = self._now()
        output = self.core.take_output(now, connections=self.shell.has_room)
        if output.announcements:
            self._tell_peers(output.announcements)
            self.core.announced(now)
        if output.batches:
            self.shell.submit(output.batches)
        for packet in output.packets:
            self.shell.send(packet)
        if output.connections:
            self.shell.submit_connections(output.connections)
        if output.packets_after:
            self.shell.send_after(output.packets_after)
        if output.reread and self._rereading is None:
            self._rereading = asyncio.create_task(self._reread(), name=f"reread {self.name}")
        for reconciled in output.reconciled:
            self._log_reconciled(reconciled)
        self._arm()
        if output.notices:
            self._listener(self, output.notices)
        if output.announcements:
            self.settle()  # the sessions that waited for it

    def _arm(self) -> None:
        deadline = self.core.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return  # it comes early enough, and looks again then
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.core.handle_timer(self._now())
        self.settle()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _reread(self) -> None:
        """Read the tables back while nothing is being written."""
        try:
            while True:
                await self.shell.flushed()
                before = self.core.updates_made
                entries = await self.shell.read_entries(_CONFIGURED_TABLES)
                if self.core.updates_made == before:
                    break
            self.core.reread(entries, self._now())
        except (RpcError, CodecError) as error:
            wire.warning("%s: tables cannot be read back: %s", self.name, error)
        finally:
            self._rereading = None
        self.settle()

    async def read_counts(self) -> None:
        """Read the switch's counters; a switch that cannot be asked keeps its old ones."""
        if not self.shell.ready:
            return
        try:
            self.counts = await self.shell.read_counts(_COUNTED_TABLES)
            self.counters = await self.shell.read_counters()
        except (RpcError, CodecError) as error:
            wire.warning("%s: counters cannot be read: %s", self.name, error)

    # What the client tells

    def primary(self, entries: list[Entry], carried: list[Entry]) -> None:
        """We may write, and the switch holds these entries."""
        self._lost_reason = ""
        events.info("%s: connected as primary, P4Runtime %s", self.name, self.shell.version)
        self._finder(entries)
        self.core.connected(entries, self._now(), carried)
        self.settle()
        if self._lan is not None:
            self._lan.switch_ready(self)

    def lost(self, reason: str, *, superseded: bool) -> None:
        """We may no longer write."""
        if reason != self._lost_reason:
            events.warning("%s: %s: %s", self.name, "standing by" if superseded else "not connected", reason)
        self._lost_reason = reason
        self.core.disconnected(superseded=superseded)
        self.settle()
        if self._lan is not None:
            self._lan.switch_lost(self)

    def digest(self, digest: Digest) -> None:
        """The data plane tells something."""
        self.core.digest(digest.name, digest.samples, self._now())
        self.settle()

    def packet_in(self, packet: PacketIn) -> None:
        """The data plane hands over a packet."""
        self.core.packet_in(packet, self._now())
        if self._lan is not None and packet.reason in _OF_THE_LAN:
            self._lan.lan_packet(packet, self._now())
        self.settle()

    def idle(self, keys: Sequence[EntryKey]) -> None:
        """These entries were not hit for their idle timeout."""
        self.core.idle(keys, self._now())
        self.settle()

    def failed(self, failures: Sequence[WriteFailure]) -> None:
        """These updates were refused."""
        for failure in failures[:MOST_FAILURES_LOGGED]:
            wire.error("%s: write refused: %s", self.name, failure)
        if len(failures) > MOST_FAILURES_LOGGED:
            wire.error("%s: and %d writes more were refused", self.name, len(failures) - MOST_FAILURES_LOGGED)
        self.core.failed(failures, self._now())
        self.settle()

    def drained(self) -> None:
        """There is room for what sessions need."""
        if self.core.waiting:
            self.settle()

    def _log_reconciled(self, reconciled: Reconciled) -> None:
        self.reconciled = reconciled
        self.differences += reconciled.differences
        events.info(
            "%s: holds %d entries, %d sessions; %d updates make it as desired",
            self.name, reconciled.entries, reconciled.sessions, reconciled.differences,
        )  # fmt: skip
