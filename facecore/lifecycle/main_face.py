"""Evaluation on pictures that are *of* one person: which face is theirs, and its embedding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecore.errors import ImageRejected, UsageError
from facecore.pipeline.extract import FaceExtractor
from facecore.stages.decode import Limits, decode
from facecore.types import Detections, Floats, Image

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
_BATCH = 32


@dataclass(frozen=True, slots=True)
class MainFaces:
    """One face per picture: vectors float32 `[n, d]`, and bool `[n]` whether there was one.

    Where none was found the vector is zero.
    """

    vectors: Floats
    found: npt.NDArray[np.bool_]


def main_face(detections: Detections, width: int, height: int) -> int | None:
    """Index of the face the picture is of, or None without faces.

    Labeled Faces in the Wild defines it as the face that holds the picture's centre, but
    bystanders can be nearer to the camera. So the choice weighs size against distance: the
    face with the largest *area - 2 · (distance of its centre from the picture's centre)²*, as
    in the preprocessing of facenet (Sandberg, align_dataset_mtcnn.py).
    """
    if not len(detections):
        return None
    boxes = detections.boxes.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width / 2, height / 2])
    return int(np.argmax(sides.prod(1) - 2.0 * (offset**2).sum(1)))


def embed_main_faces(
    extractor: FaceExtractor,
    files: Sequence[Path],
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> MainFaces:
    """Embed the main face of each file, in order; a file that is no picture counts as faceless.

    Memory: one batch of pictures plus the vectors. `progress` is called with (done, of).

    Raises:
        UsageError: a file cannot be read.
    """
    vectors = np.zeros((len(files), extractor.contract.dimension), np.float32)
    found = np.zeros(len(files), np.bool_)
    for start in range(0, len(files), _BATCH):
        positions, images = [], []
        for position, path in enumerate(files[start : start + _BATCH], start):
            image = _read(path, limits or Limits())
            if image is not None:
                positions.append(position)
                images.append(image)
        for position, one in zip(positions, extractor.extract(images), strict=True):
            index = main_face(one.detections, one.width, one.height)
            if index is not None:
                vectors[position] = one.embeddings.vectors[index]
                found[position] = True
        if progress is not None:
            progress(min(start + _BATCH, len(files)), len(files))
    return MainFaces(vectors, found)


def _read(path: Path, limits: Limits) -> Image | None:
    try:
        return decode(path.read_bytes(), limits)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except ImageRejected as rejected:
        logger.warning("%s is left out: %s", path, rejected)
        return None
