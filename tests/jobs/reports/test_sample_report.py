"""The report of the sample stream states what is true of the stream, number by number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from facecore.jobs.lineage import RunContext
from facecore.jobs.reports import report
from facecore.jobs.stores import Stores
from facecore.samples.ground_truth import GroundTruth
from facecore.samples.report_truth import compare_report
from facecore.samples.stream import simulate
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import active
from facecore.stores.catalog.people import people
from facecore.types import Outcome

DAY = date(2026, 3, 4)


@pytest.fixture(scope="module")
def truth(downloads: Path) -> GroundTruth:
    """A Wednesday of the sample stream."""
    return simulate(downloads, end=DAY, days=1).truth


@pytest.fixture
def found(stores: Stores, truth: GroundTruth) -> Stores:
    """A catalogue in which everything was found that is there, and named rightly."""
    with stores.catalog.transaction() as tx:
        pair = active.current(tx)
        ids = {name: people.enrol(tx, name) for name in truth.enrolled}
        by_digest: dict[str, int] = {}
        for image in truth.images:
            row = images.ImageRow(
                image.sha256, "images", image.sha256, image.source, 10, image.captured_at,
                image.captured_from,
            )  # fmt: skip
            if image.sha256 not in by_digest:
                by_digest[image.sha256] = images.record_images(tx, [row])[image.sha256].id
            images.record_sightings(
                tx,
                [images.SightingRow(by_digest[image.sha256], "landing", image.key, "1",
                                    image.source, image.captured_at, image.captured_from)],
            )  # fmt: skip
        for image in truth.distinct:
            image_id = by_digest[image.sha256]
            if image.status == "quarantined":
                reasons = [{"code": code, "detail": ""} for code in image.reasons]
                images.set_gate_result(tx, [], {image_id: reasons})
                continue
            images.set_gate_result(tx, [image_id], {})
            images.mark_extracted(tx, [image_id])
            face_ids = faces.insert_faces(
                tx,
                [
                    faces.FaceRow(image_id, pair.detector.id, n, box=list(face.box),
                                  landmarks=[1.0] * 10, score=0.9, crop_key="none", crop_index=n)
                    for n, face in enumerate(image.faces)
                ],
            )  # fmt: skip
            people.write_assignments(
                tx,
                [
                    people.AssignmentRow(
                        face_id, ids[face.person] if known else None,
                        Outcome.ACCEPT if known else Outcome.UNKNOWN, "enrolled", 0.7,
                        pair.embedder.id, threshold=0.4, gallery_size=3,
                    )
                    for face_id, face in zip(face_ids, image.faces, strict=True)
                    for known in (face.enrolled and face.identifiable,)
                ],
            )  # fmt: skip
    return stores


@pytest.fixture
def numbers(found: Stores, context: Callable[[str], RunContext]) -> dict:
    made = report.build(
        context("report"), datetime(2026, 3, 5, 2, tzinfo=UTC), str(DAY), stores=found
    )
    return json.loads(found.objects.get("reports", made["json"]))


def test_every_number_is_the_truth(numbers: dict, truth: GroundTruth) -> None:
    rows = compare_report(truth, numbers, tolerance=0.0)
    assert [row for row in rows if not row.ok] == []
    # Whom nothing is expected of was planted as unknown: the lower end of each range is exact.
    exact = {"faces": sum(len(image.faces) for image in truth.distinct)}
    for row in rows:
        name = row.name.removeprefix("report: ")
        if "series" not in row.tolerance:
            assert row.found == exact.get(name, row.expected), name
    assert numbers["presence"]["newcomers"] == numbers["totals"]["people"]
    reasons = {one["code"]: one["images"] for one in numbers["reasons"]}
    assert reasons == truth.totals()["quarantined_by_reason"]


def test_a_wrong_number_is_seen(numbers: dict, truth: GroundTruth) -> None:
    def wrong(**changes: object) -> set[str]:
        rows = compare_report(truth, {**numbers, **changes})
        return {row.name.removeprefix("report: ") for row in rows if not row.ok}

    assert wrong(totals={**numbers["totals"], "images": 1}) == {"distinct images"}
    assert wrong(bins=[name.replace("03-04", "03-05") for name in numbers["bins"]]) >= {
        "deliveries per day", "images per day",
    }  # fmt: skip
    assert wrong(presence={**numbers["presence"], "visits": 400}) == {"visits"}
    assert wrong(heat=numbers["heat"][:0]) == {"images per weekday and hour"}
    moved = replace(truth, images=truth.images[1:])
    assert any(not row.ok for row in compare_report(moved, numbers))
