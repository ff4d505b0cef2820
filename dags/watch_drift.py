"""Do pictures, scores and the embedder's vectors still look as they did?

Every morning the last days are held against the weeks before: fixed crops are embedded again and
compared with their pinned vectors; quality, faces per image and the scores between different
people are tested for a change of their distribution; sources that fell silent are named. The
result is a report (button *Report* of `measure_drift`), rows in the catalogue, and alerts.

If something drifted, **`judge_drift` fails** with the evidence: look at the report, then
acknowledge the alerts. It is not tried again, because trying again cannot help. Clearing
`measure_drift` measures the same period anew.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from _shared.defaults import DAG_DEFAULTS, REPORTING
from _shared.lineage import run_context
from _shared.links import ReportLink, with_link
from _shared.schedules import local_time


@dag(
    schedule=local_time("0 3 * * *"),
    catchup=False,
    max_active_runs=1,
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(hours=2),
    doc_md=__doc__,
    tags=["facecore", "reports"],
    params={
        "start": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Start",
            description="First day to look at. Empty: the last days, as many as the setting says.",
        ),
        "end": Param(
            None,
            type=["null", "string"],
            format="date",
            title="End",
            description="Last day to look at, included. Empty: same as the start.",
        ),
    },
)
def watch_drift() -> None:
    @task(**REPORTING)
    def measure_drift(params: dict[str, Any], dag_run: object) -> dict[str, Any]:
        from facecore.jobs.reports import drift

        moment = getattr(dag_run, "logical_date", None) or dag_run.run_after  # type: ignore[attr-defined]
        return drift.measure(run_context(), moment, params["start"], params["end"])

    @task(**REPORTING)
    def judge_drift(measured: dict[str, Any]) -> None:
        from facecore.jobs.reports import drift

        drift.judge(measured["check"])

    judge_drift(with_link(measure_drift(), ReportLink()))


watch_drift()
