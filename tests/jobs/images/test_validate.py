"""The gate on real stores: verdicts, the quarantine, and batches that stop the run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecore.errors import QualityGateFailed
from facecore.jobs.images import ingest, quarantine_review, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.stores.catalog import runs
from facecore.stores.catalog.images import images
from facecore.stores.catalog.pages.summary import summarise
from facecore.types import ImageStatus

Context = Callable[[str], RunContext]
Jpeg = Callable[[int], bytes]


def black() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def ingested(stores: Stores, context: Context) -> list[int]:
    shard_ids = ingest.plan(context("plan"), stores=stores)
    for shard_id in shard_ids:
        ingest.ingest_shard(context("ingest"), shard_id, stores)
    return shard_ids


def test_images_are_accepted_or_quarantined_with_reasons(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    for i in range(3):
        stores.objects.put("landing", f"cam/{i}.jpg", noisy_jpeg(i))
    stores.objects.put("landing", "cam/black.png", black())
    stores.objects.put("landing", "cam/text.jpg", b"no picture at all")
    shard_ids = ingested(stores, context)

    counts = validate.validate_shards(context("validate"), shard_ids, stores=stores)

    assert counts == {"accepted": 3, "quarantined": 2}
    with stores.catalog.transaction() as tx:
        dark = images.find(tx, hashlib.sha256(black()).hexdigest())
        run = runs.get(tx, context("validate").run_id)
    assert dark is not None
    assert dark.status is ImageStatus.QUARANTINED
    assert {"too_dark", "low_contrast", "low_dynamic_range"} <= {r["code"] for r in dark.reasons}
    assert all(r["detail"] for r in dark.reasons)
    assert dark.bucket == "quarantine"
    assert stores.objects.get("quarantine", dark.object_key) == black()
    assert not stores.objects.exists("images", dark.object_key)
    assert b"<html" in stores.objects.get("reports", run.counts["data_docs"])[:2000].lower()


def test_a_verdict_stands(stores: Stores, context: Context, noisy_jpeg: Jpeg) -> None:
    stores.objects.put("landing", "cam/0.jpg", noisy_jpeg(0))
    stores.objects.put("landing", "cam/black.png", black())
    shard_ids = ingested(stores, context)
    first = validate.validate_shards(context("validate"), shard_ids, stores=stores)
    again = validate.validate_shards(context("validate"), shard_ids, stores=stores)
    assert first == {"accepted": 1, "quarantined": 1}
    assert again == {"accepted": 0, "quarantined": 0}

    # The same bad picture once more: known, not stored beside the quarantine.
    stores.objects.put("landing", "cam/black-again.png", black())
    later = lambda task: RunContext("test", "later", task)  # noqa: E731
    ingested(stores, later)
    with stores.catalog.transaction() as tx:
        dark = images.find(tx, hashlib.sha256(black()).hexdigest())
        assert summarise(tx).sightings == 3
    assert dark is not None
    assert not stores.objects.exists("images", dark.object_key)


def in_between(monkeypatch: pytest.MonkeyPatch, step: str, meanwhile: Callable[[], object]) -> None:
    """What somebody else does between the gate's judgement and its `step`."""
    real = getattr(validate, step)

    def later(*given: Any, **named: Any) -> Any:
        monkeypatch.undo()
        meanwhile()
        return real(*given, **named)

    monkeypatch.setattr(validate, step, later)


def dark_one(stores: Stores) -> images.StoredImage:
    with stores.catalog.transaction() as tx:
        found = images.find(tx, hashlib.sha256(black()).hexdigest())
    assert found is not None
    return found


def buckets(stores: Stores) -> set[str]:
    key = dark_one(stores).object_key
    return {b for b in ("images", "quarantine") if stores.objects.exists(b, key)}


def release(stores: Stores) -> None:
    found = dark_one(stores).id
    outcome = quarantine_review.release([found], actor="ada", reason="fine", stores=stores)
    assert outcome.done == [found]


def test_a_picture_that_is_enrolled_while_it_is_judged_keeps_its_bytes(
    stores: Stores, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.objects.put("landing", "cam/black.png", black())
    shard_ids = ingested(stores, context)

    found = dark_one(stores).id

    def enrol() -> None:
        with stores.catalog.transaction() as tx:
            images.set_gate_result(tx, [found], {})
            images.mark_extracted(tx, [found])

    in_between(monkeypatch, "_apply", enrol)
    validate.validate_shards(context("validate"), shard_ids, batch_checks=False, stores=stores)
    assert dark_one(stores).status is ImageStatus.EXTRACTED
    assert buckets(stores) == {"images"}


def test_a_picture_that_is_released_at_once_keeps_its_bytes(
    stores: Stores, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.objects.put("landing", "cam/black.png", black())
    shard_ids = ingested(stores, context)
    in_between(monkeypatch, "remove_originals", lambda: release(stores))
    validate.validate_shards(context("validate"), shard_ids, batch_checks=False, stores=stores)
    assert dark_one(stores).status is ImageStatus.ACCEPTED
    assert buckets(stores) == {"images"}


def test_a_release_stands_although_another_gate_judges_late(
    stores: Stores, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.objects.put("landing", "cam/black.png", black())
    shard_ids = ingested(stores, context)

    def judged_and_released() -> None:
        validate.validate_waiting(
            RunContext("cli", "beside", "validate"), batch_checks=False, stores=stores
        )
        release(stores)

    in_between(monkeypatch, "_apply", judged_and_released)
    validate.validate_shards(context("validate"), shard_ids, batch_checks=False, stores=stores)
    assert dark_one(stores).status is ImageStatus.ACCEPTED
    assert buckets(stores) == {"images"}


def test_a_broken_batch_stops_the_run_and_loses_nothing(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    for i in range(6):
        stores.objects.put("landing", f"cam/{i}.jpg", noisy_jpeg(i))
    for i in range(18):
        stores.objects.put("landing", f"cam/bad-{i}.jpg", b"not a picture %d" % i)
    shard_ids = ingested(stores, context)

    with pytest.raises(QualityGateFailed) as caught:
        validate.validate_shards(context("validate"), shard_ids, stores=stores)

    assert caught.value.statistics["rejected"] == 18
    assert caught.value.failed
    assert stores.objects.exists("reports", caught.value.data_docs)
    assert "75" in str(caught.value)
    with stores.catalog.transaction() as tx:
        assert summarise(tx).images["stored"] == 24
        run = runs.get(tx, context("validate").run_id)
    assert (run.state, run.counts["rejected"]) == ("failed", 18)
    assert run.error is not None
    assert "QualityGateFailed" in run.error

    # A human decides to judge the images one by one.
    decided = validate.validate_waiting(
        RunContext("cli", "decide", "validate"), batch_checks=False, stores=stores
    )
    assert decided == {"accepted": 6, "quarantined": 18}


def test_nothing_to_judge_is_no_failure(stores: Stores, context: Context) -> None:
    assert validate.validate_shards(context("validate"), [], stores=stores) == {
        "accepted": 0,
        "quarantined": 0,
    }
