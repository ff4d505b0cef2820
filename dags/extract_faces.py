"""Accepted images → faces, embeddings, identities.

Each shard is detected, aligned and embedded on the device, then its faces are compared with the
enrolled gallery. Starts by itself when `ingest_images` has accepted images; triggered by hand
it takes whatever is accepted and not extracted yet.

A shard's faces, crops and embeddings are committed in one transaction: a killed worker loses
nothing and repeats nothing. Clearing `identify_shard` compares the faces again, for example
after people were enrolled; what a human decided is never overwritten.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task, task_group

from _shared.assets import ACCEPTED_IMAGES, FACES
from _shared.defaults import DAG_DEFAULTS, PLANNING, SHARD_DEVICE, SHARD_MATCH
from _shared.lineage import run_context


@dag(
    schedule=[ACCEPTED_IMAGES],
    catchup=False,
    max_active_runs=1,  # asset events that arrive meanwhile are served by the next run together
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(days=2),
    doc_md=__doc__,
    tags=["facecore", "faces"],
    params={
        "max_shards": Param(
            500,
            type="integer",
            minimum=1,
            maximum=1000,
            title="Most shards",
            description="Shards of this run; the rest waits for the next one.",
        ),
    },
)
def extract_faces() -> None:
    @task(**PLANNING)
    def plan_shards(params: dict[str, Any]) -> list[int]:
        from facecore.jobs.faces import extract

        return extract.plan(run_context(), params["max_shards"])

    @task_group
    def shard(shard_id: int) -> None:
        @task(**SHARD_DEVICE)
        def extract_shard(shard_id: int) -> int:
            from facecore.jobs.faces import extract

            return extract.extract_shard(run_context(), shard_id)

        @task(**SHARD_MATCH)
        def identify_shard(shard_id: int) -> dict[str, Any]:
            from facecore.jobs.faces import identify

            return identify.identify_shard(run_context(), shard_id)

        identify_shard(extract_shard(shard_id))

    @task(**PLANNING, outlets=[FACES])
    def publish_faces(shard_ids: list[int], outlet_events: dict[Any, Any]) -> dict[str, Any]:
        from facecore.jobs.faces import extract

        counts = extract.summarise(list(shard_ids))
        outlet_events[FACES].extra = counts
        return counts

    planned = plan_shards()
    shard.expand(shard_id=planned) >> publish_faces(planned)


extract_faces()
