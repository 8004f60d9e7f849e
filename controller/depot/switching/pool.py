"""The members of one VIP as candidates for new sessions: configuration, the operator's word, health and reports go in,
the schedule comes out. Sans-IO. Times are seconds of any steady clock, given with every call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from depot.config.model import VipConfig
from depot.switching.cost import LoadReport
from depot.switching.schedule import RAMP_STEPS, Candidate, make_schedule

__all__ = ["MemberShare", "Pool", "UnknownMemberError"]

_REPORTS_KEPT = 3
"""A report counts for so many of its intervals."""


class UnknownMemberError(KeyError):
    """The operator named a member that the VIP does not have."""


@dataclass(frozen=True, slots=True)
class MemberShare:
    """A member's part in its VIP as people see it."""

    name: str
    """Which one."""
    weight: int
    """The weight in force: the operator's if given, else the configured one; 0 while drained."""
    drained: bool
    """Whether the operator took it out."""
    alive: bool
    """Whether health lets it serve."""
    ramp: float
    """The part of its share that slow start allows by now, 1 when it is over."""
    slots: int
    """How many slots of the schedule in force are its."""


class _Member:
    __slots__ = ("alive", "drained", "name", "operator_weight", "ramp_from", "report", "report_at", "response_time")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.drained = False
        self.operator_weight: int | None = None
        self.ramp_from: float | None = None
        self.report: LoadReport | None = None
        self.report_at = 0.0
        self.response_time: float | None = None


class Pool:
    """The members of one VIP. They start alive and without slow start: a controller's start changes nothing."""

    def __init__(self, vip: VipConfig) -> None:
        self._vip = vip
        self._members = {member.name: _Member(member.name) for member in vip.members}
        self._schedule: tuple[str, ...] = ()

    @property
    def schedule(self) -> tuple[str, ...]:
        """The schedule in force, as `reschedule` returned it last or `adopt` was given it."""
        return self._schedule

    def adopt(self, schedule: Sequence[str]) -> None:
        """Take the schedule that the switch holds as the one in force, so that the next one differs little."""
        self._schedule = tuple(schedule)

    def reconfigure(self, vip: VipConfig, now: float) -> None:
        """Take another configuration of the same VIP. The operator's word about members that stay is kept."""
        known = self._members
        self._vip = vip
        self._members = {}
        for config in vip.members:
            member = known.get(config.name)
            if member is None:
                member = _Member(config.name)
                member.ramp_from = now if vip.slow_start else None
            self._members[config.name] = member

    def member_down(self, name: str) -> None:
        """A member is dead; it leaves the schedule. Unknown names are ignored, health may lag behind a reload."""
        if member := self._members.get(name):
            member.alive = False
            member.ramp_from = None
            member.report = None

    def member_up(self, name: str, now: float) -> None:
        """A member lives again; its slow start begins. Unknown names are ignored."""
        member = self._members.get(name)
        if member is not None and not member.alive:
            member.alive = True
            member.ramp_from = now if self._vip.slow_start else None

    def drain(self, name: str) -> None:
        """Give a member no new sessions, the old ones stay. Raises UnknownMemberError."""
        self._named(name).drained = True

    def undrain(self, name: str, now: float) -> None:
        """End a drain; slow start begins. Raises UnknownMemberError."""
        member = self._named(name)
        if member.drained:
            member.drained = False
            member.ramp_from = now if self._vip.slow_start else None

    def set_weight(self, name: str, weight: int | None) -> None:
        """Give a member another weight than the configured one, None: that one again. Raises UnknownMemberError."""
        self._named(name).operator_weight = weight

    def _named(self, name: str) -> _Member:
        if name not in self._members:
            raise UnknownMemberError(f"VIP {self._vip.name} has no member {name}; it has " + ", ".join(self._members))
        return self._members[name]

    def report(self, name: str, report: LoadReport, now: float) -> None:
        """Take what a member reports of itself. Unknown names are ignored."""
        if member := self._members.get(name):
            member.report = report
            member.report_at = now

    def measured(self, name: str, response_time: float) -> None:
        """Take the response time in seconds that the depot measures; a reported one goes before it."""
        if member := self._members.get(name):
            member.response_time = response_time

    def reschedule(self, sessions: Mapping[str, int], now: float) -> tuple[str, ...]:
        """Make and return the schedule that should be in force now; `sessions` are the active ones by member."""
        candidates = [
            Candidate(config.name, self._weight(member, config.weight), sessions.get(config.name, 0),
                      self._ramp(member, now), self._fresh_report(member, now))
            for config in self._vip.members
            if (member := self._members[config.name]).alive
        ]  # fmt: skip
        self._schedule = make_schedule(self._vip.scheduler, candidates, self._schedule, self._vip.cost)
        return self._schedule

    def next_deadline(self, now: float) -> float | None:
        """Return when time alone may change the schedule: the next step of a slow start, or the end of a report."""
        deadlines = []
        for member in self._members.values():
            ramp = self._ramp(member, now)
            if member.ramp_from is not None and ramp < 1 and member.alive:
                steps = math.floor(ramp * RAMP_STEPS) + 1
                deadlines.append(member.ramp_from + steps * self._vip.slow_start / RAMP_STEPS)
            if member.report is not None:
                deadlines.append(member.report_at + _REPORTS_KEPT * self._vip.cost.report_interval)
        return min((deadline for deadline in deadlines if deadline > now), default=None)

    def shares(self, now: float) -> Iterator[MemberShare]:
        """Yield every member's part, in the order of the configuration."""
        for config in self._vip.members:
            m = self._members[config.name]
            weight = self._weight(m, config.weight)
            yield MemberShare(m.name, weight, m.drained, m.alive, self._ramp(m, now), self._schedule.count(m.name))

    @staticmethod
    def _weight(member: _Member, configured: int) -> int:
        if member.drained:
            return 0
        return configured if member.operator_weight is None else member.operator_weight

    def _ramp(self, member: _Member, now: float) -> float:
        if member.ramp_from is None or self._vip.slow_start <= 0:
            return 1.0
        part = (now - member.ramp_from) / self._vip.slow_start
        return min(1.0, max(1, math.floor(part * RAMP_STEPS + 1e-9)) / RAMP_STEPS)

    def _fresh_report(self, member: _Member, now: float) -> LoadReport | None:
        report = LoadReport(response_time=member.response_time)
        if member.report is not None and now - member.report_at < _REPORTS_KEPT * self._vip.cost.report_interval:
            said = member.report.response_time
            report = replace(member.report, response_time=member.response_time if said is None else said)
        return report
