"""Who was there in a period: visits, newcomers, who was seen together, and trends over time.

Reads what `activity.read_activity` prepared in the same transaction, so both count the same rows
of the same snapshot. Everything is counted inside PostgreSQL: no query returns a row per face,
image or person. "Seen" is a face whose word holds now, given to a person who was not erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pandas as pd

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.reports.activity import ActivityQuery

# A picture of a crowd would pair everybody with everybody; n people are n² pairs.
MOST_PEOPLE_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class PresenceQuery:
    """What to count beside the activity.

    Attributes:
        visit_gap: sightings of a person further apart than this belong to two visits.
        dwell_edges: seconds, rising: bins of how long visits lasted.
        count_edges: whole numbers, rising: bins of visits, days and companions per person.
        top_pairs: how many pairs of people are listed.
        image_trends, face_trends: keys in the quality JSON to follow over time.
    """

    visit_gap: timedelta = timedelta(minutes=30)
    dwell_edges: Sequence[float] = (60, 300, 900, 3600, 14400)
    count_edges: Sequence[int] = (1, 2, 3, 6, 11, 21)
    top_pairs: int = 40
    image_trends: Sequence[str] = field(default=())
    face_trends: Sequence[str] = field(default=())


def read_presence(
    tx: Transaction, query: ActivityQuery, wanted: PresenceQuery
) -> dict[str, pd.DataFrame]:
    """Count people, visits, company and trends of the period that `read_activity` has read.

    Returns:
        Frame name → frame; `bucket` counts from 0 (below the first edge) to n.

        - `presence` (1 row): people, newcomers, visits, seen_once (visits of one moment),
          crowded (pictures left out of the pairs because too many people are on them)
        - `newcomers`: bin, newcomers, returning (distinct people each)
        - `visits_per_person`, `days_per_person`, `companions`: bucket, people
        - `dwell`: bucket, visits, people (visits of more than one moment)
        - `stays`: source, stays, people, seen_once, median_s, p90_s (of stays of more than one
          moment; a stay is a visit at one source)
        - `pairs`: a, a_label, b, b_label, images (pictures that show both)
        - `source_hours`: source, weekday, hour, images, faces
        - `quarantine_trend`: bin, images, quarantined
        - `image_trend`, `face_trend`: bin, metric, n, q25, q50, q75
        - `score_trend`: bin, accepted (whether), n, q25, q50, q75
    """
    values: dict[str, Any] = {
        "start": query.start,
        "enrolment": "enrolment",
        "unit": query.bin_unit,
        "gap": wanted.visit_gap,
        "dwell_edges": [float(edge) for edge in wanted.dwell_edges],
        "count_edges": [int(edge) for edge in wanted.count_edges],
        "company_edges": [1, *(int(edge) for edge in wanted.count_edges if edge > 1)],
        "crowd": MOST_PEOPLE_TOGETHER,
        "top_pairs": wanted.top_pairs,
        "top_sources": query.top_sources,
    }
    with tx.cursor() as cursor:
        for statement in _PREPARE:
            cursor.execute(statement, values)
        frames = {name: _frame(cursor, sql, values) for name, sql in _QUERIES.items()}
        frames["image_trend"] = _trend(cursor, _IMAGES, wanted.image_trends, query.bin_unit)
        frames["face_trend"] = _trend(cursor, _FACES, wanted.face_trends, query.bin_unit)
    return frames


def _frame(cursor: Any, sql: str, values: Mapping[str, Any]) -> pd.DataFrame:
    cursor.execute(sql, values)
    return pd.DataFrame(
        cursor.fetchall(), columns=[column.name for column in cursor.description], dtype=object
    )


def _trend(cursor: Any, rows: str, keys: Sequence[str], unit: str) -> pd.DataFrame:
    names = ["bin", "metric", "n", "q25", "q50", "q75"]
    if not keys:
        return pd.DataFrame(columns=names, dtype=object)
    return _frame(
        cursor,
        f"""
        SELECT date_trunc(%(unit)s, local_at) AS bin, metric, count(*) AS n, {_QUARTILES}
        FROM (
            SELECT local_at, metric,
                   CASE WHEN jsonb_typeof(quality -> metric) = 'number'
                        THEN (quality ->> metric)::float8 END AS value
            FROM ({rows}) AS measured, unnest(%(keys)s::text[]) AS metric
        ) AS valued
        WHERE value IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2""",
        {"unit": unit, "keys": list(keys)},
    )


_QUARTILES = """percentile_cont(0.25) WITHIN GROUP (ORDER BY value) AS q25,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS q50,
                percentile_cont(0.75) WITHIN GROUP (ORDER BY value) AS q75"""
_IMAGES = """SELECT s.local_at, image.quality FROM report_sighting AS s
             JOIN image ON image.id = s.image_id WHERE s.is_first"""
_FACES = """SELECT f.local_at, face.quality FROM report_face AS f
            JOIN face ON face.id = f.face_id"""

_VISITS = """
    SELECT person_id, {source} visit, min(at) AS began, max(at) AS ended
    FROM (
        SELECT *, count(*) FILTER (WHERE begins) OVER w AS visit FROM (
            SELECT *, coalesce(at - lag(at) OVER w > %(gap)s, true) AS begins FROM report_seen
            WINDOW w AS (PARTITION BY person_id{comma_source} ORDER BY at, face_id)
        ) AS moments
        WINDOW w AS (PARTITION BY person_id{comma_source} ORDER BY at, face_id)
    ) AS numbered
    GROUP BY person_id, {source} visit"""

_PREPARE = (
    "DROP TABLE IF EXISTS pg_temp.report_seen, pg_temp.report_person, pg_temp.report_visit, "
    "pg_temp.report_stay, pg_temp.report_pair",
    """
    CREATE TEMPORARY TABLE report_seen ON COMMIT DROP AS
    SELECT f.face_id, f.image_id, f.person_id, f.source, f.at, f.local_at
    FROM report_face AS f JOIN person ON person.id = f.person_id
    WHERE f.current_outcome = 'accept' AND person.status = 'active'""",
    "ANALYZE report_seen",
    # Whether somebody was seen before the period is answered by the first row that says so.
    """
    CREATE TEMPORARY TABLE report_person ON COMMIT DROP AS
    SELECT p.*, EXISTS (
        SELECT FROM (
            SELECT face_id FROM current_assignment AS every
            WHERE every.person_id = p.person_id AND every.outcome = 'accept' OFFSET 0
        ) AS known
        JOIN face ON face.id = known.face_id
        JOIN sighting AS s ON s.image_id = face.image_id
        WHERE s.source <> %(enrolment)s AND coalesce(s.captured_at, s.created_at) < %(start)s
    ) AS seen_before
    FROM (
        SELECT person_id, min(local_at) AS first_at, count(DISTINCT local_at::date) AS days
        FROM report_seen GROUP BY person_id
    ) AS p""",
    "ANALYZE report_person",
    "CREATE TEMPORARY TABLE report_visit ON COMMIT DROP AS "
    + _VISITS.format(source="", comma_source=""),
    "CREATE TEMPORARY TABLE report_stay ON COMMIT DROP AS "
    + _VISITS.format(source="source,", comma_source=", source"),
    """
    CREATE TEMPORARY TABLE report_pair ON COMMIT DROP AS
    WITH together AS (
        SELECT image_id FROM report_seen GROUP BY image_id
        HAVING count(DISTINCT person_id) BETWEEN 2 AND %(crowd)s
    ),
    present AS (SELECT DISTINCT image_id, person_id FROM report_seen JOIN together USING (image_id))
    SELECT x.person_id AS a, y.person_id AS b, count(*) AS images
    FROM present AS x JOIN present AS y USING (image_id)
    WHERE x.person_id < y.person_id GROUP BY 1, 2""",
)

_QUERIES = {
    "presence": """
        SELECT (SELECT count(*) FROM report_person) AS people,
               (SELECT count(*) FROM report_person WHERE NOT seen_before) AS newcomers,
               (SELECT count(*) FROM report_visit) AS visits,
               (SELECT count(*) FROM report_visit WHERE began = ended) AS seen_once,
               (SELECT count(*) FROM (
                    SELECT FROM report_seen GROUP BY image_id
                    HAVING count(DISTINCT person_id) > %(crowd)s) AS full_pictures) AS crowded""",
    "newcomers": """
        SELECT bin, count(*) FILTER (WHERE new_here) AS newcomers,
               count(*) FILTER (WHERE NOT new_here) AS returning
        FROM (
            SELECT DISTINCT date_trunc(%(unit)s, s.local_at) AS bin, s.person_id,
                   NOT p.seen_before AND date_trunc(%(unit)s, p.first_at)
                       = date_trunc(%(unit)s, s.local_at) AS new_here
            FROM report_seen AS s JOIN report_person AS p USING (person_id)
        ) AS seen
        GROUP BY 1 ORDER BY 1""",
    "visits_per_person": """
        SELECT width_bucket(visits, %(count_edges)s::bigint[]) AS bucket, count(*) AS people
        FROM (SELECT count(*) AS visits FROM report_visit GROUP BY person_id) AS each
        GROUP BY 1 ORDER BY 1""",
    "days_per_person": """
        SELECT width_bucket(days, %(count_edges)s::bigint[]) AS bucket, count(*) AS people
        FROM report_person GROUP BY 1 ORDER BY 1""",
    "companions": """
        SELECT width_bucket(companions, %(company_edges)s::bigint[]) AS bucket,
               count(*) AS people
        FROM (
            SELECT p.person_id, count(x.other) AS companions
            FROM report_person AS p LEFT JOIN (
                SELECT a AS person_id, b AS other FROM report_pair
                UNION ALL SELECT b, a FROM report_pair
            ) AS x USING (person_id)
            GROUP BY p.person_id
        ) AS each
        GROUP BY 1 ORDER BY 1""",
    "dwell": """
        SELECT width_bucket(extract(epoch FROM ended - began)::float8,
                            %(dwell_edges)s::float8[]) AS bucket,
               count(*) AS visits, count(DISTINCT person_id) AS people
        FROM report_visit WHERE ended > began GROUP BY 1 ORDER BY 1""",
    "stays": """
        WITH ranked AS (
            SELECT source, row_number() OVER (ORDER BY count(*) DESC, source) AS place
            FROM report_stay GROUP BY source
        )
        SELECT CASE WHEN place <= %(top_sources)s THEN source END AS source,
               count(*) AS stays, count(DISTINCT person_id) AS people,
               count(*) FILTER (WHERE began = ended) AS seen_once,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY lasted) AS median_s,
               percentile_cont(0.9) WITHIN GROUP (ORDER BY lasted) AS p90_s
        FROM (
            SELECT *, CASE WHEN ended > began
                           THEN extract(epoch FROM ended - began)::float8 END AS lasted
            FROM report_stay
        ) AS timed JOIN ranked USING (source)
        GROUP BY 1 ORDER BY min(place)""",
    "pairs": """
        SELECT p.a, x.label AS a_label, p.b, y.label AS b_label, p.images
        FROM report_pair AS p JOIN person AS x ON x.id = p.a JOIN person AS y ON y.id = p.b
        ORDER BY p.images DESC, p.a, p.b LIMIT %(top_pairs)s""",
    "source_hours": """
        WITH ranked AS (
            SELECT source, row_number() OVER (ORDER BY count(*) DESC, source) AS place
            FROM report_sighting GROUP BY source
        ),
        found AS (SELECT image_id, count(*) AS faces FROM report_face GROUP BY image_id)
        SELECT s.source, extract(isodow FROM local_at)::int AS weekday,
               extract(hour FROM local_at)::int AS hour,
               count(*) AS images, coalesce(sum(faces), 0)::bigint AS faces
        FROM report_sighting AS s JOIN ranked USING (source) LEFT JOIN found USING (image_id)
        WHERE is_first AND place <= %(top_sources)s
        GROUP BY s.source, 2, 3, place ORDER BY place, 2, 3""",
    "quarantine_trend": """
        SELECT date_trunc(%(unit)s, local_at) AS bin, count(*) AS images,
               count(*) FILTER (WHERE image.status = 'quarantined') AS quarantined
        FROM report_sighting AS s JOIN image ON image.id = s.image_id
        WHERE is_first GROUP BY 1 ORDER BY 1""",
    "score_trend": f"""
        SELECT date_trunc(%(unit)s, local_at) AS bin, outcome = 'accept' AS accepted,
               count(*) AS n, {_QUARTILES}
        FROM (
            SELECT f.local_at, a.outcome, a.score AS value
            FROM report_face AS f
            JOIN active_assignment AS a ON a.face_id = f.face_id AND a.source = 'enrolled'
        ) AS scored
        WHERE value IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2""",
}
