"""One gateway of a cluster behind one address (seed 004, decision 13): its core."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from depot.vmac.asks import Asks
from depot.vmac.balancer import Balancer
from depot.vmac.claims import Claim, ClaimMap, spread
from depot.vmac.events import GatewayDown, GatewayUp, IdentityDisputed, Output, PhaseChanged
from depot.vmac.learning import Learning
from depot.vmac.membership import Membership, Peer
from depot.vmac.moves import BucketState, Moves
from depot.vmac.orders import Orders
from depot.vmac.outbox import Outbox
from depot.vmac.reports import buckets_in, claims_to_report
from depot.vmac.settings import Draws, GatewaySettings, VmacError, check_names
from depot.vmac.status import GatewayView, MoveView, Status
from depot.vmac.wire import (
    MAX_HOSTS,
    Acknowledge,
    Asked,
    Assign,
    Envelope,
    Handover,
    Hosts,
    Learn,
    Leaving,
    Offer,
    Phase,
    Refusal,
    Release,
    Report,
    Standing,
    Taken,
    WireError,
    Withdraw,
    read,
)

__all__ = ["Gateway"]

_TICKS = 8
"""Ticks in a report interval: how often what is not answered is repeated."""
_KEPT_MOVES = 4
"""Of each bucket, on average."""

_WHY_NOT = {
    Refusal.FOREIGN: "it is on no list of ours",
    Refusal.PAST: "its clock was ahead before; start it again when its clock is right",
}


class Gateway:
    """One life of one gateway. After every call: `take_output`, and arm a timer for `next_deadline`.

    `incarnation`: a number of 64 bits, higher in each life. It first listens: until all peers are heard and have heard
    it, or for three report intervals; and as long as an active peer has other virtual MACs.
    """

    def __init__(self, settings: GatewaySettings, random: Draws, incarnation: int, now: float) -> None:
        self._settings = settings
        self._incarnation = incarnation
        self._members = Membership(settings.name, settings.peers, settings.silence_limit)
        self._claims = ClaimMap(settings.virtual_macs.count)
        self._outbox = Outbox(settings, incarnation)
        self._learning = Learning(settings.learning_interval, random)
        self._moves = Moves(settings, self._claims, self._outbox, self._learning, random)
        self._orders = Orders(settings, self._members, self._claims, self._moves, self._outbox, now)
        self._asks = Asks()
        self._corrections: set[int] = set()
        self._balancer = Balancer(settings, self._members, self._moves, random, now)
        self._tick = settings.report_interval / _TICKS
        self._tick_at = self._report_at = self._decide_at = now
        self._listen_until = now + settings.silence_limit
        self._disputed_since: float | None = None
        self._is_told_of_dispute = False
        self._rival_until = self._disagreed_until = now
        self._rival_told_at = float("-inf")
        self._has_left = False
        self._owners: list[str | None] = [None] * len(self._claims)
        self._recent: deque[MoveView] = deque(maxlen=_KEPT_MOVES * len(self._claims))
        self._done: Counter[str] = Counter()

    # What comes in.

    def receive(self, data: bytes, now: float, source: str = "") -> None:
        """Take a datagram, from anyone; `source`: the peer whose address it has, for the log."""
        envelope = self._read(data, now, source)
        if envelope is None:
            return
        if envelope.recipient != self._settings.name:
            self._outbox.refuse(Refusal.MISDIRECTED, envelope.sender, f"for {envelope.recipient or 'the LAN'}", now)
        elif isinstance(envelope.message, Acknowledge | Learn):
            self._outbox.refuse(Refusal.MALFORMED, envelope.sender, "a frame of the LAN in a datagram", now)
        elif self._admit(envelope, now):
            self._handle(envelope, now)

    def receive_frame(self, source_mac: int, payload: bytes, now: float) -> None:
        """Take a frame of EtherType 0x88B5 seen on the LAN: its source MAC and what follows the EtherType."""
        envelope = self._read(payload, now)
        if envelope is None:
            return
        message, sender = envelope.message, envelope.sender
        if envelope.recipient or not isinstance(message, Acknowledge | Learn):
            self._outbox.refuse(Refusal.MALFORMED, sender, "a datagram on the LAN", now)
        elif source_mac != self._settings.virtual_macs.mac(message.bucket):
            self._outbox.refuse(Refusal.WRONG_SOURCE, sender, f"bucket {message.bucket} from {source_mac:012x}", now)
        elif self._admit(envelope, now) and isinstance(message, Acknowledge):
            self._acknowledged(sender, message, now)

    def asked(self, bucket: int, asker: int, frame: bytes, port: int, now: float) -> None:
        """Take an ask that the data plane was told to hand over: the ready answer, and where it would leave."""
        to = self._moves.given_to(bucket)
        if to is not None:
            self._done["asks told to the new owner"] += 1
            self._outbox.send(to, Asked(bucket, asker))
        elif self._asks.handed(bucket, asker, frame, port, now):
            self._answer(port, frame)

    def written(self, generation: int, now: float) -> None:
        """Note that the data plane has all entries told up to this generation."""
        self._moves.written(generation, now)

    def measured(self, load: float, rates: Mapping[int, float], now: float) -> None:
        """Note our load, 1: all that we can do, and packets/s that are offered to each of our buckets."""
        self._balancer.measured(load, rates, now)

    def tell_hosts(self, peer: str, hosts: Sequence[tuple[int, int]]) -> None:
        """Tell a peer of hosts in the LAN, address and MAC each: it was perhaps not there when they spoke."""
        for first in range(0, len(hosts), MAX_HOSTS):
            self._outbox.send(peer, Hosts(tuple(hosts[first : first + MAX_HOSTS])))

    # What the operator wants.

    def move(self, buckets: Iterable[int], to: str, now: float) -> None:
        """Have buckets moved, ours or others'. Raises VmacError if that cannot be, and moves none."""
        wanted = sorted(set(buckets))
        if to != self._settings.name and to not in self._members:
            raise VmacError(f"there is no gateway {to}")
        if not self._members.is_live(to):
            raise VmacError(f"gateway {to} is not heard")
        if not self._members.is_active(to):
            raise VmacError(f"gateway {to} does not take buckets: it has just started, or is leaving")
        for bucket in wanted:
            if not 0 <= bucket < len(self._claims):
                raise VmacError(f"there is no bucket {bucket}, only 0 to {len(self._claims) - 1}")
            if self._claims[bucket] is None:
                raise VmacError(f"bucket {bucket} is nobody's yet")
        self._orders.want(wanted, to, now)
        self._orders.work(now)

    def leave(self, now: float) -> None:
        """Hand everything over; `has_left` says when that is done."""
        if self._members.phase is not Phase.LEAVING:
            self._set_phase(Phase.LEAVING)
            self._report(now)
            self._hand_over(now)

    @property
    def has_left(self) -> bool:
        """Say whether everything is handed over, or there is nobody to hand it to: the process may end."""
        return self._has_left

    def set_peers(self, names: Iterable[str], now: float) -> None:
        """Have other peers. Raises VmacError if a name is none or comes twice, and changes nothing."""
        peers = list(names)
        check_names(self._settings.name, peers)
        for name in self._members.set_names(peers):
            self._gone(name, "removed", now)

    # Time, and what goes out.

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` is to be called; None: never."""
        if self._has_left:
            return None
        learning = self._learning.next_deadline()
        return min(self._tick_at, self._report_at, self._decide_at, *([] if learning is None else [learning]))

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._has_left:
            return
        for bucket in self._learning.due(now):
            self._outbox.send_frame(Learn(bucket))
        if now >= self._tick_at:
            self._tick_at = now + self._tick
            self._work(now)
        if now >= self._report_at:
            self._report_at = now + self._settings.report_interval
            self._report(now)
        if now >= self._decide_at:
            self._decide_at = now + self._settings.decision_interval
            self._balance(now)

    def take_output(self) -> Output:
        """Return all that is to be done since the last time."""
        output = self._outbox.take()
        output.holdings = self._moves.take_holdings()
        return output

    def status(self) -> Status:
        """Return all that is known."""
        counts = Counter(claim.owner for _, claim in self._claims.items())
        peers = [self._view(peer, counts[peer.name]) for peer in self._members]
        own = GatewayView(
            self._settings.name, self._members.phase, self._balancer.load, self._balancer.rate(),
            counts[self._settings.name],
        )  # fmt: skip
        refused = {refusal.value: self._outbox.refused[refusal] for refusal in Refusal}
        return Status(
            self._settings.name, self._members.phase, self._members.leads(),
            self._disputed_since is not None, self._settings.algorithm,
            tuple(sorted([own, *peers], key=lambda view: view.name)),
            tuple(None if claim is None else claim.owner for claim in self._claims),
            {
                bucket: record.state.value
                for bucket, record in sorted(self._moves.records.items())
                if record.state is not BucketState.OWN
            },
            self._balancer.own_rates(), tuple(self._recent), refused | dict(self._done),
        )  # fmt: skip

    # Messages.

    def _read(self, data: bytes, now: float, source: str = "") -> Envelope | None:
        try:
            envelope = read(data, self._settings.key)
        except WireError as error:
            self._outbox.refuse(error.refusal, source, error.detail, now)
            return None
        if envelope.sender == self._settings.name:
            if envelope.incarnation != self._incarnation:
                self._outbox.refuse(Refusal.DUPLICATE, envelope.sender, "another gateway of our name speaks", now)
                self._meet_rival(envelope.incarnation, now)
            return None
        if any(bucket >= len(self._claims) for bucket in buckets_in(envelope.message)):
            self._outbox.refuse(Refusal.MALFORMED, envelope.sender, "there are not so many buckets", now)
            return None
        return envelope

    def _admit(self, envelope: Envelope, now: float) -> bool:
        sender = envelope.sender
        was_live = self._members.is_live(sender)
        refusal = self._members.admit(envelope, now)
        if refusal is not None:
            detail = _WHY_NOT.get(refusal, f"incarnation {envelope.incarnation}")
            self._outbox.refuse(refusal, sender, detail, now)
            return False
        if not was_live:
            self._outbox.tell(GatewayUp(sender))
        return True

    def _handle(self, envelope: Envelope, now: float) -> None:
        sender = envelope.sender
        match envelope.message:
            case Report() as report:
                self._reported(self._members[sender], report, envelope.sequence, now)
            case Offer() as offer if self._members.phase is Phase.ACTIVE:
                self._moves.offered(sender, offer, now)
            case Withdraw() as withdraw:
                self._moves.withdrawn(sender, withdraw)
            case Release() as release:
                self._moves.released(sender, release, now)
            case Taken(pairs):
                self._moves.taken(sender, pairs, now)
            case Asked(bucket, asker):
                found = self._asks.told(bucket, asker, now)
                if found:
                    self._answer(*found)
            case Assign() as assign:
                self._moves.assigned(sender, assign, now)
            case Handover(to, pairs) if self._members.is_active(to) and to != self._settings.name:
                current = [bucket for bucket, version in pairs if self._claims.version(bucket) == version]
                self._moves.offer(current, to, now)
            case Hosts(hosts):
                self._outbox.pass_on(hosts)
            case Leaving():
                self._members[sender].ended = True
                self._gone(sender, "left", now)

    def _acknowledged(self, sender: str, message: Acknowledge, now: float) -> None:
        if self._moves.acknowledged(sender, message) or not self._moves.is_owned(message.bucket):
            return
        self._outbox.refuse(Refusal.STALE, sender, f"bucket {message.bucket}", now)
        self._outbox.send(sender, Withdraw(message.token, (message.bucket,)))

    def _answer(self, port: int, frame: bytes) -> None:
        self._done["asks answered for both"] += 1
        self._outbox.answer(port, frame)

    def _reported(self, peer: Peer, report: Report, sequence: int, now: float) -> None:
        if report.virtual_macs != self._settings.virtual_macs:
            detail = f"{report.virtual_macs} there, {self._settings.virtual_macs} here"
            self._outbox.refuse(Refusal.DISAGREEING, peer.name, detail, now)
            if report.phase is Phase.ACTIVE:
                self._disagreed_until = now + self._settings.silence_limit
            return
        if sequence > peer.report_sequence:
            peer.report, peer.report_sequence = report, sequence
            self._hear_claims(peer, report, now)
        if report.phase is Phase.LEAVING:
            self._moves.peer_gone(peer.name, now, is_dead=False)
        if report.wants_answer:
            self._send_report(peer, False, now)
        self._begin_if_ready(now)

    def _hear_claims(self, peer: Peer, report: Report, now: float) -> None:
        own: set[int] = set()
        ordered: set[int] = set()
        for run in report.claims:
            buckets = range(run.first, run.first + run.count)
            if run.claim.owner == peer.name and run.standing is not Standing.KNOWN:
                own.update(buckets)
            if run.standing is Standing.ORDERED:
                ordered.update(buckets)
            for bucket in buckets:
                self._hear(bucket, run.claim)
            if run.standing is Standing.HELD:
                self._moves.taken(peer.name, [(bucket, run.claim.version) for bucket in buckets], now)
                for bucket in buckets:
                    self._orders.confirmed(bucket)
        peer.ordered = frozenset(ordered)
        self._orders.listed(peer.name, frozenset(own), now)

    def _hear(self, bucket: int, claim: Claim) -> None:
        if not self._claims.merge(bucket, claim):
            if self._claims[bucket] != claim:
                self._corrections.add(bucket)
        elif claim.owner != self._settings.name:
            self._moves.outranked(bucket, claim)
        elif self._moves.is_owned(bucket):
            self._moves.outbid(bucket, claim.version)

    # What time brings.

    def _work(self, now: float) -> None:
        for peer in self._members.silent(now):
            self._gone(peer.name, "silent", now)
        self._begin_if_ready(now)
        self._watch_identity(now)
        for peer in self._members:
            if self._is_to_be_asked(peer, now):
                self._send_report(peer, True, now)
        self._moves.repeat(now)
        self._orders.listed(self._settings.name, frozenset(self._moves.owned()), now)
        self._orders.work(now)
        if self._members.phase is Phase.LEAVING:
            self._hand_over(now)
        self._note_moves(now)

    def _is_to_be_asked(self, peer: Peer, now: float) -> bool:
        """A peer that is about to be dead, or that we wait for, is to report at once."""
        if self._members.phase is Phase.LISTENING:
            return not peer.is_live or not self._hears_us(peer)
        return peer.is_live and now >= peer.heard_at + self._settings.silence_limit / 2

    def _report(self, now: float) -> None:
        for peer in self._members:
            self._send_report(peer, False, now)
        self._corrections.clear()

    def _send_report(self, peer: Peer, wants_answer: bool, now: float) -> None:
        knows_nothing = peer.phase is Phase.LISTENING
        claims = claims_to_report(
            self._claims, self._moves, dict(self._orders.assigned()), self._corrections, knows_nothing
        )
        self._outbox.send(peer.name, Report(
            self._members.phase, wants_answer, self._settings.virtual_macs, self._balancer.load, self._balancer.rate(),
            self._settings.capacity or 0.0, tuple((p.name, p.latest) for p in self._members if p.is_live), claims,
        ))  # fmt: skip

    def _gone(self, name: str, reason: str, now: float) -> None:
        if name in self._members:
            self._members[name].forget()
        self._moves.peer_gone(name, now)
        self._outbox.tell(GatewayDown(name, reason))

    def _begin_if_ready(self, now: float) -> None:
        if self._members.phase is not Phase.LISTENING or self._has_rival(now) or now < self._disagreed_until:
            return
        is_known = all(self._hears_us(peer) for peer in self._members if peer.is_live)
        is_late = now >= self._listen_until + self._settings.silence_limit
        if is_late or (is_known and (now >= self._listen_until or all(peer.is_live for peer in self._members))):
            self._set_phase(Phase.ACTIVE)
            self._report(now)
            self._orders.work(now)

    def _hears_us(self, peer: Peer) -> bool:
        return peer.report is not None and (self._settings.name, self._incarnation) in peer.report.heard

    def _has_rival(self, now: float) -> bool:
        """Say whether we or a peer hear another gateway of our name that was there before us."""
        return now < self._rival_until or any(
            name == self._settings.name and incarnation != self._incarnation
            for peer in self._members
            if peer.report is not None
            for name, incarnation in peer.report.heard
        )

    def _meet_rival(self, incarnation: int, now: float) -> None:
        """Yield to an earlier one of our name; have a later one hear us."""
        if incarnation < self._incarnation:
            self._rival_until = now + 2 * self._settings.learning_interval
        elif now >= self._rival_told_at + self._settings.report_interval and self._moves.owned():
            self._rival_told_at = now
            self._outbox.send_frame(Learn(self._moves.owned()[0]))

    def _watch_identity(self, now: float) -> None:
        if not self._has_rival(now):
            self._disputed_since, self._is_told_of_dispute = None, False
            return
        self._disputed_since = now if self._disputed_since is None else self._disputed_since
        if now < self._disputed_since + self._settings.silence_limit or self._is_told_of_dispute:
            return
        self._is_told_of_dispute = True
        self._outbox.tell(IdentityDisputed(self._settings.name))
        if self._members.phase is Phase.ACTIVE:
            self._moves.drop_all()
            self._set_phase(Phase.LISTENING)
            self._listen_until = now + self._settings.silence_limit

    def _set_phase(self, phase: Phase) -> None:
        self._members.phase = phase
        self._outbox.tell(PhaseChanged(phase))

    def _hand_over(self, now: float) -> None:
        """Leaving: offer everything to whoever has the fewest; the last word when it is done."""
        others = [name for name in self._members.active() if name != self._settings.name]
        if others:
            counts = {name: len(self._claims.owned_by(name)) for name in others}
            shares = spread(self._moves.owned(), counts)
            for name in others:
                self._moves.offer([bucket for bucket, to in shares.items() if to == name], name, now)
        if not self._moves.records or not others:
            for peer in self._members:
                self._outbox.send(peer.name, Leaving())
            self._has_left = True

    def _balance(self, now: float) -> None:
        if self._members.phase is not Phase.ACTIVE or self._orders.is_busy or self._moves.is_under_way():
            return
        plan = self._balancer.plan(now)
        for bucket, to in plan.items():
            self._orders.want([bucket], to, now, 5 * self._settings.decision_interval)
        if plan:
            self._orders.work(now)

    def _note_moves(self, now: float) -> None:
        for bucket, claim in self._claims.items():
            if claim.owner != self._owners[bucket]:
                self._recent.append(MoveView(now, bucket, self._owners[bucket], claim.owner))
                self._owners[bucket] = claim.owner

    def _view(self, peer: Peer, buckets: int) -> GatewayView:
        report = peer.report
        load, rate = (report.load, report.rate) if report else (None, None)
        return GatewayView(peer.name, peer.phase, load, rate, buckets)
