"""Registered versions loaded to be measured: by name, version or alias, with what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.jobs.stores import Stores
from facecore.lifecycle.packaging import EMBEDDER_WEIGHTS
from facecore.lifecycle.thresholds import Calibration
from facecore.stores.catalog.models import models
from facecore.stores.registry import WEIGHTS, ModelVersionInfo
from facecore.types import Contract, FaceCrops, Floats, Image

if TYPE_CHECKING:
    from torch import nn

    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation.comparison import Evaluation
    from facecore.lifecycle.evaluation.cost import Subject
    from facecore.stages.detector import Detector
    from facecore.stages.embed import FaceEmbedder
    from facecore.stages.workers import Workers

Progress = Callable[[int, int], None]

# Average precision looks at unsure detections too.
LOW_SCORE = 0.05
_TIMED_CROPS = 16
_TIMED_SCENES = 4


@dataclass(frozen=True, slots=True)
class MeasuredEmbedder:
    """An embedder, perhaps with a learned matcher on top of it.

    Attributes:
        name: "name/version".
        network: as it was saved; its parameters and operations are counted.
        calibration: the one it is deployed with.
        head: the learned matcher: vectors, vectors → probability.
    """

    name: str
    network: nn.Module
    embedder: FaceEmbedder
    calibration: Calibration | None
    head: Callable[[Floats, Floats], Floats] | None = None

    def embed(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Vectors of crops uint8 `[n, 112, 112, 3]`, float32 `[n, d]`."""
        return self.embedder.embed(FaceCrops(pixels)).vectors

    def evaluate(
        self,
        snapshot: Snapshot,
        split: str,
        slices: Sequence[str] | None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Measure it on a split of a snapshot of faces."""
        from facecore.lifecycle.evaluation.embedder_evaluation import evaluate_embedder

        return evaluate_embedder(
            self.embed,
            snapshot,
            model=self.name,
            split=split,
            slices=slices,
            calibration=self.calibration,
            contract=self.embedder.contract.digest,
            matcher=self.head,
            progress=progress,
        )

    def subject(self, snapshot: Snapshot, split: str) -> Subject:
        """What its cost is measured on: crops of the snapshot."""
        import torch

        from facecore.lifecycle.evaluation.cost import Subject

        crops = next(snapshot.packs(_split(split)))[1][:_TIMED_CROPS]
        one = torch.from_numpy(np.ascontiguousarray(crops[:1])).permute(0, 3, 1, 2)
        return Subject(
            self.name,
            self.network,
            once=lambda: self.network(one),
            work=lambda: self.embed(crops),
            items=len(crops),
        )


@dataclass(frozen=True, slots=True)
class MeasuredDetector:
    """A detector, loaded several times.

    Attributes:
        detector: returns unsure detections too.
        deployed: as extraction runs it; this one is timed.
        in_one_thread: whose operations can be counted.
        score_threshold: of the deployed one.
    """

    name: str
    network: nn.Module
    detector: Detector
    deployed: Detector
    in_one_thread: Detector
    score_threshold: float

    def evaluate(
        self,
        snapshot: Snapshot,
        split: str,
        slices: Sequence[str] | None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Measure it on a split of a snapshot of scenes."""
        from facecore.lifecycle.evaluation.detector_evaluation import evaluate_detector

        return evaluate_detector(
            self.detector,
            snapshot,
            model=self.name,
            split=split,
            slices=slices,
            score_threshold=self.score_threshold,
            progress=progress,
        )

    def subject(self, snapshot: Snapshot, split: str) -> Subject:
        """What its cost is measured on: the first scenes of the snapshot."""
        from facecore.lifecycle.evaluation.cost import Subject

        scenes: list[Image] = []
        for image, _, _ in snapshot.scenes(_split(split)):
            scenes.append(image)
            if len(scenes) == _TIMED_SCENES:
                break
        return Subject(
            self.name,
            self.network,
            once=lambda: self.in_one_thread.detect(scenes[:1]),
            work=lambda: self.deployed.detect(scenes),
            items=len(scenes),
        )


Measured = MeasuredEmbedder | MeasuredDetector


def find_version(stores: Stores, reference: str) -> ModelVersionInfo:
    """A version by `name/number`, `name@alias`, or `name` (the alias of the settings).

    Raises:
        UsageError: the reference is none of these.
        NotFound: no such version or alias.
    """
    name, slash, number = reference.partition("/")
    if slash:
        if not name or not number.isdecimal():
            raise _malformed(stores, reference)
        return stores.registry.version(name, int(number))
    name, _, alias = reference.partition("@")
    if not name:
        raise _malformed(stores, reference)
    return stores.registry.resolve(name, alias or None)


def load_version(stores: Stores, info: ModelVersionInfo) -> Measured:
    """Load a version onto the device of the settings.

    Raises:
        DigestMismatch, WeightsError: its files are not the registered ones.
        UsageError: it is neither detector, embedder nor matcher.
    """
    task = info.contract.get("task")
    if task == "detect":
        return _detector(stores, info)
    if task in ("embed", "match"):
        return _embedder(stores, info)
    raise UsageError(f"{info.name}/{info.version} is neither detector, embedder nor matcher.")


def _malformed(stores: Stores, reference: str) -> UsageError:
    names = stores.settings.mlflow
    return UsageError(
        f"{reference!r} does not name a registered model.",
        remedy=f"Write {names.embedder}/3, {names.detector}@challenger, or {names.embedder} alone "
        f"for the version with the alias {names.alias}.",
    )


def _detector(stores: Stores, info: ModelVersionInfo) -> MeasuredDetector:
    from facecore.pipeline.load import load_detector
    from facecore.zoo import registry

    model = str(info.contract["model"])
    weights = stores.registry.download(info) / WEIGHTS
    settings = stores.settings.extract
    network = registry.load(model, weights, info.weights_sha256)
    workers, deployed = _workers(stores), settings.score_threshold
    detectors = [
        load_detector(
            model,
            weights,
            info.weights_sha256,
            workers=at_work,
            score_threshold=threshold,
            nms_iou=settings.nms_iou,
            sides_px=settings.detect_sides_px,
            batch_images=settings.batch_images,
            # The last one is there to count operations, which only torch tells.
            backend="torch" if at_work is None or model != "yunet" else settings.backend,
        )
        for at_work, threshold in ((workers, LOW_SCORE), (workers, deployed), (None, LOW_SCORE))
    ]
    unsure, as_deployed, alone = detectors
    return MeasuredDetector(_name(info), network, unsure, as_deployed, alone, deployed)


def _embedder(stores: Stores, info: ModelVersionInfo) -> MeasuredEmbedder:
    from facecore.stages.embed import FaceEmbedder
    from facecore.zoo import registry
    from facecore.zoo.device import resolve_precision

    folder = stores.registry.download(info)
    contract = Contract(**info.contract["embedding"])
    matches = info.contract["task"] == "match"
    weights = folder / (EMBEDDER_WEIGHTS if matches else WEIGHTS)
    network = registry.load(contract.embedder, weights, contract.weights_sha256)
    workers = _workers(stores)
    settings = stores.settings.extract
    embedder = FaceEmbedder(
        network,
        contract,
        workers=workers,
        dtype=resolve_precision(settings.precision, workers.device),
        batch_crops=settings.batch_crops,
        backend=settings.backend,
    )
    head = _head(info, folder) if matches else None
    return MeasuredEmbedder(_name(info), network, embedder, _calibration(stores, info), head)


def _head(info: ModelVersionInfo, folder: Path) -> Callable[[Floats, Floats], Floats]:
    import torch

    from facecore.zoo import registry

    loaded: Any = registry.load(str(info.contract["model"]), folder / WEIGHTS, info.weights_sha256)

    def probability(left: Floats, right: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = loaded.probability(
                torch.from_numpy(left), torch.from_numpy(right)
            ).numpy()
        return found

    return probability


def _calibration(stores: Stores, info: ModelVersionInfo) -> Calibration | None:
    """The catalogue's, which can be renewed, else the registered one."""
    with stores.catalog.transaction() as tx:
        row = models.find(tx, info.name, info.version)
    document = row.calibration if row is not None and row.calibration else None
    document = document or stores.registry.calibration(info)
    return Calibration.from_json(document) if document else None


def _workers(stores: Stores) -> Workers:
    from facecore.stages.workers import Workers
    from facecore.zoo.device import resolve_device, use_threads

    settings = stores.settings.extract
    return Workers(resolve_device(settings.device), use_threads(settings.threads))


def _name(info: ModelVersionInfo) -> str:
    return f"{info.name}/{info.version}"


def _split(split: str) -> Any:
    return split
