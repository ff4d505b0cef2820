"""Labeled Faces in the Wild (Huang et al. 2007): a folder per person, wherever it comes from."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from facecore.errors import DownloadFailed

log = logging.getLogger(__name__)

IMAGES = 13_233  # of 5,749 people, in the whole data set


def lfw(cache: Path, data_dir: Path | None = None) -> Path:
    """The folder with the original images (250 × 250 JPEG, not funneled), `person/*.jpg`.

    Args:
        cache: scikit-learn's fetcher downloads to `cache/scikit-learn` (about 180 MB, once).
        data_dir: FACECORE_DATA_DIR; `lfw/images` in it is used as it is, complete or not.

    Raises:
        DownloadFailed: not on disk, and it could not be downloaded.
    """
    if data_dir is not None and (local := data_dir / "lfw" / "images").is_dir():
        return local
    home = cache / "scikit-learn"
    folder = home / "lfw_home" / "lfw"
    if folder.is_dir() and _count(folder) < IMAGES:
        # left by an interrupted run; the fetcher itself would take it for complete
        log.warning("%s is incomplete and is fetched again", folder)
        shutil.rmtree(folder)
    if not folder.is_dir():
        _fetch(home)
    if (found := _count(folder)) < IMAGES:
        raise DownloadFailed(
            "Labeled Faces in the Wild",
            tried={"scikit-learn": f"{found} of {IMAGES} images arrived in {folder}"},
            remedy="Run it again.",
        )
    return folder


def _count(folder: Path) -> int:
    return sum(name.endswith(".jpg") for _, _, names in os.walk(folder) for name in names)


def _fetch(home: Path) -> None:
    from sklearn.datasets import fetch_lfw_people

    log.info("downloading Labeled Faces in the Wild (about 180 MB)")
    try:
        # only the download is wanted; one person's 530 images are the least it can decode
        fetch_lfw_people(data_home=str(home), funneled=False, min_faces_per_person=400)
    except OSError as error:  # URLError and HTTPError, a wrong checksum, a full disk
        raise DownloadFailed(
            "Labeled Faces in the Wild",
            tried={"scikit-learn": str(error)},
            remedy="Check the network, or put the images into $FACECORE_DATA_DIR/lfw/images "
            "as person/*.jpg.",
        ) from error
