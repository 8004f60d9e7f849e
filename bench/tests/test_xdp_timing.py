"""What is timed on the XDP engine is what the rows say, and nothing is timed that does not happen."""

import pytest
from bench import xdp
from bench.harness import Reference
from bench.rewinding import Frames, Load, Timing

from softswitch.engine.xdp.availability import why_not

LOAD = Load(repeat=2000, rounds=1, warm_up=100)


def timings(net: float) -> dict[str, Timing]:
    return {way.what: Timing(net + 30, 30, 1) for way in xdp.WAYS}


def measured() -> xdp.Measured:
    fresh = {"TCP SYN": Timing(230, 30, 1), "UDP": Timing(330, 30, 1)}
    return xdp.Measured(timings(100), timings(130), timings(150), fresh, fresh)


def test_rows_judge_by_the_limits_of_each_way() -> None:
    rows = {row.what: row for row in xdp.rows_of(4, measured())}
    assert rows["IPv4, established, NAT, 1 flow"].met is True
    assert rows["IPv4, established, NAT, 1 flow"].reference == Reference("bare XDP_TX and putting the frame back", 30)
    crowded = rows["IPv4, established, NAT, 1 flow, 1 million known"]
    assert (crowded.ratio, crowded.met) == (1.3, False)
    assert rows["IPv4, established, DSR, 1 million flows"].ratio == 1.5
    assert (rows["IPv4, new, TCP SYN"].met, rows["IPv4, new, UDP"].met) == (True, False)


def test_katran_is_the_reference_of_the_same_job() -> None:
    theirs = {"1 flow": Timing(110, 30, 1), "1 million flows": Timing(430, 30, 1), "new flow": Timing(600, 30, 1)}
    one, many, new = xdp.beside_katran(measured(), theirs)
    assert (one.ratio, one.met) == (100 / 80, False)
    assert (many.ratio, many.met) == (150 / 400, True)
    assert new.target is None
    assert xdp.beside_katran(measured(), {}) == []


@pytest.fixture
def balancer() -> xdp.Balancer:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no XDP engine: {reason}")
    return xdp.Balancer(4)


@pytest.mark.netns
def test_established_packets_are_timed_on_every_way(balancer: xdp.Balancer) -> None:
    with balancer:
        balancer.know(Frames(balancer.use("nat").request(payload=xdp.PAYLOAD), 64))
        found = xdp.established(balancer, 64, LOAD)
        assert balancer.kernel.statistics()["packets_out"] >= len(xdp.WAYS) * LOAD.repeat
    assert set(found) == {way.what for way in xdp.WAYS}
    assert all(timing.total > timing.rewinding for timing in found.values())


@pytest.mark.netns
def test_packets_of_unknown_sessions_are_not_timed_as_established(balancer: xdp.Balancer) -> None:
    with balancer, pytest.raises(SystemExit, match="drops"):
        xdp.established(balancer, 64, LOAD)


@pytest.mark.netns
def test_every_new_session_brings_a_digest(balancer: xdp.Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xdp, "CONTENTION", 0.0)
    with balancer:
        assert set(xdp.new(balancer, xdp.new_clients(), LOAD)) == {"TCP SYN", "UDP"}


@pytest.mark.netns
def test_sessions_that_are_not_new_are_not_timed_as_new(
    balancer: xdp.Balancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xdp, "CONTENTION", 0.0)
    monkeypatch.setattr(xdp, "PATIENCE", 0.2)
    monkeypatch.setattr(xdp, "NEW_FLOWS", 1024)
    with balancer, pytest.raises(SystemExit, match="not every one was of a new session"):
        xdp.new(balancer, xdp.new_clients(), LOAD)
