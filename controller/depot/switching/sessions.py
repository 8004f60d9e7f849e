"""The session tracker: digests, idle timeouts, deaths and the time go in; table commands and notices come out.

Sans-IO: no clock, no switch. Times are seconds of any steady clock, given with every call, never going back. One
tracker serves one switch. It may be told things late, twice or in the wrong order (the two kinds of digest travel in
lists of their own), and some not at all: later evidence corrects what it believes, and idleness ends it at the latest.

Commands are the difference between what entries should be and what `take_commands` told before: at most one per key,
so no batch holds two for one entry, and a session that begins and ends between two calls writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from depot.address import FlowKey, Protocol
from depot.switching.commands import (
    CloseReason,
    EntryCommand,
    InstallEntry,
    RemoveEntry,
    SessionClosed,
    SessionEstablished,
    SessionMoved,
    SessionNotice,
    SessionOpened,
    SynUnanswered,
    UnansweredCause,
    UpdateEntry,
)
from depot.switching.deadlines import NEVER, DeadlineWheel
from depot.switching.early import EarlyEvents
from depot.switching.member_load import MemberLoad
from depot.switching.patience import Patience
from depot.switching.policy import PolicyBook, SessionPolicy
from depot.switching.session import Entry, IsMember, PlaceOf, Session, SessionView, Substitute
from depot.switching.states import ENDED_STATES, TRANSITIONS, SessionInput, SessionState, TcpFlag, first_state

__all__ = ["IsMember", "PlaceOf", "SessionTracker", "SessionView", "Substitute"]

_FIN, _SYN, _RST, _ACK = (int(flag) for flag in (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.RST, TcpFlag.ACK))
_CONTROL = _FIN | _SYN | _RST | _ACK
_CLIENT_FIN, _MEMBER_FIN, _BOTH_FINS = 1, 2, 3

_SYN_REPEAT_GAP = 0.5
"""Seconds within which a SYN is the one already known: a client's first retry comes after 1 s (RFC 6298, 2.1)."""

_CACHE_LIFETIME = 60.0
"""Seconds of silence after which the data plane forgets a session without entry (FLOW_CACHE_LIFETIME)."""

_ENTRY_DELAY = 1.0
"""Seconds an entry may take to reach the switch; a flow announced again later has none there."""


class SessionTracker:
    """All sessions of one switch. Call `set_policy` for each VIP first; then feed, and take what comes out."""

    def __init__(
        self,
        substitute: Substitute = lambda vip_id: None,
        is_member: IsMember = lambda vip_id, member_id: True,
        place_of: PlaceOf = lambda entry: None,
    ) -> None:
        self._substitute = substitute
        self._is_member = is_member
        self._place_of = place_of
        self._book = PolicyBook()
        self._policies = self._book.by_id
        self._sessions: dict[FlowKey, Session] = {}
        self._load = MemberLoad()
        self._down: set[tuple[int, int]] = set()
        self._early = EarlyEvents()
        self._wheel: DeadlineWheel[Session] = DeadlineWheel()
        self._patience = Patience()
        self._dirty: dict[FlowKey, bool] = {}  # key -> whether an entry was there at the last take_commands
        self._notices: list[SessionNotice] = []

    def set_policy(self, policy: SessionPolicy) -> None:
        """Add a VIP or change how it is tracked; its sessions follow the new times from their next change of state."""
        self._book.set(policy)

    def remove_vip(self, vip_id: int, now: float) -> None:
        """Forget a VIP; all its sessions end and their entries go."""
        self._remove(lambda session: session.vip_id == vip_id, now)
        self._book.remove(vip_id)
        self._load.forget_vip(vip_id)
        self._down = {(one, member_id) for one, member_id in self._down if one != vip_id}

    def remove_member(self, vip_id: int, member_id: int, now: float) -> None:
        """Forget a member of a VIP; its sessions end and their entries go. To let them finish, drain it first."""
        if self._load.naming((vip_id,), member_id):
            self._remove(lambda session: session.vip_id == vip_id and session.member_id == member_id, now)
        self._load.forget_member(vip_id, member_id)
        self._down.discard((vip_id, member_id))

    def end(self, key: FlowKey, now: float) -> None:
        """A session is not ours any more: it ends and its entry goes."""
        if session := self._sessions.get(key):
            self._enter(session, SessionState.GONE, now, CloseReason.REMOVED)

    def _remove(self, concerns: Callable[[Session], bool], now: float) -> None:
        for session in [session for session in self._sessions.values() if concerns(session)]:
            self._enter(session, SessionState.GONE, now, CloseReason.REMOVED)

    def new_flow(
        self, key: FlowKey, vip_id: int, member_id: int, client_is_hi: bool, tcp_flags: int, now: float,
        *, remembered: bool = False, is_bound: bool = False,
    ) -> None:  # fmt: skip
        """Take a ``new_flow`` digest. Of a VIP that is not known (any more), or that nobody serves, it is ignored.

        remembered: whether the flow cache has the session, so that its entry is in no hurry. is_bound: no other member
        can serve the session, even if this one counts as dead.
        """
        if vip_id not in self._policies:
            return
        session = self._sessions.get(key)
        if session is not None and not self._is_succeeded(session, member_id, tcp_flags, now):
            self._announced_again(session, tcp_flags, now)
            return
        serving = member_id if is_bound else self._serving(vip_id, member_id)
        if serving is None:
            return
        if session is None:
            session = self._sessions[key] = Session(key)
        else:
            self._leave_load(session, CloseReason.SUCCEEDED, now)
            self._load.release(session)
        session.announced_member_id = member_id
        begins = tcp_flags & _CONTROL == _SYN  # what is announced later is no short session, nor ends UDP by flags
        session.patient = remembered and begins and serving == member_id and not session.written
        self._open(session, vip_id, serving, client_is_hi, tcp_flags, now)

    def tcp_event(self, key: FlowKey, src_is_hi: bool, tcp_flags: int, now: float) -> None:
        """Take a ``tcp_event`` digest: a packet with SYN, FIN or RST, from the key's higher endpoint or not."""
        session = self._sessions.get(key)
        if session is None:
            if tcp_flags & (_SYN | _ACK | _RST | _FIN) not in (_SYN, _ACK, 0):
                self._early.add(key, src_is_hi, tcp_flags, now)
            return
        if session.state in ENDED_STATES and key in self._early:
            self._early.add(key, src_is_hi, tcp_flags, now)  # what follows the successor's answer is the successor's
            return
        from_client = src_is_hi == session.client_is_hi
        if tcp_flags & _RST:
            self._reset(session, from_client, now)
        elif tcp_flags & _SYN:
            self._synchronise(session, from_client, src_is_hi, tcp_flags, now)
        elif tcp_flags & _FIN:
            self._finish(session, from_client, now)

    def idle(self, key: FlowKey, now: float) -> None:
        """Take the switch's word that an entry has seen no packet for its idle timeout.

        It may be said again, or of an entry that has become another meanwhile: what was written just now is not meant.
        Switches repeat it while the entry stays, so one that is lost or not believed comes again.
        """
        session = self._sessions.get(key)
        if session is None:
            self._dirty[key] = True  # an entry that nobody wants
        elif now - session.dirty_at >= _ENTRY_DELAY:
            reason = CloseReason.UNANSWERED if session.state is SessionState.SYN_SEEN else CloseReason.IDLE
            self._feed(session, SessionInput.IDLE, now, reason)

    def member_down(self, vip_id: int, member_id: int, now: float) -> None:
        """A member is dead for a VIP: sessions it holds state for are scrapped, the others move to a substitute."""
        self._down.add((vip_id, member_id))
        for session in self._load.active(vip_id, member_id):
            if session.state in (SessionState.SYN_SEEN, SessionState.ACTIVE):
                self._move(session, now)
            else:
                self._feed(session, SessionInput.MEMBER_DOWN, now, CloseReason.MEMBER_DOWN)

    def member_up(self, vip_id: int, member_id: int) -> None:
        """A member lives again."""
        self._down.discard((vip_id, member_id))

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._early.expire(now)
        for session in self._patience.due(now):
            self._want(session, now)
        for session in self._wheel.due(now):
            if session.state is SessionState.SYN_SEEN:
                self._answer_missing(session, now)
            elif session.state is SessionState.SCRAPPED:
                self._feed(session, SessionInput.TIMEOUT, now, CloseReason.MEMBER_DOWN)
            elif session.refused or session.patient:
                self._feed(session, SessionInput.IDLE, now, CloseReason.IDLE)

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called; None: not yet."""
        deadlines = (self._wheel.next_deadline(), self._patience.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def reconcile(self, present: Iterable[InstallEntry], now: float) -> None:
        """Take all entries of ``connection_table`` as just read from the switch, after a (re)connect.

        Sessions nobody knows are adopted: established, ended (`closing`), or scrapped (no FORWARD). Entries of no VIP
        will be removed, entries that should be different updated, missing ones installed.
        """
        self._dirty = {}
        for session in self._sessions.values():
            session.written = session.refused = False
        for entry in present:
            known = self._sessions.get(entry.key)
            if known is None and self.adopt(entry, now):
                known = self._sessions[entry.key]
            if known is None:
                self._dirty[entry.key] = True
            else:
                known.written = True
                if self._wanted(known, InstallEntry) != entry:
                    self._dirty[entry.key] = True
        for session in self._sessions.values():
            if not session.written:
                self._want(session, now)

    def adopt(self, entry: InstallEntry, now: float) -> bool:
        """Make a session of an entry read from the switch; False, and nothing is done, if it is of no VIP."""
        place = self._book.vip_of(entry.key) or self._place_of(entry)
        if place is None:
            return False
        session = self._sessions[entry.key] = Session(entry.key)
        session.vip_id, session.client_is_hi = place
        session.member_id = session.announced_member_id = entry.member_id
        self._load.name(session)
        session.opened_at = session.asked_at = session.syn_at = session.dirty_at = now
        session.written = True
        policy = self._policies[session.vip_id]
        if entry.verdict is not policy.verdict:
            session.state = SessionState.SCRAPPED
            self._wheel.set(session, now + policy.reset_linger)
        elif entry.closing:
            self._enter_load(session, policy.ended_state(entry.idle_timeout))
        else:
            is_udp = entry.key.protocol == Protocol.UDP
            self._enter_load(session, SessionState.ACTIVE if is_udp else SessionState.ESTABLISHED)
        return True

    def entry_refused(self, key: FlowKey, now: float) -> None:
        """The switch did not take the entry with this key, so it will never call it idle.

        A session that has ended needs none. Others are announced again while packets come, and are over when not.
        """
        if session := self._sessions.get(key):
            session.written, session.refused = False, True
            if self._dirty.pop(key, None) is not None:
                self._want(session, now)
            elif session.state in ENDED_STATES:
                self._enter(session, SessionState.GONE, now, CloseReason.REMOVED)
            elif session.state is not SessionState.SYN_SEEN:
                self._wheel.set(session, now + _CACHE_LIFETIME)

    def entries(self) -> Iterator[InstallEntry]:
        """Yield every entry that should be in ``connection_table``."""
        return (self._wanted(session, InstallEntry) for session in self._sessions.values() if not session.patient)

    def take_commands(self) -> list[EntryCommand]:
        """Return what must change in ``connection_table`` since the last call, one command per key, oldest first."""
        dirty, self._dirty = self._dirty, {}
        commands: list[EntryCommand] = []
        for key, existed in dirty.items():
            session = self._sessions.get(key)
            if session is not None:
                session.written, session.refused = True, False
                commands.append(self._wanted(session, UpdateEntry) if existed else self._wanted(session, InstallEntry))
            elif existed:
                commands.append(RemoveEntry(key))
        return commands

    @property
    def waiting(self) -> int:
        """How many entries may have to change: what `take_commands` would look at."""
        return len(self._dirty)

    def take_notices(self) -> list[SessionNotice]:
        """Return what became of sessions since the last call, in order."""
        notices, self._notices = self._notices, []
        return notices

    def __len__(self) -> int:
        """Return how many sessions there are, ended ones among them."""
        return len(self._sessions)

    def sessions_naming(self, member_id: int, vip_id: int | None = None) -> int:
        """Return how many sessions have a member, half-closed and ended ones too: of one VIP, or of all."""
        return self._load.naming(self._policies if vip_id is None else (vip_id,), member_id)

    def vip_member_sessions(self, vip_id: int, member_id: int) -> int:
        """Return how many active sessions of a VIP a member serves."""
        return self._load.count(vip_id, member_id)

    def vip_sessions(self, vip_id: int) -> int:
        """Return how many active sessions a VIP has."""
        return self._load.count_of_vip(vip_id)

    def sessions(self) -> Iterator[SessionView]:
        """Yield every session; do not feed the tracker meanwhile."""
        return (session.view() for session in self._sessions.values())

    def session(self, key: FlowKey) -> SessionView | None:
        """Return one session; None: there is none."""
        return None if (session := self._sessions.get(key)) is None else session.view()

    def _open(
        self, session: Session, vip_id: int, member_id: int, client_is_hi: bool, tcp_flags: int, now: float
    ) -> None:
        """Begin a session, also in the place of one that has ended; then replay what came too early."""
        session.vip_id = vip_id
        session.member_id = member_id
        self._load.name(session)
        session.is_asked = member_id == session.announced_member_id
        session.client_is_hi = client_is_hi
        session.opened_at = session.asked_at = session.syn_at = now
        session.reported = False
        session.fins = _CLIENT_FIN if tcp_flags & _FIN else 0
        state = first_state(session.key.protocol, tcp_flags)
        self._enter_load(session, state)
        if session.patient and state not in ENDED_STATES:
            session.dirty_at = now
            self._patience.add(session)
        else:
            self._want(session, now)
        if state in self._policies[vip_id].load_states:
            self._notices.append(SessionOpened(session.key, vip_id, member_id, client_is_hi, now))
        if state is SessionState.SYN_SEEN:
            self._await_answer(session, now)
        else:
            session.deadline = NEVER
        for src_is_hi, flags in self._early.take(session.key, now):
            self.tcp_event(session.key, src_is_hi, flags, now)

    def _is_succeeded(self, session: Session, member_id: int, tcp_flags: int, now: float) -> bool:
        """Whether an announcement is of a new session with the same flow key.

        The data plane chooses a member anew for a SYN on an ended session, and for one whose entry it lacks.
        """
        is_syn = tcp_flags & _CONTROL == _SYN
        is_other = member_id != session.announced_member_id
        if session.state in ENDED_STATES:
            return is_syn or is_other
        return is_syn and is_other and now - session.syn_at >= _ENTRY_DELAY

    def _announced_again(self, session: Session, tcp_flags: int, now: float) -> None:
        """The data plane has no entry yet, or lost it; one that is closing is announced although it has one."""
        is_closing = self._policies[session.vip_id].terms[session.state].closing
        if (session.patient or not is_closing) and now - session.dirty_at >= _ENTRY_DELAY:
            session.written = False
            self._dirty.pop(session.key, None)
            self._want(session, now)
        if tcp_flags & _CONTROL == _SYN:
            self._syn_again(session, now)
        elif tcp_flags & _RST:  # a packet that announces has no event of its own
            self._reset(session, True, now)
        elif tcp_flags & _FIN:
            self._finish(session, True, now)
        else:
            self._feed(session, SessionInput.TRAFFIC, now, CloseReason.FIN)

    def _finish(self, session: Session, from_client: bool, now: float) -> None:
        session.fins |= _CLIENT_FIN if from_client else _MEMBER_FIN
        last = session.fins == _BOTH_FINS
        self._feed(session, SessionInput.LAST_FIN if last else SessionInput.FIN, now, CloseReason.FIN)

    def _reset(self, session: Session, from_client: bool, now: float) -> None:
        reason = CloseReason.RST
        if session.state is SessionState.SYN_SEEN and not from_client:
            reason = CloseReason.REFUSED
            self._unanswered(session, UnansweredCause.REFUSED)
        self._feed(session, SessionInput.RST, now, reason)

    def _synchronise(self, session: Session, from_client: bool, src_is_hi: bool, tcp_flags: int, now: float) -> None:
        """A SYN or SYN-ACK; a member's answer on an ended session is its successor's, not announced yet."""
        if from_client and not tcp_flags & _ACK:
            self._syn_again(session, now)
        elif not from_client and tcp_flags & _ACK:
            if session.state in ENDED_STATES:
                self._early.add(session.key, src_is_hi, tcp_flags, now)
            else:
                self._feed(session, SessionInput.ANSWER, now, CloseReason.FIN)

    def _syn_again(self, session: Session, now: float) -> None:
        """The client's SYN: the one already known, or a retry, which says that the answer did not come."""
        if session.state is not SessionState.SYN_SEEN or now - session.syn_at < _SYN_REPEAT_GAP:
            return
        session.syn_at = now
        policy = self._policies[session.vip_id]
        if not session.is_asked:
            session.is_asked, session.asked_at = True, now
            self._await_answer(session, now)
        elif session.reported or not policy.sees_replies:
            self._unanswered(session, UnansweredCause.REPEATED)
            self._wheel.set(session, now + policy.handshake_timeout)

    def _answer_missing(self, session: Session, now: float) -> None:
        """A SYN's time is over. Where replies are not seen, a client that asks no more has its answer."""
        policy = self._policies[session.vip_id]
        if session.is_asked and not policy.sees_replies:
            self._feed(session, SessionInput.TRAFFIC, now, CloseReason.FIN)
        elif session.reported or not session.is_asked:
            self._feed(session, SessionInput.TIMEOUT, now, CloseReason.UNANSWERED)
        else:
            self._unanswered(session, UnansweredCause.TIMEOUT)
            self._wheel.set(session, session.syn_at + policy.handshake_timeout)

    def _await_answer(self, session: Session, now: float) -> None:
        """Wait for the member's answer; one that took over is not asked, or to blame, before the client asks again."""
        policy = self._policies[session.vip_id]
        self._wheel.set(session, now + (policy.answer_timeout if session.is_asked else policy.handshake_timeout))

    def _unanswered(self, session: Session, cause: UnansweredCause) -> None:
        session.reported = True
        self._notices.append(SynUnanswered(session.key, session.vip_id, session.member_id, cause))

    def _feed(self, session: Session, what: SessionInput, now: float, reason: CloseReason) -> None:
        """Move along the table; what it lacks is ignored."""
        old = session.state
        new = TRANSITIONS[old].get(what)
        if new is None or new is old:
            return
        if old is SessionState.SYN_SEEN and new is not SessionState.GONE and new is not SessionState.RESET:
            assumed = what is not SessionInput.ANSWER
            if not (assumed and session.reported):
                after = now - session.asked_at
                self._notices.append(SessionEstablished(session.key, session.vip_id, session.member_id, after, assumed))
        self._enter(session, new, now, reason)

    def _enter(self, session: Session, state: SessionState, now: float, reason: CloseReason) -> None:
        policy = self._policies[session.vip_id]
        old_terms = policy.terms[session.state]
        if session.state in policy.load_states and state not in policy.load_states:
            self._leave_load(session, reason, now)
        session.state = state
        if state is SessionState.GONE:
            session.deadline = NEVER
            del self._sessions[session.key]
            self._load.release(session)
            self._dirty.setdefault(session.key, session.written)
            return
        if policy.terms[state] != old_terms and (not session.patient or state is SessionState.SCRAPPED):
            self._want(session, now)
        if state is SessionState.SCRAPPED:
            self._wheel.set(session, now + policy.reset_linger)
        elif session.refused:
            self._wheel.set(session, now + _CACHE_LIFETIME)
        elif session.patient and state in ENDED_STATES:  # no switch will call it idle
            self._wheel.set(session, now + policy.terms[state].idle_timeout)
        else:
            session.deadline = NEVER

    def _enter_load(self, session: Session, state: SessionState) -> None:
        session.state = state
        if state in self._policies[session.vip_id].load_states:
            self._load.enter(session)

    def _leave_load(self, session: Session, reason: CloseReason, now: float) -> None:
        """Uncount a session if it counts, and tell that it is over."""
        if not self._load.leave(session):
            return
        duration = now - session.opened_at
        self._notices.append(SessionClosed(session.key, session.vip_id, session.member_id, reason, duration))

    def _move(self, session: Session, now: float) -> None:
        """Give a session without state at its dead member to a living one; end it if there is none."""
        to_member_id = self._living(session.vip_id)
        if to_member_id is None:
            self._feed(session, SessionInput.MEMBER_DOWN, now, CloseReason.MEMBER_DOWN)
            return
        self._notices.append(SessionMoved(session.key, session.vip_id, session.member_id, to_member_id))
        self._load.move(session, to_member_id)
        session.asked_at = now
        session.is_asked = session.reported = False
        self._want(session, now)
        if session.state is SessionState.SYN_SEEN:
            self._await_answer(session, now)

    def _serving(self, vip_id: int, member_id: int) -> int | None:
        """Who serves a session announced at this member: another, if it is dead or not the VIP's; None: nobody can."""
        is_member = self._is_member(vip_id, member_id)
        if is_member and (vip_id, member_id) not in self._down:
            return member_id
        living = self._living(vip_id)
        return member_id if living is None and is_member else living

    def _living(self, vip_id: int) -> int | None:
        member_id = self._substitute(vip_id)
        return None if (vip_id, member_id) in self._down else member_id

    def _want(self, session: Session, now: float) -> None:
        """Have the session's entry written."""
        session.patient = False
        session.dirty_at = now
        self._dirty.setdefault(session.key, session.written)

    def _wanted(self, session: Session, command: type[Entry]) -> Entry:
        return session.entry(command, *self._policies[session.vip_id].terms[session.state])
