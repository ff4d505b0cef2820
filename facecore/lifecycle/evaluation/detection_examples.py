"""Pictures of what a detector missed and of what it took for a face."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facecore.types import Floats, Image

EXAMPLES = 12
PATCH = 112
_CONTEXT = 2.0


@dataclass(frozen=True, slots=True)
class DetectionExample:
    """A box in an image, by the image's row in the data set.

    Attributes:
        weight: side in pixels of a missed face, score of a false detection.
        picture: the surroundings of the box, uint8 RGB `[112, 112, 3]`.
        inner: the box within `picture`, x1 y1 x2 y2 px.
    """

    image: int
    box: tuple[float, ...]
    weight: float
    picture: Image = field(repr=False, compare=False)
    inner: tuple[float, ...] = ()


class WorstExamples:
    """Keeps the examples with the highest weights of all that are shown to it."""

    def __init__(self, count: int = EXAMPLES) -> None:
        self._count = count
        self._heap: list[tuple[float, int, DetectionExample]] = []
        self._seen = 0

    def add(self, number: int, image: Image, boxes: Floats, weights: Sequence[float]) -> None:
        """Show boxes of one image."""
        for box, weight in zip(boxes, weights, strict=True):
            self._seen += 1
            if len(self._heap) == self._count and weight <= self._heap[0][0]:
                continue
            picture, inner = _surroundings(image, box)
            example = DetectionExample(
                number, tuple(map(float, box)), float(weight), picture, inner
            )
            heapq.heappush(self._heap, (float(weight), -self._seen, example))
            if len(self._heap) > self._count:
                heapq.heappop(self._heap)

    def found(self) -> tuple[DetectionExample, ...]:
        """By falling weight."""
        return tuple(entry[2] for entry in sorted(self._heap, key=lambda e: (-e[0], -e[1])))


def _surroundings(image: Image, box: Floats) -> tuple[Image, tuple[float, ...]]:
    from PIL import Image as Pillow

    centre = (box[:2] + box[2:]) / 2
    half = max(float((box[2:] - box[:2]).max()), 4.0) * _CONTEXT / 2
    left, top = (float(value - half) for value in centre)
    area = (left, top, left + 2 * half, top + 2 * half)
    patch = Pillow.fromarray(image).transform(
        (PATCH, PATCH), Pillow.Transform.EXTENT, area, Pillow.Resampling.BILINEAR
    )
    scale = PATCH / (2 * half)
    inner = (box - np.array([left, top, left, top])) * scale
    return np.asarray(patch), tuple(map(float, inner))
