"""Drift on real stores: measured, published, remembered, and the run fails with the evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from facecore.analytics.drift import canaries
from facecore.errors import ChangeRefused, DriftFound, NotFound
from facecore.jobs.lineage import RunContext
from facecore.jobs.models.champions import champions
from facecore.jobs.reports import drift as job
from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import alerts, drift

NOW = datetime(2026, 4, 6, 3, tzinfo=UTC)
Context = Callable[[str], RunContext]


@pytest.fixture
def fogged(stores: Stores) -> Stores:
    """Five weeks of two cameras; in the last week one is in fog and the other is off."""
    rng = np.random.default_rng(1)
    rows = []
    for hour in range(35 * 24):
        at = NOW.replace(hour=0) - timedelta(days=35) + timedelta(hours=hour, minutes=5)
        fog = hour >= 28 * 24
        for shot in range(2):
            sharpness = float(rng.normal(0.4 if fog else 1.0, 0.1))
            quality = {"sharpness": sharpness, "brightness": float(rng.normal(120, 20))}
            rows.append((at + timedelta(seconds=7 * shot), "gate", json.dumps(quality)))
        if not fog:
            rows.append((at, "yard", json.dumps({"brightness": float(rng.normal(120, 20))})))
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("TRUNCATE alert, canary, drift_check CASCADE")
        cursor.execute(
            "INSERT INTO image (sha256, bucket, object_key, source, captured_at, captured_from, "
            "bytes, status, quality) SELECT md5(s.n::text) || md5(s.n::text), 'images', 'x', "
            "source, at, 'key', 1, 'extracted', quality::jsonb "
            "FROM unnest(%s::timestamptz[], %s::text[], %s::text[]) "
            "WITH ORDINALITY AS s (at, source, quality, n)",
            [list(column) for column in zip(*rows, strict=True)],
        )
        cursor.execute(
            "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
            "captured_at) SELECT id, 'landing', id::text, '1', source, captured_at FROM image"
        )
    return stores


def test_what_drifted_fails_the_run_with_evidence(fogged: Stores, context: Context) -> None:
    measured = job.measure(context("measure"), NOW, stores=fogged)
    assert measured["drifted"] >= 3
    with pytest.raises(DriftFound, match="yard delivered nothing") as caught:
        job.judge(measured["check"], fogged)
    error = caught.value
    assert not error.retryable
    assert error.report == measured["html"]
    assert error.report in str(error)
    gate = error.evidence["source/gate: psi image.sharpness"]
    assert gate["value"] > gate["upper_limit"] == 0.25
    assert "all: two-sample images" in error.evidence
    assert "source/gate: psi image.brightness" not in error.evidence

    page = fogged.objects.get("reports", measured["html"]).decode()
    assert "Source yard delivered nothing" in page
    with fogged.catalog.transaction() as tx:
        raised = {(a.kind, a.subject): a for a in alerts.open_alerts(tx)}
        trend = drift.history(tx, "source/gate", "psi image.sharpness")
    assert {("drift", "source/gate"), ("drift", "all"), ("source_silent", "source/yard")} <= set(
        raised
    )
    alert = raised["drift", "source/gate"]
    assert alert.severity == "warning"
    assert alert.evidence["report"] == measured["html"]
    assert alert.period_end is not None
    assert [point[1] for point in trend] == [pytest.approx(gate["value"])]


def test_measured_again_it_is_replaced_not_added(fogged: Stores, context: Context) -> None:
    first = job.measure(context("measure"), NOW, stores=fogged)
    again = job.measure(context("measure"), NOW, stores=fogged)
    with fogged.catalog.transaction() as tx:
        assert {a.times for a in alerts.open_alerts(tx)} == {1}
    assert again["check"] == first["check"]
    # At the first check of a contract the canaries are pinned, from then on they are compared.
    assert again["measures"] == first["measures"] + 1


def test_an_embedder_that_makes_other_vectors_is_critical(stores: Stores, context: Context) -> None:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("TRUNCATE alert, canary, drift_check CASCADE")
    with stores.catalog.transaction() as tx:
        contract = champions(stores).embedder_row.contract
        other = np.random.default_rng(1).normal(size=(canaries.COUNT, 128)).astype(np.float32)
        pinned = dict(zip(canaries.digests(), other, strict=True))
        drift.pin_canaries(tx, contract, pinned, "float32", "test")
    measured = job.measure(context("measure"), NOW, "2001-01-01", "2001-01-07", stores)
    assert measured["drifted"] == 1
    with pytest.raises(DriftFound, match="canary"):
        job.judge(measured["check"], stores)
    with stores.catalog.transaction() as tx:
        (alert,) = alerts.open_alerts(tx, kind="contract")
    assert (alert.severity, alert.subject) == ("critical", "face-embedder/1")
    with pytest.raises(ChangeRefused, match="pinned"), stores.catalog.transaction() as tx:
        tx.cursor().execute("UPDATE canary SET precision = 'x'")
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("TRUNCATE canary")


def test_the_canaries_are_reproduced_and_an_empty_period_is_no_drift(
    stores: Stores, context: Context
) -> None:
    for _ in range(2):
        measured = job.measure(context("measure"), NOW, "2001-01-01", "2001-01-07", stores)
        job.judge(measured["check"], stores)
    numbers = json.loads(stores.objects.get("reports", measured["json"]))
    (canary,) = [m for m in numbers["measurements"] if m["measure"] == "canary"]
    assert canary["state"] == "stable"
    assert canary["value"] < 1e-4
    assert {m["state"] for m in numbers["measurements"]} == {"stable", "too_few"}


def test_a_check_that_is_not_there(stores: Stores) -> None:
    with pytest.raises(NotFound, match="drift check"):
        job.judge(987_654, stores)
