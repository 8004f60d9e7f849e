"""Frames over veth: what is sent arrives and is counted, what does not arrive is told."""

import subprocess
import uuid
from collections.abc import Iterator

import pytest
from bench import xdp_wire
from bench.harness import Reference
from bench.wire import Passed, Way, connect_bare, make_links, passed
from ptf_tests.run import missing

FRAME = bytes(range(64))


def test_the_engine_is_judged_beside_the_bare_redirect_and_others() -> None:
    rounds = {
        f"{title}, {words}": [Passed(rate, lost, 1000) for rate, lost in ((times, 0), (2 * times, 1), (3 * times, 0))]
        for words, times in (("one core", 1e6), ("both cores", 2e6))
        for title, times in ((xdp_wire.BARE, 2 * times), (xdp_wire.ENGINE, times))
    }
    rows = {row.what: row for row in xdp_wire.rows_of(rounds, {"BMv2": 50_000})}
    one = rows[f"{xdp_wire.ENGINE}, one core"]
    assert (one.value, one.spread, one.ratio, one.met) == (2e6, 1e6, 0.5, True)
    bmv2 = rows[f"{xdp_wire.ENGINE}, both cores, beside BMv2"]
    assert (bmv2.reference, bmv2.ratio, bmv2.met) == (Reference("BMv2", 50_000), 80, False)
    assert rows[f"{xdp_wire.ENGINE}, one core: lost"].value == pytest.approx(1e6 / 3000)


@pytest.fixture
def links() -> Iterator[list[tuple[str, str]]]:
    reason = missing("xdp")
    if reason is not None:
        pytest.skip(reason)
    run = uuid.uuid4().hex[:6]
    pairs = [(f"wire{run}{number}", f"wire{run}{number}far") for number in (1, 2)]
    make_links(pairs)
    try:
        yield pairs
    finally:
        remove_links(pairs)


def remove_links(pairs: list[tuple[str, str]]) -> None:
    for near, _ in pairs:
        subprocess.run(["ip", "link", "delete", near], check=True, capture_output=True)


@pytest.mark.netns
def test_every_frame_that_is_redirected_arrives_as_it_was_sent(links: list[tuple[str, str]]) -> None:
    (near, far), (other_near, other_far) = links
    with connect_bare([(near, other_near)]), Way(far, other_far, FRAME) as way:
        assert way.one() == FRAME
        result = passed([way], 5000)
    assert (result.lost, result.sent) == (0, 5000)
    assert result.rate > 0


@pytest.mark.netns
def test_frames_that_go_elsewhere_are_lost(links: list[tuple[str, str]]) -> None:
    (near, far), (other_near, other_far) = links
    with connect_bare([(other_near, near)]), Way(far, other_far, FRAME) as way:
        assert way.one() == b""
        result = passed([way], 500)
    assert (result.lost, result.rate) == (500, 0)


@pytest.mark.netns
@pytest.mark.server
def test_the_engine_passes_on_what_its_sessions_send() -> None:
    reason = missing("xdp")
    if reason is not None:
        pytest.skip(reason)
    found = xdp_wire.measured_in_namespace(1, 5000)
    assert found is not None
    assert set(found) == {
        f"{title}, {words}" for title in (xdp_wire.BARE, xdp_wire.ENGINE) for words in xdp_wire.CORES.values()
    }
    assert all(one.rate > 0 and one.lost < one.sent / 100 for rounds in found.values() for one in rounds)
