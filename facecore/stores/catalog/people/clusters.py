"""What clustering reads and writes: faces with vectors, what is known of each, what it said.

Rows of a version that is not in use are left as they are, so that a rollback finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.types import Floats

Ints = npt.NDArray[np.int64]

_LOCK = "clustering"
_ROWS_AT_ONCE = 50_000

# Faces of the detector in use that clustering looks at: those of the stream, and those a human
# gave to somebody. Not those that wait for a human as somebody of the gallery, nor those of which
# a human said that they are nobody.
_NODES = """
    face.detector_version_id =
        (SELECT id FROM model_version WHERE task = 'detect' AND state = 'active')
    AND EXISTS (SELECT FROM image WHERE image.id = face.image_id AND image.status <> 'erased')
    AND CASE WHEN EXISTS (SELECT FROM assignment AS h
                          WHERE h.face_id = face.id AND h.source = 'human')
        THEN EXISTS (SELECT FROM assignment AS h WHERE h.face_id = face.id
                     AND h.source = 'human' AND h.person_id IS NOT NULL)
        ELSE face.shard_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM assignment AS e WHERE e.face_id = face.id AND e.source = 'enrolled'
            AND e.model_version_id = {model} AND e.outcome = 'review') END
"""


@dataclass(frozen=True, slots=True)
class FaceStates:
    """What is known of `n` faces, all `[n]`, in the order of `face_ids` int64.

    Attributes:
        present: bool: whether it is a face that clustering looks at (still).
        fixed: int64: whose it is by a human's word or an accepted match; 0: unknown.
        confirmed: bool: whether that is a human's word.
        said: int64: to whom clustering gave it before; 0: nobody.
        outcome: what clustering said: accept, review, unknown; "" where nothing.
        quality: float64 0..1; 0 where it was never measured.
    """

    face_ids: Ints
    present: npt.NDArray[np.bool_]
    fixed: Ints
    confirmed: npt.NDArray[np.bool_]
    said: Ints
    outcome: npt.NDArray[np.str_]
    quality: npt.NDArray[np.float64]


def alone(tx: Transaction) -> None:
    """Let no other pass of the clustering begin until this transaction ends.

    Raises:
        CatalogBusy: another one took longer than the transaction waits for locks.
    """
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK])


def count(tx: Transaction, model_version_id: int) -> int:
    """How many faces clustering looks at."""
    return _number(tx, f"SELECT count(*) {_nodes(model_version_id)}")


def count_unexamined(tx: Transaction, model_version_id: int) -> int:
    """How many of them are unknown and were not looked at yet."""
    return _number(
        tx, f"SELECT count(*) {_nodes(model_version_id)} AND {_unexamined(model_version_id)}"
    )


def unexamined(tx: Transaction, model_version_id: int, limit: int) -> list[int]:
    """Faces that are unknown and were not looked at yet, lowest ids first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT face.id {_nodes(model_version_id)} AND {_unexamined(model_version_id)} "
            "ORDER BY face.id LIMIT %s",
            [limit],
        )
        return [face_id for (face_id,) in cursor]


def vectors_of(
    tx: Transaction, model_version_id: int, face_ids: Sequence[int]
) -> tuple[Ints, Floats]:
    """Ids, ascending, and float32 vectors `[n, d]` of these faces."""
    listed = ",".join(str(int(face_id)) for face_id in face_ids) or "NULL"
    return faces.read_vectors(tx, model_version_id, f"face.id IN ({listed})")


def blocks(tx: Transaction, model_version_id: int) -> Iterator[tuple[Ints, Floats]]:
    """Ids and vectors of all faces that clustering looks at, by id, block by block."""
    after = 0
    condition = _NODES.format(model=int(model_version_id))
    while True:
        last = _number(
            tx,
            "SELECT coalesce(max(face_id), 0) FROM (SELECT face_id FROM embedding "
            f"WHERE model_version_id = {int(model_version_id)} AND face_id > {after} "
            f"ORDER BY face_id LIMIT {_ROWS_AT_ONCE}) AS next",
        )
        if not last:
            return
        yield faces.read_vectors(
            tx, model_version_id, f"face.id > {after} AND face.id <= {last} AND {condition}"
        )
        after = last


def states(tx: Transaction, model_version_id: int, face_ids: Ints) -> FaceStates:
    """What is known of these faces, int64 `[n]`, ascending."""
    n = len(face_ids)
    made = FaceStates(
        face_ids=face_ids,
        present=np.zeros(n, np.bool_),
        fixed=np.zeros(n, np.int64),
        confirmed=np.zeros(n, np.bool_),
        said=np.zeros(n, np.int64),
        outcome=np.full(n, "", "U7"),
        quality=np.zeros(n, np.float64),
    )
    for start in range(0, n, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, n))
        with tx.cursor() as cursor:
            cursor.execute(
                "SELECT face.id, coalesce(h.person_id, e.person_id, 0), h.id IS NOT NULL, "
                "coalesce(c.person_id, 0), coalesce(c.outcome, ''), "
                "CASE WHEN jsonb_typeof(face.quality -> 'score') = 'number' "
                "THEN (face.quality ->> 'score')::float8 ELSE 0 END FROM face "
                "LEFT JOIN assignment AS h ON h.face_id = face.id AND h.source = 'human' "
                "LEFT JOIN assignment AS e ON e.face_id = face.id AND e.source = 'enrolled' "
                "AND e.model_version_id = %(model)s AND e.outcome = 'accept' "
                "LEFT JOIN assignment AS c ON c.face_id = face.id AND c.source = 'cluster' "
                "AND c.model_version_id = %(model)s "
                f"WHERE face.id = ANY(%(faces)s) AND {_NODES.format(model=int(model_version_id))} "
                "ORDER BY face.id",
                {"model": model_version_id, "faces": face_ids[part].tolist()},
            )
            rows = cursor.fetchall()
        if not rows:
            continue
        ids, fixed, confirmed, said, outcome, quality = zip(*rows, strict=True)
        at = np.searchsorted(face_ids, np.array(ids, np.int64))
        made.present[at] = True
        made.fixed[at], made.confirmed[at] = fixed, confirmed
        made.said[at], made.outcome[at], made.quality[at] = said, outcome, quality
    return made


def enrolled_among(tx: Transaction, person_ids: Sequence[int]) -> set[int]:
    """Those of these people who are enrolled."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM person WHERE id = ANY(%s) AND kind = 'enrolled'", [list(person_ids)]
        )
        return {person_id for (person_id,) in cursor}


def people_to_carry(
    tx: Transaction, source_id: int, target_id: int, after: int, limit: int
) -> list[int]:
    """People whom clustering gave faces under one embedder that have no row under another yet,
    by id: the next `limit` of them after a person."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT c.person_id {_CARRIED} AND c.person_id > %(after)s "
            "ORDER BY 1 LIMIT %(limit)s",
            {"source": source_id, "target": target_id, "after": after, "limit": limit},
        )
        return [person_id for (person_id,) in cursor]


def rows_to_carry(
    tx: Transaction, source_id: int, target_id: int, person_ids: Sequence[int]
) -> list[tuple[int, int, str]]:
    """(face of the target's detector, person, outcome) of what `people_to_carry` found."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT ON (n.id) n.id, c.person_id, c.outcome {_CARRIED} "
            "AND c.person_id = ANY(%(people)s) ORDER BY n.id, c.score DESC",
            {"source": source_id, "target": target_id, "people": list(person_ids)},
        )
        return cursor.fetchall()


# What clustering said under the source, of faces that the target's detector found too, has a
# vector of, and of which clustering under the target has said nothing yet.
_CARRIED = """
    FROM assignment AS c JOIN face AS f ON f.id = c.face_id
    CROSS JOIN (SELECT detector_version_id AS id FROM model_version WHERE id = %(target)s) AS d
    JOIN LATERAL (
        SELECT f.id WHERE f.detector_version_id = d.id
        UNION ALL
        SELECT o.id FROM face_counterpart AS p JOIN face AS o ON o.id = p.counterpart_id
        WHERE p.face_id = f.id AND f.detector_version_id <> d.id
        AND o.detector_version_id = d.id
    ) AS n ON true
    WHERE c.source = 'cluster' AND c.model_version_id = %(source)s AND c.person_id IS NOT NULL
    AND EXISTS (SELECT FROM embedding AS v
                WHERE v.model_version_id = %(target)s AND v.face_id = n.id)
    AND NOT EXISTS (SELECT FROM assignment AS t WHERE t.face_id = n.id AND t.source = 'cluster'
                    AND t.model_version_id = %(target)s)"""


def _nodes(model_version_id: int) -> str:
    return (
        "FROM embedding JOIN face ON face.id = embedding.face_id "
        f"WHERE embedding.model_version_id = {int(model_version_id)} "
        f"AND {_NODES.format(model=int(model_version_id))}"
    )


def _unexamined(model_version_id: int) -> str:
    return (
        "NOT EXISTS (SELECT FROM assignment AS a WHERE a.face_id = face.id AND ("
        "a.source = 'human' OR a.model_version_id = "
        f"{int(model_version_id)} AND (a.source = 'cluster' OR a.outcome = 'accept')))"
    )


def _number(tx: Transaction, statement: str) -> int:
    with tx.cursor() as cursor:
        cursor.execute(statement)
        return int((cursor.fetchone() or (0,))[0] or 0)
