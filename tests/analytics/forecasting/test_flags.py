"""Planted faults are found, ordinary weeks are left alone."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest

from facecore.analytics.forecasting.flags import Flag, dispersion, expected_counts, flags, masked
from facecore.analytics.forecasting.methods import weekly_mean
from facecore.analytics.forecasting.selection import origins
from facecore.samples.history import History, hourly_history
from facecore.types import HourlyCounts
from facecore.zoo.lstm import WEEK

LAST = date(2026, 11, 22)
DAYS = 28


def found_in(history: History) -> list[Flag]:
    found: list[Flag] = []
    for one in history.series:
        starts = origins(one, DAYS, len(one))
        clean = one
        for _ in range(2):
            said = np.concatenate([weekly_mean(clean, o, 24) for o in starts])
            own = flags(one, starts[0], said)
            clean = masked(one, own)
        found += own
    return found


@pytest.mark.parametrize("seed", [20, 5])
@pytest.mark.parametrize("staff", [20, 60])
def test_each_planted_fault_is_flagged_and_nothing_else(seed: int, staff: int) -> None:
    history = hourly_history(LAST, 12, seed=seed, staff=staff)
    found = found_in(history)
    for fault in history.faults:
        own = [
            flag
            for flag in found
            if (flag.kind, flag.source) == (fault.kind, fault.source)
            and flag.start < fault.end
            and fault.start < flag.end
        ]
        assert own, fault
        assert all(flag.evidence and flag.severity > 0 for flag in own)
    places = {(fault.kind, fault.source) for fault in history.faults}
    false = [flag for flag in found if (flag.kind, flag.source) not in places]
    assert len(false) <= 1, false


def test_weeks_without_faults_have_no_flag() -> None:
    assert found_in(hourly_history(LAST, 12, seed=2, faults=False)) == []


def busy(weeks: int = 2) -> HourlyCounts:
    hour = np.arange(weeks * WEEK)
    return HourlyCounts(
        "door", datetime(2026, 3, 2), np.where((hour % 24 > 7) & (hour % 24 < 18), 20.0, 0.0)
    )


def said(series: HourlyCounts) -> np.ndarray:
    return np.repeat(busy().counts[:, None], 5, axis=1)


def test_a_clock_that_is_slow_is_told_from_one_that_is_fast() -> None:
    for shift, word in ((5, "fast"), (-5, "slow")):
        moved = HourlyCounts("door", busy().start, np.roll(busy().counts, shift))
        kinds = {flag.kind for flag in flags(moved, 0, said(moved))}
        assert kinds == {"clock_error"}
        assert word in flags(moved, 0, said(moved))[0].evidence


def test_a_source_that_vanishes_is_off_until_the_end() -> None:
    counts = busy().counts.copy()
    counts[200:] = 0
    (flag,) = flags(HourlyCounts("door", busy().start, counts), 0, said(busy()))
    assert flag.kind == "camera_off"
    assert flag.end >= busy().at(len(counts)) - timedelta(hours=7)


def test_unknown_and_empty_hours_are_no_anomaly() -> None:
    unknown = HourlyCounts("door", busy().start, np.full(len(busy()), np.nan))
    assert flags(unknown, 0, said(unknown)) == []
    assert flags(busy(), len(busy()), said(busy())) == []
    assert flags(HourlyCounts("new", busy().start, np.zeros(0)), 0, said(busy())) == []
    silent = HourlyCounts("door", busy().start, np.zeros(WEEK))
    assert flags(silent, 0, np.zeros((WEEK, 5))) == []


def test_the_mean_of_a_forecast_lies_among_its_quantiles() -> None:
    assert expected_counts(np.array([[1.0, 1.0, 1.0, 1.0, 1.0]])) == pytest.approx([1.0])
    assert expected_counts(np.array([[0.0, 0.0, 0.0, 1.0, 4.0]]))[0] == pytest.approx(0.825)


def test_dispersion_is_at_least_one_and_measures_what_varies_more() -> None:
    rng = np.random.default_rng(0)
    due = np.full(2000, 10.0)
    assert dispersion(rng.poisson(due).astype(float), due) == pytest.approx(1.0, abs=0.1)
    lively = rng.poisson(due * rng.gamma(2, 0.5, 2000)).astype(float)
    assert dispersion(lively, due) > 2
    assert dispersion(np.zeros(3), np.zeros(3)) == 1.0
