"""What happened in a period: aggregates for reports, counted inside PostgreSQL.

Nothing here returns one row per image or face. Each query reads one snapshot, so that all
numbers of a report agree with each other while ingestion goes on.

An image belongs to a period when it was sighted in it; its place and time there are those of
its first sighting in the period. Gallery pictures (source `enrolment`) are not activity.
Where an image was searched by several detector versions, only the faces of the one in use count,
and of what models said of a face, only the word of the embedder in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from facecore.errors import UsageError
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images.images import ENROLMENT

BIN_UNITS = ("hour", "day", "month")
RUNS_NAMED = 20


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """What to count.

    Attributes:
        start, end: the period `[start, end)`; both with a UTC offset.
        timezone: IANA name of the wall clock that bins, weekdays and hours follow.
        bin_unit: hour, day or month: resolution of the series over time.
        image_bins, face_bins: key in the quality JSON → strictly rising bin edges. The face
            key `detection_score` stands for the detector's score.
        score_edges: bin edges of identification scores.
        faces_cap: images with this many faces or more are counted together.
        top_sources, top_people: how many are named; the other sources are added up.
    """

    start: datetime
    end: datetime
    timezone: str = "UTC"
    bin_unit: str = "day"
    image_bins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    face_bins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    score_edges: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)
    faces_cap: int = 10
    top_sources: int = 8
    top_people: int = 12

    def __post_init__(self) -> None:
        if self.bin_unit not in BIN_UNITS:
            raise UsageError(f"bin_unit {self.bin_unit!r} is none of {', '.join(BIN_UNITS)}.")
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise UsageError("start and end of a period need UTC offsets.")


def read_activity(tx: Transaction, query: ActivityQuery) -> dict[str, pd.DataFrame]:
    """Count everything a report needs.

    Must be the first thing its transaction does: it pins one snapshot. It writes nothing but
    temporary tables, which vanish with the transaction.

    Returns:
        Frame name → frame. Times of bins are naive, on the query's wall clock; a source of
        None adds up all sources that are not named. `bucket` counts from 0 (below the first
        edge) to n (above the last of n edges); the last edge itself belongs to bucket n - 1.

        - `totals` (1 row): sightings, images, near_duplicates, stored, accepted, quarantined,
          extracted, erased, faces, people
        - `extent` (1 row): first_at, last_at of everything sighted before the period's end
        - `sources`: source, sightings, images, quarantined, faces
        - `arrivals`: bin, source, sightings, images
        - `reasons`: code, images
        - `faces_per_image`: faces, images (images already searched for faces)
        - `image_quality`, `face_quality`: metric, bucket, n, total, low, high
        - `outcomes`: bin, outcome (accept, review, unknown or None: not compared), faces
        - `scores`: outcome, bucket, faces (matches with the enrolled gallery only)
        - `thresholds`: threshold, faces, gallery_min, gallery_max
        - `hours`: weekday (1 = Monday), hour, images, faces
        - `people`: person_id, label, kind, images, faces, first_at, last_at, best_score,
          face_id, crop_key, crop_index (the best face, for a thumbnail)
        - `models`: id, task, name, version, contract, weights_sha256, faces
        - `runs`: stage, code_version, runs, run_ids (at most 20 of them)
    """
    with tx.cursor() as cursor:
        values = _prepare(cursor, query)
        frames = {name: _frame(cursor, sql, values) for name, sql in _QUERIES.items()}
        frames["image_quality"] = _histogram(cursor, _IMAGES, _IMAGE_VALUE, query.image_bins)
        frames["face_quality"] = _histogram(cursor, _FACES, _FACE_VALUE, query.face_bins)
    return frames


def read_totals(tx: Transaction, query: ActivityQuery) -> dict[str, pd.DataFrame]:
    """Only `totals`, `sources` and `outcomes`, for comparing with the period before.

    What it prepares is replaced by a following `read_activity` in the same transaction.
    """
    wanted = ("totals", "sources", "outcomes")
    with tx.cursor() as cursor:
        values = _prepare(cursor, query)
        return {name: _frame(cursor, _QUERIES[name], values) for name in wanted}


def _prepare(cursor: Any, query: ActivityQuery) -> dict[str, Any]:
    """Pin the snapshot and make the temporary tables; returns the values to bind."""
    values: dict[str, Any] = {
        "start": query.start,
        "end": query.end,
        "enrolment": ENROLMENT,
        "zone": query.timezone,
        "unit": query.bin_unit,
        "top_sources": query.top_sources,
        "top_people": query.top_people,
        "score_edges": [float(edge) for edge in query.score_edges],
        "faces_cap": query.faces_cap,
        "runs_named": RUNS_NAMED,
    }
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    for statement in _PREPARE:
        cursor.execute(statement, values)
    return values


def _frame(cursor: Any, sql: str, values: Mapping[str, Any]) -> pd.DataFrame:
    cursor.execute(sql, values)
    return pd.DataFrame(
        cursor.fetchall(), columns=[column.name for column in cursor.description], dtype=object
    )


def _histogram(
    cursor: Any, rows: str, number: str, bins: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """Count the values of several measurements in one pass over the rows.

    Args:
        rows: what follows FROM.
        number: SQL for the value of the measurement whose name is bound to `{key}`.
    """
    names = ["metric", "bucket", "n", "total", "low", "high"]
    metrics = list(bins)
    if not metrics:
        return pd.DataFrame(columns=names, dtype=object)
    bound: dict[str, Any] = {}
    for place, metric in enumerate(metrics):
        bound[f"key{place}"] = metric
        bound[f"edges{place}"] = [float(edge) for edge in bins[metric]]
    values = ", ".join(f"{number.format(key=f'%(key{i})s')} AS v{i}" for i in range(len(metrics)))
    lines = ", ".join(f"({i}, v{i}, %(edges{i})s::float8[])" for i in range(len(metrics)))
    # OFFSET 0: each value is taken out of its JSON once, not once for every aggregate.
    frame = _frame(
        cursor,
        f"""
        SELECT place, {_BUCKET.format(value="value", edges="edges")} AS bucket, count(*) AS n,
               sum(value) AS total, min(value) AS low, max(value) AS high
        FROM (SELECT {values} FROM {rows} OFFSET 0) AS measured,
             LATERAL (VALUES {lines}) AS line (place, value, edges)
        WHERE value IS NOT NULL GROUP BY place, bucket ORDER BY place, bucket""",
        bound,
    )
    frame.insert(0, "metric", [metrics[place] for place in frame.pop("place")])
    return frame.astype(object)


_BUCKET = """CASE WHEN {value} = ({edges})[cardinality({edges})] THEN cardinality({edges}) - 1
             ELSE width_bucket({value}::float8, {edges}) END"""

_PREPARE = (
    "DROP TABLE IF EXISTS pg_temp.report_face, pg_temp.report_sighting",
    # The two branches keep the index on captured_at usable.
    """
    CREATE TEMPORARY TABLE report_sighting ON COMMIT DROP AS
    SELECT id, image_id, source, at, at AT TIME ZONE %(zone)s AS local_at,
           row_number() OVER (PARTITION BY image_id ORDER BY at, id) = 1 AS is_first
    FROM (
        SELECT id, image_id, source, captured_at AS at FROM sighting
        WHERE captured_at >= %(start)s AND captured_at < %(end)s AND source <> %(enrolment)s
        UNION ALL
        SELECT id, image_id, source, created_at FROM sighting
        WHERE captured_at IS NULL AND created_at >= %(start)s AND created_at < %(end)s
          AND source <> %(enrolment)s
    ) AS seen""",
    "ANALYZE report_sighting",
    # OFFSET 0 keeps the view inside the lateral query, where it looks up one face by index
    # instead of ranking every assignment there ever was.
    """
    CREATE TEMPORARY TABLE report_face ON COMMIT DROP AS
    SELECT f.id AS face_id, f.image_id, f.source, f.local_at, f.at, f.detector_version_id,
           f.shard_id,
           CASE WHEN c.source = 'cluster' THEN 'unknown' ELSE c.outcome END AS outcome,
           c.person_id, c.score, c.outcome AS current_outcome
    FROM (
        SELECT face.id, face.image_id, s.source, s.local_at, s.at, face.detector_version_id,
               face.shard_id
        FROM report_sighting AS s JOIN active_face AS face ON face.image_id = s.image_id
        WHERE s.is_first
    ) AS f
    LEFT JOIN LATERAL (
        SELECT * FROM current_assignment AS every WHERE every.face_id = f.id OFFSET 0
    ) AS c ON true""",
    "ANALYZE report_face",
)

_RANKED_SOURCES = """
    SELECT source, row_number() OVER (ORDER BY count(*) DESC, source) AS place
    FROM report_sighting GROUP BY source"""
_NAMED_SOURCE = "CASE WHEN place <= %(top_sources)s THEN source END"

_IMAGES = "report_sighting AS s JOIN image ON image.id = s.image_id WHERE s.is_first"
_IMAGE_VALUE = """CASE WHEN jsonb_typeof(image.quality -> {key}) = 'number'
                  THEN (image.quality ->> {key})::float8 END"""
_FACES = "report_face AS f JOIN face ON face.id = f.face_id"
_FACE_VALUE = """CASE WHEN {key} = 'detection_score' THEN face.score::float8
                 WHEN jsonb_typeof(face.quality -> {key}) = 'number'
                 THEN (face.quality ->> {key})::float8 END"""

_QUERIES = {
    "totals": """
        SELECT (SELECT count(*) FROM report_sighting) AS sightings,
               count(*) AS images,
               count(*) FILTER (WHERE image.near_duplicate_of IS NOT NULL) AS near_duplicates,
               count(*) FILTER (WHERE image.status = 'stored') AS stored,
               count(*) FILTER (WHERE image.status = 'accepted') AS accepted,
               count(*) FILTER (WHERE image.status = 'quarantined') AS quarantined,
               count(*) FILTER (WHERE image.status = 'extracted') AS extracted,
               count(*) FILTER (WHERE image.status = 'erased') AS erased,
               (SELECT count(*) FROM report_face) AS faces,
               (SELECT count(DISTINCT f.person_id)
                FROM report_face AS f JOIN person ON person.id = f.person_id
                WHERE f.current_outcome = 'accept' AND person.status = 'active') AS people
        FROM report_sighting AS s JOIN image ON image.id = s.image_id
        WHERE s.is_first""",
    "extent": """
        SELECT min(captured_at) AS first_at, max(captured_at) AS last_at
        FROM sighting WHERE source <> %(enrolment)s AND captured_at < %(end)s""",
    "sources": f"""
        WITH ranked AS ({_RANKED_SOURCES}),
        seen AS (
            SELECT s.source, count(*) AS sightings, count(*) FILTER (WHERE s.is_first) AS images,
                   count(*) FILTER (WHERE s.is_first AND image.status = 'quarantined')
                       AS quarantined
            FROM report_sighting AS s JOIN image ON image.id = s.image_id GROUP BY s.source
        ),
        found AS (SELECT source, count(*) AS faces FROM report_face GROUP BY source)
        SELECT {_NAMED_SOURCE} AS source, sum(sightings)::bigint AS sightings,
               sum(images)::bigint AS images, sum(quarantined)::bigint AS quarantined,
               coalesce(sum(faces), 0)::bigint AS faces
        FROM ranked JOIN seen USING (source) LEFT JOIN found USING (source)
        GROUP BY 1 ORDER BY min(place)""",
    "arrivals": f"""
        WITH ranked AS ({_RANKED_SOURCES})
        SELECT date_trunc(%(unit)s, local_at) AS bin, {_NAMED_SOURCE} AS source,
               count(*) AS sightings, count(*) FILTER (WHERE is_first) AS images
        FROM report_sighting JOIN ranked USING (source)
        GROUP BY 1, 2 ORDER BY 1, min(place)""",
    "reasons": """
        SELECT reason ->> 'code' AS code, count(DISTINCT s.image_id) AS images
        FROM report_sighting AS s JOIN image ON image.id = s.image_id,
             jsonb_array_elements(image.reasons) AS reason
        WHERE s.is_first AND image.status = 'quarantined'
        GROUP BY 1 ORDER BY 2 DESC, 1""",
    "faces_per_image": """
        SELECT least(faces, %(faces_cap)s) AS faces, count(*) AS images
        FROM (
            SELECT s.image_id, count(f.face_id) AS faces
            FROM report_sighting AS s JOIN image ON image.id = s.image_id
            LEFT JOIN report_face AS f ON f.image_id = s.image_id
            WHERE s.is_first AND image.status = 'extracted' GROUP BY s.image_id
        ) AS counted
        GROUP BY 1 ORDER BY 1""",
    "outcomes": """
        SELECT date_trunc(%(unit)s, local_at) AS bin, outcome, count(*) AS faces
        FROM report_face GROUP BY 1, 2 ORDER BY 1, 2""",
    "scores": f"""
        SELECT a.outcome, {_BUCKET.format(value="a.score", edges="%(score_edges)s::float8[]")}
               AS bucket, count(*) AS faces
        FROM report_face AS f
        JOIN active_assignment AS a ON a.face_id = f.face_id AND a.source = 'enrolled'
        GROUP BY 1, 2 ORDER BY 1, 2""",
    "thresholds": """
        SELECT a.threshold, count(*) AS faces, min(a.gallery_size) AS gallery_min,
               max(a.gallery_size) AS gallery_max
        FROM report_face AS f
        JOIN active_assignment AS a ON a.face_id = f.face_id AND a.source = 'enrolled'
        WHERE a.threshold IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1""",
    "hours": """
        WITH found AS (SELECT image_id, count(*) AS faces FROM report_face GROUP BY image_id)
        SELECT extract(isodow FROM local_at)::int AS weekday,
               extract(hour FROM local_at)::int AS hour,
               count(*) AS images, coalesce(sum(faces), 0)::bigint AS faces
        FROM report_sighting LEFT JOIN found USING (image_id)
        WHERE is_first GROUP BY 1, 2 ORDER BY 1, 2""",
    "people": """
        WITH top AS (
            SELECT f.person_id, person.label, person.kind, count(DISTINCT f.image_id) AS images,
                   count(*) AS faces, min(f.at) AS first_at, max(f.at) AS last_at,
                   max(f.score) AS best_score
            FROM report_face AS f JOIN person ON person.id = f.person_id
            WHERE f.current_outcome = 'accept' AND person.status = 'active'
            GROUP BY f.person_id, person.label, person.kind
            ORDER BY images DESC, faces DESC, person.label, f.person_id
            LIMIT %(top_people)s
        )
        SELECT top.*, best.face_id, best.crop_key, best.crop_index
        FROM top CROSS JOIN LATERAL (
            SELECT face.id AS face_id, face.crop_key, face.crop_index
            FROM report_face AS f JOIN face ON face.id = f.face_id
            WHERE f.person_id = top.person_id AND f.current_outcome = 'accept'
            ORDER BY CASE WHEN jsonb_typeof(face.quality -> 'score') = 'number'
                          THEN (face.quality ->> 'score')::float8 END DESC NULLS LAST,
                     face.score DESC, face.id
            LIMIT 1
        ) AS best
        ORDER BY images DESC, faces DESC, label, person_id""",
    "models": """
        SELECT m.id, m.task, m.name, m.version, m.contract, m.weights_sha256, used.faces
        FROM (
            SELECT detector_version_id AS id, count(*) AS faces FROM report_face GROUP BY 1
            UNION ALL
            SELECT a.model_version_id, count(DISTINCT f.face_id)
            FROM report_face AS f JOIN active_assignment AS a ON a.face_id = f.face_id
            WHERE a.model_version_id IS NOT NULL GROUP BY 1
        ) AS used JOIN model_version AS m ON m.id = used.id
        ORDER BY m.task DESC, m.name, m.version""",
    "runs": """
        WITH used AS (
            SELECT sighting.run_id AS id
            FROM report_sighting AS s JOIN sighting ON sighting.id = s.id
            UNION
            SELECT image.run_id FROM report_sighting AS s JOIN image ON image.id = s.image_id
            UNION
            SELECT a.run_id FROM report_face AS f
            JOIN active_assignment AS a ON a.face_id = f.face_id
            UNION
            SELECT run.id FROM run JOIN (
                SELECT DISTINCT shard.dag_run_id, shard.stage
                FROM report_face AS f JOIN shard ON shard.id = f.shard_id
            ) AS done ON done.dag_run_id = run.dag_run_id AND done.stage = run.stage
        )
        SELECT run.stage, run.code_version, count(*) AS runs,
               (array_agg(run.id ORDER BY run.started_at, run.id))[:%(runs_named)s] AS run_ids
        FROM used JOIN run ON run.id = used.id
        GROUP BY 1, 2 ORDER BY min(run.started_at), 1, 2""",
}
