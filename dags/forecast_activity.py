"""Faces due of each source in the hours ahead, and flags of past hours that were not as due.

Runs every night before the report. Three baselines (seasonal naive, weekly mean, Holt-Winters)
and the `activity-forecaster` in use are compared on the last days; the learned model is used only
where it wins, and the result says why or why not. Repeated for the same day, a forecast is
replaced.

A camera that is off, a crowd and a wrong clock of the last two days become alerts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from _shared.defaults import DAG_DEFAULTS, REPORTING
from _shared.lineage import run_context
from _shared.schedules import local_time


@dag(
    schedule=local_time("30 1 * * *"),
    catchup=False,
    max_active_runs=1,
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(hours=2),
    doc_md=__doc__,
    tags=["facecore", "analytics"],
)
def forecast_activity() -> None:
    @task(**REPORTING)
    def forecast(dag_run: object) -> dict[str, Any]:
        from facecore.jobs.reports import forecast

        moment = getattr(dag_run, "logical_date", None) or dag_run.run_after  # type: ignore[attr-defined]
        return forecast.forecast(run_context(), moment)

    forecast()


forecast_activity()
