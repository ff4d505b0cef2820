"""Forecasts from the catalogue: chosen, stored, flagged, also where there is little to go by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import torch
from psycopg2.extras import execute_values

from facecore.config import ReportSettings
from facecore.errors import UsageError
from facecore.jobs.lineage import RunContext
from facecore.jobs.models import analysis_models
from facecore.jobs.reports import forecast
from facecore.jobs.reports.activity_series import read_counts, read_visits
from facecore.jobs.stores import Stores
from facecore.jobs.training import train as training
from facecore.jobs.training.dataset import DatasetBuilder
from facecore.lifecycle.datasets import Snapshot, SplitPlan
from facecore.samples.history import History, hourly_history
from facecore.stores.catalog.models import models
from facecore.stores.catalog.reports import alerts

LAST = date(2026, 3, 1)
MOMENT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def history() -> History:
    return hourly_history(LAST, 7, staff=24)


@pytest.fixture(scope="module")
def data(ready: Stores) -> Snapshot:
    builder = DatasetBuilder(
        RunContext("test", uuid4().hex, "dataset"), f"activity-{uuid4().hex[:6]}", stores=ready
    )
    built = builder.activity(LAST, weeks=8, simulated=True, plan=SplitPlan(0.15, 0.15))
    again = builder.activity(LAST, weeks=8, simulated=True, plan=SplitPlan(0.15, 0.15))
    assert not again.new
    return built.snapshot


def context() -> RunContext:
    return RunContext("forecast_activity", f"run-{uuid4().hex[:8]}", "forecast")


def place(stores: Stores, rows: list[tuple[str, datetime, int]]) -> None:
    """An image per (source, moment) with so many faces."""
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        detector = models.active(tx, "detect").id
        marks = [uuid4().hex * 2 for _ in rows]
        ids = execute_values(
            cursor,
            "INSERT INTO image (sha256, bucket, object_key, source, captured_at, captured_from, "
            "bytes, status) VALUES %s RETURNING id",
            [
                (mark, "images", "x", source, at, "exif", 1, "extracted")
                for mark, (source, at, _) in zip(marks, rows, strict=True)
            ],
            page_size=10_000,
            fetch=True,
        )
        execute_values(
            cursor,
            "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
            "captured_at, captured_from) VALUES %s",
            [
                (image, "landing", mark, "e", source, at, "exif")
                for (image,), mark, (source, at, _) in zip(ids, marks, rows, strict=True)
            ],
        )
        execute_values(
            cursor,
            "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
            "crop_index) VALUES %s",
            [
                (image, detector, number, [0, 0, 9, 9], 0.9, "pack", 0)
                for (image,), (_, _, faces) in zip(ids, rows, strict=True)
                for number in range(faces)
            ],
        )


def rows_of(history: History) -> list[tuple[str, datetime, int]]:
    return [
        (one.source, one.at(hour).replace(tzinfo=UTC, minute=7), int(count))
        for one in history.series
        for hour, count in enumerate(one.counts)
        if count
    ]


def nothing_in_use(stores: Stores) -> None:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("UPDATE model_version SET state = 'retired' WHERE task = 'forecast'")


def test_the_catalogue_gives_the_counts_that_were_put_in(stores: Stores, history: History) -> None:
    place(stores, rows_of(history))
    found = read_counts(stores, datetime(2026, 3, 2), "UTC")
    expected = {one.source: one for one in history.series}
    assert {one.source for one in found} == set(expected)
    for one in found:
        truth = expected[one.source]
        first = truth.index(one.start)
        assert one.counts.tolist() == truth.counts[first:].tolist()


def test_planted_faults_become_flags_and_alerts_and_the_forecast_is_kept(
    stores: Stores, history: History
) -> None:
    nothing_in_use(stores)
    place(stores, rows_of(history))
    result = forecast.forecast(context(), MOMENT, stores=stores)
    assert not result["learned"]
    assert "no learned model" in result["reason"]
    assert (result["sources"], result["forecast"]) == (4, 4)
    again = forecast.forecast(context(), MOMENT, stores=stores)
    assert {**again} == {**result}
    kept = forecast.newest(stores)
    assert kept is not None
    assert len(kept["hours"]) == 4 * 24
    assert kept["hours"][0][1] == datetime(2026, 3, 2)
    for fault in history.faults:
        assert any(
            (flag["kind"], flag["source"]) == (fault.kind, fault.source)
            and flag["starts_at"] < fault.end
            and fault.start < flag["ends_at"]
            for flag in kept["flags"]
        ), fault
    assert len(kept["flags"]) <= len(history.faults) + 2
    assert {trend["source"] for trend in kept["evidence"]["trends"]} == {
        one.source for one in history.series
    }


def test_a_new_flag_is_an_alert(stores: Stores) -> None:
    nothing_in_use(stores)
    busy = hourly_history(LAST, 6, staff=24, faults=False)
    off = datetime(2026, 2, 27, tzinfo=UTC)  # a Friday
    rows = [row for row in rows_of(busy) if row[0] != "lobby" or row[1] < off]
    place(stores, rows)
    forecast.forecast(context(), MOMENT, stores=stores)
    with stores.catalog.transaction() as tx:
        found = {(one.kind, one.subject): one for one in alerts.open_alerts(tx)}
    told = found["activity_camera_off", "source/lobby"]
    assert told.severity == "critical"
    assert told.evidence["expected"] > 10


@pytest.mark.parametrize("days", [0, 1, 10])
def test_an_empty_or_short_history_is_said(stores: Stores, days: int) -> None:
    nothing_in_use(stores)
    start = datetime(2026, 3, 2, tzinfo=UTC) - timedelta(days=days)
    place(stores, [("door", start + timedelta(hours=24 * d + 9), 2) for d in range(days)])
    result = forecast.forecast(context(), MOMENT, stores=stores)
    assert (result["forecast"], result["flags"]) == (0, 0)
    assert result["sources"] == (1 if days else 0)
    kept = forecast.newest(stores)
    assert kept is not None
    assert kept["hours"] == []
    if days:
        assert "14 are needed" in kept["evidence"]["choice"]["left_out"]["door"]


def test_a_source_that_is_gone_and_a_clock_that_is_ahead(stores: Stores) -> None:
    nothing_in_use(stores)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    rows = [
        ("gone", start + timedelta(days=day, hours=hour), 3)
        for day in range(30)
        for hour in range(8, 18)
    ]
    rows += [("here", start + timedelta(hours=hour), 3) for hour in range(56 * 24)]
    rows += [("ahead", MOMENT + timedelta(days=365), 1)]
    place(stores, rows)
    result = forecast.forecast(context(), MOMENT, stores=stores)
    kept = forecast.newest(stores)
    assert kept is not None
    assert {hour[0] for hour in kept["hours"]} == {"here"}  # a constant series is forecast
    assert {tuple(hour[2]) for hour in kept["hours"]} == {(3.0,) * 5}
    assert "silent since 2026-02-03" in kept["evidence"]["choice"]["left_out"]["gone"]
    assert kept["evidence"]["clock_ahead"] == {"ahead": 1}
    assert result["clock_ahead"] == 1
    with stores.catalog.transaction() as tx:
        assert "activity_clock_ahead" in {one.kind for one in alerts.open_alerts(tx)}


def test_hours_that_a_wall_clock_skips_or_repeats_are_unknown(job_settings: Any) -> None:
    berlin = job_settings.model_copy(update={"report": ReportSettings(timezone="Europe/Berlin")})
    stores = Stores(berlin)
    for day, hour in ((date(2026, 3, 29), 2), (date(2026, 10, 25), 2)):
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        place(stores, [(f"door-{day}", noon, 1)])
        end = datetime(day.year, day.month, day.day) + timedelta(days=1)
        (one,) = (s for s in read_counts(stores, end, "Europe/Berlin") if s.source == f"door-{day}")
        unknown = [i for i, value in enumerate(one.counts) if np.isnan(value)]
        assert unknown == [hour]
        assert np.nansum(one.counts) == 1


def test_a_forecaster_is_trained_registered_and_used_only_if_it_wins(
    stores: Stores, data: Snapshot, history: History
) -> None:
    assert data.kind == "activity"
    assert set(data.splits) == {"train", "val", "test"}
    assert sum(part.kind == "counts" for part in data.series("test")) == 4
    (plan,) = training.plan_runs(
        {
            "model": "lstm",
            "goals": "forecast",
            "dataset": data.name,
            "options": {"hidden": 4},
            "epochs": 1,
            "batches_per_epoch": 4,
            "batch_size": 8,
            "device": "cpu",
            "threads": 1,
        },
        stores=stores,
    )
    made = RunContext("test", f"lstm-{uuid4().hex[:6]}", "train")
    result = training.train_challenger(made, plan, stores=stores)
    assert {"mase", "coverage", "wins", "mase_seasonal_naive", "mase_holt_winters"} <= set(
        result["test"]
    )
    (version,) = result["versions"]
    name, _, number = version.rpartition("/")
    assert name == "activity-forecaster"
    info = stores.registry.version(name, int(number))
    (answered,) = stores.registry.pyfunc(info).predict(
        pd.DataFrame({"counts": [[1.0] * 700], "hour_of_week": [3]})
    )
    assert len(answered["quantiles"]) == 24
    assert analysis_models.activate(
        name, int(number), actor="tester", reason="a test", stores=stores
    )
    place(stores, rows_of(history))
    said = forecast.forecast(context(), MOMENT, stores=stores)
    kept = forecast.newest(stores)
    assert kept is not None
    methods = [score["method"] for score in kept["evidence"]["choice"]["scores"]]
    assert set(methods) == {"LSTM", "seasonal naive", "weekly mean", "Holt-Winters"}
    assert said["learned"] == (said["method"] == "LSTM")
    assert (kept["model_version_id"] is not None) == said["learned"]
    due = forecast.people_due(MOMENT, stores=stores)
    assert due["people"] == []
    nothing_in_use(stores)


def test_too_little_activity_is_no_data_set(stores: Stores) -> None:
    builder = DatasetBuilder(RunContext("test", uuid4().hex, "dataset"), "little", stores=stores)
    with pytest.raises(UsageError, match="no activity"):
        builder.activity(LAST, weeks=8)
    with pytest.raises(UsageError, match="too few"):
        builder.activity(LAST, weeks=4, simulated=True)
    assert read_visits(stores, datetime(2026, 3, 2), "UTC") == []
