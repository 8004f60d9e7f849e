"""The benchmark of gateways: hosts that count rightly, trials that find the rate, some seconds of the real thing."""

import os
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from bench import gateways
from bench.gateway_sites.hosts import FIRST, HOSTS, Hosts, Series
from bench.gateway_sites.load_program import received
from bench.gateway_sites.pictures import draw
from bench.gateway_sites.places import SITES
from bench.gateway_sites.throughput import LossError, zero_loss
from bench.gateway_sites.timeline import Sample, Timeline
from bench.gateway_sites.vpn import NEEDED, Trial

from depot.demo.lab import missing_programs
from depot.vmac.hashing import BucketHash, VirtualMacs

CONSECUTIVE, APART = Series(gateways.CONSECUTIVE), Series(gateways.APART)
LEFT, RIGHT = SITES["left"], SITES["right"]


def sides(series: Series = CONSECUTIVE) -> tuple[Hosts, Hosts]:
    """Both sites' hosts, who know their gateways."""
    both = Hosts(LEFT, RIGHT, series), Hosts(RIGHT, LEFT, series)
    for hosts in both:
        for ask in list(hosts.asks()):
            hosts.receive(answer(ask))
        hosts.begin(1, gateways.SMALL)
    return both


def answer(ask: bytes) -> bytes:
    """What a gateway says to a host's ask."""
    mac, target = virtual_mac(ask[6:12]), ask[38:42]
    return ask[6:12] + mac + ask[12:20] + b"\0\2" + mac + target + ask[22:32]


def virtual_mac(host: bytes) -> bytes:
    return b"\x02\x88\x88\x88\x88" + host[5:]


def carried(packet: bytes, series: Series = CONSECUTIVE) -> bytes:
    """A packet of the left site as the right site's gateway sends it on."""
    host = series.mac(RIGHT.number, packet[33])
    return host + virtual_mac(host) + packet[12:]


def test_hosts_have_the_seeds_addresses() -> None:
    assert CONSECUTIVE.mac(LEFT.number, FIRST).hex(":") == "00:00:03:00:00:18"
    assert CONSECUTIVE.mac(RIGHT.number, FIRST + HOSTS - 1).hex(":") == "00:00:04:00:00:f7"
    assert APART.mac(LEFT.number, FIRST).hex(":") == "00:00:03:00:18:00"
    assert APART.mac(RIGHT.number, FIRST + HOSTS - 1).hex(":") == "00:00:04:00:f7:00"
    assert (str(LEFT.address(FIRST)), str(RIGHT.address(FIRST + HOSTS - 1))) == ("192.168.203.24", "192.168.204.247")


def test_what_arrives_is_counted_once() -> None:
    left, right = sides()
    packets = [left.packet(number) for number in range(4 * HOSTS)]
    first, second, third, fourth = (packets[turn * HOSTS] for turn in range(4))
    for packet in (first, third, third, second):
        right.receive(carried(packet))
    assert (right.counts.received, right.counts.duplicates, right.counts.reordered) == (3, 1, 1)
    assert right.counts.missing == 0
    right.receive(carried(packets[HOSTS + 1]))
    assert right.counts.missing == 1, "the first packet of the second host"
    assert (left.counts.sent, right.counts.foreign) == (4 * HOSTS, 0)
    right.receive(fourth)
    assert right.counts.received == 4, "not addressed to the host"


def test_all_hosts_take_turns_and_no_gateways_hosts_send_in_a_row() -> None:
    left, _ = sides()
    hosts = [left.packet(number)[33] for number in range(2 * HOSTS)]
    assert sorted(hosts[:HOSTS]) == list(range(FIRST, FIRST + HOSTS))
    assert hosts[HOSTS:] == hosts[:HOSTS]
    owners = gateways.dealt(gateways.THIRDS, 3)
    row = max(len(list(group)) for _, group in groupby(owners[host] for host in hosts))
    assert row <= 2


@pytest.mark.parametrize(("source", "foreign"), [("02:88:88:88:88:ff", 1), ("02:de:03:00:00:01", 0)])
def test_a_virtual_mac_of_others_is_noticed_a_gateways_own_mac_is_none(source: str, foreign: int) -> None:
    left, right = sides()
    packet = carried(left.packet(0))
    right.receive(packet[:6] + bytes.fromhex(source.replace(":", "")) + packet[12:])
    assert (right.counts.received, right.counts.foreign) == (1, foreign)


def test_packets_of_an_earlier_run_do_not_count() -> None:
    left, right = sides()
    late = carried(left.packet(0))
    right.begin(2, gateways.SMALL)
    right.receive(late)
    assert right.counts.received == 0


@pytest.mark.parametrize("size", [gateways.SMALL, gateways.LARGE])
def test_a_packet_is_as_long_as_asked_and_its_header_is_right(size: int) -> None:
    left, _ = sides()
    left.begin(1, size)
    frame = left.packet(0)
    assert len(frame) == size - 4
    words = struct.unpack("!10H", frame[14:34])
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert words[1] == len(frame) - 14


def test_hosts_answer_who_asks_for_them() -> None:
    left, _ = sides()
    ask = next(iter(Hosts(LEFT, RIGHT, APART).asks()))
    mine, theirs = LEFT.address(FIRST).packed, LEFT.address(11).packed
    asked = ask[:28] + theirs + ask[32:38] + mine
    found = left.receive(asked)
    assert found is not None
    assert (found[:6], found[22:28], found[28:32]) == (ask[6:12], CONSECUTIVE.mac(LEFT.number, FIRST), mine)
    assert left.receive(ask[:38] + LEFT.address(11).packed) is None


def test_the_load_is_what_comes_by_both_interfaces() -> None:
    listed = (
        "head | of\n  inner: 640 10 0 0 0 0 0 0 900 15 0 0 0 0 0 0\nwg0:99 7 0 0 0 0 0 0 1 2 0 0 0 0 0 0\n lo: 5 3\n"
    )
    assert received(listed, ["inner", "wg0"]) == 17


@pytest.mark.parametrize("limit", [350.0, 1000.0, 1180.0, 2500.0])
def test_trials_find_the_rate_wherever_it_is(limit: float) -> None:
    assert zero_loss(lambda rate: rate <= limit, 1000.0, 0.001) == pytest.approx(limit, rel=0.0011)


def test_one_disturbed_trial_does_not_lower_the_rate() -> None:
    trials = []

    def passes(rate: float) -> bool:
        trials.append(rate)
        return len(trials) != 1 and rate <= 1000.0

    assert zero_loss(passes, 1000.0, 0.001) == pytest.approx(1000.0, rel=0.0011)


def test_loss_at_every_rate_is_said() -> None:
    with pytest.raises(LossError, match="are lost at"):
        zero_loss(lambda _: False, 1000.0, 0.001)


def shares(owners: Sequence[str], method: BucketHash, series: Series) -> list[int]:
    """How many hosts of the left site each gateway has."""
    macs = VirtualMacs(0x028888888800, gateways.BUCKETS, method)
    buckets = [macs.bucket(int.from_bytes(series.mac(LEFT.number, FIRST + host), "big")) for host in range(HOSTS)]
    return sorted(Counter(owners[bucket] for bucket in buckets).values())


def test_the_seeds_ratio_needs_buckets_dealt_in_turns() -> None:
    in_turns, thirds = gateways.dealt(gateways.IN_TURNS, 3), gateways.dealt(gateways.THIRDS, 3)
    assert shares(in_turns, BucketHash.MOD, CONSECUTIVE) == [74, 75, 75]
    assert shares(thirds, BucketHash.MOD, CONSECUTIVE) == [62, 77, 85]


def test_the_seeds_second_series_is_one_virtual_mac_under_its_hash() -> None:
    each = [str(bucket) for bucket in range(gateways.BUCKETS)]
    assert shares(each, BucketHash.MOD, APART) == [HOSTS]
    assert shares(each, BucketHash.CRC, APART) == [1] * HOSTS


def timeline(losses: Sequence[int], name: str = gateways.RING.name) -> Timeline:
    """A sample a second, 1000 packets each, of which some do not come; a bucket moves each second."""
    samples, lost = [], 0
    for second, loss in enumerate([0, *losses]):
        lost += loss
        total = Trial(second * 1000, second * 1000 - lost, 0, 0, 0)
        owners = tuple("g2" if bucket < second else "g1" for bucket in range(8))
        samples.append(Sample(float(second), total, lost, (1.0, 0.5), owners))
    return Timeline(name, 1000.0, tuple(samples))


def test_loss_and_moves_of_a_run() -> None:
    line = timeline([500, 0, 100, 0, 0, 0])
    assert (line.no_loss_after, line.moves, line.seconds) == (3.0, 6, 6.0)
    assert line.throughput(2.0) == [(0.0, 750.0, 0.25), (2.0, 950.0, 0.05), (4.0, 1000.0, 0.0)]
    assert timeline([0, 0]).no_loss_after == 0.0
    assert timeline([1, 1]).no_loss_after == timeline([1, 1]).seconds


def test_rows_are_judged_by_the_seeds_numbers() -> None:
    kinds = [(1, gateways.IN_TURNS, 1000.0), (3, gateways.IN_TURNS, 2985.0), (3, gateways.THIRDS, 2635.0)]
    throughputs = tuple(gateways.Throughput(size, how, gateways.SMALL, rate) for size, how, rate in kinds)
    lines = timeline([1, 0]), timeline([1] * 21 + [0], gateways.BALANCED.name)
    made = {row.what: row for row in gateways.rows(gateways.Result(throughputs, lines, {"left": 1.0}))}
    assert made["zero loss, 3 gateways, 64 bytes"].met is True
    assert made["zero loss, 3 gateways, 64 bytes, virtual MACs dealt in thirds"].met is None
    assert made[f"all on one at first, {gateways.RING.name}: no loss after"].met is True
    assert made[f"all on one at first, {gateways.BALANCED.name}: no loss after"].met is False


def test_the_picture_shows_every_run(tmp_path: Path) -> None:
    draw(tmp_path / "over_time.svg", [timeline([500] * 30), timeline([0] * 30, gateways.BALANCED.name)])
    drawn = (tmp_path / "over_time.svg").read_text()
    assert gateways.RING.name in drawn
    assert gateways.BALANCED.name in drawn
    assert "load of gateway 2" in drawn
    assert (tmp_path / "series" / "over_time.json").exists()


@pytest.mark.netns
@pytest.mark.system
@pytest.mark.slow
def test_gateways_share_the_work_and_take_it_from_one_that_has_too_much() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if lacking := missing_programs(NEEDED):
        pytest.skip(f"{lacking} are not on the PATH")
    result = gateways.measure(replace(gateways.QUICK, precision=0.2))
    assert all(one.rate > 0 for one in result.throughputs)
    assert result.answers == {"left": 1.0, "right": 1.0}
    (line,) = result.timelines
    last = line.samples[-1]
    assert line.moves > 0
    assert set(last.owners) == {"g1", "g2"}
    assert (last.total.duplicates, last.total.foreign) == (0, 0)
    assert last.total.received > 0
