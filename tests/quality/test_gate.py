"""The gate with real Great Expectations."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest

from facecore.config import GateSettings
from facecore.errors import QualityGateFailed, ShapeError
from facecore.quality.frame import gate_frame
from facecore.quality.gate import Reason, run_gate
from facecore.stages.measure import measure

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = GateSettings()


def gate(rows: list[dict], settings: GateSettings = SETTINGS, **options):
    return run_gate(gate_frame(rows), settings, now=NOW, **options)


def test_good_pictures_pass(row):
    result = gate([row(n) for n in range(40)])
    assert result.accepted == list(range(40))
    assert result.rejected == {}
    assert result.statistics["batch_checked"]
    assert result.batch_failures == {}
    assert result.data_docs is None
    result.require_healthy()


def test_every_reason_of_every_picture_is_given(row, undecoded):
    rows = [row(n) for n in range(30)]
    rows[3] |= {"sharpness": 0.1}
    rows[4] |= {"brightness": 3.0, "contrast": 1.0, "dynamic_range": 2.0, "sharpness": 0.0}
    rows[5] |= {"short_side": 40, "aspect": 9.0, "brightness": 250.0, "bits_per_pixel": 0.01}
    rows[6] = undecoded(6, "truncated")
    rows[7] = undecoded(7, "too_many_pixels", reject_detail="50,000 × 50,000 pixels")
    result = gate(rows)
    assert result.rejected[3] == [Reason("too_blurred", "sharpness 0.1 is below 0.32", 0.1, 0.32)]
    assert [r.code for r in result.rejected[4]] == [
        "too_blurred",
        "too_dark",
        "low_contrast",
        "low_dynamic_range",
    ]
    assert [r.code for r in result.rejected[5]] == [
        "too_small",
        "extreme_aspect",
        "too_bright",
        "over_compressed",
    ]
    assert result.rejected[6] == [Reason("truncated", "The file ends before the image does.")]
    assert result.rejected[7][0].detail == "50,000 × 50,000 pixels"
    assert list(result.rejected) == [3, 4, 5, 6, 7]
    assert result.accepted == [0, 1, 2, *range(8, 30)]
    assert result.statistics["by_reason"]["too_blurred"] == 2
    assert result.statistics["rejected_share"] == pytest.approx(5 / 30, abs=1e-4)
    json.dumps([r.as_dict() for found in result.rejected.values() for r in found])


def test_limits_are_inclusive(row):
    edges = {"short_side": 64, "aspect": 5.0, "sharpness": 0.32, "brightness": 16.0}
    assert gate([row(1, **edges), row(2, brightness=242.0)]).accepted == [1, 2]


def test_measurements_of_real_arrays_pass_through(row):
    rng = np.random.default_rng(0)
    blocks = rng.integers(20, 235, (50, 50, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    black = np.zeros((400, 400, 3), np.uint8)
    rows = [row(n, **measure(image, 20_000).as_dict()) for n, image in enumerate((blocks, black))]
    result = gate(rows)
    assert result.accepted == [0]
    assert "too_dark" in [r.code for r in result.rejected[1]]


def test_unjudged_pictures_are_never_accepted(row):
    result = gate([row(1, contrast=None), row(2)])
    assert [r.code for r in result.rejected[1]] == ["not_measured"]


def test_duplicates_are_counted_and_not_rejected(row):
    rows = [row(n, phash=n % 7 * 2**40) for n in range(30)]
    rows[0]["sightings"] = 4
    result = gate(rows)
    assert result.accepted == list(range(30))
    assert result.statistics["duplicate_deliveries"] == 3


def test_small_batches_skip_batch_checks_and_say_so(undecoded):
    result = gate([undecoded(n, "not_an_image") for n in range(19)])
    assert len(result.rejected) == 19
    assert not result.statistics["batch_checked"]
    assert "19 deliveries are fewer than the 20" in result.statistics["batch_note"]
    result.require_healthy()


def test_too_many_rejected_fails_the_batch_with_statistics(row, undecoded):
    rows = [row(n) if n % 3 == 0 else undecoded(n, "truncated") for n in range(30)]
    result = gate(rows)
    assert result.batch_failures == {"too_many_rejected": {"(all sources)": 0.6667}}
    with pytest.raises(QualityGateFailed) as caught:
        result.require_healthy()
    assert caught.value.statistics["by_reason"] == {"truncated": 20}
    assert caught.value.failed == result.batch_failures
    assert "67%" in str(caught.value)
    assert not caught.value.retryable
    json.dumps(caught.value.statistics)


def test_exactly_the_tolerated_share_is_healthy(row, undecoded):
    rows = [row(n) if n % 2 else undecoded(n, "truncated") for n in range(30)]
    assert gate(rows).batch_failures == {}


def test_a_stuck_camera_fails_the_batch_and_names_the_source(row):
    rows = [row(n) for n in range(60)]
    for stuck in rows[1::2]:
        stuck["phash"] = 77
    assert gate(rows).batch_failures == {"stuck_camera": {"cam1": 1.0}}


def test_one_file_delivered_again_and_again_is_a_stuck_camera(row):
    assert gate([row(1, sightings=50)]).batch_failures == {"stuck_camera": {"cam1": 1.0}}


def test_a_wrong_clock_fails_the_batch(row):
    rows = [row(n) for n in range(200)]
    for wrong in rows[1::2]:
        wrong["captured_at"] = datetime(1980, 1, 1, tzinfo=UTC)
    failures = gate(rows).batch_failures
    assert failures == {"wrong_clock": {"(all sources)": 0.5, "cam1": 1.0}}
    few = [row(n) for n in range(40)]
    few[0]["captured_at"] = datetime(2080, 1, 1, tzinfo=UTC)
    assert gate(few).batch_failures == {}


def test_no_images():
    result = gate([])
    assert (result.accepted, result.rejected) == ([], {})
    assert not result.statistics["batch_checked"]


def test_the_same_table_gives_the_same_result(row):
    rows = [row(n, sharpness=0.1 + n % 5) for n in range(50)]
    first, second = gate(rows), gate(rows[::-1])
    assert first == second


def test_threads_do_not_mix(row):
    batches = [[row(n, sharpness=0.1 if n % k == 0 else 1.0) for n in range(30)] for k in (2, 3, 5)]
    alone = [gate(rows) for rows in batches]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(gate, batches)) == alone


def test_a_table_without_the_columns_is_refused(row):
    with pytest.raises(ShapeError, match="captured_at"):
        run_gate(gate_frame([row(1)]).drop(columns="captured_at"), SETTINGS)
