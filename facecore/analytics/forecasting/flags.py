"""Where what came is not what was due: a camera that is off, a crowd, a clock that is wrong.

Counts are held against their forecasts. How much counts vary beyond chance is measured on the
same days, so that a lively source needs more to be flagged than a steady one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from facecore.types import Doubles, HourlyCounts

FlagKind = Literal["camera_off", "crowd_surge", "clock_error"]

# Mean of a forecast from its quantiles: trapezoids, the tails as far as the outer ones.
_MEAN_WEIGHTS = np.array([0.15, 0.225, 0.25, 0.225, 0.15])
_DAY = 24
# Nothing came where so many were due: by chance once in e¹², that is 160,000 times.
_OFF_DUE = 12.0
_OFF_LEAST_HOURS = 3
# Standard deviations above what was due, of roots of counts.
_SURGE_DEVIATIONS = 5.0
_SURGE_TIMES, _SURGE_MORE = 2.0, 8.0
_MOST_SHIFT = 12
_CLOCK_LEAST = 10.0
_CLOCK_GAIN = 15.0
_CLOCK_LEFT = 0.5
_FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class Flag:
    """Hours of a source that are not as they were due.

    Attributes:
        start, end: `[start, end)`, on the wall clock.
        observed, expected: faces in these hours.
        severity: how surprising it is, for sorting: of chance one in e^severity, about.
        evidence: one sentence.
    """

    kind: FlagKind
    source: str
    start: datetime
    end: datetime
    observed: float
    expected: float
    severity: float
    evidence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "start": self.start.isoformat(), "end": self.end.isoformat()}


def expected_counts(quantiles: Doubles) -> Doubles:
    """Mean of each hour, float64 `[n]`, from its quantiles `[n, 5]`."""
    mean: Doubles = quantiles @ _MEAN_WEIGHTS
    return mean


def dispersion(truth: Doubles, due: Doubles) -> float:
    """How many times the variance of counts exceeds their mean, ≥ 1: Pearson's statistic
    without its largest twentieth, which is what is looked for.
    """
    counted = np.isfinite(truth) & (due >= 0.5)
    if counted.sum() < _DAY:
        return 1.0
    ratios = np.sort((truth[counted] - due[counted]) ** 2 / due[counted])
    return max(1.0, float(ratios[: max(1, int(0.95 * len(ratios)))].mean()))


def flags(series: HourlyCounts, first: int, quantiles: Doubles) -> list[Flag]:
    """Flags of the hours that were forecast, by their beginning.

    Args:
        first: the hour of `series` that `quantiles[0]` is of.
        quantiles: float64 `[n, 5]`, forecast before these hours.
    """
    length = min(len(quantiles), len(series) - first)
    if length <= 0:
        return []
    truth, due = series.counts[first : first + length], expected_counts(quantiles[:length])
    spread = dispersion(truth, due)
    found = list(_clock_errors(series, first, truth, due, spread))
    taken = np.zeros(length, bool)
    for flag in found:
        taken[series.index(flag.start) - first : series.index(flag.end) - first] = True
    free = np.where(taken, np.nan, truth)
    found += _cameras_off(series, first, free, due, spread)
    found += _surges(series, first, free, due, spread)
    return sorted(found, key=lambda flag: (flag.start, flag.kind))


def masked(series: HourlyCounts, found: list[Flag]) -> HourlyCounts:
    """The same series, the hours of the flags unknown: an anomaly is not to become usual."""
    counts = series.counts.copy()
    for flag in found:
        if flag.source == series.source:
            counts[max(0, series.index(flag.start)) : max(0, series.index(flag.end))] = np.nan
    return HourlyCounts(series.source, series.start, counts)


def _cameras_off(
    series: HourlyCounts, first: int, truth: Doubles, due: Doubles, spread: float
) -> Iterator[Flag]:
    for begin, end in _runs(truth == 0):
        busy = begin + np.flatnonzero(due[begin:end] >= 0.5)
        if len(busy) < _OFF_LEAST_HOURS:
            continue
        low, high = int(busy[0]), int(busy[-1]) + 1
        missing = float(due[low:high].sum())
        if missing / spread >= _OFF_DUE:
            yield Flag(
                "camera_off", series.source, series.at(first + low), series.at(first + high),
                0.0, missing, missing / spread,
                f"no face for {high - low} hours in which {missing:.0f} were due",
            )  # fmt: skip


def _surges(
    series: HourlyCounts, first: int, truth: Doubles, due: Doubles, spread: float
) -> Iterator[Flag]:
    deviations = 2 * (np.sqrt(np.nan_to_num(truth)) - np.sqrt(due)) / np.sqrt(spread)
    above = (
        (deviations >= _SURGE_DEVIATIONS)
        & (truth >= _SURGE_TIMES * due)
        & (truth - due >= _SURGE_MORE)
    )
    for low, high in _runs(above):
        seen, expected = float(truth[low:high].sum()), float(due[low:high].sum())
        surprise = float((deviations[low:high] ** 2).sum() / 2)
        yield Flag(
            "crowd_surge", series.source, series.at(first + low), series.at(first + high),
            seen, expected, surprise,
            f"{seen:.0f} faces in {high - low} hours in which {expected:.0f} were due",
        )  # fmt: skip


def _clock_errors(
    series: HourlyCounts, first: int, truth: Doubles, due: Doubles, spread: float
) -> Iterator[Flag]:
    """Days that fit what was due at another hour much better than at their own."""
    found: list[tuple[int, int, float]] = []  # day's first hour, shift, gain
    begin = -series.at(first).hour % _DAY
    for low in range(begin, len(truth) - _DAY + 1, _DAY):
        shift, gain = _best_shift(truth, due, low, spread)
        if shift:
            found.append((low, shift, gain))
    while found:
        low, shift, gain = found.pop(0)
        high = low + _DAY
        while found and found[0][0] == high and found[0][1] == shift:
            high, gain = high + _DAY, gain + found.pop(0)[2]
        part = slice(low, high)
        yield Flag(
            "clock_error", series.source, series.at(first + low), series.at(first + high),
            float(np.nansum(truth[part])), float(due[part].sum()), gain,
            f"the activity fits that of {abs(shift)} hours "
            f"{'earlier' if shift > 0 else 'later'}: its clock is "
            f"{'fast' if shift > 0 else 'slow'}",
        )  # fmt: skip


def _best_shift(truth: Doubles, due: Doubles, low: int, spread: float) -> tuple[int, float]:
    """By how many hours a day lies too late (> 0) or early, and the gain in log-likelihood;
    0 where it is at its place, or nobody can say.
    """
    day = truth[low : low + _DAY]
    if not np.isfinite(day).all() or day.sum() < _CLOCK_LEAST:
        return 0, 0.0
    likelihood: dict[int, float] = {}
    for shift in range(-_MOST_SHIFT, _MOST_SHIFT + 1):
        places = np.clip(np.arange(low, low + _DAY) - shift, 0, len(due) - 1)
        rate = due[places] + _FLOOR
        rate = rate * (day.sum() / rate.sum())  # how many came is not the question
        likelihood[shift] = float((day * np.log(rate) - rate).sum()) / spread
    best = max(likelihood, key=lambda shift: (likelihood[shift], -abs(shift)))
    gain = likelihood[best] - likelihood[0]
    # The best that any rates could do: each hour's own count.
    own = np.where(day > 0, day, 1.0)
    perfect = float((day * np.log(own) - day).sum()) / spread
    left = (perfect - likelihood[best]) / max(perfect - likelihood[0], 1e-9)
    if abs(best) < 2 or gain < _CLOCK_GAIN or left > _CLOCK_LEFT:
        return 0, 0.0
    return best, gain


def _runs(chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Iterator[tuple[int, int]]:
    """Beginnings and ends `[low, high)` of stretches that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
