"""The default pack, YuNet and SFace, as version 1 of the platform's two registered models.

What was measured of it ships as data, with the command that reproduces it: the calibration
and the verification result on Labeled Faces in the Wild. A check refuses them for any other
embedding contract.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.errors import ContractMismatch
from facecore.lifecycle.model_card import model_card
from facecore.lifecycle.thresholds import Calibration
from facecore.stores.registry import ModelPackage, ModelVersionInfo, Registry
from facecore.types import Contract

if TYPE_CHECKING:
    from facecore.zoo.registry import PreparedWeights

DETECTOR = "yunet"
EMBEDDER = "sface"
_REQUIREMENTS = ("facecore", "torch", "torchvision", "safetensors", "numpy", "pandas", "pillow")


def register_default_pack(
    registry: Registry, cache: Path, model_dir: Path | None = None
) -> list[ModelVersionInfo]:
    """Register detector and embedder, unless they are, and give each the champion alias.

    Can be repeated at any time, also after it was interrupted: what exists is found by its
    digests and nothing is registered twice. An alias that points elsewhere stays.

    Args:
        cache: where fetched and converted weights are kept.
        model_dir: the operator's mirror of the weights.

    Returns:
        The versions: detector, embedder.

    Raises:
        WeightsError, DigestMismatch: the weights cannot be had, or are not the published ones.
        ContractMismatch: the shipped calibration is not of these weights.
        RegistryUnavailable, CredentialsRejected: see `Registry`.
    """
    from facecore.zoo.registry import prepare

    detector, embedder = (prepare(name, cache, model_dir) for name in (DETECTOR, EMBEDDER))
    names = registry.settings
    with tempfile.TemporaryDirectory(prefix="facecore-pack-") as scratch:
        packages = (
            _detector_package(names.detector, detector, Path(scratch)),
            _embedder_package(names.embedder, detector, embedder, Path(scratch)),
        )
        return [registry.register(package, alias=names.alias) for package in packages]


def default_contract(detector: PreparedWeights, embedder: PreparedWeights) -> Contract:
    """The embedding contract of the pack."""
    from facecore.zoo.registry import spec

    dimension = spec(embedder.name).dimension
    assert dimension is not None  # noqa: S101 (an embedder has one)
    return Contract(
        embedder=embedder.name,
        weights_sha256=embedder.sha256,
        dimension=dimension,
        detector_sha256=detector.sha256,
    )


def default_calibration() -> Calibration:
    """The shipped calibration of the pack."""
    return Calibration.from_json(_shipped("calibration"))


def default_verification() -> dict[str, Any]:
    """The shipped verification result of the pack (`Verification.to_json`), with provenance."""
    return _shipped("verification")


def _shipped(what: str) -> dict[str, Any]:
    path = files("facecore.lifecycle") / "measured" / f"{what}.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _detector_package(name: str, detector: PreparedWeights, scratch: Path) -> ModelPackage:
    contract = {"task": "detect", "model": detector.name, "weights_sha256": detector.sha256}
    return _package(
        name,
        detector,
        contract,
        {
            "weights.safetensors": detector.path,
            "contract.json": _write(scratch, f"{contract['model']}-contract", contract),
        },
        description=model_card(detector.name),
    )


def _embedder_package(
    name: str, detector: PreparedWeights, embedder: PreparedWeights, scratch: Path
) -> ModelPackage:
    embedding = default_contract(detector, embedder)
    calibration, verification = default_calibration(), default_verification()
    if calibration.contract != embedding.digest:
        raise ContractMismatch(embedding.digest, calibration.contract)
    contract = {
        "task": "embed",
        "model": embedder.name,
        "weights_sha256": embedder.sha256,
        "digest": embedding.digest,
        "embedding": asdict(embedding),
    }
    return _package(
        name,
        embedder,
        contract,
        {
            "weights.safetensors": embedder.path,
            "detector.safetensors": detector.path,
            "contract.json": _write(scratch, f"{contract['model']}-contract", contract),
            "calibration.json": _write(scratch, "calibration", calibration.to_json()),
        },
        description=model_card(embedder.name, calibration=calibration, verification=verification),
        metrics={
            "lfw_accuracy": verification["accuracy"],
            "lfw_accuracy_std": verification["accuracy_std"],
            "lfw_auc": verification["auc"],
            "lfw_eer": verification["eer"],
        },
    )


def _package(
    name: str,
    prepared: PreparedWeights,
    contract: dict[str, Any],
    artifacts: dict[str, Path],
    *,
    description: str,
    metrics: dict[str, float] | None = None,
) -> ModelPackage:
    from facecore.lifecycle import serving
    from facecore.zoo.registry import spec

    about = spec(prepared.name)
    facts = {
        "model": prepared.name,
        "task": about.task,
        "licence": about.licence,
        "sha256": prepared.sha256,
        "source_sha256": prepared.source_sha256,
    }
    return ModelPackage(
        name=name,
        files=artifacts,
        contract=contract,
        python_model=Path(serving.__file__).with_name("pyfunc_model.py"),
        signature=serving.signature(about.task),
        description=description,
        requirements=tuple(f"{package}=={version(package)}" for package in _REQUIREMENTS),
        tags=facts,
        params=facts,
        metrics=metrics or {},
    )


def _write(scratch: Path, name: str, document: dict[str, Any]) -> Path:
    path = scratch / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path
