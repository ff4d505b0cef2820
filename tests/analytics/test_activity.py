from __future__ import annotations

import json
from itertools import pairwise

import pandas as pd
import pytest

from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.metrics import DETECTION_SCORE, face_metrics, image_metrics
from facecore.config import GateSettings
from facecore.errors import ShapeError


def test_json_holds_exactly_the_planted_numbers(report: ActivityReport, hostile) -> None:
    numbers = json.loads(report.as_json())
    assert numbers["schema"] == "facecore.report.activity/2"
    assert numbers["period"] == {
        "start": "2026-03-01T00:00:00+01:00",
        "end": "2026-03-05T00:00:00+01:00",
        "timezone": "Europe/Berlin",
    }
    assert numbers["totals"] == {
        "sightings": 23, "images": 20, "exact_duplicates": 3, "near_duplicates": 2, "stored": 1,
        "accepted": 2, "quarantined": 4, "extracted": 12, "erased": 1, "images_with_faces": 8,
        "faces": 15, "accept": 7, "review": 1, "unknown": 4, "not_compared": 3, "people": 2,
    }  # fmt: skip
    assert numbers["bins"] == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
    assert numbers["arrivals"] == [
        {"source": "gate", "sightings": [10, 0, 3, 0], "images": [10, 0, 2, 0]},
        {"source": hostile[0], "sightings": [7, 0, 0, 0], "images": [5, 0, 0, 0]},
        {"source": None, "sightings": [0, 0, 3, 0], "images": [0, 0, 3, 0]},
    ]
    assert numbers["outcomes"] == {
        "accept": [6, 0, 1, 0],
        "review": [1, 0, 0, 0],
        "unknown": [0, 0, 4, 0],
        "not_compared": [0, 0, 3, 0],
    }
    assert numbers["faces_per_image"] == [4, 5, 2, 0, 0, 0, 1, 0, 0, 0, 0]
    assert numbers["reasons"] == [
        {"code": "too_dark", "images": 3},
        {"code": "a_code-from-elsewhere", "images": 2},
    ]
    assert [row["weekday"] for row in numbers["heat"]] == [1, 2, 3, 7]
    assert numbers["heat"][1]["faces"][17] == 8
    assert sum(sum(row["images"]) for row in numbers["heat"]) == 20
    assert numbers["thresholds"] == [
        {"value": 0.363, "faces": 12, "gallery_min": 3, "gallery_max": 5}
    ]
    ada = numbers["people"][0]
    assert (ada["label"], ada["images"], ada["crop_index"]) == ("Ada Lovelace", 4, 3)
    assert numbers["people"][0]["first_at"] == "2026-03-03T11:30:00+01:00"
    assert numbers["lineage"]["runs"][0]["run_ids"] == ["run-1", "run-2"]


def test_histogram_keeps_every_value_and_shows_where_the_limits_are(
    report: ActivityReport,
) -> None:
    brightness = next(h for h in report.image_quality if h.key == "brightness")
    assert brightness.measured == sum(b.count for b in brightness.bins) == 16
    assert (brightness.mean, brightness.low, brightness.high) == (99.0, 4.0, 127.0)
    counted = {(b.low, b.high): b.count for b in brightness.bins if b.count}
    assert counted == {(0.0, 16.0): 3, (112.0, 128.0): 13}
    # The axis reaches from the lower limit (16) to the upper one (242), and bins are seamless.
    assert brightness.bins[-1].high is not None
    assert brightness.bins[-1].high >= 242
    for left, right in pairwise(brightness.bins):
        assert left.high == right.low


def test_scores_keep_their_outcome(report: ActivityReport) -> None:
    found = {
        (b.low, b.high): (b.accept, b.review, b.unknown)
        for b in report.scores
        if b.accept + b.review + b.unknown
    }
    assert found == {(0.64, 0.68): (7, 0, 0), (0.4, 0.44): (0, 1, 0), (0.04, 0.08): (0, 0, 4)}


def test_values_below_and_above_all_edges_are_shown(
    frames: dict[str, pd.DataFrame], report_of
) -> None:
    edges = next(m.edges for m in image_metrics(GateSettings()) if m.key == "pixels")
    frames["image_quality"] = pd.DataFrame(
        [("pixels", 0, 2, 20.0, 5.0, 15.0), ("pixels", len(edges), 1, 1e9, 1e9, 1e9)],
        columns=["metric", "bucket", "n", "total", "low", "high"],
    )
    pixels = next(h for h in report_of(frames).image_quality if h.key == "pixels")
    assert (pixels.bins[0].low, pixels.bins[0].count) == (None, 2)
    assert (pixels.bins[-1].high, pixels.bins[-1].count) == (None, 1)


def test_numbers_do_not_depend_on_when_the_report_is_made(
    frames: dict[str, pd.DataFrame], report_of
) -> None:
    assert report_of(frames).as_json() == report_of(frames).as_json()


def test_empty_period_has_zeros_and_no_division(empty_report: ActivityReport) -> None:
    assert empty_report.is_empty
    assert empty_report.totals.compared == 0
    assert empty_report.known_to == "2026-03-03T11:30:00+01:00"
    assert all(
        h.measured == 0 and h.mean is None and not h.bins for h in empty_report.image_quality
    )


def test_missing_frame_or_column_is_named(frames: dict[str, pd.DataFrame], report_of) -> None:
    without = {name: one for name, one in frames.items() if name != "scores"}
    with pytest.raises(ShapeError, match="scores"):
        report_of(without)
    frames["people"] = frames["people"].drop(columns="crop_key")
    with pytest.raises(ShapeError, match="crop_key"):
        report_of(frames)


def test_metrics_are_measured_under_these_names() -> None:
    from dataclasses import fields

    from facecore.stages.face_quality import FaceQuality
    from facecore.stages.measure import ImageMeasurements

    measured = {field.name for field in fields(ImageMeasurements)}
    assert {metric.key for metric in image_metrics(GateSettings())} <= measured
    of_faces = {field.name for field in fields(FaceQuality)} | {DETECTION_SCORE}
    assert {metric.key for metric in face_metrics(0.6)} <= of_faces


@pytest.mark.parametrize(
    "metric", [*image_metrics(GateSettings()), *face_metrics(0.6)], ids=lambda m: m.key
)
def test_edges_rise_strictly(metric) -> None:
    assert all(a < b for a, b in pairwise(metric.edges))


def test_detection_score_is_drawn_with_its_threshold() -> None:
    (score,) = [m for m in face_metrics(0.6) if m.key == DETECTION_SCORE]
    assert [limit.value for limit in score.limits] == [0.6]
