"""Probe vectors × gallery → who is it, by exact comparison with every gallery face.

The gallery is read block by block, so memory stays bounded for any gallery; per person the best
of their gallery faces counts, so people with many pictures have no advantage of an average and
no penalty for a bad one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from facecore.errors import ShapeError
from facecore.stages.nearest import Nearest
from facecore.stages.neighbours import Ints, Neighbours
from facecore.types import Floats, Match, Outcome

if TYPE_CHECKING:
    import torch

_NOBODY: frozenset[int] = frozenset()


def identify(
    probes: Floats,
    gallery: Floats,
    person_ids: Sequence[int],
    labels: Sequence[str],
    *,
    threshold: float,
    review_margin: float = 0.05,
    top_k: int = 5,
    precision: str = "auto",
    device: torch.device | None = None,
) -> list[Match]:
    """The best people for each probe, of a gallery in memory.

    Args:
        probes: float32 `[p, d]`, unit length, of the same contract as the gallery (the caller
            checks with `Contract.require`).
        gallery: float32 `[g, d]`, unit length.
        person_ids, labels: whose face each gallery row is; one label per person.
        threshold: cosine similarity from which a probe is taken for the best person.
        review_margin: a lead over the second person smaller than this asks for a human.
        top_k: how many people `Match.candidates` lists, best first.
        precision: of the products that screen; see `screening`. It does not change the answer.

    Raises:
        ShapeError: the arrays do not belong together.
    """
    if (
        probes.ndim != 2
        or gallery.ndim != 2
        or (len(gallery) and probes.shape[1] != gallery.shape[1])
    ):
        raise ShapeError("gallery", f"[g, {probes.shape[-1]}]", str(list(gallery.shape)))
    if not len(gallery) == len(person_ids) == len(labels):
        actual = f"{len(gallery)} vectors, {len(person_ids)} people, {len(labels)} labels"
        raise ShapeError("gallery", "one person and label per vector", actual)
    people = np.asarray(person_ids, np.int64)
    found = best_people(
        probes, [(people, gallery)], max(top_k, 2), precision=precision, device=device
    )
    return matches(
        found,
        len(probes),
        dict(zip(people.tolist(), labels, strict=True)),
        threshold=threshold,
        review_margin=review_margin,
        top_k=top_k,
    )


def best_people(
    probes: Floats,
    gallery: Iterable[tuple[Ints, Floats]],
    k: int,
    *,
    precision: str = "auto",
    device: torch.device | None = None,
) -> Neighbours:
    """The `k` best people for each probe, of a gallery that arrives in blocks.

    Args:
        gallery: person ids int64 `[n]`, not negative, and unit vectors `[n, d]`.
        k: how many people; two or more, so that there is a lead over the second.

    Returns:
        Rows are probes, columns person ids, scores those of a person's nearest face.
    """
    search = Nearest(probes, k, shared=True, precision=precision, device=device)
    for person_ids, vectors in gallery:
        search.add(vectors, person_ids)
    return search.result()


def matches(
    found: Neighbours,
    probes: int,
    labels: Mapping[int, str],
    *,
    threshold: float,
    review_margin: float = 0.05,
    top_k: int = 5,
    ruled_out: Mapping[int, Set[int]] | None = None,
) -> list[Match]:
    """What the best people of each probe say.

    Args:
        found: see `best_people`.
        probes: how many there were.
        labels: person id → name.
        ruled_out: probe → people it is not. `found` has as many people more per probe.
    """
    ends = np.searchsorted(found.rows, np.arange(probes + 1))
    answers = []
    for probe in range(probes):
        part = slice(ends[probe], ends[probe + 1])
        forbidden = ruled_out.get(probe, _NOBODY) if ruled_out else _NOBODY
        candidates = [
            (person_id, labels[person_id], score)
            for person_id, score in zip(
                found.columns[part].tolist(), found.scores[part].tolist(), strict=True
            )
            if person_id not in forbidden
        ]
        answers.append(_match(candidates, threshold, review_margin, top_k))
    return answers


def decide(
    faces: Iterable[tuple[int, str, float]],
    *,
    threshold: float,
    review_margin: float = 0.05,
    top_k: int = 5,
) -> Match:
    """The same decision from gallery faces that a search has found for one probe.

    Args:
        faces: (person id, label, cosine similarity) per gallery face; the best face of each
            person counts.
    """
    best: dict[int, tuple[int, str, float]] = {}
    for person_id, label, score in faces:
        if person_id not in best or score > best[person_id][2]:
            best[person_id] = (person_id, label, score)
    candidates = sorted(best.values(), key=lambda candidate: -candidate[2])
    return _match(candidates, threshold, review_margin, top_k)


def _match(
    candidates: Sequence[tuple[int, str, float]],
    threshold: float,
    review_margin: float,
    top_k: int,
) -> Match:
    if not candidates:
        return Match(Outcome.UNKNOWN, None, None, -1.0, math.inf, threshold)
    person_id, label, score = candidates[0]
    margin = score - candidates[1][2] if len(candidates) > 1 else math.inf
    return Match(
        outcome=_outcome(score, margin, threshold, review_margin),
        person_id=person_id,
        label=label,
        score=score,
        margin=margin,
        threshold=threshold,
        candidates=tuple(candidates[:top_k]),
    )


def _outcome(score: float, margin: float, threshold: float, review_margin: float) -> Outcome:
    if score < threshold:
        return Outcome.UNKNOWN
    return Outcome.ACCEPT if margin >= review_margin else Outcome.REVIEW
