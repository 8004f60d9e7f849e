"""Two sites with their hosts and gateways, tunnels between them: what the seed's Fig. 3 shows, on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gateway_sites.gateways import Gateway, Limit
from bench.gateway_sites.hosts import HOSTS
from bench.gateway_sites.places import INTERNET, LANS, SITES, GatewayPlace, hosts_leg
from depot.demo.box import program
from depot.demo.lab import Lab, LabError, Process, wait_until
from depot.demo.topology import add_host, add_lans, add_router

__all__ = ["NEEDED", "Asked", "Trial", "Vpn"]

NEEDED = ("ip", "ethtool", "nft", "wireguard-go", "wg", "clang")
"""Programs; `missing_programs` says which are not there."""
_SETTLE_SECONDS = 60.0
_DRAIN_SECONDS = 0.5
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """What the hosts of a site were told of their gateway."""

    known: int
    """Hosts that have an answer."""
    macs: int
    """Different MACs in the answers."""
    asks: int
    answers: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Packets of both directions together."""

    sent: int
    received: int
    duplicates: int
    reordered: int
    foreign: int
    """From a virtual MAC that is not the one their host was told."""

    @property
    def lost(self) -> int:
        """Packets that did not come."""
        return self.sent - self.received


@dataclass
class Vpn:
    """Everything running."""

    lab: Lab
    gateways: dict[str, list[Gateway]] = field(default_factory=dict)
    """By site."""
    hosts: dict[str, Process] = field(default_factory=dict)
    """The hosts' programs by site."""
    runs: int = 0

    @classmethod
    def build(cls, lab: Lab, size: int, limit: Limit) -> Vpn:
        """Network, tunnels and hosts; depots are not started. `size`: gateways of a site. Raises LabError."""
        found = cls(lab)
        add_lans(lab, LANS)
        add_router(lab, *INTERNET)
        for site in SITES:
            found.gateways[site] = [Gateway.build(lab, GatewayPlace(site, n + 1), limit) for n in range(size)]
        for left, right in zip(found.gateways["left"], found.gateways["right"], strict=True):
            keys = left.make_key(), right.make_key()
            right.start_tunnel(keys[0], begins=False)
            left.start_tunnel(keys[1], begins=True)
        for gateway in found.all_gateways():
            wait_until(gateway.is_tunnelled, _SETTLE_SECONDS, f"the tunnel of {gateway.place.node} stands")
        for site in SITES:
            found._start_hosts(site)
        return found

    def _start_hosts(self, site: str) -> None:
        leg = hosts_leg(site)
        add_host(self.lab, leg)
        argv = [
            "env", f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable, "-m", "bench.gateway_sites.host_program",
            leg.lan.name, site,
        ]  # fmt: skip
        self.hosts[site] = self.lab.start(
            leg.node, f"hosts-{site}", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def all_gateways(self) -> list[Gateway]:
        """Of both sites."""
        return [gateway for gateways in self.gateways.values() for gateway in gateways]

    # Depots

    def start_depots(self, size: int, vmac: Mapping[str, object] | None) -> None:
        """Start the depots of so many gateways of each site; returns when they share all buckets. Raises LabError."""
        self.stop_depots()
        for site, gateways in self.gateways.items():
            settings = None if vmac is None else {"key": str(self._key(site)), **vmac}
            places = [gateway.place for gateway in gateways[:size]]
            for gateway in gateways[:size]:
                gateway.start_depot([place for place in places if place != gateway.place], settings)
        if vmac is not None:
            self.wait_settled(size)

    def stop_depots(self) -> None:
        """End them in order, switches too."""
        for gateway in self.all_gateways():
            gateway.box.stop_controller()
            if gateway.box.switch is not None:
                gateway.box.kill_switch()

    def _key(self, site: str) -> Path:
        key = self.lab.folder / f"{site}-vmac.key"
        if not key.exists():
            subprocess.run([program("depot"), "vmac", "init", str(key)], check=True, capture_output=True)
        return key

    def wait_settled(self, size: int) -> None:
        """Wait until every bucket has an owner that lives."""

        def settled() -> bool:
            for gateways in self.gateways.values():
                status = gateways[0].status()
                owners = {row["owner"] for row in status["buckets"]}
                if status["ownerless"] or owners != {gateway.place.name for gateway in gateways[:size]}:
                    return False
            return True

        wait_until(settled, _SETTLE_SECONDS, "all gateways share all buckets", every=0.2)

    def give(self, owners: Sequence[str]) -> None:
        """Have each bucket owned by the gateway that is named for it, at both sites."""
        for gateways in self.gateways.values():
            now = [row["owner"] for row in gateways[0].status()["buckets"]]
            for name in sorted(set(owners)):
                buckets = [
                    n for n, (owner, wanted) in enumerate(zip(now, owners, strict=True)) if owner != wanted == name
                ]
                if buckets:
                    gateways[0].box.tell("vmac", "move", ",".join(map(str, buckets)), name)
        wait_until(
            lambda: all(self.owners(site) == list(owners) for site in SITES), _SETTLE_SECONDS, "the moves are done"
        )

    def owners(self, site: str) -> list[str | None]:
        """Who owns each bucket of a site."""
        return [row["owner"] for row in self.gateways[site][0].status()["buckets"]]

    # Hosts

    def say(self, site: str, do: str, **arguments: object) -> dict[str, Any]:
        """One command for the hosts of a site."""
        process = self.hosts[site]
        self.lab.expect_running(process)
        stdin, stdout = process.popen.stdin, process.popen.stdout
        if stdin is None or stdout is None:
            raise LabError(f"{process.name} has no pipes")
        stdin.write(json.dumps({"do": do} | arguments).encode() + b"\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline() or b"{}")
        return answer

    def say_all(self, do: str, **arguments: object) -> dict[str, dict[str, Any]]:
        """One command for the hosts of both sites."""
        return {site: self.say(site, do, **arguments) for site in SITES}

    def ask(self, step: int) -> dict[str, Asked]:
        """Let all hosts have addresses in such steps and ask for their gateway. Raises LabError without answers."""
        self.say_all("series", step=step)
        found = {site: Asked(**self.say(site, "ask")) for site in SITES}
        if any(asked.known < HOSTS for asked in found.values()):
            raise LabError(f"hosts have no gateway: {found}")
        return found

    def start_load(self, rate: float, size: int) -> None:
        """All hosts send, `rate` packets a second of both sites together, and count from zero."""
        self.runs += 1
        self.say_all("send", rate=0, run=self.runs, size=size)
        self.say_all("send", rate=rate / 2)

    def stop_load(self) -> None:
        """Nobody sends; returns when what was under way has come."""
        self.say_all("send", rate=0)
        time.sleep(_DRAIN_SECONDS)

    def count(self) -> tuple[Trial, int]:
        """What has been sent and has come since the load began, and how many are missing before later ones."""
        counts = list(self.say_all("count").values())
        names = ("sent", "received", "duplicates", "reordered", "foreign")
        trial = Trial(**{name: sum(one[name] for one in counts) for name in names})
        return trial, sum(one["missing"] for one in counts)

    def trial(self, rate: float, size: int, seconds: float) -> Trial:
        """Send at a rate for so long, or until packets are missing, and count when all has come."""
        self.start_load(rate, size)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.count()[1]:
            time.sleep(min(left, _LOOK_SECONDS))
        self.stop_load()
        return self.count()[0]
