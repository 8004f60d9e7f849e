"""Schedulers: fair, stable, and what each promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.config import CostConfig, SchedulerKind
from depot.switching.cost import LoadReport, ReportError, costs, parse_report
from depot.switching.maglev import MAGLEV_SLOTS, maglev_schedule
from depot.switching.schedule import MAX_SLOTS, Candidate, make_schedule
from depot.switching.slots import apportion, rearrange, spread

KINDS = list(SchedulerKind)
names = st.text("abcdefgh0123456789", min_size=1, max_size=6)


def candidates(most: int = 12, weights: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[list[Candidate]]:
    one = st.builds(
        Candidate,
        names,
        st.integers(0, 256) if weights is None else weights,
        st.integers(0, 5000),
        st.sampled_from([0.01, 0.125, 0.3, 0.5, 0.99, 1.0]),
        st.none() | st.builds(LoadReport, cpu_load=st.floats(0, 1), cache_size=st.floats(0, 1e12)),
    )
    return st.lists(one, max_size=most, unique_by=lambda candidate: candidate.name)


def members(**weights: int) -> list[Candidate]:
    return [Candidate(name, weight) for name, weight in weights.items()]


def changed(before: Sequence[str], after: Sequence[str]) -> int:
    """Slots that differ, those that only one has among them."""
    both = min(len(before), len(after))
    return sum(before[i] != after[i] for i in range(both)) + max(len(before), len(after)) - both


@given(st.sampled_from(KINDS), candidates(), candidates())
def test_only_members_with_a_weight_are_scheduled_whatever_was_before(
    kind: SchedulerKind, before: list[Candidate], now: list[Candidate]
) -> None:
    previous = make_schedule(kind, before)
    slots = make_schedule(kind, now, previous)
    serving = {candidate.name for candidate in now if candidate.weight}
    assert set(slots) <= serving
    assert bool(slots) == bool(serving)
    assert len(slots) <= MAX_SLOTS
    if kind is not SchedulerKind.LEAST_CONNECTIONS:
        assert set(slots) == serving


@given(st.sampled_from(KINDS), candidates(), st.randoms())
def test_the_same_input_gives_the_same_slots_in_any_order(
    kind: SchedulerKind, now: list[Candidate], random: object
) -> None:
    slots = make_schedule(kind, now)
    assert make_schedule(kind, now, slots) == slots
    assert make_schedule(kind, list(reversed(now))) == slots


@pytest.mark.parametrize("kind", KINDS)
def test_misuse_is_refused(kind: SchedulerKind) -> None:
    with pytest.raises(ValueError, match="same name"):
        make_schedule(kind, [Candidate("a"), Candidate("a")])
    with pytest.raises(ValueError, match="do not fit"):
        make_schedule(kind, [Candidate(str(number)) for number in range(MAX_SLOTS + 1)])


class TestRoundRobin:
    @given(st.integers(1, 40), st.integers(0, 200), st.data())
    def test_members_differ_by_at_most_one_at_any_time(self, count: int, sessions: int, data: st.DataObject) -> None:
        slots = make_schedule(SchedulerKind.ROUND_ROBIN, [Candidate(f"m{n}", 7) for n in range(count)])
        start = data.draw(st.integers(0, len(slots) - 1))
        served = Counter(islice(cycle(slots), start, start + sessions))
        shares = [served[f"m{n}"] for n in range(count)]
        assert max(shares) - min(shares) <= 1

    def test_a_death_rewrites_one_slot_and_a_return_one(self) -> None:
        all_five = make_schedule(SchedulerKind.ROUND_ROBIN, members(a=1, b=1, c=1, d=1, e=1))
        without_b = make_schedule(SchedulerKind.ROUND_ROBIN, members(a=1, c=1, d=1, e=1), all_five)
        assert without_b == ("a", "e", "c", "d")
        again = make_schedule(SchedulerKind.ROUND_ROBIN, members(a=1, b=1, c=1, d=1, e=1), without_b)
        assert again == ("a", "e", "c", "d", "b")

    def test_a_slow_start_grows_in_steps_to_an_equal_share(self) -> None:
        shares = []
        for ramp in (0.01, 0.25, 0.5, 0.75, 1.0):
            slots = make_schedule(
                SchedulerKind.ROUND_ROBIN, [Candidate("a"), Candidate("b"), Candidate("c", ramp=ramp)]
            )
            shares.append(slots.count("c") / len(slots))
        assert shares == [1 / 17, 2 / 18, 4 / 20, 6 / 22, 1 / 3]


class TestWeightedRoundRobin:
    def test_it_is_smooth(self) -> None:
        assert make_schedule(SchedulerKind.WEIGHTED_ROUND_ROBIN, members(a=5, b=1, c=1)) == tuple("aaabcaa")
        assert make_schedule(SchedulerKind.WEIGHTED_ROUND_ROBIN, members(a=2, b=1)) == tuple("aba")

    def test_weights_are_reduced(self) -> None:
        assert make_schedule(SchedulerKind.WEIGHTED_ROUND_ROBIN, members(a=200, b=100)) == tuple("aba")
        assert make_schedule(SchedulerKind.WEIGHTED_ROUND_ROBIN, members(a=50, b=50)) == tuple("ab")

    @given(st.lists(st.integers(1, 256), min_size=1, max_size=8), st.data())
    def test_any_stretch_holds_each_by_its_share(self, weights: list[int], data: st.DataObject) -> None:
        group = [Candidate(f"m{n}", weight) for n, weight in enumerate(weights)]
        slots = make_schedule(SchedulerKind.WEIGHTED_ROUND_ROBIN, group)
        start = data.draw(st.integers(0, len(slots) - 1))
        length = data.draw(st.integers(0, 2 * len(slots)))
        served = Counter(islice(cycle(slots), start, start + length))
        whole = Counter(slots)
        for candidate in group:
            fair = length * whole[candidate.name] / len(slots)
            assert abs(served[candidate.name] - fair) < 2

    def test_too_many_slots_are_scaled_down_and_nobody_is_lost(self) -> None:
        group = [Candidate(f"m{n}", 256 - n) for n in range(20)] + [Candidate("small", 1)]
        slots = Counter(make_schedule(SchedulerKind.WEIGHTED_ROUND_ROBIN, group))
        assert slots.total() == MAX_SLOTS
        assert slots["small"] == 1
        assert slots["m0"] == pytest.approx(MAX_SLOTS * 256 / sum(256 - n for n in range(20)), rel=0.05)


class TestLeastConnections:
    def schedule(self, previous: Sequence[str] = (), **sessions: int) -> tuple[str, ...]:
        group = [Candidate(name, 1, count) for name, count in sessions.items()]
        return make_schedule(SchedulerKind.LEAST_CONNECTIONS, group, previous)

    def test_equal_members_take_turns(self) -> None:
        assert self.schedule(a=7, b=7)[:4] == ("a", "b", "a", "b")

    def test_who_has_few_gets_more(self) -> None:
        shares = Counter(self.schedule(a=10, b=20, c=30))
        assert shares["a"] > shares["b"] > shares["c"] > 0

    def test_who_has_far_too_many_gets_none(self) -> None:
        assert set(self.schedule(a=0, b=500)) == {"a"}

    def test_weights_count(self) -> None:
        group = [Candidate("a", 3, 30), Candidate("b", 1, 10)]
        assert Counter(make_schedule(SchedulerKind.LEAST_CONNECTIONS, group)) == {"a": 24, "b": 8}

    def test_small_differences_write_nothing(self) -> None:
        before = self.schedule(a=100, b=100, c=100)
        assert self.schedule(before, a=102, b=100, c=101) == before
        busy = self.schedule(a=10000, b=10000)
        assert self.schedule(busy, a=10100, b=10000) == busy

    def test_larger_ones_write_few_slots(self) -> None:
        before = self.schedule(a=100, b=100, c=100)
        after = self.schedule(before, a=110, b=100, c=100)
        moved = Counter(before)["a"] - Counter(after)["a"]
        assert 0 < moved == changed(before, after) < len(before) / 4

    def test_a_death_is_followed_at_once(self) -> None:
        before = self.schedule(a=5, b=5, c=5)
        assert set(self.schedule(before, a=5, c=5)) == {"a", "c"}

    @given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 60)), min_size=2, max_size=6))
    def test_sessions_per_weight_become_level(self, group: list[tuple[int, int]]) -> None:
        weights = {f"m{n}": weight for n, (weight, _) in enumerate(group)}
        sessions = {f"m{n}": count for n, (_, count) in enumerate(group)}
        slots: tuple[str, ...] = ()
        cursor = 0
        for _ in range(400):
            slots = make_schedule(
                SchedulerKind.LEAST_CONNECTIONS, [Candidate(n, weights[n], sessions[n]) for n in weights], slots
            )
            for _ in range(5):
                sessions[slots[cursor % len(slots)]] += 1
                cursor += 1
        fair = sum(sessions.values()) / sum(weights.values())
        for name, weight in weights.items():
            assert sessions[name] == pytest.approx(fair * weight, rel=0.15, abs=10)


class TestMaglev:
    def test_it_fills_a_prime_number_of_slots(self) -> None:
        assert len(maglev_schedule({"a": 1, "b": 1})) == MAGLEV_SLOTS <= MAX_SLOTS
        assert all(MAGLEV_SLOTS % divisor for divisor in range(2, 32))

    @given(st.sets(names, min_size=1, max_size=16))
    def test_equal_weights_give_equal_shares(self, group: set[str]) -> None:
        shares = Counter(maglev_schedule(dict.fromkeys(group, 3)))
        assert max(shares.values()) - min(shares.values()) <= 1

    def test_nobody_and_too_many(self) -> None:
        assert maglev_schedule({}) == ()
        with pytest.raises(ValueError, match="do not fit"):
            maglev_schedule({str(number): 1 for number in range(MAGLEV_SLOTS + 1)})

    def test_shares_follow_weights(self) -> None:
        shares = Counter(maglev_schedule({"a": 1, "b": 2, "c": 5}))
        assert shares["a"] == pytest.approx(MAGLEV_SLOTS / 8, abs=2)
        assert shares["c"] == pytest.approx(MAGLEV_SLOTS * 5 / 8, abs=2)

    @given(st.sets(names, min_size=2, max_size=20), st.data())
    def test_a_member_that_leaves_or_comes_disturbs_few_others(self, group: set[str], data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(group)))
        before = maglev_schedule(dict.fromkeys(group, 1))
        after = maglev_schedule(dict.fromkeys(group - {gone}, 1))
        others = [slot for slot, name in enumerate(before) if name != gone]
        assert sum(before[slot] != after[slot] for slot in others) <= 0.25 * len(others)

    def test_on_average_it_disturbs_very_few(self) -> None:
        group = {f"proxy{n}": 1 for n in range(20)}
        before = maglev_schedule(group)
        disturbed = 0
        for gone in group:
            after = maglev_schedule({name: 1 for name in group if name != gone})
            disturbed += sum(b not in (gone, a) for a, b in zip(after, before, strict=True))
        assert disturbed / len(group) / MAGLEV_SLOTS < 0.06

    def test_it_does_not_depend_on_what_was_before(self) -> None:
        group = members(a=1, b=1, c=1)
        slots = make_schedule(SchedulerKind.MAGLEV, group)
        assert make_schedule(SchedulerKind.MAGLEV, group, ("a",) * 1021) == slots


class TestCost:
    def shares(self, coefficients: CostConfig, **reports: LoadReport | None) -> Counter[str]:
        group = [Candidate(name, report=report) for name, report in reports.items()]
        return Counter(make_schedule(SchedulerKind.COST, group, (), coefficients))

    @pytest.mark.parametrize("metric", ["response_time", "cpu_load", "active_requests", "pending_requests"])
    def test_of_these_less_is_better(self, metric: str) -> None:
        coefficients = CostConfig(**{"response_time": 0, "active_requests": 0, metric: 1})
        shares = self.shares(coefficients, a=LoadReport(**{metric: 100.0}), b=LoadReport(**{metric: 200.0}))
        assert shares["a"] / shares["b"] == pytest.approx(2, rel=0.1)

    @pytest.mark.parametrize("metric", ["cache_size", "disk_bandwidth"])
    def test_of_these_more_is_better(self, metric: str) -> None:
        coefficients = CostConfig(**{"response_time": 0, "active_requests": 0, metric: 1})
        shares = self.shares(coefficients, a=LoadReport(**{metric: 2e9}), b=LoadReport(**{metric: 1e9}))
        assert shares["a"] / shares["b"] == pytest.approx(2, rel=0.1)

    def test_coefficients_weigh_metrics(self) -> None:
        reports = {"a": LoadReport(cpu_load=0.9, response_time=0.01), "b": LoadReport(cpu_load=0.09, response_time=0.1)}
        by_cpu = costs(reports, CostConfig(cpu_load=9, response_time=1, active_requests=0))
        by_time = costs(reports, CostConfig(cpu_load=1, response_time=9, active_requests=0))
        assert by_cpu["a"] > by_cpu["b"]
        assert by_time["a"] < by_time["b"]

    def test_who_reports_nothing_is_taken_for_average(self) -> None:
        coefficients = CostConfig(response_time=0, active_requests=0, cpu_load=1)
        found = costs({"a": LoadReport(cpu_load=0.9), "b": LoadReport(cpu_load=0.2), "c": LoadReport()}, coefficients)
        assert found["c"] == pytest.approx((found["a"] + found["b"]) / 2)
        assert len(set(self.shares(coefficients, a=None, b=None, c=None).values())) == 1

    def test_active_sessions_stand_in_for_active_requests(self) -> None:
        group = [Candidate("a", sessions=10), Candidate("b", sessions=30)]
        shares = Counter(make_schedule(SchedulerKind.COST, group))
        assert shares["a"] > shares["b"]

    def test_differences_nobody_would_notice_change_nothing(self) -> None:
        coefficients = CostConfig(response_time=0, active_requests=0, cpu_load=1)
        shares = self.shares(coefficients, a=LoadReport(cpu_load=0.001), b=LoadReport(cpu_load=0.004))
        assert abs(shares["a"] - shares["b"]) <= 2

    def test_noise_in_reports_writes_nothing(self) -> None:
        coefficients = CostConfig(response_time=0, active_requests=0, cpu_load=1)
        slots: tuple[str, ...] = ()
        written = set()
        for noise in (0.0, 0.02, -0.02, 0.01):
            group = [
                Candidate("a", report=LoadReport(cpu_load=0.5 + noise)),
                Candidate("b", report=LoadReport(cpu_load=0.5)),
            ]
            slots = make_schedule(SchedulerKind.COST, group, slots, coefficients)
            written.add(slots)
        assert len(written) == 1

    reports = st.dictionaries(
        names,
        st.builds(LoadReport, *[st.none() | st.floats(0, 1e15)] * 6),
        max_size=8,
    )

    @given(reports, st.builds(CostConfig, *[st.floats(0, 1000)] * 6))
    def test_costs_are_bounded_whatever_is_reported(
        self, given_reports: dict[str, LoadReport], coefficients: CostConfig
    ) -> None:
        found = costs(given_reports, coefficients)
        assert found.keys() == given_reports.keys()
        assert all(0.0999 <= cost <= 1.0001 for cost in found.values())


class TestReports:
    def test_a_report_is_read(self) -> None:
        body = b'{"cpu_load": 0.25, "cache_size": 1048576, "pending_requests": null, "version": "1.2"}'
        assert parse_report(body) == LoadReport(cpu_load=0.25, cache_size=1048576.0)

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"3", b"{", b'{"cpu_load": "high"}', b'{"cpu_load": -1}', b'{"cpu_load": NaN}',
         b'{"cpu_load": true}', b'{"cpu_load": 1e999}', b"\xff", b"[" * 100000, b" " * 70000,
         b'{"cpu_load": ' + b"9" * 400 + b"}"],
        ids=repr,
    )  # fmt: skip
    def test_anything_else_is_refused(self, body: bytes) -> None:
        with pytest.raises(ReportError):
            parse_report(body)


class TestSlots:
    @given(st.dictionaries(names, st.floats(0, 1e9), min_size=1, max_size=20), st.integers(0, 2), st.integers(40, 1024))
    def test_apportioning_is_exact_and_near_the_shares(self, shares: dict[str, float], least: int, slots: int) -> None:
        counts = apportion(shares, slots, least)
        assert sum(counts.values()) == slots
        free, total = slots - least * len(shares), sum(shares.values())
        for name, count in counts.items():
            fair = free * (shares[name] / total if total else 1 / len(shares)) + least
            assert abs(count - fair) < 1.001

    def test_apportioning_too_few_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot have"):
            apportion({"a": 1.0, "b": 1.0}, 1, at_least=1)

    counts = st.dictionaries(names, st.integers(1, 20), min_size=1, max_size=6)

    @given(counts)
    def test_spreading_keeps_counts(self, counts: dict[str, int]) -> None:
        assert Counter(spread(counts)) == counts

    @given(counts, counts)
    def test_rearranging_changes_no_more_than_it_must(self, before: dict[str, int], after: dict[str, int]) -> None:
        previous = spread(before)
        slots = rearrange(previous, after)
        assert Counter(slots) == after
        window = Counter(previous[: len(slots)])
        must = sum(max(0, count - window[name]) for name, count in after.items())
        assert sum(slot != old for slot, old in zip(slots, previous, strict=False)) <= must

    @given(counts)
    def test_rearranging_to_the_same_changes_nothing(self, counts: dict[str, int]) -> None:
        slots = tuple(spread(counts))
        assert rearrange(slots, counts) == slots
