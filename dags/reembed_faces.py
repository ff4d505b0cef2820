"""Brings the wanted models into use: every embedding follows, and no name is lost.

Starts by itself when a challenger was approved (`review_model`), or when somebody set the alias
`champion` of `face-embedder` in MLflow, which is treated as the same promotion. The new version
is filled beside the one in use (blue/green), its index is built, its answers are compared with
today's (*Browse → Face reports*), and one transaction switches. Until then nobody notices; at
no time does a search meet two versions.

**Roll back**: trigger it with *Action* "roll back" and a reason. The version before is in use at
once; images that arrived meanwhile are caught up by the tasks that follow.

**Interrupted?** Trigger it again, or clear what failed: it goes on where it stopped. What was
done is not repeated, and repeating changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from _shared.assets import MODELS_IN_USE, WANTED_MODELS
from _shared.defaults import (
    DAG_DEFAULTS,
    INDEXING,
    PLANNING,
    SHARD_DEVICE,
    SHARD_MATCH,
    SWITCHING,
)
from _shared.lineage import run_context, triggering_user


@dag(
    schedule=[WANTED_MODELS],
    catchup=False,
    max_active_runs=1,  # one promotion at a time; what is asked meanwhile is found by the next run
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(days=7),
    doc_md=__doc__,
    tags=["facecore", "models"],
    params={
        "action": Param(
            "promote",
            type="string",
            enum=["promote", "roll back"],
            title="Action",
            description="Follow the alias, or go back to the version before.",
        ),
        "reason": Param(
            "",
            type="string",
            title="Reason",
            description="Recorded in the audit log; a rollback needs one.",
        ),
    },
)
def reembed_faces() -> None:
    @task.short_circuit(**PLANNING)
    def begin(params: dict[str, Any]) -> int | None:
        from facecore.jobs.promotion import promotion

        user = triggering_user()
        return promotion.begin(run_context(), params["action"], actor=user, reason=params["reason"])

    @task(**PLANNING)
    def plan_shards(promotion_id: int) -> list[int]:
        from facecore.jobs.promotion import reembed

        return reembed.plan(run_context(), promotion_id)

    @task(**SHARD_DEVICE)
    def fill_shard(promotion_id: int, shard_id: int) -> int:
        from facecore.jobs.promotion import reembed

        return reembed.fill_shard(run_context(), promotion_id, shard_id)

    # Without an image there is no shard; the models change all the same.
    @task(**INDEXING, trigger_rule="none_failed")
    def build_index(promotion_id: int) -> None:
        from facecore.jobs.promotion import reembed

        reembed.build_index(run_context(), promotion_id)

    @task(**SHARD_MATCH)
    def stage_shard(promotion_id: int, shard_id: int) -> dict[str, Any]:
        from facecore.jobs.promotion import reembed

        return reembed.stage_shard(run_context(), promotion_id, shard_id)

    @task(**INDEXING, trigger_rule="none_failed")
    def compare(promotion_id: int) -> dict[str, Any]:
        from facecore.jobs.promotion import shadow

        return shadow.compare(run_context(), promotion_id)

    @task(**SWITCHING, outlets=[MODELS_IN_USE])
    def switch(promotion_id: int, outlet_events: dict[Any, Any]) -> dict[str, Any]:
        from facecore.jobs.promotion import switching

        in_use = switching.switch(run_context(), promotion_id)
        outlet_events[MODELS_IN_USE].extra = in_use
        return in_use

    promotion_id = begin()
    shard_ids = plan_shards(promotion_id)
    filled = fill_shard.partial(promotion_id=promotion_id).expand(shard_id=shard_ids)
    indexed = build_index(promotion_id)
    staged = stage_shard.partial(promotion_id=promotion_id).expand(shard_id=shard_ids)
    filled >> indexed >> staged >> compare(promotion_id) >> switch(promotion_id)


reembed_faces()
