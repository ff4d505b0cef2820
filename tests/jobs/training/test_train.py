"""Training as a job: on real stores, from a data set to versions in the registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
import torch

from facecore.errors import NotFound, UsageError
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.jobs.training import train as job
from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.evaluation import embedder_evaluation
from facecore.lifecycle.packaging import Evidence, Weights, detector_package, paired_with
from facecore.lifecycle.thresholds import Calibration
from facecore.samples.sources import Portrait
from facecore.stores.mlflow_session import mlflow_session
from facecore.stores.registry import CALIBRATION, WEIGHTS
from facecore.types import Contract
from facecore.zoo import registry as zoo

SMALL = {"dimension": 16, "width": 0.25, "blocks": [0, 0, 0]}


class Tomorrow(datetime):
    """A clock that is a day ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(days=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(ready: Stores, store_faces: Callable[..., Snapshot]) -> Snapshot:
    name = f"made-{uuid4().hex[:6]}"
    return store_faces(ready.objects, name, {"train": 6, "val": 22, "test": 8})


@pytest.fixture
def run(ready: Stores) -> Callable[..., dict[str, Any]]:
    """Plan and train with small choices."""

    def train(name: str, **choices: Any) -> dict[str, Any]:
        (plan,) = job.plan_runs(small(**choices), stores=ready)
        context = RunContext("test", name, "train")
        return job.train_challenger(context, plan, stores=ready)

    return train


def small(**choices: Any) -> dict[str, Any]:
    return {
        "model": "cnn",
        "goals": "distill",
        "options": SMALL,
        "epochs": 1,
        "batch_size": 8,
        "device": "cpu",
        "threads": 1,
        "augmentation": "none",
        **choices,
    }


def test_an_embedder_becomes_a_challenger(
    ready: Stores,
    data: Snapshot,
    run: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"one-{uuid4().hex[:6]}"
    result = run(name, dataset=data.name)
    assert result["dataset"] == data.reference
    assert set(result["test"]) >= {"auc", "eer"}
    assert result["champion"]["auc"] > 0
    (version,) = result["versions"]
    chosen = job.choose_challenger([result], stores=ready)
    assert chosen["runs"] == 1
    info = ready.registry.resolve("face-embedder", "challenger")
    assert f"{info.name}/{info.version}" == version

    contract = Contract(**info.contract["embedding"])
    assert (contract.embedder, contract.dimension) == ("cnn", 16)
    champion = ready.registry.resolve("face-embedder")
    assert contract.detector_sha256 == champion.contract["embedding"]["detector_sha256"]
    files = ready.registry.download(info)
    calibration = Calibration.from_json(json.loads((files / CALIBRATION).read_text()))
    assert calibration.contract == contract.digest
    assert calibration.dataset == f"{data.reference}, split val"
    assert zoo.described(files / WEIGHTS)[0] == "cnn"

    with mlflow_session(ready.settings.mlflow) as client:
        tracked = client.get_run(result["run_id"])
        registered = client.get_model_version(info.name, str(info.version))
        curve = client.get_metric_history(result["run_id"], "val/auc")
        documents = {item.path for item in client.list_artifacts(result["run_id"], "evaluation")}
    assert registered.run_id == result["run_id"]
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["goals"] == "distill"
    assert tracked.data.params["seed"] == "0"
    assert tracked.data.tags["torch"]
    assert tracked.data.tags["teacher"] == f"{champion.name}/{champion.version}"
    assert {"code", "device", "dataset"} <= set(tracked.data.tags)
    assert tracked.data.metrics["test/auc"] == pytest.approx(result["test"]["auc"])
    assert len(curve) == 1
    assert tracked.inputs.dataset_inputs[0].dataset.name == data.name
    assert documents == {"evaluation/evaluation.json", "evaluation/champion.json"}
    for part in ("## Training", "## Results on", "## Thresholds", contract.digest, data.reference):
        assert part in registered.description

    monkeypatch.setattr(embedder_evaluation, "datetime", Tomorrow)
    again = run(name, dataset=data.name)  # the same run: nothing is trained or registered anew
    assert (again["versions"], again["run_id"]) == (result["versions"], result["run_id"])


def test_the_registered_version_answers_with_faces(
    ready: Stores, data: Snapshot, run: Callable[..., dict[str, Any]], pictures: dict[str, Portrait]
) -> None:
    result = run(f"served-{uuid4().hex[:6]}", dataset=data.name, seed=1)
    _, _, version = result["versions"][0].rpartition("/")
    model = ready.registry.pyfunc(ready.registry.version("face-embedder", int(version)))
    example = model.input_example
    assert list(example.columns) == ["image"]
    asked = pd.DataFrame({"image": [pictures["obama.jpg"].path.read_bytes()]})
    (answer,) = model.predict(asked)
    assert len(answer["faces"][0]["embedding"]) == 16


def test_a_matcher_is_a_model_of_its_own(
    ready: Stores, data: Snapshot, run: Callable[..., dict[str, Any]], pictures: dict[str, Portrait]
) -> None:
    result = run(
        f"match-{uuid4().hex[:6]}",
        dataset=data.name,
        model="siamese",
        goals="match",
        options={"hidden": 8},
    )
    (version,) = result["versions"]
    assert version.startswith("face-matcher/")
    info = ready.registry.version("face-matcher", int(version.rpartition("/")[2]))
    model = ready.registry.pyfunc(info)
    same, other = (pictures[n].path.read_bytes() for n in ("obama2.jpg", "grace_hopper.jpg"))
    one = pictures["obama.jpg"].path.read_bytes()
    answers = model.predict(pd.DataFrame({"first": [one, one, one], "second": [same, other, b"?"]}))
    assert answers[0]["probability"] > answers[1]["probability"]
    assert answers[2]["probability"] is None
    assert "second image: not_an_image" in answers[2]["error"]


def test_a_detector_is_paired_with_the_embedder_in_use(ready: Stores, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "ssdlite.safetensors"
    sha256 = zoo.save("ssdlite", zoo.create("ssdlite"), path)
    package = detector_package(
        "face-detector", Weights("ssdlite", path, sha256), Evidence("A test."), tmp_path
    )
    detector = ready.registry.register(package)
    embedder = ready.registry.resolve("face-embedder")
    folders = [ready.registry.download(info) for info in (detector, embedder)]
    pair = ready.registry.register(
        paired_with(detector, folders[0], embedder, folders[1], tmp_path)
    )
    contract = Contract(**pair.contract["embedding"])
    assert (contract.detector_sha256, pair.contract["detector"]) == (sha256, "ssdlite")
    assert pair.weights_sha256 == embedder.weights_sha256
    calibration = ready.registry.calibration(pair)
    assert calibration is not None
    assert calibration["contract"] == contract.digest
    assert calibration["provenance"]["carried_over_from"] == embedder.contract["digest"]
    service = ready.registry.pyfunc(pair)
    assert service.metadata.signature is not None


def test_the_best_by_validation_wins_whatever_the_test_says(ready: Stores) -> None:
    champion = ready.registry.resolve("face-embedder")

    def result(value: float, higher: bool, test: float) -> dict[str, Any]:
        return {
            "metric": "val/x",
            "value": value,
            "higher_is_better": higher,
            "versions": [f"face-embedder/{champion.version}"],
            "test": {"auc": test},
            "run": str(value),
        }

    better = [result(0.8, True, 0.9), result(0.9, True, 0.1)]
    assert job.choose_challenger(better, stores=ready)["run"] == "0.9"
    lower = [result(0.8, False, 0.9), result(0.9, False, 0.95)]
    assert job.choose_challenger(lower, stores=ready)["run"] == "0.8"
    with pytest.raises(UsageError, match="no run came to an end"):
        job.choose_challenger([], stores=ready)


def test_what_cannot_work_is_refused_when_it_is_planned(
    ready: Stores, data: Snapshot, store_faces: Callable[..., Snapshot]
) -> None:
    with pytest.raises(NotFound, match=data.name):
        job.plan_runs(small(dataset="nothing"), stores=ready)
    with pytest.raises(NotFound, match="Known models"):
        job.plan_runs(small(dataset=data.name, model="resnet"), stores=ready)
    tiny = store_faces(ready.objects, f"tiny-{uuid4().hex[:6]}", {"train": 4, "val": 2, "test": 2})
    with pytest.raises(UsageError, match="--evaluate-on"):
        job.plan_runs(small(dataset=tiny.name), stores=ready)
    (plan,) = job.plan_runs(small(dataset=tiny.name), evaluate_on=data.name, stores=ready)
    assert plan["dataset"] == tiny.reference
    with pytest.raises(NotFound, match="training run 'gone'"):
        job.train_challenger(RunContext("t", "t", "t"), {}, resume="gone", stores=ready)


def test_a_form_becomes_a_grid(ready: Stores, data: Snapshot) -> None:
    form = {
        **small(dataset=data.name),
        "learning_rate": None,
        "evaluate_on": "",
        "settings": {"warmup": 0.2},
        "grid": {"seed": [1, 2], "optimizer": ["sgd", "adamw"]},
    }
    plans = job.plan_from_form(form, stores=ready)
    assert [(p["seed"], p["optimizer"], p["warmup"]) for p in plans] == [
        (1, "sgd", 0.2),
        (1, "adamw", 0.2),
        (2, "sgd", 0.2),
        (2, "adamw", 0.2),
    ]
