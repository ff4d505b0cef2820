"""What would change if the staged pair came into use: counted in one pass over the pairs of faces.

Every face is paired with itself, or with its counterpart where the detector changes. Faces of
the gallery's own pictures are not identified, so they are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models.promotions import Promotion

# Kind → whether somebody would notice. In the order in which examples are of interest.
KINDS = {
    "renamed": True,
    "lost": True,
    "gained": True,
    "confidence": True,
    "not_found": True,
    "newly_found": True,
    "same": False,
    "unknown": False,
    "human": False,
    "not_compared": False,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A face for which something would change: outcome, name and score before and after."""

    kind: str
    face_id: int
    before: tuple[str | None, str | None, float | None]
    after: tuple[str | None, str | None, float | None]


def prepare(tx: Transaction, promotion: Promotion) -> None:
    """Make the temporary table the functions below read; it ends with the transaction."""
    values = {
        "from_detector": promotion.from_detector_id,
        "to_detector": promotion.to_detector_id,
        "from_embedder": promotion.from_embedder_id,
        "to_embedder": promotion.to_embedder_id,
    }
    with tx.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE shadow ON COMMIT DROP AS "
            f"WITH pair AS ({_TWO_DETECTORS if promotion.new_detector else _ONE_DETECTOR}) "
            f"{_COMPARED}",
            values,
        )
        cursor.execute("ANALYZE shadow")


def kinds(tx: Transaction) -> dict[str, int]:
    """Kind of change → faces; every kind is present."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT kind, count(*) FROM shadow GROUP BY 1")
        return dict.fromkeys(KINDS, 0) | dict(cursor.fetchall())


def scores(tx: Transaction, edges: Sequence[float]) -> tuple[list[int], list[int]]:
    """Best gallery scores before and after, counted between `edges` (the ends are open)."""
    counted = []
    for column in ("old_score", "new_score"):
        with tx.cursor() as cursor:
            cursor.execute(
                f"SELECT width_bucket({column}, %s::float8[]), count(*) FROM shadow "
                f"WHERE {column} IS NOT NULL GROUP BY 1",
                [list(edges[1:-1])],
            )
            found = dict(cursor.fetchall())
        counted.append([found.get(bucket, 0) for bucket in range(len(edges) - 1)])
    return counted[0], counted[1]


def thresholds(tx: Transaction) -> tuple[float | None, float | None]:
    """The thresholds that decided most faces, before and after."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT mode() WITHIN GROUP (ORDER BY old_threshold), "
            "mode() WITHIN GROUP (ORDER BY new_threshold) FROM shadow"
        )
        before, after = cursor.fetchone() or (None, None)
        return before, after


def examples(tx: Transaction, limit: int) -> list[Change]:
    """Faces for which something would change, some of each kind, the largest differences first."""
    noticed = [kind for kind, noticeable in KINDS.items() if noticeable]
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT s.kind, coalesce(s.new_id, s.old_id), s.old_outcome, o.label, s.old_score, "
            "s.new_outcome, n.label, s.new_score FROM ("
            "  SELECT *, row_number() OVER (PARTITION BY kind ORDER BY "
            "  abs(coalesce(new_score, 0) - coalesce(old_score, 0)) DESC, old_id) AS place "
            "  FROM shadow WHERE kind = ANY(%(kinds)s)) AS s "
            "LEFT JOIN person AS o ON o.id = s.old_person "
            "LEFT JOIN person AS n ON n.id = s.new_person "
            "ORDER BY s.place, array_position(%(kinds)s, s.kind) LIMIT %(limit)s",
            {"kinds": noticed, "limit": limit},
        )
        return [Change(row[0], row[1], row[2:5], row[5:8]) for row in cursor]


def sample(tx: Transaction, limit: int) -> list[tuple[int, int]]:
    """Pairs (face before, face after), chosen by their ids' hash: the same for the same faces."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT old_id, new_id FROM shadow WHERE old_id IS NOT NULL AND new_id IS NOT NULL "
            "ORDER BY hashint8(old_id), old_id LIMIT %s",
            [limit],
        )
        return cursor.fetchall()


_ONE_DETECTOR = """
    SELECT id AS old_id, id AS new_id FROM face
    WHERE detector_version_id = %(from_detector)s AND shard_id IS NOT NULL"""

_TWO_DETECTORS = """
    SELECT o.id AS old_id, n.id AS new_id
    FROM (SELECT id FROM face
          WHERE detector_version_id = %(from_detector)s AND shard_id IS NOT NULL) AS o
    LEFT JOIN face_counterpart AS c ON c.face_id = o.id AND EXISTS (
        SELECT FROM face WHERE id = c.counterpart_id AND detector_version_id = %(to_detector)s)
    FULL JOIN (SELECT id FROM face
               WHERE detector_version_id = %(to_detector)s AND shard_id IS NOT NULL) AS n
        ON n.id = c.counterpart_id"""

_COMPARED = """
    SELECT pair.old_id, pair.new_id,
           a.outcome AS old_outcome, a.person_id AS old_person, a.score AS old_score,
           a.threshold AS old_threshold,
           b.outcome AS new_outcome, b.person_id AS new_person, b.score AS new_score,
           b.threshold AS new_threshold,
           CASE WHEN h.id IS NOT NULL THEN 'human'
                WHEN pair.new_id IS NULL THEN 'not_found'
                WHEN pair.old_id IS NULL THEN 'newly_found'
                WHEN a.id IS NULL OR b.id IS NULL THEN 'not_compared'
                WHEN a.person_id IS NULL AND b.person_id IS NULL THEN 'unknown'
                WHEN a.person_id = b.person_id AND a.outcome = b.outcome THEN 'same'
                WHEN a.person_id = b.person_id THEN 'confidence'
                WHEN b.person_id IS NULL THEN 'lost'
                WHEN a.person_id IS NULL THEN 'gained'
                ELSE 'renamed' END AS kind
    FROM pair
    LEFT JOIN assignment AS a ON a.face_id = pair.old_id AND a.source = 'enrolled'
         AND a.model_version_id = %(from_embedder)s
    LEFT JOIN assignment AS b ON b.face_id = pair.new_id AND b.source = 'enrolled'
         AND b.model_version_id = %(to_embedder)s
    LEFT JOIN assignment AS h ON h.face_id = pair.old_id AND h.source = 'human'"""
