"""Matchers, detectors and models with a classifier of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.run import train
from facecore.lifecycle.training.scenes import SceneSplit
from facecore.lifecycle.training.teacher import Teacher
from facecore.zoo import registry

Plan = Callable[..., TrainingPlan]


def test_a_matcher_is_trained_on_the_teachers_embeddings_and_calibrated(
    plan: Plan, faces: Snapshot, teacher: Teacher, tmp_path: Path
) -> None:
    made = plan(model="siamese", goals="match", options={"hidden": 8}, epochs=3)
    result = train(made, faces, workdir=tmp_path / "run", teacher=teacher)
    assert result.metric == "val/log_loss"
    assert result.options["dimension"] == teacher.dimension
    assert result.metrics["val/calibrated_log_loss"] <= result.metrics["val/log_loss"] + 1e-6
    head = registry.load("siamese", result.path, result.sha256)
    slope, offset = head.calibration.tolist()  # type: ignore[union-attr, operator]
    assert (slope, offset) == pytest.approx(
        (result.metrics["calibration/slope"], result.metrics["calibration/offset"])
    )
    again = train(made, faces, workdir=tmp_path / "again", teacher=teacher)
    assert again.sha256 == result.sha256


def test_a_detector_is_trained_on_scenes(plan: Plan, scenes: Snapshot, tmp_path: Path) -> None:
    made = plan(
        model="ssdlite", goals="detect", options={}, epochs=1, batch_size=2, dataset="squares"
    )
    result = train(made, scenes, workdir=tmp_path / "run")
    assert result.metric == "val/ap50"
    assert 0.0 <= result.metric_value <= 1.0
    assert len(result.curves["train/loss_step"]) == 2
    network = registry.load("ssdlite", result.path, result.sha256)
    (found,) = network.find([torch.zeros(3, 64, 64, dtype=torch.uint8)])  # type: ignore[operator]
    assert found["landmarks"].shape[1:] == (5, 2)


def test_softmax_trains_the_classifier_of_deepface(
    plan: Plan, faces: Snapshot, tmp_path: Path
) -> None:
    made = plan(
        model="deepface",
        goals="softmax",
        options={"dimension": 16, "width": 0.25},
        epochs=1,
        batches_per_epoch=1,
    )
    result = train(made, faces, workdir=tmp_path / "run")
    assert result.options["identities"] == 8
    network = registry.load("deepface", result.path, result.sha256)
    logits = network.classify(torch.zeros(2, 3, 112, 112))  # type: ignore[operator]
    assert logits.shape == (2, 8)


def test_scenes_are_read_in_any_order(scenes: Snapshot, tmp_path: Path) -> None:
    split = SceneSplit(scenes.scenes("train"), tmp_path / "pixels")
    listed = list(scenes.scenes("train"))
    assert (len(split), split.faces) == (4, 4)
    for row in (3, 0, 2):
        assert (split.pixels(row) == listed[row][0]).all()
    assert len(SceneSplit(scenes.scenes("train"), tmp_path / "few", limit=2)) == 2
