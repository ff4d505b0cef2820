"""The state of the pipeline for pages: what waits where, what was done lately, who ran what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from facecore.errors import NotFound
from facecore.stores.catalog import estimates
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.estimates import Count
from facecore.stores.catalog.models import models
from facecore.stores.catalog.people.people import SOMEBODY


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much there is; counts of one moment, beyond some ten thousand by estimate.

    Attributes:
        to_judge: images that wait for the gate.
        to_extract: accepted images that wait for extraction, or are in a shard of it.
        faces: with a vector of the embedder in use; None where none is in use.
        named, unnamed: people, and people who were found and have no name yet.
    """

    images: Count
    to_judge: Count
    quarantined: Count
    to_extract: Count
    faces: Count | None
    named: Count
    unnamed: Count
    reports: Count


@dataclass(frozen=True, slots=True)
class Hour:
    """What the runs that ended within an hour have done; seconds are of all runs together."""

    start: datetime
    ingested: int
    extracted: int
    faces: int
    extract_s: float


@dataclass(frozen=True, slots=True)
class DagRun:
    """All recorded runs of one DAG run, or one command.

    Attributes:
        stages: the distinct stages, in the order they began.
        state: failed if its newest try of anything failed, running while one runs, else done.
        error: of the run that failed last.
    """

    dag_id: str
    dag_run_id: str
    stages: tuple[str, ...]
    runs: int
    state: str
    error: str | None
    started_at: datetime
    finished_at: datetime | None


def holdings(tx: Transaction) -> Holdings:
    """Count what the overview shows."""
    return Holdings(
        images=estimates.rows(tx, "image"),
        to_judge=estimates.matching(tx, "image", "status = 'stored'"),
        quarantined=estimates.matching(tx, "image", "status = 'quarantined'"),
        to_extract=_to_extract(tx),
        faces=_faces(tx),
        named=estimates.matching(tx, "person", f"{SOMEBODY} AND named"),
        unnamed=estimates.matching(tx, "person", f"{SOMEBODY} AND NOT named"),
        reports=estimates.rows(tx, "report"),
    )


def hours(tx: Transaction, since: datetime) -> list[Hour]:
    """Full and begun hours since a moment in which something was done, oldest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT date_trunc('hour', finished_at, 'UTC'), "
            "coalesce(sum(images) FILTER (WHERE stage = 'ingest.shard'), 0)::bigint, "
            "coalesce(sum(images) FILTER (WHERE stage = 'extract.shard'), 0)::bigint, "
            "coalesce(sum(faces) FILTER (WHERE stage = 'extract.shard'), 0)::bigint, "
            "coalesce(sum(seconds) FILTER (WHERE stage = 'extract.shard'), 0)::float8 "
            "FROM (SELECT stage, finished_at, "
            "  extract(epoch FROM finished_at - started_at) AS seconds, "
            "  CASE WHEN jsonb_typeof(counts -> 'images') = 'number' "
            "       THEN (counts ->> 'images')::bigint END AS images, "
            "  CASE WHEN jsonb_typeof(counts -> 'faces') = 'number' "
            "       THEN (counts ->> 'faces')::bigint END AS faces "
            "  FROM run WHERE stage IN ('ingest.shard', 'extract.shard') AND state = 'done' "
            "  AND started_at >= %(since)s - interval '1 day' AND finished_at >= %(since)s) AS r "
            "GROUP BY 1 ORDER BY 1",
            {"since": since},
        )
        return [Hour(*row) for row in cursor]


def dag_runs(tx: Transaction, limit: int = 12, *, of_newest: int = 2000) -> list[DagRun]:
    """The DAG runs and commands behind the newest runs, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH newest AS (SELECT * FROM run ORDER BY started_at DESC, id DESC LIMIT %(newest)s),"
            # of each task only the last try counts
            " last AS (SELECT DISTINCT ON (dag_id, dag_run_id, task_id, params::text) * "
            "  FROM newest ORDER BY dag_id, dag_run_id, task_id, params::text, "
            "  try_number DESC, started_at DESC) "
            "SELECT dag_id, dag_run_id, array_agg(stage ORDER BY started_at), count(*), "
            "CASE WHEN bool_or(state = 'running') THEN 'running' "
            "     WHEN bool_or(state = 'failed') THEN 'failed' ELSE 'done' END, "
            "(array_agg(error ORDER BY started_at DESC) FILTER (WHERE state = 'failed'))[1], "
            "min(started_at), CASE WHEN bool_and(finished_at IS NOT NULL) "
            "                      THEN max(finished_at) END "
            "FROM last GROUP BY 1, 2 ORDER BY max(started_at) DESC LIMIT %(limit)s",
            {"limit": limit, "newest": of_newest},
        )
        return [
            DagRun(dag_id, dag_run_id, tuple(dict.fromkeys(stages)), *rest)
            for dag_id, dag_run_id, stages, *rest in cursor
        ]


def last_finished(tx: Transaction, stages: Sequence[str]) -> dict[str, tuple[str, datetime]]:
    """Stage → state and time of the last run that ended; stages that never ran are left out."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT wanted.stage, last.state, last.finished_at FROM unnest(%s) AS wanted (stage) "
            "CROSS JOIN LATERAL (SELECT state, finished_at FROM run "
            "WHERE run.stage = wanted.stage AND finished_at IS NOT NULL "
            "ORDER BY started_at DESC LIMIT 1) AS last",
            [list(stages)],
        )
        return {stage: (state, at) for stage, state, at in cursor}


def _to_extract(tx: Transaction) -> Count:
    waiting = estimates.matching(tx, "image", "status = 'accepted' AND extract_shard_id IS NULL")
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(jsonb_array_length(members)), 0)::bigint FROM shard "
            "WHERE stage = 'extract' AND state IN ('planned', 'running')"
        )
        (planned,) = cursor.fetchone() or (0,)
    return Count(waiting.value + int(planned), waiting.exact)


def _faces(tx: Transaction) -> Count | None:
    try:
        return estimates.vectors(tx, models.active(tx, "embed").id)
    except NotFound:
        return None
