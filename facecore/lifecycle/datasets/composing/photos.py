"""The photographs that scenes are made of, with all faces on them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecore.errors import ImageRejected
from facecore.lifecycle.datasets.building import encode_png
from facecore.lifecycle.datasets.faces import Picture, read_picture
from facecore.lifecycle.datasets.splits import Split
from facecore.lifecycle.main_face import main_face
from facecore.pipeline.extract import FaceExtractor
from facecore.types import Detections, Floats, Image

logger = logging.getLogger(__name__)

Doubles = npt.NDArray[np.float64]

_BATCH = 32
# Larger faces are kept reduced: a scene shows none of that size, and decoding would take longer.
_FACE_PX = 220.0
_SIDE_PX = 900
_LEAST_SCORE = 0.75  # of a face that is pasted
_LEAST_EYES_PX = 12.0
# A head reaches beyond the box of its face: shares of the box's width and height.
HEAD_MARGIN = np.array([0.35, 0.45, 0.35, 0.2])


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture of one person, maybe with bystanders.

    Attributes:
        path: of the picture, or of a reduced copy; boxes and landmarks are in its pixels.
        boxes, landmarks: of all faces: float32 `[n, 4]` and `[n, 5, 2]`.
        main: number of the person's own face.
        pasteable: whether that face is clear, whole, and no other is next to it.
    """

    name: str
    path: Path
    identity: str | None
    split: Split
    width: int
    height: int
    boxes: Floats
    landmarks: Floats
    main: int
    pasteable: bool

    def read(self) -> Image:
        """The picture uint8 RGB `[h, w, 3]`."""
        return read_picture(self.path)[0]


def find_photos(
    pictures: Sequence[Picture],
    extractor: FaceExtractor,
    scratch: Path,
    progress: Callable[[int, int], None],
) -> tuple[list[Photo], Counter[str]]:
    """Find all faces of each picture; returns those with a face, and why others are left out.

    Args:
        scratch: reduced copies of large pictures are kept here.
    """
    photos: list[Photo] = []
    left_out: Counter[str] = Counter()
    ordered = sorted(pictures, key=lambda picture: picture.name)
    for start in range(0, len(ordered), _BATCH):
        chosen, images = [], []
        for picture in ordered[start : start + _BATCH]:
            try:
                images.append(read_picture(picture.path)[0])
                chosen.append(picture)
            except ImageRejected as rejected:
                logger.warning("%s is left out: %s", picture.path, rejected)
                left_out["not a usable picture"] += 1
        found = extractor.detector.detect(images) if images else []
        for picture, image, detections in zip(chosen, images, found, strict=True):
            main = main_face(detections, image.shape[1], image.shape[0])
            if main is None or detections.landmarks is None:
                left_out["no face found"] += 1
                continue
            photos.append(_photo(picture, image, detections, main, scratch / f"{len(photos)}.png"))
        progress(min(start + _BATCH, len(ordered)), len(ordered))
    return photos, left_out


def head(boxes: Floats | Doubles) -> Doubles:
    """Boxes of the heads around faces, `[n, 4]`."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    grown: Doubles = boxes + np.array([-1, -1, 1, 1]) * sides * HEAD_MARGIN
    return grown


def overlap(box: Floats | Doubles, others: Floats | Doubles) -> Doubles:
    """Share of each of `others` `[n, 4]` that `box` `[4]` covers, `[n]`."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    area = (others[:, 2:] - others[:, :2]).prod(1)
    shared: Doubles = np.clip(high - low, 0, None).prod(1) / np.maximum(area, 1e-9)
    return shared


def _photo(picture: Picture, image: Image, found: Detections, main: int, copy: Path) -> Photo:
    assert found.landmarks is not None  # noqa: S101 - the caller checked
    boxes, landmarks = found.boxes, found.landmarks
    side = float(np.sqrt((boxes[main, 2:] - boxes[main, :2]).prod()))
    factor = min(1.0, _FACE_PX / side)
    path, (height, width) = picture.path, image.shape[:2]
    if factor < 1 or max(height, width) > _SIDE_PX:
        image, shift = _reduced(image, boxes[main], factor)
        copy.write_bytes(encode_png(image))
        path, (height, width) = copy, image.shape[:2]
        boxes = boxes * factor - np.tile(shift, 2)
        landmarks = landmarks * factor - shift
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = np.all((centres > 0) & (centres < [width, height]), axis=1)
        main = int(inside[:main].sum())
        boxes, landmarks = boxes[inside], landmarks[inside]
        score = float(found.scores[inside][main])
    else:
        score = float(found.scores[main])
    return Photo(
        picture.name,
        path,
        picture.identity,
        picture.split,
        width,
        height,
        boxes.astype(np.float32),
        landmarks.astype(np.float32),
        main,
        score >= _LEAST_SCORE and _clear(boxes, landmarks, main, width, height),
    )


def _reduced(image: Image, box: Floats, factor: float) -> tuple[Image, Floats]:
    """The picture scaled by `factor`, cut to the surroundings of `box`; and what was cut."""
    from PIL import Image as Pillow

    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    scaled = np.array(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.LANCZOS))
    centre = (box[:2] + box[2:]) / 2 * factor
    half = _SIDE_PX / 2
    left, top = np.clip(centre - half, 0, None).astype(int)
    right, bottom = np.minimum(centre + half, [width, height]).astype(int)
    return np.ascontiguousarray(scaled[top:bottom, left:right]), np.array([left, top], np.float32)


def _clear(boxes: Floats, landmarks: Floats, main: int, width: int, height: int) -> bool:
    box, points = boxes[main], landmarks[main]
    others = np.delete(boxes, main, axis=0)
    return bool(
        np.hypot(*(points[1] - points[0])) >= _LEAST_EYES_PX
        and (box[:2] >= 0).all()
        and (box[2:] <= [width, height]).all()
        and (overlap(head(box[None])[0], others) < 0.02).all()
    )
