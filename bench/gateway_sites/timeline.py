"""What happens to traffic and load while buckets move: samples, and what follows from them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

from bench.gateway_sites.gateways import Gateway
from bench.gateway_sites.vpn import Trial, Vpn

__all__ = ["Sample", "Timeline", "record"]

_SITE = "left"
"""Whose gateways are shown, as in the seed's Fig. 5."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    at: float
    """Seconds since the load began."""
    total: Trial
    """Since the load began."""
    missing: int
    """Packets that did not come though later ones of their flow did, since the load began."""
    loads: tuple[float, ...]
    """Of each gateway: packets forwarded and refused since the sample before, against its limit; at most 1."""
    owners: tuple[str | None, ...]
    """Of each bucket."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples of a run, and the load that was offered."""

    name: str
    offered: float
    """Packets a second of both directions together."""
    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.samples[-1].at

    @property
    def no_loss_after(self) -> float:
        """Seconds after which nothing was lost to the end; `seconds` if packets were lost to the end."""
        losing = [later.at for earlier, later in pairwise(self.samples) if later.missing > earlier.missing]
        return losing[-1] if losing else 0.0

    @property
    def moves(self) -> int:
        """Buckets that changed hands at the site whose gateways are shown."""
        return sum(
            owner != before
            for earlier, later in pairwise(self.samples)
            for before, owner in zip(earlier.owners, later.owners, strict=True)
        )

    @property
    def loses_to_the_end(self) -> bool:
        """Whether packets were lost in the last sample."""
        return self.no_loss_after >= self.seconds

    def throughput(self, every: float) -> list[tuple[float, float, float]]:
        """Packets a second that came, and the fraction that was lost, in intervals: (begin, packets/s, loss)."""
        found, begin = [], self.samples[0]
        step = self.seconds / max(1, len(self.samples) - 1)
        for sample in self.samples[1:]:
            if sample.at - begin.at < every - step / 2:
                continue
            sent, came = sample.total.sent - begin.total.sent, sample.total.received - begin.total.received
            lost = sample.missing - begin.missing
            found.append((begin.at, came / (sample.at - begin.at), max(0.0, lost / sent) if sent else 0.0))
            begin = sample
        return found

    def loads(self) -> list[tuple[float, tuple[float, ...]]]:
        """The load of each gateway, by time."""
        return [(sample.at, sample.loads) for sample in self.samples[1:]]

    def as_json(self, every: float) -> dict[str, object]:
        """What the picture shows, as numbers."""
        return {
            "name": self.name,
            "offered": self.offered,
            "no_loss_after": self.no_loss_after,
            "moves": self.moves,
            "throughput": [[round(at, 1), round(rate), round(loss, 4)] for at, rate, loss in self.throughput(every)],
            "loads": [[round(at, 1), *(round(load, 3) for load in loads)] for at, loads in self.loads()],
        }


def record(vpn: Vpn, name: str, offered: float, size: int, seconds: float, every: float) -> Timeline:
    """Load the sites for so long, a sample each `every` seconds. Frames of `size` bytes."""
    gateways = vpn.gateways[_SITE]
    vpn.start_load(offered, size)
    begun = time.monotonic()
    samples: list[Sample] = []
    used = [_used(gateway) for gateway in gateways]
    while time.monotonic() - begun < seconds:
        if samples:
            time.sleep(max(0.0, begun + len(samples) * every - time.monotonic()))
        total, missing = vpn.count()
        owners = tuple(vpn.owners(_SITE))
        now, before = time.monotonic() - begun, used
        used = [_used(gateway) for gateway in gateways]
        loads = [
            min(1.0, (later - earlier) / (then - last) / gateway.limit.rate)
            for gateway, (last, earlier), (then, later) in zip(gateways, before, used, strict=True)
        ]
        samples.append(Sample(now, total, missing, tuple(loads), owners))
    vpn.stop_load()
    return Timeline(name, offered, tuple(samples))


def _used(gateway: Gateway) -> tuple[float, int]:
    """When, and how many packets it was to forward until then."""
    return time.monotonic(), gateway.used()
