"""Detections counted against the truth, image by image, without keeping images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.evaluation.box_matching import Matches, match_boxes
from facecore.lifecycle.evaluation.detection_examples import WorstExamples
from facecore.stages.detector import Detector
from facecore.types import Detections, Floats, Image


class DetectionTally:
    """What is kept of each image: boxes and matches, no pixels but those of examples.

    Attributes:
        matches, found, truth, false: of each image: what was matched with what, the detections'
            boxes and scores, the true boxes, the number of false detections.
        sides, hit, image_of_face: of each true face: its side (root of the area, px), whether
            it was found, the number of its image.
        landmark_errors: float64 `[5]` of each found face whose true landmarks are known, in
            distances of the true eyes.
        missed, mistaken: the largest missed faces, the surest false detections.
    """

    def __init__(self, score_threshold: float) -> None:
        self._threshold = np.float32(score_threshold)
        self.matches: list[Matches] = []
        self.found: list[tuple[Floats, Floats]] = []
        self.truth: list[Floats] = []
        self.sides: list[float] = []
        self.hit: list[bool] = []
        self.image_of_face: list[int] = []
        self.false: list[int] = []
        self.landmark_errors: list[npt.NDArray[np.float64]] = []
        self.missed, self.mistaken = WorstExamples(), WorstExamples()

    def add(self, scenes: Sequence[tuple[Image, Floats, Floats]], detector: Detector) -> None:
        """Search scenes (image, true boxes `[n, 4]`, true landmarks `[n, 5, 2]`) and count."""
        images = [image for image, _, _ in scenes]
        for found, scene in zip(detector.detect(images), scenes, strict=True):
            self._add(found, *scene)

    def _add(self, found: Detections, image: Image, truth: Floats, landmarks: Floats) -> None:
        number = len(self.matches)
        matches = match_boxes(found.boxes, found.scores, truth)
        self.matches.append(matches)
        self.found.append((found.boxes, found.scores))
        self.truth.append(truth)
        used = matches.scores >= self._threshold
        given, order = matches.given[0][used], matches.order[used]
        hit = np.zeros(len(truth), np.bool_)
        hit[given[given >= 0]] = True
        sides = np.sqrt(np.clip(truth[:, 2:] - truth[:, :2], 0, None).prod(axis=1))
        self.sides += sides.tolist()
        self.hit += hit.tolist()
        self.image_of_face += [number] * len(truth)
        self.false.append(int((given < 0).sum()))
        self.missed.add(number, image, truth[~hit], sides[~hit].tolist())
        wrong = order[given < 0]
        self.mistaken.add(number, image, found.boxes[wrong], found.scores[wrong].tolist())
        if found.landmarks is not None:
            right = given >= 0
            self._measure(found.landmarks[order[right]], landmarks[given[right]])

    def _measure(self, found: Floats, truth: Floats) -> None:
        eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
        known = np.isfinite(truth).all(axis=(1, 2)) & (eyes > 0)
        distance = np.linalg.norm((found - truth)[known].astype(np.float64), axis=2)
        self.landmark_errors += list(distance / eyes[known][:, None])
