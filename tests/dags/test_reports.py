"""The DAGs of reports and drift, run by Airflow: what they publish, and how drift ends a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facecore.analytics.drift import canaries
from facecore.jobs.models.champions import champions
from facecore.jobs.reports.report_tracking import EXPERIMENT
from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import alerts, drift
from facecore.stores.mlflow_session import mlflow_session

RunDags = Callable[..., list[dict[str, Any]]]
DAYS = {"start": "1999-05-03", "end": "1999-05-09"}  # no test has pictures of these days


def test_reports_are_shared_recorded_and_drift_fails_with_evidence(
    dag_stores: Stores, run_dags: RunDags
) -> None:
    contract = champions(dag_stores).embedder_row.contract
    with dag_stores.catalog.transaction() as tx:
        other = np.random.default_rng(1).normal(size=(canaries.COUNT, 128)).astype(np.float32)
        drift.pin_canaries(
            tx, contract, dict(zip(canaries.digests(), other, strict=True)), "float32", "test"
        )
    try:
        reported, watched = run_dags(
            ("report_analytics", {**DAYS, "share": True}), ("watch_drift", DAYS)
        )
    finally:
        with dag_stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute("TRUNCATE canary")
    assert reported["state"] == "success", reported["log"][-6000:]
    for kind in ("activity", "activity-shared"):
        page = dag_stores.objects.get("reports", f"{kind}/1999-05-03_1999-05-09.html")
        assert b"1999" in page
    with mlflow_session(dag_stores.settings.mlflow) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        runs = client.search_runs([experiment], "tags.`facecore.report` LIKE '%1999-05-03%'")
    assert runs[0].data.metrics["images"] == 0

    assert watched["state"] == "failed"
    assert watched["tasks"] == {"measure_drift": ["success"], "judge_drift": ["failed"]}
    assert "DriftFound" in watched["log"]
    assert "drift/1999-05-03_1999-05-09.html" in watched["log"]
    with dag_stores.catalog.transaction() as tx:
        (alert,) = alerts.open_alerts(tx, kind="contract")
        alerts.acknowledge(tx, alert.id, "test", "planted")
    assert alert.severity == "critical"
