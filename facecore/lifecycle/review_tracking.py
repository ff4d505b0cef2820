"""A review in MLflow: evidence, plots, numbers and the data set, as a run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from facecore.config import MlflowSettings
from facecore.lifecycle.datasets.tracking import log_input
from facecore.lifecycle.review import Review
from facecore.stores.mlflow_session import experiment_id, mlflow_session

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot

EXPERIMENT = "facecore-reviews"


def record_review(
    settings: MlflowSettings,
    review: Review,
    folder: Path,
    snapshot: Snapshot,
    *,
    metrics: Mapping[str, float],
) -> str:
    """Log a finished evaluation with all files of a folder; returns the run's id.

    Raises:
        RegistryUnavailable, CredentialsRejected: see `mlflow_session`.
    """
    from mlflow.entities import Metric, Param

    with mlflow_session(settings) as client:
        name = f"review {review.subject}"
        run = client.create_run(experiment_id(client, EXPERIMENT), run_name=name)
        run_id, now = str(run.info.run_id), int(run.info.start_time)
        status = "FAILED"
        try:
            client.log_batch(
                run_id,
                params=[
                    Param("challenger", review.subject),
                    Param("champion", review.champion),
                    Param("dataset", review.dataset),
                    Param("failed_gates", ", ".join(review.failed) or "none"),
                    Param("override", review.override or "none"),
                ],
                metrics=[Metric(key, float(value), now, 0) for key, value in metrics.items()],
            )
            log_input(client, run_id, snapshot, "testing")
            client.log_artifacts(run_id, str(folder))
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status)
    return run_id
