"""Measures and verdicts of a drift check, from what was counted and sampled. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from facecore.analytics.drift.canaries import Reproduced
from facecore.analytics.drift.two_samples import (
    distinguishable,
    impostor_scores,
    quantile_shifts,
    stability,
)
from facecore.types import Floats

State = Literal["stable", "drift", "too_few"]
ALL = "all"
QUANTILES = (0.5, 0.9, 0.99)
LEAST_PEOPLE = 10
LEAST_EXPECTED = 20
RATE_FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a measure is drift; see `config.DriftSettings`."""

    psi: float
    auc: float
    score_shift: float
    alpha: float
    canary_tolerance: float
    min_samples: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measure of one subject: `all`, `source/<name>` or a model version.

    `value` is None where there was too little to compare.
    """

    subject: str
    measure: str
    state: State
    value: float | None
    upper_limit: float
    p_value: float | None = None
    reference_n: int = 0
    period_n: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


def canary(subject: str, found: Reproduced | None, limits: Limits) -> Measurement:
    """Whether the embedder still makes what it made; nothing to compare at the first check."""
    if found is None:
        return Measurement(subject, "canary", "too_few", None, limits.canary_tolerance)
    return Measurement(
        subject,
        "canary",
        "drift" if not found.worst <= limits.canary_tolerance else "stable",
        found.worst,
        limits.canary_tolerance,
        reference_n=found.compared,
        period_n=found.compared,
        details={"mean_distance": found.mean},
    )


def distributions(
    reference: pd.DataFrame, period: pd.DataFrame, limits: Limits
) -> Iterator[Measurement]:
    """Stability of every measurement, of all sources together and of each.

    Args:
        reference, period: columns source, measure, bucket, n; one row per bin that is not empty.
    """
    sources = sorted({str(s) for frame in (reference, period) for s in frame["source"]})
    subjects = [(ALL, None), *((f"source/{name}", name) for name in sources)]
    # Two sources are not looked at twice: alone, a single source is all of them.
    for subject, source in subjects[: 1 if len(sources) < 2 else None]:
        counts = [_by_measure(frame, source) for frame in (reference, period)]
        for measure in sorted(set(counts[0]) | set(counts[1])):
            old, new = (one.get(measure, {}) for one in counts)
            yield _stable(subject, measure, old, new, limits)


def _stable(
    subject: str, measure: str, old: Mapping[int, int], new: Mapping[int, int], limits: Limits
) -> Measurement:
    sizes = (sum(old.values()), sum(new.values()))
    bins = range(max([*old, *new], default=-1) + 1)
    found = None
    if min(sizes) >= limits.min_samples:
        found = stability([old.get(b, 0) for b in bins], [new.get(b, 0) for b in bins])
        if found is None:  # everything in one bin, before and now
            return Measurement(subject, f"psi {measure}", "stable", 0.0, limits.psi, 1.0, *sizes)
    if found is None:
        return Measurement(subject, f"psi {measure}", "too_few", None, limits.psi, None, *sizes)
    drifted = found.value > limits.psi and found.p_value < limits.alpha
    return Measurement(
        subject, f"psi {measure}", "drift" if drifted else "stable", found.value, limits.psi,
        found.p_value, *sizes, details={"bins": found.bins},
    )  # fmt: skip


def told_apart(
    what: str,
    reference: tuple[Floats, Sequence[str]],
    period: tuple[Floats, Sequence[str]],
    limits: Limits,
) -> Measurement:
    """Whether a classifier can tell rows of the period from rows of the reference."""
    sizes = (len(reference[0]), len(period[0]))
    found = None
    if min(sizes) >= limits.min_samples:
        found = distinguishable(reference[0], period[0], reference[1], period[1])
    name = f"two-sample {what}"
    if found is None:
        return Measurement(ALL, name, "too_few", None, limits.auc, None, *sizes)
    drifted = found.auc > limits.auc and found.p_value < limits.alpha
    return Measurement(
        ALL, name, "drift" if drifted else "stable", found.auc, limits.auc, found.p_value, *sizes,
        details={"tested_on": found.rows},
    )  # fmt: skip


def impostors(
    reference: tuple[Floats, npt.NDArray[np.int64]],
    period: tuple[Floats, npt.NDArray[np.int64]],
    limits: Limits,
    *,
    threshold: float | None,
    target_fmr: float | None,
) -> Iterator[Measurement]:
    """Whether scores between different people moved, and how often they reach the threshold.

    Args:
        reference, period: unit vectors `[n, d]` and whose they are `[n]`.
        threshold, target_fmr: of the embedder for 1:1 comparisons; None: not calibrated.
    """
    sizes = (len(np.unique(reference[1])), len(np.unique(period[1])))
    names = [f"impostor q{round(100 * q)}" for q in QUANTILES]
    if min(sizes) < LEAST_PEOPLE:
        for name in names:
            yield Measurement(ALL, name, "too_few", None, limits.score_shift, None, *sizes)
        return
    for name, shift in zip(names, quantile_shifts(reference, period, QUANTILES), strict=True):
        clear = abs(shift.value) > _z(limits.alpha) * shift.error
        drifted = abs(shift.value) > limits.score_shift and clear
        yield Measurement(
            ALL, name, "drift" if drifted else "stable", abs(shift.value), limits.score_shift,
            None, *sizes,
            details={"before": shift.before, "after": shift.after, "standard_error": shift.error},
        )  # fmt: skip
    if threshold is not None and target_fmr is not None:
        yield _rate(impostor_scores(*period), threshold, target_fmr, sizes)


def _rate(
    scores: Floats, threshold: float, target_fmr: float, sizes: tuple[int, int]
) -> Measurement:
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    hits, limit = int((scores >= threshold).sum()), RATE_FACTOR * target_fmr
    low = float(binomtest(hits, len(scores)).proportion_ci(0.95).low)
    rate = hits / len(scores)
    drifted = rate > limit and low > target_fmr
    return Measurement(
        ALL, "impostor rate", "drift" if drifted else "stable", rate, limit, None, *sizes,
        details={"pairs": len(scores), "at_or_above_threshold": hits, "threshold": threshold,
                 "calibrated_rate": target_fmr, "interval_low": low},
    )  # fmt: skip


def silent_sources(
    reference: pd.DataFrame,
    period: pd.DataFrame,
    reference_days: Mapping[int, int],
    period_days: Mapping[int, int],
) -> Iterator[Measurement]:
    """Sources that delivered on such weekdays before, and nothing now.

    Args:
        reference, period: columns source, weekday (1 = Monday), n.
        reference_days, period_days: weekday → how often it is in the time looked at.
    """
    seen = {str(source) for source in period["source"]}
    rows = reference.to_dict("records")
    for source in sorted({str(row["source"]) for row in rows}):
        counts = {int(r["weekday"]): int(r["n"]) for r in rows if r["source"] == source}
        expected = sum(
            counts.get(day, 0) / reference_days[day] * times
            for day, times in period_days.items()
            if reference_days.get(day)
        )
        silent = source not in seen and expected >= LEAST_EXPECTED
        yield Measurement(
            f"source/{source}", "silent", "drift" if silent else "stable", float(silent), 0.5,
            None, sum(counts.values()), int(source in seen),
            details={"expected_images": round(expected, 1)},
        )  # fmt: skip


def _by_measure(frame: pd.DataFrame, source: str | None) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for row in frame.to_dict("records"):
        if source is None or row["source"] == source:
            bins = found.setdefault(str(row["measure"]), {})
            bins[int(row["bucket"])] = bins.get(int(row["bucket"]), 0) + int(row["n"])
    return found


def _z(alpha: float) -> float:
    from scipy.stats import norm

    return float(norm.isf(alpha / 2))
