"""What the session tracker must know of a VIP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from depot.address import Endpoint, FlowKey, Protocol
from depot.config.model import MemberFailure, Mode, VipConfig
from depot.switching.commands import Verdict
from depot.switching.states import ACTIVE_STATES, SessionState

__all__ = ["BYPASS_VIP_ID", "EntryTerms", "PolicyBook", "SessionPolicy"]

BYPASS_VIP_ID = -1
"""The number under which bypassed sessions are tracked: no VIP's, and never in the data plane."""


class EntryTerms(NamedTuple):
    """What a session's entry looks like in one state, but for its member."""

    verdict: Verdict
    closing: bool
    idle_timeout: float


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How sessions of one VIP are tracked. Times in seconds."""

    vip_id: int
    """The VIP's id in the data plane."""
    endpoint: Endpoint | None
    """The VIP's address and port; None: it has none, its sessions are known by their entries alone."""
    protocol: Protocol = Protocol.TCP
    """TCP or UDP."""
    sees_replies: bool = True
    """Whether members' packets pass the depot (NAT, transparent proxies): then a missing SYN-ACK is known to be
    missing."""
    verdict: Verdict = Verdict.FORWARD
    """What a running session's entry does: FORWARD or BYPASS."""
    on_member_failure: MemberFailure = MemberFailure.DROP
    """What a dead member's TCP sessions come to."""
    time_wait: float = 60.0
    """How long a closed session must be silent before its entry goes, 2 MSL."""
    idle_timeout: float = 900.0
    """How long a session may be silent."""
    handshake_timeout: float = 30.0
    """How long an unanswered SYN keeps its session, counted from the client's latest."""
    answer_timeout: float = 3.0
    """How long after the SYN its answer counts as missing; without sight of replies: as given."""
    reset_linger: float = 10.0
    """How long a reset session must be silent, and a scrapped one is answered for, before its entry goes."""
    terms: dict[SessionState, EntryTerms] = field(init=False, repr=False, compare=False)
    """The entry by state, computed from the rest."""
    load_states: frozenset[SessionState] = field(init=False, repr=False, compare=False)
    """The states that count as load of the member. Without sight of replies a half-closed session is over."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", self._terms())
        over = frozenset[SessionState]() if self.sees_replies else {SessionState.CLOSING}
        object.__setattr__(self, "load_states", ACTIVE_STATES - over)

    @classmethod
    def of(cls, vip_id: int, vip: VipConfig) -> SessionPolicy:
        """Return the policy of a configured VIP."""
        return cls(
            vip_id=vip_id,
            endpoint=None if vip.transparent else vip.endpoint,
            protocol=vip.protocol,
            sees_replies=vip.mode is Mode.NAT or vip.transparent,
            on_member_failure=vip.on_member_failure,
            time_wait=vip.time_wait,
            idle_timeout=vip.idle_timeout,
            handshake_timeout=vip.handshake_timeout,
            answer_timeout=vip.health.passive_timeout,
        )

    @classmethod
    def of_bypassed(cls) -> SessionPolicy:
        """Return the policy of sessions that pass untouched; their replies may pass elsewhere."""
        return cls(BYPASS_VIP_ID, None, sees_replies=False, verdict=Verdict.BYPASS)

    def ended_state(self, idle_timeout: float) -> SessionState:
        """Return the state of a session whose closing entry was read from the switch with this idle timeout."""
        if idle_timeout == self.reset_linger:
            return SessionState.RESET
        return SessionState.TIME_WAIT if self.sees_replies else SessionState.CLOSING

    def _terms(self) -> dict[SessionState, EntryTerms]:
        running = EntryTerms(self.verdict, False, self.idle_timeout)
        # Without sight of the member's FIN the client's may be the last: then silence alone tells the end.
        half_closed = running if self.sees_replies else EntryTerms(self.verdict, True, self.time_wait)
        failed = Verdict.RESET if self.on_member_failure is MemberFailure.RESET else Verdict.DENY
        return {
            SessionState.SYN_SEEN: running,
            SessionState.ESTABLISHED: running,
            SessionState.ACTIVE: running,
            SessionState.CLOSING: half_closed,
            SessionState.TIME_WAIT: EntryTerms(self.verdict, True, self.time_wait),
            SessionState.RESET: EntryTerms(self.verdict, True, self.reset_linger),
            SessionState.SCRAPPED: EntryTerms(failed, False, self.idle_timeout),
        }


class PolicyBook:
    """The policies that a tracker knows: by the VIP's number, and by its endpoint."""

    def __init__(self) -> None:
        self.by_id: dict[int, SessionPolicy] = {}
        """By number."""
        self._places: dict[tuple[Endpoint, int], int] = {}

    def set(self, policy: SessionPolicy) -> None:
        """Add a VIP, or change one."""
        self.remove(policy.vip_id)
        self.by_id[policy.vip_id] = policy
        if policy.endpoint is not None:
            self._places[policy.endpoint, policy.protocol] = policy.vip_id

    def remove(self, vip_id: int) -> None:
        """Forget a VIP."""
        self.by_id.pop(vip_id, None)
        self._places = {place: one for place, one in self._places.items() if one != vip_id}

    def vip_of(self, key: FlowKey) -> tuple[int, bool] | None:
        """Return the VIP that a flow is to, and whether its client is the higher endpoint; None: it is to none."""
        for server, client_is_hi in ((key.low, True), (key.high, False)):
            vip_id = self._places.get((server, key.protocol))
            if vip_id is not None:
                return vip_id, client_is_hi
        return None
