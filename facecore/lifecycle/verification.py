"""Face verification measured as on Labeled Faces in the Wild: are two images one person?

Pure functions: scores in, numbers out. Scores are cosine similarities, higher is more alike;
a pair is called "same" when its score is at least the threshold. A pair of which a face was
not found has the score -1, the lowest possible, and is called "different" at every threshold:
not finding a genuine face costs accuracy, and is also reported by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.lifecycle.intervals import Proportion, proportion, supported_rate
from facecore.lifecycle.score_distribution import ImpostorScores
from facecore.types import Floats

NOT_FOUND_SCORE = -1.0
TARGET_FARS = (1e-2, 1e-3)

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One fold, judged by the threshold that did best on all *other* folds."""

    fold: int
    threshold: float
    accuracy: float
    pairs: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """True-accept rate where at most `target_far` of the impostors are accepted.

    Attributes:
        impostors: "pairs": the impostor pairs of the protocol; "cross-identity": every pair
            of images of two different people among the evaluated images.
        supported: whether the number of impostors reaches `target_far` (rule of three). Where
            it does not, threshold, tar and far are None and `note` says why.
    """

    target_far: float
    impostors: str
    impostor_count: int
    supported: bool
    threshold: float | None
    tar: Proportion | None
    far: Proportion | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification run; `to_json` makes it a JSON object.

    Attributes:
        accuracy: mean over folds; `accuracy_std` is the sample standard deviation over folds
            and `accuracy_interval` the exact binomial interval over all pairs.
        eer: error rate where false accepts equal false rejects (on the protocol's pairs).
        auc: area under the ROC curve (on the protocol's pairs).
        supported_far: the lowest FAR which the protocol's impostor pairs support.
    """

    pairs: int
    genuine: int
    impostors: int
    accuracy: float
    accuracy_std: float
    accuracy_standard_error: float
    accuracy_interval: Proportion
    folds: tuple[FoldResult, ...]
    auc: float
    eer: float
    supported_far: float
    operating_points: tuple[OperatingPoint, ...]
    images: int = 0
    faces_not_found: tuple[str, ...] = ()
    pairs_without_a_face: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)


def verify(
    scores: Floats, same: Bools, folds: Ints, *, target_fars: Sequence[float] = TARGET_FARS
) -> Verification:
    """Judge one score per pair.

    Args:
        scores: float32 `[n]`, higher is more alike.
        same: bool `[n]`, the truth.
        folds: int64 `[n]`, the fold of each pair.
        target_fars: false-accept rates at which the true-accept rate is wanted.

    Raises:
        UsageError: fewer than 2 folds, or a fold lacks genuine or impostor pairs, or scores
            are not finite.
    """
    from sklearn.metrics import roc_auc_score

    _check(scores, same, folds)
    results = tuple(_fold(scores, same, folds, fold) for fold in np.unique(folds).tolist())
    accuracies = np.array([r.accuracy for r in results])
    std = float(accuracies.std(ddof=1))
    right = sum(round(r.accuracy * r.pairs) for r in results)
    impostors = np.sort(scores[~same])
    return Verification(
        pairs=len(scores),
        genuine=int(same.sum()),
        impostors=len(impostors),
        accuracy=float(accuracies.mean()),
        accuracy_std=std,
        accuracy_standard_error=std / math.sqrt(len(results)),
        accuracy_interval=proportion(right, len(scores)),
        folds=results,
        auc=float(roc_auc_score(same, scores)),
        eer=equal_error_rate(scores, same),
        supported_far=supported_rate(len(impostors)),
        operating_points=tuple(
            operating_point(scores[same], impostors, far) for far in target_fars
        ),
    )


def best_threshold(scores: Floats, same: Bools) -> float:
    """The threshold with the highest accuracy.

    Candidates lie half-way between neighbouring scores; of equally good ones the middle one is
    taken, which is stable against small changes of the scores.
    """
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order].astype(np.float64), same[order]
    # right[k]: how many pairs are right when the k lowest scores are called "different"
    right = truth.sum() + np.concatenate(([0], np.cumsum(np.where(truth, -1, 1))))
    edges = np.concatenate(
        ([ordered[0] - 1e-6], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1e-6])
    )
    distinct = np.concatenate(([True], ordered[1:] > ordered[:-1], [True]))
    right = np.where(distinct, right, -1)
    best = np.flatnonzero(right == right.max())
    return float(edges[best[len(best) // 2]])


def equal_error_rate(scores: Floats, same: Bools) -> float:
    """Where the false-accept and the false-reject rate cross, linearly interpolated."""
    from sklearn.metrics import roc_curve

    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    gap = far - (1.0 - tar)
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return float(far[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


def threshold_at_far(impostors_ascending: Floats, far: float) -> float:
    """The lowest threshold that accepts at most `far` of the impostors.

    It lies just above the highest impostor score that must be refused, so that the promise
    also holds when scores tie.
    """
    allowed = math.floor(far * len(impostors_ascending) + 1e-9)
    if allowed >= len(impostors_ascending):
        return -1.0
    refused = impostors_ascending[len(impostors_ascending) - 1 - allowed]
    return float(np.nextafter(np.float32(refused), np.float32(np.inf)))


def operating_point(
    genuine: Floats, impostors_ascending: Floats, target_far: float
) -> OperatingPoint:
    """True-accept rate at a false-accept rate among the protocol's impostor pairs."""
    count = len(impostors_ascending)
    if not _supports(count, target_far):
        return _unsupported("pairs", count, target_far)
    threshold = threshold_at_far(impostors_ascending, target_far)
    return OperatingPoint(
        target_far=target_far,
        impostors="pairs",
        impostor_count=count,
        supported=True,
        threshold=threshold,
        tar=proportion(int((genuine >= threshold).sum()), len(genuine)),
        far=proportion(int((impostors_ascending >= threshold).sum()), count),
    )


def operating_point_across(
    genuine: Floats, impostors: ImpostorScores, target_far: float
) -> OperatingPoint:
    """The same among all cross-identity pairs."""
    count = impostors.total
    if not _supports(count, target_far):
        return _unsupported("cross-identity", count, target_far)
    threshold = impostors.threshold(target_far)
    return OperatingPoint(
        target_far=target_far,
        impostors="cross-identity",
        impostor_count=count,
        supported=True,
        threshold=threshold,
        tar=proportion(int((genuine >= threshold).sum()), len(genuine)),
        far=proportion(impostors.accepted(threshold), count),
        note="these pairs share images, so the interval of far is narrower than the truth",
    )


def _supports(count: int, target_far: float) -> bool:
    return target_far >= supported_rate(count) * (1 - 1e-9)


def _unsupported(source: str, count: int, target_far: float) -> OperatingPoint:
    note = (
        f"{count:,} impostor pairs support no false-accept rate below {supported_rate(count):.1e}"
    )
    return OperatingPoint(target_far, source, count, False, None, None, None, note)


def _check(scores: Floats, same: Bools, folds: Ints) -> None:
    if not len(scores) == len(same) == len(folds):
        raise UsageError(f"{len(scores)} scores, {len(same)} truths, {len(folds)} folds.")
    if not np.isfinite(scores).all():
        raise UsageError("a verification score is not a finite number.")
    names = np.unique(folds)
    if len(names) < 2:
        raise UsageError("verification needs at least 2 folds.")
    for fold in names.tolist():
        genuine = same[folds == fold]
        if genuine.all() or not genuine.any():
            raise UsageError(f"fold {fold} lacks genuine or impostor pairs.")


def _fold(scores: Floats, same: Bools, folds: Ints, fold: int) -> FoldResult:
    here = folds == fold
    threshold = best_threshold(scores[~here], same[~here])
    right = (scores[here] >= threshold) == same[here]
    return FoldResult(fold, threshold, float(right.mean()), int(here.sum()))
