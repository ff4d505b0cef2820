from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from facecore.config import GateSettings
from facecore.quality.batch import ALL_SOURCES, batch_frame
from facecore.quality.frame import gate_frame

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = GateSettings(batch_min_images=4)


@pytest.fixture
def table(row):
    def build(*changes: dict) -> dict[str, dict]:
        frame = gate_frame(row(n, source="cam") | change for n, change in enumerate(changes))
        batch = batch_frame(frame, [0], SETTINGS, NOW)
        return {found["source"]: found for found in batch.to_dict("records")}

    return build


def test_small_sources_are_judged_only_with_all_others(table):
    rows = [{"source": "big"}] * 4 + [{"source": "small"}] * 3
    found = table(*rows)
    assert list(found) == [ALL_SOURCES, "big"]
    assert found[ALL_SOURCES]["images"] == 7
    assert found[ALL_SOURCES]["rejected_share"] == pytest.approx(1 / 7)


def test_deliveries_of_one_picture_count_as_that_many(table):
    found = table({"sightings": 9, "phash": 1}, {"phash": 2**40 - 1})
    assert found["cam"]["images"] == 2
    assert found["cam"]["same_image_share"] == pytest.approx(0.9)


def test_pictures_within_three_bits_are_the_same(table):
    base = -(2**63) + 5
    hashes = [base, base, base ^ 0b111, base ^ (1 << 62), base ^ 0b1111, None]
    found = table(*({"phash": h} for h in hashes))
    assert found["cam"]["same_image_share"] == pytest.approx(4 / 6)


def test_sources_without_hashes_are_not_stuck(table):
    found = table(*[{"phash": None}] * 5)
    assert found["cam"]["same_image_share"] != found["cam"]["same_image_share"]  # NaN: unknown


@pytest.mark.parametrize(
    ("moment", "wrong"),
    [
        (NOW, False),
        (NOW + timedelta(hours=25), False),  # a camera that names no zone
        (NOW + timedelta(hours=27), True),
        (datetime(1990, 1, 1, tzinfo=UTC), False),
        (datetime(1989, 12, 31, 23, tzinfo=UTC), True),
        (datetime(2999, 1, 1, tzinfo=UTC), True),
    ],
)
def test_wrong_clocks(table, moment, wrong):
    found = table(*[{"captured_at": moment}] * 4)
    assert found["cam"]["wrong_clock_share"] == wrong
    assert found[ALL_SOURCES]["wrong_clock_share"] == wrong
