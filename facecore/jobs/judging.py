"""Challenger and champion on the same data, in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.jobs.champions import champions, extractor_of
from facecore.jobs.model_versions import candidate
from facecore.jobs.stores import Stores
from facecore.lifecycle.thresholds import Calibration
from facecore.stores.catalog import models
from facecore.stores.registry import WEIGHTS, ModelVersionInfo
from facecore.types import CROP_SIZE, FaceCrops, Floats

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation.comparison import Evaluation
    from facecore.lifecycle.evaluation.cost import Cost, Subject
    from facecore.pipeline.extract import FaceExtractor

# Average precision looks at unsure detections too.
_LOW_SCORE = 0.05
_CROPS = 32
_SCENES = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """Both models' evaluations on one snapshot, and what they cost."""

    challenger: Evaluation
    champion: Evaluation
    cost: Cost


def judge(stores: Stores, info: ModelVersionInfo, snapshot: Snapshot) -> Judged:
    """Evaluate a registered version and the one in use, and time them in turns.

    Raises:
        PromotionRefused: an embedder that could not come into use anyway.
        UsageError: the snapshot is of the wrong kind.
    """
    kind = "faces" if "embedding" in info.contract else "scenes"
    if snapshot.kind != kind:
        raise UsageError(
            f"{info.name}/{info.version} is judged on {kind}; snapshot {snapshot.reference} "
            f"holds {snapshot.kind}.",
            remedy="`facecore dataset list` shows the kind of each snapshot.",
        )
    return (
        _embedders(stores, info, snapshot)
        if kind == "faces"
        else _detectors(stores, info, snapshot)
    )


def _embedders(stores: Stores, info: ModelVersionInfo, snapshot: Snapshot) -> Judged:
    from facecore.lifecycle.evaluation import evaluate_embedder, measure_cost

    found = candidate(stores, info.name, info.version)
    used = champions(stores)
    with stores.catalog.transaction() as tx:
        known = models.find(tx, info.name, info.version)
    calibrations = (
        found.calibration or (known.calibration if known else {}),
        used.embedder_row.calibration,
    )
    pairs = ((found.detector, found.embedder), (used.detector, used.embedder))
    evaluations, subjects = [], []
    for (detector, embedder), calibration in zip(pairs, calibrations, strict=True):
        running = extractor_of(stores, detector, embedder)
        name = f"{embedder.name}/{embedder.version}"
        evaluations.append(
            evaluate_embedder(
                _embed(running),
                snapshot,
                model=name,
                calibration=Calibration.from_json(calibration) if calibration else None,
                contract=running.contract.digest,
            )
        )
        subjects.append(_embedder_subject(stores, running, embedder, name))
    return Judged(evaluations[0], evaluations[1], measure_cost(*subjects))


def _embed(running: FaceExtractor) -> Any:
    def embed(pixels: npt.NDArray[np.uint8]) -> Floats:
        return running.embedder.embed(FaceCrops(pixels)).vectors

    return embed


def _embedder_subject(
    stores: Stores, running: FaceExtractor, info: ModelVersionInfo, name: str
) -> Subject:
    import torch

    from facecore.lifecycle.evaluation import Subject
    from facecore.zoo import registry

    model = str(info.contract["embedding"]["embedder"])
    network = registry.load(model, stores.registry.download(info) / WEIGHTS, info.weights_sha256)
    network.eval()
    one = torch.zeros(1, 3, CROP_SIZE, CROP_SIZE)
    rng = np.random.default_rng(0)
    crops = FaceCrops(rng.integers(0, 256, (_CROPS, CROP_SIZE, CROP_SIZE, 3), np.uint8))
    return Subject(
        name, network, lambda: network(one), lambda: running.embedder.embed(crops), _CROPS
    )


def _detectors(stores: Stores, info: ModelVersionInfo, snapshot: Snapshot) -> Judged:
    from facecore.lifecycle.evaluation import Subject, evaluate_detector, measure_cost
    from facecore.pipeline.load import load_detector
    from facecore.zoo import registry

    used = champions(stores).detector
    # Timed on pictures like those they are judged on.
    pictures = []
    for number, (picture, _, _) in enumerate(snapshot.scenes("test")):
        if number == _SCENES:
            break
        pictures.append(picture)
    evaluations, subjects = [], []
    for one in (info, used):
        name, model = f"{one.name}/{one.version}", str(one.contract["model"])
        weights = stores.registry.download(one) / WEIGHTS
        detector = load_detector(model, weights, one.weights_sha256, score_threshold=_LOW_SCORE)
        evaluations.append(evaluate_detector(detector, snapshot, model=name))
        deployed = load_detector(
            model,
            weights,
            one.weights_sha256,
            score_threshold=stores.settings.extract.score_threshold,
        )
        network = registry.load(model, weights, one.weights_sha256).eval()
        once = load_detector(model, weights, one.weights_sha256, score_threshold=_LOW_SCORE)
        subjects.append(
            Subject(
                name,
                network,
                partial(once.detect, pictures[:1]),
                partial(deployed.detect, pictures),
                len(pictures),
            )
        )
    return Judged(evaluations[0], evaluations[1], measure_cost(*subjects))
