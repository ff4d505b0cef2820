"""The simulated stream: complete, deterministic, and as its ground truth says."""

from __future__ import annotations

import hashlib
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from facecore.errors import UsageError
from facecore.samples.frames import IDENTIFIABLE_PX
from facecore.samples.ground_truth import GroundTruth
from facecore.samples.schedule import CAMERAS
from facecore.samples.sources import Portrait
from facecore.samples.stream import SampleSet, simulate
from facecore.stages.decode import Limits, inspect
from facecore.stages.provenance import trace

LIMITS = Limits(64 * 2**20, 64_000_000)


def test_the_truth_describes_every_object(one_day: SampleSet) -> None:
    truth = {image.key: image for image in one_day.truth.images}
    assert [o.key for o in one_day.objects] == [i.key for i in one_day.truth.images]
    assert len(truth) == len(one_day.objects) > 40
    for item in one_day.objects:
        assert hashlib.sha256(item.path.read_bytes()).hexdigest() == truth[item.key].sha256
    totals = one_day.truth.totals()
    assert totals["objects"] == len(truth)
    assert totals["images"] == len({image.sha256 for image in truth.values()})
    assert totals["quarantined"] == 15
    assert set(totals["objects_by_source"]) == set(CAMERAS)
    assert totals["faces_of_unknown_people"] > 0
    assert totals["frames_without_people"] > 0


def test_time_and_camera_can_be_read_back_as_the_truth_says(one_day: SampleSet) -> None:
    seen = set()
    for item, truth in zip(one_day.objects, one_day.truth.images, strict=True):
        if truth.status == "quarantined":
            continue
        header = inspect(item.path.read_bytes(), LIMITS)
        assert truth.captured_at is not None
        found = trace(
            item.key,
            last_modified=truth.captured_at + timedelta(days=30),
            exif_time=header.captured_at,
            metadata=item.metadata,
        )
        assert (found.source, found.captured_at, found.captured_from) == (
            truth.source,
            truth.captured_at,
            truth.captured_from,
        )
        seen.add(found.captured_from)
        for face in truth.faces:  # header sizes are upright, and so are the boxes
            x1, y1, x2, y2 = face.box
            assert 0 <= x1 < x2 <= header.width
            assert 0 <= y1 < y2 <= header.height
            if face.identifiable:
                assert y2 - y1 >= IDENTIFIABLE_PX
    assert seen == {"exif", "metadata", "key"}


def test_duplicates_have_the_same_bytes_under_another_key(one_day: SampleSet) -> None:
    by_key = {image.key: image for image in one_day.truth.images}
    again = [image for image in by_key.values() if image.duplicate_of]
    assert len(again) == 6
    for image in again:
        original = by_key[image.duplicate_of]
        assert (image.sha256, image.captured_at) == (original.sha256, original.captured_at)
        assert image.key != original.key


def test_enrolled_and_unknown_people(one_day: SampleSet) -> None:
    assert {photo.person for photo in one_day.gallery} == set(one_day.truth.enrolled)
    assert one_day.truth.unknown == ("Grace Hopper",)
    for image in one_day.truth.images:
        for face in image.faces:
            assert face.enrolled == (face.person in one_day.truth.enrolled)


def test_the_same_parameters_give_the_same_bytes(portraits: list[Portrait], tmp_path: Path) -> None:
    made = []
    for name, workers in (("one", 1), ("two", 3)):
        shutil.copytree(portraits[0].path.parent, tmp_path / name / "portraits")
        made.append(simulate(tmp_path / name, end=date(2026, 3, 1), days=1, workers=workers))
    one, two = made
    assert one.truth == two.truth
    assert one.folder.name == two.folder.name
    for a, b in zip(one.objects, two.objects, strict=True):
        assert (a.key, a.path.read_bytes(), a.metadata) == (b.key, b.path.read_bytes(), b.metadata)


def test_a_stream_is_made_once_and_old_ones_go(portraits: list[Portrait], tmp_path: Path) -> None:
    shutil.copytree(portraits[0].path.parent, tmp_path / "portraits")
    for day in (1, 2, 3):  # left by earlier versions
        old = tmp_path / f"stream-{day}"
        old.mkdir()
        (old / "truth.json").touch()
    first = simulate(tmp_path, end=date(2026, 3, 1), days=1)
    made_at = (first.folder / "truth.json").stat().st_mtime_ns
    assert len(list(tmp_path.glob("stream-*"))) == 2
    again = simulate(tmp_path, end=date(2026, 3, 1), days=1)
    assert (again.folder / "truth.json").stat().st_mtime_ns == made_at
    assert again == first
    assert GroundTruth.load(first.folder / "truth.json") == first.truth


def test_no_days_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one day"):
        simulate(tmp_path, days=0)
    assert not list(tmp_path.iterdir())
