"""Identification: who is it, among N enrolled people?

Closed set: the person is enrolled; at which rank is the right one (CMC)? Open set: the person
may not be enrolled, so a threshold must refuse. FPIR is the share of searches for people who
are not enrolled that name somebody; FNIR the share of searches for enrolled people that do not
name the right one first and at or above the threshold (ISO/IEC 19795-1, R = 1). Both get worse
with the gallery, so they are stated for several sizes, each from several drawn galleries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.evaluation.estimate import Estimate, resampled_rate
from facecore.lifecycle.evaluation.face_scores import FaceScores
from facecore.lifecycle.evaluation.gallery_search import Probes, enrol, search, searchable
from facecore.lifecycle.intervals import supported_rate
from facecore.lifecycle.people_bootstrap import draws
from facecore.lifecycle.score_distribution import Ints
from facecore.lifecycle.thresholds import (
    Calibration,
    OperatingThreshold,
    threshold_for_gallery,
)
from facecore.types import Floats

RANKS = 20
TARGET_FPIRS = (1e-1, 1e-2, 1e-3)
GALLERY_SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
_GALLERIES = (5, 40)  # drawn per size, at least and at most
_SEARCHES = 2_000  # wanted per size
_LARGEST_SHARE = 0.75  # of all people enrolled; the others are the unknown ones


@dataclass(frozen=True, slots=True)
class RankRate:
    """Share of searches with the right person among the first `rank`."""

    rank: int
    rate: Estimate


@dataclass(frozen=True, slots=True)
class ClosedSet:
    """Everybody is enrolled with one image; all other images are searched for."""

    gallery_size: int
    probes: int
    cmc: tuple[RankRate, ...]

    @property
    def rank_1(self) -> Estimate:
        """Share of searches with the right person first."""
        return self.cmc[0].rate


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What the threshold that the calibration gives for this gallery did here."""

    threshold: float
    extrapolated: bool
    fpir: Estimate
    fnir: Estimate


@dataclass(frozen=True, slots=True)
class OpenSetPoint:
    """Open-set identification with one gallery size, at one false-positive rate.

    Attributes:
        galleries: how many were drawn.
        mated, unmated: searches for people in and not in the gallery, over all galleries.
        unmated_images: distinct images among the latter; the lowest FPIR they support is
            3 / unmated_images. Where `target_fpir` is lower, threshold and fnir are None.
        threshold: the lowest that keeps `target_fpir` on these searches.
        deployed: the same at the threshold that the calibration gives; None without one.
    """

    gallery_size: int
    target_fpir: float
    galleries: int
    mated: int
    unmated: int
    unmated_images: int
    supported: bool
    threshold: float | None
    fnir: Estimate | None
    deployed: AtThreshold | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Identification:
    """Rank and open-set accuracy; `closed_set` is None when nobody has a second image."""

    closed_set: ClosedSet | None
    open_set: tuple[OpenSetPoint, ...]


def identify(
    scores: FaceScores,
    calibration: Calibration | None = None,
    *,
    sizes: Sequence[int] = GALLERY_SIZES,
    target_fpirs: Sequence[float] = TARGET_FPIRS,
    seed: int = 0,
) -> Identification:
    """Both kinds; sizes for which there are too few people are left out.

    Args:
        calibration: whose 1:N thresholds are put to the test as well.
    """
    points = []
    for size in sizes:
        if size <= _LARGEST_SHARE * int(searchable(scores).sum()):
            points += open_set(scores, size, target_fpirs, calibration, seed=seed)
    return Identification(closed_set(scores, seed=seed), tuple(points))


def closed_set(scores: FaceScores, *, ranks: int = RANKS, seed: int = 0) -> ClosedSet | None:
    """Cumulative match characteristic; None when nobody has a second image."""
    found = closed_searches(scores, seed=seed)
    gallery = int(searchable(scores).sum())
    if not len(found):
        return None
    depth = min(ranks, gallery)
    hits = found.rank[:, None] <= np.arange(1, depth + 1)
    per_person = np.zeros((len(scores.names), depth))
    np.add.at(per_person, found.person, hits)
    searched = np.bincount(found.person, minlength=len(scores.names))
    replicates = np.stack(
        [
            (times @ per_person) / max(float(times @ searched), 1.0)
            for times in draws(len(scores.names), seed=seed)
        ]
    )
    counts = hits.sum(axis=0)
    return ClosedSet(
        gallery_size=gallery,
        probes=len(found),
        cmc=tuple(
            RankRate(
                rank + 1,
                resampled_rate(
                    float(counts[rank]) / len(found),
                    replicates[:, rank],
                    int(counts[rank]),
                    len(found),
                ),
            )
            for rank in range(depth)
        ),
    )


def closed_searches(scores: FaceScores, *, seed: int = 0) -> Probes:
    """The searches of `closed_set`: equal people and seed give equal galleries and probes."""
    people = np.flatnonzero(searchable(scores))
    gallery, probes, enrolled = enrol(scores, people, np.random.default_rng(seed))
    return search(scores, gallery, probes[enrolled])


def open_set(
    scores: FaceScores,
    size: int,
    target_fpirs: Sequence[float] = TARGET_FPIRS,
    calibration: Calibration | None = None,
    *,
    seed: int = 0,
) -> list[OpenSetPoint]:
    """FNIR at each FPIR with galleries of `size` people; empty when nothing could be searched."""
    people = np.flatnonzero(searchable(scores))
    galleries = min(max(_GALLERIES[0], math.ceil(_SEARCHES / size)), _GALLERIES[1])
    rng = np.random.default_rng([seed, size])
    mated, unmated, images = [], [], []
    for number in range(galleries):
        enrolled = np.sort(rng.choice(people, size, replace=False))
        gallery, probes, known = enrol(scores, enrolled, rng)
        mated.append((number, search(scores, gallery, probes[known])))
        unmated.append((number, search(scores, gallery, probes[~known])))
        images.append(probes[~known])
    inside, outside = _Searches.of(mated), _Searches.of(unmated)
    if not len(inside) or not len(outside):
        return []
    pool = _Pool(inside, outside, size, galleries, len(np.unique(np.concatenate(images))))
    supported = [fpir >= supported_rate(pool.unmated_images) * (1 - 1e-9) for fpir in target_fpirs]
    given = [
        None if calibration is None else threshold_for_gallery(calibration, fpir, size)
        for fpir in target_fpirs
    ]
    resampled = _Resampled(pool, target_fpirs, given)
    for weights in _weights(pool, len(scores.names), seed):
        resampled.add(*weights)
    return [
        OpenSetPoint(
            gallery_size=size,
            target_fpir=fpir,
            galleries=galleries,
            mated=len(inside),
            unmated=len(outside),
            unmated_images=pool.unmated_images,
            supported=supported[column],
            threshold=resampled.threshold(column) if supported[column] else None,
            fnir=resampled.fnir(column) if supported[column] else None,
            deployed=resampled.deployed(column),
            note="" if supported[column] else _unsupported(pool.unmated_images),
        )
        for column, fpir in enumerate(target_fpirs)
    ]


@dataclass(frozen=True, slots=True)
class _Searches:
    """Searches of several galleries: `score` is what must reach the threshold for an answer
    that is right (mated; -inf where a rival is first) or wrong (unmated).
    """

    score: Floats
    person: Ints
    gallery: Ints

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def of(cls, parts: Sequence[tuple[int, Probes]]) -> _Searches:
        found = [probes for _, probes in parts]
        mate = np.concatenate([p.mate for p in found])
        rank = np.concatenate([p.rank for p in found])
        rival = np.concatenate([p.rival for p in found])
        score = np.where(rank == 0, rival, np.where(rank == 1, mate, -np.inf))
        gallery = np.concatenate([np.full(len(p), number, np.int64) for number, p in parts])
        return cls(score.astype(np.float32), np.concatenate([p.person for p in found]), gallery)


@dataclass(frozen=True, slots=True)
class _Pool:
    mated: _Searches
    unmated: _Searches
    size: int
    galleries: int
    unmated_images: int


class _Resampled:
    """Rates of other samples of people and galleries, drawn one after the other."""

    def __init__(
        self,
        pool: _Pool,
        fpirs: Sequence[float],
        given: Sequence[OperatingThreshold | None],
    ) -> None:
        self._pool, self._fpirs, self._given = pool, fpirs, given
        self._order = np.argsort(-pool.unmated.score, kind="stable")
        self._descending = pool.unmated.score[self._order]
        even = np.ones(len(self._order))
        self._thresholds = [_threshold(self._descending, even, fpir) for fpir in fpirs]
        self._rows: list[list[tuple[float, float, float]]] = [[] for _ in fpirs]

    def add(self, mated: Floats, unmated: Floats) -> None:
        """Take in one replicate: a weight for each search."""
        for column, fpir in enumerate(self._fpirs):
            moved = _threshold(self._descending, unmated[self._order], fpir)
            given = self._given[column]
            limit = given.threshold if given else moved
            self._rows[column].append(
                (
                    _below(self._pool.mated.score, mated, moved),
                    _below(self._pool.mated.score, mated, limit),
                    1 - _below(self._pool.unmated.score, unmated, limit),
                )
            )

    def threshold(self, column: int) -> float:
        return self._thresholds[column]

    def fnir(self, column: int) -> Estimate:
        missed = self._pool.mated.score < np.float32(self._thresholds[column])
        return _rate(missed, np.array(self._rows[column])[:, 0])

    def deployed(self, column: int) -> AtThreshold | None:
        given = self._given[column]
        if given is None:
            return None
        rows, limit = np.array(self._rows[column]), np.float32(given.threshold)
        return AtThreshold(
            threshold=given.threshold,
            extrapolated=given.extrapolated,
            fpir=_rate(self._pool.unmated.score >= limit, rows[:, 2]),
            fnir=_rate(self._pool.mated.score < limit, rows[:, 1]),
        )


def _unsupported(images: int) -> str:
    return (
        f"{images:,} images of people who are not enrolled support no false-positive rate below "
        f"{supported_rate(images):.1e} (rule of three)"
    )


def _weights(pool: _Pool, people: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Weights of mated and unmated searches in other samples of people and of galleries."""
    rng = np.random.default_rng([seed, 1])
    for times in draws(people, seed=seed):
        drawn = np.bincount(
            rng.integers(0, pool.galleries, pool.galleries), minlength=pool.galleries
        )
        own, other = (
            (times[part.person] * drawn[part.gallery]).astype(np.float32)
            for part in (pool.mated, pool.unmated)
        )
        yield own, other


def _threshold(descending: Floats, weights: npt.NDArray[np.floating], rate: float) -> float:
    """The lowest threshold at or above which at most `rate` of the weighted scores lie."""
    reached = np.cumsum(weights, dtype=np.float64)
    refused = int(np.searchsorted(reached, rate * reached[-1] * (1 + 1e-9), side="right"))
    refused = min(refused, len(descending) - 1)
    return float(np.nextafter(descending[refused], np.float32(np.inf)))


def _below(scores: Floats, weights: Floats, threshold: float) -> float:
    total = float(weights.sum(dtype=np.float64))
    below = float(weights[scores < np.float32(threshold)].sum(dtype=np.float64))
    return below / total if total else 0.0


def _rate(errors: npt.NDArray[np.bool_], replicates: npt.NDArray[np.floating]) -> Estimate:
    count = int(errors.sum())
    return resampled_rate(count / len(errors), replicates, count, len(errors))
