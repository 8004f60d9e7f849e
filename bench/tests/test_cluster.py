"""The cluster's rows are the seed's arithmetic; replayed peers say what real ones would; members find each other."""

from pathlib import Path

import pytest
from bench import cluster
from bench.cluster import Join, Memory
from bench.cluster_load import Account, Replay

from depot.cluster.certificates_shell import issue
from depot.cluster.database import ConnectionDatabase
from depot.cluster.wire import KEEPALIVE, ConnectionRun, encode_join, read_message


def window(seconds: float, messages: int, sent: int = 0, segments: int = 0) -> tuple[Account, Account]:
    """A member before and after."""
    return Account(5.0, 1.0, 7, 0, 11, 3, 0), Account(5.0 + seconds, 2.0, 7 + messages, 0, 11 + sent, 3 + segments, 0)


def test_the_worst_case_is_the_seeds() -> None:
    assert cluster.WORST_CASE == 152_000
    assert pytest.approx(19.456) == cluster.MBITS


def test_what_is_heard_is_judged_by_the_median_of_the_windows() -> None:
    loads = {
        cluster.RATE: [window(2.0, 304_000), window(1.0, 152_100), window(1.0, 100)],
        cluster.HIGH_RATE: [window(2.0, 600_002)] * 3,
        None: [window(1.0, 299_999)] * 3,
    }
    rows = cluster.load_rows(loads)
    assert [(row.value, row.met) for row in rows] == [(152_000, True), (300_001, True), (299_999, False)]
    assert rows[0].spread == 76_000
    assert rows[0].ratio == 1.0


@pytest.mark.parametrize(("factor", "met"), [(1.0, True), (1.04, True), (0.96, True), (1.06, False), (0.94, False)])
def test_what_is_said_is_compared_with_the_seed_in_both_directions(factor: float, met: bool) -> None:
    sent = round(19 * 2000 * 4 * 16 * factor)
    speed, whole, distance = cluster.wire_rows([window(1.0, 0, sent, 1000)] * 3)
    assert speed.value == pytest.approx(cluster.MBITS * factor)
    assert whole.value == pytest.approx(speed.value + 1000 * 52 * 8e-6)
    assert distance.met is met


def test_memory_is_judged_at_the_designs_size_only() -> None:
    rows = cluster.memory_rows([Memory(400_000, 90_000_000, 1), Memory(800_000, 79_000_000, 81_000_000)])
    assert [row.met for row in rows] == [None, None, True, False]
    assert rows[2].reference is not None
    assert rows[2].reference.value == pytest.approx(25.6)


def test_joining_is_judged_with_and_without_tls() -> None:
    rows = cluster.join_rows(Join(30.0, 9.0), Join(40.0, 11.0))
    assert [(row.value, row.met) for row in rows] == [(9.0, True), (30.0, None), (11.0, False), (40.0, None)]


def test_a_replayed_peer_has_as_many_connections_at_any_time() -> None:
    peer = Replay(3, 50)
    join = encode_join("m03")
    assert peer.table.startswith(join)
    assert peer.table.endswith(KEEPALIVE)
    database = ConnectionDatabase()

    def apply(data: bytes) -> None:
        found = read_message(data, 0)
        assert found is not None
        assert isinstance(found[0], ConnectionRun)
        assert found[1] == len(data)
        assert database.apply("m03", found[0], 1.0).unknown == 0

    apply(peer.table[len(join) : -len(KEEPALIVE)])
    for _ in range(2):
        for start in range(0, len(peer.stream), 64):
            assert len(database) == 100
            apply(peer.stream[start : start + 64])


@pytest.mark.server
@pytest.mark.parametrize("with_tls", [False, True])
def test_a_member_joins_real_others(tmp_path: Path, with_tls: bool) -> None:
    if with_tls:
        issue(tmp_path, [f"m{number:02}" for number in range(4)])
    measured = cluster.join(tmp_path if with_tls else None, members=3, connections=20)
    assert 0 < measured.joined < 10
    assert measured.formed > 0


@pytest.mark.server
def test_a_member_hears_and_says_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WARM_UP", 0.2), ("WINDOW", 0.1), ("WINDOWS", 2)):
        monkeypatch.setattr(cluster, name, value)
    with cluster.loaded(200) as (member, peers, before):
        member.tell(("requests", 500))
        measured = cluster.windows(member, peers, 100)
        after = cluster.account(member)
    assert len(measured) == 2
    assert all(cluster.heard(one) > 0 and cluster.said(one) > 0 for one in measured)
    assert after.messages > cluster.PEERS * 200 * 2
    assert after.requests > 0
    assert after.resident > before.resident


@pytest.mark.server
def test_memory_grows_by_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WARM_UP", 0.2)
    measured = cluster.memory(1000)
    assert measured.entries == 40_000
    assert measured.joined > 40_000 * 48
    assert measured.churned > 40_000 * 48
