"""Verification accuracy over all comparisons: error trade-off, EER, AUC and TAR at FAR.

Each point of the curve answers: at the threshold that lets at most this share of impostor
comparisons pass, which share of genuine ones is refused? Its interval holds both uncertainties:
each sample of people moves the threshold, and the misses at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecore.lifecycle.evaluation.estimate import Estimate, resampled_estimate, resampled_rate
from facecore.lifecycle.evaluation.face_scores import FaceScores, area_under_roc, crossing
from facecore.lifecycle.intervals import supported_rate
from facecore.lifecycle.people_bootstrap import (
    draws,
    percentile_interval,
    resampled_misses,
    resampled_thresholds,
)
from facecore.types import Floats

TARGET_FARS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_PER_DECADE = 8
_HIGHEST_RATE = 0.5
# Draws reach more impostor comparisons than there are: the kept ones must reach that far.
_RESERVE = 1.3


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The trade-off at one false-match rate.

    Attributes:
        fmr: the most that is let through.
        threshold: the lowest that keeps `fmr`, with its interval; the interval is None where
            not enough of the highest scores are kept to resample it.
        fnmr: share of genuine comparisons below the threshold.
    """

    fmr: float
    threshold: float
    threshold_low: float | None
    threshold_high: float | None
    fnmr: Estimate


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """True-accept rate at a false-accept rate; None, with a note, where it is not supported."""

    far: float
    supported: bool
    threshold: float | None
    tar: Estimate | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Accuracy over all comparisons of labelled faces.

    Attributes:
        supported_fmr: the lowest false-match rate that the impostor comparisons support (rule
            of three); the curve ends there.
        auc: area under the ROC curve.
        eer: equal error rate.
        points: falling false-match rates.
        tar_at_far: for the usual targets.
    """

    images: int
    people: int
    genuine: int
    impostors: int
    supported_fmr: float
    auc: float
    eer: Estimate
    points: tuple[CurvePoint, ...]
    tar_at_far: tuple[TarAtFar, ...]


def error_curve(
    scores: FaceScores, *, target_fars: Sequence[float] = TARGET_FARS, seed: int = 0
) -> ErrorCurve:
    """Trade-off of the two errors, down to the lowest supported false-match rate."""
    lowest = supported_rate(scores.impostors.total)
    targets = [far for far in target_fars if far >= lowest * (1 - 1e-9)]
    steps = round(np.log10(_HIGHEST_RATE / lowest) * _PER_DECADE) + 1
    grid = np.geomspace(_HIGHEST_RATE, lowest, max(steps, 2)).tolist()
    rates = sorted({*grid, *targets}, reverse=True)
    thresholds = [scores.impostors.threshold(rate) for rate in rates]
    moved, missed = resampled_errors(scores, rates, thresholds, seed=seed)
    points = tuple(
        _point(scores, rate, threshold, moved[:, column], missed[:, column])
        for column, (rate, threshold) in enumerate(zip(rates, thresholds, strict=True))
    )
    by_rate = {point.fmr: point for point in points}
    eer = crossing(scores.genuine.scores, scores.impostors)
    crossings = np.array([crossing_of(np.array(rates), row) for row in missed])
    return ErrorCurve(
        images=len(scores),
        people=len(scores.names),
        genuine=len(scores.genuine),
        impostors=scores.impostors.total,
        supported_fmr=lowest,
        auc=area_under_roc(scores.genuine.scores, scores.impostors),
        eer=resampled_estimate(eer, crossings),
        points=points,
        tar_at_far=tuple(
            _tar(by_rate.get(far), far, scores.impostors.total) for far in target_fars
        ),
    )


def resampled_errors(
    scores: FaceScores,
    rates: Sequence[float],
    thresholds: Sequence[float],
    *,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Thresholds and false-non-match rates of other samples of people, `[replicates, rates]`.

    Where the kept impostor scores do not reach down to a rate, its threshold stays as given and
    is NaN in the first answer.
    """
    tail = scores.impostors.tail()
    total = scores.impostors.total
    covered = np.array(
        [rate * total * _RESERVE < len(tail) or len(tail) == total for rate in rates]
    )
    moved, missed = [], []
    for times in draws(len(scores.images_per_person), seed=seed):
        used = np.array(thresholds, np.float32)
        if covered.any():
            wanted = [rate for rate, known in zip(rates, covered, strict=True) if known]
            used[covered] = resampled_thresholds(tail, scores.images_per_person, times, wanted)
        missed.append(resampled_misses(scores.genuine, times, used))
        moved.append(np.where(covered, used, np.nan).astype(np.float32))
    return np.stack(moved), np.stack(missed)


def misses_at(scores: FaceScores, threshold: float) -> float:
    """False-non-match rate at a threshold, 0..1."""
    return float((scores.genuine.scores < np.float32(threshold)).mean())


def _point(
    scores: FaceScores, rate: float, threshold: float, moved: Floats, missed: Floats
) -> CurvePoint:
    misses = int((scores.genuine.scores < np.float32(threshold)).sum())
    trials = len(scores.genuine)
    low: float | None = None
    high: float | None = None
    if not np.isnan(moved).any():
        low, high = percentile_interval(moved)
        low, high = round(min(low, threshold), 4), round(max(high, threshold), 4)
    fnmr = resampled_rate(misses / trials, missed, misses, trials)
    return CurvePoint(rate, threshold, low, high, fnmr)


def _tar(point: CurvePoint | None, far: float, impostors: int) -> TarAtFar:
    if point is None:
        note = (
            f"{impostors:,} impostor comparisons support no false-accept rate below "
            f"{supported_rate(impostors):.1e} (rule of three)"
        )
        return TarAtFar(far, False, None, None, note)
    tar = Estimate(1 - point.fnmr.value, 1 - point.fnmr.high, 1 - point.fnmr.low)
    return TarAtFar(far, True, point.threshold, tar)


def crossing_of(rates: np.ndarray, missed: Floats) -> float:
    """Where falling `rates` meet rising `missed`, interpolated between grid points."""
    gap = missed - rates
    after = int(np.argmax(gap >= 0))
    if gap[after] < 0:  # they meet below the lowest supported rate
        return float(rates[-1])
    if after == 0:
        return float(missed[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(rates[after - 1] + share * (rates[after] - rates[after - 1]))
