"""A measured number with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.intervals import proportion
from facecore.lifecycle.people_bootstrap import percentile_interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resampled_estimate(value: float, replicates: npt.NDArray[np.floating]) -> Estimate:
    """A value with the interval of its replicates, widened to hold the value itself."""
    low, high = percentile_interval(replicates)
    return Estimate(value, min(low, value), max(high, value))


def resampled_rate(
    value: float, replicates: npt.NDArray[np.floating], errors: int, trials: int
) -> Estimate:
    """A rate with the wider of two intervals: of its replicates, and the exact binomial one.

    Resampling knows that trials depend on each other, but says "certainly none" when it saw no
    error; the binomial interval knows how little a few trials without error prove.
    """
    spread = resampled_estimate(value, replicates)
    exact = proportion(errors, trials)
    return Estimate(value, min(spread.low, exact.low), max(spread.high, exact.high))
