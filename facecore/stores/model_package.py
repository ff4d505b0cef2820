"""Turning local files into a registered version: run, logged model, upload, version."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facecore.stores.mlflow_session import experiment_id

EXPERIMENT = "facecore-models"
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.json"
CARD = "MODEL_CARD.md"

DIGEST_TAG = "facecore.digest"
FILES_TAG = "facecore.files"
CONTRACT_TAG = "facecore.contract"


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """What is to be registered as one version.

    Attributes:
        files: artifact name → local file; must hold `WEIGHTS`, may hold `CALIBRATION` and
            more. These are the model: two packages with equal files are the same version.
        contract: what the outputs depend on, as JSON.
        python_model: the file that defines the pyfunc (ends in `mlflow.models.set_model`).
        signature: inputs and outputs in the dictionary form of MLflow's `ModelSignature`.
        description: the model card, Markdown.
        requirements: pip requirements of the pyfunc.
        input_example: one row of its input, column → value.
        run_id: the run that made the model; without, the version gets a run of its own, with
            `params` and `metrics`.
    """

    name: str
    files: Mapping[str, Path]
    contract: Mapping[str, Any]
    python_model: Path
    signature: Mapping[str, str]
    description: str
    requirements: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    input_example: Mapping[str, Any] | None = None
    run_id: str | None = None


def ensure_model(client: Any, name: str) -> None:
    """Create the registered model unless it exists."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def create_version(
    client: Any, package: ModelPackage, digests: Mapping[str, str], digest: str
) -> Any:
    """Upload the files, then create the version, which is the one step that makes it visible."""
    tags = {
        **package.tags,
        DIGEST_TAG: digest,
        FILES_TAG: json.dumps(dict(digests)),
        CONTRACT_TAG: json.dumps(dict(package.contract)),
    }
    with _run(client, package, tags) as (run_id, experiment):
        model = client.create_logged_model(
            experiment,
            name=package.name,
            source_run_id=run_id,
            tags={DIGEST_TAG: digest},
            params=dict(package.params),
            model_type="facecore",
        )
        with tempfile.TemporaryDirectory(prefix="facecore-package-") as scratch:
            saved = Path(scratch) / "model"
            _save(package, saved)
            client.log_model_artifacts(model.model_id, str(saved))
        client.finalize_logged_model(model.model_id, "READY")
        return client.create_model_version(
            package.name,
            source=f"models:/{model.model_id}",
            run_id=run_id,
            model_id=model.model_id,
            tags=tags,
            description=package.description,
            await_creation_for=0,  # the files are there already
        )


@contextmanager
def _run(client: Any, package: ModelPackage, tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The run that made the model, as it is; or a run for the registration. (run, experiment)"""
    from mlflow.entities import Metric, Param

    if package.run_id is not None:
        yield package.run_id, str(client.get_run(package.run_id).info.experiment_id)
        return
    experiment = experiment_id(client, EXPERIMENT)
    run = client.create_run(experiment, run_name=f"register {package.name}", tags=tags)
    run_id, status = run.info.run_id, "FAILED"
    try:
        client.log_batch(
            run_id,
            metrics=[
                Metric(k, float(v), run.info.start_time, 0) for k, v in package.metrics.items()
            ],
            params=[Param(k, v) for k, v in package.params.items()],
        )
        yield run_id, experiment
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)


def _save(package: ModelPackage, folder: Path) -> None:
    """Write the pyfunc with its artifacts. MLflow keeps each artifact under its file's name."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature

    example = None if package.input_example is None else pd.DataFrame([dict(package.input_example)])
    with (
        tempfile.TemporaryDirectory(prefix="facecore-files-") as scratch,
        warnings.catch_warnings(),
    ):
        # MLflow would run the model on an example to infer the signature, which is given.
        warnings.filterwarnings("ignore", "(?s).*input example", UserWarning)
        renamed = {
            name: shutil.copyfile(path, Path(scratch) / name)
            for name, path in package.files.items()
        }
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(package.python_model),
            artifacts={name: str(path) for name, path in renamed.items()},
            signature=ModelSignature.from_dict(dict(package.signature)),
            input_example=example,
            pip_requirements=list(package.requirements),
        )
    (folder / CARD).write_text(package.description, encoding="utf-8")
