"""A trained autoencoder or forecaster → judged, then a version in the registry."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from facecore.jobs.models.analysis_models import AnalysisTask, in_use, load, registered_name
from facecore.jobs.stores import Stores
from facecore.jobs.training.analysis_judging import measure
from facecore.jobs.training.challengers import Judged, evidence_of, weights_of
from facecore.lifecycle import packaging
from facecore.stores.registry import ModelVersionInfo

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.training.run import TrainedModel


def register(
    stores: Stores, trained: TrainedModel, judge_on: Snapshot
) -> tuple[list[ModelVersionInfo], Judged]:
    """As `challengers.register_challenger`, of models that need no other beside them."""
    from facecore.zoo import registry

    kind = registry.spec(trained.plan.model).task
    task: AnalysisTask = "reconstruct" if kind == "reconstruct" else "forecast"
    network = registry.load(trained.plan.model, trained.path, trained.sha256)
    own = measure(network, judge_on, trained.plan.model)
    judged = Judged(own.metrics, "", {}, {"evaluation.json": own.document})
    used = in_use(stores, task)
    if used is not None:
        name = f"{used.name}/{used.version}"
        other = measure(load(stores, used.name, used.version), judge_on, name)
        documents = {"evaluation.json": own.document, "champion.json": other.document}
        judged = Judged(own.metrics, name, other.metrics, documents)
    with tempfile.TemporaryDirectory(prefix="facecore-register-") as scratch:
        package = packaging.analysis_package(
            registered_name(stores, task),
            weights_of(trained),
            evidence_of(trained, judged, judge_on),
            Path(scratch),
        )
        return [stores.registry.register(package)], judged
