"""What the index of vectors was measured to find, and how look-ups are answered therefore."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.config import SearchSettings
from facecore.stores.catalog import estimates
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import vector_index
from facecore.stores.catalog.faces.vector_copy import as_text
from facecore.stores.catalog.json_values import as_json
from facecore.stores.catalog.models import models
from facecore.types import Floats

# Recall falls slowly as an index grows. Grown by more than this since it was measured, the
# measurement says nothing of it any more.
OUTGROWN = 3.0
# Behind a filter the nearest faces that pass are farther away, and farther ones are found less
# surely. So an index is measured behind a filter as well, one that leaves this share of the faces
# whatever their vectors are. Behind narrower ones it is not used.
FILTER_SHARE = 0.25
# The made-up filter: Knuth's multiplicative hash of the face's id, in SQL and in numpy.
_PERIOD, _SPREAD, _RANGE = 1 << 20, 2654435761, 1 << 32
_PASSES = f"(face_id & {_PERIOD - 1}) * {_SPREAD} & {_RANGE - 1} < {int(FILTER_SHARE * _RANGE)}"


@dataclass(frozen=True, slots=True)
class IndexCheckRow:
    """A measurement of an index; see the table for what holds.

    Attributes:
        vectors: how many were in it.
        ef_search: the smallest that meets the objective, else the best that was tried.
        recall, recall_low, recall_high: share of the `k` nearest that it finds, with its 95 %
            interval.
        p50_ms: of a look-up by the index, as its client sees it.
        tried: the same of every `ef_search` that was tried, without and behind a filter.
        filter_share: of the faces, left by the filter behind which it was measured as well.
        filter_candidates: the fewest that have to pass this filter to meet the objective, else
            the best that was tried.
        filter_recall: share of the `k` nearest behind the filter that it finds then.
    """

    model_version_id: int
    vectors: int
    queries: int
    k: int
    m: int
    ef_construction: int
    ef_search: int
    recall: float
    recall_low: float
    recall_high: float
    p50_ms: float
    objective: float
    tried: Sequence[Mapping[str, Any]]
    index_oid: int
    run_id: str | None
    filter_share: float | None = None
    filter_candidates: int | None = None
    filter_recall: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCheck(IndexCheckRow):
    """A recorded measurement."""

    id: int
    measured_at: datetime


@dataclass(frozen=True, slots=True)
class Method:
    """How look-ups are answered.

    Attributes:
        ef_search: by the index, looking at so many candidates; None: exactly.
        exact_up_to: so few faces are compared exactly in any case, which takes no longer.
        note: why exactly, where somebody should know; else empty.
        behind_filter: so many candidates have to pass a filter that leaves at least
            `FILTER_SHARE` of the faces; None: behind any filter exactly.
    """

    ef_search: int | None
    exact_up_to: int
    note: str = ""
    behind_filter: int | None = None


_COLUMNS = ", ".join(column.name for column in fields(IndexCheck))


def record(tx: Transaction, row: IndexCheckRow) -> int:
    """Keep a measurement; returns its id."""
    columns = [column.name for column in fields(IndexCheckRow)]
    values = [getattr(row, name) for name in columns]
    values[columns.index("tried")] = as_json(list(row.tried))
    with tx.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO index_check ({', '.join(columns)}) "
            f"VALUES ({', '.join(['%s'] * len(columns))}) RETURNING id",
            values,
        )
        (check_id,) = cursor.fetchone() or (0,)
    return int(check_id)


def newest(tx: Transaction, model_version_id: int, limit: int = 1) -> list[IndexCheck]:
    """The newest measurements of a model version's index, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM index_check WHERE model_version_id = %s "
            "ORDER BY id DESC LIMIT %s",
            [model_version_id, limit],
        )
        names = [column.name for column in fields(IndexCheck)]
        return [IndexCheck(**dict(zip(names, row, strict=True))) for row in cursor]


def method(tx: Transaction, model_version_id: int, wanted: SearchSettings) -> Method:
    """How look-ups among a model version's vectors are answered now.

    By the index where it was measured, as it is, to find what is wanted.

    Raises:
        NotFound: there is no such model version.
    """
    version = models.get(tx, model_version_id)
    vectors = estimates.vectors(tx, model_version_id).value
    if vectors <= wanted.exact_up_to:
        return Method(None, wanted.exact_up_to)
    index = vector_index.find(tx, model_version_id)
    checks = newest(tx, model_version_id)
    check = checks[0] if checks else None
    if index is None:
        why = "does not exist"
    elif check is None or check.index_oid != index.oid:
        why = "was not measured yet"
    elif vectors > OUTGROWN * check.vectors:
        why = f"was measured with {check.vectors:,} vectors and has about {vectors:,} now"
    elif check.recall < wanted.min_recall:
        why = (
            f"finds {check.recall:.1%} of the {check.k} nearest faces, "
            f"{wanted.min_recall:.1%} are wanted"
        )
    else:
        enough = (check.filter_recall or 0.0) >= wanted.min_recall
        enough = enough and (check.filter_share or 1.0) <= FILTER_SHARE
        return Method(
            check.ef_search,
            wanted.exact_up_to,
            behind_filter=check.filter_candidates if enough else None,
        )
    return Method(
        None,
        wanted.exact_up_to,
        f"Compared exactly: the index of {version.name}/{version.version} {why}.",
    )


def sample(tx: Transaction, model_version_id: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Ids of `count` faces that have a vector, other ones for each seed; ascending."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT face_id FROM {vector_index.partition(model_version_id)} "
            "ORDER BY hashint8extended(face_id, %s), face_id LIMIT %s",
            [seed, count],
        )
        return np.sort(np.array([face_id for (face_id,) in cursor], np.int64))


def passes(face_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which faces the made-up filter leaves: about `FILTER_SHARE` of them, always the same."""
    spread = (face_ids.astype(np.uint64) & np.uint64(_PERIOD - 1)) * np.uint64(_SPREAD)
    left: npt.NDArray[np.bool_] = (spread & np.uint64(_RANGE - 1)) < int(FILTER_SHARE * _RANGE)
    return left


def ask_index(
    tx: Transaction,
    model_version_id: int,
    vectors: Floats,
    own: npt.NDArray[np.int64],
    k: int,
    candidates: int,
    *,
    filtered: bool = False,
) -> tuple[Floats, Floats]:
    """What the index alone finds, whatever the planner would choose.

    Args:
        vectors: float32 `[q, d]`.
        own: face ids `[q]` that are no answer to their own query; -1: all are.
        candidates: that are looked at (`ef_search`), or that have to pass the filter.
        filtered: among the faces that pass the made-up filter, see `passes`.

    Returns:
        Scores `[q, k]` of what was found, best first, -inf where it was fewer; seconds `[q]`.
    """
    halfvec = f"halfvec({vectors.shape[1]})"
    distance = f"vector::{halfvec} <=> %(q)s::{halfvec}"
    statement = (
        f"SELECT face_id, 1 - distance FROM (SELECT face_id, {distance} AS distance "
        f"FROM {vector_index.partition(model_version_id)} "
        f"{f'WHERE {_PASSES}' if filtered else ''} ORDER BY {distance} LIMIT %(scanned)s) AS hit "
        "ORDER BY distance LIMIT %(limit)s"
    )
    scores = np.full((len(vectors), k), -np.inf, np.float32)
    seconds = np.zeros(len(vectors), np.float32)
    with tx.cursor() as cursor:
        for setting in ("enable_seqscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = off")
        cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(int(candidates))])
        for row, vector in enumerate(vectors):
            limit = k + int(own[row] >= 0)
            scanned = max(limit, candidates) if filtered else limit
            values = {"q": as_text(vector), "limit": limit, "scanned": scanned}
            began = time.perf_counter()
            cursor.execute(statement, values)
            hits = cursor.fetchall()
            seconds[row] = time.perf_counter() - began
            others = [score for face_id, score in hits if face_id != own[row]][:k]
            scores[row, : len(others)] = others
        for setting in ("enable_seqscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = on")
    return scores, seconds
