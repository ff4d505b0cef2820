"""The enrolled gallery, block by block: faces that probes are compared with, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.people import people
from facecore.types import Floats

_ROWS_AT_ONCE = 50_000


def blocks(
    tx: Transaction, model_version_id: int
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """Person ids int64 `[n]` and vectors float32 `[n, d]` of all enrolled faces, by face id.

    Of faces that have a vector of this model version; those of another contract are in another
    partition, which is not read.
    """
    after = 0
    while True:
        with tx.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(max(face_id), 0) FROM (SELECT face_id FROM assignment "
                "WHERE gallery AND face_id > %s ORDER BY face_id LIMIT %s) AS next",
                [after, _ROWS_AT_ONCE],
            )
            (last,) = cursor.fetchone() or (0,)
        if not last:
            return
        within = f"face.id > {int(after)} AND face.id <= {int(last)}"
        face_ids, vectors = faces.read_vectors(
            tx, model_version_id, f"{within} AND {people.GALLERY}"
        )
        owned, person_ids = _owners(tx, face_ids)
        # A face that left the gallery between the two statements is left out.
        kept = np.isin(face_ids, owned)
        yield person_ids, vectors[kept]
        after = int(last)


def labels(tx: Transaction, person_ids: Sequence[int]) -> dict[int, str]:
    """Person id → name."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT id, label FROM person WHERE id = ANY(%s)", [list(person_ids)])
        return dict(cursor.fetchall())


def _owners(
    tx: Transaction, face_ids: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Those of the faces, ascending, that are somebody's, and whose."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT face_id, person_id FROM assignment WHERE gallery AND face_id = ANY(%s) "
            "ORDER BY face_id",
            [face_ids.tolist()],
        )
        owned = np.array(cursor.fetchall(), np.int64).reshape(-1, 2)
    return owned[:, 0], owned[:, 1]
