"""Does the index of vectors still find what an exact search finds?

An index of neighbours (HNSW) is approximate. It is built here, once there are more faces than
are compared exactly (`FACECORE_SEARCH__EXACT_UP_TO`); pictures come in meanwhile. Every day,
after new faces and after other models came into use, a sample of faces is looked up both ways and
the share that the index finds (recall@10) is written down, with its interval, in table
`index_check`. Look-ups use the smallest effort that meets the objective
(`FACECORE_SEARCH__MIN_RECALL`). Where none does, **they are exact from then on and say so**, and
an alert of kind `search_recall` is raised: `facecore index rebuild` builds the index anew.

Nothing is done while there are too few faces to need an index, and for one that was measured
lately and has not grown.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, task

from _shared.assets import FACES, MODELS_IN_USE
from _shared.defaults import DAG_DEFAULTS, INDEXING
from _shared.lineage import run_context


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("30 4 * * *", timezone="UTC"),
        assets=FACES | MODELS_IN_USE,
    ),
    catchup=False,
    max_active_runs=1,  # events that arrive meanwhile are served by the next run together
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(hours=13),
    doc_md=__doc__,
    tags=["facecore", "models"],
)
def check_search() -> None:
    @task(**INDEXING)
    def check_index() -> dict[str, Any]:
        from facecore.jobs.faces import search_index

        return search_index.check(run_context(), only_if_due=True)

    check_index()


check_search()
