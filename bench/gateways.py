"""One gateway address, many gateways (seed 004, 4): two sites with 224 hosts each and one to three gateways, a
WireGuard tunnel in user space from each gateway to its counterpart. Zero-loss throughput with hosts dealt to the
gateways (the seed's Fig. 4); throughput, loss and load over time when one gateway has all of them at first (Fig. 5).

Each gateway forwards at most 1 000 packets/s, both ways together (a token bucket), so that the machine's two CPUs,
which all six share, are not the limit: what is measured is how evenly work is dealt, not how fast it is done.

The seed's 2.98: of 224 hosts three gateways have 75, 75 and 74, and 224 / 75 is 2.987. That is so if the virtual MACs
are dealt in turns, bucket modulo 3. In thirds of V one after the other, as "equally partition V" may be read, the
hosts' buckets 0x18-0xF7 are 62, 85 and 77: 2.64.

The seed's second experiment cannot have been as it is written: with K = 256 and h(m) = m mod K its addresses in steps
of 256 have one remainder, so all hosts have one virtual MAC; a flow is all frames to it, and one gateway has to have
it, whatever is moved. That is measured too; less than one gateway's limit arrives, for a packet passes two gateways
with a limit each, and what the first lets pass the second drops. What spreads these addresses is another hash: the CRC,
which is the depot's default, gives each of the 224 a bucket of its own; all buckets start on the first gateway.

A gateway's load is the packets that come to it against its limit, told to its depot by a load command: of the CPU,
which all six share with whatever else the machine does, all would say the same.

python -m bench.gateways [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.gateway_sites.gateways import Limit
from bench.gateway_sites.pictures import draw
from bench.gateway_sites.throughput import zero_loss
from bench.gateway_sites.timeline import Timeline, record
from bench.gateway_sites.vpn import NEEDED, Vpn
from bench.harness import RESULTS, AtLeast, AtMost, Reference, Row, publish
from depot.demo.lab import Lab, missing_programs

__all__ = ["FULL", "QUICK", "Plan", "Result", "Throughput", "main", "measure", "rows"]

COMMAND = "make bench NAME=gateways"
BUCKETS = 256
SEED_SIZE = 3
"""Gateways of a site."""
CONSECUTIVE, APART = 1, 256
"""Steps between the hosts' MACs in the seed's two experiments."""
SMALL, LARGE = 64, 1408
"""Bytes of a frame with its check sequence (seed 004, 4.2 and 4.3)."""
STATIC = {"hash": "mod", "balancing": "none"}
"""The seed's hash, and nothing moves for load."""
SEEDS = {
    "balancing": "ring", "report_interval": "1330ms", "decision_interval": "4s", "threshold": 0.1, "subset": 4,
}  # fmt: skip
"""T_L, T_M, L_D and the size of W (seed 004, 4.3)."""
SHIPPED: Mapping[str, object] = {}
"""Nothing but what each file must say."""
_OFFERED = 0.8
"""Of what three gateways can do, over time."""

Owners = tuple[str, ...]
"""A gateway for each bucket."""


@dataclass(frozen=True, slots=True)
class Story:
    """A run over time: all buckets are the first gateway's when it begins."""

    name: str
    hash: str
    settings: Mapping[str, object]
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    limit: Limit
    sizes: Sequence[int]
    """Gateways of a site, for throughput."""
    frames: Sequence[int]
    """Bytes."""
    seconds: float
    """Of a trial."""
    precision: float
    """Of throughput, a fraction."""
    stories: Sequence[Story]
    every: float = 1.0
    """Seconds between two samples."""


RING = Story("ring, the seed's settings", "crc", SEEDS, 300.0)
BALANCED = Story("balanced, the shipped settings", "crc", SHIPPED, 60.0)
ONE_MAC = Story("balanced, hash mod", "mod", SHIPPED, 60.0)
FULL = Plan(Limit(1000, 80), (1, 2, 3), (SMALL, LARGE), 6.0, 0.001, (RING, BALANCED, ONE_MAC))
QUICK = Plan(Limit(300, 30), (1, 2), (SMALL,), 1.0, 0.1, (Story(BALANCED.name, "crc", SHIPPED, 20.0),), 0.5)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Zero-loss throughput of one kind of cluster."""

    gateways: int
    dealt: str
    """How buckets are dealt."""
    frame: int
    """Bytes."""
    rate: float
    """Packets a second, both directions together."""


@dataclass(frozen=True, slots=True)
class Result:
    """All that was measured."""

    throughputs: tuple[Throughput, ...]
    timelines: tuple[Timeline, ...]
    answers: Mapping[str, float]
    """Answers to each ask of a host for its gateway, by site."""


IN_TURNS, THIRDS = "in turns", "in thirds"


def dealt(how: str, gateways: int) -> Owners:
    """The owner of each bucket: bucket modulo gateways, or equal parts one after the other."""
    if how == IN_TURNS:
        return tuple(f"g{bucket % gateways + 1}" for bucket in range(BUCKETS))
    return tuple(f"g{bucket * gateways // BUCKETS + 1}" for bucket in range(BUCKETS))


def measure(plan: Plan) -> Result:
    """Build the sites, measure, remove them."""
    with Lab() as lab:
        vpn = Vpn.build(lab, max(plan.sizes), plan.limit)
        throughputs: list[Throughput] = []
        answers: dict[str, float] = {}
        for size in plan.sizes:
            vpn.start_depots(size, STATIC)
            for how in (IN_TURNS, THIRDS) if size == SEED_SIZE else (IN_TURNS,):
                vpn.give(dealt(how, size))
                asked = vpn.ask(CONSECUTIVE)
                answers = {site: one.answers / one.asks for site, one in asked.items()}
                frames = plan.frames if how == IN_TURNS else plan.frames[:1]
                throughputs += [_throughput(vpn, plan, size, how, frame) for frame in frames]
        timelines = [_tell(vpn, plan, story, max(plan.sizes)) for story in plan.stories]
    return Result(tuple(throughputs), tuple(timelines), answers)


def _throughput(vpn: Vpn, plan: Plan, size: int, how: str, frame: int) -> Throughput:
    def passes(rate: float) -> bool:
        return vpn.trial(rate, frame, plan.seconds).lost == 0

    rate = zero_loss(passes, plan.limit.rate * size, plan.precision)
    print(f"{size} gateways, dealt {how}, {frame} bytes: {rate:.0f} packets/s", flush=True)
    return Throughput(size, how, frame, rate)


def _tell(vpn: Vpn, plan: Plan, story: Story, size: int) -> Timeline:
    # A packet passes in one direction through a virtual MAC, whose rate the depot knows: half of both directions.
    vpn.start_depots(size, {"hash": story.hash, "capacity": plan.limit.rate / 2, **story.settings})
    vpn.give(dealt(IN_TURNS, 1))
    vpn.ask(APART)
    offered = _OFFERED * size * plan.limit.rate
    timeline = record(vpn, story.name, offered, LARGE, story.seconds, plan.every)
    print(f"{story.name}: no loss after {timeline.no_loss_after:.1f} s, {timeline.moves} moves", flush=True)
    return timeline


def rows(result: Result) -> list[Row]:
    """What is published."""
    made = []
    for one in result.throughputs:
        what = f"{one.gateways} {'gateway' if one.gateways == 1 else 'gateways'}, {one.frame} bytes"
        single = next(t.rate for t in result.throughputs if t.gateways == 1 and t.frame == one.frame)
        reference = None if one.gateways == 1 else Reference("1 gateway", single)
        is_judged = one.gateways == SEED_SIZE and one.dealt == IN_TURNS
        target = AtLeast(2.98, of_reference=True) if is_judged else None
        what += "" if one.dealt == IN_TURNS else f", virtual MACs dealt {one.dealt}"
        made.append(Row(f"zero loss, {what}", one.rate, "packets/s", COMMAND, reference, target))
    made += [_outcome(line) for line in result.timelines]
    made += [Row(f"moves, {line.name}", line.moves, "buckets", COMMAND) for line in result.timelines]
    for line in result.timelines:
        last = line.throughput(min(10.0, line.seconds / 2))[-1]
        reference = Reference("offered", line.offered)
        made.append(Row(f"throughput at the end, {line.name}", last[1], "packets/s over time", COMMAND, reference))
    for line in result.timelines:
        total = line.samples[-1].total
        made.append(Row(f"packets twice, {line.name}", total.duplicates, "packets", COMMAND, target=AtMost(0)))
        made.append(Row(f"packets after later ones, {line.name}", total.reordered, "packets", COMMAND))
    for site, count in result.answers.items():
        made.append(Row(f"answers to an ask of each host, {site}", count, "answers", COMMAND, target=AtMost(1)))
    return made


def _outcome(line: Timeline) -> Row:
    what = f"all on one at first, {line.name}"
    target = {RING.name: AtMost(180), BALANCED.name: AtMost(20)}.get(line.name)
    if line.loses_to_the_end and target is None:
        loss = line.throughput(line.seconds / 2)[-1][2]
        return Row(f"{what}: loss to the end", loss * 100, "%", COMMAND)
    reference = Reference("the seed", 180) if line.name == RING.name else None
    return Row(f"{what}: no loss after", line.no_loss_after, "s", COMMAND, reference, target)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="The seed's Fig. 4 and Fig. 5.")
    parser.add_argument("--quick", action="store_true", help="a few seconds of each, printed, not published")
    given = parser.parse_args()
    if lacking := missing_programs(NEEDED):
        raise SystemExit(
            f"{', '.join(lacking)} are not on the PATH; apt-get install wireguard-go wireguard-tools nftables"
        )
    if given.quick:
        for row in rows(measure(QUICK)):
            print(row.what, row.value, row.unit)
        return
    result = measure(FULL)
    publish(__file__, "One gateway address, many gateways", rows(result))
    draw(RESULTS / "gateways_over_time.svg", result.timelines)


if __name__ == "__main__":
    main()
