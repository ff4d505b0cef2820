"""What speaks for each face being each person: similarity to the person's nearest faces."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.analytics.clustering.evidence import Evidence
from facecore.stages.neighbours import Ints, Neighbours

Forbidden = Mapping[int, AbstractSet[int]]
Doubles = npt.NDArray[np.float64]

NOBODY = 0
_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Belonging:
    """Candidates: face `rows[i]` may be person `people[i]`; `scores` -1..1. All `[m]`.

    Sorted by row, best first.
    """

    rows: Ints
    people: Ints
    scores: Doubles

    def best(self, count: int) -> tuple[Ints, Doubles]:
        """Best person (`NOBODY` without any) and score (-1) of each of `count` rows."""
        person, score = np.full(count, NOBODY, np.int64), np.full(count, -1.0)
        first = np.flatnonzero(np.r_[True, self.rows[1:] != self.rows[:-1]][: len(self.rows)])
        person[self.rows[first]] = self.people[first]
        score[self.rows[first]] = self.scores[first]
        return person, score

    def of(self, people: Ints) -> Doubles:
        """Score of the person given for each row, int64 `[n]`; -1 where nothing speaks for it."""
        mine = self.people == people[self.rows]
        score = np.full(len(people), -1.0)
        score[self.rows[mine]] = self.scores[mine]
        return score

    def without(self, people: Ints) -> Belonging:
        """The candidates besides the person given for each row."""
        return self.only(self.people != people[self.rows])

    def only(self, kept: npt.NDArray[np.bool_]) -> Belonging:
        """Some of the candidates."""
        return Belonging(self.rows[kept], self.people[kept], self.scores[kept])


def belonging(
    pairs: Neighbours, people: Ints, evidence: Evidence, forbidden: Forbidden, own: Ints
) -> Belonging:
    """Candidates from a neighbour graph.

    What counts is the mean over the three nearest faces of the person; where the graph knows
    fewer than the person has, the missing ones count as its floor. So one chance resemblance to
    somebody with many faces says little.

    Args:
        pairs: of faces (rows) and faces (columns).
        people: int64 `[columns]`: whose the columns are; `NOBODY` ones say nothing.
        forbidden: row → people it is not.
        own: int64 `[rows]`: whose the rows themselves are among the columns; `NOBODY`: nobody's.
    """
    known = people[pairs.columns] != NOBODY
    rows, who = pairs.rows[known], people[pairs.columns[known]]
    scores = pairs.scores[known].astype(np.float64)
    if not len(rows):
        return Belonging(rows, who, scores)
    order = np.lexsort((-scores, who, rows))
    rows, who, scores = rows[order], who[order], scores[order]
    first = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]) | (who[1:] != who[:-1])])
    group = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(rows)]))
    near = np.arange(len(rows)) - first[group] < _NEAREST
    found = np.bincount(group[near])
    total = np.bincount(group[near], weights=scores[near])
    rows, who = rows[first], who[first]
    names, counts = np.unique(people[people != NOBODY], return_counts=True)
    others = counts[np.searchsorted(names, who)] - (own[rows] == who)
    wanted = np.maximum(np.minimum(others, _NEAREST), found)
    mean = (total + (wanted - found) * evidence.fragment) / wanted
    allowed = np.ones(len(rows), np.bool_)
    if forbidden:
        ruled = np.isin(rows, np.fromiter(forbidden, np.int64, len(forbidden)))
        for at in np.flatnonzero(ruled):
            allowed[at] = int(who[at]) not in forbidden[int(rows[at])]
    rows, who, mean = rows[allowed], who[allowed], mean[allowed]
    order = np.lexsort((who, -mean, rows))
    return Belonging(rows[order], who[order], mean[order])


def ambiguous(candidates: Belonging, people: Ints, evidence: Evidence) -> npt.NDArray[np.bool_]:
    """Whether each row's person, int64 `[n]`, leads somebody else by too little; bool `[n]`."""
    _, rival = candidates.without(people).best(len(people))
    close = candidates.of(people) - rival < evidence.review_margin
    return np.asarray(close & (rival >= evidence.fragment) & (people != NOBODY))
