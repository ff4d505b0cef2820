"""Everything that is measured of a detector on one split of a snapshot of scenes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.box_matching import RECALLS, MatchedDetections
from facecore.lifecycle.evaluation.detection_examples import DetectionExample
from facecore.lifecycle.evaluation.detection_measures import (
    DetectionSlices,
    LandmarkError,
    SizeRecall,
    best_score,
    detection_slices,
    landmark_error,
    recall_by_size,
)
from facecore.lifecycle.evaluation.detection_tally import DetectionTally
from facecore.lifecycle.evaluation.embedder_evaluation import Progress, provenance_of
from facecore.lifecycle.evaluation.estimate import Estimate, resampled_estimate
from facecore.lifecycle.evaluation.slices import groups_of
from facecore.lifecycle.intervals import Proportion, proportion
from facecore.lifecycle.people_bootstrap import draws
from facecore.stages.detector import Detector
from facecore.types import Floats, Image

if TYPE_CHECKING:
    import pandas as pd

SCORE_THRESHOLD = 0.6
SLICES = ("source",)
_BATCH = 16
_MOST_DETECTIONS = 1000


class SceneSnapshot(Protocol):
    """What is needed of a snapshot of scenes (see `lifecycle.datasets`)."""

    @property
    def reference(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    def frame(self, split: Any = None) -> pd.DataFrame: ...
    def scenes(self, split: Any = None) -> Iterator[tuple[Image, Floats, Floats]]: ...


@dataclass(frozen=True, slots=True)
class DetectorEvaluation:
    """The evaluation document of a detector; `to_json` leaves out pictures.

    Average precision judges all that the detector returned: load it with a low score
    threshold. Everything from `recall` on judges detections from `score_threshold`, at an
    overlap of 0.5.

    Attributes:
        ap_50, ap: average precision at an overlap of 0.5, and averaged over 0.5 to 0.95;
            intervals from resampling images.
        curve: precision at recall 0, 0.01 … 1 with an overlap of 0.5.
        best_score: the score threshold with the highest F1, and that F1.
        precision: None where nothing was found.
        landmarks: None where no found face has known landmarks, or none were given.
        missed, mistaken: the largest missed faces; the surest false detections.
    """

    model: str
    snapshot: str
    digest: str
    split: str
    images: int
    faces: int
    detections: int
    ap_50: Estimate
    ap: Estimate
    curve: tuple[float, ...]
    best_score: float
    best_f1: float
    score_threshold: float
    recall: Proportion
    precision: Proportion | None
    false_per_image: float
    recall_by_size: tuple[SizeRecall, ...]
    landmarks: LandmarkError | None
    slices: tuple[DetectionSlices, ...]
    missed: tuple[DetectionExample, ...]
    mistaken: tuple[DetectionExample, ...]
    provenance: Mapping[str, str]
    matched: MatchedDetections = field(repr=False, compare=False)

    kind = "detector"

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        document: dict[str, Any] = {"kind": self.kind}
        for name in self.__dataclass_fields__:
            if name != "matched":
                value = getattr(self, name)
                document[name] = _plain(value)
        for example in (*document["missed"], *document["mistaken"]):
            del example["picture"], example["inner"]
        return document

    def metrics(self) -> dict[str, float]:
        """The numbers worth a curve or a column: name → value."""
        found = {
            "ap_50": self.ap_50.value,
            "ap": self.ap.value,
            "recall": self.recall.value,
            "false_per_image": self.false_per_image,
        }
        if self.precision is not None:
            found["precision"] = self.precision.value
        if self.landmarks is not None:
            found["landmark_error"] = self.landmarks.mean.value
        return found


def evaluate_detector(
    detector: Detector,
    snapshot: SceneSnapshot,
    *,
    model: str = "",
    split: str = "test",
    slices: Sequence[str] | None = None,
    score_threshold: float = SCORE_THRESHOLD,
    seed: int = 0,
    progress: Progress | None = None,
) -> DetectorEvaluation:
    """Measure a detector on the scenes of one split. Memory: one batch of images and the boxes.

    Args:
        model: how it is called in the document.
        slices: metadata columns; by default `SLICES` and the user's own, where there are such.
        score_threshold: from which a detection counts in operation.
        progress: called with (scenes searched, of).

    Raises:
        UsageError: a split without scenes or faces, or an unknown column.
        SnapshotDamaged: an object of the snapshot is missing or altered.
    """
    frame = snapshot.frame(split)
    usual = tuple(c for c in (*SLICES, *snapshot.labels) if c in frame)
    columns = usual if slices is None else tuple(slices)
    groups = {column: groups_of(frame, column) for column in columns}
    tally = DetectionTally(score_threshold)
    batch: list[tuple[Image, Floats, Floats]] = []
    for scene in snapshot.scenes(split):
        batch.append(scene)
        if len(batch) == _BATCH:
            tally.add(batch, detector)
            batch = []
            if progress is not None:
                progress(len(tally.matches), len(frame))
    if batch:
        tally.add(batch, detector)
        if progress is not None:
            progress(len(tally.matches), len(frame))
    if not tally.sides:
        raise UsageError(
            f"snapshot {snapshot.reference} has no faces in split {split!r} to look for.",
            remedy="`facecore dataset show` lists its splits.",
        )
    matched = MatchedDetections.of(tally.matches)
    ap_50, ap = torchmetrics_precision(tally.found, tally.truth)
    resampled = np.array([matched.average_precision(t) for t in draws(len(frame), seed=seed)])
    score, f1 = best_score(matched)
    sides, hit = np.array(tally.sides), np.array(tally.hit, np.bool_)
    false = sum(tally.false)
    taken = int(hit.sum()) + false
    return DetectorEvaluation(
        model=model,
        snapshot=snapshot.reference,
        digest=snapshot.digest,
        split=split,
        images=len(tally.matches),
        faces=len(sides),
        detections=len(matched.scores),
        ap_50=resampled_estimate(ap_50, resampled[:, 0]),
        ap=resampled_estimate(ap, resampled[:, 1]),
        curve=tuple(matched.precision(0)[0].round(6).tolist()),
        best_score=score,
        best_f1=f1,
        score_threshold=score_threshold,
        recall=proportion(int(hit.sum()), len(hit)),
        precision=proportion(int(hit.sum()), taken) if taken else None,
        false_per_image=false / len(tally.matches),
        recall_by_size=recall_by_size(sides, hit),
        landmarks=landmark_error(tally.landmark_errors, seed),
        slices=tuple(detection_slices(column, labels, tally) for column, labels in groups.items()),
        missed=tally.missed.found(),
        mistaken=tally.mistaken.found(),
        provenance=provenance_of(seed),
        matched=matched,
    )


def torchmetrics_precision(
    found: Sequence[tuple[Floats, Floats]], truth: Sequence[Floats]
) -> tuple[float, float]:
    """AP at an overlap of 0.5 and averaged over 0.5 to 0.95, by torchmetrics, 0..1.

    Args:
        found: boxes float32 `[n, 4]` and scores float32 `[n]` of each image.
        truth: boxes float32 `[m, 4]` of each image.
    """
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(
        # As COCO has them; torchmetrics' own are rounded to float32, and miss exact recalls.
        rec_thresholds=RECALLS.tolist(),
        max_detection_thresholds=[1, 100, _MOST_DETECTIONS],
        extended_summary=True,
        backend="pycocotools",
    )
    metric.warn_on_many_detections = False
    for (boxes, scores), true in zip(found, truth, strict=True):
        metric.update(
            [
                {
                    "boxes": torch.from_numpy(boxes).reshape(-1, 4),
                    "scores": torch.from_numpy(scores),
                    "labels": torch.zeros(len(boxes), dtype=torch.long),
                }
            ],
            [
                {
                    "boxes": torch.from_numpy(true).reshape(-1, 4),
                    "labels": torch.zeros(len(true), dtype=torch.long),
                }
            ],
        )
    # [overlaps, recalls, classes, areas, limits]: all areas, the highest limit. (The summary
    # itself stops at a hundred detections per image.)
    precision = metric.compute()["precision"][:, :, 0, 0, -1]
    return float(precision[0].mean()), float(precision.mean())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
