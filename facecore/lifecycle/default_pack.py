"""The default pack, YuNet and SFace, as version 1 of the platform's two registered models.

What was measured of it ships as data, with the command that reproduces it: the calibration
and the verification result on Labeled Faces in the Wild. A check refuses them for any other
embedding contract.
"""

from __future__ import annotations

import json
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.lifecycle.model_card import model_card
from facecore.lifecycle.packaging import (
    Evidence,
    Weights,
    detector_package,
    embedder_package,
    embedding_contract,
)
from facecore.lifecycle.thresholds import Calibration
from facecore.stores.registry import ModelPackage, ModelVersionInfo, Registry
from facecore.types import Contract

if TYPE_CHECKING:
    from facecore.zoo.registry import PreparedWeights

DETECTOR = "yunet"
EMBEDDER = "sface"


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
            detector_package(
                names.detector,
                _weights(detector),
                Evidence(model_card(detector.name)),
                Path(scratch),
            ),
            _embedder_package(names.embedder, detector, embedder, Path(scratch)),
        )
        return [registry.register(package, alias=names.alias) for package in packages]


def default_contract(detector: PreparedWeights, embedder: PreparedWeights) -> Contract:
    """The embedding contract of the pack."""
    return embedding_contract(_weights(embedder), _dimension(embedder), detector.sha256)


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


def _embedder_package(
    name: str, detector: PreparedWeights, embedder: PreparedWeights, scratch: Path
) -> ModelPackage:
    calibration, verification = default_calibration(), default_verification()
    card = model_card(embedder.name, calibration=calibration, verification=verification)
    metrics = {
        "lfw_accuracy": verification["accuracy"],
        "lfw_accuracy_std": verification["accuracy_std"],
        "lfw_auc": verification["auc"],
        "lfw_eer": verification["eer"],
    }
    return embedder_package(
        name,
        _weights(embedder),
        _dimension(embedder),
        _weights(detector),
        calibration,
        Evidence(card, metrics),
        scratch,
    )


def _weights(prepared: PreparedWeights) -> Weights:
    return Weights(prepared.name, prepared.path, prepared.sha256, prepared.source_sha256)


def _dimension(prepared: PreparedWeights) -> int:
    from facecore.zoo.registry import spec

    dimension = spec(prepared.name).dimension
    assert dimension is not None  # noqa: S101 (an embedder has one)
    return dimension
