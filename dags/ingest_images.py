"""Landing bucket → catalogue → quality gate.

Lists what is new in the landing bucket, stores each distinct image once, measures it, and
accepts or quarantines it. Emits `accepted_images`, which starts `extract_faces`.

**Trigger it** with a prefix to take in only part of the bucket. Re-running or clearing any
task is safe: an image that is known is not stored again, a finished shard is not repeated.

**When `validate_images` fails**, a whole batch looks broken (too many rejects, a stuck camera,
a wrong clock). The task's log has the statistics; nothing was lost. Decide with
`facecore validate --accept-batch` (then trigger `extract_faces`), or clear the task after the
cause is gone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from _shared.assets import ACCEPTED_IMAGES
from _shared.defaults import DAG_DEFAULTS, PLANNING, SHARD_IO
from _shared.lineage import run_context


@dag(
    schedule="*/5 * * * *",
    catchup=False,
    max_active_runs=1,  # two listings of one bucket would plan the same objects twice
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(hours=12),
    doc_md=__doc__,
    tags=["facecore", "images"],
    params={
        "prefix": Param(
            "",
            type="string",
            title="Prefix",
            description="Only keys of the landing bucket that start with this.",
        ),
        "page_limit": Param(
            100,
            type="integer",
            minimum=1,
            maximum=10_000,
            title="Page limit",
            description="Pages of 1,000 keys to look at; the next run goes on from there.",
        ),
        "batch_checks": Param(
            True,
            type="boolean",
            title="Batch checks",
            description="Fail the run when the batch as a whole looks broken.",
        ),
    },
)
def ingest_images() -> None:
    @task(**PLANNING)
    def plan_shards(params: dict[str, Any]) -> list[int]:
        from facecore.jobs.images import ingest

        return ingest.plan(run_context(), params["prefix"], params["page_limit"])

    @task(**SHARD_IO)
    def ingest_shard(shard_id: int) -> int:
        from facecore.jobs.images import ingest

        return ingest.ingest_shard(run_context(), shard_id)

    @task(**SHARD_IO, outlets=[ACCEPTED_IMAGES])
    def validate_images(
        shard_ids: list[int], params: dict[str, Any], outlet_events: dict[Any, Any]
    ) -> dict[str, Any]:
        from facecore.jobs.images import validate

        counts = validate.validate_shards(
            run_context(), list(shard_ids), batch_checks=params["batch_checks"]
        )
        outlet_events[ACCEPTED_IMAGES].extra = counts
        return counts

    validate_images(ingest_shard.expand(shard_id=plan_shards()))


ingest_images()
