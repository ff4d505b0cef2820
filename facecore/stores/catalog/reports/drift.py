"""What drift is measured on, and the measurements: canaries, samples, histograms, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images.images import ENROLMENT
from facecore.stores.catalog.json_values import as_json
from facecore.types import Floats


@dataclass(frozen=True, slots=True)
class MeasurementRow:
    """One measure of one subject; see the table for what holds."""

    subject: str
    measure: str
    state: str
    value: float | None
    upper_limit: float
    p_value: float | None
    reference_n: int
    period_n: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check: a period, what it was held against, and where its report is."""

    period_start: datetime
    period_end: datetime
    reference_start: datetime
    reference_end: datetime
    html_key: str
    run_id: str | None
    measurements: Sequence[MeasurementRow]


@dataclass(frozen=True, slots=True)
class Check:
    """A recorded check; `measurements` are those over their limit only."""

    id: int
    period_start: datetime
    period_end: datetime
    drifted: int
    html_key: str
    run_id: str | None
    created_at: datetime
    measurements: tuple[MeasurementRow, ...]


def read_histograms(
    tx: Transaction,
    start: datetime,
    end: datetime,
    image_bins: Mapping[str, Sequence[float]],
    face_bins: Mapping[str, Sequence[float]],
) -> pd.DataFrame:
    """How often a measurement falls into a bin, per source; one row per non-empty bin.

    Counts the distinct images first sighted in `[start, end)`, and their faces. `faces` of an
    image is a measurement of the image. The quarantine's images count too.

    Returns:
        Columns source, measure (`image.<key>`, `face.<key>`, `image.faces`), bucket, n.
    """
    _prepare(tx, start, end)
    bins = {
        **{f"image.{key}": edges for key, edges in image_bins.items()},
        **{f"face.{key}": edges for key, edges in face_bins.items()},
    }
    with tx.cursor() as cursor:
        cursor.execute(
            _HISTOGRAMS,
            {
                "measures": list(bins),
                "keys": [name.split(".", 1)[1] for name in bins],
                "edges": [
                    "{" + ",".join(repr(float(edge)) for edge in edges) + "}"
                    for edges in bins.values()
                ],
            },
        )
        return pd.DataFrame(
            cursor.fetchall(), columns=["source", "measure", "bucket", "n"], dtype=object
        )


def read_rows(
    tx: Transaction,
    start: datetime,
    end: datetime,
    keys: Sequence[str],
    *,
    of_faces: bool,
    limit: int,
) -> tuple[Floats, list[str]]:
    """Measurements of a sample of images or faces of a period, chosen by their ids' hash.

    Returns:
        float32 `[n, len(keys)]`, NaN where something was not measured, and for each row which
        source and hour it is from: rows of one burst are not independent.
    """
    _prepare(tx, start, end)
    with tx.cursor() as cursor:
        cursor.execute(
            _FACE_ROWS if of_faces else _IMAGE_ROWS, {"keys": list(keys), "limit": limit}
        )
        found = cursor.fetchall()
    values = np.array([row[1] for row in found], np.float32).reshape(len(found), len(keys))
    return values, [row[0] for row in found]


def read_source_days(tx: Transaction, start: datetime, end: datetime, zone: str) -> pd.DataFrame:
    """Deliveries per source and weekday of a period: source, weekday (1 = Monday), n."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT source, extract(isodow FROM captured_at AT TIME ZONE %s)::int AS weekday, "
            "count(*) AS n FROM sighting WHERE captured_at >= %s AND captured_at < %s "
            "AND source <> %s GROUP BY 1, 2 ORDER BY 1, 2",
            [zone, start, end, ENROLMENT],
        )
        return pd.DataFrame(cursor.fetchall(), columns=["source", "weekday", "n"], dtype=object)


def recognised_faces(
    tx: Transaction, start: datetime, end: datetime, *, people: int, faces_each: int
) -> dict[int, int]:
    """Face → person, of a sample of people who were recognised in a period.

    People and faces are chosen by their ids' hash; at most `faces_each` of one person.
    """
    _prepare(tx, start, end)
    with tx.cursor() as cursor:
        cursor.execute(_RECOGNISED, {"people": people, "each": faces_each})
        return dict(cursor.fetchall())


def pin_canaries(
    tx: Transaction, contract: str, vectors: Mapping[str, Floats], precision: str, run_id: str
) -> None:
    """Keep what a contract's embedder makes of each crop (SHA-256 → vector), for good.

    Crops that are pinned already stay as they are.
    """
    with tx.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO canary (contract, crop_sha256, vector, precision, run_id) "
            "VALUES (%s, %s, %s::vector, %s, %s) ON CONFLICT DO NOTHING",
            [
                (contract, crop, str([float(x) for x in vector]), precision, run_id)
                for crop, vector in vectors.items()
            ],
        )


def pinned_canaries(tx: Transaction, contract: str) -> dict[str, Floats]:
    """SHA-256 of a crop → its pinned vector float32 `[d]`."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT crop_sha256, vector::text FROM canary WHERE contract = %s ORDER BY 1",
            [contract],
        )
        return {crop: np.fromstring(text.strip("[]"), np.float32, sep=",") for crop, text in cursor}


def record(tx: Transaction, row: CheckRow) -> int:
    """Keep a check; one of the same period is replaced. Returns its id."""
    drifted = sum(one.state == "drift" for one in row.measurements)
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO drift_check (period_start, period_end, reference_start, reference_end, "
            "drifted, html_key, run_id) VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (period_start, period_end) DO UPDATE SET "
            "reference_start = excluded.reference_start, reference_end = excluded.reference_end, "
            "drifted = excluded.drifted, html_key = excluded.html_key, "
            "run_id = excluded.run_id, created_at = now() RETURNING id",
            [
                row.period_start, row.period_end, row.reference_start, row.reference_end, drifted,
                row.html_key, row.run_id,
            ],
        )  # fmt: skip
        (check_id,) = cursor.fetchone() or (0,)
        cursor.execute("DELETE FROM drift_measurement WHERE check_id = %s", [check_id])
        cursor.executemany(
            "INSERT INTO drift_measurement (check_id, subject, measure, state, value, "
            "upper_limit, p_value, reference_n, period_n, details) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    check_id, one.subject, one.measure, one.state, one.value, one.upper_limit,
                    one.p_value, one.reference_n, one.period_n, as_json(one.details),
                )
                for one in row.measurements
            ],
        )  # fmt: skip
        return int(check_id)


def get(tx: Transaction, check_id: int) -> Check | None:
    """A check with what is over its limit, or None."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, period_start, period_end, drifted, html_key, run_id, created_at "
            "FROM drift_check WHERE id = %s",
            [check_id],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute(
            "SELECT subject, measure, state, value, upper_limit, p_value, reference_n, period_n, "
            "details FROM drift_measurement WHERE check_id = %s AND state = 'drift' "
            "ORDER BY subject, measure",
            [check_id],
        )
        values = (*row, tuple(MeasurementRow(*found) for found in cursor))
    return Check(*values)


def newest(tx: Transaction) -> Check | None:
    """The check of the latest period, or None."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT id FROM drift_check ORDER BY period_end DESC, id DESC LIMIT 1")
        row = cursor.fetchone()
    return None if row is None else get(tx, int(row[0]))


def history(tx: Transaction, subject: str, measure: str, limit: int = 60) -> list[tuple[Any, ...]]:
    """The newest values of a measure, oldest first: end of the period, value, limit."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT c.period_end, m.value, m.upper_limit FROM drift_measurement AS m "
            "JOIN drift_check AS c ON c.id = m.check_id "
            "WHERE m.subject = %s AND m.measure = %s AND m.value IS NOT NULL "
            "ORDER BY c.period_end DESC LIMIT %s",
            [subject, measure, limit],
        )
        return cursor.fetchall()[::-1]


def _prepare(tx: Transaction, start: datetime, end: datetime) -> None:
    with tx.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.drift_image")
        cursor.execute(_IMAGES, {"start": start, "end": end, "enrolment": ENROLMENT})
        cursor.execute("ANALYZE drift_image")


_IMAGES = """
    CREATE TEMPORARY TABLE drift_image ON COMMIT DROP AS
    SELECT DISTINCT ON (image_id) image_id, source, captured_at FROM sighting
    WHERE captured_at >= %(start)s AND captured_at < %(end)s AND source <> %(enrolment)s
    ORDER BY image_id, captured_at, id"""

_NUMBER = """CASE WHEN jsonb_typeof({quality} -> key) = 'number'
             THEN ({quality} ->> key)::float8 END"""

_HISTOGRAMS = f"""
    WITH wanted AS (
        SELECT measure, key, edges::float8[] AS edges
        FROM unnest(%(measures)s::text[], %(keys)s::text[], %(edges)s::text[])
             AS w (measure, key, edges)
    ),
    valued AS (
        SELECT d.source, w.measure, w.edges, {_NUMBER.format(quality="image.quality")} AS value
        FROM drift_image AS d JOIN image ON image.id = d.image_id, wanted AS w
        WHERE w.measure LIKE 'image.%%'
        UNION ALL
        SELECT d.source, w.measure, w.edges,
               CASE WHEN key = 'detection_score' THEN face.score::float8
                    ELSE {_NUMBER.format(quality="face.quality")} END
        FROM drift_image AS d JOIN active_face AS face ON face.image_id = d.image_id, wanted AS w
        WHERE w.measure LIKE 'face.%%'
    )
    SELECT source, measure, width_bucket(value, edges) AS bucket, count(*) AS n
    FROM valued WHERE value IS NOT NULL GROUP BY 1, 2, 3
    UNION ALL
    SELECT source, 'image.faces', least(faces, 10)::int, count(*)
    FROM (
        SELECT d.source, count(face.id) AS faces
        FROM drift_image AS d JOIN image ON image.id = d.image_id AND image.status = 'extracted'
        LEFT JOIN active_face AS face ON face.image_id = d.image_id
        GROUP BY d.source, d.image_id
    ) AS counted
    GROUP BY 1, 3
    ORDER BY 1, 2, 3"""

_ROWS = """
    SELECT source || to_char(captured_at, ' YYYY-MM-DD HH24'),
           (SELECT array_agg({value} ORDER BY place)
            FROM unnest(%(keys)s::text[]) WITH ORDINALITY AS k (key, place))
    FROM (
        SELECT d.source, d.captured_at, {columns}
        FROM drift_image AS d JOIN {table}
        ORDER BY hashint8({id}), {id} LIMIT %(limit)s
    ) AS chosen"""

_IMAGE_ROWS = _ROWS.format(
    value=_NUMBER.format(quality="quality"),
    columns="image.quality",
    table="image ON image.id = d.image_id",
    id="image.id",
)
_FACE_ROWS = _ROWS.format(
    value=f"CASE WHEN key = 'detection_score' THEN score::float8 "
    f"ELSE {_NUMBER.format(quality='quality')} END",
    columns="face.quality, face.score",
    table="active_face AS face ON face.image_id = d.image_id",
    id="face.id",
)

_RECOGNISED = """
    WITH seen AS (
        SELECT face.id AS face_id, c.person_id
        FROM drift_image AS d JOIN active_face AS face ON face.image_id = d.image_id
        CROSS JOIN LATERAL (
            SELECT person_id FROM current_assignment AS every
            WHERE every.face_id = face.id AND every.outcome = 'accept' OFFSET 0
        ) AS c
        JOIN person ON person.id = c.person_id AND person.status = 'active'
    ),
    chosen AS (
        SELECT person_id FROM (SELECT DISTINCT person_id FROM seen) AS p
        ORDER BY hashint8(person_id), person_id LIMIT %(people)s
    )
    SELECT face_id, person_id FROM (
        SELECT face_id, person_id,
               row_number() OVER (PARTITION BY person_id ORDER BY hashint8(face_id), face_id)
                   AS place
        FROM seen JOIN chosen USING (person_id)
    ) AS ranked WHERE place <= %(each)s"""
