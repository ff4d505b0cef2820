"""One row per content, one sighting per delivery, and a status that only moves forward."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from facecore.errors import ChangeRefused, NotFound
from facecore.stores.catalog.images import images, quarantine
from facecore.types import ImageRef, ImageStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REASON = [{"code": "blurred", "detail": "sharpness 3.1"}]


def test_content_is_recorded_once_and_keeps_its_first_row(catalog, make):
    rows = [make.image_row("a", source="north"), make.image_row("b")]
    with catalog.transaction() as tx:
        first = images.record_images(tx, [*rows, rows[0]])
    with catalog.transaction() as tx:
        again = images.record_images(tx, [make.image_row("a", source="south"), *rows[1:]])
        kept = images.get(tx, again[make.digest("a")].id)
    assert {result.created for result in first.values()} == {True}
    assert {result.created for result in again.values()} == {False}
    assert {key: result.id for key, result in first.items()} == {
        key: result.id for key, result in again.items()
    }
    assert kept.source == "north"


def test_every_field_comes_back(tx, make):
    row = make.image_row(
        "a",
        object_key="ünïcode key",
        captured_at=NOON,
        captured_from="exif",
        width=640,
        height=480,
        format="JPEG",
        quality={"sharpness": np.float32(12.5), "bad": float("nan"), "pixels": np.int64(7)},
        reasons=REASON,
        phash=-(2**63),
    )
    found = images.record_images(tx, [row])[row.sha256]
    image = images.get(tx, found.id)
    assert image == images.find(tx, row.sha256)
    assert (image.object_key, image.captured_at, image.captured_from) == (
        "ünïcode key",
        NOON,
        "exif",
    )
    assert (image.width, image.height, image.format, image.bytes) == (640, 480, "JPEG", 1000)
    assert image.quality == {"sharpness": 12.5, "bad": None, "pixels": 7}
    assert (image.reasons, image.phash, image.status) == (REASON, -(2**63), ImageStatus.STORED)
    assert images.find(tx, "f" * 64) is None
    with pytest.raises(NotFound):
        images.get(tx, 10**9)


def test_text_that_postgresql_cannot_hold_is_made_storable(tx, make):
    row = make.image_row("a", source="cam\0\ud800", quality={"exif\0": "a\0b"})
    image = images.get(tx, images.record_images(tx, [row])[row.sha256].id)
    assert image.source == "cam\ufffd\ufffd"
    assert image.quality == {"exif\ufffd": "a\ufffdb"}


def test_writers_of_the_same_pictures_agree_on_one_row_each(catalog, make):
    rows = [make.image_row(str(number)) for number in range(300)]

    def record(backwards: bool) -> dict[str, images.ImageRecordResult]:
        with catalog.transaction() as tx:
            return images.record_images(tx, reversed(rows) if backwards else rows)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(record, [False, True, False, True]))
    for row in rows:
        assert len({result[row.sha256].id for result in results}) == 1
        assert sum(result[row.sha256].created for result in results) == 1


def test_a_picture_delivered_twice_is_one_image_with_two_sightings(tx, make):
    (image_id,) = make.images(tx, "a")
    deliveries = [
        images.SightingRow(image_id, "landing", key, etag, "door", NOON, "key", NOON)
        for key, etag in [("a.jpg", "1"), ("b ü.jpg", "1"), ("a.jpg", "2")]
    ]
    assert images.record_sightings(tx, deliveries) == 3
    assert images.record_sightings(tx, deliveries) == 0
    asked = [("a.jpg", "1"), ("b ü.jpg", "1"), ("a.jpg", "3"), ("c.jpg", "1")]
    assert images.known_landing(tx, "landing", asked) == {("a.jpg", "1"), ("b ü.jpg", "1")}
    assert images.known_landing(tx, "elsewhere", asked) == set()
    assert images.known_landing(tx, "landing", []) == set()
    for _ in range(2):
        quarantine.record_discarded(tx, [replace(deliveries[0], etag="3")])
    assert images.known_landing(tx, "landing", asked) == set(asked[:3])
    assert images.sighting_counts(tx, [image_id]) == {image_id: 3}


def test_the_gate_judges_once(tx, make):
    good, bad, waiting = make.images(tx, "good", "bad", "waiting")
    images.set_gate_result(tx, [good], {bad: REASON}, quarantine_bucket="quarantine")
    assert images.get(tx, good).status is ImageStatus.ACCEPTED
    rejected = images.get(tx, bad)
    assert (rejected.status, rejected.reasons) == (ImageStatus.QUARANTINED, REASON)
    assert rejected.bucket == "quarantine"
    assert images.get(tx, good).bucket == "images"
    images.set_gate_result(tx, [bad], {good: REASON})
    assert images.get(tx, good).status is ImageStatus.ACCEPTED
    assert images.get(tx, bad).status is ImageStatus.QUARANTINED
    assert [image.id for image in images.stored_images(tx, image_ids=[good, bad, waiting])] == [
        waiting
    ]


def test_an_accepted_image_can_prove_broken_in_extraction(tx, make):
    accepted, extracted = make.images(tx, "a", "b", accepted=True)
    assert images.mark_extracted(tx, [extracted]) == 1
    assert images.mark_extracted(tx, [extracted]) == 0
    assert images.quarantine(tx, {accepted: REASON, extracted: REASON}) == {accepted}
    assert images.quarantine(tx, {accepted: REASON}) == images.quarantine(tx, {}) == set()
    assert images.get(tx, accepted).status is ImageStatus.QUARANTINED
    assert images.get(tx, extracted).status is ImageStatus.EXTRACTED


_FORWARD = {
    ("stored", "accepted"),
    ("stored", "quarantined"),
    ("stored", "erased"),
    ("accepted", "extracted"),
    ("accepted", "quarantined"),
    ("accepted", "erased"),
    ("quarantined", "erased"),
    ("extracted", "erased"),
}
_WAY = {
    "stored": [],
    "accepted": ["accepted"],
    "quarantined": ["quarantined"],
    "extracted": ["accepted", "extracted"],
    "erased": ["erased"],
}


@pytest.mark.parametrize(
    ("before", "after"), itertools.permutations([str(status) for status in ImageStatus], 2)
)
def test_the_database_lets_the_status_only_move_forward(catalog, make, before, after):
    with catalog.transaction() as tx, tx.cursor() as cursor:
        (image_id,) = make.images(tx, "a", reasons=REASON)
        for step in _WAY[before]:
            cursor.execute("UPDATE image SET status = %s WHERE id = %s", [step, image_id])

    def move() -> None:
        with catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute("UPDATE image SET status = %s WHERE id = %s", [after, image_id])

    if (before, after) in _FORWARD:
        move()
    else:
        with pytest.raises(ChangeRefused, match=f"is {before}, it cannot become {after}"):
            move()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE image SET sha256 = repeat('f', 64)",
        "UPDATE image SET bytes = 1",
        "UPDATE image SET near_duplicate_of = id",
        "UPDATE image SET status = 'quarantined'",
        "DELETE FROM image",
        "INSERT INTO image (sha256, bucket, object_key, source, bytes) "
        "VALUES ('short', 'b', 'k', 's', 1)",
    ],
)
def test_the_database_refuses_what_breaks_a_guarantee(catalog, make, change):
    with catalog.transaction() as tx:
        make.images(tx, "a")
    with pytest.raises(ChangeRefused), catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(change)


def test_an_erased_image_is_recognised_and_stays_erased(catalog, make):
    with catalog.transaction() as tx, tx.cursor() as cursor:
        make.images(tx, "a")
        cursor.execute("UPDATE image SET status = 'erased'")
    with catalog.transaction() as tx:
        result = images.record_images(tx, [make.image_row("a")])[make.digest("a")]
    assert (result.created, result.status) == (False, ImageStatus.ERASED)


def test_references_come_in_the_order_asked(tx, make):
    first, second = make.images(tx, "a", "b")
    refs = images.refs(tx, [second, first, second])
    assert [ref.id for ref in refs] == [second, first, second]
    assert refs[1] == ImageRef(
        first, make.digest("a"), "images", make.image_row("a").object_key, "door", None
    )
    with pytest.raises(NotFound) as caught:
        images.refs(tx, [first, 10**9])
    assert caught.value.name == str(10**9)


def test_counts_name_every_status(tx, make):
    make.images(tx, "a", "b", "c")
    make.images(tx, "d", accepted=True)
    assert images.counts_by_status(tx) == {
        "stored": 3,
        "accepted": 1,
        "quarantined": 0,
        "extracted": 0,
        "erased": 0,
    }


def test_nothing_in_nothing_out(tx):
    assert images.record_images(tx, []) == {}
    assert images.record_sightings(tx, []) == 0
    assert images.refs(tx, []) == []
    images.set_gate_result(tx, [], {})


def test_a_hostile_key_is_only_text(tx, make):
    key = "x'); DROP TABLE image; --"
    (image_id,) = make.images(tx, "a", object_key=key, source="%s %(x)s")
    assert images.refs(tx, [image_id])[0].key == key
