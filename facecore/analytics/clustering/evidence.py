"""How similar is similar enough: a model's calibration, as clustering uses it.

A cosine means something only with the model that made it. What clustering asks is how rarely two
different people look that much alike, which the calibration table of the model answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.types import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What similarities say under one model, for a number of faces.

    Attributes:
        edge: cosine from which two single faces are taken for one person.
        fragment: lower cosine that the *mean* over very many pairs of two groups has to reach;
            see `needed`.
        review_margin: a lead over the second person smaller than this asks for a human.
        thresholds, rates: the calibration: rising cosines and the falling false-match rates
            (0..1) that belong to them.
    """

    edge: float
    fragment: float
    review_margin: float
    thresholds: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(b >= a for a, b in zip(self.thresholds, self.thresholds[1:], strict=False))
        falling = all(b < a for a, b in zip(self.rates, self.rates[1:], strict=False))
        if not (self.thresholds and len(self.thresholds) == len(self.rates) and rising and falling):
            raise UsageError("a calibration needs rates that fall and thresholds that rise.")
        if not self.fragment <= self.edge:
            raise UsageError(
                f"groups cannot need more ({self.fragment}) than single faces ({self.edge})."
            )

    @classmethod
    def from_table(
        cls,
        table: Sequence[tuple[float, float]],
        *,
        edge: float,
        fragment: float,
        review_margin: float,
    ) -> Evidence:
        """From (false-match rate, threshold) rows, strictest last."""
        rates, thresholds = zip(*table, strict=True) if table else ((), ())
        return cls(edge, min(fragment, edge), review_margin, tuple(thresholds), tuple(rates))

    def weight(self, scores: Floats) -> npt.NDArray[np.float64]:
        """Decades of false-match rate that similarities stand for, float64, positive.

        A pair of weight 6 is as similar as one in 10⁶ pairs of different people. Above the
        table the last slope goes on; below it the weight is that of its first row.
        """
        decades = -np.log10(np.asarray(self.rates))
        weights = np.interp(scores, self.thresholds, decades)
        if len(decades) > 1 and self.thresholds[-1] > self.thresholds[-2]:
            slope = (decades[-1] - decades[-2]) / (self.thresholds[-1] - self.thresholds[-2])
            weights = weights + slope * np.maximum(np.asarray(scores) - self.thresholds[-1], 0)
        return np.asarray(np.maximum(weights, 1e-3))

    def needed(self, left: Ints, right: Ints) -> npt.NDArray[np.float64]:
        """Mean cosine that two groups of so many faces need to be one person, float64.

        The mean over more pairs scatters less, so it may be lower: from `edge` for two single
        faces towards `fragment`.
        """
        return np.asarray(self.fragment + (self.edge - self.fragment) / (left * right))
