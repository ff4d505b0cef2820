"""A run in MLflow, also where MLflow was away when it ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from facecore.config import MlflowSettings
from facecore.errors import RegistryUnavailable
from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.run import train
from facecore.lifecycle.training.run_folder import RunFolder
from facecore.lifecycle.training.teacher import Teacher
from facecore.lifecycle.training.tracking import MlflowTracker
from facecore.stores.mlflow_session import mlflow_session


class LosesTheServer(MlflowTracker):
    """Reaches MLflow until the run has begun, then never again."""

    def start(self, *arguments: object) -> str | None:
        run_id = super().start(*arguments)  # type: ignore[arg-type]
        self._settings = MlflowSettings(tracking_uri="http://127.0.0.1:9")
        return run_id


def test_what_mlflow_missed_at_the_end_is_brought_by_the_next_try(
    plan: Callable[..., TrainingPlan],
    faces: Snapshot,
    teacher: Teacher,
    mlflow_server: MlflowSettings,
    tmp_path: Path,
) -> None:
    made, folder = plan(epochs=1), tmp_path / "run"

    def tried(tracker: MlflowTracker) -> dict[str, list[tuple[int, float]]]:
        return train(made, faces, workdir=folder, teacher=teacher, tracker=tracker).curves

    with pytest.raises(RegistryUnavailable):
        tried(LosesTheServer(mlflow_server, faces))
    record = RunFolder(folder).read()
    assert record is not None
    assert record.epochs_done == 1
    for _ in range(2):  # the second finds nothing left to do
        curves = tried(MlflowTracker(mlflow_server, faces))
        with mlflow_session(mlflow_server) as client:
            run = client.get_run(record.run_id)
            told = {name: client.get_metric_history(record.run_id, name) for name in curves}
        assert run.info.status == "FINISHED"
        assert run.data.metrics["best/best_epoch"] == 0
        assert len(curves["train/loss_step"]) == 4
        assert {n: [(p.step, p.value) for p in ps] for n, ps in told.items()} == {
            n: [tuple(p) for p in ps] for n, ps in curves.items()
        }
