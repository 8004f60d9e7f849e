"""The seed's Fig. 1 played: answers that come back by another proxy, without the cluster and with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from depot.demo import cluster_network as network
from depot.demo.box import Box
from depot.demo.clients import Download, Load, url
from depot.demo.kernel import count_tunnels, counter_in, tunnelled
from depot.demo.lab import Lab, wait_until
from depot.demo.member import OPEN_PORT, Member, introduce
from depot.demo.proxied import Answer, fetch, fetch_at_once
from depot.demo.screen import Finding, Screen
from depot.demo.topology import FAMILIES, Route, set_route
from depot.demo.web import WebMember, page_digest, slowly

__all__ = ["ClusterStory"]

_REQUESTS = 20
_ALONE = 3
_LOAD_SECONDS = 3
_GONE_SECONDS = 3.0
"""Three intervals of half a second, and as much again for a busy machine."""
_BACK_SECONDS = 5.0


@dataclass(slots=True)
class ClusterStory:
    """One run on a lab that is empty when it begins."""

    lab: Lab
    """Where it plays."""
    screen: Screen
    """Where it is told."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How switches are made, see `Box`."""
    members: list[Member] = field(default_factory=list)
    """A and B."""
    server: WebMember | None = None
    """The origin server."""
    findings: list[Finding] = field(default_factory=list)
    """What was claimed and found, in order."""

    @property
    def boxes(self) -> list[Box]:
        """The depots."""
        return [member.box for member in self.members]

    def tell(self) -> list[Finding]:
        """All of it. Raises LabError if something does not even run."""
        self.set_up()
        self.fail_alone()
        self.join()
        self.succeed()
        self.show_what_is_known()
        self.bear_load()
        self.lose_the_other()
        self.lose_the_owner()
        return self.findings

    # ------------------------------------------------------------------------------------------------------ set-up

    def set_up(self) -> None:
        """Network, origin server, depots on their own, Squids."""
        network.build(self.lab)
        count_tunnels(self.lab, network.BETWEEN)
        self.screen.say(f"network of {len(self.lab.namespaces)} namespaces, names begin with {self.lab.prefix}-")
        self.server = WebMember(self.lab, network.SERVER.as_host(), ports=(80, OPEN_PORT))
        self.server.prepare()
        self.server.start()
        self.members = Member.group(self.lab, network.SITES, **self.options)
        for member in self.members:
            member.start_squid()
            member.configure(network.OFFICE)
            member.start_depot()
        engines = ", ".join(f"{m.name}: {m.box.engine_in_use() or m.box.target.program}" for m in self.members)
        self.screen.say(f"nginx is the server, Squid runs behind depot a and depot b (switches {engines})")

    # ------------------------------------------------------------------------------------------------------- part 1

    def fail_alone(self) -> None:
        """Without the cluster no intercepted request succeeds."""
        self.screen.title("1  Two depots that do not know each other; answers come back by the other one")
        server, client = network.SERVER, network.CLIENT
        plain = [fetch(self.lab, client.node, server.address(f), port=OPEN_PORT)[0] for f in FAMILIES]
        self._tell_answers(f"port {OPEN_PORT}, which the policy lets pass", plain)
        self._find("bypassed, without the cluster", "all", _served(plain), all(answer.served for answer in plain))
        resets = counter_in(self.lab, client.node, "Tcp", "OutRsts")
        answers = fetch_at_once(self.lab, client.node, [server.address(f) for f in FAMILIES] * _ALONE)
        resets = counter_in(self.lab, client.node, "Tcp", "OutRsts") - resets
        self._tell_answers(f"curl {url(server.address(4))} and IPv6, intercepted by Squid A", answers)
        self.screen.say(f"the server's SYN-ACKs came to the client by way of B: it sent {resets} resets")
        self._find("intercepted, without the cluster", "none", _served(answers), not any(a.served for a in answers))

    # ------------------------------------------------------------------------------------------------------- part 2

    def join(self) -> None:
        """The same depots with [cluster] in their files."""
        self.screen.title("2  The same, as members of one cluster")
        for member in self.members:
            member.box.stop_controller()
        introduce(self.lab, self.members)
        for member in self.members:
            member.configure(network.OFFICE)
            member.start_controller()
        wait_until(lambda: all(m.meets(others) for m, others in self._pairs()), 10.0, "the members have met")
        self.screen.say("the same depots with [cluster] in their files: each knows what the other knows")

    def _pairs(self) -> list[tuple[Member, list[str]]]:
        names = [member.name for member in self.members]
        return [(member, [name for name in names if name != member.name]) for member in self.members]

    def succeed(self) -> None:
        """Now every request succeeds, by Squid A, though every answer arrives at B."""
        for family in FAMILIES:
            since, crossed = time.time(), tunnelled(self.lab, network.BETWEEN)
            answers = self._visit(family, _REQUESTS)
            crossed = tunnelled(self.lab, network.BETWEEN) - crossed
            self._tell_answers(f"curl {url(network.SERVER.address(family))}", answers)
            served = [len(member.squid.requests(since)) for member in self.members]
            visits = self._visits(since)
            self.screen.say(
                f"Squid A served {served[0]} of them, Squid B {served[1]}; the server saw {', '.join(visits)};\n"
                f"RB, a plain router, passed on {crossed} packets in tunnels from B to A"
            )
            self._find(f"with the cluster, IPv{family}", "all", _served(answers), all(a.served for a in answers))
            self._find(f"served by Squid A / B, IPv{family}", f"{_REQUESTS} / 0", f"{served[0]} / {served[1]}",
                       served == [_REQUESTS, 0])  # fmt: skip
            client = network.CLIENT.address(family)
            self._find(f"the server sees, IPv{family}", client, ", ".join(visits), list(visits) == [client])
            least = 3 * _REQUESTS
            self._find(f"packets from B to A, IPv{family}", f"at least {least}", str(crossed), crossed >= least)
        self._download_in_full()
        self._let_pass()

    def _visit(self, family: int, count: int) -> list[Answer]:
        return fetch(self.lab, network.CLIENT.node, network.SERVER.address(family), count)

    def _visits(self, since: float) -> Counter[str]:
        """Whom the server believes to have been visited by."""
        visits = self.server.visits() if self.server else []
        return Counter(visit.client for visit in visits if visit.time >= since)

    def _download_in_full(self) -> None:
        """Segments of full size, which with a tunnel's header around them would not fit."""
        downloads = [self._download(family, "/large", family) for family in FAMILIES]
        wait_until(lambda: not any(d.process.running for d in downloads), 20.0, "the downloads end")
        good = sum(download.complete(page_digest("large")) for download in downloads)
        self.screen.say(f"two downloads of 1.2 MB, IPv4 and IPv6: {good} arrived with the right contents")
        self._find("downloads in segments of full size", "all", f"{good} of {len(downloads)}", good == len(downloads))

    def _let_pass(self) -> None:
        """What the policy bypasses is known to both, and passes B untouched."""
        client, server, crossed = network.CLIENT, network.SERVER, tunnelled(self.lab, network.BETWEEN)
        answers = [a for f in FAMILIES for a in fetch(self.lab, client.node, server.address(f), 5, port=OPEN_PORT)]
        crossed = tunnelled(self.lab, network.BETWEEN) - crossed
        self._tell_answers(f"port {OPEN_PORT}, which the policy lets pass, {crossed} packets in tunnels", answers)
        held = all(answer.served and not answer.proxies for answer in answers) and not crossed
        self._find("bypassed, with the cluster, in no tunnel", "all", _served(answers), held)

    def _download(self, family: int, path: str, number: int) -> Download:
        return Download.start(self.lab, network.CLIENT.node, network.SERVER.address(family), path, number)

    # ------------------------------------------------------------------------------------------------------- part 3

    def show_what_is_known(self) -> None:
        """Every member shows the whole network's flows."""
        self.screen.title("3  What every member knows, while a download runs")
        time.sleep(0.3)  # ages are kept to an eighth of a second, and this is to be the youngest
        download = self._download(4, slowly("medium"), 41)
        wait_until(lambda: download.received > 0, 10.0, "a download has begun")
        a, b = self.members
        wait_until(lambda: len(b.flows_of(a.name)) >= 2, 5.0, "b knows connections of a")
        before, there, after = a.flows_of(a.name), b.flows_of(a.name), a.flows_of(a.name)
        equal = before >= there >= after and len(after) >= 2  # some that have ended may be forgotten meanwhile
        for member in self.members:
            status = member.box.tell("cluster", "status").rstrip()
            shown = member.box.tell("connections", "--cluster", "--owner", "a", "--limit", "2").rstrip()
            self.screen.say(f"on {member.name}, depot cluster status\n{status}")
            self.screen.say(f"on {member.name}, depot connections --cluster --owner a --limit 2\n{shown}")
        self._find("both members show the same flows", "yes", "yes" if equal else "no", equal)
        download.process.kill()

    # ------------------------------------------------------------------------------------------------------- part 4

    def bear_load(self) -> None:
        """A session per request, as fast as it goes."""
        self.screen.title(
            "4  Under load: both connections of each request are told to B before their first packet leaves"
        )
        since = time.time()
        report = Load.start(self.lab, network.CLIENT.node, network.SERVER.address(4), _LOAD_SECONDS).report()
        served = [len(member.squid.requests(since)) for member in self.members]
        self.screen.say(
            f"wrk, a session per request: {report.requests / report.seconds:.0f} requests/s, {report.failures} of "
            f"{report.requests} failed; Squid A served {served[0]}, Squid B {served[1]}"
        )
        self._find("requests failed under load", "0", f"{report.failures} of {report.requests}", not report.failures)

    # ------------------------------------------------------------------------------------------------------- part 5

    def lose_the_other(self) -> None:
        """B dies; the network takes another way; B returns."""
        self.screen.title("5  Depot B dies: kill -9 of its controller and its switch")
        a, b = self.members
        killed = time.monotonic()
        b.kill()
        wait_until(lambda: a.misses(b.name), 10.0, "a notices that b is gone", 0.02)
        noticed = time.monotonic() - killed
        self.screen.say(f"depot a has noticed after {noticed:.2f} s")
        self._find("a dead member is noticed", f"within {_GONE_SECONDS:g} s", f"{noticed:.2f} s",
                   noticed <= _GONE_SECONDS)  # fmt: skip
        set_route(self.lab, network.SERVER.node, Route(network.OFFICE, network.X_AT_SERVER))
        answers = self._visit(4, 5) + self._visit(6, 5)
        self._tell_answers("the server's network answers over x instead of y", answers)
        self._find("with B dead and routed around", "all", _served(answers), all(a.served for a in answers))
        started = time.monotonic()
        b.start_depot()
        wait_until(
            lambda: all(m.meets(others) for m, others in self._pairs()), 10.0, "the members have met again", 0.02
        )
        set_route(self.lab, network.SERVER.node, Route(network.OFFICE, network.Y_AT_SERVER))
        answers = self._visit(4, 5) + self._visit(6, 5)
        self.screen.say(f"depot b started again: a member after {time.monotonic() - started:.1f} s; routes as before")
        self._tell_answers("again by way of B", answers)
        self._find("with B back", "all", _served(answers), all(a.served for a in answers))

    def lose_the_owner(self) -> None:
        """A's controller dies while a download of its Squid's runs, and returns."""
        self.screen.title("6  The controller of depot A dies while a download runs: kill -9")
        a, b = self.members
        download = self._download(6, slowly("medium"), 61)
        wait_until(lambda: download.received > 0, 10.0, "a download has begun")
        a.box.kill_controller()
        wait_until(lambda: b.misses(a.name), 10.0, "b notices that a is gone", 0.02)
        forgotten = wait_until(lambda: not b.flows_of(a.name), 5.0, "b forgets the flows of a")
        self.screen.say("depot b has noticed, and a's flows are gone from what it knows")
        self._find("a dead member's flows on the other", "none", "none" if forgotten else "some", forgotten)
        started = time.monotonic()
        a.start_controller()
        wait_until(
            lambda: all(m.meets(others) for m, others in self._pairs()), 10.0, "the members have met again", 0.02
        )
        back = time.monotonic() - started
        self.screen.say(f"started again: a member after {back:.1f} s")
        answers = self._visit(4, 5) + self._visit(6, 5)
        self._find("with A back", "all", _served(answers), all(a.served for a in answers))
        wait_until(lambda: not download.process.running, 40.0, "the download ends")
        lived = download.complete(page_digest("medium"))
        self.screen.say(f"the download {'finished with the right contents' if lived else 'is lost'}")
        self._find("a download that lived through it", "yes", "yes" if lived else "no", lived)

    # -------------------------------------------------------------------------------------------------------- words

    def _tell_answers(self, what: str, answers: Sequence[Answer]) -> None:
        outcomes = Counter(answer.outcome for answer in answers)
        self.screen.say(f"{what}: " + ", ".join(f"{count} x {name}" for name, count in outcomes.items()))

    def _find(self, what: str, claimed: str, measured: str, held: bool) -> None:
        self.findings.append(Finding(what, claimed, measured, held))


def _served(answers: Sequence[Answer]) -> str:
    return f"{sum(answer.served for answer in answers)} of {len(answers)}"
