"""Ways to forecast the hours ahead of one source, each with quantiles.

A method gets a source's counts up to the origin, never what comes after it, and gives float64
`[horizon, 5]`: the quantiles `QUANTILES` of each hour, ≥ 0 and never crossing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from facecore.types import Doubles, HourlyCounts
from facecore.zoo.lstm import QUANTILES, WEEK, history_before

if TYPE_CHECKING:
    from facecore.zoo.lstm import ActivityLstm

Method = Callable[[HourlyCounts, int, int], Doubles]

MIDDLE = QUANTILES.index(0.5)
#: Hours that have to be known before any method says anything.
LEAST_HISTORY = 2 * WEEK
# What lies further back says more about the past than about the hours ahead.
_LONGEST = 12 * WEEK
_HOLT_WINTERS_WEEKS = 8
_LEAST_IN_GROUP = 24
_GROUPS = 4


def seasonal_naive(series: HourlyCounts, origin: int, horizon: int) -> Doubles:
    """As in the same hour of the week before; spread as that was wrong so far."""
    history = _filled(series.counts[:origin])
    middle = _repeated(history[-WEEK:], horizon)
    return _with_spread(middle, history[WEEK:], history[:-WEEK])


def weekly_mean(series: HourlyCounts, origin: int, horizon: int) -> Doubles:
    """The mean of the same hour in the last eight weeks; spread as that was wrong so far."""
    history = _filled(series.counts[:origin])
    weeks = history[len(history) % WEEK :].reshape(-1, WEEK)[-8:]
    middle = weeks.mean(axis=0)
    # Each week against the mean of the others: what a forecast would have done.
    others = (weeks.sum(axis=0) - weeks) / max(1, len(weeks) - 1)
    return _with_spread(_repeated(middle, horizon), weeks.ravel(), others.ravel())


def holt_winters(series: HourlyCounts, origin: int, horizon: int) -> Doubles:
    """Exponential smoothing of level and weekly season (Winters 1960), on roots of counts, by
    statsmodels; spread as its forecasts one hour ahead were wrong.
    """
    from statsmodels.tools.sm_exceptions import ConvergenceWarning
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    roots = np.sqrt(_filled(series.counts[:origin])[-_HOLT_WINTERS_WEEKS * WEEK :])
    if np.ptp(roots) == 0:  # nothing to smooth, and its optimiser would divide by the spread
        return np.full((horizon, len(QUANTILES)), roots[-1] ** 2)
    with warnings.catch_warnings():
        # Not converged within its steps: the weights found so far are used, and are judged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        fitted = ExponentialSmoothing(
            roots, seasonal="add", seasonal_periods=WEEK, initialization_method="heuristic"
        ).fit()
    middle = np.clip(fitted.forecast(horizon), 0, None) ** 2
    return _with_spread(middle, roots**2, np.clip(fitted.fittedvalues, 0, None) ** 2)


def lstm(network: ActivityLstm) -> Method:
    """The trained network as a method; it forecasts at most its own horizon at once."""
    import torch

    def forecast(series: HourlyCounts, origin: int, horizon: int) -> Doubles:
        parts: list[Doubles] = []
        counts = series.counts[:origin]
        while sum(map(len, parts)) < horizon:
            at = len(counts)
            with torch.inference_mode():
                given = torch.from_numpy(history_before(counts, at))[None]
                hour = torch.tensor([series.hour_of_week(at)])
                part = network(given, hour)[0].double().numpy()
            parts.append(part)
            counts = np.concatenate([counts, part[:, MIDDLE]])
        return np.concatenate(parts)[:horizon]

    return forecast


#: What a learned model has to beat.
BASELINES: dict[str, Method] = {
    "seasonal naive": seasonal_naive,
    "weekly mean": weekly_mean,
    "Holt-Winters": holt_winters,
}


def known_hours(series: HourlyCounts, origin: int) -> int:
    """How many of the hours before the origin are known."""
    return int(np.isfinite(series.counts[:origin]).sum())


def _filled(history: Doubles) -> Doubles:
    """The last weeks, whole and without holes: a hole gets the mean of its hour of the week,
    or of all hours where that was never known.
    """
    history = history[-(min(len(history), _LONGEST) // WEEK) * WEEK :]
    weeks = history.reshape(-1, WEEK).copy()
    known = np.isfinite(weeks)
    sums, numbers = np.where(known, weeks, 0.0).sum(axis=0), known.sum(axis=0)
    overall = weeks[known].mean() if known.any() else 0.0
    usual = np.where(numbers > 0, sums / np.maximum(numbers, 1), overall)
    return np.where(known, weeks, usual).ravel()


def _repeated(week: Doubles, horizon: int) -> Doubles:
    return np.resize(week, horizon)


def _with_spread(middle: Doubles, truth: Doubles, said: Doubles) -> Doubles:
    """Quantiles around `middle`, from how far roots of counts were from roots of forecasts that
    were about as high.
    """
    residuals = np.sqrt(truth) - np.sqrt(said)
    edges = np.unique(np.quantile(said, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
    group, wanted = np.searchsorted(edges, said), np.searchsorted(edges, middle)
    overall = np.quantile(residuals, QUANTILES)
    quantiles = np.empty((len(middle), len(QUANTILES)))
    for number in np.unique(wanted):
        own = residuals[group == number]
        spread = np.quantile(own, QUANTILES) if len(own) >= _LEAST_IN_GROUP else overall
        rows = wanted == number
        quantiles[rows] = np.sqrt(middle[rows])[:, None] + spread
    quantiles = np.clip(quantiles, 0, None) ** 2
    # The middle stays what the method says: that is what it is judged by.
    quantiles[:, :MIDDLE] = np.minimum(quantiles[:, :MIDDLE], middle[:, None])
    quantiles[:, MIDDLE] = middle
    quantiles[:, MIDDLE + 1 :] = np.maximum(quantiles[:, MIDDLE + 1 :], middle[:, None])
    return quantiles
