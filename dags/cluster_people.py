"""Unknown faces → proposed people, and new faces → the people they belong to.

Starts by itself when `extract_faces` has found faces, and when other models came into use: new
faces join people or found new ones, and whoever is settled stays. Once a week
(`FACECORE_CLUSTER__SCHEDULE`), or with *Full pass*, all faces are grouped again; people keep
their ids, and what humans decided (names, merges, splits, "not this person") stands.

Poor crops found nobody; faces between two people wait for a human. Results are written in small
transactions: a killed pass is simply repeated.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, Param, dag, task

from _shared.assets import FACES, MODELS_IN_USE, PEOPLE
from _shared.defaults import CLUSTERING, DAG_DEFAULTS
from _shared.lineage import run_context
from _shared.schedules import local_time
from facecore.config import settings

_CHANGES = FACES | MODELS_IN_USE
_WEEKLY = settings().cluster.schedule


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=local_time(_WEEKLY),
        assets=_CHANGES,
    )
    if _WEEKLY
    else _CHANGES,
    catchup=False,
    max_active_runs=1,  # events that arrive meanwhile are served by the next run together
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(days=1),
    doc_md=__doc__,
    tags=["facecore", "people"],
    params={
        "full": Param(
            False,
            type="boolean",
            title="Full pass",
            description="Group all faces again, not only look at the new ones.",
        ),
    },
)
def cluster_people() -> None:
    @task(**CLUSTERING, outlets=[PEOPLE])
    def cluster(
        params: dict[str, Any], dag_run: Any, outlet_events: dict[Any, Any]
    ) -> dict[str, int]:
        from facecore.jobs.faces import cluster

        weekly = dag_run.run_type == "scheduled"
        counts = cluster.cluster(run_context(), full=params["full"] or weekly)
        outlet_events[PEOPLE].extra = counts
        return counts

    cluster()


cluster_people()
