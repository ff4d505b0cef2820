"""Whole runs: the result, the same result again, and what happens after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facecore.config import S3Settings
from facecore.errors import ConfigError, NotFound, TrainingDiverged, WeightsError
from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.run import TrainedModel, train
from facecore.lifecycle.training.run_folder import RunFolder, find_run
from facecore.lifecycle.training.teacher import Teacher
from facecore.zoo import registry

Plan = Callable[..., TrainingPlan]
WIDE = {"dimension": 32, "width": 0.25, "blocks": [0, 0, 0]}


def weights(result: TrainedModel) -> dict[str, torch.Tensor]:
    return registry.load(result.plan.model, result.path, result.sha256).state_dict()


@pytest.fixture(scope="module")
def whole(
    faces: Snapshot, teacher: Teacher, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    """The run the interrupted ones are compared with: three epochs without a break."""
    return train(
        long_plan(), faces, workdir=tmp_path_factory.mktemp("runs") / "whole", teacher=teacher
    )


def long_plan() -> TrainingPlan:
    from facecore.lifecycle.training.plan import make_plan

    return make_plan(
        {
            "model": "cnn",
            "goals": "triplet+distill+softmax=0.1",
            "options": {**WIDE, "dropout": 0.2},
            "dataset": "made",
            "epochs": 3,
            "batch_size": 8,
            "images_per_identity": 2,
            "augmentation": "strong",
            "device": "cpu",
            "threads": 1,
        }
    )


def test_a_run_gives_weights_curves_and_a_metric(whole: TrainedModel) -> None:
    assert (whole.metric, whole.higher_is_better) == ("val/auc", True)
    assert 0.5 < whole.metric_value <= 1.0
    assert whole.path.name.startswith("best-")
    assert registry.described(whole.path)[1]["dropout"] == 0.2
    assert len(whole.curves["val/auc"]) == 3
    assert len(whole.curves["train/loss_step"]) == 3 * 4
    assert {"train/triplet_step", "train/distill_epoch", "learning_rate"} <= set(whole.curves)
    rates = [rate for _, rate in whole.curves["learning_rate"]]
    assert rates[0] < max(rates)
    assert rates[-1] < 0.3 * max(rates)


def test_the_same_seed_gives_the_same_model(
    whole: TrainedModel, faces: Snapshot, teacher: Teacher, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    again = train(long_plan(), faces, workdir=tmp_path / "again", teacher=teacher)
    assert again.sha256 == whole.sha256
    assert again.curves["train/loss_step"] == whole.curves["train/loss_step"]


def test_each_epoch_has_batches_of_its_own(
    plan: Plan, faces: Snapshot, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facecore.lifecycle.training.embedder import EmbedderTraining

    seen: list[list[int]] = []
    real = EmbedderTraining.losses

    def watched(self: EmbedderTraining, batch: tuple[torch.Tensor, torch.Tensor]) -> object:
        seen.append(batch[1].tolist())
        return real(self, batch)

    monkeypatch.setattr(EmbedderTraining, "losses", watched)
    train(plan(batch_size=16), faces, workdir=tmp_path / "run", teacher=teacher)
    first, second = seen[:2], seen[2:]
    assert first != second
    assert sorted(sum(first, [])) == sorted(sum(second, []))  # noqa: RUF017


def test_another_seed_gives_another_model(
    whole: TrainedModel, faces: Snapshot, teacher: Teacher, tmp_path: Path
) -> None:
    plan = long_plan().model_copy(update={"seed": 1, "epochs": 1})
    assert train(plan, faces, workdir=tmp_path / "other", teacher=teacher).sha256 != whole.sha256


_TRAIN = """
import json, sys
from pathlib import Path
import torch
from facecore.config import S3Settings
from facecore.lifecycle.datasets.snapshot import open_snapshot
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.run import train
from facecore.lifecycle.training.teacher import Teacher
from facecore.stores.objects import ObjectStore
from facecore.zoo import registry
options, plan, folder, s3 = sys.argv[1:]
torch.manual_seed(11)
teacher = Teacher(registry.create("cnn", **json.loads(options)), "teacher/1")
s3 = json.loads(s3)
snapshot = open_snapshot(ObjectStore(S3Settings(**s3)), "made")
train(TrainingPlan.model_validate_json(plan), snapshot, workdir=Path(folder), teacher=teacher)
"""


def test_a_killed_run_continues_to_the_same_end(
    whole: TrainedModel,
    faces: Snapshot,
    teacher: Teacher,
    bucket_settings: S3Settings,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "killed"
    where = {
        **bucket_settings.model_dump(),
        "secret_key": bucket_settings.secret_key.get_secret_value(),
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _TRAIN,
            json.dumps(WIDE),
            long_plan().model_dump_json(),
            str(folder),
            json.dumps(where),
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while (record := RunFolder(folder).read()) is None or record.epochs_done < 1:
        assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    record = RunFolder(folder).read()
    assert record is not None
    assert not record.finished
    done = record.epochs_done
    assert 1 <= done < 3

    result = train(long_plan(), faces, workdir=folder, teacher=teacher)
    assert result.sha256 == whole.sha256
    assert result.curves["train/loss_step"] == whole.curves["train/loss_step"]
    assert result.best_epoch == whole.best_epoch


def interrupted(
    folder: Path, faces: Snapshot, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> RunFolder:
    """A run that was stopped in its second epoch."""
    from facecore.lifecycle.training.module import TrainingModule

    real = TrainingModule.training_step

    def stop(self: TrainingModule, batch: object, index: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise MemoryError("out of memory")
        return real(self, batch, index)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "training_step", stop)
        with pytest.raises(MemoryError):
            train(long_plan(), faces, workdir=folder, teacher=teacher)
    return RunFolder(folder)


def test_damaged_altered_and_foreign_checkpoints_are_refused(
    faces: Snapshot, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted(tmp_path / "run", faces, teacher, monkeypatch)
    record = folder.read()
    assert record is not None
    assert record.checkpoint is not None
    path = folder.path / record.checkpoint.name
    content = path.read_bytes()

    altered = bytearray(content)
    altered[-1] ^= 1
    path.write_bytes(altered)
    with pytest.raises(WeightsError, match=f"{path.name} was altered"):
        train(long_plan(), faces, workdir=folder.path, teacher=teacher)

    path.write_bytes(content[: len(content) // 2])
    record.checkpoint = folder.saved(path.name)
    folder.write(record)
    with pytest.raises(WeightsError, match=f"{path.name} is not a training checkpoint"):
        train(long_plan(), faces, workdir=folder.path, teacher=teacher)

    path.unlink()
    with pytest.raises(WeightsError, match=f"{path.name} is missing"):
        train(long_plan(), faces, workdir=folder.path, teacher=teacher)

    other = long_plan().model_copy(update={"epochs": 4})
    with pytest.raises(ConfigError, match="another plan"):
        train(other, faces, workdir=folder.path, teacher=teacher)

    (folder.path / "run.json").write_text("{")
    with pytest.raises(WeightsError, match=r"run\.json is damaged"):
        train(long_plan(), faces, workdir=folder.path, teacher=teacher)


def test_a_run_has_one_teacher(
    faces: Snapshot, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted(tmp_path / "run", faces, teacher, monkeypatch)
    for name, contract in (("teacher/2", teacher.contract), (teacher.name, "c" * 64)):
        other = Teacher(teacher._network, name, contract)
        with pytest.raises(ConfigError, match=rf"learns from teacher/1 .* not from {name}"):
            train(long_plan(), faces, workdir=folder.path, teacher=other)
    record = folder.read()
    assert record is not None
    assert (record.teacher, record.epochs_done) == ("teacher/1", 1)


def test_a_finished_run_answers_at_once(whole: TrainedModel, faces: Snapshot) -> None:
    folder = whole.path.parent
    assert {p.name for p in folder.iterdir()} == {
        "run.json",
        whole.path.name,
        "checkpoint-0002.safetensors",
    }
    again = train(long_plan(), faces, workdir=folder)  # needs no teacher any more
    assert (again.sha256, again.curves) == (whole.sha256, whole.curves)


def test_runs_are_found_by_name(whole: TrainedModel) -> None:
    runs = whole.path.parent.parent
    assert find_run(runs, "whole")[1].finished
    with pytest.raises(NotFound, match="whole"):
        find_run(runs, "hole")


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(
    plan: Plan, faces: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facecore.lifecycle.training.goals.losses import ArcFace

    real = ArcFace.forward
    calls = []

    def poisoned(self: ArcFace, batch: object) -> torch.Tensor:
        calls.append(1)
        return real(self, batch) * (float("nan") if len(calls) == 6 else 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(ArcFace, "forward", poisoned)
    made = plan(goals="arcface+triplet", learning_rate=0.001, scheduler="constant", warmup=0)
    with pytest.raises(TrainingDiverged) as stopped:
        train(made, faces, workdir=tmp_path / "run")
    error = stopped.value
    assert (error.goal, error.epoch, error.step, error.learning_rate) == ("arcface", 1, 5, 0.001)
    assert "learning rate 0.001" in str(error)


def test_unlabelled_faces_are_distilled_by_the_distance_to_the_teacher(
    plan: Plan,
    objects: object,
    store_faces: Callable[..., Snapshot],
    teacher: Teacher,
    tmp_path: Path,
) -> None:
    nameless = store_faces(objects, "nameless", {"train": 4, "val": 2}, labelled=False)
    result = train(plan(), nameless, workdir=tmp_path / "run", teacher=teacher)
    assert (result.metric, result.higher_is_better) == ("val/distill", False)
    values = [value for _, value in result.curves["val/distill"]]
    assert result.metric_value == min(values)


def test_a_teacher_computes_the_same_within_mixed_precision(
    plan: Plan, faces: Snapshot, teacher: Teacher, tmp_path: Path
) -> None:
    crops = torch.randint(0, 256, (11, 3, 112, 112), dtype=torch.uint8)
    fresh = Teacher(teacher._network, "teacher/1")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = fresh(crops)
    assert inside.dtype == torch.float32
    assert not inside.requires_grad
    torch.testing.assert_close(inside, teacher(crops), atol=1e-5, rtol=1e-4)
    result = train(
        plan(precision="bf16", epochs=1), faces, workdir=tmp_path / "run", teacher=teacher
    )
    assert 0.0 <= result.metric_value <= 1.0


@pytest.mark.slow  # two processes that import torch and Lightning
def test_two_devices_train_one_model_together(
    plan: Plan, faces: Snapshot, teacher: Teacher, tmp_path: Path
) -> None:
    made = plan(goals="triplet+distill", batch_size=4, devices=2, strategy="ddp", epochs=2)
    result = train(made, faces, workdir=tmp_path / "run", teacher=teacher)
    assert result.metric == "val/auc"
    # 8 people with 4 pictures: 4 batches of 4 on each of two devices, not 8.
    assert len(result.curves["train/loss_step"]) == 2 * 4
    assert len(result.curves["train/loss_epoch"]) == 2
    assert registry.described(result.path)[0] == "cnn"
    again = train(made, faces, workdir=tmp_path / "run", teacher=teacher)
    assert (again.sha256, again.curves) == (result.sha256, result.curves)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_device_says_where(
    plan: Plan, faces: Snapshot, tmp_path: Path
) -> None:
    made = plan(goals="softmax", optimizer="sgd", learning_rate=1e30, gradient_clip=0, devices=2)
    with pytest.raises(TrainingDiverged) as stopped:
        train(made, faces, workdir=tmp_path / "run")
    assert stopped.value.goal in ("softmax", "val/auc")
    assert not (tmp_path / "run" / "diverged.json").exists()
