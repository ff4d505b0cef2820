"""Probe vectors × gallery → who is it, by exact comparison with every gallery face.

The product is computed in blocks, so memory stays bounded for any gallery; per person the best
of their gallery faces counts, so people with many pictures have no advantage of an average and
no penalty for a bad one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from facecore.errors import ShapeError
from facecore.types import Floats, Match, Outcome

# Float32 values of one block of scores: 64 MiB.
_BLOCK_VALUES = 1 << 24
_GALLERY_BLOCK = 1 << 14


def identify(
    probes: Floats,
    gallery: Floats,
    person_ids: Sequence[int],
    labels: Sequence[str],
    *,
    threshold: float,
    review_margin: float = 0.05,
    top_k: int = 5,
    device: torch.device | None = None,
) -> list[Match]:
    """The best people for each probe.

    Args:
        probes: float32 `[p, d]`, unit length, of the same contract as the gallery (the caller
            checks with `Contract.require`).
        gallery: float32 `[g, d]`, unit length.
        person_ids, labels: whose face each gallery row is; one label per person.
        threshold: cosine similarity from which a probe is taken for the best person.
        review_margin: a lead over the second person smaller than this asks for a human.
        top_k: how many people `Match.candidates` lists, best first.

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
    if not len(gallery):
        nobody = Match(Outcome.UNKNOWN, None, None, -1.0, math.inf, threshold)
        return [nobody] * len(probes)
    people, first, column = np.unique(
        np.asarray(person_ids, np.int64), return_index=True, return_inverse=True
    )
    names = [labels[i] for i in first]
    target = device or torch.device("cpu")
    wanted = min(max(top_k, 2), len(people))
    with torch.inference_mode():
        columns = torch.from_numpy(column).to(target)
        faces = torch.from_numpy(np.ascontiguousarray(gallery))
        step = max(1, _BLOCK_VALUES // max(len(people), min(_GALLERY_BLOCK, len(gallery))))
        best = [
            _best_people(torch.from_numpy(probes[i : i + step]).to(target), faces, columns, wanted)
            for i in range(0, len(probes), step)
        ]
    matches = []
    for scores, indices in best:
        for row, order in zip(scores.tolist(), indices.tolist(), strict=True):
            candidates = [
                (int(people[i]), names[i], score) for i, score in zip(order, row, strict=True)
            ]
            matches.append(_match(candidates, threshold, review_margin, top_k))
    return matches


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
    if not best:
        return Match(Outcome.UNKNOWN, None, None, -1.0, math.inf, threshold)
    candidates = sorted(best.values(), key=lambda candidate: -candidate[2])
    return _match(candidates, threshold, review_margin, top_k)


def _match(
    candidates: Sequence[tuple[int, str, float]],
    threshold: float,
    review_margin: float,
    top_k: int,
) -> Match:
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


def _best_people(
    probes: Tensor, faces: Tensor, columns: Tensor, wanted: int
) -> tuple[Tensor, Tensor]:
    """Scores and columns `[p, wanted]` of the best people, best first, on the CPU."""
    people = int(columns.max()) + 1
    per_person = probes.new_full((len(probes), people), -math.inf)
    for start in range(0, len(faces), _GALLERY_BLOCK):
        block = faces[start : start + _GALLERY_BLOCK].to(probes.device)
        of_block = columns[start : start + _GALLERY_BLOCK]
        index = of_block.expand(len(probes), -1)
        per_person.scatter_reduce_(1, index, probes @ block.T, "amax")
    scores, indices = per_person.topk(wanted, dim=1)
    return scores.clamp(-1.0, 1.0).cpu(), indices.cpu()
