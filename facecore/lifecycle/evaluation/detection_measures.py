"""What is said of a detector's found, missed and misplaced faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.evaluation.box_matching import MatchedDetections
from facecore.lifecycle.evaluation.detection_tally import DetectionTally
from facecore.lifecycle.evaluation.estimate import Estimate, resampled_estimate
from facecore.lifecycle.evaluation.slices import Ratio, in_order, rate_ratio
from facecore.lifecycle.intervals import Proportion, proportion
from facecore.lifecycle.people_bootstrap import draws
from facecore.types import LANDMARK_NAMES

SIZES_PX = (0, 16, 32, 64, 128, 256)
# A landmark this far off, in distances of the eyes, is a failure by convention.
FAILURE = 0.1
_FEWEST_IMAGES = 20


@dataclass(frozen=True, slots=True)
class SizeRecall:
    """Share of true faces found whose side (root of the area) lies in low..high px."""

    low: float
    high: float | None
    recall: Proportion | None


@dataclass(frozen=True, slots=True)
class LandmarkError:
    """Distance of found from true landmarks, in distances of the true eyes.

    Attributes:
        faces: found faces (overlap of 0.5) whose five true landmarks are known.
        mean: over faces of the mean over the five points.
        failures: faces whose mean exceeds 0.1.
        each: mean of each point, in the order of `LANDMARK_NAMES`.
    """

    faces: int
    mean: Estimate
    median: float
    failures: Proportion
    each: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DetectionSlice:
    """One group of images; `missed` is the share of its faces not found."""

    value: str
    images: int
    faces: int
    missed: Proportion | None
    false_per_image: float


@dataclass(frozen=True, slots=True)
class DetectionSlices:
    """All groups of one metadata column."""

    column: str
    slices: tuple[DetectionSlice, ...]
    missed_ratio: Ratio


def best_score(matched: MatchedDetections) -> tuple[float, float]:
    """The score threshold with the highest F1 at an overlap of 0.5, and that F1."""
    if not len(matched.scores):
        return 1.0, 0.0
    hits = np.cumsum(matched.right[0])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + int(matched.truths.sum()))
    # A threshold lets through all detections of the same score.
    last = np.append(matched.scores[1:] < matched.scores[:-1], True)
    best = int(np.where(last, f1, -1).argmax())
    return float(matched.scores[best]), float(f1[best])


def recall_by_size(
    sides: npt.NDArray[np.float64], hit: npt.NDArray[np.bool_]
) -> tuple[SizeRecall, ...]:
    """Recall of faces of each size; sides float64 `[n]` px, hit bool `[n]`."""
    made = []
    for low, high in zip(SIZES_PX, (*SIZES_PX[1:], None), strict=True):
        inside = (sides >= low) & (sides < (np.inf if high is None else high))
        recall = proportion(int(hit[inside].sum()), int(inside.sum())) if inside.any() else None
        made.append(SizeRecall(float(low), None if high is None else float(high), recall))
    return tuple(made)


def landmark_error(errors: Sequence[npt.NDArray[np.float64]], seed: int) -> LandmarkError | None:
    """Mean, median and failures of errors float64 `[5]` per face; None without faces."""
    if not errors:
        return None
    table = np.stack(errors)
    each = table.mean(axis=1)
    resampled = np.array([float(times @ each) / len(each) for times in draws(len(each), seed=seed)])
    return LandmarkError(
        faces=len(each),
        mean=resampled_estimate(float(each.mean()), resampled),
        median=float(np.median(each)),
        failures=proportion(int((each > FAILURE).sum()), len(each)),
        each=dict(zip(LANDMARK_NAMES, table.mean(axis=0).tolist(), strict=True)),
    )


def detection_slices(column: str, labels: Sequence[str], tally: DetectionTally) -> DetectionSlices:
    """Misses and false detections of each group of images."""
    of_image = np.array(labels, dtype=object)
    of_face = of_image[np.array(tally.image_of_face, np.int64)]
    hit, false = np.array(tally.hit, np.bool_), np.array(tally.false)
    made = []
    for value in sorted(set(of_image.tolist()), key=in_order):
        own = of_face == value
        images = of_image == value
        made.append(
            DetectionSlice(
                value=value,
                images=int(images.sum()),
                faces=int(own.sum()),
                missed=proportion(int((~hit[own]).sum()), int(own.sum())) if own.any() else None,
                false_per_image=float(false[images].mean()),
            )
        )
    ratio = rate_ratio(
        [(one.value, one.images, one.missed) for one in made],
        float((~hit).mean()),
        fewest=_FEWEST_IMAGES,
        unit="images",
    )
    return DetectionSlices(column, tuple(made), ratio)
