"""A trained model → judged beside the model in use, then a version in the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from facecore.jobs.models.champions import Champions, extractor
from facecore.jobs.stores import Stores
from facecore.lifecycle import packaging
from facecore.lifecycle.packaging import Evidence, Weights
from facecore.lifecycle.thresholds import VERIFICATION_FMR, Calibration
from facecore.lifecycle.trained_card import trained_card
from facecore.stores.registry import WEIGHTS, ModelVersionInfo
from facecore.types import Contract, FaceCrops, Floats

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.datasets.splits import Split
    from facecore.lifecycle.training.run import TrainedModel

_TEST: Split = "test"
_CALIBRATION: Split = "val"
# Average precision looks at unsure detections too.
_LOW_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class Judged:
    """What a trained model did on the test split, beside the model in use.

    Attributes:
        documents: evaluation documents by file name, for the run.
        calibration: thresholds of a new embedder.
    """

    metrics: dict[str, float]
    champion: str
    champion_metrics: dict[str, float]
    documents: dict[str, Any]
    calibration: Calibration | None = None
    slices: Mapping[str, Mapping[str, float]] | None = None


def register_challenger(
    stores: Stores, chosen: Champions, trained: TrainedModel, judge_on: Snapshot
) -> tuple[list[ModelVersionInfo], Judged]:
    """Evaluate on the test split, then register: safe to repeat, nothing is registered twice.

    Returns:
        The version of the trained model; for a detector also the embedder version that pairs
        the embedder in use with it. And what was measured.
    """
    from facecore.jobs.training import analysis_challengers
    from facecore.zoo.registry import spec

    task = spec(trained.plan.model).task
    if task in ("reconstruct", "forecast"):
        return analysis_challengers.register(stores, trained, judge_on)
    judge = {"embed": _judge_embedder, "detect": _judge_detector, "match": _judge_matcher}[task]
    packages = {"embed": _package_embedder, "detect": _package_detector, "match": _package_matcher}
    judged = judge(stores, chosen, trained, judge_on)
    with tempfile.TemporaryDirectory(prefix="facecore-register-") as scratch:
        made = packages[task](stores, chosen, trained, judged, judge_on, Path(scratch))
        versions = [stores.registry.register(made)]
        if task == "detect":
            versions.append(pair(stores, chosen, versions[0], Path(scratch)))
    return versions, judged


def weights_of(trained: TrainedModel) -> Weights:
    """What was trained."""
    return Weights(trained.plan.model, trained.path, trained.sha256)


def pair(
    stores: Stores, chosen: Champions, detector: ModelVersionInfo, scratch: Path
) -> ModelVersionInfo:
    """Register the embedder version that brings a detector into use beside the chosen embedder."""
    folders = [stores.registry.download(info) for info in (detector, chosen.embedder)]
    package = packaging.paired_with(detector, folders[0], chosen.embedder, folders[1], scratch)
    return stores.registry.register(package)


def evidence_of(
    trained: TrainedModel, judged: Judged, judge_on: Snapshot, contract: str = ""
) -> Evidence:
    plan = trained.plan
    about = {
        "goal": plan.goal,
        "data": trained.dataset,
        "optimiser": f"{plan.optimizer}, learning rate {plan.rate:g}, {plan.scheduler}",
        "epochs": f"{plan.epochs}, the best was {trained.best_epoch}",
        "batch size": plan.batch_size,
        "augmentation": plan.augmentation,
        "seed": plan.seed,
        "options": ", ".join(f"{k}={v}" for k, v in trained.options.items()),
        trained.metric: trained.metric_value,
        "MLflow run": trained.run_id or "",
    }
    card = trained_card(
        plan.model,
        training=about,
        evaluated_on=f"{judge_on.reference}, split {_TEST}",
        metrics=judged.metrics,
        champion=judged.champion,
        champion_metrics=judged.champion_metrics,
        slices=judged.slices,
        calibration=judged.calibration,
        contract=contract,
    )
    tags = {"goal": plan.goal, "dataset": trained.dataset, "evaluated_on": judge_on.reference}
    return Evidence(card, judged.metrics, tags, trained.run_id)


# Embedders


def _contract(chosen: Champions, trained: TrainedModel) -> Contract:
    return packaging.embedding_contract(
        weights_of(trained),
        int(trained.options["dimension"]),
        chosen.embedder.contract["embedding"]["detector_sha256"],
    )


def _judge_embedder(
    stores: Stores, chosen: Champions, trained: TrainedModel, judge_on: Snapshot
) -> Judged:
    from facecore.lifecycle.evaluation.embedder_evaluation import evaluate_embedder
    from facecore.stages.embed import FaceEmbedder
    from facecore.zoo import registry

    contract = _contract(chosen, trained)
    network = registry.load(trained.plan.model, trained.path, trained.sha256)
    running = extractor(stores, chosen).embedder
    embedder = FaceEmbedder(network, contract, workers=_workers(stores), dtype=running.dtype)

    def embed(pixels: npt.NDArray[np.uint8]) -> Floats:
        return embedder.embed(FaceCrops(pixels)).vectors

    own = evaluate_embedder(
        embed,
        judge_on,
        model=trained.plan.model,
        calibration=_calibration(embed, contract, judge_on),
        contract=contract.digest,
    )
    name = f"{chosen.embedder.name}/{chosen.embedder.version}"
    known = chosen.embedder_row.calibration
    other = evaluate_embedder(
        lambda pixels: running.embed(FaceCrops(pixels)).vectors,
        judge_on,
        model=name,
        calibration=Calibration.from_json(known) if known else None,
        contract=running.contract.digest,
    )
    slices = {
        f"{report.column} = {part.value}": {
            rate: measured.value
            for rate, measured in (("FMR", part.fmr), ("FNMR", part.fnmr))
            if measured is not None
        }
        for report in own.slices
        for part in report.slices
    }
    return Judged(
        own.metrics(),
        name,
        other.metrics(),
        {"evaluation.json": own.to_json(), "champion.json": other.to_json()},
        # A version is its files: of a later try, on another day, they have to be the same.
        calibration=own.calibration.dated(trained.began),
        slices=slices,
    )


def _calibration(embed: Any, contract: Contract, judge_on: Snapshot) -> Calibration | None:
    """Thresholds from people who took no part in the test, where they are enough of them."""
    from facecore.lifecycle.evaluation.embedder_evaluation import calibration_of, embed_snapshot
    from facecore.lifecycle.evaluation.face_scores import score_faces

    identities = judge_on.frame(_CALIBRATION)["identity"]
    counts = identities.value_counts().to_numpy()
    impostors = (int(counts.sum()) ** 2 - int((counts**2).sum())) // 2
    if impostors * VERIFICATION_FMR < 3 or not (counts > 1).any():
        return None
    vectors = embed_snapshot(embed, judge_on, _CALIBRATION, len(identities))
    names = [name if isinstance(name, str) else None for name in identities]
    return calibration_of(
        score_faces(vectors, names),
        contract=contract.digest,
        dataset=f"{judge_on.reference}, split {_CALIBRATION}",
        provenance={"command": "facecore train"},
    )


def _package_embedder(
    stores: Stores,
    chosen: Champions,
    trained: TrainedModel,
    judged: Judged,
    judge_on: Snapshot,
    scratch: Path,
) -> Any:
    contract = _contract(chosen, trained)
    files = stores.registry.download(chosen.embedder)
    return packaging.embedder_package(
        stores.settings.mlflow.embedder,
        weights_of(trained),
        contract.dimension,
        packaging.detector_of(chosen.embedder, files),
        judged.calibration,
        evidence_of(trained, judged, judge_on, contract.digest),
        scratch,
        identities=trained.identities,
    )


# Detectors


def _judge_detector(
    stores: Stores, chosen: Champions, trained: TrainedModel, judge_on: Snapshot
) -> Judged:
    from facecore.lifecycle.evaluation.detector_evaluation import evaluate_detector
    from facecore.pipeline.load import load_detector

    name = f"{chosen.detector.name}/{chosen.detector.version}"
    files = stores.registry.download(chosen.detector)
    used = Weights(
        chosen.detector.contract["model"],
        files / WEIGHTS,
        chosen.detector.weights_sha256,
    )
    workers = _workers(stores)
    found = [
        evaluate_detector(
            load_detector(
                one.model, one.path, one.sha256, workers=workers, score_threshold=_LOW_SCORE
            ),
            judge_on,
            model=label,
        )
        for one, label in ((weights_of(trained), trained.plan.model), (used, name))
    ]
    return Judged(
        found[0].metrics(),
        name,
        found[1].metrics(),
        {"evaluation.json": found[0].to_json(), "champion.json": found[1].to_json()},
    )


def _package_detector(
    stores: Stores,
    chosen: Champions,
    trained: TrainedModel,
    judged: Judged,
    judge_on: Snapshot,
    scratch: Path,
) -> Any:
    return packaging.detector_package(
        stores.settings.mlflow.detector,
        weights_of(trained),
        evidence_of(trained, judged, judge_on),
        scratch,
    )


# Matchers


def _judge_matcher(
    stores: Stores, chosen: Champions, trained: TrainedModel, judge_on: Snapshot
) -> Judged:
    import torch

    from facecore.lifecycle.evaluation.embedder_evaluation import evaluate_embedder
    from facecore.zoo import registry
    from facecore.zoo.siamese import SiameseMatcher

    head = registry.load(trained.plan.model, trained.path, trained.sha256)
    assert isinstance(head, SiameseMatcher)  # noqa: S101 (the only matcher)
    running = extractor(stores, chosen).embedder
    known = chosen.embedder_row.calibration

    def matcher(left: Floats, right: Floats) -> Floats:
        with torch.inference_mode():
            answer: Floats = head.probability(
                torch.from_numpy(left), torch.from_numpy(right)
            ).numpy()
        return answer

    name = f"{chosen.embedder.name}/{chosen.embedder.version}"
    found = evaluate_embedder(
        lambda pixels: running.embed(FaceCrops(pixels)).vectors,
        judge_on,
        model=name,
        calibration=Calibration.from_json(known) if known else None,
        contract=running.contract.digest,
        matcher=matcher,
    )
    judged = found.matcher
    metrics = {} if judged is None else {"auc": judged.auc.value, "eer": judged.eer.value}
    cosine = (
        {} if judged is None else {"auc": judged.cosine_auc.value, "eer": judged.cosine_eer.value}
    )
    return Judged(metrics, f"cosine of {name}", cosine, {"evaluation.json": found.to_json()})


def _package_matcher(
    stores: Stores,
    chosen: Champions,
    trained: TrainedModel,
    judged: Judged,
    judge_on: Snapshot,
    scratch: Path,
) -> Any:
    evidence = evidence_of(trained, judged, judge_on, chosen.embedder.contract["digest"])
    return packaging.matcher_package(
        stores.settings.mlflow.matcher,
        weights_of(trained),
        chosen.embedder,
        stores.registry.download(chosen.embedder),
        replace(
            evidence,
            tags={
                **evidence.tags,
                "embedder_version": f"{chosen.embedder.name}/{chosen.embedder.version}",
            },
        ),
        scratch,
    )


def _workers(stores: Stores) -> Any:
    from facecore.stages.workers import Workers
    from facecore.zoo.device import resolve_device, use_threads

    settings = stores.settings.extract
    return Workers(resolve_device(settings.device), use_threads(settings.threads))
