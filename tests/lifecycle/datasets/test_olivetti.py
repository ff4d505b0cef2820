from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from facecore.errors import DownloadFailed, UsageError
from facecore.lifecycle.datasets import SplitPlan, olivetti
from facecore.lifecycle.datasets.olivetti import (
    FRAMING,
    IMAGES,
    build_from_olivetti,
    olivetti_images,
)
from facecore.stages.align import TEMPLATE
from facecore.types import CROP_SIZE


@pytest.fixture(scope="module")
def folder(portraits, tmp_path_factory):
    """Ten small grey pictures of each of 40 "people", framed as Olivetti's: cheeks to chin.

    Four are real faces; the others are grey, as nothing that a detector finds.
    """
    made = tmp_path_factory.mktemp("data") / "olivetti" / "images"
    made.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        grey = rng.integers(100, 120, (64, 64), np.uint8)
        person, which = divmod(number, 10)
        if person < len(portraits) and which == 0:
            x1, y1, x2, y2 = portraits[person].face
            with Image.open(portraits[person].path) as picture:
                side = max(x2 - x1, y2 - y1) / 2
                x, y = (x1 + x2) / 2, (y1 + y2) / 2
                box = tuple(int(v) for v in (x - side, y - side, x + side, y + side))
                cut = picture.convert("L").crop(box)
            grey = np.asarray(cut.resize((64, 64), Image.Resampling.LANCZOS))
        Image.fromarray(grey).save(made / f"image-{number}.png")
    return made


def test_faces_not_found_are_aligned_by_the_template(to, folder, extractor, monkeypatch):
    monkeypatch.setattr(olivetti, "IMAGES", 150)  # enough of the 400
    assert olivetti_images(folder / "cache", folder.parents[1]) == folder
    built = build_from_olivetti(to("olivetti"), folder, extractor, plan=SplitPlan(0, 0.3))
    rows = built.snapshot.frame()
    assert (len(rows), rows["identity"].nunique()) == (150, 15)
    found = rows[rows["alignment"] == "landmarks"]
    assert {f"image-{10 * n}.png" for n in range(2)} <= set(found["image"])
    by_template = rows[rows["alignment"] == "template"]
    assert len(found) + len(by_template) == 150
    assert len(by_template) > 130
    assert set(by_template["quality_band"]) == {"unknown"}
    assert (by_template["detection_score"] == 0).all()


def test_the_template_is_a_face(folder):
    """Aligning by the average landmarks turns and shears nothing."""
    points = FRAMING.landmarks * 256
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    assert abs(eyes[0] - mouth[0]) < 8
    ratio = np.hypot(*(mouth - eyes)) / np.hypot(*(points[1] - points[0]))
    wanted = np.hypot(*(TEMPLATE[3:].mean(0) - TEMPLATE[:2].mean(0))) / np.hypot(
        *(TEMPLATE[1] - TEMPLATE[0])
    )
    assert ratio == pytest.approx(wanted, rel=0.15)
    assert CROP_SIZE == 112


def test_missing_pictures_are_named(to, tmp_path, extractor):
    with pytest.raises(UsageError, match=r"image-0\.png is missing"):
        build_from_olivetti(to("olivetti"), tmp_path, extractor)


def test_scikit_learns_fetcher_fills_the_cache_once(tmp_path, monkeypatch):
    """Its real code, with a file of the same layout in the place of the download."""
    from scipy.io import savemat
    from sklearn.datasets import _olivetti_faces

    faces = np.random.default_rng(0).integers(0, 256, (4096, IMAGES)).astype(np.uint8)
    faces[0, 0], faces[1, 0] = 0, 255
    source = tmp_path / "faces.mat"
    savemat(source, {"faces": faces})
    remote = SimpleNamespace(
        filename="faces.mat",
        url=source.as_uri(),
        checksum=hashlib.sha256(source.read_bytes()).hexdigest(),
    )
    monkeypatch.setattr(_olivetti_faces, "FACES", remote)

    images = olivetti_images(tmp_path / "cache")
    assert sorted(p.name for p in images.iterdir()) == sorted(f"image-{n}.png" for n in range(400))
    with Image.open(images / "image-7.png") as picture:
        assert np.array_equal(np.asarray(picture), faces[:, 7].reshape(64, 64).T)
    source.unlink()
    assert olivetti_images(tmp_path / "cache") == images
    assert [p.name for p in images.parent.iterdir()] == ["images"]
    monkeypatch.setattr("sklearn.datasets._base.time.sleep", lambda seconds: None)
    with pytest.raises(DownloadFailed, match="Olivetti"):
        olivetti_images(tmp_path / "other")
