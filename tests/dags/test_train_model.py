"""`train_model` run to its end by Airflow itself: a grid of two, one challenger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facecore.jobs.stores import Stores
from facecore.lifecycle.datasets.snapshot import Snapshot

RunDags = Callable[..., list[dict[str, Any]]]


def test_a_grid_is_trained_and_the_best_becomes_challenger(
    dag_stores: Stores, run_dags: RunDags, store_faces: Callable[..., Snapshot]
) -> None:
    before = {v.version for v in dag_stores.registry.versions("face-embedder")}
    data = store_faces(dag_stores.objects, "for-dags", {"train": 4, "val": 4, "test": 6})
    (outcome,) = run_dags(
        (
            "train_model",
            {
                "dataset": data.name,
                "epochs": 1,
                "batch_size": 8,
                "augmentation": "none",
                "device": "cpu",
                "settings": {
                    "threads": 1,
                    "options": {"dimension": 16, "width": 0.25, "blocks": [0, 0, 0]},
                },
                "grid": {"seed": [0, 1]},
            },
        )
    )
    assert outcome["state"] == "success", outcome["log"][-6000:]
    assert outcome["tasks"] == {
        "plan_runs": ["success"],
        "train_challenger": ["success", "success"],
        "choose_challenger": ["success"],
    }
    known = dag_stores.registry.versions("face-embedder")
    made = [v for v in known if v.version not in before]
    assert [v.tags["model"] for v in made] == ["cnn", "cnn"]
    challenger = dag_stores.registry.resolve("face-embedder", "challenger")
    assert challenger.version in {version.version for version in made}
    assert challenger.tags["dataset"] == data.reference
