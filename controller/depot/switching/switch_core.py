"""Everything that is decided about one switch: sessions, neighbours, ICMP and the desired state in one core. Sans-IO.

Events and the time go in; `take_output` gives the table writes, packets and notices that follow, `next_deadline` when
`handle_timer` wants to be called. Times are seconds of any steady clock. Connecting for the first time, again, after a
restart of either side and after another controller are one act: `connected` compares what the switch holds with what
it should hold, adopts its sessions and writes the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from depot.address import Endpoint, FlowKey, Protocol
from depot.config.cluster_model import ClusterConfig, PolicyConfig
from depot.config.model import SwitchConfig, VipConfig
from depot.config.vmac_model import VmacConfig
from depot.p4runtime.entry import Action, Entry, EntryKey, Table, connection_flow
from depot.p4runtime.packets import PacketIn, PacketOut, PuntReason
from depot.p4runtime.reconcile import INSERT_ORDER, Operation, reconcile
from depot.p4runtime.write_errors import WriteFailure
from depot.switching.cluster_entries import originator_entries, policy_entries
from depot.switching.cluster_side import ClusterSide
from depot.switching.commands import InstallEntry, SynUnanswered, Verdict
from depot.switching.connections import install_entry
from depot.switching.desired import member_action, member_destination, service_entries, vip_key
from depot.switching.directory import NO_CLUSTER, Directory
from depot.switching.former import FormerMembers
from depot.switching.frames import parse_frame
from depot.switching.icmp import IcmpErrors, Trouble
from depot.switching.identities import Identities, MemberAction, VipKey
from depot.switching.lan_side import LanSide
from depot.switching.neighbours import Neighbours
from depot.switching.output import Output, Reconciled
from depot.switching.peer_tunnels import PeerTunnels
from depot.switching.policy import SessionPolicy
from depot.switching.roster import Roster
from depot.switching.routing import NextHop, Routing
from depot.switching.sessions import SessionTracker
from depot.switching.states import TcpFlag

__all__ = ["SwitchCore"]

FIRST_REREAD, LAST_REREAD = 1.0, 60.0
"""Seconds from a refused write until the tables are read back and compared again, doubling."""

SYN = int(TcpFlag.SYN)
_CLUSTERED = frozenset({Action.FORWARD_TO_PEER, Action.BYPASS_CONNECTION})
_OF_THE_CLUSTER = frozenset({PuntReason.NEW_SESSION, PuntReason.UNKNOWN_FLOW, PuntReason.OUTBOUND_SESSION})


class SwitchCore:
    """One switch. directory: what the peers of its cluster say of connections."""

    def __init__(
        self,
        config: SwitchConfig,
        vips: Sequence[VipConfig],
        cluster: ClusterConfig | None = None,
        policies: Sequence[PolicyConfig] = (),
        directory: Directory = NO_CLUSTER,
        vmac: VmacConfig | None = None,
    ) -> None:
        self._routing = Routing(config, vmac)
        self._roster = Roster(vips, first_member=0 if cluster is None else 1)
        self._tunnels = PeerTunnels(cluster)
        self.cluster = ClusterSide(cluster, policies, directory, self._roster, lambda: self._tracker)
        """The cluster's side of this switch, and the access policy."""
        self._new_tracker()
        self._neighbours = Neighbours(self._routing)
        self.lan = LanSide(lambda: self._routing, self._neighbours, lambda: self._held, self._write)
        """What is done for a LAN whose hosts share a gateway address."""
        self.icmp = IcmpErrors(self._routing.ports)
        """The ICMP errors and resets of this switch."""
        self._held: dict[EntryKey, Entry] = {}
        """What the switch holds, but for connections, once all writes are done."""
        self._connected = False
        self._output = Output()
        self._reread_at: float | None = None
        self._reread_delay = FIRST_REREAD
        self.punts: Counter[PuntReason] = Counter()
        """Packets that came to the controller, by reason."""
        self.updates_made = 0
        """Updates but for connections, since the start."""

    def _new_tracker(self) -> None:
        self._tracker = SessionTracker(self._roster.substitute, self._is_member, self.cluster.place_of)
        self.cluster.set_policies(self._tracker)
        self._former = FormerMembers(self._tracker.sessions_naming)

    # Configuration

    def reconfigure(
        self,
        config: SwitchConfig,
        vips: Sequence[VipConfig],
        schedules: Mapping[str, Sequence[str]],
        now: float,
        cluster: ClusterConfig | None = None,
        policies: Sequence[PolicyConfig] = (),
        vmac: VmacConfig | None = None,
    ) -> None:
        """Take another configuration; sessions of VIPs and members that stay are not touched.

        schedules: of every VIP, by name, the member of each slot.
        """
        before = self._roster.vips
        self._roster.reconfigure(vips, schedules)
        stay = {vip_key(vip) for vip in vips}
        for vip in before.values():
            vip_id = self.identities.find_vip(vip_key(vip))
            if vip_key(vip) not in stay and vip_id is not None:
                self._tracker.remove_vip(vip_id, now)
        lan, self._routing = self._routing.lan, Routing(config, vmac)
        self._routing.lan.inherit(lan)
        self.icmp.reconfigure(self._routing.ports)
        self._neighbours.reconfigure(self._routing)
        self._tunnels = PeerTunnels(cluster)
        self.cluster.reconfigure(cluster, policies, now)
        self._set_policies(now)
        self._compare(now)

    def set_schedules(self, schedules: Mapping[str, Sequence[str]], now: float) -> None:
        """Take new schedules of some VIPs: by VIP name, the member of each slot."""
        roster = self._roster
        for name, slots in schedules.items():
            vip = roster.vips.get(name)
            if vip is None:
                continue
            vip_id = self.identities.vip(vip_key(vip), now)
            old = len(roster.schedules.get(name, ()))
            roster.schedules[name] = tuple(slots)
            if self._connected:
                keys = [EntryKey(Table.SCHEDULE, (vip_id, slot)) for slot in range(old)]
                wanted = service_entries([vip], roster.schedules, self.identities, now)
                if vip.transparent:
                    wanted += policy_entries(self.cluster.policy, roster, self._tunnels, now)
                self._write({entry.key: entry for entry in wanted}, keys)

    def member_down(self, vip: str, member: str, now: float) -> None:
        """A member of a VIP is dead: give the VIP a schedule without it first."""
        self._roster.down.add((vip, member))
        if (ids := self._roster.ids(vip, member)) is not None:
            self._tracker.member_down(*ids, now)

    def member_up(self, vip: str, member: str) -> None:
        """A member of a VIP lives again."""
        self._roster.down.discard((vip, member))
        if (ids := self._roster.ids(vip, member)) is not None:
            self._tracker.member_up(*ids)

    def _is_member(self, vip_id: int, member_id: int) -> bool:
        """Whether a VIP's sessions can be served by this number: the flow cache may know it from long ago."""
        if self._roster.names(vip_id, member_id) is not None:
            return True
        member, vip = self._held.get(EntryKey(Table.MEMBER, (member_id,))), self.identities.vip_of(vip_id)
        if member is None or vip is None:
            return False
        if member.action is not Action.NAT_TO_MEMBER:
            return True
        way_back = self._held.get(EntryKey(Table.NAT_SOURCE, (*member.params, vip.protocol)))
        return way_back is not None and way_back.params == (vip.address, vip.port)

    # The switch

    def connected(self, entries: Iterable[Entry], now: float, carried: Sequence[Entry] = ()) -> None:
        """We are primary, and the switch holds these entries.

        carried: VIPs, members and connections that it held before its program was replaced: they are written again.
        """
        connections: list[InstallEntry] = []
        clustered: list[Entry] = []
        others: list[Entry] = []
        for entry in entries:
            if entry.table is not Table.CONNECTION:
                others.append(entry)
            elif entry.action in _CLUSTERED:
                clustered.append(entry)
            else:
                connections.append(install_entry(entry))
        self.identities.adopt([*others, *carried])
        self._set_policies(now)
        connections += self.cluster.connected(clustered)
        for entry in carried:
            if entry.table is Table.CONNECTION and entry.action is not Action.FORWARD_TO_PEER:
                self._tracker.adopt(install_entry(entry), now)
        self._tracker.reconcile(connections, now)
        self._drop_sessions_without_member(connections, now)
        self._connected = True
        self._reread_delay = FIRST_REREAD
        self._neighbours.adopt(others, now)
        self._former.connected(carried, now)
        for vip, member in self._roster.down:
            self.member_down(vip, member, now)
        self.cluster.adopted(now)
        self._reread(others, now)
        self._write_connections_before_vips()

    def _write_connections_before_vips(self) -> None:
        """Entries of known sessions refer to members, and must be there before a VIP spreads their packets anew."""
        connections = self.cluster.updates(self._tracker.take_commands())
        first, batches = 0, self._output.batches
        for (operation, entry), *_ in batches:
            if operation is not Operation.INSERT or entry.table not in INSERT_ORDER[0]:
                break
            first += 1
        if connections:
            batches.insert(first, connections)

    def reread(self, entries: Iterable[Entry], now: float) -> None:
        """The switch holds these entries, connections not among them: what we thought of it is not relied on."""
        self._reread(list(entries), now)

    def _reread(self, others: list[Entry], now: float) -> None:
        self._held = {entry.key: entry for entry in others}
        differences = self._compare(now)
        self._output.reconciled.append(Reconciled(len(others), len(self._tracker), differences))

    def _drop_sessions_without_member(self, connections: Iterable[InstallEntry], now: float) -> None:
        """Entries may name members that neither the switch nor we know: nobody could serve those sessions."""
        for member_id in {entry.member_id for entry in connections if entry.verdict is Verdict.FORWARD}:
            if self.identities.member_of(member_id) is None:
                self._remove_member(member_id, now)

    def disconnected(self, *, superseded: bool) -> None:
        """We can no longer write. superseded: another controller does, so what we know of sessions becomes old."""
        self._connected = False
        self._output = Output()
        self._reread_at = None
        self.cluster.disconnected(superseded=superseded)
        if superseded:
            self._roster.forget_numbers()
            self._new_tracker()

    def digest(self, name: str, samples: Sequence[tuple[int, ...]], now: float) -> None:
        """The data plane's digests, by their name in `depot.p4`."""
        if name == "new_flow_t":
            new_flow = self._tracker.new_flow
            for lo, hi, port_lo, port_hi, protocol, client_is_hi, flags, vip_id, member_id, cached in samples:
                key = FlowKey(lo, port_lo, hi, port_hi, protocol)
                self._named(vip_id, member_id, now)
                new_flow(key, vip_id, member_id, client_is_hi == 1, flags, now, remembered=cached == 1)
        elif name == "tcp_event_t":
            tcp_event = self._tracker.tcp_event
            for lo, hi, port_lo, port_hi, src_is_hi, flags in samples:
                key = FlowKey(lo, port_lo, hi, port_hi, 6)
                if flags & SYN:
                    self.cluster.syn_seen(key, src_is_hi == 1, flags, now)
                tcp_event(key, src_is_hi == 1, flags, now)
        elif name == "neighbour_seen_t":
            for port, address, mac in samples:
                self._neighbours.seen(port, address, mac, now)

    def _named(self, vip_id: int, member_id: int, now: float) -> None:
        """The data plane leads packets to a member, perhaps to one that is configured no more."""
        if self._roster.names(vip_id, member_id) is None:
            self._former.named(member_id, now)
            self.identities.member_named(member_id, now)

    def idle(self, keys: Iterable[EntryKey], now: float) -> None:
        """These entries saw no packet for their idle timeout."""
        for table, values in keys:
            if table is Table.CONNECTION:
                flow = connection_flow(values)
                if not self.cluster.peers.idle(flow):
                    self._tracker.idle(flow, now)

    def packet_in(self, packet: PacketIn, now: float) -> None:
        """The data plane could not go on with this packet."""
        answer: PacketOut | None = None
        if packet.reason in PuntReason._value2member_map_:
            self.punts[PuntReason(packet.reason)] += 1
        if packet.reason == PuntReason.NEIGHBOUR_UNRESOLVED:
            self._neighbours.unresolved(packet, now)
        elif packet.reason == PuntReason.TTL_EXPIRED:
            answer = self.icmp.error(packet, Trouble.TTL_EXPIRED, now)
        elif packet.reason == PuntReason.TOO_BIG:
            answer = self.icmp.error(packet, Trouble.TOO_BIG, now, packet.detail)
        elif packet.reason == PuntReason.RESET_SESSION:
            answer = self.icmp.reset(packet, now)
            if (told := self._reset_client(packet, now)) is not None:
                self._output.packets.append(told)
        elif packet.reason in _OF_THE_CLUSTER:
            if packet.detail:
                self._named(packet.address, packet.detail, now)
            self.cluster.packet_in(packet, now)
        if answer is not None:
            self._output.packets.append(answer)

    def _reset_client(self, offender: PacketIn, now: float) -> PacketOut | None:
        """Tell the client of a scrapped session whose NAT member still sends: it may have nothing to say itself."""
        packet = parse_frame(offender.payload)
        if packet is None or len(packet.payload) < 2:
            return None
        source = (packet.source, int.from_bytes(packet.payload[:2], "big"), int(Protocol.TCP))
        vip = self._held.get(EntryKey(Table.NAT_SOURCE, source))
        hop = self._routing.next_hop(packet.destination)
        way = self._held.get(EntryKey(Table.NEIGHBOUR, tuple(hop))) if hop is not None else None
        if vip is None or way is None:
            return None
        return self.icmp.reset_receiver(offender, Endpoint(*vip.params), way, now)

    def failed(self, failures: Iterable[WriteFailure], now: float) -> None:
        """These writes were refused: the tables are read back before long, and what is missing is tried again.

        A connection that found no room is announced again by the data plane, and only then tried again.
        """
        for (operation, entry), _, _ in failures:
            if entry.table is Table.CONNECTION:
                flow = connection_flow(entry.values)
                if entry.action is Action.FORWARD_TO_PEER or self._tracker.session(flow) is None:
                    self.cluster.peers.off_box.refused(flow)
                elif operation is Operation.INSERT:
                    self._tracker.entry_refused(flow, now)
                continue
            if entry.table is Table.NEIGHBOUR and operation is not Operation.DELETE:
                self._neighbours.refused(NextHop(*entry.values), now)
            if self._reread_at is None:
                self._reread_at = now + self._reread_delay
                self._reread_delay = min(self._reread_delay * 2, LAST_REREAD)

    # Time

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not yet."""
        neighbours = self._neighbours.next_deadline() if self._connected else None
        former = self._former.next_deadline() if self._connected else None
        deadlines = (self._tracker.next_deadline(), self.cluster.next_deadline(), neighbours, former, self._reread_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._tracker.handle_timer(now)
        self.cluster.handle_timer(now)
        if self._connected:  # nobody hears our questions otherwise
            self._neighbours.handle_timer(now)
        if self._reread_at is not None and now >= self._reread_at:
            self._reread_at = None
            self._output.reread = True
        if self._connected and self._former.are_due(now):
            self._compare(now)

    def take_output(self, now: float, *, connections: bool = True) -> Output:
        """Return what follows from all that was told since the last call.

        connections: whether to take what sessions need too. While the switch is behind, leave it: of a session that
        changes meanwhile only the last state is written, and a new schedule does not wait behind thousands of them.
        """
        self._take_neighbours(now)
        self.cluster.settle(now)
        output, self._output = self._output, Output()
        notices = self._tracker.take_notices()
        self.cluster.noticed(notices, now)
        if not self._connected:  # answers are not seen either: they may well have come
            output.notices += (one for one in notices if not isinstance(one, SynUnanswered))
            return Output(notices=output.notices, announcements=self.cluster.take_announcements())
        output.notices += notices
        if connections:
            output.connections = self.cluster.updates(self._tracker.take_commands())
        output.packets += self.cluster.take_packets()
        output.announcements = self.cluster.take_announcements()
        return output

    def announced(self, now: float) -> None:
        """All peers are about to hear the announcements of the output that was taken."""
        self.cluster.announced(now)

    def _take_neighbours(self, now: float) -> None:
        neighbours = self._neighbours
        for entry, present in neighbours.changes:
            self._write({entry.key: entry} if present else {}, [entry.key])
        if neighbours.changes and any(vip.transparent for vip in self._roster.vips.values()):
            held = [key for key in self._held if key.table is Table.ORIGINATOR]
            wanted = originator_entries(self._roster, self._routing, neighbours)
            self._write({entry.key: entry for entry in wanted}, held)
        for packet in neighbours.unreachable:
            if (answer := self.icmp.error(packet, Trouble.HOST_UNREACHABLE, now)) is not None:
                self._output.packets.append(answer)
        # an answer is only heard at an address that the switch knows as ours
        self._output.packets_after += [*neighbours.requests, *neighbours.released]
        for waiting in (neighbours.changes, neighbours.unreachable, neighbours.requests, neighbours.released):
            waiting.clear()

    # Desired state

    def _set_policies(self, now: float) -> None:
        """Give every VIP and member its number, and the tracker every VIP's policy."""
        for vip_id, vip in self._roster.give_numbers(now):
            self._tracker.set_policy(SessionPolicy.of(vip_id, vip))
            for member in vip.members:
                member_id = self.identities.find_member(member_action(vip, member))
                # it may have been down when it was removed
                if member_id is not None and (vip.name, member.name) not in self._roster.down:
                    self._tracker.member_up(vip_id, member_id)
        self.cluster.peers.set_numbers(self._tunnels.numbers(self.identities, now))

    def _compare(self, now: float) -> int:
        """Write the difference between all that should be held and what is; return how many updates that takes."""
        vips = self._roster.vips.values()
        wanted = service_entries(vips, self._roster.schedules, self.identities, now)
        wanted += self._routing.entries(vip.address for vip in vips if not vip.transparent)
        wanted += self._routing.lan.buckets(self._held.values())
        wanted += self._neighbours.entries()
        wanted += self._tunnels.entries(self.identities, now)
        wanted += policy_entries(self.cluster.policy, self._roster, self._tunnels, now)
        wanted += originator_entries(self._roster, self._routing, self._neighbours)
        members = {member_action(vip, member) for vip in vips for member in vip.members}
        members.update(self._tunnels.actions.values())
        self._end_sessions_without_way_back(wanted, now)
        former = self._keep_former(wanted, now)
        wanted += former
        for member_id in self.identities.keep({vip_key(vip) for vip in vips}, members | self._former.actions(), now):
            self._remove_member(member_id, now)
        members |= {MemberAction(entry.action, entry.params) for entry in former if entry.table is Table.MEMBER}
        hops = {self._routing.next_hop(member_destination(member)) for member in members}
        self._neighbours.want((hop for hop in {*hops, *self._routing.gateways} if hop is not None), now)
        return self._write({entry.key: entry for entry in wanted}, self._held.keys())

    def _keep_former(self, wanted: Iterable[Entry], now: float) -> list[Entry]:
        """What should be held for members that are configured no more."""
        configured = {entry.key: entry for entry in wanted}
        vips = {self.identities.vip(vip_key(vip), now): vip_key(vip) for vip in self._roster.vips.values()}
        return self._former.keep(self._held.values(), configured, vips, self.identities, now, release=self._connected)

    def _end_sessions_without_way_back(self, wanted: Iterable[Entry], now: float) -> None:
        """A NAT member that went over to another VIP answers in that one's name: for the old one it is as if dead."""
        for entry in wanted:
            held = self._held.get(entry.key) if entry.table is Table.NAT_SOURCE else None
            if held is None or held.params == entry.params:
                continue
            (address, port, protocol), vip = entry.values, Endpoint(*held.params)
            vip_id = self.identities.find_vip(VipKey(*vip, protocol))
            member_id = self.identities.find_member(MemberAction(Action.NAT_TO_MEMBER, (address, port)))
            if vip_id is not None and member_id is not None:
                self._tracker.member_down(vip_id, member_id, now)
                self._tracker.member_up(vip_id, member_id)

    def _remove_member(self, member_id: int, now: float) -> None:
        for vip_id in self._roster.vip_ids():
            self._tracker.remove_member(vip_id, member_id, now)

    def _write(self, wanted: Mapping[EntryKey, Entry], keys: Iterable[EntryKey]) -> int:
        """Make the switch hold, of these keys and those of `wanted`, exactly `wanted`; return the number of updates."""
        if not self._connected:
            return 0
        held = {key: self._held[key] for key in {*keys, *wanted} if key in self._held}
        batches = reconcile(wanted, held)
        for operation, entry in (update for batch in batches for update in batch):
            if operation is Operation.DELETE:
                del self._held[entry.key]
            else:
                self._held[entry.key] = entry
        self._output.batches += batches
        updates = sum(len(batch) for batch in batches)
        self.updates_made += updates
        return updates

    # What is known

    def names(self, vip_id: int, member_id: int) -> tuple[str, str] | None:
        """Return the names of a VIP and its member; None for one that is configured no more."""
        return self._roster.names(vip_id, member_id)

    def vip_name(self, vip_id: int) -> str | None:
        """Return the name of a VIP."""
        return self._roster.vip_name(vip_id)

    def sessions(self, vip: str, member: str) -> int:
        """Return how many active sessions a member of a VIP serves here."""
        ids = self._roster.ids(vip, member)
        return 0 if ids is None else self._tracker.vip_member_sessions(*ids)

    @property
    def identities(self) -> Identities:
        """The numbers of VIPs and members."""
        return self._roster.identities

    @property
    def waiting(self) -> int:
        """How many entries of connections may have to change."""
        return self._tracker.waiting + self.cluster.waiting

    @property
    def reread_pending(self) -> bool:
        """Whether a refused write waits to be tried again."""
        return self._reread_at is not None

    @property
    def routing(self) -> Routing:
        """Ports and routes."""
        return self._routing

    @property
    def tracker(self) -> SessionTracker:
        """The sessions."""
        return self._tracker

    @property
    def neighbours(self) -> Neighbours:
        """The neighbours."""
        return self._neighbours

    @property
    def entries_held(self) -> Counter[Table]:
        """Entries by table, as far as we know."""
        count = Counter(key.table for key in self._held)
        count[Table.CONNECTION] = len(self._tracker) + len(self.cluster.peers.off_box)
        return count
