"""Pictures of one person each → aligned crops and their rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facecore.errors import ImageRejected, UsageError
from facecore.lifecycle.datasets.building import Destination, PackWriter
from facecore.lifecycle.datasets.labels import Labels
from facecore.lifecycle.datasets.manifest import digest_of
from facecore.lifecycle.datasets.splits import Split
from facecore.lifecycle.main_face import main_face
from facecore.pipeline.extract import FaceExtractor
from facecore.stages.align import align
from facecore.stages.decode import Limits, decode
from facecore.stages.face_quality import assess
from facecore.types import Detections, Floats, Image

logger = logging.getLogger(__name__)

# Test first: of the same bytes in two splits, the copy outside of test is left out.
ORDER: tuple[Split, ...] = ("test", "val", "train")
_BATCH = 32
_BANDS = ((0.7, "low"), (0.9, "medium"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that shows one person.

    Attributes:
        name: path within the source, as the manifest names it.
        identity: None when nobody knows.
    """

    name: str
    path: Path
    identity: str | None
    split: Split


@dataclass(frozen=True, slots=True)
class Framing:
    """How pictures that are themselves crops of faces are brought to the detector.

    Attributes:
        enlarge: integer factor applied before the search.
        landmarks: float32 `[5, 2]`, where they lie on average, in shares of width and height:
            used for a face that the detector does not find.
    """

    enlarge: int
    landmarks: Floats

    def prepare(self, image: Image) -> Image:
        """The picture as it is searched."""
        from PIL import Image as Pillow

        size = (image.shape[1] * self.enlarge, image.shape[0] * self.enlarge)
        return np.array(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC))


def quality_band(score: float | None) -> str:
    """A name for a range of face quality: low, medium, high; unknown without a score."""
    if score is None or np.isnan(score):
        return "unknown"
    return next((band for below, band in _BANDS if score < below), "high")


def pack_main_faces(
    pictures: Sequence[Picture],
    extractor: FaceExtractor,
    writer: PackWriter,
    destination: Destination,
    *,
    source: str,
    labels: Labels,
    framing: Framing | None = None,
) -> Counter[str]:
    """Detect, choose the main face, align, and write crops and rows.

    Memory: one batch of pictures and one pack.

    Returns:
        Why pictures were left out → how many.

    Raises:
        UsageError: a file cannot be read.
    """
    left_out: Counter[str] = Counter()
    ordered = sorted(pictures, key=lambda p: (ORDER.index(p.split), p.identity or "", p.name))
    split_of_bytes: dict[str, Split] = {}
    for start in range(0, len(ordered), _BATCH):
        chosen, images, digests = [], [], []
        for picture, image, sha256 in _readable(ordered[start : start + _BATCH], left_out):
            if split_of_bytes.setdefault(sha256, picture.split) != picture.split:
                left_out["also in another split"] += 1
                continue
            chosen.append(picture)
            images.append(framing.prepare(image) if framing else image)
            digests.append(sha256)
        for picture, sha256, face in zip(
            chosen, digests, _main_faces(extractor, images, framing), strict=True
        ):
            if face is None:
                left_out["no face found"] += 1
                continue
            crop, row = face
            writer.add(
                picture.split,
                crop,
                {
                    **labels.of(picture.name, picture.identity),
                    **row,
                    "source": source,
                    "image": picture.name,
                    "image_sha256": sha256,
                    "identity": picture.identity,
                },
            )
        destination.progress("faces", min(start + _BATCH, len(ordered)), len(ordered))
    writer.flush()
    return left_out


def only(detections: Detections, index: int) -> Detections:
    """One of several detections."""
    landmarks = detections.landmarks
    part = slice(index, index + 1)
    return Detections(
        detections.boxes[part],
        detections.scores[part],
        None if landmarks is None else landmarks[part],
    )


def read_picture(path: Path, limits: Limits | None = None) -> tuple[Image, bytes]:
    """A file's picture and its bytes.

    Raises:
        UsageError: the file cannot be read.
        ImageRejected: it is no picture, or too large.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    return decode(data, limits or Limits()), data


def _readable(
    pictures: Sequence[Picture], left_out: Counter[str]
) -> Iterator[tuple[Picture, Image, str]]:
    for picture in pictures:
        try:
            image, data = read_picture(picture.path)
        except ImageRejected as rejected:
            logger.warning("%s is left out: %s", picture.path, rejected)
            left_out["not a usable picture"] += 1
            continue
        yield picture, image, digest_of(data)


def _main_faces(
    extractor: FaceExtractor, images: Sequence[Image], framing: Framing | None
) -> Iterator[tuple[Image, dict[str, Any]] | None]:
    """Crop and row of the main face of each picture; None without a face."""
    if not images:
        return
    mains: list[Detections] = []
    for image, found in zip(images, extractor.detector.detect(images), strict=True):
        index = main_face(found, image.shape[1], image.shape[0])
        if index is not None:
            mains.append(only(found, index))
        elif framing is not None:
            mains.append(_by_template(image, framing.landmarks))
        else:
            mains.append(Detections.empty())
    for detections, crops in zip(mains, align(images, mains), strict=True):
        if not len(detections):
            yield None
            continue
        assert detections.landmarks is not None  # noqa: S101 - align checked it
        found_by_detector = bool(detections.scores[0] > 0)
        score = float(assess(crops, detections).score[0]) if found_by_detector else None
        yield (
            crops.pixels[0],
            {
                "alignment": "landmarks" if found_by_detector else "template",
                "box": detections.boxes[0].tolist(),
                "landmarks": detections.landmarks[0].ravel().tolist(),
                "detection_score": float(detections.scores[0]),
                "quality": score,
                "quality_band": quality_band(score),
            },
        )


def _by_template(image: Image, shares: Floats) -> Detections:
    height, width = image.shape[:2]
    landmarks = (shares * np.array([width, height], np.float32)).astype(np.float32)
    return Detections(
        np.array([[0, 0, width, height]], np.float32), np.zeros(1, np.float32), landmarks[None]
    )
