"""The members of every VIP and the schedules that follow: who lives, who is drained, weights, reports, slow start.

Pure: events and the time go in, `take_schedules` gives the schedules that changed. One core for all switches; loads are
summed over them by whoever calls. Deaths, drains and weights count at once; sessions coming and going, reports and
slow starts at most every `REBALANCE_INTERVAL`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from depot.config.model import MemberConfig, SchedulerKind, VipConfig
from depot.switching.cost import LoadReport
from depot.switching.schedule import Candidate, make_schedule

__all__ = ["MemberState", "MemberStatus", "Services", "UnknownMemberError"]

REBALANCE_INTERVAL = 0.25
"""Seconds between two schedules of a VIP whose loads change."""
REPORTS_COUNT = 3
"""A report counts for this many intervals."""
LARGEST_WEIGHT = 256
"""As in the configuration."""

Load = Callable[[str, str], int]
"""Active sessions of a VIP's member, over all switches."""
ResponseTime = Callable[[str, str], float | None]
"""Seconds that checks of a VIP's member take lately."""


class UnknownMemberError(Exception):
    """Nobody has this name."""


class MemberState(Enum):
    """What a member does, as an operator sees it."""

    UP = "up"
    """It lives and gets new sessions."""
    DOWN = "down"
    """It is dead."""
    DRAINED = "drained"
    """It lives, keeps its sessions and gets no new ones."""
    UNCHECKED = "unchecked"
    """It may be dead: it keeps its sessions and gets no new ones before its first check."""


@dataclass(slots=True)
class MemberStatus:
    """A member of a VIP as it is now."""

    vip: VipConfig
    """Its VIP."""
    config: MemberConfig
    """What is configured of it."""
    alive: bool = True
    """Whether checks find it alive; without evidence it is taken to be."""
    held: bool = False
    """Whether it waits for its first check, because a switch's schedule left it out when we came."""
    drained: bool = False
    """Whether an operator drained it."""
    override: int | None = None
    """An operator's weight in place of the configured one."""
    since: float = 0.0
    """When `alive` last changed, seconds."""
    ramp_from: float | None = None
    """When its slow start began; None: it has its full share."""
    report: LoadReport | None = None
    """What it last reported of itself."""
    reported_at: float = 0.0
    """When, seconds."""

    @property
    def weight(self) -> int:
        """The weight in force, but for draining."""
        return self.config.weight if self.override is None else self.override

    @property
    def state(self) -> MemberState:
        """What it does."""
        if not self.alive:
            return MemberState.DOWN
        if self.held:
            return MemberState.UNCHECKED
        return MemberState.DRAINED if self.drained or self.weight == 0 else MemberState.UP

    def ramp(self, now: float) -> float:
        """The part of its share that it may have by now, above 0 up to 1."""
        if self.ramp_from is None or self.vip.slow_start <= 0:
            return 1.0
        return max(1e-9, min(1.0, (now - self.ramp_from) / self.vip.slow_start))


class Services:
    """Every VIP's members and schedule."""

    def __init__(
        self, vips: Sequence[VipConfig], now: float, response_time: ResponseTime = lambda vip, member: None
    ) -> None:
        self._response_time = response_time
        self._members: dict[tuple[str, str], MemberStatus] = {}
        self._vips: dict[str, VipConfig] = {}
        self._schedules: dict[str, tuple[str, ...]] = {}
        self._due: dict[str, float] = {}
        self._made_at: dict[str, float] = {}
        self.reconfigure(vips, now)

    # In

    def reconfigure(self, vips: Sequence[VipConfig], now: float) -> None:
        """Take other VIPs. A member that stays keeps its state; one that moved to another endpoint begins anew."""
        before, self._members = self._members, {}
        self._vips = {vip.name: vip for vip in vips}
        for vip in vips:
            for member in vip.members:
                status = before.get((vip.name, member.name))
                if status is None or status.config.endpoint != member.endpoint:
                    status = MemberStatus(vip, member, since=now)
                status.vip, status.config = vip, member
                self._members[vip.name, member.name] = status
            self._due[vip.name] = now
        self._schedules = {name: slots for name, slots in self._schedules.items() if name in self._vips}
        self._due = {name: at for name, at in self._due.items() if name in self._vips}

    def set_alive(self, vip: str, member: str, alive: bool, now: float) -> bool:
        """Take a health check's word; return whether that is news. A member nobody knows (any more) is none."""
        status = self._members.get((vip, member))
        if status is None:
            return False
        if status.held:
            status.held = False
            self._due[vip] = now
        if status.alive == alive:
            return False
        status.alive = alive
        status.since = now
        status.ramp_from = now if alive and status.vip.slow_start else None
        self._due[vip] = now
        return True

    def hold(self, vip: str, member: str, now: float) -> None:
        """Give a member no new sessions until `set_alive` says anything of it."""
        if (status := self._members.get((vip, member))) is not None:
            status.held = True
            self._due[vip] = now

    def set_drained(self, member: str, drained: bool, now: float, vip: str | None = None) -> list[MemberStatus]:
        """Drain or undrain a member, in one VIP or in all; return whom that concerned. Raises UnknownMemberError."""
        found = self.find(member, vip)
        for status in found:
            if status.drained and not drained and status.vip.slow_start:
                status.ramp_from = now
            status.drained = drained
            self._due[status.vip.name] = now
        return found

    def set_weight(self, member: str, weight: int | None, now: float, vip: str | None = None) -> list[MemberStatus]:
        """Give a member another weight, or (None) its configured one. Raises UnknownMemberError, ValueError."""
        if weight is not None and not 0 <= weight <= LARGEST_WEIGHT:
            raise ValueError(f"weight {weight} is not between 0 and {LARGEST_WEIGHT}")
        found = self.find(member, vip)
        for status in found:
            status.override = weight
            self._due[status.vip.name] = now
        return found

    def set_report(self, vip: str, member: str, report: LoadReport, now: float) -> None:
        """Take what a member reports of itself."""
        status = self._members.get((vip, member))
        if status is not None:
            status.report, status.reported_at = report, now
            self._soon(vip, now)

    def load_changed(self, vip: str, now: float) -> None:
        """Sessions of a VIP came or went."""
        config = self._vips.get(vip)
        if config is not None and config.scheduler in (SchedulerKind.LEAST_CONNECTIONS, SchedulerKind.COST):
            self._soon(vip, now)

    def _soon(self, vip: str, now: float) -> None:
        earliest = self._made_at.get(vip, now - REBALANCE_INTERVAL) + REBALANCE_INTERVAL
        self._due.setdefault(vip, max(now, earliest))

    # Out

    def next_deadline(self) -> float | None:
        """When `take_schedules` has something to do; None: not yet."""
        return min(self._due.values(), default=None)

    def take_schedules(self, load: Load, now: float) -> dict[str, tuple[str, ...]]:
        """Return the schedules that changed, by VIP name."""
        changed: dict[str, tuple[str, ...]] = {}
        for name in [name for name, at in self._due.items() if at <= now]:
            del self._due[name]
            slots = self._make(self._vips[name], load, now)
            self._made_at[name] = now
            if slots != self._schedules.get(name):
                self._schedules[name] = changed[name] = slots
        return changed

    def _make(self, vip: VipConfig, load: Load, now: float) -> tuple[str, ...]:
        candidates = []
        for status in self.members(vip.name):
            if status.ramp(now) >= 1.0:
                status.ramp_from = None
            elif status.alive:
                self._due[vip.name] = now + max(REBALANCE_INTERVAL, vip.slow_start / 8)
            if status.alive and not status.held:
                candidates.append(self._candidate(status, load, now))
        if vip.scheduler is SchedulerKind.COST:
            self._due.setdefault(vip.name, now + vip.cost.report_interval)
        return make_schedule(vip.scheduler, candidates, self._schedules.get(vip.name, ()), vip.cost)

    def _candidate(self, status: MemberStatus, load: Load, now: float) -> Candidate:
        vip, name = status.vip.name, status.config.name
        return Candidate(
            name=name,
            weight=0 if status.drained else status.weight,
            sessions=load(vip, name),
            ramp=status.ramp(now),
            report=self._report(status, now),
        )

    def _report(self, status: MemberStatus, now: float) -> LoadReport:
        """What the member said lately, with the response time that we measured if it names none."""
        is_fresh = now - status.reported_at <= REPORTS_COUNT * status.vip.cost.report_interval
        report = status.report if status.report is not None and is_fresh else LoadReport()
        if report.response_time is None:
            return replace(report, response_time=self._response_time(status.vip.name, status.config.name))
        return report

    # What is known

    @property
    def schedules(self) -> dict[str, tuple[str, ...]]:
        """The schedules in force, by VIP name."""
        return dict(self._schedules)

    def members(self, vip: str | None = None) -> Iterator[MemberStatus]:
        """Every member, or those of one VIP, in the order of the configuration."""
        return (status for (name, _), status in self._members.items() if vip is None or name == vip)

    def find(self, member: str, vip: str | None = None) -> list[MemberStatus]:
        """Return the members of this name, in one VIP or in all. Raises UnknownMemberError."""
        if vip is not None and vip not in self._vips:
            raise UnknownMemberError(f"there is no VIP {vip}; there are: {_names(self._vips)}")
        found = [status for status in self.members(vip) if status.config.name == member]
        if not found:
            names = dict.fromkeys(status.config.name for status in self.members(vip))
            place = f"in VIP {vip}" if vip else "in any VIP"
            raise UnknownMemberError(f"there is no member {member} {place}; there are: {_names(names)}")
        return found


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
