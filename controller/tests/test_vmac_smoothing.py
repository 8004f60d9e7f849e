"""Loads and rates without their noise."""

from __future__ import annotations

import pytest

from depot.vmac.smoothing import smoothed, smoothed_rates


def test_the_first_measurement_counts_whole():
    assert smoothed(None, 0.8) == 0.8
    assert smoothed_rates({}, {3: 100.0}) == {3: 100.0}


def test_noise_is_halved_and_a_change_is_seen_soon():
    load: float | None = None
    for now in (0.5, 0.9, 0.5, 0.9, 0.5, 0.9):
        load = smoothed(load, now)
    assert load is not None
    assert 0.6 < load < 0.8
    for _ in range(4):
        load = smoothed(load, 0.1)
    assert load == pytest.approx(0.1, abs=0.05)


def test_buckets_that_come_count_whole_and_those_that_go_not_at_all():
    assert smoothed_rates({1: 10.0, 2: 20.0}, {2: 40.0, 3: 50.0}) == {2: 30.0, 3: 50.0}
