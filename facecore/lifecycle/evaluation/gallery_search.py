"""Searches of galleries drawn from labelled faces: one enrolled image per person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.evaluation.face_scores import FaceScores
from facecore.lifecycle.score_distribution import Ints
from facecore.types import Floats

# A person photographed five hundred times would otherwise decide the result.
PROBES_PER_PERSON = 10
_TILE = 2048


@dataclass(frozen=True, slots=True)
class Probes:
    """What searches found; one entry per probe.

    Attributes:
        person: int64 `[n]`, whose face was searched for.
        mate: float32 `[n]`, score of the person's own enrolled image; -inf when not enrolled.
        rival: float32 `[n]`, best score of anybody else in the gallery; -inf in a gallery of one.
        rank: int64 `[n]`, place of the mate, from 1; images that score the same count as
            before it. 0 when not enrolled.
    """

    person: Ints
    mate: Floats
    rival: Floats
    rank: Ints

    def __len__(self) -> int:
        return len(self.person)


def searchable(scores: FaceScores) -> npt.NDArray[np.bool_]:
    """bool `[people]`: who may take part.

    Of two names that stand for one person, only the first does: a search that finds the second
    would be right and count as wrong.
    """
    doubles = {second for _, second in scores.not_compared}
    return np.array([name not in doubles for name in scores.names], np.bool_)


def enrol(
    scores: FaceScores, people: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Draw one image of each of `people` for the gallery, and probes from everybody.

    Returns:
        Rows of the gallery, in the order of `people`; rows of the probes, at most
        `PROBES_PER_PERSON` of each searchable person; and whether each probe's person is
        enrolled.
    """
    rows = np.flatnonzero(scores.people >= 0)
    rows = rows[searchable(scores)[scores.people[rows]]]
    rows = rows[rng.permutation(len(rows))]
    rows = rows[np.argsort(scores.people[rows], kind="stable")]
    owner = scores.people[rows]
    place = np.arange(len(rows)) - np.searchsorted(owner, owner)  # 0 for a person's first row
    enrolled = np.isin(owner, people)
    is_probe = np.where(
        enrolled, (place > 0) & (place <= PROBES_PER_PERSON), place < PROBES_PER_PERSON
    )
    first = rows[np.searchsorted(owner, people)]
    return first, rows[is_probe], enrolled[is_probe]


def search(scores: FaceScores, gallery: Ints, probes: Ints, *, tile: int = _TILE) -> Probes:
    """Compare every probe with the whole gallery; memory is about 8 bytes × tile × gallery."""
    enrolled = scores.vectors[gallery]
    column_of = np.full(len(scores.names), -1, np.int64)
    column_of[scores.people[gallery]] = np.arange(len(gallery))
    columns = column_of[scores.people[probes]]
    mate = np.full(len(probes), -np.inf, np.float32)
    rival = np.full(len(probes), -np.inf, np.float32)
    rank = np.zeros(len(probes), np.int64)
    for start in range(0, len(probes), tile):
        part = slice(start, start + tile)
        found = scores.vectors[probes[part]] @ enrolled.T
        at = columns[part]
        mated = np.flatnonzero(at >= 0)
        own = found[mated, at[mated]]
        found[mated, at[mated]] = -np.inf
        mate[part][mated] = own
        rival[part] = found.max(axis=1)
        rank[part][mated] = 1 + (found[mated] >= own[:, None]).sum(axis=1)
    return Probes(scores.people[probes], mate, rival, rank)
