"""The cluster's side of one switch: whose a packet's flow is, and what follows from that. Sans-IO.

New sessions of shared services, those that our proxies open and those that the policy lets pass are told to all peers
before their first packet leaves: it is held, `announcements` say what is to be told, `announced` that it has been; then
the packet is released and the session tracker has the entry written. Of a flow that is not ours the directory knows
the owner, or will before the hold time is over (seed 000, 2.4, 2.5, 3).

    packet-in              known to be ours    known to be a peer's    known to nobody
    NEW_SESSION            release             relay to the peer       announce, release, entry
    OUTBOUND_SESSION       release                                     announce, release, entry
    UNKNOWN_FLOW           release             relay to the peer       hold; expired: classify again
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from depot.address import Endpoint, FlowKey, Protocol
from depot.cluster.database import Claim
from depot.cluster.events import (
    ClusterEvent,
    ConnectionsForgotten,
    ConnectionsLearnt,
    PeerDown,
    PeerUp,
    SyncChanged,
)
from depot.cluster.wire import ConnectionAction, flow_of, key_of
from depot.config.cluster_model import ClusterConfig, EntryMode, PolicyAction, PolicyConfig
from depot.p4runtime.entry import Action, Entry, connection_flow
from depot.p4runtime.packets import PacketIn, PacketOut, PuntReason, Submission
from depot.p4runtime.reconcile import Update
from depot.switching.access_policy import AccessPolicy
from depot.switching.announcer import Announcement, Announcer
from depot.switching.commands import CloseReason, EntryCommand, InstallEntry, RemoveEntry, SessionClosed, Verdict
from depot.switching.connections import command_update, install_entry
from depot.switching.directory import Directory
from depot.switching.frames import FlowPacket, flow_packet
from depot.switching.holding import Expired, Holding, HoldingLimits, Target
from depot.switching.off_box import OffBox, OffBoxConnection
from depot.switching.policy import BYPASS_VIP_ID, SessionPolicy
from depot.switching.roster import Roster
from depot.switching.sessions import SessionTracker
from depot.switching.states import ENDED_STATES, TcpFlag
from depot.switching.steering import DictionaryAffinity, Steering

__all__ = ["ClusterCounts", "ClusterSide"]

LINGER = 2.0
"""Seconds that peers still bring late packets of a connection that both ends have closed: some retransmissions."""
HANDOFF_WAIT = 2.0
"""Seconds that a peer may take to announce a connection that was handed to it."""
OFF_BOX_IDLE = 60.0
"""Seconds without a packet after which a lazily written entry of a peer's connection leaves the switch."""

_SYN, _ACK = int(TcpFlag.SYN), int(TcpFlag.ACK)


class _Kind(Enum):
    SERVED = "served"
    """A client's, of a VIP or intercepted."""
    OUTBOUND = "outbound"
    """A proxy's own."""
    BYPASSED = "bypassed"
    """Nobody's."""


@dataclass(slots=True)
class _Beginning:
    """An own session whose first packet is held until the peers know of it."""

    packet: FlowPacket
    kind: _Kind
    vip_id: int
    member_id: int
    far_is_hi: bool
    """SERVED and BYPASSED: whether the client is the higher endpoint; OUTBOUND: whether the server is."""
    from_peer: bool


@dataclass(slots=True)
class ClusterCounts:
    """What was counted since the start."""

    handoffs: int = 0
    """Connections that the steering hook gave to a peer."""
    handoffs_lost: int = 0
    """Of those, the ones that the peer did not take."""
    conflicts: int = 0
    """Connections of ours that a peer claims too."""


class ClusterSide:
    """The cluster's side of one switch. Without a cluster it serves the access policy alone."""

    def __init__(
        self,
        cluster: ClusterConfig | None,
        policies: Sequence[PolicyConfig],
        directory: Directory,
        roster: Roster,
        tracker: Callable[[], SessionTracker],
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._roster = roster
        self._tracker = tracker
        self.policy = AccessPolicy(policies, None if cluster is None else cluster.name)
        """The access policy."""
        self.steering: Steering = DictionaryAffinity()
        """The steering hook; may be replaced."""
        self.holding = Holding(_limits(cluster))
        """Held packets and relayed flows."""
        self.off_box = OffBox()
        """Peers' connections that have an entry."""
        self.own = Announcer()
        """Own connections that peers know of."""
        self.counts = ClusterCounts()
        """What was counted."""
        self._numbers: dict[str, int] = {}
        self._up: set[str] = set()
        self._beginnings: dict[FlowKey, _Beginning] = {}
        self._announcing: list[_Beginning] = []
        self._awaited: dict[bytes, FlowKey] = {}  # what held packets wait for
        self._handoffs: dict[FlowKey, str] = {}
        self._handoffs_end: deque[tuple[float, FlowKey]] = deque()
        self._stays: set[FlowKey] = set()  # a peer sent it here: it is not steered once more
        self._deferred: dict[FlowKey, EntryCommand] = {}  # entries of own sessions that are relayed still
        self._unclassified: dict[FlowKey, Entry] = {}  # bypassed, found in the switch: ours or a peer's
        self._packets: list[PacketOut] = []
        self._ready: list[Update] = []
        self._was_in_sync = cluster is None

    # Configuration

    def reconfigure(self, cluster: ClusterConfig | None, policies: Sequence[PolicyConfig], now: float) -> None:
        """Take another cluster and policy; connections that are bypassed no more end, here and at the peers."""
        self._cluster = cluster
        self.policy = AccessPolicy(policies, None if cluster is None else cluster.name)
        self.holding.limits = _limits(cluster)
        for flow in list(self.own.bypassed()):
            found = self._tracker().session(flow)
            client_is_hi = found is not None and found.client == flow.high
            rule = self.policy.rule_for(flow.client(client_is_hi), flow.server(client_is_hi), flow.protocol)
            if rule is None or rule.action is not PolicyAction.BYPASS or not self.policy.is_own(rule):
                self._tracker().end(flow, now)
                self.own.withdraw(flow)

    def set_numbers(self, numbers: dict[str, int]) -> None:
        """Take the peers' numbers as members of the switch; entries of peers that have another now are changed."""
        if numbers == self._numbers:
            return
        self._numbers = numbers
        for one in list(self.off_box):
            number = numbers.get(one.owner)
            if number is None:
                self.off_box.remove(one.flow)
            elif one.member_id not in (0, number):
                self.off_box.put(OffBoxConnection(one.flow, one.owner, number, one.idle_timeout))

    # Packets

    def packet_in(self, packet: PacketIn, now: float) -> None:
        """Take a packet of NEW_SESSION, UNKNOWN_FLOW or OUTBOUND_SESSION."""
        seen = flow_packet(packet.payload)
        if seen is None:
            return
        reason, flow = packet.reason, seen.flow
        is_opening = reason != PuntReason.UNKNOWN_FLOW
        if flow in self._beginnings or self.holding.target(flow) is not None:
            self._hold(seen, packet, now)
        elif (target := self._known(seen, packet, now)) is not None:
            self.holding.release(target, seen.source, packet)
        elif reason != PuntReason.OUTBOUND_SESSION and (claim := self._claim(flow, packet)) is not None:
            self._pass_on(seen, packet, claim, now)
        elif is_opening:
            self._begin(seen, packet, now)
        elif packet.from_peer:  # it believes that the flow is ours: nobody else will speak for it
            self._stays.add(flow)
            self._packets.append(_again(packet))
        else:
            self._hold(seen, packet, now)

    def _hold(self, seen: FlowPacket, packet: PacketIn, now: float) -> None:
        self.holding.add(seen.flow, seen.source, packet, now, alone=_is_alone(seen))
        if seen.flow in self.holding:
            self._awaited[key_of(seen.flow)] = seen.flow

    def _claim(self, flow: FlowKey, packet: PacketIn) -> Claim | None:
        """Whose the flow is; what a peer sent is taken for ours, so that it travels once."""
        return None if packet.from_peer else self._directory.lookup(flow)

    def _known(self, seen: FlowPacket, packet: PacketIn, now: float) -> Target | None:
        """Where a flow goes that has an entry, or is about to have one; None for one that begins anew."""
        flow, tracker = seen.flow, self._tracker()
        session = tracker.session(flow)
        if session is None:
            off_box = self.off_box.get(flow)
            return None if off_box is None else Target(off_box.member_id, is_peer=off_box.member_id != 0)
        if packet.reason != PuntReason.UNKNOWN_FLOW:
            if session.state in ENDED_STATES:
                return None
            if packet.reason == PuntReason.NEW_SESSION:  # its entry may be lost
                client_is_hi = session.client == flow.high
                tracker.new_flow(
                    flow, session.vip_id, session.member_id, client_is_hi, seen.tcp_flags, now, is_bound=True
                )
        return self._target_of(flow)

    def _target_of(self, flow: FlowKey) -> Target | None:
        session = self._tracker().session(flow)
        if session is None:
            return None
        if session.vip_id == BYPASS_VIP_ID:
            return Target(0)
        return Target(session.member_id, session.client)

    def _pass_on(self, seen: FlowPacket, packet: PacketIn, claim: Claim, now: float) -> None:
        target = self._peers_target(claim, seen.source)
        if target is None:
            self._hold(seen, packet, now)
            return
        self.holding.relay(seen.flow, target, now, alone=_is_alone(seen))
        self.holding.release(target, seen.source, packet)

    def _peers_target(self, claim: Claim, source: Endpoint | None) -> Target | None:
        """Where packets of a peer's connection go; None: that peer cannot be reached from this switch.

        What does not come from the far end comes from the owner itself, and happens to pass here on its way: sent back
        it would go round for ever.
        """
        far_end = claim.flow.client(claim.source_is_hi)
        if claim.action is ConnectionAction.BYPASS or source not in (None, far_end):
            return Target(0)
        number = self._numbers.get(claim.owner)
        return None if number is None else Target(number, is_peer=True)

    # New sessions

    def _begin(self, seen: FlowPacket, packet: PacketIn, now: float) -> None:
        """Hold a session's first packet and have the peers told."""
        source_is_hi = seen.source == seen.flow.high
        vip_id, member_id = packet.address, packet.detail
        if packet.reason == PuntReason.OUTBOUND_SESSION:
            vip_of_protocol = self._roster.transparent_vip(member_id, seen.flow.protocol)
            vip_id = vip_id if vip_of_protocol is None else vip_of_protocol
            beginning = _Beginning(seen, _Kind.OUTBOUND, vip_id, member_id, not source_is_hi, packet.from_peer)
        elif member_id == 0:
            beginning = _Beginning(seen, _Kind.BYPASSED, BYPASS_VIP_ID, 0, source_is_hi, packet.from_peer)
        else:
            from_peer = packet.from_peer or seen.flow in self._stays
            self._stays.discard(seen.flow)
            beginning = _Beginning(seen, _Kind.SERVED, vip_id, member_id, source_is_hi, from_peer)
        self._start(beginning, packet, now)

    def _start(self, beginning: _Beginning, packet: PacketIn, now: float) -> None:
        self._hold(beginning.packet, packet, now)
        flow = beginning.packet.flow
        if flow in self.holding:
            self._beginnings[flow] = beginning
            if self._is_ready():
                self._announce(beginning, now)

    def _is_ready(self) -> bool:
        """Whether we may take connections over: not before we have once known those of all others."""
        self._was_in_sync = self._was_in_sync or self._directory.in_sync
        return self._was_in_sync

    def _announce(self, beginning: _Beginning, now: float) -> None:
        flow = beginning.packet.flow
        if (peer := self._steered(beginning)) is not None:
            self._hand_off(flow, peer, now)
        elif self._is_shared(beginning):
            bypassed = beginning.kind is _Kind.BYPASSED
            action = ConnectionAction.BYPASS if bypassed else ConnectionAction.FORWARD
            self.own.announce(Announcement(flow, beginning.far_is_hi, action))
            self._announcing.append(beginning)
        else:
            self._open(beginning, now)

    def _is_shared(self, beginning: _Beginning) -> bool:
        return self._cluster is not None and self._has_shared_vip(beginning.vip_id)

    def _has_shared_vip(self, vip_id: int) -> bool:
        vip = self._roster.vip(vip_id)
        return vip_id == BYPASS_VIP_ID or (vip is not None and vip.shared)

    def _steered(self, beginning: _Beginning) -> str | None:
        """The peer that serves a new session best; None: it stays here."""
        if self._cluster is None or beginning.kind is not _Kind.SERVED or beginning.from_peer:
            return None
        flow, client_is_hi = beginning.packet.flow, beginning.far_is_hi
        rule = self.policy.rule_for(flow.client(client_is_hi), flow.server(client_is_hi), flow.protocol)
        if rule is None or rule.steer is None:
            return None
        own = self._cluster.name
        chosen = self.steering.choose(flow, {own, *(self._up & self._numbers.keys())})
        return None if chosen == own else chosen

    def _hand_off(self, flow: FlowKey, peer: str, now: float) -> None:
        """Make a session an off-box connection of a peer, which announces it (seed 000, 3)."""
        del self._beginnings[flow]
        self.counts.handoffs += 1
        self._handoffs[flow] = peer
        self._handoffs_end.append((now + HANDOFF_WAIT, flow))
        self._relay_held(flow, Target(self._numbers[peer], is_peer=True), now)

    def announced(self, now: float) -> None:
        """What `take_announcements` gave is on its way to all peers."""
        announcing, self._announcing = self._announcing, []
        for beginning in announcing:
            self._open(beginning, now)

    def _open(self, beginning: _Beginning, now: float) -> None:
        """Give a session to the tracker and its first packets to their member."""
        flow, tracker = beginning.packet.flow, self._tracker()
        self._beginnings.pop(flow, None)
        is_served = beginning.kind is _Kind.SERVED
        if not is_served:
            tracker.end(flow, now)  # one that has ended, on the same ports
        flags = 0 if beginning.kind is _Kind.OUTBOUND else beginning.packet.tcp_flags
        tracker.new_flow(
            flow, beginning.vip_id, beginning.member_id, beginning.far_is_hi, flags, now, is_bound=not is_served
        )
        target = self._target_of(flow)
        if target is None:
            self.holding.refuse(flow)
            self.own.withdraw(flow)
            return
        if self._cluster is not None and self._steers:
            self.steering.served(flow, self._cluster.name)
        self.off_box.remove(flow)
        self._relay_held(flow, target, now)

    def _relay_held(self, flow: FlowKey, target: Target, now: float) -> None:
        self._awaited.pop(key_of(flow), None)
        if flow in self.holding:
            self.holding.relay(flow, target, now)

    @property
    def _steers(self) -> bool:
        return any(rule.steer is not None for rule in self.policy.rules)

    # What peers say

    def peers_said(self, event: ClusterEvent, now: float) -> None:
        """Take what the cluster's core tells; what is not about connections is ignored."""
        if isinstance(event, ConnectionsLearnt):
            self.learnt(event.identity, event.keys, now)
        elif isinstance(event, ConnectionsForgotten):
            self.forgotten(event.keys)
        elif isinstance(event, PeerUp | PeerDown):
            self.peer_changed(event.identity, is_up=isinstance(event, PeerUp))
        elif isinstance(event, SyncChanged):
            self.sync_changed(now)

    def learnt(self, peer: str, keys: Collection[bytes], now: float) -> None:
        """A peer announced connections, by compact key."""
        for key in [key for key in keys if key in self._awaited]:
            self._word_of_held(self._awaited[key], now)
        for flow in self.own.flows(keys):
            self._claimed_by_peer(flow, now)
        for key in [key for key in keys if key in self.off_box]:
            self._look_again(self.off_box.flow(key))
        if self._steers:
            for key in keys:
                self.steering.served(flow_of(key), peer)
        if self._cluster is not None and self._cluster.entries is EntryMode.EAGER:
            for key in keys:
                if key not in self.own and key not in self.off_box:
                    self._look_again(flow_of(key))

    def _word_of_held(self, flow: FlowKey, now: float) -> None:
        claim = self._directory.lookup(flow)
        if claim is None or flow not in self.holding:
            return
        target = self._peers_target(claim, self.holding.first_source(flow))
        if target is not None:
            self._beginnings.pop(flow, None)
            self._relay_held(flow, target, now)

    def _claimed_by_peer(self, flow: FlowKey, now: float) -> None:
        """Two members have one flow: if ours has ended, its ports serve another connection there."""
        session = self._tracker().session(flow)
        if session is None or session.state in ENDED_STATES:
            self._tracker().end(flow, now)
            self.own.withdraw(flow)
        else:
            self.counts.conflicts += 1

    def forgotten(self, keys: Collection[bytes]) -> None:
        """A peer has connections no more."""
        for key in [key for key in keys if key in self.off_box]:
            self._look_again(self.off_box.flow(key))

    def _look_again(self, flow: FlowKey) -> None:
        """Make a flow's off-box entry what the peers say of it now."""
        claim = self._directory.lookup(flow)
        if claim is None:
            if flow not in self._handoffs:
                self.off_box.remove(flow)
            return
        if self._tracker().session(flow) is None and (target := self._peers_target(claim, None)) is not None:
            known = self.off_box.get(flow)
            passes = known is not None and known.member_id == 0 and known.owner == claim.owner
            self._write(flow, claim.owner, 0 if passes else target.member_id)

    def _write(self, flow: FlowKey, owner: str, member_id: int) -> None:
        is_eager = self._cluster is not None and self._cluster.entries is EntryMode.EAGER
        self.off_box.put(OffBoxConnection(flow, owner, member_id, 0.0 if is_eager else OFF_BOX_IDLE))

    def peer_changed(self, peer: str, *, is_up: bool) -> None:
        """A peer is there, or it is gone and its connections are forgotten."""
        if is_up:
            self._up.add(peer)
        else:
            self._up.discard(peer)
            self.off_box.remove_owner(peer)

    def sync_changed(self, now: float) -> None:
        """The directory is in sync, or no longer."""
        if self._directory.in_sync and self._is_ready():
            announcing = {one.packet.flow for one in self._announcing}
            for flow, beginning in list(self._beginnings.items()):
                if flow not in announcing:
                    self._announce(beginning, now)
            self._verify(now)

    # The switch

    def connected(self, entries: Iterable[Entry]) -> list[InstallEntry]:
        """We may write, and the switch holds these entries of peers' and bypassed connections; return our own."""
        own: list[InstallEntry] = []
        present: dict[FlowKey, Entry] = {}
        owners = {number: name for name, number in self._numbers.items()}
        self._unclassified.clear()
        for entry in entries:
            flow = connection_flow(entry.values)
            if self._tracker().session(flow) is not None:
                own.append(install_entry(entry) if entry.action is not Action.FORWARD_TO_PEER else _wrong(flow))
            elif self.off_box.get(flow) is not None or entry.action is Action.FORWARD_TO_PEER:
                present[flow] = entry
                if self.off_box.get(flow) is None:
                    self.off_box.adopt(entry, flow, owners.get(entry.params[0], "") if entry.params else "")
            else:
                self._unclassified[flow] = entry
        self.off_box.rewrite(present)
        return own

    def adopted(self, now: float) -> None:
        """The tracker has adopted what the switch holds: the peers hear of it."""
        for view in self._tracker().sessions():
            if view.state not in ENDED_STATES and self._cluster is not None and self._has_shared_vip(view.vip_id):
                bypassed = view.vip_id == BYPASS_VIP_ID
                action = ConnectionAction.BYPASS if bypassed else ConnectionAction.FORWARD
                self.own.announce(Announcement(view.key, view.client == view.key.high, action))
        if self._is_ready() and self._directory.in_sync:
            self._verify(now)

    def _verify(self, now: float) -> None:
        """All peers have spoken: what is in the switch and nobody claims is nobody's, or ours."""
        for one in list(self.off_box):
            self._look_again(one.flow)
        unclassified, self._unclassified = self._unclassified, {}
        for flow, entry in unclassified.items():
            claim = self._directory.lookup(flow)
            if claim is not None:
                self.off_box.adopt(entry, flow, claim.owner)
                self._look_again(flow)
            elif self._tracker().session(flow) is None and self._tracker().adopt(install_entry(entry), now):
                view = self._tracker().session(flow)
                source_is_hi = view is not None and view.client == flow.high
                self.own.announce(Announcement(flow, source_is_hi, ConnectionAction.BYPASS))

    def place_of(self, entry: InstallEntry) -> tuple[int, bool] | None:
        """Bypassed and intercepted sessions are known by their entry's action: `depot.switching.session.PlaceOf`."""
        if entry.verdict is Verdict.BYPASS:
            found = self.policy.rule_of_flow(entry.key)
            return BYPASS_VIP_ID, found is not None and found[1]
        vip_id = self._roster.transparent_vip(entry.member_id, entry.key.protocol)
        if entry.verdict is not Verdict.FORWARD or vip_id is None:
            return None
        return vip_id, entry.client_is_hi

    def set_policies(self, tracker: SessionTracker) -> None:
        """Give a tracker what it must know of sessions that pass untouched."""
        tracker.set_policy(SessionPolicy.of_bypassed())

    def disconnected(self, *, superseded: bool) -> None:
        """We can no longer write. superseded: another controller does."""
        self.holding.clear()
        for held in (self._beginnings, self._announcing, self._awaited, self._deferred, self._packets, self._ready):
            held.clear()
        if superseded:
            self.own.withdraw_all()
            self.off_box.clear()

    def idle(self, flow: FlowKey) -> bool:
        """An entry saw no packet for its idle timeout; False: it is no peer's."""
        self._unclassified.pop(flow, None)
        return self.off_box.remove(flow)

    def syn_seen(self, flow: FlowKey, source_is_hi: bool, tcp_flags: int, now: float) -> None:
        """The data plane saw a SYN on a session that has ended, and does not ask about it: a new one on its ports."""
        session = self._tracker().session(flow)
        if session is None or session.state not in ENDED_STATES or tcp_flags & (_SYN | _ACK) != _SYN:
            return
        bypassed = session.vip_id == BYPASS_VIP_ID
        far_is_hi = source_is_hi if bypassed else not source_is_hi
        if not bypassed and far_is_hi != (session.client == flow.high):
            return  # a client's: it is punted
        source = flow.high if source_is_hi else flow.low
        kind = _Kind.BYPASSED if bypassed else _Kind.OUTBOUND
        seen = FlowPacket(flow, source, tcp_flags)
        self._announce(_Beginning(seen, kind, session.vip_id, session.member_id, far_is_hi, from_peer=True), now)

    def noticed(self, notices: Iterable[object], now: float) -> None:
        """What became of sessions: the peers hear of a session's end when its last packets have passed."""
        for notice in notices:
            if isinstance(notice, SessionClosed):
                vip = self._roster.vip(notice.vip_id)
                if vip is not None and SessionPolicy.of(notice.vip_id, vip).sees_replies:
                    at_once = notice.reason is not CloseReason.FIN
                    self.own.withdraw_later(notice.key, now if at_once else now + LINGER)

    # Time and output

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not yet."""
        handoff = self._handoffs_end[0][0] if self._handoffs_end else None
        deadlines = (self.holding.next_deadline(), self.own.next_deadline(), handoff)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self.holding.handle_timer(now)
        for flow in self.own.due(now):
            session = self._tracker().session(flow)
            if session is None or session.state in ENDED_STATES:
                self.own.withdraw(flow)
        while self._handoffs_end and self._handoffs_end[0][0] <= now:
            _, flow = self._handoffs_end.popleft()
            if self._handoffs.pop(flow, None) is not None and self._directory.lookup(flow) is None:
                self.counts.handoffs_lost += 1
                self.off_box.remove(flow)

    def settle(self, now: float) -> None:
        """Let follow what held packets and relayed flows have come to."""
        expired, self.holding.expired = self.holding.expired, []
        for one in expired:
            self._classify_again(one, now)
        due, self.holding.due = self.holding.due, []
        for flow, target in due:
            if (command := self._deferred.pop(flow, None)) is not None:
                self._ready.append(command_update(command))
            elif self._tracker().session(flow) is None:
                claim = self._directory.lookup(flow)
                owner = claim.owner if claim is not None else self._handoffs.get(flow)
                if owner is not None:
                    self._write(flow, owner, target.member_id)

    def _classify_again(self, expired: Expired, now: float) -> None:
        """Nobody spoke for a flow in time (seed 000, 3)."""
        flow, source, packet = expired
        is_last = flow not in self.holding
        if is_last:
            self._awaited.pop(key_of(flow), None)
        if flow in self._beginnings:  # a session that we were not ready to take over
            if is_last:
                del self._beginnings[flow]
            return
        found = self.policy.rule_of_flow(flow) if self._cluster is not None and self._is_ready() else None
        if found is not None and found[0].action is PolicyAction.BYPASS and self.policy.is_own(found[0]):
            seen = flow_packet(packet.payload) or FlowPacket(flow, source, 0)
            self._start(_Beginning(seen, _Kind.BYPASSED, BYPASS_VIP_ID, 0, found[1], packet.from_peer), packet, now)
        else:
            self._packets.append(_again(packet))

    def take_packets(self) -> list[PacketOut]:
        """Return the packets that are to be sent now."""
        packets = [*self.holding.released, *self._packets]
        self.holding.released, self._packets = [], []
        return packets

    def take_announcements(self) -> list[Announcement]:
        """Return what the peers are to be told before anything that follows."""
        announcements, self.own.announcements = self.own.announcements, []
        return announcements

    @property
    def is_announcing(self) -> bool:
        """Whether sessions wait for `announced`."""
        return bool(self._announcing)

    def updates(self, commands: Iterable[EntryCommand]) -> list[Update]:
        """Return what is to be written to `connection_table`, one update for each flow: the tracker's and our own."""
        updates: dict[FlowKey, Update] = {}
        for command in commands:
            flow = command.key
            if isinstance(command, RemoveEntry):
                self.own.withdraw(flow)
                self._deferred.pop(flow, None)
            elif self.holding.target(flow) is not None:
                self._deferred[flow] = command
                continue
            updates[flow] = command_update(command)
        for update in self._ready:
            updates.setdefault(connection_flow(update.entry.values), update)
        self._ready.clear()
        for flow, update in self.off_box.take_updates().items():
            if self._tracker().session(flow) is None:
                updates[flow] = update
        return list(updates.values())


def _limits(cluster: ClusterConfig | None) -> HoldingLimits:
    if cluster is None:
        return HoldingLimits()
    return HoldingLimits(
        cluster.hold_time,
        cluster.hold_bytes,
        cluster.hold_packets,
        cluster.hold_flow_bytes,
        cluster.hold_flow_packets,
    )


def _is_alone(seen: FlowPacket) -> bool:
    return seen.flow.protocol == Protocol.TCP and bool(seen.tcp_flags & _SYN)


def _again(packet: PacketIn) -> PacketOut:
    """The packet through the pipeline once more, held for long enough."""
    return PacketOut(packet.payload, ingress_port=packet.ingress_port, submit=Submission.SUBMIT_HELD)


def _wrong(flow: FlowKey) -> InstallEntry:
    """An entry that is not what the session of this flow needs."""
    return InstallEntry(flow, Verdict.DENY, 0, False, False, 0.0)
