"""How unusual faces are, by version of the autoencoder; the packs of crops that wait for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2.extras import execute_values

from facecore.stores.catalog.connection import Transaction

_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of a face: see table `face_anomaly`."""

    face_id: int
    error: float
    distance: float
    rank: float


@dataclass(frozen=True, slots=True)
class Unusual:
    """A scored face with the place of its crop and where it was seen."""

    face_id: int
    image_id: int
    source: str
    error: float
    distance: float
    rank: float
    crop_key: str
    crop_index: int


def packs_to_score(tx: Transaction, model_version_id: int, limit: int) -> list[str]:
    """Keys of packs with a face of the detector in use that this version has not scored."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT face.crop_key FROM active_face AS face "
            "JOIN image ON image.id = face.image_id "
            "WHERE image.status <> 'erased' AND NOT EXISTS (SELECT FROM face_anomaly AS a "
            "  WHERE a.model_version_id = %s AND a.face_id = face.id) "
            "ORDER BY 1 LIMIT %s",
            [model_version_id, limit],
        )
        return [key for (key,) in cursor.fetchall()]


def faces_to_score(tx: Transaction, model_version_id: int, crop_key: str) -> list[tuple[int, int]]:
    """(face, row of the pack) of a pack's faces that this version has not scored."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT face.id, face.crop_index FROM active_face AS face "
            "JOIN image ON image.id = face.image_id "
            "WHERE face.crop_key = %s AND image.status <> 'erased' AND NOT EXISTS "
            "  (SELECT FROM face_anomaly AS a "
            "   WHERE a.model_version_id = %s AND a.face_id = face.id) "
            "ORDER BY face.crop_index, face.id",
            [crop_key, model_version_id],
        )
        return [(int(face_id), int(row)) for face_id, row in cursor.fetchall()]


def add(tx: Transaction, model_version_id: int, scored: Sequence[Scored], run_id: str) -> int:
    """Write scores; those that are there stay. Returns how many are new."""
    if not scored:
        return 0
    with tx.cursor() as cursor:
        written = execute_values(
            cursor,
            "INSERT INTO face_anomaly (model_version_id, face_id, error, distance, rank, run_id) "
            "VALUES %s ON CONFLICT DO NOTHING RETURNING face_id",
            [(model_version_id, s.face_id, s.error, s.distance, s.rank, run_id) for s in scored],
            page_size=1000,
            fetch=True,
        )
    return len(written)


def most_unusual(
    tx: Transaction, limit: int, *, least_rank: float = 0.0, after: tuple[float, int] | None = None
) -> list[Unusual]:
    """Faces by falling distance, of the version in use.

    Args:
        after: (distance, face) of the last one of the page before.
    """
    distance, face_id = after or (None, None)
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT a.face_id, face.image_id, image.source, a.error, a.distance, a.rank, "
            "face.crop_key, face.crop_index FROM active_face_anomaly AS a "
            "JOIN face ON face.id = a.face_id JOIN image ON image.id = face.image_id "
            "WHERE image.status <> 'erased' AND a.rank >= %(rank)s "
            "AND (%(distance)s::real IS NULL OR a.distance < %(distance)s::real "
            "     OR (a.distance = %(distance)s::real AND a.face_id > %(face)s)) "
            "ORDER BY a.distance DESC, a.face_id LIMIT %(limit)s",
            {"rank": least_rank, "distance": distance, "face": face_id, "limit": limit},
        )
        return [Unusual(*row) for row in cursor]


def histogram(tx: Transaction, bins: int = 20) -> list[int]:
    """Number of faces in each of `bins` equal parts of the ranks 0..1, by the version in use."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT least(floor(rank * %s)::int, %s - 1) AS bin, count(*) "
            "FROM active_face_anomaly GROUP BY bin",
            [bins, bins],
        )
        found = dict(cursor.fetchall())
    return [int(found.get(place, 0)) for place in range(bins)]


def count_unusual(tx: Transaction, least_rank: float) -> int:
    """Number of faces with this rank or a higher one, by the version in use."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM active_face_anomaly WHERE rank >= %s", [least_rank])
        return int((cursor.fetchone() or (0,))[0])


def sample(tx: Transaction, limit: int, seed: str = "map") -> Iterator[Unusual]:
    """At most so many scored faces, by lot, the same for the same catalogue and seed."""
    with tx.cursor(name="anomaly_sample") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(
            "SELECT a.face_id, face.image_id, image.source, a.error, a.distance, a.rank, "
            "face.crop_key, face.crop_index FROM active_face_anomaly AS a "
            "JOIN face ON face.id = a.face_id JOIN image ON image.id = face.image_id "
            "WHERE image.status <> 'erased' "
            "ORDER BY hashtextextended(%s || a.face_id::text, 0) LIMIT %s",
            [seed, limit],
        )
        for row in cursor:
            yield Unusual(*row)
