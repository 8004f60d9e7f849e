"""Health checks and load reports at work: asks the health core what to do, does it, and gives it the results."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from depot.address import Endpoint
from depot.config.model import SchedulerKind, VipConfig
from depot.health.core import HealthChange, HealthMonitor, MemberKey, ProbeRequest
from depot.health.probe_shell import fetch_report, probe
from depot.switching.cost import LoadReport, ReportError

__all__ = ["Checks"]

events = logging.getLogger("depot.events")

OnChange = Callable[[Sequence[HealthChange]], None]
OnReport = Callable[[str, str, LoadReport], None]


class Checks:
    """The checks of every member. Start it with `reconfigure`, end it with `close`."""

    def __init__(self, on_change: OnChange, on_report: OnReport) -> None:
        self.monitor = HealthMonitor(random.random)
        """What is believed of members."""
        self._on_change = on_change
        self._on_report = on_report
        self._watched: set[MemberKey] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._reporters: dict[MemberKey, tuple[object, asyncio.Task[None]]] = {}

    def reconfigure(self, vips: Sequence[VipConfig]) -> None:
        """Watch the members of these VIPs, and no others."""
        now = self._now()
        members = {(vip.name, member.name): (vip, member) for vip in vips for member in vip.members}
        for key in self._watched - members.keys():
            self.monitor.forget(key)
        self._watched = set(members)
        for key, (vip, member) in members.items():
            self.monitor.watch(key, vip.health, member.endpoint, now)
        self._reconfigure_reports(vips)
        self.settle()

    def _reconfigure_reports(self, vips: Sequence[VipConfig]) -> None:
        wanted: dict[MemberKey, tuple[VipConfig, Endpoint]] = {
            (vip.name, member.name): (vip, Endpoint(member.address, vip.cost.report_port or member.port))
            for vip in vips
            if vip.scheduler is SchedulerKind.COST and vip.cost.report_path is not None
            for member in vip.members
        }
        terms = {key: (vip.cost, vip.health.source, place) for key, (vip, place) in wanted.items()}
        for key in [key for key, (held, _) in self._reporters.items() if terms.get(key) != held]:
            self._reporters.pop(key)[1].cancel()
        for key, (vip, place) in wanted.items():
            if key not in self._reporters:
                task = asyncio.create_task(self._report(key, vip, place), name=f"report {key[0]}/{key[1]}")
                self._reporters[key] = (terms[key], task)

    def settle(self) -> None:
        """Tell what changed and wait for what is next."""
        if changes := self.monitor.take_changes():
            self._on_change(changes)
        deadline = self.monitor.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._fire)

    async def close(self) -> None:
        """Stop everything that is under way."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._probes, *(task for _, task in self._reporters.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fire(self) -> None:
        self._timer = None
        for request in self.monitor.handle_timer(self._now()):
            task = asyncio.create_task(self._probe(request), name=f"check {request.key[0]}/{request.key[1]}")
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
        self.settle()

    async def _probe(self, request: ProbeRequest) -> None:
        outcome = await probe(request.endpoint, request.health)
        self.monitor.probe_result(
            request.key, request.serial, outcome.passed, outcome.detail, outcome.response_time, self._now()
        )
        self.settle()

    async def _report(self, key: MemberKey, vip: VipConfig, place: Endpoint) -> None:
        """Ask a member for its report again and again; a change between good and bad is logged."""
        interval, path, trouble = vip.cost.report_interval, vip.cost.report_path or "/", ""
        source = vip.health.source
        while True:
            try:
                self._on_report(*key, await fetch_report(place, path, min(interval, 5.0), source))
                trouble = ""
            except ReportError as error:
                if not trouble:
                    events.warning("%s/%s: no load report from %s%s: %s", *key, place, path, error)
                trouble = str(error)
            await asyncio.sleep(interval)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
