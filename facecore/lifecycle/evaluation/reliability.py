"""Do stated probabilities come true? Reliability of a matcher, or of scores as probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.estimate import Estimate, resampled_estimate
from facecore.lifecycle.evaluation.face_scores import FaceScores
from facecore.lifecycle.intervals import Proportion, proportion
from facecore.lifecycle.people_bootstrap import draws
from facecore.lifecycle.score_distribution import Ints
from facecore.lifecycle.verification import equal_error_rate
from facecore.types import Floats

BINS = 10
# Vectors [n, d] and [n, d] → probability [n] that each pair is one person.
Matcher = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs whose stated probability lies in low..high."""

    low: float
    high: float
    stated: float
    observed: Proportion


@dataclass(frozen=True, slots=True)
class Reliability:
    """How stated probabilities and observed frequencies agree.

    Attributes:
        source: what states them.
        pairs: half of them genuine.
        expected_error: mean distance of stated and observed, weighted by the bins' counts
            (expected calibration error), 0..1.
        brier: mean squared distance of probability and truth, 0..1.
        bins: ten of equal width, without the empty ones.
    """

    source: str
    pairs: int
    expected_error: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class MatcherResult:
    """A learned matcher beside the plain cosine, on the same balanced pairs."""

    auc: Estimate
    eer: Estimate
    cosine_auc: Estimate
    cosine_eer: Estimate
    reliability: Reliability


@dataclass(frozen=True, slots=True)
class BalancedPairs:
    """As many pairs of two people as of one. Rows of `FaceScores.vectors`.

    Both people of a pair are in the same half of the people (0 or 1), so that what is fitted on
    one half is judged on people it never saw.
    """

    left: Ints
    right: Ints
    same: npt.NDArray[np.bool_]
    half: Ints


def reliability(
    probability: npt.NDArray[np.floating], same: npt.NDArray[np.bool_], *, source: str
) -> Reliability:
    """Compare probabilities `[n]` in 0..1 with the truth, bool `[n]`.

    Raises:
        UsageError: nothing to compare, or a probability is not in 0..1.
    """
    stated = np.asarray(probability, np.float64)
    if not len(stated) or not ((stated >= 0) & (stated <= 1)).all():
        raise UsageError("probabilities must be given and lie in 0..1.")
    which = np.minimum((stated * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in np.unique(which).tolist():
        inside = which == number
        observed = proportion(int(same[inside].sum()), int(inside.sum()))
        bins.append(
            ReliabilityBin(
                number / BINS, (number + 1) / BINS, float(stated[inside].mean()), observed
            )
        )
    gaps = sum(abs(b.stated - b.observed.value) * b.observed.trials for b in bins)
    return Reliability(
        source=source,
        pairs=len(stated),
        expected_error=gaps / len(stated),
        brier=float(((stated - same) ** 2).mean()),
        bins=tuple(bins),
    )


def balanced_pairs(scores: FaceScores, *, seed: int = 0) -> BalancedPairs | None:
    """The genuine pairs, and as many random pairs of different people.

    None when one half of the people gives no genuine or no impostor pair.
    """
    rng = np.random.default_rng(seed)
    half_of = (rng.permutation(len(scores.names)) % 2).astype(np.int64)
    doubles = {tuple(sorted(pair)) for pair in scores.doubles}
    genuine_half = half_of[scores.genuine.left]
    lefts, rights = [scores.genuine_left], [scores.genuine_right]
    halves = [genuine_half]
    for half in (0, 1):
        wanted = int((genuine_half == half).sum())
        rows = np.flatnonzero((scores.people >= 0) & (half_of[scores.people] == half))
        if not wanted or len(np.unique(scores.people[rows])) < 2:
            return None
        left, right = _impostors(rng, rows, scores.people, doubles, wanted)
        lefts.append(left)
        rights.append(right)
        halves.append(np.full(len(left), half, np.int64))
    same = np.zeros(sum(map(len, lefts)), np.bool_)
    same[: len(scores.genuine_left)] = True
    return BalancedPairs(
        np.concatenate(lefts), np.concatenate(rights), same, np.concatenate(halves)
    )


def score_reliability(scores: FaceScores, pairs: BalancedPairs) -> Reliability:
    """Reliability of cosine similarities made probabilities by a logistic curve (Platt).

    The curve is fitted on one half of the people and judged on the other, both ways.
    """
    from sklearn.linear_model import LogisticRegression

    cosine = _cosine(scores, pairs).astype(np.float64)[:, None]
    stated = np.zeros(len(cosine))
    for half in (0, 1):
        fitted = LogisticRegression(C=1e6).fit(
            cosine[pairs.half != half], pairs.same[pairs.half != half]
        )
        stated[pairs.half == half] = fitted.predict_proba(cosine[pairs.half == half])[:, 1]
    return reliability(stated, pairs.same, source="cosine similarity, logistic curve")


def judge_matcher(
    scores: FaceScores, pairs: BalancedPairs, matcher: Matcher, *, seed: int = 0
) -> MatcherResult:
    """A learned matcher's accuracy and reliability.

    Raises:
        UsageError: the matcher does not give one probability in 0..1 per pair.
    """
    stated = np.asarray(matcher(scores.vectors[pairs.left], scores.vectors[pairs.right]))
    if stated.shape != pairs.same.shape:
        raise UsageError(f"the matcher gave {stated.shape} probabilities for {pairs.same.shape}.")
    judged = reliability(stated, pairs.same, source="matcher")
    cosine = _cosine(scores, pairs)
    auc, eer = _accuracy(stated.astype(np.float32), scores, pairs, seed)
    cosine_auc, cosine_eer = _accuracy(cosine, scores, pairs, seed)
    return MatcherResult(auc, eer, cosine_auc, cosine_eer, judged)


def _cosine(scores: FaceScores, pairs: BalancedPairs) -> Floats:
    cosine: Floats = np.einsum(
        "nd,nd->n", scores.vectors[pairs.left], scores.vectors[pairs.right]
    ).astype(np.float32)
    return cosine


def _accuracy(
    values: Floats, scores: FaceScores, pairs: BalancedPairs, seed: int
) -> tuple[Estimate, Estimate]:
    from sklearn.metrics import roc_auc_score

    left, right = scores.people[pairs.left], scores.people[pairs.right]
    aucs, eers = [], []
    for times in draws(len(scores.names), seed=seed):
        rows = np.repeat(
            np.arange(len(values)), np.where(left == right, times[left], times[left] * times[right])
        )
        truth = pairs.same[rows]
        if truth.all() or not truth.any():
            continue  # a sample without one kind of pair says nothing
        aucs.append(roc_auc_score(truth, values[rows]))
        eers.append(equal_error_rate(values[rows], truth))
    return (
        resampled_estimate(float(roc_auc_score(pairs.same, values)), np.array(aucs)),
        resampled_estimate(equal_error_rate(values, pairs.same), np.array(eers)),
    )


def _impostors(
    rng: np.random.Generator,
    rows: Ints,
    people: Ints,
    doubles: set[tuple[int, ...]],
    wanted: int,
) -> tuple[Ints, Ints]:
    """`wanted` random pairs of rows of different people."""
    left, right = np.zeros(0, np.int64), np.zeros(0, np.int64)
    while len(left) < wanted:
        a, b = rng.choice(rows, (2, 2 * wanted))
        fits = (people[a] != people[b]) & np.array(
            [
                tuple(sorted(pair)) not in doubles
                for pair in zip(people[a].tolist(), people[b].tolist(), strict=True)
            ],
            np.bool_,
        )
        left, right = np.concatenate((left, a[fits])), np.concatenate((right, b[fits]))
    return left[:wanted], right[:wanted]
