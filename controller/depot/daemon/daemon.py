"""The daemon: one configuration at work. Everything runs on one event loop, and this is where its parts meet.

Switches tell what became of sessions; checks tell who lives; operators drain and weigh. All of it ends in schedules,
which go to the cores of the switches, which write them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from depot.config import Config, HealthType, SwitchConfig, load
from depot.config.vmac_model import DispatchMode
from depot.daemon.checks import Checks
from depot.daemon.cluster_member import ClusterMember
from depot.daemon.event_log import EventLog
from depot.daemon.gateway_member import GatewayMember
from depot.daemon.gateway_switch import GatewaySwitch
from depot.daemon.orders_file import OrdersFile
from depot.daemon.switch_runner import Membership, SwitchRunner
from depot.health.core import HealthChange
from depot.health.states import HealthState
from depot.p4runtime.entry import Entry
from depot.p4runtime.rpc_shell import ConnectionLostError
from depot.p4runtime.switch_shell import Pipeline
from depot.switching.commands import (
    SessionClosed,
    SessionEstablished,
    SessionMoved,
    SessionNotice,
    SessionOpened,
    SynUnanswered,
    UnansweredCause,
)
from depot.switching.cost import LoadReport
from depot.switching.scheduled import left_out_members
from depot.switching.services import MemberState, MemberStatus, Services

__all__ = ["Daemon", "Tally"]

FLUSH_TIMEOUT = 5.0
"""Seconds that an operator's command waits until switches have what follows from it."""
SYN_RETRY = 1.0
"""Seconds after which a client repeats its SYN (RFC 6298, 2.1)."""
COUNT_INTERVAL = 5.0
"""Seconds between two readings of the switches' counters."""


@dataclass(slots=True)
class Tally:
    """What was counted since the start, by VIP and member."""

    opened: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Sessions that a member was given."""
    established: Counter[tuple[str, str]] = field(default_factory=Counter)
    """SYNs that a member answered."""
    unanswered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """SYNs that a member did not answer."""
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Sessions without state that a dead member's successor was given."""
    closed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Ended sessions, by VIP and reason."""
    deaths: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Times that a member was declared dead."""
    reloads: Counter[bool] = field(default_factory=Counter)
    """Reloads, by success."""


class Daemon:
    """A running configuration."""

    def __init__(self, config: Config, config_file: Path, pipeline: Pipeline) -> None:
        self.config = config
        """What is in force."""
        self.config_file = config_file
        """Where it came from."""
        self.event_log = EventLog()
        """What happened."""
        self.tally = Tally()
        """What was counted."""
        self.started_at = asyncio.get_running_loop().time()
        """When, in the loop's time."""
        self._pipeline = pipeline
        self.checks = Checks(self._health_changed, self._reported)
        """The health of members."""
        self.services = Services(config.vips, self.now(), self._response_time)
        """Members and schedules."""
        self._orders = OrdersFile(config.depot.socket)
        self.runners: dict[str, SwitchRunner] = {}
        """The switches by name."""
        self.cluster: ClusterMember | None = None
        """This depot as a member of a cluster; None: it is none. Raises OSError, ssl.SSLError."""
        if config.cluster is not None:
            self.cluster = ClusterMember(config.cluster, self.event_log, self.runners.values)
        self.gateways: GatewayMember | GatewaySwitch | None = None
        """The gateways behind one address; None: there are none. Raises KeyFileError."""
        if (vmac := config.vmac) is not None:
            kind = GatewayMember if vmac.mode is DispatchMode.SELF else GatewaySwitch
            self.gateways = kind(vmac, self.event_log)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._counting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """The loop's time, seconds."""
        return asyncio.get_running_loop().time()

    # Life

    async def start(self) -> None:
        """Connect to the switches and begin to check members. Raises OSError when peers could not reach us."""
        if self.cluster is not None:
            await self.cluster.start()
        if self.gateways is not None:
            await self.gateways.start()
        for order in self._orders.restore(self.services, self.now()):
            self.event_log.add("order", f"{order} by the operator, still in force")
        for switch in self.config.switches:
            self._add(self._runner(switch))
        self._rebalance()
        for name, runner in self.runners.items():
            self._tasks[name] = asyncio.create_task(runner.run(), name=f"switch {name}")
        self.checks.reconfigure(self.config.vips)
        self._counting = asyncio.create_task(self._count(), name="count")

    async def stop(self) -> None:
        """Let go of everything; the switches keep their tables, and sessions go on."""
        if self._timer is not None:
            self._timer.cancel()
        await self.checks.close()
        if self.gateways is not None:
            await self.gateways.stop()
        tasks = [*self._tasks.values(), *([self._counting] if self._counting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.cluster is not None:
            await self.cluster.stop()

    def _runner(self, switch: SwitchConfig) -> SwitchRunner:
        membership = Membership(policies=self.config.policies)
        if (member := self.cluster) is not None:
            membership = Membership(member.config, self.config.policies, member, member.tell_peers)
        if (gateways := self.gateways) is not None and gateways.config.switch == switch.name:
            membership = replace(membership, vmac=gateways.config, lan=gateways)
        return SwitchRunner(switch, self.config.vips, self._pipeline, self._noticed, self._found, membership)

    def _add(self, runner: SwitchRunner) -> None:
        self.runners[runner.name] = runner
        runner.core.set_schedules(self.services.schedules, self.now())

    async def _count(self) -> None:
        while True:
            await asyncio.gather(*(runner.read_counts() for runner in self.runners.values()))
            await asyncio.sleep(COUNT_INTERVAL)

    # Schedules

    def load(self, vip: str, member: str) -> int:
        """Active sessions of a VIP's member, over all switches."""
        return sum(runner.core.sessions(vip, member) for runner in self.runners.values())

    def _response_time(self, vip: str, member: str) -> float | None:
        return self.checks.monitor.response_time((vip, member))

    def _rebalance(self) -> None:
        """Make the schedules that are due and give them to the switches."""
        now = self.now()
        if changed := self.services.take_schedules(self.load, now):
            for runner in self.runners.values():
                runner.core.set_schedules(changed, now)
                runner.settle()
        self._arm()

    def _arm(self) -> None:
        deadline = self.services.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._rebalance()

    # What is heard

    def _found(self, entries: Sequence[Entry]) -> None:
        """A switch serves already. Whom its schedule leaves out may be dead, and waits for its first check."""
        for vip, member in left_out_members(entries, self.config.vips):
            (status,) = self.services.find(member, vip)
            is_unchecked = self.checks.monitor.state((vip, member)) is HealthState.UNKNOWN
            if status.vip.health.type is not HealthType.NONE and is_unchecked and status.state is MemberState.UP:
                self.services.hold(vip, member, self.now())
                text = f"{vip}/{member}: gets no session before its first check: the switch's schedule leaves it out"
                self.event_log.add("member-held", text, vip=vip, member=member)
        self._rebalance()

    def _noticed(self, runner: SwitchRunner, notices: Sequence[SessionNotice]) -> None:
        """Count what became of sessions; the health core hears who answers and who does not."""
        tally, now, monitor, names = self.tally, self.now(), self.checks.monitor, runner.core.names
        with_events = self.event_log.wants_sessions
        changed: set[str] = set()
        for notice in notices:
            if isinstance(notice, SessionMoved):
                key = names(notice.vip_id, notice.to_member_id)
            else:
                key = names(notice.vip_id, notice.member_id)
            if with_events:
                self._tell_session(runner, notice, key)
            if key is None:
                continue
            if isinstance(notice, SessionEstablished):
                if not notice.assumed:
                    tally.established[key] += 1
                    monitor.syn_answered(key, now)
            elif isinstance(notice, SynUnanswered):
                tally.unanswered[key] += 1
                monitor.syn_unanswered(key, now, self._asked_at(key[0], notice.cause, now))
            else:
                changed.add(key[0])
                if isinstance(notice, SessionOpened):
                    tally.opened[key] += 1
                elif isinstance(notice, SessionClosed):
                    tally.closed[key[0], notice.reason.value] += 1
                else:
                    tally.moved[key] += 1
        for vip in changed:
            self.services.load_changed(vip, now)
        self.checks.settle()
        self._arm()

    def _asked_at(self, vip_name: str, cause: UnansweredCause, now: float) -> float:
        """About when the SYN was sent that is now called unanswered."""
        if cause is UnansweredCause.REFUSED:
            return now
        if cause is UnansweredCause.REPEATED:
            return now - SYN_RETRY
        vip = next(vip for vip in self.config.vips if vip.name == vip_name)
        return now - vip.health.passive_timeout

    def _tell_session(self, runner: SwitchRunner, notice: SessionNotice, key: tuple[str, str] | None) -> None:
        kind = _KINDS[type(notice)]
        vip, member = key or ("?", "?")
        text = f"{runner.name}: {vip}: {notice.key}: {kind}, {member}"
        fields: dict[str, object] = {}
        if isinstance(notice, SessionClosed):
            fields = {"reason": notice.reason.value, "duration": round(notice.duration, 3)}
            text += f", {notice.reason.value} after {notice.duration:.3f} s"
        elif isinstance(notice, SynUnanswered):
            fields = {"cause": notice.cause.value}
        self.event_log.add_session(
            kind, text, switch=runner.name, vip=vip, member=member, flow=str(notice.key), **fields
        )

    def _health_changed(self, changes: Sequence[HealthChange]) -> None:
        """A member died or came back: first the schedules, then its sessions."""
        now = self.now()
        news = []
        for change in changes:
            vip, member = change.key
            alive = change.state is not HealthState.DOWN
            if change.state is not HealthState.DOWN and change.before is HealthState.UNKNOWN:
                self.event_log.add("member-up", f"{vip}/{member}: up: {change.detail}", vip=vip, member=member)
            if self.services.set_alive(vip, member, alive, now):
                news.append((change, alive))
        self._rebalance()
        for change, alive in news:
            self._apply_health(change, alive, now)

    def _apply_health(self, change: HealthChange, alive: bool, now: float) -> None:
        vip, member = change.key
        sessions = self.load(vip, member)
        for runner in self.runners.values():
            if alive:
                runner.core.member_up(vip, member)
            else:
                runner.core.member_down(vip, member, now)
            runner.settle()
        if alive:
            self.event_log.add("member-up", f"{vip}/{member}: up: {change.detail}", vip=vip, member=member)
        else:
            self.tally.deaths[vip, member] += 1
            text = f"{vip}/{member}: down: {change.detail}; {sessions} sessions concerned"
            self.event_log.add(
                "member-down", text, level=logging.WARNING, vip=vip, member=member,
                cause=change.cause.value, detail=change.detail, sessions=sessions,
            )  # fmt: skip

    def _reported(self, vip: str, member: str, report: LoadReport) -> None:
        self.services.set_report(vip, member, report, self.now())
        self._arm()

    # What operators ask for

    async def set_drained(self, member: str, drained: bool, vip: str | None) -> list[MemberStatus]:
        """Drain or undrain; returns when the switches have it. Raises UnknownMemberError."""
        found = self.services.set_drained(member, drained, self.now(), vip)
        kind = "drained" if drained else "undrained"
        for status in found:
            text = f"{status.vip.name}/{member}: {kind} by the operator"
            self.event_log.add(kind, text, vip=status.vip.name, member=member)
        self._orders.save(self.services)
        self._rebalance()
        await self._flush()
        return found

    async def set_weight(self, member: str, weight: int | None, vip: str | None) -> list[MemberStatus]:
        """Give a member a weight, None: the configured one; returns when the switches have it.

        Raises UnknownMemberError, ValueError.
        """
        found = self.services.set_weight(member, weight, self.now(), vip)
        for status in found:
            text = f"{status.vip.name}/{member}: weight {status.weight} by the operator"
            self.event_log.add("weight", text, vip=status.vip.name, member=member, weight=status.weight)
        self._orders.save(self.services)
        self._rebalance()
        await self._flush()
        return found

    async def _flush(self) -> None:
        """Wait until every connected switch has what it should; who does not answer gets it when it is back."""
        waits = [runner.shell.flushed() for runner in self.runners.values() if runner.shell.ready]
        with suppress(TimeoutError, ConnectionLostError):
            await asyncio.wait_for(asyncio.gather(*waits), FLUSH_TIMEOUT)

    # Reload

    async def reload(self) -> list[str]:
        """Read the file again and apply it; return notes for the operator. Raises ConfigError, and changes nothing."""
        try:
            config = load(self.config_file)
        except Exception:
            self.tally.reloads[False] += 1
            raise
        notes = self._apply(config)
        self.tally.reloads[True] += 1
        self.event_log.add("reload", f"{self.config_file}: reloaded")
        for note in notes:
            self.event_log.add("note", note, level=logging.WARNING)
        await self._flush()
        return notes

    def _apply(self, config: Config) -> list[str]:
        notes = self._apply_cluster(config) + self._apply_gateways(config)
        if self.cluster is None:
            config = replace(config, cluster=None, vips=tuple(replace(vip, shared=False) for vip in config.vips))
        before, self.config, now = self.config, config, self.now()
        self.services.reconfigure(config.vips, now)
        self.services.take_schedules(self.load, now)
        self._apply_switches(config)
        for status in self.services.members():
            if not status.alive:
                for runner in self.runners.values():
                    runner.core.member_down(status.vip.name, status.config.name, now)
        for runner in self.runners.values():
            runner.settle()
        self.checks.reconfigure(config.vips)
        self._rebalance()
        logging.getLogger("depot").setLevel(config.depot.log_level.value.upper())
        fixed = replace(before.depot, log_level=config.depot.log_level)
        if fixed != config.depot:
            notes.append("[depot]: name, socket and metrics take effect when the daemon is started again")
        return notes

    def _apply_cluster(self, config: Config) -> list[str]:
        if self.cluster is not None and config.cluster is not None:
            return self.cluster.reconfigure(config.cluster)
        if self.cluster is not None or config.cluster is not None:
            return ["[cluster]: joining or leaving takes effect when the daemon is started again"]
        return []

    def _apply_gateways(self, config: Config) -> list[str]:
        if self.gateways is not None and config.vmac is not None:
            self.gateways.reconfigure(config.vmac)
        if config.vmac == (None if self.gateways is None else self.gateways.config):
            return []
        return ["[vmac]: what else has changed than the list of gateways takes effect when the daemon is started again"]

    def _apply_switches(self, config: Config) -> None:
        """Switches that stay get their new ports, routes and VIPs; others are let go of or connected to."""
        wanted = {switch.name: switch for switch in config.switches}
        for name, runner in list(self.runners.items()):
            switch = wanted.get(name)
            if switch is None or not _same_target(switch, runner.config):
                self._tasks.pop(name).cancel()
                del self.runners[name]
            else:
                runner.config = switch
                cluster = None if self.cluster is None else self.cluster.config
                schedules = self.services.schedules
                vmac = None if self.gateways is None else self.gateways.config
                runner.core.reconfigure(switch, config.vips, schedules, self.now(), cluster, config.policies, vmac)
        for name, switch in wanted.items():
            if name not in self.runners:
                runner = self._runner(switch)
                self._add(runner)
                self._tasks[name] = asyncio.create_task(runner.run(), name=f"switch {name}")


def _same_target(one: SwitchConfig, other: SwitchConfig) -> bool:
    return replace(one, ports=(), routes=()) == replace(other, ports=(), routes=())


_KINDS: dict[type, str] = {
    SessionOpened: "session-opened",
    SessionEstablished: "session-established",
    SessionMoved: "session-moved",
    SessionClosed: "session-closed",
    SynUnanswered: "syn-unanswered",
}
