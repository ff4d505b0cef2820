from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecore.stages.provenance import trace

MODIFIED = datetime(2025, 1, 1, tzinfo=UTC)
EXIF = datetime(2024, 5, 6, 7, 8, 9)
METADATA = {"X-Amz-Meta-Captured-At": "2023-01-02T03:04:05Z", "x-amz-meta-source": "gate 7"}
KEY = "front door/2022/03/04/120000.jpg"


def test_witnesses_in_order():
    found = trace(KEY, last_modified=MODIFIED, exif_time=EXIF, metadata=METADATA)
    assert (found.captured_at, found.captured_from) == (EXIF.replace(tzinfo=UTC), "exif")
    found = trace(KEY, last_modified=MODIFIED, metadata=METADATA)
    assert found.captured_at == datetime(2023, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (found.captured_from, found.source) == ("metadata", "gate 7")
    found = trace(KEY, last_modified=MODIFIED)
    assert found.captured_at == datetime(2022, 3, 4, 12, tzinfo=UTC)
    assert (found.captured_from, found.source) == ("key", "front door")
    found = trace("a.jpg", last_modified=MODIFIED)
    assert (found.captured_at, found.captured_from, found.source) == (
        MODIFIED,
        "modified",
        "unknown",
    )


@pytest.mark.parametrize(
    ("key", "source", "captured_at"),
    [
        ("cam/2024/05/06/x.jpg", "cam", datetime(2024, 5, 6)),
        ("cam/2024/05/06/07/x.jpg", "cam", datetime(2024, 5, 6, 7)),
        ("cam/2024/05/06/23-59-58_a b.jpg", "cam", datetime(2024, 5, 6, 23, 59, 58)),
        ("cam/2024/05/06/255959.jpg", "cam", datetime(2024, 5, 6)),
        ("cam/2024/05/06/1234567.jpg", "cam", datetime(2024, 5, 6)),
        ("site/cam/2024/05/06/x.jpg", "site", datetime(2024, 5, 6)),
        ("2024/05/06/x.jpg", "unknown", datetime(2024, 5, 6)),
        ("cam/2024/13/06/x.jpg", "cam", None),
        ("../../etc/passwd", "etc", None),
        ("//x//y.jpg", "x", None),
        ("门 1/😀.jpg", "门 1", None),
        ("a\x00b\n/x.jpg", "a_b_", None),
    ],
)
def test_keys(key, source, captured_at):
    found = trace(key, last_modified=MODIFIED)
    assert found.source == source
    expected = MODIFIED if captured_at is None else captured_at.replace(tzinfo=UTC)
    assert found.captured_at == expected


def test_a_prefix_is_not_the_source():
    found = trace("incoming/cam/x.jpg", last_modified=MODIFIED, prefix="incoming/")
    assert found.source == "cam"


def test_the_gallerys_own_source_is_not_given_to_deliveries():
    """Reports leave it out: a camera of that name would count nowhere."""
    found = trace("enrolment/2024/05/06/x.jpg", last_modified=MODIFIED)
    assert (found.source, found.captured_from) == ("enrolment_", "key")
    metadata = {"source": " enrolment"}
    assert trace("x", last_modified=MODIFIED, metadata=metadata).source == "enrolment_"


def test_naive_clocks_tick_in_the_given_zone_and_aware_ones_do_not():
    zone = timezone(timedelta(hours=2))
    assert trace("x", last_modified=MODIFIED, exif_time=EXIF, zone=zone).captured_at == (
        EXIF.replace(tzinfo=zone)
    )
    aware = EXIF.replace(tzinfo=UTC)
    assert trace("x", last_modified=MODIFIED, exif_time=aware, zone=zone).captured_at == aware


@pytest.mark.parametrize("text", ["", "soon", "2023-99-01", "nan", "9" * 40])
def test_unreadable_metadata_falls_through(text):
    found = trace("x", last_modified=MODIFIED, metadata={"captured-at": text})
    assert found.captured_from == "modified"


@pytest.mark.parametrize("text", ["1700000000", "1700000000.5", "20231114", "2023-11-14"])
def test_readable_metadata(text):
    found = trace("x", last_modified=MODIFIED, metadata={"timestamp": text})
    assert (found.captured_from, found.captured_at.date().isoformat()) == ("metadata", "2023-11-14")


def test_absurd_camera_clocks_are_kept_for_the_gate_to_find():
    wrong = datetime(2099, 1, 1)
    assert trace("x", last_modified=MODIFIED, exif_time=wrong).captured_at.year == 2099


@pytest.mark.parametrize("year", [1, 1899, 9999])
def test_years_that_are_no_times_fall_through(year):
    wrong = datetime(year, 6, 1)
    found = trace(KEY, last_modified=MODIFIED, exif_time=wrong)
    assert (found.captured_from, found.captured_at.year) == ("key", 2022)
    metadata = {"captured-at": wrong.isoformat()}
    found = trace(f"cam/{year:04}/06/01/x.jpg", last_modified=MODIFIED, metadata=metadata)
    assert (found.captured_from, found.captured_at) == ("modified", MODIFIED)


@given(st.text(max_size=80), st.dictionaries(st.text(max_size=12), st.text(max_size=40)))
def test_any_key_and_metadata_give_an_answer(key, metadata):
    found = trace(key, last_modified=MODIFIED, metadata=metadata)
    assert found.captured_at.tzinfo is not None
    assert 1 <= len(found.source) <= 128
    assert found.source.isprintable()
    assert found.source not in ("", ".", "..")
