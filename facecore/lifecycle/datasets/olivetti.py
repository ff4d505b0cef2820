"""The Olivetti faces (AT&T Laboratories Cambridge): 40 people, ten grey pictures of 64×64 each.

The pictures are crops of faces already. They are enlarged fourfold and searched like any
other; a face that is not found is aligned by where landmarks lie in these pictures on average.
The manifest says which (`alignment`).
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np

from facecore.errors import DownloadFailed, UsageError
from facecore.lifecycle.datasets.building import Built, Destination
from facecore.lifecycle.datasets.face_set import build_face_set, shares
from facecore.lifecycle.datasets.faces import Framing, Picture
from facecore.lifecycle.datasets.splits import SplitPlan
from facecore.pipeline.extract import FaceExtractor

logger = logging.getLogger(__name__)

IMAGES, PER_PERSON = 400, 10
# Medians of YuNet's landmarks over all 400 pictures, enlarged fourfold, in shares of the side.
_LANDMARKS = np.array(
    [[0.273, 0.266], [0.736, 0.258], [0.510, 0.519], [0.319, 0.734], [0.703, 0.729]], np.float32
)
FRAMING = Framing(enlarge=4, landmarks=_LANDMARKS)


def build_from_olivetti(
    destination: Destination,
    folder: Path,
    extractor: FaceExtractor,
    *,
    plan: SplitPlan | None = None,
    labels: Path | None = None,
) -> Built:
    """The 400 faces; `folder` is what `olivetti_images` gives.

    Raises:
        UsageError: a picture is missing, or a split would be empty.
    """
    plan = plan or SplitPlan()
    pictures = []
    for number in range(IMAGES):
        path = folder / f"image-{number}.png"
        if not path.is_file():
            raise UsageError(f"{folder} does not hold the Olivetti faces: {path.name} is missing.")
        person = f"person-{number // PER_PERSON:02d}"
        pictures.append(Picture(path.name, path, person, plan.of(person)))
    return build_face_set(
        destination,
        pictures,
        extractor,
        what="the Olivetti faces",
        source={"kind": "olivetti", "name": "olivetti", **shares(plan)},
        plan=plan,
        groups={str(picture.identity) for picture in pictures},
        labels=labels,
        framing=FRAMING,
    )


def olivetti_images(cache: Path, data_dir: Path | None = None) -> Path:
    """The folder with `image-0.png` … `image-399.png`; person = number // 10.

    Args:
        cache: scikit-learn's fetcher downloads once (4 MB) and the pictures are kept here.
        data_dir: FACECORE_DATA_DIR; `olivetti/images` in it is used as it is.

    Raises:
        DownloadFailed: not on disk, and it could not be downloaded.
    """
    if data_dir is not None and (local := data_dir / "olivetti" / "images").is_dir():
        return local
    folder = cache / "olivetti" / "images"
    if not folder.is_dir():
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import fetch_olivetti_faces

    logger.info("downloading the Olivetti faces (4 MB)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
        try:
            # An empty home: the fetcher keeps a pickle there, and none is ever read back.
            faces = fetch_olivetti_faces(data_home=f"{scratch}/scikit-learn").images
        except OSError as error:  # URLError and HTTPError, a wrong checksum, a full disk
            raise DownloadFailed(
                "The Olivetti faces",
                tried={"scikit-learn": str(error)},
                remedy="Check the network, or put the pictures into "
                "$FACECORE_DATA_DIR/olivetti/images as image-0.png to image-399.png.",
            ) from error
        fetched = Path(scratch) / "images"
        fetched.mkdir()
        for number, face in enumerate(faces):
            grey = np.round(face * 255).astype(np.uint8)
            Image.fromarray(grey).save(fetched / f"image-{number}.png")
        try:
            fetched.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise
