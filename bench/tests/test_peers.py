"""The depot is judged against the best of its peers, metric by metric; every candidate balances."""

import os

import pytest
from bench import peers
from bench.candidates import Candidate, Depot, Direct, HaProxy, Measured, Metric, Nftables, NginxStream, measured

from depot.demo.lab import Lab, missing_programs


def rounds(*numbers: float) -> list[Measured]:
    return [Measured(dict.fromkeys(Metric, number), 0, 1000) for number in numbers]


def test_the_depot_is_judged_against_the_best_peer() -> None:
    results = {
        "depot, xdp engine": rounds(30, 10, 20),
        "nginx stream": rounds(18, 19, 100),
        "HAProxy": rounds(25, 25, 25),
        Direct.title: rounds(40, 40, 40),
    }
    rows = {row.what: row for row in peers.rows(results)}
    assert len(rows) == len(results) * len(Metric)
    more = rows[f"depot, xdp engine: {Metric.REQUESTS.value}"]
    assert more.reference is not None
    assert (more.value, more.spread, more.reference.what, more.met) == (20, 10, "HAProxy", False)
    less = rows[f"depot, xdp engine: {Metric.REQUEST_P50.value}"]
    assert less.reference is not None
    assert (less.reference.what, less.reference.value, less.met) == ("nginx stream", 19, False)
    peer = rows[f"HAProxy: {Metric.REQUEST_CPU.value}"]
    assert (peer.ratio, peer.target) == (25 / 40, None)


def test_without_peers_there_is_no_verdict() -> None:
    rows = peers.rows({"depot": rounds(1), Direct.title: rounds(2)})
    assert all(row.met is None for row in rows)
    assert {row.ratio for row in rows if row.what.startswith("depot")} == {0.5}


@pytest.mark.netns
@pytest.mark.system
@pytest.mark.parametrize("kind", [Depot, Nftables, HaProxy, NginxStream, Direct])
def test_a_candidate_serves_and_is_measured(kind: type[Candidate]) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    lacking = missing_programs(peers.NEEDED)
    if reason := (f"{lacking} are not on the PATH" if lacking else kind.missing()):
        pytest.skip(reason)
    with Lab() as lab:
        candidate = Depot(lab, "depot", "auto") if kind is Depot else kind(lab, "candidate")
        candidate.start()
        taken = measured(candidate, 1)
    assert taken.failures <= taken.requests / 100
    assert all(value > 0 for value in taken.values.values())
