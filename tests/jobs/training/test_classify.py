"""A network with a classifier of its own, from training to a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import uuid4

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from facecore.cli import app
from facecore.errors import UsageError
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.jobs.training import classify as job
from facecore.jobs.training import train as training
from facecore.lifecycle.datasets import Snapshot
from facecore.samples.sources import Portrait

CONTEXT = RunContext("test", "classify", "classify")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(stores: Stores, data: Snapshot, goal: str) -> str:
    """A deepface with this goal; returns name/version."""
    (plan,) = training.plan_runs(
        {
            "model": "deepface",
            "goals": goal,
            "dataset": data.name,
            "options": {"dimension": 16, "width": 0.25},
            "epochs": 1,
            "batch_size": 8,
            "batches_per_epoch": 2,
            "device": "cpu",
            "threads": 1,
        },
        stores=stores,
    )
    context = RunContext("test", f"deepface-{uuid4().hex[:6]}", "train")
    (version,) = training.train_challenger(context, plan, stores=stores)["versions"]
    return str(version)


def test_a_trained_deepface_names_people_of_its_training(
    ready: Stores,
    store_faces: Callable[..., Snapshot],
    pictures: dict[str, Portrait],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = store_faces(
        ready.objects, f"closed-{uuid4().hex[:6]}", {"train": 8, "val": 22, "test": 8}
    )
    version = trained(ready, data, "softmax")
    photo = pictures["obama.jpg"].path
    (face, *_) = job.classify(CONTEXT, photo, version, stores=ready)
    known = {f"train {number}" for number in range(8)}
    assert len(face["identities"]) == 5
    assert {one["name"] for one in face["identities"]} < known

    name, _, number = version.rpartition("/")
    served = ready.registry.pyfunc(ready.registry.version(name, int(number)))
    (answer,) = served.predict(pd.DataFrame({"image": [photo.read_bytes()]}))
    assert answer["faces"][0]["identities"] == face["identities"]

    monkeypatch.setattr(job, "Stores", lambda: ready)
    told = CliRunner().invoke(app, ["classify", str(photo), "--model", version])
    assert told.exit_code == 0, told.output
    assert face["identities"][0]["name"] in told.output
    document = CliRunner().invoke(app, ["classify", str(photo), "--model", version, "--json"])
    assert json.loads(document.stdout)[0]["identities"] == face["identities"]


def test_a_version_that_was_not_trained_to_tell_people_apart_says_so(
    ready: Stores, store_faces: Callable[..., Snapshot], pictures: dict[str, Portrait]
) -> None:
    photo = pictures["obama.jpg"].path
    with pytest.raises(UsageError, match="face-embedder/1 tells nobody apart"):
        job.classify(CONTEXT, photo, "face-embedder/1", stores=ready)
    data = store_faces(
        ready.objects, f"taught-{uuid4().hex[:6]}", {"train": 4, "val": 22, "test": 8}
    )
    # Its classifier exists, and nothing has taught it.
    version = trained(ready, data, "distill")
    with pytest.raises(UsageError, match="--goal softmax"):
        job.classify(CONTEXT, photo, version, stores=ready)
    with pytest.raises(UsageError, match="cannot be read"):
        job.classify(CONTEXT, photo.with_name("gone.jpg"), version, stores=ready)
