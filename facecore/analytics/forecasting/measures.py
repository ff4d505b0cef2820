"""How good forecasts are. NaN in the truth is not counted; no measure divides by zero."""

from __future__ import annotations

import numpy as np

from facecore.types import Doubles
from facecore.zoo.lstm import QUANTILES, WEEK

# An interval that ends at a count holds that count, also after arithmetic.
_SLACK = 1e-6


def absolute_error(middle: Doubles, truth: Doubles) -> float | None:
    """Mean absolute error; None where nothing is known."""
    known = np.isfinite(truth)
    return float(np.abs(middle - truth)[known].mean()) if known.any() else None


def seasonal_scale(history: Doubles) -> float | None:
    """Mean absolute error of "as a week ago" within the history: what MASE divides by.

    None where it is 0 (constant, or repeating exactly) or nothing can be compared.
    """
    if len(history) <= WEEK:
        return None
    error = absolute_error(history[:-WEEK], history[WEEK:] + 0 * history[:-WEEK])
    return error if error is not None and error > 0 else None


def mase(middle: Doubles, truth: Doubles, scale: float | None) -> float | None:
    """Mean absolute scaled error (Hyndman & Koehler 2006): below 1 is better than "as a week
    ago" was in the history. None where the scale is not defined.
    """
    error = absolute_error(middle, truth)
    return None if error is None or scale is None else error / scale


def coverage(low: Doubles, high: Doubles, truth: Doubles) -> float | None:
    """Share of the truth within the intervals, 0..1; None where nothing is known."""
    known = np.isfinite(truth)
    inside = (truth >= low - _SLACK) & (truth <= high + _SLACK)
    return float(inside[known].mean()) if known.any() else None


def pinball(quantiles: Doubles, truth: Doubles) -> float | None:
    """Mean pinball loss of quantiles `[n, 5]`, in counts; None where nothing is known."""
    known = np.isfinite(truth)
    if not known.any():
        return None
    difference = truth[known, None] - quantiles[known]
    levels = np.array(QUANTILES)
    return float(np.maximum(levels * difference, (levels - 1) * difference).mean())
