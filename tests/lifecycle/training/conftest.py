"""Made-up faces and scenes in a real object store, and a network that trains in a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch

from facecore.config import S3Settings
from facecore.lifecycle.datasets.building import Destination, encode_png
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.scene_set import Scene, SceneWriter, publish_scenes
from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.datasets.splits import SplitPlan
from facecore.lifecycle.training.plan import TrainingPlan, make_plan
from facecore.lifecycle.training.teacher import Teacher
from facecore.stores.objects import ObjectStore
from facecore.zoo import registry

SMALL = {"dimension": 16, "width": 0.25, "blocks": [0, 0, 0]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bucket_settings(s3: S3Settings) -> S3Settings:
    settings = s3.model_copy(update={"bucket_prefix": f"d{uuid4().hex[:8]}-"})
    ObjectStore(settings).ensure_buckets()
    return settings


@pytest.fixture(scope="session")
def objects(bucket_settings: S3Settings) -> ObjectStore:
    return ObjectStore(bucket_settings)


@pytest.fixture(scope="session")
def faces(objects: ObjectStore, store_faces: Callable[..., Snapshot]) -> Snapshot:
    return store_faces(objects, "made", {"train": 8, "val": 6, "test": 4})


@pytest.fixture(scope="session")
def scenes(objects: ObjectStore) -> Snapshot:
    """Bright squares on grey."""
    rng = np.random.default_rng(3)
    rows = Rows("scenes")
    destination = Destination(objects, "squares")
    with destination.spool() as spool:
        writer = SceneWriter(spool, rows, "squares")
        for split, count in (("train", 4), ("val", 2), ("test", 2)):
            for number in range(count):
                image = rng.integers(90, 130, (96, 128, 3), np.uint8)
                x, y = (int(v) for v in rng.integers(5, 40, 2))
                image[y : y + 48, x : x + 48] = 230
                box = np.array([[x, y, x + 48, y + 48]], np.float32)
                points = (box[:, :2] + np.linspace(8, 40, 10).reshape(5, 2))[None]
                writer.add(
                    Scene(
                        f"{split}{number}",
                        split,  # type: ignore[arg-type]
                        encode_png(image),
                        "png",
                        128,
                        96,
                        box,
                        points.astype(np.float32),
                    )
                )
        writer.flush()
        provenance = Provenance("scenes", {"kind": "made", "name": "squares"})
        return publish_scenes(
            destination, spool, rows.table(), provenance, SplitPlan(), "squares"
        ).snapshot


@pytest.fixture(scope="session")
def teacher() -> Teacher:
    torch.manual_seed(11)
    return Teacher(registry.create("cnn", **(SMALL | {"dimension": 32})), "teacher/1")


@pytest.fixture
def plan() -> Callable[..., TrainingPlan]:
    """A plan that takes a second, with changes."""
    return small_plan


def small_plan(**changes: Any) -> TrainingPlan:
    return make_plan(
        {
            "model": "cnn",
            "goals": "distill",
            "options": SMALL,
            "dataset": "made",
            "epochs": 2,
            "batch_size": 8,
            "images_per_identity": 2,
            "device": "cpu",
            "threads": 1,
            **changes,
        }
    )
