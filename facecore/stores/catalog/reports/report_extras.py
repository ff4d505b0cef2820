"""What clustering and the autoencoder found on the pictures of a period, for its report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images.images import ENROLMENT


@dataclass(frozen=True, slots=True)
class Group:
    """A person whom clustering found, and how much of the period shows them."""

    person_id: int
    label: str
    named: bool
    faces: int
    images: int


@dataclass(frozen=True, slots=True)
class Groups:
    """All of them: `faces` were accepted for `people`; `review` wait for a human's look."""

    people: int
    faces: int
    review: int
    largest: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class UnusualFace:
    """A face that few ordinary crops are as far away as; its crop's place."""

    face_id: int
    source: str
    rank: float
    crop_key: str
    crop_index: int


@dataclass(frozen=True, slots=True)
class UnusualFaces:
    """How many faces were scored and are unusual, per source (not of all), and the farthest."""

    scored: int
    unusual: int
    per_source: tuple[tuple[str, int, int], ...]
    farthest: tuple[UnusualFace, ...]


_FACES = """
    SELECT face.id, face.image_id, face.crop_key, face.crop_index, seen.source
    FROM (
        SELECT DISTINCT ON (image_id) image_id, source FROM sighting
        WHERE captured_at >= %(start)s AND captured_at < %(end)s AND source <> %(enrolment)s
        ORDER BY image_id, captured_at, id
    ) AS seen JOIN active_face AS face ON face.image_id = seen.image_id"""


def groups(tx: Transaction, start: datetime, end: datetime, limit: int = 20) -> Groups:
    """People of kind discovered who were seen in `[start, end)`, the most frequent first."""
    values = {"start": start, "end": end, "enrolment": ENROLMENT, "limit": limit}
    with tx.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.report_group")
        cursor.execute(
            f"CREATE TEMPORARY TABLE report_group ON COMMIT DROP AS "
            f"SELECT c.person_id, c.outcome, f.id AS face_id, f.image_id FROM ({_FACES}) AS f "
            "CROSS JOIN LATERAL (SELECT * FROM current_assignment AS every "
            "  WHERE every.face_id = f.id AND every.person_id IS NOT NULL OFFSET 0) AS c "
            "JOIN person ON person.id = c.person_id "
            "WHERE person.kind = 'discovered' AND person.status = 'active'",
            values,
        )
        cursor.execute(
            "SELECT count(DISTINCT person_id) FILTER (WHERE outcome = 'accept'), "
            "count(*) FILTER (WHERE outcome = 'accept'), "
            "count(*) FILTER (WHERE outcome = 'review') FROM report_group"
        )
        people, accepted, review = cursor.fetchone() or (0, 0, 0)
        cursor.execute(
            "SELECT g.person_id, person.label, person.named, count(*), "
            "count(DISTINCT g.image_id) FROM report_group AS g "
            "JOIN person ON person.id = g.person_id WHERE g.outcome = 'accept' "
            "GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1 LIMIT %(limit)s",
            values,
        )
        return Groups(people, accepted, review, tuple(Group(*row) for row in cursor))


def unusual_faces(
    tx: Transaction, start: datetime, end: datetime, *, least_rank: float, limit: int = 12
) -> UnusualFaces:
    """Faces of `[start, end)` that the autoencoder in use finds unusual, the farthest first."""
    values = {
        "start": start, "end": end, "enrolment": ENROLMENT, "rank": least_rank, "limit": limit,
    }  # fmt: skip
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT f.source, count(*), count(*) FILTER (WHERE a.rank >= %(rank)s), "
            f"sum(count(*)) OVER (), sum(count(*) FILTER (WHERE a.rank >= %(rank)s)) OVER () "
            f"FROM ({_FACES}) AS f JOIN active_face_anomaly AS a ON a.face_id = f.id "
            "GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 20",
            values,
        )
        rows = cursor.fetchall()
        per_source = tuple((source, int(n), int(far)) for source, n, far, *_ in rows)
        scored, unusual = (int(total) for total in rows[0][3:]) if rows else (0, 0)
        cursor.execute(
            f"SELECT f.id, f.source, a.rank, f.crop_key, f.crop_index FROM ({_FACES}) AS f "
            "JOIN active_face_anomaly AS a ON a.face_id = f.id WHERE a.rank >= %(rank)s "
            "ORDER BY a.distance DESC, f.id LIMIT %(limit)s",
            values,
        )
        farthest = tuple(UnusualFace(*row) for row in cursor)
    return UnusualFaces(scored, unusual, per_source, farthest)
