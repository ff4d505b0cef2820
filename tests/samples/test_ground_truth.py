"""Truth survives a round trip, and only truth is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from facecore.errors import UsageError
from facecore.samples.ground_truth import ExpectedFace, ExpectedImage, GroundTruth

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def truth() -> GroundTruth:
    face = ExpectedFace("Ann", (1.0, 2.0, 3.5, 4.0), True, True)
    images = (
        ExpectedImage("lobby/a.jpg", "0" * 64, "lobby", AT, "exif", faces=(face,)),
        ExpectedImage(
            "lobby/b.jpg", "0" * 64, "lobby", AT, "exif", faces=(face,), duplicate_of="lobby/a.jpg"
        ),
        ExpectedImage("lobby/ü.jpg", "1" * 64, "lobby", None, "key", "quarantined", ("empty",)),
    )
    return GroundTruth("t", 1, 1, "2026-03-04", ("Ann",), (), ("a note",), images)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    truth().save(path)
    assert GroundTruth.load(path) == truth()
    document = json.loads(path.read_text("utf-8"))
    assert document["totals"] == truth().totals()


def test_totals_count_distinct_images() -> None:
    totals = truth().totals()
    assert (totals["sightings"], totals["images"], totals["faces"]) == (3, 2, 1)
    assert totals["quarantined_by_reason"] == {"empty": 1}
    assert totals["frames_without_people"] == 0


@pytest.mark.parametrize("text", ["", "[]", '{"images": [{"key": "a"}]}', '{"images": []}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="not ground truth"):
        GroundTruth.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        GroundTruth.load(tmp_path / "none.json")
