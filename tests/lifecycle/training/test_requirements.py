"""What cannot work is refused before the first step, with what would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facecore.errors import (
    ConfigError,
    DeviceUnavailable,
    FacecoreError,
    NotFound,
    SnapshotDamaged,
    UsageError,
)
from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.requirements import check_plan
from facecore.lifecycle.training.run import train
from facecore.lifecycle.training.teacher import Teacher
from facecore.stores.objects import ObjectStore

Plan = Callable[..., TrainingPlan]
Store = Callable[..., Snapshot]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"model": "resnet"}, NotFound, "Known models: autoencoder, cnn, "),
        ({"model": "yunet", "options": {}}, ConfigError, "Trainable models: autoencoder, cnn, "),
        ({"goals": "detect"}, ConfigError, "Goals for it: triplet, "),
        ({"model": "ssdlite", "options": {}}, ConfigError, "Goals for it: detect."),
        ({"model": "siamese", "options": {}}, ConfigError, "Goals for it: match."),
        ({"options": {"depth": 3}}, ConfigError, "dimension=128"),
        ({"options": {"width": "wide"}}, ConfigError, "cannot be 'wide'"),
        ({"precision": "fp16"}, ConfigError, "needs CUDA"),
    ],
)
def test_models_goals_and_options_must_fit(
    plan: Plan, changes: dict[str, object], kind: type[FacecoreError], said: str
) -> None:
    with pytest.raises(kind) as refused:
        check_plan(plan(**changes))
    assert said in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_device_fails_at_once(plan: Plan) -> None:
    with pytest.raises(DeviceUnavailable, match="sees 0 CUDA devices"):
        check_plan(plan(device="cuda"))


@pytest.mark.parametrize(
    ("people", "pictures", "goals", "said"),
    [
        ({"train": 1, "val": 3}, 1, "distill", "1 crops to train"),
        ({"train": 1, "val": 3}, 4, "softmax", "at least two identities"),
        ({"train": 5, "val": 3}, 1, "triplet", "two identities with two pictures"),
        ({"train": 5, "val": 1}, 4, "arcface", "validation needs"),
        ({"train": 5}, 4, "arcface", "0 to validate"),
    ],
)
def test_too_few_faces_are_refused(
    plan: Plan,
    objects: ObjectStore,
    store_faces: Store,
    teacher: Teacher,
    tmp_path: Path,
    people: dict[str, int],
    pictures: int,
    goals: str,
    said: str,
) -> None:
    name = f"few-{goals}-{pictures}-{len(people)}-{people.get('val', 0)}"
    few = store_faces(objects, name, people, pictures)
    with pytest.raises(UsageError) as refused:
        train(plan(goals=goals), few, workdir=tmp_path / "run", teacher=teacher)
    assert said in str(refused.value)
    assert "facecore dataset build" in str(refused.value)


def test_the_kind_of_data_must_fit(
    plan: Plan, faces: Snapshot, scenes: Snapshot, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds scenes"):
        train(plan(goals="softmax"), scenes, workdir=tmp_path / "a")
    detector = plan(model="ssdlite", goals="detect", options={})
    with pytest.raises(ConfigError, match="holds faces"):
        train(detector, faces, workdir=tmp_path / "b")


def test_a_missing_object_is_refused(
    plan: Plan, objects: ObjectStore, store_faces: Store, tmp_path: Path
) -> None:
    snapshot = store_faces(objects, "broken", {"train": 3, "val": 3}, pictures=5)
    key = snapshot.frame("train")["object"].iloc[0]
    objects.delete("snapshots", key)
    with pytest.raises(SnapshotDamaged, match=r"is missing"):
        train(plan(goals="softmax"), snapshot, workdir=tmp_path / "run")
