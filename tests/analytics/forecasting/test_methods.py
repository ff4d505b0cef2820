"""Baselines and the network as forecasters: also of little, holes, silence and constants."""

from __future__ import annotations

import warnings
from datetime import datetime

import numpy as np
import pytest

from facecore.analytics.forecasting import measures
from facecore.analytics.forecasting.methods import (
    BASELINES,
    MIDDLE,
    Method,
    lstm,
    seasonal_naive,
    weekly_mean,
)
from facecore.types import HourlyCounts
from facecore.zoo import registry
from facecore.zoo.lstm import WEEK

START = datetime(2026, 3, 2)  # a Monday
METHODS = {**BASELINES, "LSTM": lstm(registry.create("lstm", hidden=4))}  # type: ignore[arg-type]


def series(counts: np.ndarray) -> HourlyCounts:
    return HourlyCounts("door", START, counts.astype(np.float64))


def office(weeks: int = 6, noise: int = 0) -> np.ndarray:
    hour = np.arange(weeks * WEEK)
    busy = (hour % 24 >= 8) & (hour % 24 < 18) & (hour % WEEK < 120)
    counts = np.where(busy, 20.0, 0.0)
    return np.random.default_rng(noise).poisson(counts) if noise else counts


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    "counts",
    [
        office(),
        office(noise=3),
        np.zeros(3 * WEEK),
        np.full(3 * WEEK, 7.0),
        np.where(np.arange(4 * WEEK) % 5 == 0, np.nan, office(4)),
        np.concatenate([np.full(2 * WEEK, np.nan), office(2)]),
        office(2),
        office(3)[: 2 * WEEK + 31],
    ],
    ids=["regular", "noisy", "silent", "constant", "holes", "late", "two weeks", "odd length"],
)
def test_quantiles_are_finite_and_ordered(method: Method, counts: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = method(series(counts), len(counts), 30)
    assert found.shape == (30, 5)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()


def test_nothing_after_the_origin_is_looked_at() -> None:
    counts = office(6, noise=1).astype(float)
    other = counts.copy()
    other[5 * WEEK :] = 999.0
    for name, method in METHODS.items():
        one, two = (method(series(c), 5 * WEEK, 24) for c in (counts, other))
        assert np.array_equal(one, two), name


def test_seasonal_naive_is_the_week_before_and_the_mean_is_the_mean() -> None:
    counts = office(3, noise=1).astype(float)
    naive = seasonal_naive(series(counts), len(counts), 2 * WEEK)[:, MIDDLE]
    assert np.array_equal(naive, np.tile(counts[-WEEK:], 2))
    mean = weekly_mean(series(counts), len(counts), WEEK)[:, MIDDLE]
    np.testing.assert_allclose(mean, counts.reshape(3, WEEK).mean(axis=0))


def test_regular_activity_is_foreseen_by_every_baseline() -> None:
    counts = office(5)
    for name, method in BASELINES.items():
        middle = method(series(counts), 4 * WEEK, 24)[:, MIDDLE]
        np.testing.assert_allclose(middle, counts[:24], atol=0.5, err_msg=name)


def test_intervals_cover_what_they_promise() -> None:
    counts = np.random.default_rng(5).poisson(np.where(office(9) > 0, 20, 1)).astype(float)
    one = series(counts)
    for name, method in BASELINES.items():
        said = np.concatenate([method(one, o, 24) for o in range(8 * WEEK, 9 * WEEK, 24)])
        covered = measures.coverage(said[:, 0], said[:, -1], counts[8 * WEEK :])
        assert covered is not None
        assert 0.82 <= covered <= 0.98, (name, covered)


def test_measures_are_defined_where_nothing_can_be_divided_by() -> None:
    nothing = np.full(24, np.nan)
    quantiles = np.zeros((24, 5))
    assert measures.mase(np.zeros(24), nothing, 1.0) is None
    assert measures.mase(np.zeros(24), np.ones(24), None) is None
    assert measures.coverage(np.zeros(24), np.zeros(24), nothing) is None
    assert measures.pinball(quantiles, nothing) is None
    assert measures.seasonal_scale(np.full(3 * WEEK, 4.0)) is None
    assert measures.seasonal_scale(np.tile(np.arange(WEEK, dtype=float), 3)) is None
    assert measures.seasonal_scale(np.zeros(10)) is None
    assert measures.mase(np.full(24, 3.0), np.full(24, 5.0), 4.0) == pytest.approx(0.5)
    assert measures.pinball(np.zeros((1, 5)), np.ones(1)) == pytest.approx(0.5)
