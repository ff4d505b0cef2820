"""Intervals from resampling people, not pairs or images.

A pair shares its images with thousands of other pairs, and images of one person resemble each
other. Intervals that take either as independent are far too narrow. Drawing whole *people* with
replacement, and weighting everything by how often its people were drawn, is not (Bolle, Ratha &
Pankanti, *Error analysis of pattern recognition systems – the subsets bootstrap*, CVIU 2004).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.intervals import CONFIDENCE
from facecore.lifecycle.score_distribution import Ints, ScoredPairs
from facecore.types import Floats

REPLICATES = 200


def draws(people: int, *, replicates: int = REPLICATES, seed: int = 0) -> Iterator[Ints]:
    """How often each person is drawn, int64 `[people]`, once per replicate.

    The same arguments give the same draws: two models judged on the same people are judged on
    the same samples of them.
    """
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, people, people), minlength=people).astype(np.int64)


def resampled_thresholds(
    tail: ScoredPairs, images_per_person: Ints, times: Ints, rates: Sequence[float]
) -> Floats:
    """The thresholds that another sample of people would have given, float32 `[rates]`.

    Args:
        tail: the highest impostor scores, descending.
        images_per_person: int64 `[people]`.
        times: int64 `[people]`, how often each person was drawn.
        rates: false-match rates; the tail must reach below the thresholds that belong to them.
    """
    drawn = times * images_per_person
    total = (float(drawn.sum()) ** 2 - float((drawn.astype(np.float64) ** 2).sum())) / 2
    weight = np.cumsum(times[tail.left] * times[tail.right])
    index = np.searchsorted(weight, np.asarray(rates) * total, side="right")
    return tail.scores[np.minimum(index, len(tail) - 1)]


def resampled_misses(
    genuine: ScoredPairs, times: Ints, thresholds: Sequence[float] | Floats
) -> Floats:
    """The false-non-match rates that another sample of people would have given, `[thresholds]`."""
    weights = times[genuine.left].astype(np.float64)
    total = max(float(weights.sum()), 1.0)
    order = np.argsort(genuine.scores, kind="stable")
    missed = np.concatenate(([0.0], np.cumsum(weights[order])))
    index = np.searchsorted(genuine.scores[order], thresholds, side="left")
    return (missed[index] / total).astype(np.float32)


def percentile_interval(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The middle 95 % of the values of all replicates."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
