"""A full pass: from the neighbour graph of all faces to whose each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.analytics.clustering.belonging import (
    NOBODY,
    Belonging,
    Doubles,
    ambiguous,
    belonging,
)
from facecore.analytics.clustering.communities import communities, join_fragments
from facecore.analytics.clustering.evidence import Evidence
from facecore.analytics.clustering.owners import Bools, Known, Owners, owners, with_required
from facecore.stages.neighbours import Ints, Neighbours

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Settled:
    """Whose each of `n` faces is.

    Attributes:
        people: int64 `[n]`: positive: a person of old; negative: new people, -1, -2 …; `NOBODY`.
        review: bool `[n]`: whether a human should look before it counts.
        scores: float64 `[n]`, -1..1: what speaks for it; where nobody is, the best candidate's.
    """

    people: Ints
    review: Bools
    scores: Doubles

    @property
    def newcomers(self) -> int:
        """How many new people there are."""
        return int(max(0, -self.people.min(initial=0)))


def group(vectors: npt.NDArray[Any], pairs: Neighbours, good: Bools, evidence: Evidence) -> Ints:
    """Community of each face, int64 `[n]`; -1 for those that are not good enough to found one.

    Args:
        vectors: `[n, d]`, unit length; may be mapped from a file.
        pairs: the neighbour graph of the same faces, with `evidence.fragment` as its floor.
        good: bool `[n]`.
    """
    labels = np.full(len(good), -1, np.int64)
    chosen = np.flatnonzero(good)
    if not len(chosen):
        return labels
    place = np.full(len(good), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    kept = good[pairs.rows] & good[pairs.columns]
    among = Neighbours(place[pairs.rows[kept]], place[pairs.columns[kept]], pairs.scores[kept])
    found = communities(len(chosen), among, evidence)
    labels[chosen] = found
    return join_fragments(vectors, labels, evidence)


def settle(labels: Ints, pairs: Neighbours, known: Known, evidence: Evidence) -> Settled:
    """Give the communities to people, and look at each face again.

    Faces that are nobody's member join whom they are near enough to. A face nearly as near to
    somebody else waits for a human, unless it was its person's for sure before. So does each face
    that would join an enrolled person: the gallery's own threshold did not take it.
    """
    labels, whose = owners(with_required(labels, known), known)
    people = known.fixed.copy()
    owner = np.full(int(labels.max(initial=-1)) + 2, NOBODY, np.int64)  # the last: of label -1
    for community, (first, *others) in whose.items():
        owner[community] = first if not others else NOBODY
    _give(people, owner[labels], known)
    _share_out(people, labels, whose, pairs, known, evidence)
    candidates = _candidates(people, pairs, known, evidence)
    best, score = candidates.best(len(known))
    alone = known.free & (people == NOBODY)
    joins = alone & (score >= evidence.edge)
    people[joins] = best[joins]
    lasting = np.union1d(people, np.fromiter(known.decided, np.int64, len(known.decided)))
    stays = alone & ~joins & (labels < 0) & np.isin(known.prior, lasting)
    _give(people, np.where(stays, known.prior, NOBODY), known)
    candidates = _candidates(people, pairs, known, evidence)
    unsure = ambiguous(candidates, people, evidence) & (people != known.settled)
    unsure |= np.isin(people, np.fromiter(known.enrolled, np.int64, len(known.enrolled)))
    scores = np.where(people == NOBODY, candidates.best(len(known))[1], candidates.of(people))
    return Settled(_renumbered(people), unsure & known.free & (people != NOBODY), scores)


def _give(people: Ints, wanted: Ints, known: Known) -> None:
    """Free faces of nobody become those wanted, except where a human ruled it out."""
    rows = known.free & (people == NOBODY) & (wanted != NOBODY)
    for row in known.forbidden:
        if rows[row] and int(wanted[row]) in known.forbidden[row]:
            rows[row] = False
    people[rows] = wanted[rows]


def _share_out(
    people: Ints,
    labels: Ints,
    whose: Owners,
    pairs: Neighbours,
    known: Known,
    evidence: Evidence,
) -> None:
    """Communities of several owners: who was theirs stays, the others go to the nearest."""
    shared = {community: set(every) for community, every in whose.items() if len(every) > 1}
    if not shared:
        return
    contested = np.isin(labels, np.fromiter(shared, np.int64, len(shared)))
    stays = np.zeros(len(labels), np.bool_)
    for row in np.flatnonzero(contested & known.free & (known.settled != NOBODY)).tolist():
        stays[row] = int(known.settled[row]) in shared[int(labels[row])]
    _give(people, np.where(stays, known.settled, NOBODY), known)
    for _ in range(_ROUNDS):
        waiting = contested & known.free & (people == NOBODY)
        candidates = _candidates(people, pairs, known, evidence)
        kept = waiting[candidates.rows]
        for at in np.flatnonzero(kept).tolist():
            community = int(labels[candidates.rows[at]])
            kept[at] = int(candidates.people[at]) in shared[community]
        best, _ = candidates.only(kept).best(len(people))
        if not (best != NOBODY).any():
            return
        _give(people, best, known)


def _candidates(people: Ints, pairs: Neighbours, known: Known, evidence: Evidence) -> Belonging:
    """Poor crops speak for nobody, except where a human said whose they are."""
    speak = np.where(known.good | known.confirmed, people, NOBODY)
    return belonging(pairs, speak, evidence, known.forbidden, speak)


def _renumbered(people: Ints) -> Ints:
    """New people numbered -1, -2 … without gaps."""
    fresh = np.unique(people[people < 0])[::-1]
    numbered = people.copy()
    new = people < 0
    numbered[new] = -1 - (len(fresh) - 1 - np.searchsorted(fresh[::-1], people[new]))
    return numbered
