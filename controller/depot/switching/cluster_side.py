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

from collections.abc import Callable, Collection, Iterable, Sequence

from depot.address import FlowKey, Protocol
from depot.cluster import (
    Claim,
    ClusterEvent,
    ConnectionAction,
    ConnectionsForgotten,
    ConnectionsLearnt,
    PeerDown,
    PeerUp,
    SyncChanged,
    flow_of,
    key_of,
)
from depot.config.cluster_model import ClusterConfig, PolicyAction, PolicyConfig
from depot.p4runtime.entry import Action, Entry, connection_flow
from depot.p4runtime.packets import PacketIn, PacketOut, PuntReason, Submission
from depot.p4runtime.reconcile import Update
from depot.switching.access_policy import AccessPolicy
from depot.switching.announcer import Announcement, Announcer
from depot.switching.beginning import Beginning, SessionKind
from depot.switching.commands import CloseReason, EntryCommand, InstallEntry, RemoveEntry, SessionClosed, Verdict
from depot.switching.connections import command_update, install_entry
from depot.switching.directory import Directory
from depot.switching.frames import FlowPacket, flow_packet
from depot.switching.holding import Expired, Holding, HoldingLimits, Target
from depot.switching.peer_flows import PeerFlows
from depot.switching.policy import BYPASS_VIP_ID, SessionPolicy
from depot.switching.roster import Roster
from depot.switching.sessions import SessionTracker
from depot.switching.states import ENDED_STATES, SessionState, TcpFlag
from depot.switching.stays import Stays
from depot.switching.steering import DictionaryAffinity, Steering

__all__ = ["ClusterSide"]

LINGER, LONG_LINGER = 2.0, 60.0
"""Seconds that peers still bring late packets of a connection that has been closed: some retransmissions, after a RST
until its entry goes; and until it is looked at again if only one end is known to have closed it."""
_SYN, _ACK = int(TcpFlag.SYN), int(TcpFlag.ACK)


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
        self.holding = Holding(HoldingLimits.of(cluster))
        """Held packets and relayed flows."""
        self.peers = PeerFlows(directory, lambda flow: self._tracker().session(flow) is not None)
        """Peers' connections."""
        self.peers.reconfigure(cluster)
        self.own = Announcer()
        """Own connections that peers know of."""
        self.conflicts = 0
        """Connections of ours that a peer claims too, since the start."""
        self._beginnings: dict[FlowKey, Beginning] = {}
        self._announcing: list[Beginning] = []
        self._awaited: dict[bytes, FlowKey] = {}  # what held packets wait for
        self._stays = Stays()  # a peer sent it here: it is not steered once more
        self._deferred: dict[FlowKey, EntryCommand] = {}  # entries of own sessions that are relayed still
        self._packets: list[PacketOut] = []
        self._ready: list[Update] = []
        self._was_in_sync = cluster is None

    # Configuration

    def reconfigure(self, cluster: ClusterConfig | None, policies: Sequence[PolicyConfig], now: float) -> None:
        """Take another cluster and policy; connections that are bypassed no more end, here and at the peers."""
        self._cluster = cluster
        self.policy = AccessPolicy(policies, None if cluster is None else cluster.name)
        self.holding.limits = HoldingLimits.of(cluster)
        self.peers.reconfigure(cluster)
        for flow in list(self.own.bypassed()):
            found = self._tracker().session(flow)
            client_is_hi = found is not None and found.client == flow.high
            rule = self.policy.rule_for(flow.client(client_is_hi), flow.server(client_is_hi), flow.protocol)
            if rule is None or rule.action is not PolicyAction.BYPASS or not self.policy.is_own(rule):
                self._tracker().end(flow, now)
                self.own.withdraw(flow)

    # Packets

    def packet_in(self, packet: PacketIn, now: float) -> None:
        """Take a packet of NEW_SESSION, UNKNOWN_FLOW or OUTBOUND_SESSION."""
        seen = flow_packet(packet.payload)
        if seen is None:
            return
        reason, flow = packet.reason, seen.flow
        if reason == PuntReason.OUTBOUND_SESSION and not self._is_proxied(packet, flow):
            self.holding.release(Target(0), seen.source, packet)
            return
        is_opening = reason != PuntReason.UNKNOWN_FLOW
        if flow in self._beginnings or self.holding.target(flow) is not None:
            self._hold(seen, packet, now)
        elif (target := self._known(seen, packet, now)) is not None:
            self.holding.release(target, seen.source, packet)
        elif reason != PuntReason.OUTBOUND_SESSION and (claim := self._claim(flow, packet, now)) is not None:
            self._pass_on(seen, packet, claim, now)
        elif is_opening:
            self._begin(seen, packet, now)
        elif packet.from_peer:  # it believes that the flow is ours: nobody else will speak for it
            if flow.protocol == Protocol.UDP:
                self._stays.add(flow, now)
            self._packets.append(_again(packet))
        else:
            self._hold(seen, packet, now)

    def _is_proxied(self, packet: PacketIn, flow: FlowKey) -> bool:
        """Whether a proxy speaks as one, and not for itself: it asks its name server in another protocol."""
        return self._roster.transparent_vip(packet.detail, flow.protocol) is not None

    def _hold(self, seen: FlowPacket, packet: PacketIn, now: float) -> None:
        self.holding.add(seen.flow, seen.source, packet, now, alone=_is_alone(seen))
        if seen.flow in self.holding:
            self._awaited[key_of(seen.flow)] = seen.flow

    def _claim(self, flow: FlowKey, packet: PacketIn, now: float) -> Claim | None:
        """Whose the flow is; what a peer sent is taken for ours, so that it travels once."""
        return None if packet.from_peer or self._stays.holds(flow, now) else self._directory.lookup(flow)

    def _known(self, seen: FlowPacket, packet: PacketIn, now: float) -> Target | None:
        """Where a flow goes that has an entry, or is about to have one; None for one that begins anew."""
        flow, tracker = seen.flow, self._tracker()
        session = tracker.session(flow)
        if session is None:
            return self.peers.known(flow)
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
        if (target := self.peers.target(claim)) is None:
            self._hold(seen, packet, now)
            return
        self.holding.relay(seen.flow, target, now, alone=_is_alone(seen))
        self.holding.release(target, seen.source, packet)

    # New sessions

    def _begin(self, seen: FlowPacket, packet: PacketIn, now: float) -> None:
        """Hold a session's first packet and have the peers told."""
        from_peer = packet.from_peer or self._stays.holds(seen.flow, now)
        self._stays.discard(seen.flow)
        self._start(Beginning.of(seen, packet, self._roster, from_peer=from_peer), packet, now)

    def _start(self, beginning: Beginning, packet: PacketIn, now: float) -> None:
        self._hold(beginning.seen, packet, now)
        flow = beginning.seen.flow
        if flow in self.holding:
            self._beginnings[flow] = beginning
            if self._is_ready():
                self._announce(beginning, now)

    def _is_ready(self) -> bool:
        """Whether we may take connections over: not before we have once known those of all others."""
        self._was_in_sync = self._was_in_sync or self._directory.in_sync
        return self._was_in_sync

    def _announce(self, beginning: Beginning, now: float) -> None:
        flow = beginning.seen.flow
        if (peer := self._steered(beginning)) is not None:
            del self._beginnings[flow]
            self._relay_held(flow, self.peers.hand_off(flow, beginning.seen.source, peer, now), now)
        elif self._is_shared(beginning) and self.own.announce(beginning.announcement):
            self._announcing.append(beginning)
        else:  # the peers know, if it is the next one on the ports of one that has just ended
            self._open(beginning, now)

    def _is_shared(self, beginning: Beginning) -> bool:
        return self._cluster is not None and self._has_shared_vip(beginning.vip_id)

    def _has_shared_vip(self, vip_id: int) -> bool:
        vip = self._roster.vip(vip_id)
        return vip_id == BYPASS_VIP_ID or (vip is not None and vip.shared)

    def _steered(self, beginning: Beginning) -> str | None:
        """The peer that serves a new session best; None: it stays here."""
        if self._cluster is None or beginning.kind is not SessionKind.SERVED or beginning.from_peer:
            return None
        flow, client_is_hi = beginning.seen.flow, beginning.far_is_hi
        rule = self.policy.rule_for(flow.client(client_is_hi), flow.server(client_is_hi), flow.protocol)
        if rule is None or rule.steer is None:
            return None
        own = self._cluster.name
        chosen = self.steering.choose(flow, {own, *self.peers.reachable})
        return None if chosen == own else chosen

    def announced(self, now: float) -> None:
        """What `take_announcements` gave is on its way to all peers."""
        announcing, self._announcing = self._announcing, []
        for beginning in announcing:
            self._open(beginning, now)

    def _open(self, beginning: Beginning, now: float) -> None:
        """Give a session to the tracker and its first packets to their member."""
        flow, tracker = beginning.seen.flow, self._tracker()
        self._beginnings.pop(flow, None)
        is_served = beginning.kind is SessionKind.SERVED
        if not is_served:
            tracker.end(flow, now)  # one that has ended, on the same ports
        flags = 0 if beginning.kind is SessionKind.OUTBOUND else beginning.seen.tcp_flags
        tracker.new_flow(
            flow, beginning.vip_id, beginning.member_id, beginning.far_is_hi, flags, now, is_bound=not is_served
        )
        target = self._target_of(flow)
        if target is None:
            self.holding.refuse(flow)
            self._awaited.pop(key_of(flow), None)
            self.own.withdraw(flow)
            return
        if self._cluster is not None and self._steers:
            self.steering.served(flow, self._cluster.name)
        self.peers.off_box.remove(flow)
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
            self._learnt(event.identity, event.keys, now)
        elif isinstance(event, ConnectionsForgotten):
            self.peers.forgotten(event.keys)
        elif isinstance(event, PeerUp | PeerDown):
            self.peers.peer_changed(event.identity, is_up=isinstance(event, PeerUp))
        elif isinstance(event, SyncChanged):
            self._sync_changed(now)

    def _learnt(self, peer: str, keys: Collection[bytes], now: float) -> None:
        for key in [key for key in keys if key in self._awaited]:
            self._word_of_held(self._awaited[key], now)
        for flow in self.own.flows(keys):
            self._claimed_by_peer(flow, now)
        self.peers.learnt(keys)
        if self._steers:
            for key in keys:
                self.steering.served(flow_of(key), peer)

    def _word_of_held(self, flow: FlowKey, now: float) -> None:
        claim = self._directory.lookup(flow)
        if claim is None or flow not in self.holding:
            return
        if (target := self.peers.target(claim)) is not None:
            self._beginnings.pop(flow, None)
            self._announcing = [one for one in self._announcing if one.seen.flow != flow]
            self._relay_held(flow, target, now)

    def _claimed_by_peer(self, flow: FlowKey, now: float) -> None:
        """Two members have one flow: if ours has ended, its ports serve another connection there."""
        session = self._tracker().session(flow)
        if session is None or session.state in ENDED_STATES:
            self._tracker().end(flow, now)
            self.own.withdraw(flow)
        else:
            self.conflicts += 1

    def _sync_changed(self, now: float) -> None:
        if self._directory.in_sync and self._is_ready():
            announcing = {one.seen.flow for one in self._announcing}
            for flow, beginning in list(self._beginnings.items()):
                if flow not in announcing:
                    self._announce(beginning, now)
            self._verify(now)

    # The switch

    def connected(self, entries: Iterable[Entry]) -> list[InstallEntry]:
        """We may write, and the switch holds these entries of peers' and bypassed connections; return our own."""
        own: list[InstallEntry] = []
        others: list[Entry] = []
        for entry in entries:
            flow = connection_flow(entry.values)
            if self._tracker().session(flow) is None:
                others.append(entry)
            else:
                own.append(install_entry(entry) if entry.action is not Action.FORWARD_TO_PEER else _wrong(flow))
        self.peers.connected(others)
        return own

    def adopted(self, now: float) -> None:
        """The tracker has adopted what the switch holds: the peers hear of it."""
        self.own.adopt_ended(view.key for view in self._tracker().sessions() if view.state in ENDED_STATES)
        for view in self._tracker().sessions():
            if view.state not in ENDED_STATES and self._cluster is not None and self._has_shared_vip(view.vip_id):
                bypassed = view.vip_id == BYPASS_VIP_ID
                action = ConnectionAction.BYPASS if bypassed else ConnectionAction.FORWARD
                self.own.announce(Announcement(view.key, view.client == view.key.high, action))
        if self._is_ready() and self._directory.in_sync:
            self._verify(now)

    def _verify(self, now: float) -> None:
        """All peers have spoken."""
        for flow in [one for one in self.own.lingering() if self._directory.lookup(one) is not None]:
            self._claimed_by_peer(flow, now)
        for entry in self.peers.verify():
            flow = connection_flow(entry.values)
            if self._tracker().session(flow) is None and self._tracker().adopt(install_entry(entry), now):
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
        for one in self._announcing:
            self.own.withdraw(one.seen.flow)
        for held in (self._beginnings, self._announcing, self._awaited, self._deferred, self._packets, self._ready):
            held.clear()
        if superseded:
            self.own.withdraw_all()
            self.peers.off_box.clear()

    def syn_seen(self, flow: FlowKey, source_is_hi: bool, tcp_flags: int, now: float) -> None:
        """The data plane saw a SYN on a bypassed session, and does not ask about it: a new one if that has ended."""
        session = self._tracker().session(flow)
        if session is None or session.state not in ENDED_STATES or tcp_flags & (_SYN | _ACK) != _SYN:
            return
        if session.vip_id == BYPASS_VIP_ID:  # others are punted
            seen = FlowPacket(flow, flow.high if source_is_hi else flow.low, tcp_flags)
            self._announce(Beginning.bypassed(seen, source_is_hi, from_peer=True), now)

    def noticed(self, notices: Iterable[object], now: float) -> None:
        """What became of sessions: the peers hear of a session's end when its last packets have passed."""
        for notice in notices:
            if isinstance(notice, SessionClosed):
                self.own.withdraw_later(notice.key, now + (LINGER if notice.reason is CloseReason.FIN else 0.0))

    def _is_beginning(self, flow: FlowKey) -> bool:
        """Whether peers are being told of a flow: it is not to be withdrawn for a session that had it before."""
        return flow in self._beginnings or any(one.seen.flow == flow for one in self._announcing)

    # Time and output

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not yet."""
        deadlines = (self.holding.next_deadline(), self.own.next_deadline(), self.peers.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self.holding.handle_timer(now)
        self.peers.handle_timer(now)
        for flow in list(self.own.due(now)):
            session = self._tracker().session(flow)
            if session is not None and session.state is SessionState.RESET:  # forged, unless silence follows
                self.own.withdraw_later(flow, now + LINGER)
            elif session is None or session.state in ENDED_STATES:
                if not self._is_beginning(flow):
                    self.own.withdraw(flow, lingers=session is not None)
            elif session.state is SessionState.CLOSING:  # without sight of replies: the other end may go on
                self.own.withdraw_later(flow, now + LONG_LINGER)

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
                self.peers.write(flow, target)

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
            self._start(Beginning.bypassed(seen, found[1], from_peer=packet.from_peer), packet, now)
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
    def waiting(self) -> int:
        """How many entries may have to change, those of sessions not counted."""
        return len(self._ready) + self.peers.off_box.waiting

    def updates(self, commands: Iterable[EntryCommand]) -> list[Update]:
        """Return what is to be written to `connection_table`, one update for each flow: the tracker's and our own."""
        updates: dict[FlowKey, Update] = {}
        for command in commands:
            flow = command.key
            if isinstance(command, RemoveEntry):
                if not self._is_beginning(flow):
                    self.own.withdraw(flow)
                self._deferred.pop(flow, None)
            elif self.holding.target(flow) is not None:
                self._deferred[flow] = command
                continue
            updates[flow] = command_update(command)
        for update in self._ready:
            updates.setdefault(connection_flow(update.entry.values), update)
        self._ready.clear()
        for flow, update in self.peers.off_box.take_updates().items():
            if self._tracker().session(flow) is None:
                updates[flow] = update
        return list(updates.values())


def _is_alone(seen: FlowPacket) -> bool:
    return seen.flow.protocol == Protocol.TCP and bool(seen.tcp_flags & _SYN)


def _again(packet: PacketIn) -> PacketOut:
    """The packet through the pipeline once more, held for long enough."""
    port, how = packet.ingress_port, Submission.SUBMIT_HELD
    return PacketOut(packet.payload, ingress_port=port, submit=how, from_peer=packet.from_peer)


def _wrong(flow: FlowKey) -> InstallEntry:
    """An entry that is not what the session of this flow needs."""
    return InstallEntry(flow, Verdict.DENY, 0, False, False, 0.0)
