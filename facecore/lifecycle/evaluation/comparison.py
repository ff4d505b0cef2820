"""Champion and challenger on the same data: is the difference real?

Both are judged on the same samples of people (embedders) or images (detectors). Drawing the
same sample for both cancels what is easy or hard about it, so that the interval of the
difference is much narrower than the two intervals side by side suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.detector_evaluation import DetectorEvaluation
from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.evaluation.error_curve import (
    TARGET_FARS,
    crossing_of,
    misses_at,
    resampled_errors,
)
from facecore.lifecycle.evaluation.estimate import Estimate, resampled_estimate
from facecore.lifecycle.evaluation.identification import closed_searches
from facecore.lifecycle.intervals import supported_rate
from facecore.lifecycle.people_bootstrap import draws

Evaluation = EmbedderEvaluation | DetectorEvaluation
_PRIMARY_FAR = 1e-3
_GRID = np.geomspace(0.3, 1e-4, 29)


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of both models; `difference` is challenger minus champion, paired.

    Attributes:
        better: whether higher or lower is better.
    """

    measure: str
    champion: float
    challenger: float
    difference: Estimate
    better: str

    @property
    def gain(self) -> float:
        """How much better the challenger is; negative when it is worse."""
        return self.difference.value if self.better == "higher" else -self.difference.value


@dataclass(frozen=True, slots=True)
class Comparison:
    """All measures, the one that decides first.

    Attributes:
        primary: the accuracy that the gate looks at.
        resampled: what was drawn for the intervals: people or images.
    """

    champion: str
    challenger: str
    snapshot: str
    resampled: str
    primary: Difference
    others: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)


def compare(champion: Evaluation, challenger: Evaluation, *, seed: int = 0) -> Comparison:
    """Differences with paired intervals.

    Embedders: true-accept rate at a false-accept rate of 1e-3 (or the lowest supported one)
    decides, each model with its own threshold for that rate. Detectors: AP at an overlap of 0.5.

    Raises:
        UsageError: the two are of different kinds, or were not measured on the same data.
    """
    if (champion.digest, champion.split) != (challenger.digest, challenger.split):
        raise UsageError(
            f"{champion.model or 'the champion'} was measured on {champion.snapshot} "
            f"({champion.split}), {challenger.model or 'the challenger'} on "
            f"{challenger.snapshot} ({challenger.split}).",
            remedy="Evaluate both on the same split of the same snapshot.",
        )
    if isinstance(champion, EmbedderEvaluation) and isinstance(challenger, EmbedderEvaluation):
        return _embedders(champion, challenger, seed)
    if isinstance(champion, DetectorEvaluation) and isinstance(challenger, DetectorEvaluation):
        return _detectors(champion, challenger, seed)
    raise UsageError(f"a {challenger.kind} cannot be compared with a {champion.kind}.")


def _embedders(
    champion: EmbedderEvaluation, challenger: EmbedderEvaluation, seed: int
) -> Comparison:
    lowest = supported_rate(champion.scores.impostors.total)
    primary = max(_PRIMARY_FAR, lowest)
    fars = sorted({primary, *(far for far in TARGET_FARS if far >= lowest)}, reverse=True)
    grid = [rate for rate in _GRID.tolist() if rate >= lowest]
    rates = [*fars, *grid]
    values, missed = [], []
    for one in (champion, challenger):
        thresholds = [one.scores.impostors.threshold(rate) for rate in rates]
        values.append([misses_at(one.scores, threshold) for threshold in thresholds])
        missed.append(resampled_errors(one.scores, rates, thresholds, seed=seed)[1])
    made = {}
    for column, far in enumerate(fars):
        old, new = 1 - values[0][column], 1 - values[1][column]
        replicates = missed[0][:, column] - missed[1][:, column]
        made[far] = Difference(
            f"TAR at FAR {far:.2g}", old, new, resampled_estimate(new - old, replicates), "higher"
        )
    others = [made[far] for far in fars if far != primary]
    if len(grid) > 1:
        crossings = [
            np.array([crossing_of(np.array(grid), row[len(fars) :]) for row in table])
            for table in missed
        ]
        old, new = champion.verification.eer.value, challenger.verification.eer.value
        spread = resampled_estimate(new - old, crossings[1] - crossings[0])
        others.append(Difference("equal error rate", old, new, spread, "lower"))
    ranks = _rank_1(champion, challenger, seed)
    return Comparison(
        champion.model,
        challenger.model,
        champion.snapshot,
        "people",
        made[primary],
        (*others, *ranks),
    )


def _rank_1(
    champion: EmbedderEvaluation, challenger: EmbedderEvaluation, seed: int
) -> Sequence[Difference]:
    """Rank-1 of both on the same galleries and probes."""
    old, new = (closed_searches(one.scores, seed=seed) for one in (champion, challenger))
    if not len(old):
        return ()
    hits = [(found.rank == 1).astype(np.float64) for found in (old, new)]
    replicates = []
    for times in draws(len(champion.scores.names), seed=seed):
        weight = times[old.person]
        replicates.append(float(weight @ (hits[1] - hits[0])) / max(float(weight.sum()), 1.0))
    values = [float(hit.mean()) for hit in hits]
    spread = resampled_estimate(values[1] - values[0], np.array(replicates))
    return (Difference("rank 1", values[0], values[1], spread, "higher"),)


def _detectors(
    champion: DetectorEvaluation, challenger: DetectorEvaluation, seed: int
) -> Comparison:
    images = len(champion.matched.truths)
    replicates = np.array(
        [
            np.subtract(
                challenger.matched.average_precision(times),
                champion.matched.average_precision(times),
            )
            for times in draws(images, seed=seed)
        ]
    )
    pairs = (
        ("AP@0.5", champion.ap_50.value, challenger.ap_50.value),
        ("AP@[.5:.95]", champion.ap.value, challenger.ap.value),
    )
    made = [
        Difference(name, old, new, resampled_estimate(new - old, replicates[:, column]), "higher")
        for column, (name, old, new) in enumerate(pairs)
    ]
    return Comparison(
        champion.model,
        challenger.model,
        champion.snapshot,
        "images",
        made[0],
        tuple(made[1:]),
    )
