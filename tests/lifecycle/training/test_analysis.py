"""Training an autoencoder and a forecaster: calibrated and reproducible."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch

from facecore.config import S3Settings
from facecore.errors import UsageError
from facecore.lifecycle.datasets.activity import ActivitySeries, build_activity
from facecore.lifecycle.datasets.building import Destination
from facecore.lifecycle.datasets.snapshot import Snapshot, open_snapshot
from facecore.lifecycle.datasets.splits import SplitPlan
from facecore.lifecycle.training.forecaster import pinball
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.run import train
from facecore.lifecycle.training.windows import ActivityWindows
from facecore.samples.history import hourly_history
from facecore.stores.objects import ObjectStore
from facecore.zoo import registry
from facecore.zoo.autoencoder import FaceAutoencoder
from facecore.zoo.lstm import ActivityLstm

Plan = Callable[..., TrainingPlan]


@pytest.fixture(scope="module")
def activity(bucket_settings: S3Settings) -> Snapshot:
    history = hourly_history(date(2026, 3, 1), 8, staff=6, faults=False)
    objects = ObjectStore(bucket_settings)
    destination = Destination(objects, f"activity-{uuid4().hex[:6]}")
    source = {"kind": "samples", "name": "sample cameras"}
    built = build_activity(
        destination, history.series, history.visits, source=source, plan=SplitPlan(0.15, 0.15)
    )
    return built.snapshot


def test_an_autoencoder_learns_and_knows_what_is_ordinary(
    plan: Plan, faces: Snapshot, tmp_path: Path
) -> None:
    made = plan(
        model="autoencoder",
        goals="reconstruct",
        options={"code": 32, "width": 0.25},
        augmentation="none",
        epochs=3,
    )
    result = train(made, faces, workdir=tmp_path / "run")
    losses = [value for _, value in result.curves["train/loss_epoch"]]
    assert losses[-1] < losses[0]
    errors = [value for _, value in result.curves["val/error"]]
    assert result.metric_value == pytest.approx(min(errors))
    network = registry.load("autoencoder", result.path, result.sha256)
    assert isinstance(network, FaceAutoencoder)
    assert float(network.calibrated_on) == result.metrics["calibration/crops"] > 0
    crops = torch.from_numpy(faces.crops("val")[0]).permute(0, 3, 1, 2)
    ranks = network.rank(network.distance(network.features(crops)[0]))
    assert ranks.min() < 0.2
    assert ranks.max() > 0.8
    again = train(made, faces, workdir=tmp_path / "again")
    assert again.sha256 == result.sha256


def test_a_forecaster_learns_and_its_intervals_cover_what_they_promise(
    plan: Plan, activity: Snapshot, tmp_path: Path
) -> None:
    made = plan(
        model="lstm",
        goals="forecast",
        dataset=activity.name,
        options={"hidden": 4},
        epochs=2,
        batches_per_epoch=6,
    )
    result = train(made, activity, workdir=tmp_path / "run")
    assert {"val/gap_pinball", "val/coverage"} <= set(result.metrics)
    assert 0.85 <= result.metrics["val/coverage"] <= 1.0
    network = registry.load("lstm", result.path, result.sha256)
    assert isinstance(network, ActivityLstm)
    assert (network.trained_on > 0).all()
    again = train(made, activity, workdir=tmp_path / "again")
    assert again.sha256 == result.sha256


def test_a_snapshot_of_activity_is_read_as_it_was_written(activity: Snapshot) -> None:
    history = hourly_history(date(2026, 3, 1), 8, staff=6, faults=False)
    truth = {one.source: one for one in history.series}
    counted = [one for one in activity.series("test") if one.kind == "counts"]
    assert {one.name for one in counted} == set(truth)
    for one in counted:
        assert np.array_equal(one.values, truth[one.name].counts)
        assert one.counts.start == truth[one.name].start
        assert one.last == len(one.values)
        assert one.hour_of_day(one.first) == 0
    bounds = [
        (one.first, one.last)
        for split in ("train", "val", "test")
        for one in activity.series(split)
        if one.name == "lobby"
    ]
    assert [a[1] for a in bounds[:-1]] == [b[0] for b in bounds[1:]]  # nothing twice, no hole
    people = {one.name: one for one in activity.series("train") if one.kind == "visits"}
    person = history.visits[0]
    np.testing.assert_allclose(people[person.person].gaps, person.gaps, atol=1e-6)
    first = person.at[1]
    expected = first.weekday() * 24 + first.hour
    assert people[person.person].hours_of_week_after_gaps[0] == expected
    with pytest.raises(UsageError, match="holds activity"):
        next(activity.scenes("train"))


def test_windows_look_back_and_not_ahead() -> None:
    hours = 60 * 24
    values = np.arange(hours, dtype=np.float64)
    one = ActivitySeries("counts", "door", values, datetime(2026, 3, 2), 40 * 24, hours)
    windows = ActivityWindows([one], 24, stride=24)
    assert len(windows) == 20
    counts, hour, ahead, gaps, _, gap = windows[(0, 0)]
    assert ahead.tolist() == values[40 * 24 : 41 * 24].tolist()
    assert counts[-1] == values[40 * 24 - 1]
    assert int(hour) == 5 * 24  # forty days after a Monday
    assert gaps.isnan().all()
    assert gap.isnan()
    windows.limit(5)
    assert len(windows) == 5
    unknown = ActivitySeries("counts", "door", np.full(hours, np.nan), one.start, 0, hours)
    assert len(ActivityWindows([unknown], 24, stride=1)) == 0
    holes = ActivityWindows([one], 24, stride=1, blank=True)
    blanked = [holes[(3, seed)][0].isnan().sum().item() for seed in range(40)]
    known = min(blanked)
    assert set(blanked) == {known, known + 24}


def test_a_data_set_without_windows_is_refused(
    plan: Plan, bucket_settings: S3Settings, tmp_path: Path
) -> None:
    history = hourly_history(date(2026, 3, 1), 7, staff=2, faults=False)
    unknown = [
        type(one)(one.source, one.start, np.full(len(one), np.nan)) for one in history.series
    ]
    objects = ObjectStore(bucket_settings)
    name = f"nothing-{uuid4().hex[:6]}"
    source = {"kind": "samples", "name": "nothing"}
    build_activity(Destination(objects, name), unknown, (), source=source)
    made = plan(model="lstm", goals="forecast", dataset=name, options={}, epochs=1)
    with pytest.raises(UsageError, match="too few"):
        train(made, open_snapshot(objects, name), workdir=tmp_path / "run")


def test_pinball_is_that_of_the_definition() -> None:
    quantiles = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    truth = 3.5
    expected = np.mean(
        [
            max(q * (truth - v), (q - 1) * (truth - v))
            for q, v in zip(levels, range(1, 6), strict=True)
        ]
    )
    assert pinball(quantiles, torch.tensor([truth])).item() == pytest.approx(expected)
    assert pinball(quantiles, torch.tensor([torch.nan])).isnan().all()
