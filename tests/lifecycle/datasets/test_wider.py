from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facecore.errors import SnapshotDamaged, UsageError
from facecore.lifecycle.datasets import SPLITS, SplitPlan
from facecore.lifecycle.datasets.wider import build_from_wider, read_annotations

FLAGS = " 0 0 0 0 0 0"


@pytest.fixture
def wider(tmp_path):
    """Twelve pictures; the second has no face, the third an invalid and a flat one."""
    images = tmp_path / "images"
    (images / "0--Parade").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        name = f"0--Parade/{number}.{'png' if number == 3 else 'jpg'}"
        pixels = rng.integers(0, 256, (60, 90, 3), np.uint8)
        Image.fromarray(pixels).save(images / name)
        faces = [f"10 20 30 25{FLAGS}", f"70 40 40 40{FLAGS}"]
        if number == 1:
            lines += [name, "0", "0 0 0 0" + FLAGS]
            continue
        if number == 2:
            faces += ["1 1 9 9 0 0 0 1 0 0", f"5 5 0 9{FLAGS}"]
        lines += [name, str(len(faces)), *faces]
    path = tmp_path / "train.txt"
    path.write_text("\n".join(lines) + "\n")
    return images, path


def test_boxes_and_unknown_landmarks(to, wider):
    images, annotations = wider
    plan = SplitPlan(0.2, 0.2, seed=5)
    built = build_from_wider(to("wider"), images, annotations, plan=plan)
    snapshot = built.snapshot
    assert (snapshot.kind, snapshot.rows) == ("scenes", 12)
    assert snapshot.left_out == {"faces marked invalid or without an area": 2}
    seen = set()
    for split in SPLITS:
        rows = snapshot.frame(split)
        for row, (image, boxes, landmarks) in zip(
            rows.itertuples(), snapshot.scenes(split), strict=True
        ):
            assert plan.of(row.image) == split
            seen.add(row.image)
            assert image.shape == (row.height, row.width, 3) == (60, 90, 3)
            if row.image.endswith("/1.jpg"):
                assert boxes.shape == (0, 4)
                assert landmarks.shape == (0, 5, 2)
                continue
            assert boxes.dtype == landmarks.dtype == np.float32
            assert boxes.tolist() == [[10, 20, 40, 45], [70, 40, 90, 60]]  # cut at the border
            assert landmarks.shape == (2, 5, 2)
            assert np.isnan(landmarks).all()
            assert row.smallest_px == pytest.approx(20)
    assert len(seen) == 12
    image, _, _ = snapshot.scene("train", 0)
    with Image.open(images / snapshot.frame("train")["image"][0]) as original:
        assert np.abs(image.astype(int) - np.asarray(original)).max() <= 3
    assert build_from_wider(to("wider"), images, annotations, plan=plan).written == 0


def test_a_file_of_its_own_is_the_test(to, wider, tmp_path):
    images, annotations = wider
    lines = annotations.read_text().splitlines()
    test = tmp_path / "test.txt"
    test.write_text("\n".join(lines[-8:]))
    annotations.write_text("\n".join(lines[:-8]))
    labels = tmp_path / "labels.csv"
    labels.write_text("image,crowd\n0--Parade/0.jpg,small\n")
    snapshot = build_from_wider(
        to("wider-two"), images, annotations, test_annotations=test, plan=SplitPlan(0),
        labels=labels,
    ).snapshot  # fmt: skip
    assert snapshot.frame("test")["image"].tolist() == ["0--Parade/10.jpg", "0--Parade/11.jpg"]
    assert snapshot.splits["train"]["rows"] == 10
    assert snapshot.frame("train")["crowd"].dropna().tolist() == ["small"]
    with pytest.raises(UsageError, match="both annotation files name"):
        build_from_wider(to("no"), images, annotations, test_annotations=annotations)


def test_altered_scenes_are_refused(to, objects, wider):
    snapshot = build_from_wider(to("wider-bad"), *wider, plan=SplitPlan(0, 0)).snapshot
    key = snapshot.frame("train")["object"].iloc[3]
    objects.put("snapshots", key, b"\xff\xd8\xff")
    with pytest.raises(SnapshotDamaged) as caught:
        list(snapshot.scenes("train"))
    assert caught.value.key == key
    with pytest.raises(UsageError, match="holds scenes, not faces"):
        snapshot.crops("train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no picture"),
        ("a.jpg\nmany\n", "a.txt:2: expected the number of faces of a.jpg, got 'many'"),
        ("a.jpg\n2\n1 2 3 4\n", "a.txt:4: expected 'x y w h'"),
        ("a.jpg\n1\n1 2 3\n", "a.txt:3: expected 'x y w h' and six flags, got '1 2 3'"),
        ("a.jpg\n1\n1 2 nan 4\n", "a.txt:3"),
        ("../a.jpg\n1\n1 2 3 4\n", "is not a path within"),
        ("a.jpg\n1\n1 2 3 4\na.jpg\n1\n1 2 3 4\n", "names a.jpg twice"),
    ],
)
def test_malformed_lines_are_named(tmp_path, text, message):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_annotations(path)


def test_missing_pictures_write_nothing(to, wider, stored):
    before = stored()
    images, annotations = wider
    (images / "0--Parade" / "4.jpg").unlink()
    with pytest.raises(UsageError, match=r"4\.jpg, which is not in"):
        build_from_wider(to("no"), images, annotations)
    annotations.write_text("0--Parade/1.jpg\n0\n0 0 0 0\n")
    with pytest.raises(UsageError, match="gives no face for the split"):
        build_from_wider(to("no"), images, annotations, plan=SplitPlan(0, 0))
    assert stored() == before
