"""Activity report of a period, as self-contained HTML and JSON in the bucket `reports`.

Runs every night for the day before, and on demand for any period: fill in *Start* and *End* in
the trigger form. Back-filling (`airflow backfill create --dag-id report_analytics …`) builds
the report of each past day. Re-running a period replaces its report with the same numbers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from _shared.assets import REPORTS
from _shared.defaults import DAG_DEFAULTS, REPORTING
from _shared.lineage import run_context


@dag(
    schedule="0 2 * * *",
    catchup=False,
    max_active_runs=2,
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
            description="First day of the period. Empty: the day before the run's date.",
        ),
        "end": Param(
            None,
            type=["null", "string"],
            format="date",
            title="End",
            description="Last day of the period, included. Empty: same as the start.",
        ),
    },
)
def report_analytics() -> None:
    @task(**REPORTING, outlets=[REPORTS])
    def build_report(
        params: dict[str, Any], dag_run: object, outlet_events: dict[Any, Any]
    ) -> dict[str, Any]:
        from facecore.jobs import report

        moment = getattr(dag_run, "logical_date", None) or dag_run.run_after  # type: ignore[attr-defined]
        published = report.build(run_context(), moment, params["start"], params["end"])
        outlet_events[REPORTS].extra = published
        return published

    build_report()


report_analytics()
