"""From a folder to a snapshot and back, on real object storage and with a real detector."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from facecore.errors import NotFound, SnapshotDamaged, UsageError
from facecore.lifecycle.datasets import SPLITS, SplitPlan, building, open_snapshot
from facecore.lifecycle.datasets.folder import build_from_folder
from facecore.lifecycle.datasets.manifest import digest_of
from facecore.lifecycle.datasets.names import manifest_key

PLAN = SplitPlan(val=0.25, test=0.25, seed=4)


@pytest.fixture(scope="module")
def built(objects, crowd, extractor, tmp_path_factory):
    to = building.Destination(objects, "crowd", tmp_path_factory.mktemp("work"))
    return build_from_folder(to, crowd, extractor, plan=PLAN)


def test_every_picture_is_in_one_split_with_its_person(built, objects, crowd):
    snapshot = open_snapshot(objects, "crowd")
    assert (snapshot.digest, snapshot.kind, snapshot.version) == (built.snapshot.digest, "faces", 1)
    assert (built.new, snapshot.rows, snapshot.left_out) == (True, 24, {})
    people = {}
    for split in SPLITS:
        pixels, identities, rows = snapshot.crops(split)
        assert pixels.shape == (len(rows), 112, 112, 3)
        assert pixels.dtype == np.uint8
        assert identities == rows["identity"].tolist()
        assert list(rows.index) == list(range(len(rows)))
        assert set(rows["split"]) == {split}
        assert snapshot.splits[split]["identities"] == len(set(identities))
        hashes = [digest_of(crop.tobytes()) for crop in pixels]
        assert hashes == rows["crop_sha256"].tolist()
        for row in rows.itertuples():
            assert digest_of((crowd / row.image).read_bytes()) == row.image_sha256
            assert row.image.startswith(f"{row.identity}/")
            assert row.quality_band in ("low", "medium", "high")
            assert (row.alignment, len(row.landmarks)) == ("landmarks", 10)
        people[split] = set(identities)
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 12
    assert not snapshot.pairs("test")
    assert snapshot.crops()[0].shape[0] == 24
    assert sum(len(where) for where, _ in snapshot.packs()) == 24
    assert not list((crowd.parent).glob("facecore-snapshot-*"))


def test_the_same_data_again_writes_nothing(built, to, crowd, extractor, stored, tmp_path):
    before = stored()
    again = build_from_folder(to("crowd"), crowd, extractor, plan=PLAN)
    assert (again.new, again.written, again.snapshot) == (False, 0, built.snapshot)
    elsewhere = shutil.copytree(crowd, tmp_path / "moved")
    moved = build_from_folder(to("crowd"), elsewhere, extractor, plan=PLAN, source=crowd.name)
    assert moved.snapshot.digest == built.snapshot.digest
    assert stored() == before
    other = build_from_folder(to("other-name"), crowd, extractor, plan=PLAN)
    assert (other.new, other.written) == (True, 0)
    assert other.snapshot.digest == built.snapshot.digest
    assert not list((tmp_path / "work").iterdir())


def test_a_changed_folder_is_another_version(to, objects, crowd, extractor, noise, tmp_path):
    folder = shutil.copytree(crowd, tmp_path / "grown")
    first = build_from_folder(to("growing"), folder, extractor, plan=PLAN).snapshot
    shutil.copytree(folder / "P00", folder / "Q00")
    (folder / "Q00" / "note.jpg").write_text("no picture")
    noise(folder / "P00" / "P00_0003.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("identity,group\nP00,a\nP01,b\n")
    second = build_from_folder(to("growing"), folder, extractor, plan=PLAN, labels=labels).snapshot
    assert (second.version, second.labels) == (2, ("group",))
    split = {s: set(second.crops(s)[1]) for s in SPLITS}
    own, copy = (next((s for s in SPLITS if p in split[s]), None) for p in ("P00", "Q00"))
    # The same bytes never are in two splits.
    assert second.left_out.get("also in another split", 0) == (0 if own == copy else 2)
    assert second.left_out["no face found"] == 1
    assert second.left_out["not a usable picture"] == 1
    groups = second.frame().set_index("identity")["group"]
    assert set(groups["P01"]) == {"b"}
    assert groups["P05"].isna().all()
    assert open_snapshot(objects, "growing").digest == second.digest
    assert open_snapshot(objects, first.reference).digest == first.digest
    # Who was in a split before is in the same one.
    for name in SPLITS:
        assert set(first.crops(name)[1]) - {"P00"} <= split[name]


def test_packs_are_cut_and_read_across(to, crowd, extractor, monkeypatch, built):
    monkeypatch.setattr(building, "CROPS_PER_PACK", 3)
    cut = build_from_folder(to("small-packs"), crowd, extractor, plan=PLAN).snapshot
    assert cut.digest != built.snapshot.digest
    assert cut.verify() == cut.frame()["object"].nunique() > 6
    for split in SPLITS:
        assert np.array_equal(cut.crops(split)[0], built.snapshot.crops(split)[0])


def test_pictures_of_nobody_knows_whom(to, crowd, extractor, noise, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(crowd.glob("*/*.jpg"))[:10]):
        shutil.copy(path, flat / f"{number}.jpg")
    snapshot = build_from_folder(to("flat"), flat, extractor, plan=SplitPlan(0, 0.3, 1)).snapshot
    pixels, identities, rows = snapshot.crops("train")
    assert set(identities) == {None}
    assert len(pixels) == snapshot.splits["train"]["unlabelled"] == len(rows)
    tree = build_from_folder(to("tree"), crowd, extractor, plan=PLAN, unlabelled=True).snapshot
    assert set(tree.crops()[1]) == {None}
    folders = [{name.split("/")[0] for name in tree.frame(s)["image"]} for s in SPLITS]
    assert sum(map(len, folders)) == len(set.union(*folders))


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_damaged_objects_are_refused_and_built_anew(objects, to, crowd, extractor, built, fault):
    snapshot = built.snapshot
    key = snapshot.frame("test")["object"].iloc[0]
    good = objects.get("snapshots", key)
    if fault == "missing":
        objects.delete("snapshots", key)
    else:
        objects.put("snapshots", key, good[:-1] + bytes([good[-1] ^ 1]))
    snapshot.crops("train")  # other objects are untouched
    for read in (lambda: snapshot.crops("test"), snapshot.verify):
        with pytest.raises(SnapshotDamaged, match=fault) as caught:
            read()
        assert (caught.value.snapshot, caught.value.key) == (snapshot.reference, key)
    repaired = build_from_folder(to("crowd"), crowd, extractor, plan=PLAN)
    assert (repaired.new, repaired.written) == (False, 1)
    assert objects.get("snapshots", key) == good


def test_a_damaged_manifest_is_refused(objects, built):
    key = manifest_key(built.snapshot.digest)
    good = objects.get("snapshots", key)
    objects.put("snapshots", key, good + b"x")
    with pytest.raises(SnapshotDamaged, match="was altered") as caught:
        open_snapshot(objects, "crowd")
    assert caught.value.key == key
    objects.delete("snapshots", key)
    with pytest.raises(SnapshotDamaged, match="is missing"):
        open_snapshot(objects, "crowd")
    objects.put("snapshots", key, good)


def test_what_cannot_be_built_writes_nothing(
    objects, to, crowd, extractor, noise, stored, tmp_path
):
    before = stored()

    def refuse(folder, message, **options):
        with pytest.raises(UsageError, match=message):
            build_from_folder(to("never"), folder, extractor, **{"plan": PLAN, **options})

    refuse(tmp_path / "none", "is not a folder")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "holds no pictures")
    for person in ("A", "B"):
        (tmp_path / "few" / person).mkdir(parents=True)
        shutil.copy(crowd / "P00" / "P00_0001.jpg", tmp_path / "few" / person / "1.jpg")
    refuse(tmp_path / "few", "too few identities")
    for person in range(12):
        (tmp_path / "faceless" / f"P{person:02d}").mkdir(parents=True)
        noise(tmp_path / "faceless" / f"P{person:02d}" / "1.png")
    refuse(tmp_path / "faceless", "counting pictures with a face that was found")
    refuse(tmp_path / "faceless", "too few pictures", unlabelled=True)
    labels = tmp_path / "labels.csv"
    labels.write_text("identity,group\nnobody,a\n")
    refuse(crowd, "the labels name no identity", labels=labels)
    assert stored() == before
    assert not list((tmp_path / "work").iterdir())
    with pytest.raises(NotFound, match="never"):
        open_snapshot(objects, "never")
    with pytest.raises(UsageError, match="cannot name"):
        to("No Name")


def test_wrong_questions_list_the_answers(built):
    with pytest.raises(UsageError, match="train, val, test"):
        built.snapshot.frame("all")
    with pytest.raises(UsageError, match="holds faces, not scenes"):
        list(built.snapshot.scenes("train"))
