from __future__ import annotations

import json

from mlflow.data.dataset_source_registry import get_dataset_source_from_json

from facecore.lifecycle.datasets import SplitPlan, log_input
from facecore.lifecycle.datasets.wider import build_from_wider
from facecore.stores.mlflow_session import mlflow_session


def test_a_run_says_which_snapshot_it_used(to, mlflow_server, noise, tmp_path):
    noise(tmp_path / "a.png")
    annotations = tmp_path / "a.txt"
    annotations.write_text("a.png\n1\n1 2 30 40\n")
    snapshot = build_from_wider(to("one"), tmp_path, annotations, plan=SplitPlan(0, 0)).snapshot
    with mlflow_session(mlflow_server) as client:
        experiment = client.create_experiment("snapshots")
        run = client.create_run(experiment)
        for _ in range(2):
            log_input(client, run.info.run_id, snapshot)
        log_input(client, run.info.run_id, snapshot, "testing")
        inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    (used,) = inputs
    assert (used.dataset.name, used.dataset.digest) == ("one", snapshot.digest[:32])
    profile = json.loads(used.dataset.profile)
    assert profile["digest"] == snapshot.digest
    assert profile["splits"] == {"train": {"rows": 1, "faces": 1}}
    source = get_dataset_source_from_json(used.dataset.source, used.dataset.source_type)
    assert source.uri == f"s3://snapshots/manifests/{snapshot.digest}.parquet"
    columns = [column["name"] for column in json.loads(used.dataset.schema)["mlflow_colspec"]]
    assert columns == snapshot.frame().columns.tolist()
