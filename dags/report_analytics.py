"""Activity report of a period, as self-contained HTML and JSON in the bucket `reports`.

Runs every night (of the reports' timezone) for the day before; on Mondays also for the week
before, with a second report that may be shared: without names or faces, and no number about
fewer than `FACECORE_REPORT__K_ANONYMITY` people. On demand for any period: fill in *Start* and
*End* in the trigger form. Back-filling (`airflow backfill create --dag-id report_analytics …`)
builds the reports of past days and weeks. Building a period that is over again gives the same
report.

Each building task has a button *Report* that leads to its page. MLflow has a run per report, in
the experiment `facecore-reports`, with its numbers and links to the report and to this run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from _shared.assets import REPORTS
from _shared.defaults import DAG_DEFAULTS, REPORTING
from _shared.lineage import run_context
from _shared.links import ReportLink, airflow_url, with_link
from _shared.schedules import local_time


@dag(
    schedule=local_time("0 2 * * *"),
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
        "share": Param(
            False,
            type="boolean",
            title="Also for sharing",
            description="A second report without names or faces, small numbers withheld. Of at "
            "least 7 days that are over and overlap no other shared report.",
        ),
    },
)
def report_analytics() -> None:
    @task(**REPORTING, outlets=[REPORTS])
    def build_report(
        params: dict[str, Any], dag_run: object, outlet_events: dict[Any, Any]
    ) -> dict[str, Any]:
        from facecore.jobs.reports import report

        moment = getattr(dag_run, "logical_date", None) or dag_run.run_after  # type: ignore[attr-defined]
        published = report.build(
            run_context(), moment, params["start"], params["end"], share=params["share"]
        )
        outlet_events[REPORTS].extra = published
        return published

    @task(**REPORTING)
    def build_week(params: dict[str, Any], dag_run: object) -> dict[str, Any]:
        from facecore.jobs.reports import report

        moment = getattr(dag_run, "logical_date", None) or dag_run.run_after  # type: ignore[attr-defined]
        return {} if params["start"] else report.build_week(run_context(), moment)

    @task(**REPORTING)
    def record_reports(published: list[dict[str, Any]]) -> list[str]:
        from facecore.jobs.reports import report_tracking

        return report_tracking.record(run_context(), published, airflow_url())

    record_reports([with_link(build_report(), ReportLink()), with_link(build_week(), ReportLink())])


report_analytics()
