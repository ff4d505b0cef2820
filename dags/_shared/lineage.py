"""Airflow's run identity, in facecore's own words."""

from __future__ import annotations

from airflow.sdk import get_current_context

from facecore.jobs.lineage import RunContext


def run_context() -> RunContext:
    """Which DAG run, task, map index and try this is: the lineage of every row written."""
    ti = get_current_context()["ti"]
    return RunContext(
        dag_id=ti.dag_id,
        dag_run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index if ti.map_index is not None else -1,
        try_number=ti.try_number,
    )


def triggering_user() -> str:
    """Who triggered this DAG run in Airflow; the DAG itself, where an asset or a schedule did."""
    context = get_current_context()
    user = getattr(context["dag_run"], "triggering_user_name", None)
    return str(user or context["ti"].dag_id)
