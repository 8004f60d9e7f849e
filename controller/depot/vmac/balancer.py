"""One gateway's own measurements, and what follows from them and the others' reports."""

from __future__ import annotations

from collections.abc import Mapping

from depot.vmac.balancing import Measured, Plan, balanced, ring
from depot.vmac.membership import Membership
from depot.vmac.moves import Moves
from depot.vmac.settings import Algorithm, Draws, GatewaySettings

__all__ = ["Balancer"]


class Balancer:
    """Decides for one gateway. `load`: as measured last."""

    def __init__(self, settings: GatewaySettings, members: Membership, moves: Moves, draws: Draws, now: float) -> None:
        self._settings = settings
        self._members = members
        self._moves = moves
        self._draws = draws
        self._rates: dict[int, float] = {}
        self._measured_at = now
        self.load = 0.0

    def measured(self, load: float, rates: Mapping[int, float], now: float) -> None:
        """Note our load and packets/s of our buckets."""
        self.load, self._rates, self._measured_at = load, dict(rates), now

    def own_rates(self) -> dict[int, float]:
        """Return packets/s of each bucket that is ours still."""
        return {bucket: rate for bucket, rate in self._rates.items() if self._moves.is_owned(bucket)}

    def rate(self) -> float:
        """Return packets/s of all our buckets."""
        return sum(self.own_rates().values())

    def plan(self, now: float) -> Plan:
        """Return what we are to move, by the algorithm that is set."""
        settings = self._settings
        if settings.algorithm is Algorithm.RING:
            own = self._moves.owned()
            return ring(settings.name, self._gateways(), own, settings.threshold, settings.subset_size, self._draws)
        quiet = self._moves.changed_at + settings.decision_interval
        if settings.algorithm is Algorithm.BALANCED and now >= quiet and self._measured_at >= quiet:
            return balanced(settings.name, self._gateways(), self.own_rates(), settings.threshold)
        return {}

    def _gateways(self) -> dict[str, Measured]:
        found = {
            peer.name: Measured(peer.report.load, peer.report.rate, peer.report.capacity or None)
            for peer in self._members
            if peer.report is not None and self._members.is_active(peer.name)
        }
        found[self._settings.name] = Measured(self.load, self.rate(), self._settings.capacity)
        return found
