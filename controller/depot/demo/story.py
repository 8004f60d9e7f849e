"""What happens in the demo: four parts, each of which claims something and measures it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from depot.demo.box import Box
from depot.demo.clients import Attempt, Download, Load, Visitor, fetch_members, spread, url
from depot.demo.configuration import Service
from depot.demo.kernel import received_bytes
from depot.demo.lab import Lab, LabError, wait_until
from depot.demo.network import CLIENTS, MEMBERS, PORTS, build_network, give_vip
from depot.demo.screen import Finding, Screen
from depot.demo.web import PAGES, WebMember, page_digest, slowly

__all__ = ["Story", "services"]

_NAT = {4: "203.0.113.80", 6: "2001:db8:80::80"}
_DSR = {4: "203.0.113.81", 6: "2001:db8:80::81"}
_NAMES = [host.name for host in MEMBERS]
_VICTIM = 1
"""Which member dies, and is drained."""
_SESSIONS = (31, 30)
"""Sessions that the two clients open to a VIP: not divisible by three, so that no accident makes shares equal."""
_NOTICED_SECONDS = 2.0
"""Two failed checks, half a second apart, each of at most half a second, and a half for a busy machine."""
_BACK_SECONDS = 3.0
_DOWNLOADS = 12
_HEADERS_SHARE = 0.1
"""Of what a download weighs, more than this through the depot would mean that answers pass it."""


@dataclass(slots=True)
class Story:
    """One run of the demo on a lab that is empty when it begins."""

    lab: Lab
    """Where it plays."""
    box: Box
    """Switch and controller."""
    screen: Screen
    """Where it is told."""
    members: list[WebMember] = field(default_factory=list)
    """nginx, three times."""
    findings: list[Finding] = field(default_factory=list)
    """What was claimed and found, in order."""
    _downloads: int = 0

    @property
    def boxes(self) -> list[Box]:
        """The depot."""
        return [self.box]

    def tell(self) -> list[Finding]:
        """All of it. Raises LabError if something does not even run."""
        self.set_up()
        self.share_out()
        self.answer_directly()
        self.die_and_return()
        self.drain()
        self.lose_the_controller()
        return self.findings

    # ------------------------------------------------------------------------------------------------------ set-up

    def set_up(self) -> None:
        """Network, members, switch, controller."""
        build_network(self.lab)
        self.screen.say(f"network of {len(self.lab.namespaces)} namespaces, names begin with {self.lab.prefix}-")
        self.members = [WebMember(self.lab, host) for host in MEMBERS]
        for member in self.members:
            for vip in _DSR.values():
                give_vip(self.lab, member.host, vip)
            member.prepare()
            member.start()
        self.screen.say(f"nginx runs on {', '.join(_NAMES)}")
        self.box.configure(services())
        self.box.start_switch()
        self.screen.say(f"{self.box.target.program} runs, ports {', '.join(str(port.number) for port in PORTS)}")
        self.box.start_controller()
        self.screen.say(f"depot run -c {self.box.config_file}: the switch's tables are as desired")
        if engine := self.box.engine_in_use():
            self.screen.say(f"the switch's {engine} engine forwards")
        wait_until(self._all_up, 10.0, "the depot finds all members alive")
        self.screen.say("all members alive")

    def _all_up(self) -> bool:
        return all(self.state_of(host.name) == {"up"} for host in MEMBERS)

    def state_of(self, member: str) -> set[str]:
        """What the depot says of a member, in any of its VIPs."""
        return {row["state"] for row in self.box.ask("members") if row["name"] == member}

    # ------------------------------------------------------------------------------------------------------- part 1

    def share_out(self) -> None:
        """Round robin over NAT, both families, then under load."""
        self.screen.title("1  Three nginx behind one address, round robin, NAT")
        for family, vip in _NAT.items():
            self._compare_shares(f"round robin, NAT, IPv{family}", vip)
        since = time.time()
        report = Load.start(self.lab, CLIENTS[0].name, _NAT[4], 3, name="wrk-nat").report()
        counts = self._served_since(since)
        rate = report.requests / report.seconds
        self.screen.shares(f"wrk, a session per request, {rate:.0f} sessions/s", counts, _NAMES)
        self._find("sessions failed under load", "0", f"{report.failures} of {report.requests}", not report.failures)

    def _compare_shares(self, what: str, vip: str) -> None:
        counts: Counter[str] = Counter()
        for client, sessions in zip(CLIENTS, _SESSIONS, strict=True):
            counts += fetch_members(self.lab, client.name, vip, sessions)
        self.screen.shares(f"curl {url(vip)} from two clients", counts, _NAMES)
        shares = " / ".join(str(counts[name]) for name in _NAMES)
        held = spread(counts, _NAMES) <= 1 and sum(counts[name] for name in _NAMES) == sum(_SESSIONS)
        self._find(what, "shares differ by at most 1", shares, held)

    def _served_since(self, since: float) -> Counter[str]:
        return Counter(m.name for m in self.members for visit in m.visits() if visit.time >= since)

    # ------------------------------------------------------------------------------------------------------- part 2

    def answer_directly(self) -> None:
        """Direct server return: shares, and that answers do not pass the depot."""
        self.screen.title("2  The same nginx, direct server return: they answer the clients past the depot")
        for family, vip in _DSR.items():
            self._compare_shares(f"round robin, DSR, IPv{family}", vip)
        if self.box.switch is None:
            raise LabError("the switch does not run")
        before = received_bytes(self.box.switch.pid, PORTS[1].interface)
        download = self._download(_DSR[4], "/large")
        wait_until(lambda: not download.process.running, 20.0, "the download ends")
        through = received_bytes(self.box.switch.pid, PORTS[1].interface) - before
        arrived = download.received
        self.screen.say(f"a download of {arrived} bytes: {through} bytes came from members through the depot")
        held = download.complete(page_digest("large")) and through < _HEADERS_SHARE * PAGES["large"]
        self._find("DSR answers pass the depot", "no", f"{through} of {arrived} bytes", held)

    # ------------------------------------------------------------------------------------------------------- part 3

    def die_and_return(self) -> None:
        """A member is killed under load and comes back."""
        victim = self.members[_VICTIM]
        self.screen.title(f"3  {victim.name} dies under load, comes back, is drained")
        load = Load.start(self.lab, CLIENTS[0].name, _NAT[4], 8, name="wrk-death")
        visitor = Visitor.start(self.lab, CLIENTS[1].name, _NAT[4])
        wait_until(lambda: {a.member for a in visitor.attempts()} >= set(_NAMES), 10.0, "visitor reaches every member")
        killed = time.time()
        victim.kill()
        self.screen.say(f"kill -9 nginx of {victim.name}")
        wait_until(lambda: self.state_of(victim.name) == {"down"}, 10.0, f"{victim.name} is noticed to be dead", 0.02)
        noticed = time.time()
        self.screen.say(f"the depot has noticed after {noticed - killed:.2f} s: no new sessions for {victim.name}")
        self._find("a dead member is noticed", f"within {_NOTICED_SECONDS:g} s", f"{noticed - killed:.2f} s",
                   noticed - killed <= _NOTICED_SECONDS)  # fmt: skip
        time.sleep(1.5)  # what is claimed of this time is that nothing happens in it
        self.screen.shares("since then, all clients", self._served_since(noticed), _NAMES)
        self._revive(victim, visitor)
        attempts = visitor.stop()
        report = load.report()
        self._tell_failures(attempts, killed, noticed)
        self.screen.say(f"wrk meanwhile: {report.requests} requests answered, {report.failures} failed")

    def _revive(self, victim: WebMember, visitor: Visitor) -> None:
        back = time.time()
        victim.start()

        def seen() -> float | None:
            starts = [a.start for a in visitor.attempts() if a.member == victim.name and a.start >= back]
            return min(starts) if starts else None

        served = wait_until(seen, 15.0, f"{victim.name} serves again")
        self.screen.say(f"nginx of {victim.name} started again: serves new sessions after {served - back:.2f} s")
        self._find("it returns by itself", f"within {_BACK_SECONDS:g} s", f"{served - back:.2f} s",
                   served - back <= _BACK_SECONDS)  # fmt: skip

    def _tell_failures(self, attempts: Sequence[Attempt], killed: float, noticed: float) -> None:
        """What the client with the stopwatch saw, before the death was noticed and after it."""
        early = [a for a in attempts if killed - a.seconds <= a.start < noticed]
        late = [a for a in attempts if a.start >= noticed]
        failed = Counter(a.error for a in early if a.error)
        reasons = ", ".join(f"{count} {reason}" for reason, count in failed.items()) or "none failed"
        self.screen.say(f"a client with a stopwatch, until the death was noticed: {reasons}, of {len(early)} sessions")
        late_failures = sum(a.error is not None for a in late)
        self.screen.say(f"from then on: {late_failures} failed of {len(late)}")
        self._find("sessions failed once it is noticed", "0", f"{late_failures} of {len(late)}", not late_failures)

    def drain(self) -> None:
        """A member is drained: no new sessions, the old ones finish."""
        name = MEMBERS[_VICTIM].name
        downloads = self._start_downloads("medium", 9)
        old = [download for download in downloads if download.member == name]
        self.box.tell("drain", name)
        counts = fetch_members(self.lab, CLIENTS[0].name, _NAT[4], 30)
        self.screen.shares(f"depot drain {name}, while it serves {len(old)} downloads", counts, _NAMES)
        self._find("new sessions on a drained member", "0", str(counts[name]), counts[name] == 0 and len(counts) == 2)
        finished = self._finish_downloads(downloads, "medium")
        good = sum(download in finished for download in old)
        self.screen.say(f"its old sessions: {good} of {len(old)} finished with the right contents")
        self._find("its old sessions finish", "all", f"{good} of {len(old)}", bool(old) and good == len(old))
        self.box.tell("undrain", name)
        counts = fetch_members(self.lab, CLIENTS[0].name, _NAT[4], 30)
        self.screen.shares(f"depot undrain {name}", counts, _NAMES)
        self._find("after undrain, shares", "differ by at most 1", " / ".join(str(counts[n]) for n in _NAMES),
                   spread(counts, _NAMES) <= 1)  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- part 4

    def lose_the_controller(self) -> None:
        """The controller is killed under load and started again."""
        self.screen.title("4  The controller dies under load: kill -9")
        downloads = self._start_downloads("large", _DOWNLOADS)
        visitor = Visitor.start(self.lab, CLIENTS[1].name, _NAT[6], name="visitor-controller")
        load = Load.start(self.lab, CLIENTS[0].name, _NAT[6], 6, connections=4, name="wrk-controller")
        wait_until(lambda: len(visitor.attempts()) >= 10, 10.0, "the visitor is on its way")
        self.box.kill_controller()
        killed = time.time()
        self.screen.say(f"kill -9 of the controller; {len(downloads)} downloads and wrk are running")
        self._compare_shares("new sessions without a controller", _NAT[4])
        self.box.start_controller()
        restarted = time.time()
        self.screen.say(f"started again, {restarted - killed:.1f} s later: tables read back, compared, as desired")
        in_sync = self.box.in_sync()
        self._find("after restart, tables equal desired state", "yes", "yes" if in_sync else "no", in_sync)
        report, attempts = load.report(), visitor.stop()
        finished = self._finish_downloads(downloads, "large")
        self.screen.say(f"downloads: {len(finished)} of {len(downloads)} finished with the right contents")
        self._find("sessions that lived through it", "all", f"{len(finished)} of {len(downloads)}",
                   len(finished) == len(downloads))  # fmt: skip
        failed = sum(attempt.error is not None for attempt in attempts) + report.failures
        total = len(attempts) + report.requests
        self.screen.say(f"other clients meanwhile: {failed} of {total} sessions failed")
        self._find("sessions failed meanwhile", "0", f"{failed} of {total}", not failed)

    # --------------------------------------------------------------------------------------------------- downloads

    def _download(self, vip: str, path: str) -> Download:
        self._downloads += 1
        client = CLIENTS[self._downloads % len(CLIENTS)]
        return Download.start(self.lab, client.name, vip, path, self._downloads)

    def _start_downloads(self, page: str, count: int) -> list[Download]:
        """Downloads that all run: each has begun to receive."""
        downloads = [self._download(_NAT[4 if index % 2 else 6], slowly(page)) for index in range(count)]
        wait_until(lambda: all(d.received and d.member for d in downloads), 10.0, "all downloads have begun")
        return downloads

    def _finish_downloads(self, downloads: Sequence[Download], page: str) -> list[Download]:
        """Wait for the downloads' end; those that brought the right contents."""
        wait_until(lambda: not any(d.process.running for d in downloads), 40.0, "the downloads end")
        digest = page_digest(page)
        return [download for download in downloads if download.complete(digest)]

    def _find(self, what: str, claimed: str, measured: str, held: bool) -> None:
        self.findings.append(Finding(what, claimed, measured, held))


def services() -> list[Service]:
    """Two VIPs by NAT and two by direct server return, one of each family."""
    settings = {"on_member_failure": "reset"}
    nat = [Service(f"web{family}", vip, settings=settings) for family, vip in _NAT.items()]
    dsr = [Service(f"direct{family}", vip, mode="dsr", settings=settings) for family, vip in _DSR.items()]
    return nat + dsr
