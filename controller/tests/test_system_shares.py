"""Sessions of one VIP under round robin: the members' numbers differ by at most one, for any number of sessions."""

from __future__ import annotations

from collections import Counter

import pytest
from controller.tests.system_lab import DSR, NAT, NEEDS, SystemLab, services
from controller.tests.system_lab import every_engine as system

from depot.demo.network import CLIENTS, MEMBERS

__all__ = ["system"]  # the fixture

pytestmark = NEEDS


@pytest.mark.parametrize("sessions", [1, 2, 3, 7, 50, 100])
@pytest.mark.parametrize("vip", [NAT[4], NAT[6], DSR[4], DSR[6]])
def test_shares_differ_by_at_most_one(system: SystemLab, vip: str, sessions: int) -> None:
    counts = Counter(system.probe(sessions, vip))
    shares = [counts[member.name] for member in MEMBERS]
    assert sum(shares) == sessions
    assert max(shares) - min(shares) <= 1


def test_shares_of_two_clients_at_once(system: SystemLab) -> None:
    """Two clients that hold their sessions together: 40 and 33, no multiple of three."""
    counts: Counter[str] = Counter()
    for client, count in zip(CLIENTS, (40, 33), strict=True):
        arguments = {"count": count, "pauses": [0.3], "sizes": [500], "patience": 8}
        answer = system.drive(client.name, "open", address=NAT[4], port=7000, **arguments)
        assert answer["failed"] == []
        counts += Counter(answer["members"])
    for client in CLIENTS:
        assert system.drive(client.name, "finish", seconds=8)["lost"] == []
    shares = [counts[member.name] for member in MEMBERS]
    assert sum(shares) == 73
    assert max(shares) - min(shares) <= 1


def test_shares_follow_weights(system: SystemLab) -> None:
    """Weights 3, 2, 1: of sixty sessions thirty, twenty, ten."""
    weights = {"member1": 3, "member2": 2, "member3": 1}
    system.reload(services(weights=weights, scheduler="weighted-round-robin"))
    counts = Counter(system.probe(60))
    system.reload(services())
    assert counts == {"member1": 30, "member2": 20, "member3": 10}
