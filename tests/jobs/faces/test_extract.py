"""Extraction and identification on real stores and real faces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from facecore.jobs.faces import crops, extract, identify
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.people.search import search
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait
from facecore.stages.fingerprint import content_digest
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images, quarantine
from facecore.stores.catalog.pages.findings import Finding, findings
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import shards

Context = Callable[[str], RunContext]
Jpeg = Callable[[int], bytes]
Portraits = dict[str, Portrait]
ROOT = Path(__file__).resolve().parents[3]


def accepted(stores: Stores, context: Context) -> None:
    shard_ids = ingest.plan(context("plan"), stores=stores)
    for shard_id in shard_ids:
        ingest.ingest_shard(context("ingest"), shard_id, stores)
    validate.validate_shards(context("validate"), shard_ids, batch_checks=False, stores=stores)


def land(stores: Stores, pictures: Portraits) -> list[str]:
    landed = []
    for picture in pictures.values():
        key = f"door/2026/11/02/{picture.name}"
        stores.objects.put("landing", key, picture.path.read_bytes())
        landed.append(key)
    return landed


def found(stores: Stores, keys: list[str]) -> dict[str, Finding]:
    with stores.catalog.transaction() as tx:
        return {Path(f.key).name: f for f in findings(tx, keys)}


def test_probes_are_named_and_strangers_are_not(
    enrolled: Stores, context: Context, pictures: Portraits
) -> None:
    probes = {n: p for n, p in pictures.items() if p.role != "gallery"}
    keys = land(enrolled, probes)
    accepted(enrolled, context)

    shard_ids = extract.plan(context("extract"), stores=enrolled)
    for shard_id in shard_ids:
        extract.extract_shard(context("extract"), shard_id, enrolled)
        identify.identify_shard(context("identify"), shard_id, enrolled)

    results = found(enrolled, keys)
    assert {f.status for f in results.values()} == {"extracted"}
    for name in ("obama2.jpg", "obama3.jpg"):
        assert [face.label for face in results[name].faces] == ["Barack Obama"], results[name]
    assert [face.label for face in results["grace_hopper.jpg"].faces] == [None]
    assert results["grace_hopper.jpg"].faces[0].outcome == "unknown"


def test_faces_crops_and_embeddings_belong_together(
    enrolled: Stores, context: Context, pictures: Portraits
) -> None:
    land(enrolled, {"obama2.jpg": pictures["obama2.jpg"]})
    accepted(enrolled, context)
    (shard_id,) = extract.plan(context("extract"), stores=enrolled)
    extract.extract_shard(context("extract"), shard_id, enrolled)
    with enrolled.catalog.transaction() as tx:
        (face,) = faces.of_shard(tx, shard_id)
        shard = shards.get(tx, shard_id)
    pack = crops.read_pack(enrolled.objects, face.crop_key)
    assert pack.pixels.shape == (1, 112, 112, 3)
    assert (shard.state, shard.counts["faces"], shard.counts["images"]) == ("done", 1, 1)
    left, top, right, bottom = pictures["obama2.jpg"].face
    centre = ((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2)
    assert left < centre[0] < right
    assert top < centre[1] < bottom
    assert face.quality["inter_eye_px"] > 20


def test_extracting_again_changes_nothing(
    enrolled: Stores, context: Context, pictures: Portraits, noisy_jpeg: Jpeg
) -> None:
    land(enrolled, {"obama2.jpg": pictures["obama2.jpg"]})
    enrolled.objects.put("landing", "door/nobody.jpg", noisy_jpeg(1))
    accepted(enrolled, context)
    (shard_id,) = extract.plan(context("extract"), stores=enrolled)
    for _ in range(2):
        assert extract.extract_shard(context("extract"), shard_id, enrolled) == shard_id
        identify.identify_shard(context("identify"), shard_id, enrolled)
        with enrolled.catalog.transaction() as tx:
            state = summarise(tx)
        assert state.images["extracted"] == 2 + state.people["enrolled"]
        assert state.faces == 1 + state.people["enrolled"]
    assert extract.plan(RunContext("test", "next", "plan"), stores=enrolled) == []


def test_enrolling_later_names_faces_seen_before(
    stores: Stores, context: Context, pictures: Portraits
) -> None:
    keys = land(stores, {"obama2.jpg": pictures["obama2.jpg"]})
    accepted(stores, context)
    (shard_id,) = extract.plan(context("extract"), stores=stores)
    extract.extract_shard(context("extract"), shard_id, stores)
    identify.identify_shard(context("identify"), shard_id, stores)
    assert found(stores, keys)["obama2.jpg"].faces[0].outcome == "unknown"

    enroll(context("enroll"), [Picture("B. O.", pictures["obama.jpg"].path)], stores=stores)
    counts = identify.identify_everything(RunContext("cli", "again", "identify"), stores)
    assert counts["accept"] == 1
    assert found(stores, keys)["obama2.jpg"].faces[0].label == "B. O."


@pytest.fixture
def double(pictures: Portraits, tmp_path: Path) -> Path:
    """A picture of Barack Obama, and smaller beside him Grace Hopper."""
    large, small = (Image.open(pictures[n].path) for n in ("obama.jpg", "grace_hopper.jpg"))
    canvas = Image.new("RGB", (large.width + 320, large.height), (120, 120, 120))
    canvas.paste(large, (0, 0))
    canvas.paste(small.resize((256, 300)), (large.width + 32, 400))
    canvas.save(tmp_path / "double.png")
    return tmp_path / "double.png"


def extracted_backwards(stores: Stores, context: Context, picture: Path) -> list[faces.Face]:
    """Extract a picture of two; its faces, largest first, their ordinals swapped.

    They go by scores, which differ a little where a large picture is searched reduced.
    """
    stores.objects.put("landing", f"door/{picture.name}", picture.read_bytes())
    accepted(stores, context)
    (shard_id,) = extract.plan(context("extract"), stores=stores)
    extract.extract_shard(context("extract"), shard_id, stores)
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        for change in ("ordinal + 10", "11 - ordinal"):
            cursor.execute(f"UPDATE face SET ordinal = {change} WHERE shard_id = %s", [shard_id])
        found = faces.of_shard(tx, shard_id)
    return sorted(found, key=lambda face: face.box[0] - face.box[2])


def test_enrolling_an_extracted_picture_takes_the_face_at_that_place(
    stores: Stores, context: Context, double: Path
) -> None:
    obama, hopper = extracted_backwards(stores, context, double)
    (result,) = enroll(context("enroll"), [Picture("B. O.", double)], stores=stores)
    assert (result.state, result.face_id) == ("enrolled", obama.id)
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        assert {f.id for f in faces.of_image(tx, obama.image_id)} == {obama.id, hopper.id}
        # As if extraction had found nobody at that place.
        cursor.execute("SET LOCAL facecore.acting = 'erasure'")
        cursor.execute("DELETE FROM face WHERE id = %s", [obama.id])
    (result,) = enroll(context("enroll"), [Picture("B. O.", double)], stores=stores)
    assert (result.state, result.detail.split(":")[0]) == ("refused", "another_face")
    assert [o.key for o in stores.objects.list("crops")] == [hopper.crop_key]


def test_a_picture_twice_in_a_batch_enrols_one_person(
    stores: Stores, context: Context, pictures: Portraits, tmp_path: Path
) -> None:
    obama = pictures["obama.jpg"].path
    Image.new("RGB", (200, 200)).save(nobody := tmp_path / "nobody.png")
    wanted = [("B. O.", obama), ("Eve", obama), ("B.  O.", obama), ("X", nobody), ("Y", nobody)]
    results = enroll(context("enroll"), [Picture(*one) for one in wanted], stores=stores)
    assert [(r.label, r.state) for r in results] == [
        ("B. O.", "enrolled"), ("Eve", "refused"), ("B.  O.", "known"), ("X", "refused"),
        ("Y", "refused"),
    ]  # fmt: skip
    assert "enrolled as 'B. O.'" in results[1].detail
    assert results[4].detail == results[3].detail != ""
    with stores.catalog.transaction() as tx:
        assert [(p.label, p.enrolled_faces) for p in people.every(tx)] == [("B. O.", 1)]


def test_enrolling_a_discarded_picture_brings_no_bytes_back(
    stores: Stores, context: Context, pictures: Portraits
) -> None:
    land(stores, {"obama.jpg": pictures["obama.jpg"]})
    for shard_id in ingest.plan(context("plan"), stores=stores):
        ingest.ingest_shard(context("ingest"), shard_id, stores)
    digest = content_digest(pictures["obama.jpg"].path.read_bytes())
    with stores.catalog.transaction() as tx:
        stored = images.find(tx, digest)
        images.set_gate_result(tx, [], {stored.id: [{"code": "too_dark"}]})
        held = quarantine.lock(tx, [stored.id])[stored.id]
        quarantine.decide(tx, held, "discard", actor="ada", reason="asked to")
    stores.objects.delete("images", stored.object_key)
    (result,) = enroll(context("e"), [Picture("B. O.", pictures["obama.jpg"].path)], stores=stores)
    assert (result.state, result.detail.split(":")[0]) == ("refused", "erased")
    assert list(stores.objects.list("images")) == []


def test_an_image_lost_from_the_store_costs_one_image(
    enrolled: Stores, context: Context, pictures: Portraits
) -> None:
    names = ("obama2.jpg", "grace_hopper.jpg")
    keys = land(enrolled, {n: pictures[n] for n in names})
    accepted(enrolled, context)
    lost = found(enrolled, keys)["grace_hopper.jpg"]
    with enrolled.catalog.transaction() as tx:
        (ref,) = images.refs(tx, [lost.image_id])
    enrolled.objects.delete(ref.bucket, ref.key)
    (shard_id,) = extract.plan(context("extract"), stores=enrolled)
    extract.extract_shard(context("extract"), shard_id, enrolled)
    after = found(enrolled, keys)
    assert after["obama2.jpg"].status == "extracted"
    assert (after["grace_hopper.jpg"].status, after["grace_hopper.jpg"].reasons) == (
        "quarantined",
        ("missing",),
    )


def test_a_worker_killed_in_the_middle_loses_and_repeats_nothing(
    enrolled: Stores, context: Context, pictures: Portraits, noisy_jpeg: Jpeg
) -> None:
    land(enrolled, {"obama2.jpg": pictures["obama2.jpg"], "obama3.jpg": pictures["obama3.jpg"]})
    for i in range(30):
        enrolled.objects.put("landing", f"door/{i}.jpg", noisy_jpeg(i))
    accepted(enrolled, context)
    with enrolled.catalog.transaction() as tx:
        before = summarise(tx)
        (shard_id,) = shards.plan_extraction(tx, "killed-run", 64, 1)

    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(shard_id)],
        cwd=ROOT,
        env={**os.environ, "FACECORE_TEST_SETTINGS": _with_secrets(enrolled)},
    )
    try:
        _wait_until_held(enrolled, shard_id)
        os.kill(worker.pid, signal.SIGKILL)
    finally:
        worker.wait()
    with enrolled.catalog.transaction() as tx:
        between = summarise(tx)
        assert (between.faces, between.embeddings) == (before.faces, before.embeddings)
        assert shards.get(tx, shard_id).state == "running"

    extract.extract_shard(context("retry"), shard_id, enrolled)
    extract.extract_shard(context("late-twin"), shard_id, enrolled)

    with enrolled.catalog.transaction() as tx:
        after = summarise(tx)
        assert after.images["accepted"] == 0
        assert after.images["extracted"] == before.images["extracted"] + 32
        assert after.faces == after.embeddings == before.faces + 2
        assert shards.get(tx, shard_id).attempts == 2


_WORKER = """
import os, sys
from facecore.config import Settings
from facecore.jobs.faces import extract
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
settings = Settings.model_validate_json(os.environ["FACECORE_TEST_SETTINGS"])
extract.extract_shard(RunContext("test", "killed", "extract"), int(sys.argv[1]), Stores(settings))
"""


def _with_secrets(stores: Stores) -> str:
    import json

    document = stores.settings.model_dump(mode="json")
    for group, name in (("database", "password"), ("s3", "secret_key"), ("mlflow", "password")):
        secret = getattr(getattr(stores.settings, group), name)
        document[group][name] = secret.get_secret_value()
    return json.dumps(document)


def _wait_until_held(stores: Stores, shard_id: int) -> None:
    """Until a worker has the shard's row locked, which it keeps while it computes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM shard WHERE id = %s AND attempts > 0 FOR UPDATE SKIP LOCKED",
                [shard_id],
            )
            free = cursor.fetchone() is not None
            cursor.execute("SELECT attempts FROM shard WHERE id = %s", [shard_id])
            (attempts,) = cursor.fetchone()
        if attempts and not free:
            return
        time.sleep(0.02)
    pytest.fail("no worker took the shard")


def test_search_names_the_person_and_shows_the_score(
    enrolled: Stores, context: Context, pictures: Portraits
) -> None:
    (face,) = search(context("search"), pictures["obama3.jpg"].path, stores=enrolled)
    assert (face.match.outcome, face.match.label) == ("accept", "Barack Obama")
    assert face.match.score > face.match.threshold > 0.2
    assert face.match.candidates[0][1] == "Barack Obama"
    (stranger,) = search(context("search"), pictures["grace_hopper.jpg"].path, stores=enrolled)
    assert stranger.match.outcome == "unknown"
    with enrolled.catalog.transaction() as tx:
        assert summarise(tx).sightings == 0  # a search stores nothing
