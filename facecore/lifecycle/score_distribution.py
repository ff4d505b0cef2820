"""Score distributions of very many pairs, in bounded memory.

All pairs of n images are n²/2 scores: 14 million for 5,400 images, 5·10¹¹ for a million. They
are never held at once. `cross_identity_scores` walks the matrix in tiles, and
`ImpostorScores` keeps of them an exact histogram and the highest scores with the people they
belong to, which is all that thresholds and their intervals need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.types import Floats

BINS = 20_000
BIN_WIDTH = 2.0 / BINS
TAIL = 2_000_000
TILE = 2048

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Scores float32 `[n]` with the index of the person on each side, int64 `[n]`."""

    scores: Floats
    left: Ints
    right: Ints

    def __len__(self) -> int:
        return len(self.scores)


def cross_identity_scores(
    vectors: Floats, people: Ints, *, tile: int = TILE
) -> Iterator[ScoredPairs]:
    """Every unordered pair of images of two different people, tile by tile.

    Args:
        vectors: float32 `[n, d]` of unit length.
        people: int64 `[n]`, whose image it is.
        tile: rows and columns per tile; memory is about 40 bytes × tile².
    """
    for top in range(0, len(vectors), tile):
        rows, row_people = vectors[top : top + tile], people[top : top + tile]
        for start in range(top, len(vectors), tile):
            columns, column_people = vectors[start : start + tile], people[start : start + tile]
            wanted = row_people[:, None] != column_people[None, :]
            if start == top:
                wanted &= np.tri(len(rows), len(columns), 0, dtype=bool).T
            scores = rows @ columns.T
            at_row, at_column = np.nonzero(wanted)
            yield ScoredPairs(scores[wanted], row_people[at_row], column_people[at_column])


def genuine_pairs(people: Ints, *, per_person: int = 200) -> tuple[Ints, Ints]:
    """Rows of images of one person, paired; at most `per_person` pairs of each, evenly spread.

    Without the limit a few often-photographed people would decide the result: a person with
    500 images has 125,000 pairs, one with two images a single pair.
    """
    order = np.argsort(people, kind="stable")
    _, starts = np.unique(people[order], return_index=True)
    lefts, rights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for members in np.split(order, starts[1:]):
        left, right = np.triu_indices(len(members), 1)
        if len(left) > per_person:
            chosen = np.linspace(0, len(left) - 1, per_person).round().astype(np.int64)
            left, right = left[chosen], right[chosen]
        lefts.append(members[left])
        rights.append(members[right])
    return np.concatenate(lefts), np.concatenate(rights)


def genuine_scores(vectors: Floats, people: Ints, *, per_person: int = 200) -> ScoredPairs:
    """Scores of `genuine_pairs`, in their order."""
    left, right = genuine_pairs(people, per_person=per_person)
    scores = np.einsum("nd,nd->n", vectors[left], vectors[right]).astype(np.float32)
    return ScoredPairs(scores, people[left], people[left])


class ImpostorScores:
    """A histogram of scores in -1..1 (bins of 1e-4), and the highest `keep` scores themselves."""

    def __init__(self, *, keep: int = TAIL) -> None:
        self.counts: Ints = np.zeros(BINS + 1, np.int64)
        self._keep = keep
        self._parts: list[ScoredPairs] = []
        self._held = 0
        self._floor = -np.inf

    @property
    def total(self) -> int:
        """How many scores were added."""
        return int(self.counts.sum())

    def add(self, pairs: ScoredPairs) -> None:
        """Take in some scores."""
        # A score within rounding error below a bin's edge counts as on it: the histogram
        # never understates how many impostors a threshold lets through.
        bins = np.floor((pairs.scores.astype(np.float64) + 1.0 + 1e-6) / BIN_WIDTH)
        self.counts += np.bincount(
            np.clip(bins, 0, BINS).astype(np.int64), minlength=BINS + 1
        ).astype(np.int64)
        high = pairs.scores >= self._floor
        self._parts.append(ScoredPairs(pairs.scores[high], pairs.left[high], pairs.right[high]))
        self._held += len(self._parts[-1])
        if self._held > 2 * self._keep:
            self._parts = [self._highest()]
            self._held = len(self._parts[0])
            if self._held == self._keep:
                self._floor = float(self._parts[0].scores[-1])

    def tail(self) -> ScoredPairs:
        """The highest scores, descending: all of them, or the highest `keep`."""
        return self._highest()

    def accepted(self, threshold: float) -> int:
        """How many scores are at or above a threshold (rounded down to a bin's edge)."""
        first = int(np.floor((threshold + 1.0 + 1e-9) / BIN_WIDTH))
        return int(self.counts[max(first, 0) :].sum())

    def threshold(self, rate: float) -> float:
        """The lowest bin edge at or above which at most `rate` of the scores lie."""
        return self.threshold_for_count(rate * self.total)

    def threshold_for_count(self, allowed: float) -> float:
        """The lowest bin edge at or above which at most `allowed` scores lie."""
        at_or_above = np.concatenate((np.cumsum(self.counts[::-1])[::-1], [0]))
        first = int(np.argmax(at_or_above <= allowed + 1e-9))
        return round(first * BIN_WIDTH - 1.0, 4)

    def _highest(self) -> ScoredPairs:
        if not self._parts:
            nothing = np.zeros(0, np.int64)
            return ScoredPairs(np.zeros(0, np.float32), nothing, nothing)
        scores = np.concatenate([p.scores for p in self._parts])
        left = np.concatenate([p.left for p in self._parts])
        right = np.concatenate([p.right for p in self._parts])
        order = np.argsort(-scores, kind="stable")[: self._keep]
        return ScoredPairs(scores[order], left[order], right[order])
