"""Whether a source gets busier: the slope of its days, weekdays compared with their own kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from facecore.types import HourlyCounts

_DAY = 24
LEAST_DAYS = 21
LONGEST_DAYS = 84
_LEAST_KNOWN_HOURS = 20


@dataclass(frozen=True, slots=True)
class Trend:
    """Change a week, as a share of the mean, with its 95 % interval (Theil & Sen).

    Attributes:
        direction: rising or falling where the interval leaves out zero, else steady; unknown
            where there are too few days, or no faces.
        days: whole days it was computed from.
    """

    source: str
    direction: Literal["rising", "falling", "steady", "unknown"]
    per_week: float | None
    low: float | None
    high: float | None
    days: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def trend(series: HourlyCounts) -> Trend:
    """The trend of the last twelve weeks; days that are not wholly known are left out."""
    from scipy.stats import theilslopes  # type: ignore[import-untyped]

    skipped = -series.start.hour % _DAY
    length = (len(series) - skipped) // _DAY
    if length <= 0:
        return Trend(series.source, "unknown", None, None, None, 0)
    hours = series.counts[skipped : skipped + length * _DAY].reshape(length, _DAY)[-LONGEST_DAYS:]
    known = np.isfinite(hours).sum(axis=1) >= _LEAST_KNOWN_HOURS
    totals = np.nanmean(np.where(known[:, None], hours, 0.0), axis=1) * _DAY
    number = np.arange(len(totals))
    ratios, places = [], []
    for weekday in range(7):
        own = known & (number % 7 == weekday)
        if own.sum() >= 2 and totals[own].mean() > 0:
            ratios.append(totals[own] / totals[own].mean())
            places.append(number[own])
    days = int(known.sum())
    if days < LEAST_DAYS or not ratios:
        return Trend(series.source, "unknown", None, None, None, days)
    found = theilslopes(np.concatenate(ratios), np.concatenate(places), alpha=0.95)
    slope, low, high = (7 * float(found[place]) for place in (0, 2, 3))
    direction: Literal["rising", "falling", "steady"] = (
        "rising" if low > 0 else "falling" if high < 0 else "steady"
    )
    return Trend(series.source, direction, slope, low, high, days)
