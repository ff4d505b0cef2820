"""Interactive look-ups: the catalogued faces nearest to one vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecore.errors import ShapeError, UsageError
from facecore.stores.catalog import models, people
from facecore.stores.catalog.connection import Transaction
from facecore.types import Floats


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A face near a vector: cosine similarity -1..1, and whose it is, if known."""

    face_id: int
    image_id: int
    person_id: int | None
    label: str | None
    score: float


def nearest(
    tx: Transaction,
    model_version_id: int,
    vector: Floats,
    k: int = 10,
    *,
    enrolled_only: bool = True,
) -> list[Neighbour]:
    """The `k` faces most similar to `vector`, best first, for interactive look-ups.

    Uses the HNSW index with iterative scans; where that yields fewer than `k` (a small share of
    the faces is enrolled) the answer is computed exactly.

    Args:
        vector: float32 `[d]`, any positive length.
        enrolled_only: only faces of the gallery; otherwise every face that was extracted.

    Raises:
        ShapeError: not a finite vector of the model's dimension.
        UsageError: `k` is not within 1..1000.
    """
    version = models.get(tx, model_version_id)
    if not 1 <= k <= 1000:
        raise UsageError(f"k must be within 1..1000, not {k}.")
    if vector.shape != (version.dimension,) or not np.isfinite(vector).all() or not vector.any():
        raise ShapeError("vector", f"finite, not zero [{version.dimension}]", str(vector.shape))
    halfvec = f"halfvec({version.dimension})"
    text = "[" + ",".join(f"{value:.8g}" for value in vector.tolist()) + "]"
    with tx.cursor() as cursor:
        cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(min(1000, k + 100))])
        rows: list[tuple[int, int, float]] = []
        for stored in (f"vector::{halfvec}", "vector"):  # the index is on the first form only
            cursor.execute(
                "SELECT face.id, face.image_id, 1 - hit.distance FROM ("
                f"  SELECT face_id, {stored} <=> %(q)s::{halfvec} AS distance FROM embedding "
                "  JOIN face ON face.id = face_id WHERE model_version_id = %(model)s "
                f" AND {people.GALLERY if enrolled_only else 'true'} "
                f" ORDER BY {stored} <=> %(q)s::{halfvec} LIMIT %(k)s"
                ") AS hit JOIN face ON face.id = hit.face_id ORDER BY hit.distance, face.id",
                {"q": text, "model": model_version_id, "k": k},
            )
            rows = cursor.fetchall()
            if len(rows) == k:
                break
    known = people.current(tx, [face_id for face_id, _, _ in rows])
    return [
        Neighbour(
            face_id,
            image_id,
            known[face_id].person_id if face_id in known else None,
            known[face_id].label if face_id in known else None,
            float(score),
        )
        for face_id, image_id, score in rows
    ]


def recall(tx: Transaction, model_version_id: int, vector: Floats, k: int = 10) -> float:
    """Share of the `k` faces nearest to `vector` that the HNSW index finds, 0..1."""
    dimension = models.get(tx, model_version_id).dimension
    halfvec = f"halfvec({dimension})"
    text = "[" + ",".join(f"{value:.8g}" for value in vector.tolist()) + "]"
    found = []
    with tx.cursor() as cursor:
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(k + 100)])
        for stored in (f"vector::{halfvec}", "vector"):  # the index is on the first form only
            cursor.execute(
                f"SELECT face_id FROM embedding WHERE model_version_id = %s "
                f"ORDER BY {stored} <=> %s::{halfvec} LIMIT %s",
                [model_version_id, text, k],
            )
            found.append({face_id for (face_id,) in cursor})
    return len(found[0] & found[1]) / max(1, len(found[1]))
