"""Detections held against the true boxes, as COCO does it, and average precision from that.

Detections are taken by falling score; each is given the true box it overlaps most among those
not yet taken, if intersection over union reaches the threshold. Average precision is the mean
of the interpolated precision at 101 recalls (Lin et al., *Microsoft COCO*, 2014). The numbers
equal torchmetrics'; what is computed here is needed per image, to resample images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.types import Floats

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0, 1, 101)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Matches:
    """One image: detections by falling score, and which true box each was given.

    Attributes:
        order: int64 `[n]`, index of each among the detections as they came.
        scores: float32 `[n]`, falling.
        given: int64 `[len(IOUS), n]`, index of the true box; -1 for a false detection.
        truths: number of true boxes.
    """

    order: Ints
    scores: Floats
    given: Ints
    truths: int


def overlaps(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes `[n, 4]` and `[m, 4]` (x1 y1 x2 y2) → `[n, m]`, 0..1."""
    first, second = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    low, high = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., 2:], second[..., 2:]),
    )
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = (np.clip(box[..., 2:] - box[..., :2], 0, None).prod(axis=-1) for box in (first, second))
    union = sum(areas) - common
    shares: npt.NDArray[np.float64] = np.zeros_like(common)
    np.divide(common, union, out=shares, where=union > 0)
    return shares


def match_boxes(boxes: Floats, scores: Floats, truth: Floats) -> Matches:
    """Match one image's detections at every threshold of `IOUS`.

    Args:
        boxes: float32 `[n, 4]`; scores: float32 `[n]`.
        truth: float32 `[m, 4]`.
    """
    order = np.argsort(-scores, kind="stable")
    given = np.full((len(IOUS), len(order)), -1, np.int64)
    if len(truth) and len(order):
        found = overlaps(boxes[order], truth)
        limits = np.minimum(np.array(IOUS), 1 - 1e-10)[:, None]
        free = np.ones((len(IOUS), len(truth)), np.bool_)
        levels = np.arange(len(IOUS))
        for number, row in enumerate(found):
            candidates = np.where(free & (row[None] >= limits), row[None], -1.0)
            # Of equal overlaps COCO takes the last.
            best = candidates.shape[1] - 1 - candidates[:, ::-1].argmax(axis=1)
            fits = candidates[levels, best] >= 0
            given[fits, number] = best[fits]
            free[levels[fits], best[fits]] = False
    return Matches(order.astype(np.int64), scores[order], given, len(truth))


@dataclass(frozen=True, slots=True)
class MatchedDetections:
    """All images together, detections by falling score.

    Attributes:
        scores: float32 `[n]`, falling.
        right: bool `[len(IOUS), n]`.
        image: int64 `[n]`, whose detection each is.
        truths: int64 `[images]`, true boxes of each image.
    """

    scores: Floats
    right: npt.NDArray[np.bool_]
    image: Ints
    truths: Ints

    @classmethod
    def of(cls, matches: list[Matches]) -> MatchedDetections:
        """Join images, in their order."""
        scores = np.concatenate([np.zeros(0, np.float32), *(m.scores for m in matches)])
        nothing = np.zeros((len(IOUS), 0), np.bool_)
        right = np.concatenate([nothing, *(m.given >= 0 for m in matches)], axis=1)
        image = np.repeat(np.arange(len(matches)), [len(m.scores) for m in matches])
        order = np.argsort(-scores, kind="stable")
        truths = np.array([m.truths for m in matches], np.int64)
        return cls(scores[order], right[:, order], image[order].astype(np.int64), truths)

    def precision(
        self, level: int, times: Ints | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Interpolated precision at `RECALLS`, float64 `[101]`, and recall after each detection.

        Args:
            level: index into `IOUS`.
            times: int64 `[images]`, how often each image counts; once by default.
        """
        weight = (
            np.ones(len(self.scores)) if times is None else times[self.image].astype(np.float64)
        )
        total = float(self.truths.sum() if times is None else times @ self.truths)
        hits = np.cumsum(weight * self.right[level])
        all_found = np.cumsum(weight)
        recall = hits / total if total else np.zeros_like(hits)
        precision = np.divide(hits, all_found, out=np.zeros_like(hits), where=all_found > 0)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(recall, RECALLS, side="left")
        padded = np.concatenate((envelope, [0.0]))
        return padded[np.minimum(place, len(envelope))], recall

    def average_precision(self, times: Ints | None = None) -> tuple[float, float]:
        """AP at an overlap of 0.5, and averaged over `IOUS`, 0..1."""
        each = [float(self.precision(level, times)[0].mean()) for level in range(len(IOUS))]
        return each[0], float(np.mean(each))
