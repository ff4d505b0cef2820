"""Snapshots of the platform's own faces, on a real catalogue and real packs of crops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facecore.errors import NotFound, UsageError
from facecore.jobs.faces import extract, identify
from facecore.jobs.faces.crops import read_pack
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.jobs.training import dataset
from facecore.jobs.training.dataset import DatasetBuilder
from facecore.lifecycle.datasets import SPLITS, SplitPlan
from facecore.samples.sources import Portrait
from facecore.stores.catalog.people import people

Context = Callable[[str], RunContext]
# Everything is train: the gallery has two people, and each split needs two.
PLAN = SplitPlan(val=0, test=0)


@pytest.fixture
def with_strangers(enrolled: Stores, context: Context, pictures: dict[str, Portrait]) -> Stores:
    """Enrolled people, and extracted pictures of them and of strangers that nobody confirmed."""
    for picture in pictures.values():
        if picture.role != "gallery":
            key = f"door/2026/11/02/{picture.name}"
            enrolled.objects.put("landing", key, picture.path.read_bytes())
    shard_ids = ingest.plan(context("plan"), stores=enrolled)
    for shard_id in shard_ids:
        ingest.ingest_shard(context("ingest"), shard_id, enrolled)
    validate.validate_shards(context("validate"), shard_ids, batch_checks=False, stores=enrolled)
    for shard_id in extract.plan(context("extract"), stores=enrolled):
        extract.extract_shard(context("extract"), shard_id, enrolled)
        identify.identify_shard(context("identify"), shard_id, enrolled)
    return enrolled


def rows_of(stores: Stores, query: str) -> list[tuple]:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_confirmed_faces_by_number_of_the_person(with_strangers, context):
    stores = with_strangers
    builder = DatasetBuilder(context("dataset"), "own", stores=stores)
    built = builder.catalog(plan=PLAN)
    pixels, identities, rows = built.snapshot.crops("train")
    confirmed = rows_of(
        stores,
        "SELECT i.sha256, a.person_id, f.crop_key, f.crop_index FROM assignment AS a "
        "JOIN face AS f ON f.id = a.face_id JOIN image AS i ON i.id = f.image_id "
        "WHERE a.source = 'human'",
    )
    assert len(identities) == len(confirmed) >= 2
    assert sorted(zip(rows["image"], identities, strict=True)) == sorted(
        (sha256, f"person-{person}") for sha256, person, _, _ in confirmed
    )
    where = {sha256: (key, index) for sha256, _, key, index in confirmed}
    for crop, sha256 in zip(pixels, rows["image_sha256"], strict=True):
        key, index = where[sha256]
        assert np.array_equal(crop, read_pack(stores.objects, key).pixels[index])
    assert set(rows["quality_band"]) <= {"low", "medium", "high"}
    labels = json.dumps(built.snapshot.source)
    assert "Obama" not in labels + " ".join(map(str, identities))

    run = rows_of(stores, "SELECT state, counts, params FROM run WHERE stage = 'dataset'")
    assert run[0][0] == "done"
    assert run[0][1]["reference"] == built.snapshot.reference
    again = DatasetBuilder(context("again"), "own", stores=stores).catalog(plan=PLAN)
    assert (again.new, again.written) == (False, 0)


def test_unlabelled_faces_are_split_with_whom_they_are_taken_for(with_strangers, context):
    stores = with_strangers
    plan = next(
        plan
        for plan in (SplitPlan(val=0, test=0.4, seed=seed) for seed in range(100))
        if (plan.of("person-1"), plan.of("person-2")) == ("test", "train")
    )
    everything = DatasetBuilder(context("all"), "all", stores=stores).catalog(
        which="all", plan=plan
    )
    nobody = DatasetBuilder(context("nobody"), "nobody", stores=stores).catalog(
        which="unlabelled", plan=PLAN
    )
    assert set(nobody.snapshot.crops()[1]) == {None}
    faces = rows_of(stores, "SELECT count(*) FROM face")[0][0]
    confirmed = rows_of(stores, "SELECT count(*) FROM assignment WHERE source = 'human'")[0][0]
    assert everything.snapshot.rows == faces
    assert nobody.snapshot.rows == faces - confirmed
    taken_for = dict(
        rows_of(
            stores,
            "SELECT i.sha256, c.person_id FROM current_assignment AS c "
            "JOIN face AS f ON f.id = c.face_id JOIN image AS i ON i.id = f.image_id "
            "WHERE c.person_id IS NOT NULL",
        )
    )
    assert len(taken_for) > confirmed
    assert everything.snapshot.splits.keys() == {"train", "test"}
    for split in SPLITS:
        for sha256 in everything.snapshot.frame(split)["image"]:
            if sha256 in taken_for:
                assert plan.of(f"person-{taken_for[sha256]}") == split


def test_unlabelled_faces_may_be_split_by_picture_and_named_ones_stay_together(
    with_strangers, context
):
    stores = with_strangers
    plan = SplitPlan(val=0, test=0.5)
    built = DatasetBuilder(context("pictures"), "pictures", stores=stores).catalog(
        which="all", plan=plan, split_by="picture"
    )
    images = dict(rows_of(stores, "SELECT sha256, coalesce(near_duplicate_of, id) FROM image"))
    seen = 0
    for split in SPLITS:
        rows = built.snapshot.frame(split)
        for sha256, identity in zip(rows["image"], rows["identity"], strict=True):
            group = identity if isinstance(identity, str) else f"image-{images[sha256]}"
            assert plan.of(group) == split
            seen += 1
    assert seen == rows_of(stores, "SELECT count(*) FROM face")[0][0]
    assert built.snapshot.source["split_by"] == "picture"


def test_erased_people_are_in_no_snapshot(enrolled, context):
    with enrolled.catalog.transaction() as tx:
        (first, *others) = people.every(tx)
        with tx.cursor() as cursor:
            cursor.execute("UPDATE person SET status = 'erased' WHERE id = %s", [first.id])
    assert others
    faces = DatasetBuilder(context("x"), "rest", stores=enrolled).catalog(which="all", plan=PLAN)
    assert f"person-{first.id}" not in faces.snapshot.crops()[1]
    assert faces.snapshot.rows == sum(person.enrolled_faces for person in others)


def test_an_empty_catalogue_and_too_few_people_are_refused(stores, context):
    def build(plan: SplitPlan):
        return DatasetBuilder(context("empty"), "none", stores=stores).catalog(plan=plan)

    with pytest.raises(NotFound, match="no face to learn from"):
        build(PLAN)
    failed = rows_of(stores, "SELECT state FROM run WHERE stage = 'dataset'")
    assert failed == [("failed",)]
    with pytest.raises(NotFound, match="none"):
        dataset.show("none", stores=stores)


def test_too_few_confirmed_people_are_refused(enrolled, context):
    with pytest.raises(UsageError, match="too few identities"):
        DatasetBuilder(context("few"), "few", stores=enrolled).catalog(plan=SplitPlan(0.3, 0.3))
    assert "few" not in {one.name for one in dataset.every(enrolled)}


def test_a_folder_by_the_detector_in_use(ready, context, pictures, tmp_path: Path):
    for picture in pictures.values():
        (tmp_path / picture.person).mkdir(exist_ok=True)
        (tmp_path / picture.person / picture.name).write_bytes(picture.path.read_bytes())
    steps = []
    builder = DatasetBuilder(
        context("folder"), "portraits", stores=ready, on_progress=lambda *step: steps.append(step)
    )
    built = builder.folder(tmp_path, plan=PLAN)
    assert built.snapshot.rows == len(pictures)
    assert steps[-1][0] == "upload"
    listed = [one for one in dataset.every(ready) if one.name == "portraits"]
    assert [one.reference for one in listed] == [built.snapshot.reference]
    assert dataset.show("portraits", verify=True, stores=ready).digest == built.snapshot.digest
    models = rows_of(ready, "SELECT models FROM run WHERE stage = 'dataset' AND models <> '{}'")
    assert models[0][0]["detect"].startswith("face-detector/")
