"""The learned model is used only where it wins, and the choice says why."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from facecore.analytics.forecasting.selection import (
    MethodScore,
    backtest,
    choose,
    origins,
    select,
)
from facecore.types import Doubles, HourlyCounts
from facecore.zoo.lstm import WEEK

START = datetime(2026, 3, 2)


def score(method: str, mase: float | None, coverage: float = 0.9, pinball: float = 1.0):
    return MethodScore(method, mase, mase, coverage, pinball, 100)


def office(weeks: int, seed: int = 1) -> HourlyCounts:
    hour = np.arange(weeks * WEEK)
    rate = np.where((hour % 24 >= 8) & (hour % 24 < 18), 12.0, 0.2)
    return HourlyCounts("door", START, np.random.default_rng(seed).poisson(rate).astype(float))


def oracle(series: HourlyCounts, origin: int, horizon: int) -> Doubles:
    """Knows the rate."""
    hour = np.arange(origin, origin + horizon)
    busy = (hour % 24 >= 8) & (hour % 24 < 18)
    quantiles = np.where(busy[:, None], [6.5, 9.5, 12.0, 14.5, 18.0], [0.0, 0.0, 0.0, 0.0, 1.0])
    return quantiles.astype(np.float64)


def test_who_knows_better_is_used() -> None:
    chosen = select([office(6)], oracle, name="oracle")
    assert chosen.learned
    assert chosen.method == "oracle"
    assert chosen.scores[0].method == "oracle"
    assert chosen.scores[0].mase is not None
    assert chosen.scores[0].mase < 1
    assert "lowest error" in chosen.reason


def test_who_does_not_is_not() -> None:
    def blind(series: HourlyCounts, origin: int, horizon: int) -> Doubles:
        return np.full((horizon, 5), 100.0)

    chosen = select([office(6)], blind)
    assert not chosen.learned
    assert chosen.method != "LSTM"
    assert "no lower error" in chosen.reason
    assert "covers only" in chosen.reason


def test_a_lower_error_is_not_enough() -> None:
    best = [score("LSTM", 0.5, 0.9), score("weekly mean", 0.6)]
    assert choose(best, {}, "LSTM").learned
    assert not choose([score("LSTM", 0.5, 0.7), best[1]], {}, "LSTM").learned
    worse = choose([score("LSTM", 0.5, 0.9, 2.0), best[1]], {}, "LSTM")
    assert worse.method == "weekly mean"
    assert "worse quantiles" in worse.reason
    equal = choose([score("LSTM", 0.6, 0.9), best[1]], {}, "LSTM")
    assert not equal.learned


def test_without_a_learned_model_the_best_baseline_is_used() -> None:
    chosen = select([office(5)])
    assert not chosen.learned
    assert "no learned model" in chosen.reason
    assert {s.method for s in chosen.scores} == {"seasonal naive", "weekly mean", "Holt-Winters"}


def test_too_short_a_history_is_said_and_compared_with_nothing() -> None:
    chosen = select([office(2)], oracle)
    assert chosen.method == "seasonal naive"
    assert "long enough" in chosen.reason
    assert "door" in chosen.left_out
    assert "days are known" in chosen.left_out["door"]
    assert select([]).scores[0].forecasts == 0


def test_a_constant_series_has_no_scale_and_is_judged_by_its_error() -> None:
    constant = HourlyCounts("hall", START, np.full(6 * WEEK, 3.0))
    scores, left_out = backtest([constant], {"seasonal naive": oracle})
    assert (scores[0].mase, left_out) == (None, {})
    assert scores[0].error is not None
    chosen = select([constant])
    assert "error 0.000" in chosen.reason or "lowest error" in chosen.reason


def test_unknown_hours_are_not_judged() -> None:
    counts = office(6).counts.copy()
    counts[-WEEK:] = np.nan
    scores, _ = backtest([HourlyCounts("door", START, counts)], {"oracle": oracle})
    assert scores[0].forecasts == 7 * 24


def test_origins_are_midnights() -> None:
    late = HourlyCounts("door", datetime(2026, 3, 2, 5), np.zeros(100))
    found = origins(late, 3, 100)
    assert [late.at(o).hour for o in found] == [0, 0, 0]
    assert found == sorted(found)
    assert origins(late, 30, 100)[0] > 0
    assert origins(HourlyCounts("new", START, np.zeros(0)), 3, 0) == []
