"""How much of an exact search an index of vectors finds, and with how much effort.

Measured with faces of the catalogue, which are what look-ups are like: more pictures of people who
are in it, and people who were met once. Each is left out of its own answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.jobs.stores import Stores
from facecore.lifecycle.recall import recall
from facecore.stages.nearest import Nearest
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.faces.vector_index import VectorIndex
from facecore.stores.catalog.models.models import ModelVersion
from facecore.stores.catalog.search import index_checks
from facecore.stores.catalog.search.index_checks import FILTER_SHARE, IndexCheckRow
from facecore.stores.catalog.search.neighbours import MEASURED_K
from facecore.types import Floats

# pgvector takes 1 to 1,000; steps of about 1.6, so that at most so much is wasted.
EF_SEARCH = (40, 64, 100, 160, 250, 400, 640, 1000)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was found with so many candidates."""

    ef_search: int
    recall: float
    recall_low: float
    recall_high: float
    p50_ms: float

    def met(self, objective: float) -> bool:
        """Surely, for the interval counts, not the value."""
        return self.recall_low >= objective


def measured(
    tx: Transaction, stores: Stores, version: ModelVersion, index: VectorIndex, run_id: str
) -> IndexCheckRow | None:
    """The index asked for the neighbours of stored faces, beside exact products.

    Without a filter, and behind one where that is good enough: what is not found without one is
    not found behind it either.

    Returns:
        What was measured; None where there are fewer than two vectors.
    """
    wanted = stores.settings.search
    own = index_checks.sample(tx, version.id, wanted.recall_queries, int(run_id[:8], 16))
    if len(own) < 2:
        return None
    among = f"face.id IN ({','.join(map(str, own.tolist()))})"
    own, queries = faces.read_vectors(tx, version.id, among)
    vectors, exact, exact_behind = _exact(tx, stores, version, own, queries)

    def efforts(
        truth: Floats, candidates: Iterable[int], *, filtered: bool = False
    ) -> list[_Tried]:
        tried: list[_Tried] = []
        for number in candidates:
            scores, seconds = index_checks.ask_index(
                tx, version.id, queries, own, MEASURED_K, number, filtered=filtered
            )
            found = recall(truth, scores)
            p50_ms = float(np.median(seconds)) * 1e3
            tried.append(_Tried(number, found.value, found.low, found.high, p50_ms))
            # Surely enough, or as good as it gets: with few queries nothing is sure.
            if tried[-1].met(wanted.min_recall) or found.value == 1.0:
                break
        return tried

    def best(tried: list[_Tried]) -> _Tried:
        return max(tried, key=lambda one: (one.met(wanted.min_recall), one.recall))

    without = efforts(exact, EF_SEARCH)
    least = best(without)
    behind: list[_Tried] = []
    if least.recall >= wanted.min_recall:
        more = (number for number in EF_SEARCH if number >= least.ef_search)
        behind = efforts(exact_behind, more, filtered=True)
    row: dict[str, Any] = asdict(least)
    if behind:
        enough = best(behind)
        row |= {
            "filter_share": FILTER_SHARE,
            "filter_candidates": enough.ef_search,
            "filter_recall": enough.recall,
        }
    return IndexCheckRow(
        model_version_id=version.id,
        vectors=vectors,
        queries=len(own),
        k=MEASURED_K,
        m=index.m,
        ef_construction=index.ef_construction,
        objective=wanted.min_recall,
        tried=[
            *(asdict(one) for one in without),
            *(asdict(one) | {"filter_share": FILTER_SHARE} for one in behind),
        ],
        index_oid=index.oid,
        run_id=run_id,
        **row,
    )


def _exact(
    tx: Transaction,
    stores: Stores,
    version: ModelVersion,
    own: npt.NDArray[np.int64],
    queries: Floats,
) -> tuple[int, Floats, Floats]:
    """How many vectors there are, and the scores `[q, k]` of each query's nearest.

    Among all of them, and among those that pass the made-up filter; -inf where there are fewer.
    """
    precision = stores.settings.search.precision
    everything, passing = (
        Nearest(_unit(queries), MEASURED_K, own=own, precision=precision) for _ in range(2)
    )
    vectors = 0
    for face_ids, block in faces.blocks(tx, version.id):
        vectors += len(face_ids)
        unit, left = _unit(block), index_checks.passes(face_ids)
        everything.add(unit, face_ids)
        passing.add(unit[left], face_ids[left])
    return vectors, _scores(everything, len(own)), _scores(passing, len(own))


def _scores(search: Nearest, queries: int) -> Floats:
    found = search.result()
    scores = np.full((queries, MEASURED_K), -np.inf, np.float32)
    place = np.arange(len(found)) - np.searchsorted(found.rows, found.rows)
    scores[found.rows, place] = found.scores
    return scores


def _unit(vectors: Floats) -> Floats:
    """Rounded to float16, stored vectors are not quite of unit length; PostgreSQL divides by it."""
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
