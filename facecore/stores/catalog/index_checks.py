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
from facecore.stores.catalog import estimates, models, vector_index
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json
from facecore.stores.catalog.vector_copy import as_text
from facecore.types import Floats

# Recall falls slowly as an index grows. Grown by more than this since it was measured, the
# measurement says nothing of it any more.
OUTGROWN = 3.0


@dataclass(frozen=True, slots=True)
class IndexCheckRow:
    """A measurement of an index; see the table for what holds.

    Attributes:
        vectors: how many were in it.
        ef_search: the smallest that meets the objective, else the best that was tried.
        recall, recall_low, recall_high: share of the `k` nearest that it finds, with its 95 %
            interval.
        p50_ms: of a look-up by the index, as its client sees it.
        tried: the same of every `ef_search` that was tried.
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


@dataclass(frozen=True, slots=True)
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
    """

    ef_search: int | None
    exact_up_to: int
    note: str = ""


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
        return [IndexCheck(*row) for row in cursor]


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
        return Method(check.ef_search, wanted.exact_up_to)
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


def ask_index(
    tx: Transaction,
    model_version_id: int,
    vectors: Floats,
    own: npt.NDArray[np.int64],
    k: int,
    ef_search: int,
) -> tuple[Floats, Floats]:
    """What the index alone finds, whatever the planner would choose.

    Args:
        vectors: float32 `[q, d]`.
        own: face ids `[q]` that are no answer to their own query; -1: all are.

    Returns:
        Scores `[q, k]` of what was found, best first, -inf where it was fewer; seconds `[q]`.
    """
    halfvec = f"halfvec({vectors.shape[1]})"
    statement = (
        f"SELECT face_id, 1 - (vector::{halfvec} <=> %(q)s::{halfvec}) "
        f"FROM {vector_index.partition(model_version_id)} "
        f"ORDER BY vector::{halfvec} <=> %(q)s::{halfvec} LIMIT %(limit)s"
    )
    scores = np.full((len(vectors), k), -np.inf, np.float32)
    seconds = np.zeros(len(vectors), np.float32)
    with tx.cursor() as cursor:
        for setting in ("enable_seqscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = off")
        cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(int(ef_search))])
        for row, vector in enumerate(vectors):
            values = {"q": as_text(vector), "limit": k + int(own[row] >= 0)}
            began = time.perf_counter()
            cursor.execute(statement, values)
            hits = cursor.fetchall()
            seconds[row] = time.perf_counter() - began
            others = [score for face_id, score in hits if face_id != own[row]][:k]
            scores[row, : len(others)] = others
        for setting in ("enable_seqscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = on")
    return scores, seconds
