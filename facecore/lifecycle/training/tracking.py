"""A run in MLflow: parameters, curves, environment and data set, also across interruptions."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from facecore.config import MlflowSettings
from facecore.errors import RegistryUnavailable
from facecore.lifecycle.datasets.tracking import log_input
from facecore.stores.mlflow_session import experiment_id, mlflow_session

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot

logger = logging.getLogger(__name__)

EXPERIMENT = "facecore-training"
_FLUSH_S = 15.0
_MOST_PER_CALL = 1000  # MLflow takes no more metrics in one request


class Tracker(Protocol):
    """Where a run is recorded."""

    def start(
        self,
        run_id: str | None,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str | None:
        """Begin a run, or go on with `run_id`; returns the run's id."""

    def metric(self, name: str, value: float, step: int) -> None:
        """One point of a curve."""

    def flush(self) -> None:
        """Send what waits, if the other side can take it."""

    def complete(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Bring the points (step, value) that are not there: of a try that ended before the other
        side could take them."""

    def finish(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""


class MlflowTracker:
    """`Tracker` on an MLflow server.

    Points of curves are sent in batches. While the server cannot be reached they wait here: a
    training of hours does not end for it. What still waits at the end is an error, and the next
    try brings it.

    Args:
        snapshot: what is trained on; logged as the run's data set.
    """

    def __init__(self, settings: MlflowSettings, snapshot: Snapshot) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._run_id: str | None = None
        self._waiting: list[Any] = []
        self._sent = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """For the processes of several devices; the data set was logged before they start."""
        return {**self.__dict__, "_snapshot": None}

    def start(
        self,
        run_id: str | None,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str | None:
        from mlflow.entities import Param, RunTag

        with mlflow_session(self._settings, missing=f"training run {run_id}") as client:
            if run_id is not None:
                client.get_run(run_id)
                client.update_run(run_id, status="RUNNING")
            else:
                experiment = experiment_id(client, EXPERIMENT)
                run_id = str(client.create_run(experiment, run_name=name).info.run_id)
                client.log_batch(
                    run_id,
                    params=[Param(k, str(v)) for k, v in params.items()],
                )
                log_input(client, run_id, self._snapshot)
            client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        self._run_id = run_id
        return run_id

    def metric(self, name: str, value: float, step: int) -> None:
        from mlflow.entities import Metric

        self._waiting.append(Metric(name, value, int(time.time() * 1000), step))
        if time.monotonic() - self._sent > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        self._sent = time.monotonic()
        try:
            self._send()
        except RegistryUnavailable as error:
            logger.warning("%d points of curves wait for MLflow: %s", len(self._waiting), error)

    def _send(self) -> None:
        with mlflow_session(self._settings) as client:
            while self._waiting:
                client.log_batch(self._run_id, metrics=self._waiting[:_MOST_PER_CALL])
                del self._waiting[:_MOST_PER_CALL]

    def complete(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        self._send()
        with mlflow_session(self._settings) as client:
            for name, points in curves.items():
                known = {one.step for one in client.get_metric_history(self._run_id, name)}
                for step, value in points:
                    if step not in known:
                        self.metric(name, value, step)

    def finish(self, status: str) -> None:
        self._send()
        with mlflow_session(self._settings) as client:
            client.set_terminated(self._run_id, status)


def add_to_run(
    settings: MlflowSettings,
    run_id: str,
    *,
    metrics: Mapping[str, float],
    documents: Mapping[str, Any],
) -> None:
    """Add numbers and JSON documents (path → content) to a run that has ended."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [Metric(name, float(value), now, 0) for name, value in metrics.items()]
    with mlflow_session(settings, missing=f"training run {run_id}") as client:
        for start in range(0, len(points), _MOST_PER_CALL):
            client.log_batch(run_id, metrics=points[start : start + _MOST_PER_CALL])
        for path, document in documents.items():
            client.log_dict(run_id, document, path)


class NoTracker:
    """A `Tracker` that keeps nothing; curves are in the run's folder anyway."""

    def start(
        self,
        run_id: str | None,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str | None:
        return run_id

    def metric(self, name: str, value: float, step: int) -> None:
        """Nothing to keep."""

    def flush(self) -> None:
        """Nothing waits."""

    def complete(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Nothing is missing."""

    def finish(self, status: str) -> None:
        """Nothing to end."""
