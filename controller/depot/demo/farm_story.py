"""The seed's Fig. 2 played: a load balancer that breaks the affinity of proxies, and the cluster that keeps it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from depot.demo import farm_network as network
from depot.demo.box import Box
from depot.demo.lab import Lab, wait_until
from depot.demo.member import Member, introduce
from depot.demo.proxied import Answer, fetch
from depot.demo.screen import Finding, Screen
from depot.demo.squid import Squid
from depot.demo.topology import FAMILIES
from depot.demo.web import WebMember

__all__ = ["FarmStory"]

_REQUESTS = 12
"""Of each client: that a balancer's hash sends all of them to one of two proxies has a chance of one to 2048."""

_Shares = dict[str, Counter[str]]
"""By client's address: how many of its requests each upstream proxy passed on."""


@dataclass(slots=True)
class FarmStory:
    """One run on a lab that is empty when it begins."""

    lab: Lab
    """Where it plays."""
    screen: Screen
    """Where it is told."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How switches are made, see `Box`."""
    members: list[Member] = field(default_factory=list)
    """B and C."""
    findings: list[Finding] = field(default_factory=list)
    """What was claimed and found, in order."""

    @property
    def boxes(self) -> list[Box]:
        """The depots."""
        return [member.box for member in self.members]

    def tell(self) -> list[Finding]:
        """All of it. Raises LabError if something does not even run."""
        self.set_up()
        self.spread()
        self.steer()
        return self.findings

    def set_up(self) -> None:
        """Network, origin server, the downstream proxy, the farm."""
        network.build(self.lab)
        self.screen.say(f"network of {len(self.lab.namespaces)} namespaces, names begin with {self.lab.prefix}-")
        server = WebMember(self.lab, network.SERVER.as_host())
        server.prepare()
        server.start()
        downstream = Squid(self.lab, network.DOWNSTREAM, network.DOWNSTREAM_PORTS)
        downstream.prepare(network.DIVERTED)
        downstream.start()
        self.members = Member.group(self.lab, network.SITES, **self.options)
        introduce(self.lab, self.members)
        for member in self.members:
            member.start_squid()
            member.configure(network.OFFICE)
            member.start_depot()
        wait_until(lambda: all(m.meets([o.name for o in self.members if o is not m]) for m in self.members), 10.0,
                   "the members have met")  # fmt: skip
        self.screen.say(
            "Squid A downstream, a balancer, and a farm of two depots in a cluster, with Squid B and Squid C"
        )

    def spread(self) -> None:
        """The cluster without steering: every request succeeds, at whichever proxy the balancer chose."""
        self.screen.title(
            "7  A load balancer before a farm of proxies; the downstream proxy has the clients' addresses"
        )
        answers = self._visit_all()
        self._show("each request goes to an upstream proxy of the balancer's choice", answers)
        self._find_served("through balancer and farm", answers)
        torn = sum(len(counts) > 1 for counts in _shares(answers).values())
        self._find("clients that both upstream proxies served", "most", f"{torn} of {len(answers)}",
                   torn > len(answers) // 2)  # fmt: skip

    def steer(self) -> None:
        """The same with `steer = "affinity"`: a client and server pair stays with one proxy."""
        self.screen.title('8  The same with steer = "affinity": who served a client and server pair before, serves it')
        for member in self.members:
            member.configure(network.OFFICE, steer="affinity")
            member.box.tell("reload")
        for member in self.members:
            member.box.wait_in_sync()
        answers = self._visit_all()
        self._show("connections that the balancer sends elsewhere are handed off", answers)
        handed = {m.name: sum(row["handoffs"] for row in m.cluster_status()["switches"]) for m in self.members}
        self.screen.say(", ".join(f"depot {name} has handed off {count}" for name, count in handed.items()))
        self._find_served("with affinity", answers)
        kept = sum(len(counts) == 1 for counts in _shares(answers).values())
        self._find("clients that one upstream proxy served alone", "all", f"{kept} of {len(answers)}",
                   kept == len(answers))  # fmt: skip

    def _visit_all(self) -> dict[str, list[Answer]]:
        """Every client asks for the same page so often; the answers by client's address."""
        return {
            leg.address(family): fetch(
                self.lab, network.CLIENT_NODE, network.SERVER.address(family), _REQUESTS, leg.address(family)
            )
            for family in FAMILIES
            for leg in network.CLIENTS
        }

    def _show(self, what: str, answers: Mapping[str, list[Answer]]) -> None:
        lines = [what]
        names = [member.squid.node for member in self.members]
        for client, counts in _shares(answers).items():
            shares = "  ".join(f"{name} {counts[name]:3d}" for name in names)
            others = "".join(f"  {name} {count}" for name, count in counts.items() if name not in names)
            lines.append(f"  {client:<12} {shares}{others}")
        self.screen.say("\n".join(lines))

    def _find_served(self, what: str, answers: Mapping[str, list[Answer]]) -> None:
        every = [answer for of_client in answers.values() for answer in of_client]
        good = sum(answer.served for answer in every)
        self._find(f"requests {what}", "all succeed", f"{good} of {len(every)}", good == len(every))

    def _find(self, what: str, claimed: str, measured: str, held: bool) -> None:
        self.findings.append(Finding(what, claimed, measured, held))


def _shares(answers: Mapping[str, list[Answer]]) -> _Shares:
    """Who passed requests on last before the server; what went wrong counts under its own name."""
    shares: _Shares = defaultdict(Counter)
    for client, of_client in answers.items():
        for answer in of_client:
            shares[client][answer.proxies[0] if answer.served else answer.outcome] += 1
    return shares
