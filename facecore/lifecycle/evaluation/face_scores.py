"""All comparisons among labelled faces: what every accuracy of an embedder is computed from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from facecore.errors import ShapeError, UsageError
from facecore.lifecycle.evaluate import impostor_scores
from facecore.lifecycle.label_errors import ONE_PERSON
from facecore.lifecycle.score_distribution import (
    BIN_WIDTH,
    BINS,
    ImpostorScores,
    Ints,
    ScoredPairs,
    genuine_pairs,
    genuine_scores,
)
from facecore.lifecycle.thresholds import require_enough
from facecore.types import Floats


@dataclass(frozen=True, slots=True)
class FaceScores:
    """Vectors, whose they are, and the scores of their comparisons.

    Attributes:
        vectors: float32 `[n, d]` of unit length.
        people: int64 `[n]`, index into `names`; -1 where the person is not known. Such faces
            take part in no comparison.
        names: the people, sorted.
        genuine: comparisons of one person's images, at most 200 of each.
        genuine_left, genuine_right: int64, the rows of `vectors` that each of them compares.
        impostors: all comparisons of different people.
        images_per_person: int64 `[people]`.
        not_compared: names that stand for one person, and were not compared.
    """

    vectors: Floats
    people: Ints
    names: tuple[str, ...]
    genuine: ScoredPairs
    genuine_left: Ints
    genuine_right: Ints
    impostors: ImpostorScores
    images_per_person: Ints
    not_compared: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return int((self.people >= 0).sum())

    @property
    def doubles(self) -> list[tuple[int, int]]:
        """`not_compared` as indices of people."""
        index = {name: position for position, name in enumerate(self.names)}
        return [(index[a], index[b]) for a, b in self.not_compared]


def score_faces(
    vectors: Floats,
    identities: Sequence[str | None],
    *,
    one_person: Collection[tuple[str, str]] = tuple(ONE_PERSON),
) -> FaceScores:
    """Compare everything with everything, in bounded memory.

    Args:
        vectors: float32 `[n, d]` of unit length.
        identities: whose face each is; None where unknown.
        one_person: pairs of names that show one person; they are not compared.

    Raises:
        ShapeError: not one finite vector of unit length per identity.
        UsageError: too few people or images to state any accuracy.
    """
    _check(vectors, identities)
    names = tuple(sorted({name for name in identities if name is not None}))
    index = {name: position for position, name in enumerate(names)}
    people = np.array([-1 if name is None else index[name] for name in identities], np.int64)
    known = people >= 0
    images_per_person = np.bincount(people[known], minlength=len(names)).astype(np.int64)
    if not names:
        raise UsageError(
            "none of these faces has an identity, so no accuracy can be stated.",
            remedy="Evaluate on a snapshot of labelled faces.",
        )
    require_enough(images_per_person)
    rows = np.flatnonzero(known)
    left, right = genuine_pairs(people[known])
    same = tuple((a, b) for a, b in one_person if a in index and b in index)
    return FaceScores(
        vectors=vectors,
        people=people,
        names=names,
        genuine=genuine_scores(vectors[known], people[known]),
        genuine_left=rows[left],
        genuine_right=rows[right],
        impostors=impostor_scores(
            vectors[known], people[known], [(index[a], index[b]) for a, b in same]
        ),
        images_per_person=images_per_person,
        not_compared=same,
    )


def area_under_roc(genuine: Floats, impostors: ImpostorScores) -> float:
    """Chance that a genuine score is above an impostor's, 0..1; ties count half.

    Scores within one bin of the histogram (1e-4) count as tied.
    """
    below = np.concatenate(([0], np.cumsum(impostors.counts)))
    bins = np.floor((genuine.astype(np.float64) + 1.0 + 1e-6) / BIN_WIDTH)
    at = np.clip(bins, 0, BINS).astype(np.int64)
    wins = below[at].astype(np.float64) + impostors.counts[at] / 2
    return float(wins.mean() / impostors.total)


def crossing(genuine: Floats, impostors: ImpostorScores) -> float:
    """The equal error rate: where false matches are as frequent as false non-matches, 0..1."""
    edges = np.arange(BINS + 2) * BIN_WIDTH - 1.0
    matches = np.concatenate((np.cumsum(impostors.counts[::-1])[::-1], [0])) / impostors.total
    misses = np.searchsorted(np.sort(genuine), edges.astype(np.float32)) / len(genuine)
    gap = misses - matches
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return float(misses[0])
    rise = gap[after] - gap[after - 1]
    share = -gap[after - 1] / rise
    return float(misses[after - 1] + share * (misses[after] - misses[after - 1]))


def _check(vectors: Floats, identities: Sequence[str | None]) -> None:
    if vectors.ndim != 2 or len(vectors) != len(identities) or vectors.dtype != np.float32:
        raise ShapeError(
            "vectors",
            f"float32 [{len(identities)}, d]",
            f"{vectors.dtype} {list(vectors.shape)}",
        )
    if not len(vectors):
        return
    worst = float(np.abs(np.linalg.norm(vectors, axis=1) - 1.0).max())
    if not worst < 1e-2:  # also catches NaN
        raise ShapeError("vectors", "unit length", f"a length off by {worst:.3g}")
