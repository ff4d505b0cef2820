"""How unusual each face is, by the autoencoder in use: false detections, covered or damaged faces.

Starts by itself when `extract_faces` has found faces; what the version in use has scored is not
scored again. After another version was promoted, trigger it once: it scores every face anew,
beside what the earlier version said. Without a version in use there is nothing to do: train one
(`train_model` with model `autoencoder`, goal `reconstruct`) and review it.

**`publish`** writes a page to *Browse → Face reports*: the most unusual crops beside what is left
of them in their codes, the ranks of all faces, and a map. It shows faces and is not for sharing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from _shared.assets import FACES
from _shared.defaults import DAG_DEFAULTS, PLANNING, REPORTING, SHARD_MATCH
from _shared.lineage import run_context


@dag(
    schedule=FACES,
    catchup=False,
    max_active_runs=1,  # events that arrive meanwhile are served by the next run together
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(days=1),
    doc_md=__doc__,
    tags=["facecore", "analytics"],
)
def score_anomalies() -> None:
    @task(**PLANNING)
    def plan_shards() -> list[int]:
        from facecore.jobs.faces import anomalies

        return anomalies.plan(run_context())

    @task(**SHARD_MATCH)
    def score_shard(shard_id: int) -> int:
        from facecore.jobs.faces import anomalies

        return anomalies.score_shard(run_context(), shard_id)

    @task(**REPORTING)
    def publish(shard_ids: list[int]) -> dict[str, Any]:
        from facecore.jobs.faces import anomalies

        counts = anomalies.summarise(list(shard_ids))
        return {**counts, **anomalies.publish(run_context())}

    publish(score_shard.expand(shard_id=plan_shards()))


score_anomalies()
