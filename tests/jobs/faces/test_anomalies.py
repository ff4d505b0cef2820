"""Scoring every face, a model's way into use, and forecasts: on real stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import torch

from facecore.errors import NotFound, PromotionRefused, UsageError
from facecore.jobs.faces import anomalies, crops
from facecore.jobs.lineage import RunContext
from facecore.jobs.models import analysis_models
from facecore.jobs.promotion import review
from facecore.jobs.stores import Stores
from facecore.jobs.training import train as training
from facecore.lifecycle.datasets import Snapshot
from facecore.stores.catalog import audit
from facecore.stores.catalog.faces import anomalies as scores
from facecore.stores.catalog.models import models
from facecore.stores.registry import ModelVersionInfo
from facecore.types import FaceCrops

NAME = "face-autoencoder"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(ready: Stores, store_faces: Callable[..., Snapshot]) -> Snapshot:
    name = f"crops-{uuid4().hex[:6]}"
    return store_faces(ready.objects, name, {"train": 20, "val": 10, "test": 14})


@pytest.fixture(scope="module")
def versions(ready: Stores, data: Snapshot) -> list[ModelVersionInfo]:
    """Two trained versions."""
    found = []
    for seed in (1, 2):
        (plan,) = training.plan_runs(
            {
                "model": "autoencoder",
                "goals": "reconstruct",
                "dataset": data.name,
                "options": {"code": 32, "width": 0.25},
                "epochs": 2,
                "batch_size": 8,
                "device": "cpu",
                "threads": 1,
                "seed": seed,
            },
            stores=ready,
        )
        context = RunContext("test", f"ae-{uuid4().hex[:6]}", "train")
        result = training.train_challenger(context, plan, stores=ready)
        assert result["metric"] == "val/error"
        assert {"auroc_non_faces", "auroc_occlusion", "auroc_shuffled_patches"} <= set(
            result["test"]
        )
        (version,) = result["versions"]
        found.append(ready.registry.version(NAME, int(version.rpartition("/")[2])))
    return found


def answer(option: str) -> dict[str, object]:
    return {
        "chosen_options": [option],
        "params_input": {"reason": "looks right"},
        "responded_by_user": {"id": "1", "name": "reviewer"},
    }


def place_faces(stores: Stores, pixels: np.ndarray, pack: str) -> list[int]:
    """Extracted images with a face each; the crops are one pack."""
    crops.write_pack(stores.objects, pack, FaceCrops(pixels))
    found = []
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        detector = models.active(tx, "detect").id
        for number in range(len(pixels)):
            cursor.execute(
                "INSERT INTO image (sha256, bucket, object_key, source, bytes, status) "
                "VALUES (%s, 'images', 'x', 'door', 1, 'extracted') RETURNING id",
                [uuid4().hex * 2],
            )
            (image,) = cursor.fetchone() or (0,)
            cursor.execute(
                "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
                "crop_index) VALUES (%s, %s, 0, '{0,0,9,9}', 0.9, %s, %s) RETURNING id",
                [image, detector, pack, number],
            )
            found.append((cursor.fetchone() or (0,))[0])
    return found


def run_all(stores: Stores) -> dict[str, int]:
    context = RunContext("score_anomalies", f"run-{uuid4().hex[:8]}", "task")
    planned = anomalies.plan(context, stores)
    assert anomalies.plan(context, stores) == planned  # a cleared task maps over the same work
    for shard_id in planned:
        assert anomalies.score_shard(context, shard_id, stores) == shard_id
        assert anomalies.score_shard(context, shard_id, stores) == shard_id
    return anomalies.summarise(planned, stores)


def activate(stores: Stores, info: ModelVersionInfo) -> bool:
    return analysis_models.activate(
        info.name, info.version, actor="tester", reason="a test", stores=stores
    )


def test_a_registered_version_answers_of_crops(
    ready: Stores, versions: list[ModelVersionInfo]
) -> None:
    model = ready.registry.pyfunc(versions[0])
    example = model.input_example["crop"].iloc[0]
    asked = pd.DataFrame({"crop": [example, b"no picture"]})
    good, bad = model.predict(asked)
    assert len(good["code"]) == 32
    assert 0 <= good["rank"] <= 1
    assert good["problem"] is None
    assert bad["rank"] is None
    assert "not_an_image" in bad["problem"]
    with pytest.raises(PromotionRefused, match="neither"):
        analysis_models.activate("face-embedder", 1, actor="t", reason="t", stores=ready)


def test_faces_are_scored_once_per_version_and_versions_lie_side_by_side(
    stores: Stores, data: Snapshot, versions: list[ModelVersionInfo], tmp_path: Path
) -> None:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("UPDATE model_version SET state = 'retired' WHERE task = 'reconstruct'")
    nobody = RunContext("score_anomalies", f"none-{uuid4().hex[:8]}", "plan")
    assert anomalies.plan(nobody, stores) == []
    with pytest.raises(NotFound, match="version in use"):
        anomalies.publish(nobody, stores=stores)

    activate(stores, versions[0])
    ordinary = data.crops("test")[0]
    strange = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    faces = place_faces(stores, np.concatenate([ordinary, strange]), "score-1.safetensors")
    assert run_all(stores)["faces"] == len(faces)
    assert run_all(stores) == {"shards": 0}
    top = anomalies.most_unusual(2, stores)
    assert top[0]["distance"] >= top[1]["distance"]
    with stores.catalog.transaction() as tx:
        first, *_ = scores.most_unusual(tx, 1)
        rest = scores.most_unusual(tx, 100, after=(first.distance, first.face_id))
        assert len(rest) == len(faces) - 1
        assert [one.distance for one in rest] == sorted((o.distance for o in rest), reverse=True)
        assert sum(scores.histogram(tx)) == len(faces)

    published = anomalies.publish(nobody, out=tmp_path, stores=stores)
    page = (tmp_path / "anomalies.html").read_text("utf-8")
    assert page.count("Its reconstruction") == published["shown"] == 24
    assert page.count("<circle") == published["mapped"] == len(faces)
    numbers = json.loads(stores.objects.get("reports", published["json"]))
    assert sum(numbers["ranks"]) == numbers["faces"] == len(faces)
    assert [one["face"] for one in numbers["most_unusual"][:2]] == [one["face_id"] for one in top]

    activate(stores, versions[1])
    assert anomalies.most_unusual(2, stores) == []
    assert run_all(stores)["faces"] == len(faces)
    activate(stores, versions[0])
    assert anomalies.most_unusual(2, stores) == top
    assert run_all(stores) == {"shards": 0}


def test_a_pack_that_is_gone_and_an_empty_catalogue_break_nothing(
    stores: Stores, versions: list[ModelVersionInfo]
) -> None:
    activate(stores, versions[0])
    assert run_all(stores) == {"shards": 0}
    context = RunContext("score_anomalies", f"empty-{uuid4().hex[:8]}", "publish")
    assert anomalies.publish(context, stores=stores)["shown"] == 0
    place_faces(stores, np.zeros((1, 112, 112, 3), np.uint8), "gone.safetensors")
    stores.objects.delete("crops", "gone.safetensors")
    assert run_all(stores)["packs_missing"] == 1
    place_faces(stores, np.zeros((1, 112, 112, 3), np.uint8), "one.safetensors")
    assert run_all(stores)["faces"] == 1
    assert anomalies.publish(context, stores=stores)["mapped"] == 1


def test_a_review_brings_a_version_into_use_and_the_next_one_takes_its_place(
    stores: Stores, data: Snapshot, versions: list[ModelVersionInfo]
) -> None:
    first, second = versions
    activate(stores, first)
    assert not activate(stores, first)
    context = RunContext("review_model", f"review-{uuid4().hex[:8]}", "task")
    judged = review.evaluate(
        context, second.name, second.version, data.reference, override="made-up faces",
        stores=stores,
    )  # fmt: skip
    assert judged["champion"] == f"{first.name}/{first.version}"
    assert "auroc_worst" in judged["summary"]
    page = stores.objects.get("reports", judged["evidence"]).decode()
    assert "planted anomalies" in page
    assert review.decide(context, judged, answer("Reject"), stores) == []
    used = analysis_models.in_use(stores, "reconstruct")
    assert used is not None
    assert used.version == first.version

    assert review.decide(context, judged, answer("Approve"), stores) == []
    used = analysis_models.in_use(stores, "reconstruct")
    assert used is not None
    assert used.version == second.version
    aliases = stores.registry.aliases(NAME)
    assert (aliases["champion"], aliases["previous"]) == (second.version, first.version)
    with stores.catalog.transaction() as tx:
        actions = [e.action for e in audit.newest(tx, subject=f"{NAME}/{second.version}")]
    assert {"review.approved", "promotion.active"} <= set(actions)
    with pytest.raises(PromotionRefused, match="in use already"):
        review.evaluate(context, second.name, second.version, data.reference, stores=stores)


def test_a_data_set_that_cannot_judge_is_refused(ready: Stores) -> None:
    with pytest.raises(NotFound):
        training.plan_runs(
            {"model": "autoencoder", "goals": "reconstruct", "dataset": "nothing"}, stores=ready
        )
    with pytest.raises(UsageError, match="does not train"):
        training.plan_runs(
            {"model": "autoencoder", "goals": "forecast", "dataset": "nothing"}, stores=ready
        )
