"""The gateways behind one switch that hands them their hosts' frames: one map, one owner of it. Sans-IO.

The same shares and the same algorithms as among gateways that dispatch themselves; but here a move is one table write,
so nobody has to agree with anybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from depot.vmac.balancing import Measured, Plan, balanced, capacities, ring
from depot.vmac.claims import fill, spread
from depot.vmac.settings import Algorithm, Draws, VmacError

__all__ = ["Dispatcher", "Move"]

KEPT = 20
"""Moves remembered."""


@dataclass(frozen=True, slots=True)
class Move:
    """Buckets that changed hands at once."""

    at: float
    """When."""
    buckets: tuple[int, ...]
    """Which."""
    source: str | None
    """Whose they were; None: nobody's."""
    to: str
    """Whose they are."""
    why: str
    """What made them move, for people."""


class Dispatcher:
    """Who of `capacities` has which of `count` buckets. capacities: packets a second by name, None: unknown."""

    def __init__(
        self,
        count: int,
        capacities: Mapping[str, float | None],
        algorithm: Algorithm,
        threshold: float,
        subset_size: int,
        draws: Draws,
    ) -> None:
        self._capacities = dict(capacities)
        self._algorithm, self._threshold, self._subset_size, self._draws = algorithm, threshold, subset_size, draws
        self._owners: list[str | None] = [None] * count
        self._alive: set[str] = set()
        self.moves: deque[Move] = deque(maxlen=KEPT)
        """The latest, the newest first."""
        self.rates: dict[int, float] = {}
        """Packets a second by bucket, as last measured."""

    @property
    def owners(self) -> list[str | None]:
        """Who has each bucket; None: nobody lives who could."""
        return list(self._owners)

    @property
    def alive(self) -> frozenset[str]:
        """Who lives."""
        return frozenset(self._alive)

    def owned_by(self, name: str) -> list[int]:
        """Return the buckets that a gateway has."""
        return [bucket for bucket, owner in enumerate(self._owners) if owner == name]

    def load(self, name: str) -> float | None:
        """Return what a gateway has to do against what it can; None: nobody knows what it can."""
        capacity = self._capacities[name]
        return None if capacity is None else self._rate(name) / capacity

    def adopt(self, owners: Mapping[int, str]) -> None:
        """Take what the switch does already. Before anything else."""
        for bucket, name in owners.items():
            if name in self._capacities:
                self._owners[bucket] = name
                self._alive.add(name)  # until its silence says otherwise

    def set_alive(self, name: str, alive: bool, now: float) -> None:
        """A gateway is heard, or is silent for too long: buckets go where they are served, as few as will do."""
        if alive == (name in self._alive):
            return
        if alive:
            self._alive.add(name)
            self._assign_orphans(now)
            owned = {one: self.owned_by(one) for one in sorted(self._alive)}
            self._carry_out(fill(owned, [name]), f"{name} has come", now)
        else:
            self._alive.discard(name)
            self._assign_orphans(now)

    def _assign_orphans(self, now: float) -> None:
        orphans = [bucket for bucket, owner in enumerate(self._owners) if owner not in self._alive]
        if orphans and self._alive:
            counts = {one: len(self.owned_by(one)) for one in sorted(self._alive)}
            self._carry_out(spread(orphans, counts), "nobody served them", now)

    def measured(self, rates: Mapping[int, float]) -> None:
        """Take what each bucket brings, packets a second."""
        self.rates = dict(rates)

    def decide(self, now: float) -> None:
        """Move what the algorithm says (seed 004, Algorithm 5, step 3)."""
        names = sorted(self._alive)
        if len(names) < 2 or self._algorithm is Algorithm.NONE:
            return
        measured = self._measured(names)
        plan: Plan = {}
        for name in names:
            own = self.owned_by(name)
            if self._algorithm is Algorithm.RING:
                plan |= ring(name, measured, own, self._threshold, self._subset_size, self._draws)
            else:
                plan |= balanced(name, measured, {one: self.rates.get(one, 0.0) for one in own}, self._threshold)
        self._carry_out(plan, "load", now)

    def _measured(self, names: Iterable[str]) -> dict[str, Measured]:
        """Return what each has to do against what it can, or, if nobody knows that, against what the busiest does."""
        found = {name: Measured(0.0, self._rate(name), self._capacities[name]) for name in names}
        able = capacities(found)
        return {name: replace(one, load=one.rate / able[name]) for name, one in found.items()}

    def move(self, buckets: Iterable[int], to: str, now: float) -> None:
        """Do as the operator says. Raises VmacError, and then nothing has changed."""
        wanted = list(buckets)
        if to not in self._capacities:
            raise VmacError(f"there is no gateway {to}; there are {', '.join(sorted(self._capacities))}")
        if to not in self._alive:
            raise VmacError(f"gateway {to} does not answer")
        for bucket in wanted:
            if not 0 <= bucket < len(self._owners):
                raise VmacError(f"there is no bucket {bucket}; they are 0 to {len(self._owners) - 1}")
        self._carry_out(dict.fromkeys(wanted, to), "the operator's order", now)

    def _rate(self, name: str) -> float:
        return sum(self.rates.get(bucket, 0.0) for bucket in self.owned_by(name))

    def _carry_out(self, plan: Mapping[int, str], why: str, now: float) -> None:
        together: dict[tuple[str | None, str], list[int]] = {}
        for bucket, to in plan.items():
            if self._owners[bucket] != to:
                together.setdefault((self._owners[bucket], to), []).append(bucket)
                self._owners[bucket] = to
        for (source, to), buckets in together.items():
            self.moves.appendleft(Move(now, tuple(sorted(buckets)), source, to, why))
