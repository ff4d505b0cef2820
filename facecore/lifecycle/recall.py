"""Recall of approximate neighbours: the share of the nearest that are found, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facecore.lifecycle.intervals import CONFIDENCE
from facecore.types import Floats

# Scores that differ by less are the same: the stored vectors are rounded to float16.
_TIE = 1e-5


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of the nearest that were found, with its 95 % interval, over so many queries."""

    value: float
    low: float
    high: float
    queries: int


def recall(exact: Floats, found: Floats) -> Recall:
    """Recall over queries, by the scores of what was found.

    A neighbour as near as the last of the exact ones counts as found, whichever of several
    equally near ones it is. Queries are the independent trials, not their neighbours: a query
    in a sparse region misses several at once. So the interval is Wilson's with as many trials as
    explain the spread between queries, and with one trial per query where there is no spread.

    Args:
        exact: float32 `[q, k]`, scores of the nearest; -inf where there are fewer than `k`.
        found: float32 `[q, k]`, scores of what was found; -inf where it was fewer.

    >>> recall(np.array([[0.9, 0.8]]), np.array([[0.9, 0.8]])).value
    1.0
    """
    wanted = np.isfinite(exact)
    last = np.where(wanted, exact, np.inf).min(axis=1, keepdims=True)
    hits = (np.isfinite(found) & (found >= last - _TIE)).sum(axis=1)
    shares = np.minimum(hits, wanted.sum(axis=1)) / np.maximum(wanted.sum(axis=1), 1)
    queries, value = len(shares), float(shares.mean())
    spread = float(shares.var(ddof=1)) if queries > 1 else 0.0
    trials = float(queries)
    if spread > 0:
        trials = max(trials, queries * value * (1 - value) / spread)
    low, high = _wilson(value, trials)
    return Recall(value, low, high, queries)


def _wilson(share: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval (1927)."""
    from scipy.stats import norm  # type: ignore[import-untyped]

    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    half /= 1 + z * z / trials
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
