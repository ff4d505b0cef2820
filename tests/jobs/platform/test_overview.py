"""What pages read of the pipeline's state, and single pictures."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PIL import Image

from facecore.config import Settings
from facecore.errors import ImageRejected, ObjectMissing, ShapeError
from facecore.jobs.faces import crops
from facecore.jobs.images import thumbnails
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.people import people_view
from facecore.jobs.platform import overview
from facecore.jobs.platform.setup import prepare_stores
from facecore.jobs.stores import Stores
from facecore.stages.decode import Limits
from facecore.stores.catalog import estimates
from facecore.stores.catalog.images import images
from facecore.stores.catalog.pages import state
from facecore.stores.catalog.pages.people_pages import SightingEntry
from facecore.types import FaceCrops

LIMITS = Limits(2**20, 10**6)


@pytest.fixture(scope="module")
def stores(platform, s3):
    platform.up(["postgres"])
    buckets = s3.model_copy(update={"bucket_prefix": "overview-"})
    made = Stores(Settings(database=platform.create_database("overview"), s3=buckets))
    prepare_stores(made)
    return made


def test_an_empty_platform_has_an_overview(stores):
    found = overview.overview(stores)
    assert found.holdings.images == estimates.Count(0)
    assert found.holdings.faces is None
    assert found.throughput.images_per_s is None
    assert len(found.throughput.hours) == overview.HOURS
    assert {step.state for step in found.steps} == {None}
    assert found.runs == []


def test_runs_steps_and_throughput(stores):
    def run(task, stage, counts, attempt=1, fault=None):
        context = RunContext("extract_faces", "today", task, try_number=attempt)
        with recorded(stores.catalog, context, stage, {"shard": 1}) as one:
            one.counts = counts
            if fault is not None:
                raise fault

    with pytest.raises(ValueError, match="first"):
        run("extract", "extract.shard", {}, fault=ValueError("first try"))
    run("extract", "extract.shard", {"images": 7, "faces": 9}, attempt=2)
    found = overview.overview(stores)
    assert (found.throughput.extracted, found.throughput.faces) == (7, 9)
    assert found.throughput.images_per_s > 0
    (today,) = found.runs
    assert (today.state, today.stages, today.error) == ("done", ("extract.shard",), None)
    with pytest.raises(ValueError, match="broken"):
        run("identify", "identify.shard", {}, fault=ValueError("broken"))
    (today,) = overview.overview(stores).runs
    assert (today.state, today.error) == ("failed", "ValueError: broken")
    states = {step.stage: step.state for step in overview.overview(stores).steps}
    assert states["extract.shard"] == "done"
    assert states["identify.shard"] == "failed"


def test_hours_without_work_are_there_too():
    now = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
    worked = [state.Hour(now.replace(minute=0) - timedelta(hours=3), 5, 4, 3, 2.0)]
    found = overview.throughput(worked, now)
    assert [h.start.hour for h in found.hours][-4:] == [23, 0, 1, 2]
    assert [h.extracted for h in found.hours][-4:] == [4, 0, 0, 0]
    assert found.images_per_s == 2.0


def test_counting_stops_where_it_would_take_long(stores, monkeypatch):
    with stores.catalog.transaction() as tx:
        rows = [images.ImageRow(f"{i:064x}", "images", f"k{i}", "door", 9) for i in range(20)]
        images.record_images(tx, rows)
        assert estimates.rows(tx, "image") == estimates.Count(20)
        with tx.cursor() as cursor:
            cursor.execute("ANALYZE image")
        monkeypatch.setattr(estimates, "EXACT_UP_TO", 5)
        assert estimates.rows(tx, "image") == estimates.Count(20, exact=False)
        waiting = estimates.matching(tx, "image", "status = 'stored'")
        assert waiting == estimates.Count(5, exact=False)
        assert estimates.vectors(tx, 12345) == estimates.Count(0)


def test_one_crop_is_read_without_its_pack(stores):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), np.uint8)
    crops.write_pack(stores.objects, "five.safetensors", FaceCrops(pixels))
    for row in (0, 4):
        crop = thumbnails.read_crop(stores.objects, "five.safetensors", row)
        assert np.array_equal(crop, pixels[row])
    for key, row in (("five.safetensors", 5), ("none.safetensors", 0)):
        with pytest.raises(ObjectMissing):
            thumbnails.read_crop(stores.objects, key, row)
    stores.objects.put("crops", "other", b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(ShapeError):
        thumbnails.read_crop(stores.objects, "other", 0)


def test_previews_keep_limits_and_turn_pictures_upright():
    picture = Image.new("RGB", (900, 600), (200, 30, 30))
    exif = picture.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    with Image.open(io.BytesIO(thumbnails.preview(buffer.getvalue(), LIMITS, 300))) as small:
        assert small.size == (200, 300)
        assert not small.getexif()
    assert thumbnails.preview(buffer.getvalue()[:700], LIMITS) is None
    with pytest.raises(ImageRejected, match="pixels"):
        thumbnails.preview(buffer.getvalue(), Limits(2**20, 1000))


def test_a_timeline_counts_days_of_the_wall_clock():
    def seen(number, at, source):
        return SightingEntry(number, at, source, number, number)

    late = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    sightings = [seen(1, late, "door"), seen(2, late - timedelta(days=2), "yard")]
    found = people_view.timeline(sightings, ZoneInfo("Europe/Berlin"))
    assert found.days == [(date(2026, 11, 22), (0, 1)), (date(2026, 11, 24), (1, 0))]
    assert found.sources == ("door", "yard")
    assert people_view.timeline([], ZoneInfo("UTC")).days == []
    many = [seen(i, late, f"s{min(i, 9)}") for i in range(30)]
    found = people_view.timeline(many, ZoneInfo("UTC"), complete=False)
    assert not found.complete
    assert found.sources == ("s9", "s0", "others")
    assert sum(found.days[0][1]) == 30
