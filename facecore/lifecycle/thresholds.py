"""From score distributions to thresholds: for verification (1:1) and for identification (1:N).

A calibration is a table *false-match rate → threshold*, measured on all pairs of images of
different people. Two rules keep it honest. No rate below 3/N of N impostor comparisons is in
the table (rule of three). And the intervals come from resampling **people**, not pairs (see
`people_bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from facecore.errors import UsageError
from facecore.lifecycle.intervals import supported_rate
from facecore.lifecycle.people_bootstrap import (
    draws,
    percentile_interval,
    resampled_misses,
    resampled_thresholds,
)
from facecore.lifecycle.score_distribution import ImpostorScores, Ints, ScoredPairs
from facecore.types import Floats

VERIFICATION_FMR = 1e-3
RATES = tuple(m * 10.0**e for e in range(-1, -10, -1) for m in (1.0, 0.5, 0.2))


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """One row of a calibration.

    Attributes:
        fmr: false-match rate: share of impostor comparisons at or above `threshold`, at most.
        low, high: 95 % interval of the threshold that belongs to `fmr`.
        interval: how it was found; "binomial" (too narrow, see above) only where more scores
            lie above the threshold than are kept.
        matches: impostor comparisons at or above the threshold.
        fnmr: false-non-match rate: share of genuine comparisons below it, with its interval.
    """

    fmr: float
    threshold: float
    low: float
    high: float
    interval: Literal["people bootstrap", "binomial"]
    matches: int
    fnmr: float
    fnmr_low: float
    fnmr_high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds of one embedding contract, strictest last, and where they come from.

    Attributes:
        contract: digest of the contract whose scores were measured.
        supported_fmr: 3 / impostors; nothing below it is stated without `extrapolated`.
        provenance: the command, the version and the precision that made it.
    """

    contract: str
    dataset: str
    images: int
    people: int
    faces_not_found: int
    genuine: int
    impostors: int
    supported_fmr: float
    points: tuple[ThresholdPoint, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def dated(self, day: str) -> Calibration:
        """The same, with this day (ISO) as its date."""
        return replace(self, provenance={**self.provenance, "date": day})

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; `from_json` reads it back."""
        return {**asdict(self), "points": [asdict(p) for p in self.points]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            UsageError: fields are missing or unknown, or the table is empty or not monotonic.
        """
        try:
            points = tuple(ThresholdPoint(**p) for p in document["points"])
            calibration = cls(**{**document, "points": points})
        except (KeyError, TypeError) as error:
            raise UsageError(f"this is not a calibration: {error}.") from error
        rates = [p.fmr for p in points]
        thresholds = [p.threshold for p in points]
        if not points or rates != sorted(rates, reverse=True) or thresholds != sorted(thresholds):
            raise UsageError("a calibration needs rates that fall and thresholds that rise.")
        return calibration


@dataclass(frozen=True, slots=True)
class OperatingThreshold:
    """The threshold to use, and what it promises.

    Attributes:
        threshold: cosine similarity needed to accept; low and high are its 95 % interval.
        fmr: the false-match rate of one comparison that it stands for.
        extrapolated: `fmr` is below what the calibration measured; see `threshold_for_gallery`.
        target_fpir, gallery_size: the question, for 1:N.
    """

    threshold: float
    low: float
    high: float
    fmr: float
    supported_fmr: float
    extrapolated: bool = False
    target_fpir: float | None = None
    gallery_size: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def calibrate(
    genuine: ScoredPairs,
    impostors: ImpostorScores,
    images_per_person: Ints,
    *,
    rates: Sequence[float] = RATES,
    seed: int = 0,
) -> tuple[ThresholdPoint, ...]:
    """Thresholds for falling false-match rates, down to the lowest supported one.

    Args:
        genuine: scores of pairs of one person.
        impostors: scores of all pairs of two people.
        images_per_person: int64 `[people]`, how many images of each person took part.
        rates: the false-match rates wanted; unsupported ones are left out, and the lowest
            supported one, 3/N, is added.

    Raises:
        UsageError: there are no genuine or too few impostor comparisons to say anything.
    """
    lowest = supported_rate(impostors.total)
    _refuse_few(len(genuine), impostors.total, max(rates))
    wanted = [r for r in sorted(rates, reverse=True) if r > lowest] + [lowest]
    thresholds = [impostors.threshold(rate) for rate in wanted]
    tail = impostors.tail()
    replicates = [
        (
            resampled_thresholds(tail, images_per_person, times, wanted),
            resampled_misses(genuine, times, thresholds),
        )
        for times in draws(len(images_per_person), seed=seed)
    ]
    resampled = np.stack([found for found, _ in replicates])
    misses = np.stack([missed for _, missed in replicates])
    points = []
    for column, (rate, threshold) in enumerate(zip(wanted, thresholds, strict=True)):
        covered = rate * impostors.total * 1.3 < len(tail) or len(tail) == impostors.total
        low, high = (
            _interval(resampled[:, column]) if covered else _binomial_interval(impostors, rate)
        )
        fnmr_low, fnmr_high = _interval(misses[:, column])
        points.append(
            ThresholdPoint(
                fmr=rate,
                threshold=threshold,
                low=min(low, threshold),
                high=max(high, threshold),
                interval="people bootstrap" if covered else "binomial",
                matches=impostors.accepted(threshold),
                fnmr=float((genuine.scores < threshold).mean()),
                fnmr_low=fnmr_low,
                fnmr_high=fnmr_high,
            )
        )
    return tuple(points)


def require_enough(images_per_person: Ints) -> None:
    """Check that a calibration can succeed on so many images of each person, int64 `[people]`.

    Raises:
        UsageError: there are too few genuine or impostor comparisons among them.
    """
    counts = images_per_person.astype(np.int64)
    genuine = int((counts * (counts - 1) // 2).sum())
    _refuse_few(genuine, int(counts.sum()) * int(counts.sum() - 1) // 2 - genuine, max(RATES))


def threshold_at(calibration: Calibration, fmr: float = VERIFICATION_FMR) -> OperatingThreshold:
    """The threshold for a false-match rate of single comparisons (1:1).

    Between rows of the table it interpolates in log(FMR); above the highest rate it keeps the
    threshold of that rate.

    Raises:
        UsageError: the calibration's impostor comparisons do not support so low a rate.
    """
    if not 0.0 < fmr <= 1.0:
        raise UsageError(f"a false-match rate lies in 0..1, not {fmr}.")
    points = calibration.points
    if fmr < points[-1].fmr * (1 - 1e-9):
        raise UsageError(
            f"{calibration.impostors:,} impostor comparisons support no false-match rate below "
            f"{calibration.supported_fmr:.1e}; {fmr:.1e} was asked for.",
            remedy="Calibrate on more people.",
        )
    x = -math.log10(fmr)
    rates = [-math.log10(p.fmr) for p in points]
    return OperatingThreshold(
        threshold=round(float(np.interp(x, rates, [p.threshold for p in points])), 4),
        low=round(float(np.interp(x, rates, [p.low for p in points])), 4),
        high=round(float(np.interp(x, rates, [p.high for p in points])), 4),
        fmr=fmr,
        supported_fmr=calibration.supported_fmr,
    )


def threshold_for_gallery(
    calibration: Calibration, target_fpir: float, gallery_size: int
) -> OperatingThreshold:
    """The threshold for searching a gallery (1:N).

    A face that is not enrolled is compared with every gallery face, and each comparison can
    fail: FPIR = 1 - (1 - FMR)^N, so FMR = 1 - (1 - FPIR)^(1/N). This takes comparisons as
    independent; N counts gallery *faces*, not people, which errs on the strict side.

    Where the rate needed is below what the calibration supports, refusing would leave large
    galleries without any threshold, and reusing the last one would break the promise silently.
    So the threshold is extrapolated, in favour of refusing: from the upper end of the last
    interval, with the steepest slope of the last two decades of the table. True score tails
    fall faster than that. The result says `extrapolated`.

    Args:
        target_fpir: share of searches for unenrolled faces that may name somebody, 0..1.
        gallery_size: number of enrolled faces; an empty gallery counts as one.

    Raises:
        UsageError: `target_fpir` is not within 0..1 or `gallery_size` is negative.
    """
    if not 0.0 < target_fpir < 1.0:
        raise UsageError(f"a target FPIR lies between 0 and 1, not {target_fpir}.")
    if gallery_size < 0:
        raise UsageError(f"a gallery cannot have {gallery_size} faces.")
    fmr = -math.expm1(math.log1p(-target_fpir) / max(gallery_size, 1))
    last = calibration.points[-1]
    if fmr >= last.fmr:
        found = threshold_at(calibration, fmr)
        threshold, low, high = found.threshold, found.low, found.high
    else:
        rise = _steepest_slope(calibration.points) * math.log10(last.fmr / fmr)
        low = min(1.0, last.threshold + rise)
        threshold = high = min(1.0, last.high + rise)
    return OperatingThreshold(
        threshold=round(threshold, 4),
        low=round(low, 4),
        high=round(high, 4),
        fmr=fmr,
        supported_fmr=calibration.supported_fmr,
        extrapolated=fmr < last.fmr,
        target_fpir=target_fpir,
        gallery_size=gallery_size,
    )


def _refuse_few(genuine: int, impostors: int, loosest: float) -> None:
    if not genuine or supported_rate(impostors) >= loosest:
        raise UsageError(
            f"{genuine:,} genuine and {impostors:,} impostor comparisons are too few to calibrate "
            "a threshold.",
            remedy="Give images of more people, with at least two images of some of them.",
        )


def _steepest_slope(points: Sequence[ThresholdPoint]) -> float:
    """Rise of the threshold per decade of FMR: the largest over the last two decades."""
    near = [p for p in points if p.fmr <= points[-1].fmr * 100 * (1 + 1e-9)]
    if len(near) < 2:
        near = list(points[-2:])
    return max(
        ((b.threshold - a.threshold) / math.log10(a.fmr / b.fmr) for a, b in pairwise(near)),
        default=1.0,
    )


def _interval(values: Floats) -> tuple[float, float]:
    low, high = percentile_interval(values)
    return round(low, 4), round(high, 4)


def _binomial_interval(impostors: ImpostorScores, rate: float) -> tuple[float, float]:
    count = rate * impostors.total
    spread = 1.96 * math.sqrt(count * (1 - rate))
    return (
        impostors.threshold_for_count(count + spread),
        impostors.threshold_for_count(count - spread),
    )
