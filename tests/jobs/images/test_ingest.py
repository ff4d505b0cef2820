"""Ingestion on real stores: what lands is stored once, seen as often as it came, never lost."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from facecore.config import IngestSettings
from facecore.jobs.images import ingest
from facecore.jobs.images.landing import content_key
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.stores.catalog.images import images
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.work import shards

Context = Callable[[str], RunContext]
Jpeg = Callable[[int], bytes]


def run(stores: Stores, context: Context, prefix: str = "", pages: int = 100) -> dict[str, int]:
    shard_ids = ingest.plan(context("plan"), prefix, pages, stores)
    for shard_id in shard_ids:
        ingest.ingest_shard(context("ingest"), shard_id, stores)
    return ingest.summarise(shard_ids, stores)


def keys(stores: Stores, bucket: str) -> list[str]:
    return sorted(item.key for item in stores.objects.list(bucket))


def test_objects_become_images_and_leave_the_landing_bucket(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    pictures = {f"cam/2026/11/02/08300{i}-x.jpg": noisy_jpeg(i) for i in range(10)}
    for key, data in pictures.items():
        stores.objects.put("landing", key, data)

    counts = run(stores, context)

    assert counts["images"] == counts["sightings"] == counts["objects"] == 10
    assert counts["shards"] == 2  # of 8 at most
    assert keys(stores, "landing") == []
    digests = [hashlib.sha256(data).hexdigest() for data in pictures.values()]
    assert keys(stores, "images") == sorted(map(content_key, digests))
    with stores.catalog.transaction() as tx:
        image = images.find(tx, digests[3])
    assert image is not None
    assert (image.source, image.captured_from) == ("cam", "key")
    assert image.captured_at == datetime(2026, 11, 2, 8, 30, 3, tzinfo=UTC)
    assert (image.width, image.height, image.format) == (160, 120, "JPEG")
    assert image.quality["sharpness"] > 0


def test_the_same_picture_twice_is_one_image_with_two_sightings(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    for key in ("lobby/2026/11/02/090000.jpg", "door/2026/11/02/090500.jpg"):
        stores.objects.put("landing", key, noisy_jpeg(1))
    counts = run(stores, context)
    assert (counts["images"], counts["sightings"]) == (1, 2)


def test_taking_in_again_changes_nothing(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    kept = stores.settings.model_copy(
        update={"ingest": IngestSettings(shard_size=8, keep_landing=True)}
    )
    keeping = Stores(kept)
    for i in range(3):
        stores.objects.put("landing", f"cam/{i}.jpg", noisy_jpeg(i))
    assert run(keeping, context)["images"] == 3
    assert len(keys(stores, "landing")) == 3

    again = RunContext("test", "another-run", "plan")
    assert ingest.plan(again, stores=keeping) == []
    with stores.catalog.transaction() as tx:
        assert summarise(tx).sightings == 3

    # The setting changed: what was taken in is now removed, and still not planned.
    assert ingest.plan(RunContext("test", "third-run", "plan"), stores=stores) == []
    assert keys(stores, "landing") == []


def test_planning_and_shards_can_be_repeated(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    stores.objects.put("landing", "cam/a.jpg", noisy_jpeg(1))
    first = ingest.plan(context("plan"), stores=stores)
    stores.objects.put("landing", "cam/b.jpg", noisy_jpeg(2))
    assert ingest.plan(context("plan"), stores=stores) == first
    for _ in range(2):
        ingest.ingest_shard(context("ingest"), first[0], stores)
    with stores.catalog.transaction() as tx:
        assert summarise(tx).images["stored"] == 1
        assert shards.get(tx, first[0]).attempts == 1
    assert keys(stores, "landing") == ["cam/b.jpg"]


def test_a_long_listing_goes_on_where_it_stopped(
    stores: Stores, context: Context, noisy_jpeg: Jpeg, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(ingest, "KEYS_PER_PAGE", 2)
    for i in range(5):
        stores.objects.put("landing", f"cam/{i}.jpg", noisy_jpeg(i))
    for number in range(3):
        shard_ids = ingest.plan(RunContext("test", f"run-{number}", "plan"), "", 1, stores)
        for shard_id in shard_ids:
            ingest.ingest_shard(context("ingest"), shard_id, stores)
    assert keys(stores, "landing") == []
    with stores.catalog.transaction() as tx:
        assert summarise(tx).images["stored"] == 5


def test_a_prefix_limits_what_is_taken(stores: Stores, context: Context, noisy_jpeg: Jpeg) -> None:
    stores.objects.put("landing", "a/1.jpg", noisy_jpeg(1))
    stores.objects.put("landing", "b/1.jpg", noisy_jpeg(2))
    assert run(stores, context, prefix="a/")["images"] == 1
    assert keys(stores, "landing") == ["b/1.jpg"]


def test_what_is_no_picture_is_kept_with_its_reason(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    broken = {
        "cam/zero.jpg": (b"", "empty"),
        "cam/text.jpg": (b"this is not a picture, whatever its name says", "not_an_image"),
        "cam/cut.jpg": (noisy_jpeg(1)[:2000], "truncated"),
    }
    for key, (data, _) in broken.items():
        stores.objects.put("landing", key, data)
    run(stores, context)
    with stores.catalog.transaction() as tx:
        for data, reason in broken.values():
            image = images.find(tx, hashlib.sha256(data).hexdigest())
            assert image is not None
            assert image.reasons[0]["code"] == reason
            assert image.width is None or reason == "truncated"


def test_a_content_encoding_changes_nothing(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    """A plain picture may be labelled so; what really is packed is no picture."""
    packed = gzip.compress(noisy_jpeg(2))
    for key, data in {"cam/plain.jpg": noisy_jpeg(1), "cam/packed.jpg": packed}.items():
        stores.objects.put("landing", key, data, metadata={"Content-Encoding": "gzip"})
    assert run(stores, context)["images"] == 2
    assert keys(stores, "landing") == []
    with stores.catalog.transaction() as tx:
        plain = images.find(tx, hashlib.sha256(noisy_jpeg(1)).hexdigest())
        refused = images.find(tx, hashlib.sha256(packed).hexdigest())
    assert plain is not None
    assert (plain.format, plain.reasons) == ("JPEG", [])
    assert refused is not None
    assert refused.reasons[0]["code"] == "not_an_image"


def test_too_large_a_file_is_moved_without_being_read_whole(
    stores: Stores, context: Context
) -> None:
    small = Stores(stores.settings.model_copy(update={"ingest": IngestSettings(max_bytes=1000)}))
    data = bytes(range(256)) * 8
    stores.objects.put("landing", "cam/large.jpg", data)
    run(small, context)
    with stores.catalog.transaction() as tx:
        image = images.find(tx, hashlib.sha256(data).hexdigest())
    assert image is not None
    assert [r["code"] for r in image.reasons] == ["too_many_bytes"]
    assert stores.objects.get("images", image.object_key) == data


def test_unusual_keys_work(stores: Stores, context: Context, noisy_jpeg: Jpeg) -> None:
    names = ["cam/with space & ünïcode 訪客.jpg", "cam/dots..v2.jpg", "cam/plus+percent%20.jpg"]
    for number, key in enumerate(names):
        stores.objects.put("landing", key, noisy_jpeg(number))
    assert run(stores, context)["images"] == 3
    assert keys(stores, "landing") == []


def test_an_object_replaced_meanwhile_is_not_lost(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    stores.objects.put("landing", "cam/a.jpg", noisy_jpeg(1))
    shard_ids = ingest.plan(context("plan"), stores=stores)
    stores.objects.put("landing", "cam/a.jpg", noisy_jpeg(2))
    ingest.ingest_shard(context("ingest"), shard_ids[0], stores)
    with stores.catalog.transaction() as tx:
        assert images.find(tx, hashlib.sha256(noisy_jpeg(2)).hexdigest()) is not None


def test_an_object_that_is_gone_costs_nothing(
    stores: Stores, context: Context, noisy_jpeg: Jpeg
) -> None:
    for i in range(2):
        stores.objects.put("landing", f"cam/{i}.jpg", noisy_jpeg(i))
    shard_ids = ingest.plan(context("plan"), stores=stores)
    stores.objects.delete("landing", "cam/0.jpg")
    ingest.ingest_shard(context("ingest"), shard_ids[0], stores)
    counts = ingest.summarise(shard_ids, stores)
    assert (counts["objects"], counts["vanished"], counts["images"]) == (2, 1, 1)
