"""What clustering, forecasts and the autoencoder found stands in the report of its period."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from facecore.jobs.faces.crops import write_pack
from facecore.jobs.lineage import RunContext
from facecore.jobs.reports import report
from facecore.jobs.stores import Stores
from facecore.stores.catalog.models import active
from facecore.stores.catalog.reports import forecasts
from facecore.stores.catalog.reports.forecasts import ForecastRow
from facecore.types import FaceCrops

AT = datetime(2026, 5, 4, 10, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 5, 5)
FORECAST = ForecastRow(
    MIDNIGHT, "UTC", "weekly mean", False, None,
    {
        "choice": {
            "reason": "weekly mean is used, because the learned model has a higher error.",
            "left_out": {"yard": "3 days are known; 14 are needed"},
        },
        "trends": [
            {"source": "gate", "direction": "rising", "per_week": 0.05, "low": 0.01, "high": 0.09},
        ],
        "clock_ahead": {},
    },
    [("gate", MIDNIGHT + timedelta(hours=h), [0.0, 1.0, 2.0 + h, 4.0, 6.0 + h]) for h in range(3)],
    None,
)  # fmt: skip


@pytest.fixture
def analysed(stores: Stores) -> Iterator[Stores]:
    """Four faces: three of a proposed person, one of them unusual; a camera that was off."""
    pixels = np.random.default_rng(1).integers(0, 256, (4, 112, 112, 3), np.uint8)
    write_pack(stores.objects, "sections.safetensors", FaceCrops(pixels))
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        pair = active.current(tx)
        cursor.execute("TRUNCATE activity_flag, forecast CASCADE")
        forecasts.record(tx, FORECAST)
        cursor.execute(
            "INSERT INTO image (sha256, bucket, object_key, source, captured_at, captured_from, "
            "bytes, status) VALUES (repeat('a', 64), 'images', 'a', 'gate', %s, 'key', 1, "
            "'extracted') RETURNING id",
            [AT],
        )
        ((image_id,),) = cursor.fetchall()
        cursor.execute(
            "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
            "captured_at) VALUES (%s, 'landing', 'a', '1', 'gate', %s)",
            [image_id, AT],
        )
        cursor.execute(
            "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
            "crop_index) SELECT %s, %s, n, '{0,0,9,9}', 0.9, 'sections.safetensors', n "
            "FROM generate_series(0, 3) AS n RETURNING id",
            [image_id, pair.detector.id],
        )
        faces = [row[0] for row in cursor]
        cursor.execute(
            "INSERT INTO person (label, kind, named) VALUES ('Person 7', 'discovered', false) "
            "RETURNING id"
        )
        ((person,),) = cursor.fetchall()
        cursor.execute(
            "INSERT INTO assignment (face_id, person_id, outcome, source, score, "
            "model_version_id) SELECT face, %s, CASE WHEN n < 4 THEN 'accept' ELSE 'review' END, "
            "'cluster', 0.6, %s FROM unnest(%s::bigint[]) WITH ORDINALITY AS f (face, n)",
            [person, pair.embedder.id, faces],
        )
        cursor.execute(
            "INSERT INTO activity_flag (source, kind, starts_at, ends_at, timezone, observed, "
            "expected, severity, evidence) VALUES ('yard', 'camera_off', '2026-05-04 08:00', "
            "'2026-05-04 12:00', 'UTC', 0, 31.5, 31, 'nothing came where 31 were due')"
        )
        cursor.execute(
            "INSERT INTO model_version (task, name, version, contract, weights_sha256, state) "
            "SELECT 'reconstruct', 'sections', 1, 'c', repeat('b', 64), 'active' "
            "WHERE NOT EXISTS (SELECT FROM model_version "
            "WHERE task = 'reconstruct' AND state = 'active')"
        )
        cursor.execute(
            "INSERT INTO face_anomaly (model_version_id, face_id, error, distance, rank) "
            "SELECT m.id, face, 9, n, CASE WHEN n = 1 THEN 0.999 ELSE 0.4 END "
            "FROM model_version AS m, unnest(%s::bigint[]) WITH ORDINALITY AS f (face, n) "
            "WHERE m.task = 'reconstruct' AND m.state = 'active'",
            [faces],
        )
    yield stores
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("TRUNCATE face_anomaly, activity_flag, forecast CASCADE")
        cursor.execute("DELETE FROM model_version WHERE name = 'sections'")


def test_the_report_shows_them(analysed: Stores, context: Callable[[str], RunContext]) -> None:
    made = report.build(context("report"), AT, "2026-05-04", stores=analysed)
    numbers = json.loads(analysed.objects.get("reports", made["json"]))["sections"]
    assert numbers["proposed-people-section"] == {"people": 1, "faces": 3, "review": 1}
    assert numbers["unusual"] == {"scored": 4, "unusual": 1}
    (flag,) = numbers["not-as-due"]["flags"]
    assert (flag["source"], flag["kind"], flag["expected"]) == ("yard", "camera_off", 31.5)
    due = numbers["due"]
    assert (due["method"], due["learned"], due["origin"]) == (
        "weekly mean", False, "2026-05-05T00:00:00",
    )  # fmt: skip
    assert due["sources"] == [{"source": "gate", "due": 9.0, "trend_per_week": 0.05}]
    assert due["left_out"] == {"yard": "3 days are known; 14 are needed"}
    page = analysed.objects.get("reports", made["html"]).decode()
    assert "So the numbers are a baseline" in page
    assert "because the learned model has a higher error" in page
    assert "rising, +5.0 % a week (+1.0 to +9.0)" in page
    assert "nothing came where 31 were due" in page
    assert "Unusual face of source gate" in page
    again = report.build(context("report"), AT, "2026-05-04", stores=analysed)
    assert analysed.objects.get("reports", again["html"]).decode() == page


def test_other_periods_say_nothing_of_them(
    analysed: Stores, context: Callable[[str], RunContext]
) -> None:
    made = report.build(context("report"), AT + timedelta(days=9), stores=analysed)
    assert json.loads(analysed.objects.get("reports", made["json"]))["sections"] == {}
