"""The health of members: results of checks, clients' unanswered SYNs and the time go in; checks to start and changes
of state come out. Sans-IO. Times are seconds of any steady clock, given with every call.

Two ways lead down, whichever is first: `fall` active checks failed in a row, or `passive_fall` clients' SYNs in a row
got no answer ("a simple timed out function upon any client request", seed 001, 4.4). Anyone can make SYNs look
unanswered, so where there are active checks that is a suspicion: a check is made at once, and the member is down
unless it passes. Without active checks it decides alone. The way back are `rise` checks passed in a row; without active
checks, a new try after `passive_retry`. A member that clients found dead and that has come back is on probation: until
it has answered one client, a single unanswered SYN is enough again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from depot.address import Endpoint
from depot.config.model import HealthConfig, HealthType
from depot.health.states import TRANSITIONS, HealthInput, HealthState
from depot.switching.deadlines import NEVER, DeadlineWheel

__all__ = ["HealthChange", "HealthMonitor", "HealthView", "MemberKey", "ProbeRequest"]

MemberKey = tuple[str, str]
"""Names of VIP and member: one member may be well for one VIP and ill for another."""

NEVER_ANSWERED = -math.inf
"""Before any time."""

_GRACE = 1.0
"""Seconds beyond its timeout after which a check whose result did not come has failed."""

_SUSPICION_GAP = 0.25
"""Seconds between the starts of two checks, however often the member is suspected."""

_SPREAD = 0.1
"""The part of an interval over which checks are spread at random, so that they do not fall together."""

_SMOOTHING = 0.3
"""The part that the latest response time has in the mean."""


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A check to be started now; its result goes to `HealthMonitor.probe_result`."""

    key: MemberKey
    """Whom it is about."""
    serial: int
    """Tells this check from earlier ones of the member."""
    endpoint: Endpoint
    """Where to check."""
    health: HealthConfig
    """How: type, timeout, source, and for HTTP path, host and expected statuses."""


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A member's state changed."""

    key: MemberKey
    """Whose."""
    state: HealthState
    """The new one."""
    before: HealthState
    """The old one."""
    cause: HealthInput
    """What moved it."""
    detail: str
    """The latest result or evidence, for people."""
    at: float
    """When."""


@dataclass(frozen=True, slots=True)
class HealthView:
    """A member's health as people see it."""

    key: MemberKey
    """Whose."""
    state: HealthState
    """The state."""
    since: float
    """Since when."""
    detail: str
    """The latest result or evidence."""
    response_time: float | None
    """Seconds that passed checks took lately; None if there was none."""


class _Member:
    __slots__ = (
        "answered_at", "deadline", "detail", "endpoint", "failed", "health", "key", "passed", "pending", "probation",
        "queued_tick", "response_time", "serial", "since", "started_at", "state", "suspicion", "unanswered",
    )  # fmt: skip

    def __init__(self, key: MemberKey, health: HealthConfig, endpoint: Endpoint, now: float) -> None:
        self.key = key
        self.health = health
        self.endpoint = endpoint
        self.state = HealthState.UP if health.type is HealthType.NONE else HealthState.UNKNOWN
        self.since = now
        self.detail = ""
        self.response_time: float | None = None
        self.passed = self.failed = self.unanswered = 0
        self.probation = False
        self.suspicion = ""  # clients' evidence that a check has to confirm; empty: none
        self.answered_at = NEVER_ANSWERED  # when a client or a check last found it alive
        self.serial = 0
        self.pending = False  # a check is under way
        self.started_at = now
        self.deadline = NEVER
        self.queued_tick = -1


class HealthMonitor:
    """The health of all members. `jitter` gives numbers in 0..1 at random; they spread the checks."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._members: dict[MemberKey, _Member] = {}
        self._wheel: DeadlineWheel[_Member] = DeadlineWheel()
        self._changes: list[HealthChange] = []

    def watch(self, key: MemberKey, health: HealthConfig, endpoint: Endpoint, now: float) -> None:
        """Begin to watch a member, or go on in another way; its state stays unless its endpoint is another.

        The endpoint is the member's own; `health.port`, if given, replaces its port. Without active checks a member
        is up until clients find otherwise.
        """
        endpoint = Endpoint(endpoint.address, health.port or endpoint.port)
        member = self._members.get(key)
        if member is not None and member.endpoint == endpoint:
            if member.health == health:
                return
            member.health = health
            member.passed = member.failed = member.unanswered = 0
            member.suspicion = ""
            member.pending = False
            if health.type is HealthType.NONE and member.state is HealthState.UNKNOWN:
                self._move(member, HealthInput.RISEN, "no active checks", now)
        else:
            self.forget(key)
            member = self._members[key] = _Member(key, health, endpoint, now)
        if health.type is not HealthType.NONE:
            self._wheel.set(member, now + health.interval * _SPREAD * self._jitter())
        elif member.state is HealthState.DOWN:
            self._wheel.set(member, now + health.passive_retry)
        else:
            member.deadline = NEVER

    def forget(self, key: MemberKey) -> None:
        """Watch a member no more; results that still come are ignored."""
        if member := self._members.pop(key, None):
            member.deadline = NEVER

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called; None: not yet."""
        return self._wheel.next_deadline()

    def handle_timer(self, now: float) -> list[ProbeRequest]:
        """Do what is due; return the checks to start."""
        return [request for member in self._wheel.due(now) if (request := self._due(member, now))]

    def _due(self, member: _Member, now: float) -> ProbeRequest | None:
        if member.health.type is HealthType.NONE:
            self._move(member, HealthInput.RETRY, "tried again", now)
            return None
        if member.pending:
            self._result(member, False, "the check did not come back", None, now)
            return None
        member.pending = True
        member.serial += 1
        member.started_at = now
        self._wheel.set(member, now + member.health.timeout + _GRACE)
        return ProbeRequest(member.key, member.serial, member.endpoint, member.health)

    def probe_result(
        self, key: MemberKey, serial: int, passed: bool, detail: str, response_time: float | None, now: float
    ) -> None:
        """Take the result of a check; one that is late, or of a member watched no more, is ignored."""
        member = self._members.get(key)
        if member is not None and member.pending and serial == member.serial:
            self._result(member, passed, detail, response_time, now)

    def _result(self, member: _Member, passed: bool, detail: str, response_time: float | None, now: float) -> None:
        member.pending = False
        member.detail = detail
        health = member.health
        is_first = member.state is HealthState.UNKNOWN
        suspicion, member.suspicion = member.suspicion, ""
        if passed:
            member.passed, member.failed = member.passed + 1, 0
            member.unanswered = 0
            member.answered_at = now
            if response_time is not None:
                before = response_time if member.response_time is None else member.response_time
                member.response_time = before + _SMOOTHING * (response_time - before)
            if is_first or member.passed >= health.rise:
                self._move(member, HealthInput.RISEN, detail, now)
        else:
            member.failed, member.passed = member.failed + 1, 0
            if suspicion:
                self._lost(member, f"{suspicion}, and {detail}", now)
            elif is_first or member.failed >= health.fall:
                self._move(member, HealthInput.FALLEN, detail, now)
        wait = health.interval * (1 + _SPREAD * (self._jitter() - 0.5))
        self._wheel.set(member, max(now, member.started_at + wait))

    def syn_unanswered(self, key: MemberKey, now: float, asked_at: float | None = None) -> None:
        """A client's SYN got no answer from this member. It says nothing if the member has lived since `asked_at`.

        Under load packets and digests get lost, and what was lost is noticed only later, maybe all at once.
        """
        member = self._members.get(key)
        if member is None or not member.health.passive or member.state is HealthState.DOWN:
            return
        if asked_at is not None and asked_at <= member.answered_at:
            return
        member.unanswered += 1
        if member.unanswered < (1 if member.probation else member.health.passive_fall):
            return
        plural = "" if member.unanswered == 1 else "s"
        evidence = f"{member.unanswered} client SYN{plural} unanswered"
        if member.health.type is HealthType.NONE:
            self._lost(member, evidence, now)
            self._wheel.set(member, now + member.health.passive_retry)
        else:
            member.suspicion = evidence
            if not member.pending:
                self._wheel.set(member, min(member.deadline, max(now, member.started_at + _SUSPICION_GAP)))

    def _lost(self, member: _Member, detail: str, now: float) -> None:
        member.probation = True
        self._move(member, HealthInput.UNANSWERED, detail, now)

    def syn_answered(self, key: MemberKey, now: float = NEVER_ANSWERED) -> None:
        """This member answered a client's SYN."""
        if member := self._members.get(key):
            member.unanswered = 0
            member.suspicion = ""
            member.answered_at = max(member.answered_at, now)
            if member.state is not HealthState.DOWN:
                member.probation = False

    def _move(self, member: _Member, cause: HealthInput, detail: str, now: float) -> None:
        before = member.state
        after = TRANSITIONS[before].get(cause)
        if after is None:
            return
        member.state = after
        member.since = now
        member.detail = detail
        member.passed = member.failed = member.unanswered = 0
        self._changes.append(HealthChange(member.key, after, before, cause, detail, now))

    def take_changes(self) -> list[HealthChange]:
        """Return the changes of state since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def state(self, key: MemberKey) -> HealthState:
        """Return a member's state; UNKNOWN if it is not watched."""
        member = self._members.get(key)
        return HealthState.UNKNOWN if member is None else member.state

    def response_time(self, key: MemberKey) -> float | None:
        """Return the mean seconds that passed checks took lately; None if unknown."""
        member = self._members.get(key)
        return None if member is None else member.response_time

    def members(self) -> Iterator[HealthView]:
        """Yield every member's health."""
        for m in self._members.values():
            yield HealthView(m.key, m.state, m.since, m.detail, m.response_time)
