"""Trends of sources, and when people are due."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from facecore.analytics.forecasting.trend import trend
from facecore.analytics.forecasting.visits import (
    GAP_BASELINES,
    lstm,
    next_visits,
    select_gap_method,
)
from facecore.errors import ShapeError
from facecore.types import HourlyCounts, Visits
from facecore.zoo import registry
from facecore.zoo.lstm import WEEK

START = datetime(2026, 3, 2)


def growing(rate: float, weeks: int = 10) -> HourlyCounts:
    hour = np.arange(weeks * WEEK)
    shape = np.where((hour % 24 > 7) & (hour % 24 < 18) & (hour % WEEK < 120), 20.0, 1.0)
    counts = np.random.default_rng(1).poisson(shape * (1 + rate * hour / WEEK))
    return HourlyCounts("door", START, counts.astype(float))


def test_the_direction_and_size_of_a_trend() -> None:
    rising = trend(growing(0.05))
    assert rising.direction == "rising"
    assert rising.per_week == pytest.approx(0.05 / 1.25, abs=0.01)
    assert trend(growing(-0.05)).direction == "falling"
    assert trend(growing(0.0)).direction == "steady"


@pytest.mark.parametrize(
    "counts",
    [np.zeros(0), np.zeros(10 * WEEK), np.full(10 * WEEK, np.nan), np.ones(2 * WEEK)],
    ids=["nothing", "silent", "unknown", "short"],
)
def test_where_nothing_can_be_said_of_a_trend(counts: np.ndarray) -> None:
    found = trend(HourlyCounts("door", START, counts.astype(float)))
    assert (found.direction, found.per_week) == ("unknown", None)


def daily(person: str, days: int, jitter: float = 1.0) -> Visits:
    rng = np.random.default_rng(len(person))
    return Visits(
        person,
        tuple(
            START + timedelta(days=d, hours=8 + float(rng.uniform(0, jitter))) for d in range(days)
        ),
    )


def test_who_comes_every_day_is_due_tomorrow_and_overdue_in_a_month() -> None:
    person = daily("1", 30)
    for name, method in GAP_BASELINES.items():
        (soon,) = next_visits([person], method, person.at[-1] + timedelta(hours=2))
        assert abs((soon.middle - person.at[-1]).total_seconds() / 3600 - 24) < 3, name
        assert soon.low <= soon.middle <= soon.high
        assert not soon.overdue
        (late,) = next_visits([person], method, person.at[-1] + timedelta(days=30))
        assert late.overdue


def test_the_learned_model_is_compared_and_used_only_if_it_wins() -> None:
    network = registry.create("lstm", hidden=4)
    people = [daily(str(n), 12, 3.0) for n in range(5)]
    chosen = select_gap_method(people, lstm(network))  # type: ignore[arg-type]
    assert {score.method for score in chosen.scores} == {*GAP_BASELINES, "LSTM"}
    assert chosen.scores[0].forecasts == 15
    assert chosen.reason


def test_people_who_came_seldom_or_like_clockwork_break_nothing() -> None:
    seldom = [Visits("1", ()), Visits("2", (START,)), daily("3", 4)]
    chosen = select_gap_method(seldom)
    assert chosen.method == "last gap"
    assert len(chosen.left_out) == 3
    assert next_visits(seldom, GAP_BASELINES["last gap"], START) == []
    clockwork = daily("4", 20, jitter=0.0)
    assert select_gap_method([clockwork]).method == "last gap"
    (due,) = next_visits([clockwork], GAP_BASELINES["last gap"], START)
    assert due.low == due.high
    with pytest.raises(ShapeError, match="rising"):
        Visits("5", (START, START))
