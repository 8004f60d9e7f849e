"""Loads and rates without their noise."""

from __future__ import annotations

import pytest

from depot.vmac.smoothing import Smoothed


def test_the_first_measurement_counts_whole():
    smoothed = Smoothed()
    assert (smoothed.load, smoothed.rates) == (0.0, {})
    smoothed.add(0.8, {3: 100.0})
    assert (smoothed.load, smoothed.rates) == (0.8, {3: 100.0})


def test_noise_is_halved_and_a_change_is_seen_soon():
    smoothed = Smoothed()
    for load in (0.5, 0.9, 0.5, 0.9, 0.5, 0.9):
        smoothed.add(load, {1: 100 * load})
    assert 0.6 < smoothed.load < 0.8
    for _ in range(4):
        smoothed.add(0.1, {1: 10.0})
    assert smoothed.load == pytest.approx(0.1, abs=0.05)
    assert smoothed.rates[1] == pytest.approx(10.0, abs=5.0)


def test_buckets_that_come_count_whole_and_those_that_go_not_at_all():
    smoothed = Smoothed()
    smoothed.add(0.5, {1: 10.0, 2: 20.0})
    smoothed.add(0.5, {2: 40.0, 3: 50.0})
    assert smoothed.rates == {2: 30.0, 3: 50.0}
