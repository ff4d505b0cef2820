"""Decisions on the quarantine: released images go on, discarded ones lose their bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from facecore.config import Settings
from facecore.errors import ChangeRefused, NotFound, UsageError
from facecore.jobs.images import ingest, quarantine_review, validate
from facecore.jobs.images import quarantine as moving
from facecore.jobs.lineage import RunContext
from facecore.jobs.platform.setup import prepare_stores
from facecore.jobs.stores import Stores
from facecore.stores.catalog import audit
from facecore.stores.catalog.images import images, quarantine
from facecore.stores.catalog.work import shards
from facecore.types import ImageStatus

WHO = {"actor": "ada", "reason": "looked at it"}
RUN = RunContext("test", "quarantine-review", "take in")


@pytest.fixture(scope="module")
def stores(platform, s3):
    platform.up(["postgres"])
    buckets = s3.model_copy(update={"bucket_prefix": "review-"})
    made = Stores(Settings(database=platform.create_database("quarantine_review"), s3=buckets))
    prepare_stores(made)
    return made


def flat(level, size=(160, 120), kind="PNG"):
    """A picture of one brightness: too dark, without contrast."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def deliver(stores):
    """Deliver pictures through ingest and gate; returns the images by name."""
    runs = iter(range(1000))

    def take_in(**files):
        run = RunContext("test", f"{id(files)}-{next(runs)}", "take in")
        for name, data in files.items():
            stores.objects.put("landing", f"door/{run.dag_run_id}/{name}", data)
        shard_ids = ingest.plan(run, stores=stores)
        for shard_id in shard_ids:
            ingest.ingest_shard(run, shard_id, stores)
        validate.validate_shards(run, shard_ids, batch_checks=False, stores=stores)
        with stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "SELECT split_part(landing_key, '/', 3), image_id FROM sighting "
                "WHERE landing_key LIKE %s", [f"door/{run.dag_run_id}/%"]
            )  # fmt: skip
            return {name: images.get(tx, image_id) for name, image_id in cursor.fetchall()}

    return take_in


def where(stores, image):
    return {b for b in ("images", "quarantine") if stores.objects.exists(b, image.object_key)}


def now(stores, image):
    with stores.catalog.transaction() as tx:
        return images.get(tx, image.id)


def test_a_released_image_goes_on_and_is_not_judged_again(stores, deliver):
    dark = deliver(dark=flat(2))["dark"]
    assert dark.status is ImageStatus.QUARANTINED
    for _ in range(2):
        assert quarantine_review.release([dark.id], **WHO, stores=stores).done == [dark.id]
        assert now(stores, dark).status is ImageStatus.ACCEPTED
        assert where(stores, dark) == {"images"}
    validate.validate_waiting(RUN, batch_checks=False, stores=stores)
    assert deliver(again=flat(2))["again"].id == dark.id  # delivered once more
    assert now(stores, dark).status is ImageStatus.ACCEPTED
    assert where(stores, dark) == {"images"}
    with stores.catalog.transaction() as tx:
        planned = shards.plan_extraction(tx, "released", 10, 10)
        assert dark.id in {i.id for s in planned for i in shards.images_of(tx, s)}
        (entry,) = audit.newest(tx, subject=f"image/{dark.id}")
        (decided,) = quarantine.decisions(tx, image_id=dark.id)
    assert (entry.actor, entry.action) == ("ada", "quarantine.released")
    assert decided.overruled[0]["code"] in entry.details["reasons"]


def test_a_discarded_image_loses_its_bytes_and_keeps_row_and_reasons(stores, deliver):
    white = deliver(white=flat(254))["white"]
    for _ in range(2):
        assert quarantine_review.discard([white.id], **WHO, stores=stores).done == [white.id]
    kept = now(stores, white)
    assert kept.status is ImageStatus.ERASED
    assert kept.reasons == white.reasons
    assert where(stores, white) == set()
    assert deliver(again=flat(254)) == {}  # recognised, not taken in
    assert where(stores, white) == set()
    assert quarantine_review.release([white.id], **WHO, stores=stores).refused
    with stores.catalog.transaction() as tx:
        assert len(quarantine.decisions(tx, image_id=white.id)) == 1


def test_an_interrupted_discard_is_repeated(stores, deliver, monkeypatch):
    image = deliver(one=flat(253))["one"]
    delete = type(stores.objects).delete

    def fail(store, bucket, key):
        delete(store, bucket, key)
        raise RuntimeError("killed")

    monkeypatch.setattr(type(stores.objects), "delete", fail)
    with pytest.raises(RuntimeError):
        quarantine_review.discard([image.id], **WHO, stores=stores)
    monkeypatch.undo()
    assert now(stores, image).status is ImageStatus.QUARANTINED
    assert quarantine_review.discard([image.id], **WHO, stores=stores).done == [image.id]


def test_an_interrupted_take_in_of_what_was_discarded_leaves_nothing(stores, deliver, monkeypatch):
    image = deliver(one=flat(252))["one"]
    quarantine_review.discard([image.id], **WHO, stores=stores)
    stores.objects.put("landing", "door/killed/again", flat(252))
    run = RunContext("test", "killed", "take in")
    (shard_id,) = ingest.plan(run, stores=stores)

    def killed(store, bucket, key):
        raise RuntimeError("killed")

    monkeypatch.setattr(type(stores.objects), "delete", killed)
    with pytest.raises(RuntimeError):
        ingest.ingest_shard(run, shard_id, stores)
    monkeypatch.undo()
    ingest.ingest_shard(RunContext("test", "killed", "take in", try_number=2), shard_id, stores)
    assert where(stores, image) == set()
    assert not stores.objects.exists("landing", "door/killed/again")


def test_what_was_discarded_is_planned_once_where_landing_is_kept(stores, deliver):
    image = deliver(one=flat(251))["one"]
    quarantine_review.discard([image.id], **WHO, stores=stores)
    ingesting = stores.settings.ingest.model_copy(update={"keep_landing": True})
    keeping = Stores(stores.settings.model_copy(update={"ingest": ingesting}))
    stores.objects.put("landing", "kept/again", flat(251))
    planned = []
    for number in range(3):
        run = RunContext("test", f"kept-{number}", "take in")
        planned.append(ingest.plan(run, "kept/", stores=keeping))
        for shard_id in planned[-1]:
            ingest.ingest_shard(run, shard_id, keeping)
    assert [len(shard_ids) for shard_ids in planned] == [1, 0, 0]
    assert ingest.summarise(planned[0], keeping)["sightings"] == 0
    with stores.catalog.transaction() as tx:
        assert images.sighting_counts(tx, [image.id]) == {image.id: 1}  # no activity
    # No longer kept: removed, and still not planned.
    assert ingest.plan(RunContext("test", "kept no more", "plan"), "kept/", stores=stores) == []
    assert not stores.objects.exists("landing", "kept/again")


def test_what_no_decoder_reads_is_not_released(stores, deliver):
    made = deliver(text=b"no picture at all", cut=flat(80, (400, 300), "JPEG")[:900], gone=flat(1))
    stores.objects.delete("quarantine", made["gone"].object_key)
    ids = [image.id for image in made.values()]
    outcome = quarantine_review.release(ids, **WHO, stores=stores)
    assert outcome.done == []
    assert "not_an_image" in outcome.refused[made["text"].id]
    assert "bytes are gone" in outcome.refused[made["gone"].id]
    assert set(quarantine_review.discard(ids, **WHO, stores=stores).done) == set(ids)


def lose(stores, image):
    """What extraction does with an accepted image whose stored file is gone."""
    stores.objects.delete("images", image.object_key)
    with stores.catalog.transaction() as tx:
        missing = {image.id: [{"code": "missing", "detail": "gone"}]}
        assert moving.quarantine(stores, tx, {image.id: image.object_key}, missing) == []


def test_a_lost_picture_that_is_delivered_again_can_be_released(stores, deliver, noisy_jpeg):
    picture = noisy_jpeg(1)
    image = deliver(first=picture)["first"]
    assert image.status is ImageStatus.ACCEPTED
    lose(stores, image)
    assert quarantine_review.release([image.id], **WHO, stores=stores).refused
    assert deliver(again=picture)["again"].id == image.id
    assert now(stores, image).status is ImageStatus.QUARANTINED
    assert where(stores, image) == {"quarantine"}
    assert quarantine_review.preview(image.id, stores)
    assert quarantine_review.release([image.id], **WHO, stores=stores).done == [image.id]
    assert now(stores, image).status is ImageStatus.ACCEPTED
    assert stores.objects.get("images", image.object_key) == picture
    assert where(stores, image) == {"images"}


def test_a_lost_picture_that_was_put_back_can_be_released(stores, deliver, noisy_jpeg):
    picture = noisy_jpeg(2)
    image = deliver(one=picture)["one"]
    lose(stores, image)
    stores.objects.put("images", image.object_key, picture)
    assert quarantine_review.preview(image.id, stores)
    assert quarantine_review.release([image.id], **WHO, stores=stores).done == [image.id]
    assert now(stores, image).status is ImageStatus.ACCEPTED
    assert where(stores, image) == {"images"}


def test_a_picture_that_extraction_refuses_at_once_keeps_its_bytes(stores, deliver, monkeypatch):
    image = deliver(one=flat(250))["one"]
    decide = quarantine_review._each

    def decided_then_refused(*given):
        outcome = decide(*given)
        with stores.catalog.transaction() as tx:
            failed = {image.id: [{"code": "extraction_failed", "detail": "x"}]}
            moved = moving.quarantine(stores, tx, {image.id: image.object_key}, failed)
        moving.remove_originals(stores, moved)
        return outcome

    monkeypatch.setattr(quarantine_review, "_each", decided_then_refused)
    assert quarantine_review.release([image.id], **WHO, stores=stores).done == [image.id]
    assert now(stores, image).status is ImageStatus.QUARANTINED
    assert where(stores, image) == {"quarantine"}


def test_a_decision_needs_a_reason_and_an_image(stores, deliver):
    image = deliver(one=flat(3))["one"]
    with pytest.raises(UsageError, match="reason"):
        quarantine_review.release([image.id], actor="ada", reason=" ", stores=stores)
    with pytest.raises(UsageError, match="1 to 200"):
        quarantine_review.discard([], **WHO, stores=stores)
    with pytest.raises(NotFound):
        quarantine_review.discard([image.id, 10**9], **WHO, stores=stores)
    assert now(stores, image).status is ImageStatus.QUARANTINED


def change(stores, statement, image_id):
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SET LOCAL facecore.acting = 'human'")
        cursor.execute(statement, [image_id])


def test_the_database_lets_nobody_else_out_of_the_quarantine(stores, deliver):
    image = deliver(one=flat(4))["one"]
    for statement, refusal in (
        ("UPDATE image SET status = 'accepted' WHERE id = %s", "cannot become accepted"),
        ("UPDATE quarantine_decision SET actor = 'eve' WHERE image_id <> %s", "only added to"),
    ):
        with pytest.raises(ChangeRefused, match=refusal):
            change(stores, statement, image.id)


def test_pages_of_the_quarantine_by_reason(stores, deliver):
    made = deliver(a=flat(5), b=flat(6), c=flat(7), wide=flat(90, (1200, 70)))
    first = quarantine_review.listing(limit=2, stores=stores)
    assert len(first.images) == 2
    assert first.counts["low_contrast"] >= 3
    second = quarantine_review.listing(limit=2, before=first.more_before, stores=stores)
    assert second.images[0].id < first.images[-1].id
    wide = quarantine_review.listing(code="extreme_aspect", stores=stores).images
    assert [image.id for image in wide] == [made["wide"].id]
    assert wide[0].landing_key.endswith("/wide")
    with pytest.raises(UsageError, match="is no reason"):
        quarantine_review.listing(code="ugly", stores=stores)


def test_previews_are_small_and_of_quarantined_pictures_only(stores, deliver):
    made = deliver(big=flat(8, (2000, 1500)), text=b"not a picture")
    with Image.open(io.BytesIO(quarantine_review.preview(made["big"].id, stores))) as picture:
        assert picture.size == (480, 360)
    assert quarantine_review.release([made["big"].id], **WHO, stores=stores).done
    with pytest.raises(NotFound):
        quarantine_review.preview(made["big"].id, stores)
