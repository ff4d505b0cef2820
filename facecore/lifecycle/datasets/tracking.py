"""A snapshot as the dataset input of an MLflow run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from facecore.lifecycle.datasets.manifest import COLUMNS
from facecore.lifecycle.datasets.names import BUCKET, manifest_key
from facecore.lifecycle.datasets.snapshot import Snapshot

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

Context = Literal["training", "validation", "testing"]
_DIGEST_CHARACTERS = 32  # MLflow keeps 36 at most


def log_input(client: Any, run_id: str, snapshot: Snapshot, context: Context = "training") -> None:
    """Log a snapshot to a run: name, digest, source, columns and counts; once per context.

    Args:
        client: an `MlflowClient`, as `mlflow_session` gives.
    """
    client.log_inputs(run_id, datasets=[dataset_input(snapshot, context)])


def dataset_input(snapshot: Snapshot, context: Context = "training") -> DatasetInput:
    """What MLflow keeps of a snapshot.

    The digest is the first half of the snapshot's; the whole one is in source and profile.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {
        "reference": snapshot.reference,
        "digest": snapshot.digest,
        "kind": snapshot.kind,
        "rows": snapshot.rows,
        "splits": snapshot.splits,
        "left_out": snapshot.left_out,
        "source": snapshot.source,
    }
    columns = [
        *((field.name, str(field.type)) for field in COLUMNS[snapshot.kind]),
        *((name, "string") for name in snapshot.labels),
    ]
    schema = {"mlflow_colspec": [{"name": name, "type": kind} for name, kind in columns]}
    dataset = Dataset(
        name=snapshot.name,
        digest=snapshot.digest[:_DIGEST_CHARACTERS],
        source_type="s3",
        source=json.dumps({"uri": f"s3://{BUCKET}/{manifest_key(snapshot.digest)}"}),
        schema=json.dumps(schema),
        profile=json.dumps(profile, sort_keys=True),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])
