"""The depot beside other load balancers over real sockets, all with the same client, members and links: nftables DNAT,
HAProxy in TCP mode, nginx stream, and no balancer at all. Each is measured in turns, the medians count. CPU time is
that of the whole machine, client and members included, and of what a program puts off until the load is over, for every
candidate alike.

Where the depot loses, and why (py-spy, /proc/PID/stat): its packets cost less than nftables', but a new connection also
costs Python 130 µs, half in the switch's process, half in the controller: four digests (SYN, SYN-ACK, two FINs) of some
15 µs in each. Of the switch's share 40 % is taking them from the ring buffer and encoding them, a third gRPC; of the
controller's 30 % decoding, 35 % tracking sessions. nftables' kernel has nobody to tell. All that shares two CPUs here
with clients and members, whose slowest answers (p99) are those that had to wait for it.

python -m bench.peers [--engine xdp] [--rounds 5] [--seconds 1]
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.candidates import Candidate, Depot, Direct, HaProxy, Measured, Metric, Nftables, NginxStream, measured
from bench.candidates.depot import ENGINES
from bench.harness import AtLeast, AtMost, Reference, Row, publish
from depot.demo.lab import Lab, missing_programs

COMMAND = "make bench NAME=peers"
PEERS: tuple[type[Candidate], ...] = (Nftables, HaProxy, NginxStream)
NEEDED = ("ip", "ethtool", "nginx", "curl", "wrk")

Results = Mapping[str, Sequence[Measured]]
"""Rounds by candidate's name."""


def candidates(lab: Lab, engines: Sequence[str]) -> list[Candidate]:
    """The depot, those of the peers that can run here, and no balancer; what is missing is printed."""
    found: list[Candidate] = [Depot(lab, f"depot-{engine}", engine) for engine in engines]
    for kind in PEERS:
        reason = kind.missing()
        if reason is None:
            found.append(kind(lab, kind.__name__.lower()))
        else:
            print(f"{kind.title} not measured: {reason}; apt-get install {' '.join(kind.packages)}")
    return [*found, Direct(lab, "direct")]


def measure(engines: Sequence[str], rounds: int, seconds: int) -> Results:
    """Start every candidate, measure them in turns."""
    results: dict[str, list[Measured]] = defaultdict(list)
    with Lab() as lab:
        standing = candidates(lab, engines)
        for candidate in standing:
            candidate.start()
        for _ in range(rounds):
            for candidate in standing:
                results[candidate.name].append(measured(candidate, seconds))
    return results


def rows(results: Results) -> list[Row]:
    """The depot beside the best of the peers, then everyone beside no balancer, for each metric."""
    ours = [name for name in results if name.startswith(Depot.title)]
    theirs = [name for name in results if name not in ours and name != Direct.title]
    made = []
    for metric in Metric:
        found = {name: median(one.values[metric] for one in taken) for name, taken in results.items()}
        direct = Reference(Direct.title, found[Direct.title])
        best = direct
        if theirs:
            winner = (max if metric.more_is_better else min)(theirs, key=found.__getitem__)
            best = Reference(winner, found[winner])
        target = (AtLeast if metric.more_is_better else AtMost)(1, of_reference=True) if theirs else None
        for name in (*ours, *theirs, Direct.title):
            reference = best if name in ours else direct if name in theirs else None
            row = Row(f"{name}: {metric.value}", found[name], metric.unit, COMMAND, reference)
            row = replace(row, spread=_spread(metric, results[name]), target=target if name in ours else None)
            made.append(row)
    return made


def _spread(metric: Metric, taken: Sequence[Measured]) -> float:
    numbers = [one.values[metric] for one in taken]
    return (max(numbers) - min(numbers)) / 2


def print_failures(results: Results) -> None:
    """Say of whom not every request was answered."""
    for name, taken in results.items():
        failures, requests = sum(one.failures for one in taken), sum(one.requests for one in taken)
        if failures:
            print(f"{name}: {failures} requests FAILED beside {requests} answered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, action="append", help="of softswitch; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of one load, twice a round for each candidate")
    given = parser.parse_args()
    missing = missing_programs(NEEDED)
    if os.geteuid() != 0 or missing:
        print(f"peers not measured: {f'missing {missing}' if missing else 'network namespaces need root'}")
        return
    results = measure(given.engine or ["auto"], given.rounds, given.seconds)
    print_failures(results)
    publish(__file__, "The depot beside its peers: one topology, real sockets", rows(results))


if __name__ == "__main__":
    main()
