"""The comparisons that went most wrong, with their pictures: what a reviewer wants to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.evaluation.face_scores import FaceScores
from facecore.types import Image

EXAMPLES = 12
_PER_PERSON = 2
_TAIL = 5_000


@dataclass(frozen=True, slots=True)
class PairExample:
    """Two faces, by row of the data set, and their similarity."""

    left: int
    right: int
    left_name: str
    right_name: str
    score: float


@dataclass(frozen=True, slots=True)
class ExamplePairs:
    """The most similar pairs of two people and the least similar pairs of one.

    Attributes:
        pictures: row → crop, uint8 RGB `[112, 112, 3]`; not part of the JSON document.
    """

    impostors: tuple[PairExample, ...]
    genuine: tuple[PairExample, ...]
    pictures: Mapping[int, Image] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Every row that some example shows, ascending."""
        pairs = (*self.impostors, *self.genuine)
        return np.unique([row for pair in pairs for row in (pair.left, pair.right)]).astype(
            np.int64
        )


def example_pairs(scores: FaceScores, *, count: int = EXAMPLES) -> ExamplePairs:
    """Choose examples; of one pair of people one, of one person's own pairs two at most."""
    return ExamplePairs(_impostors(scores, count), _genuine(scores, count))


def _impostors(scores: FaceScores, count: int) -> tuple[PairExample, ...]:
    tail = scores.impostors.tail()
    chosen: dict[tuple[int, int], PairExample] = {}
    for a, b in zip(tail.left[:_TAIL].tolist(), tail.right[:_TAIL].tolist(), strict=True):
        people = (min(a, b), max(a, b))
        if people not in chosen:
            chosen[people] = _closest(scores, *people)
        if len(chosen) == count:
            break
    return tuple(sorted(chosen.values(), key=lambda pair: -pair.score))


def _closest(scores: FaceScores, a: int, b: int) -> PairExample:
    left, right = np.flatnonzero(scores.people == a), np.flatnonzero(scores.people == b)
    found = scores.vectors[left] @ scores.vectors[right].T
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    return PairExample(
        int(left[row]),
        int(right[column]),
        scores.names[a],
        scores.names[b],
        float(found[row, column]),
    )


def _genuine(scores: FaceScores, count: int) -> tuple[PairExample, ...]:
    chosen: list[PairExample] = []
    used: Counter[int] = Counter()
    for place in np.argsort(scores.genuine.scores, kind="stable").tolist():
        person = int(scores.genuine.left[place])
        if used[person] < _PER_PERSON:
            used[person] += 1
            name = scores.names[person]
            chosen.append(
                PairExample(
                    int(scores.genuine_left[place]),
                    int(scores.genuine_right[place]),
                    name,
                    name,
                    float(scores.genuine.scores[place]),
                )
            )
        if len(chosen) == count:
            break
    return tuple(chosen)
