"""Are two samples from the same distribution? Pure functions; see each for its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.types import Floats

_BINS = 10
_FOLDS = 10
_SEED = 20


@dataclass(frozen=True, slots=True)
class Stability:
    """A population stability index, and the chance of one this large without any change."""

    value: float
    p_value: float
    bins: int


@dataclass(frozen=True, slots=True)
class Distinguishable:
    """How well a classifier tells two samples apart on rows it was not trained on.

    Attributes:
        auc: 0.5 is guessing, 1 is always right.
        p_value: chance of such an AUC without any difference (Mann-Whitney, one-sided).
        rows: how many it was tested on.
    """

    auc: float
    p_value: float
    rows: int


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a quantile moved, with its standard error."""

    value: float
    error: float
    before: float
    after: float


def stability(reference: Sequence[int], period: Sequence[int]) -> Stability | None:
    """Population stability index of two histograms over the same bins.

    Neighbouring bins are joined until each holds a tenth of the reference; one that holds so much
    by itself stays apart from those before it. Half a count is added to each bin, so that an
    empty one is no infinity. Without a change, the index times the
    harmonic sample size is χ² with bins - 1 degrees of freedom (Yurdakul & Naranjo 2020).

    Returns:
        None where the reference fills a single bin and the period no other.
    """
    from scipy.stats import chi2  # type: ignore[import-untyped]

    if not sum(reference) or not sum(period):
        return None
    old, new = _joined(np.asarray(reference, np.float64), np.asarray(period, np.float64))
    if len(old) < 2:
        return None
    p = (old + 0.5) / (old.sum() + 0.5 * len(old))
    q = (new + 0.5) / (new.sum() + 0.5 * len(new))
    value = float(((q - p) * np.log(q / p)).sum())
    size = old.sum() * new.sum() / (old.sum() + new.sum())
    return Stability(value, float(chi2.sf(value * size, len(old) - 1)), len(old))


def _joined(
    old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    least = old.sum() / _BINS
    ends: list[int] = []
    held = 0.0
    for place, count in enumerate(old):
        start = ends[-1] if ends else 0
        if count >= least and (held > 0 or new[start:place].sum() > 0):
            ends.append(place)
            held = 0.0
        held += count
        if held >= least:
            ends.append(place + 1)
            held = 0.0
    if not ends:
        return old[:0], new[:0]
    if new[ends[-1] :].sum() > 0 and ends[-1] < len(old):
        ends.append(len(old))  # values beyond everything that was known
    else:
        ends[-1] = len(old)
    starts = [0, *ends[:-1]]
    return np.add.reduceat(old, starts), np.add.reduceat(new, starts)


def distinguishable(
    reference: Floats,
    period: Floats,
    reference_groups: Sequence[str],
    period_groups: Sequence[str],
) -> Distinguishable | None:
    """Classifier two-sample test (Lopez-Paz & Oquab, Revisiting Classifier Two-Sample Tests, 2017).

    Gradient-boosted trees learn on half of the groups which sample a row is from, and are tested
    on the other half: rows of one burst are never on both sides.

    Args:
        reference, period: measurements float32 `[n, k]`; NaN: not measured.
        reference_groups, period_groups: for each row what it belongs to.

    Returns:
        None where a half lacks one of the samples, or nothing varies.
    """
    from scipy.stats import mannwhitneyu
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.concatenate([reference, period])
    labels = np.r_[np.zeros(len(reference), np.int64), np.ones(len(period), np.int64)]
    names = np.array([*reference_groups, *period_groups])
    train = np.zeros(len(rows), bool)
    random = np.random.default_rng(_SEED)
    for label in (0, 1):
        groups = np.unique(names[labels == label])
        chosen = groups[random.permutation(len(groups))[: (len(groups) + 1) // 2]]
        train |= (labels == label) & np.isin(names, chosen)
    if any(len(np.unique(labels[part])) < 2 for part in (train, ~train)):
        return None
    rows = _varying(rows, train)
    if not rows.shape[1]:
        return None
    model = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, min_samples_leaf=10, class_weight="balanced",
        early_stopping=False, random_state=_SEED,
    ).fit(rows[train], labels[train])  # fmt: skip
    scores = model.predict_proba(rows[~train])[:, 1]
    tested = labels[~train]
    one, other = scores[tested == 1], scores[tested == 0]
    test = mannwhitneyu(one, other, alternative="greater")
    return Distinguishable(
        float(test.statistic) / (len(one) * len(other)), float(test.pvalue), len(scores)
    )


def _varying(rows: Floats, train: npt.NDArray[np.bool_]) -> Floats:
    """The columns that have two values or more among the rows to train on; missing is a value."""
    columns = [*rows.T, *np.isnan(rows).astype(np.float32).T]
    kept = [c for c in columns if len(np.unique(c[train][~np.isnan(c[train])])) > 1]
    return np.stack(kept, axis=1) if kept else np.zeros((len(rows), 0), np.float32)


def quantile_shifts(
    reference: tuple[Floats, npt.NDArray[np.int64]],
    period: tuple[Floats, npt.NDArray[np.int64]],
    quantiles: Sequence[float],
) -> list[Shift]:
    """How far quantiles of the scores between different people moved.

    The standard error is a jackknife over people, a tenth of them at a time: pairs that share a
    person are not independent.

    Args:
        reference, period: unit vectors float32 `[n, d]` and whose they are `[n]`; of at least ten
            people each.
    """
    old, new = _jackknifed(*reference, quantiles), _jackknifed(*period, quantiles)
    return [
        Shift(after - before, float(np.hypot(error, other)), before, after)
        for (before, error), (after, other) in zip(old, new, strict=True)
    ]


def impostor_scores(vectors: Floats, people: npt.NDArray[np.int64]) -> Floats:
    """Cosine similarity of every pair of vectors of two different people."""
    first, second = np.triu_indices(len(vectors), 1)
    different = people[first] != people[second]
    scores = (vectors @ vectors.T)[first[different], second[different]]
    return np.asarray(scores, np.float32)


def _jackknifed(
    vectors: Floats, people: npt.NDArray[np.int64], quantiles: Sequence[float]
) -> list[tuple[float, float]]:
    """Each quantile with its standard error."""
    known = np.unique(people)
    fold_of = dict(zip(known.tolist(), (np.arange(len(known)) % _FOLDS).tolist(), strict=True))
    folds = np.array([fold_of[int(person)] for person in people])
    first, second = np.triu_indices(len(vectors), 1)
    different = people[first] != people[second]
    first, second = first[different], second[different]
    scores = (vectors @ vectors.T)[first, second]
    whole = np.quantile(scores, quantiles)
    left_out = np.array([
        np.quantile(scores[(folds[first] != fold) & (folds[second] != fold)], quantiles)
        for fold in range(_FOLDS)
    ])  # fmt: skip
    spread = ((left_out - left_out.mean(0)) ** 2).sum(0) * (_FOLDS - 1) / _FOLDS
    return [
        (float(value), float(error)) for value, error in zip(whole, np.sqrt(spread), strict=True)
    ]
