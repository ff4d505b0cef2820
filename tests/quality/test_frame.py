from __future__ import annotations

from datetime import UTC, datetime

import pytest

from facecore.errors import ShapeError
from facecore.quality.frame import JUDGED, MEASUREMENTS, gate_frame
from facecore.stages.measure import ImageMeasurements

GOOD = {
    "image_id": 5,
    "source": "cam",
    "captured_at": datetime(2024, 1, 1, tzinfo=UTC),
    "captured_from": "exif",
    "reject_code": None,
    **dict.fromkeys(MEASUREMENTS, 1.0),
}


def test_measurements_are_those_of_the_measuring_stage():
    assert MEASUREMENTS == ImageMeasurements.__slots__
    assert set(JUDGED) <= set(MEASUREMENTS)


def test_rows_come_in_order_with_defaults():
    frame = gate_frame([GOOD, GOOD | {"image_id": 2, "sightings": 3, "phash": -(2**63)}])
    assert frame["image_id"].tolist() == [2, 5]
    assert frame["sightings"].tolist() == [3, 1]
    assert frame["phash"][0] == -(2**63)
    assert frame["phash"].isna()[1]


def test_a_decoded_picture_without_a_measurement_is_not_accepted():
    rows = [
        GOOD | {"image_id": 1, "sharpness": None},
        GOOD | {"image_id": 2, "sharpness": float("nan")},
        GOOD | {"image_id": 3, "sharpness": None, "reject_code": "truncated"},
        GOOD | {"image_id": 4},
    ]
    codes = gate_frame(rows)["reject_code"].tolist()
    assert codes[:3] == ["not_measured", "not_measured", "truncated"]
    assert codes[3] is None


def test_times_far_from_today_are_kept():
    for year in (1601, 1970, 2262, 2999):
        when = datetime(year, 1, 2, tzinfo=UTC)
        assert gate_frame([GOOD | {"captured_at": when}])["captured_at"][0].year == year


def test_no_rows():
    assert gate_frame([]).empty


def test_wrong_rows_are_refused():
    with pytest.raises(ShapeError, match="source"):
        gate_frame([{k: v for k, v in GOOD.items() if k != "source"}])
    with pytest.raises(ShapeError, match="once"):
        gate_frame([GOOD, GOOD])
