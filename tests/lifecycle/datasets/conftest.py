"""Object storage for snapshots, and a small crowd made of the sample portraits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from facecore.config import S3Settings
from facecore.lifecycle.datasets import Destination
from facecore.samples.sources import Portrait
from facecore.stores.objects import ObjectStore

PEOPLE, PICTURES = 12, 2


@pytest.fixture(scope="module")
def objects(s3: S3Settings) -> ObjectStore:
    """Buckets of this module's own."""
    store = ObjectStore(s3.model_copy(update={"bucket_prefix": f"d{uuid4().hex[:8]}-"}))
    store.ensure_buckets()
    return store


@pytest.fixture
def to(objects: ObjectStore, tmp_path: Path) -> Callable[[str], Destination]:
    """Where a snapshot of this name goes."""
    return lambda name: Destination(objects, name, tmp_path / "work")


@pytest.fixture
def stored(objects: ObjectStore) -> Callable[[], dict[str, str]]:
    """What the bucket holds: key → ETag."""
    return lambda: {item.key: item.etag for item in objects.list("snapshots")}


@pytest.fixture(scope="session")
def crowd(portraits: list[Portrait], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`P00/P00_0001.jpg` …: twelve "people" of two pictures: real faces, mirrored and relit."""
    folder = tmp_path_factory.mktemp("crowd")
    faces = [_portrait(portrait) for portrait in portraits]
    for person in range(PEOPLE):
        face = faces[person % len(faces)]
        face = ImageOps.mirror(face) if person >= len(faces) else face
        (folder / f"P{person:02d}").mkdir()
        for number in range(1, PICTURES + 1):
            lit = ImageEnhance.Brightness(face).enhance(0.7 + 0.2 * number)
            lit.save(folder / f"P{person:02d}" / f"P{person:02d}_{number:04d}.jpg", quality=92)
    return folder


@pytest.fixture(scope="session")
def noise() -> Callable[[Path], Path]:
    """Write a picture that nobody is on."""

    def write(path: Path) -> Path:
        pixels = np.random.default_rng(1).integers(90, 110, (80, 80, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


def _portrait(portrait: Portrait) -> Image.Image:
    """The head and its surroundings, 250 px high or so."""
    x1, y1, x2, y2 = portrait.face
    reach = 0.9 * max(x2 - x1, y2 - y1)
    with Image.open(portrait.path) as picture:
        box = (
            max(0, int(x1 - reach)),
            max(0, int(y1 - reach)),
            min(picture.width, int(x2 + reach)),
            min(picture.height, int(y2 + reach)),
        )
        cut = picture.convert("RGB").crop(box)
    cut.thumbnail((260, 260), Image.Resampling.LANCZOS)
    return cut
