"""Registered versions made known to the catalogue, and whether one may come into use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from facecore.errors import (
    ContractMismatch,
    DigestMismatch,
    NotFound,
    PromotionRefused,
    UsageError,
)
from facecore.jobs.stores import Stores
from facecore.lifecycle.thresholds import VERIFICATION_FMR, Calibration, threshold_at
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import models
from facecore.stores.registry import ModelVersionInfo
from facecore.types import Contract


@dataclass(frozen=True, slots=True)
class Candidate:
    """An embedder version that may come into use, the detector version it is paired with, and
    its calibration (None: the catalogue has one already)."""

    embedder: ModelVersionInfo
    detector: ModelVersionInfo
    calibration: dict[str, Any] | None

    @property
    def subject(self) -> str:
        """`name/version` of the embedder."""
        return f"{self.embedder.name}/{self.embedder.version}"


def row_of(
    info: ModelVersionInfo,
    calibration: dict[str, Any] | None = None,
    detector_version_id: int | None = None,
) -> models.ModelVersionRow:
    """The catalogue's row of a registered version.

    Raises:
        UsageError: the calibration does not support the rate of verification.
    """
    embedding = Contract(**info.contract["embedding"]) if "embedding" in info.contract else None
    threshold = None
    if calibration:
        threshold = threshold_at(Calibration.from_json(calibration), VERIFICATION_FMR).threshold
    return models.ModelVersionRow(
        task="embed" if embedding else "detect",
        name=info.name,
        version=info.version,
        contract=embedding.digest if embedding else info.weights_sha256,
        weights_sha256=info.weights_sha256,
        dimension=embedding.dimension if embedding else None,
        threshold=threshold,
        target_fmr=VERIFICATION_FMR if threshold is not None else None,
        calibration=calibration or {},
        detector_version_id=detector_version_id,
    )


def candidate(stores: Stores, name: str, version: int) -> Candidate:
    """Check that a version may come into use: the right kind, whole files, calibrated, paired.

    Raises:
        NotFound: there is no such version.
        PromotionRefused: it may not; says why and what to do.
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    subject = f"{name}/{version}"
    info = stores.registry.version(name, version)
    if "embedding" not in info.contract:
        raise PromotionRefused(
            subject,
            f"{subject} is not an embedder; a detector comes into use with the embedder version "
            "that is paired with it.",
            failed=("not an embedder",),
            remedy=f"Promote a version of {stores.settings.mlflow.embedder} whose contract names "
            "this detector.",
        )
    embedding = Contract(**info.contract["embedding"])
    detector = _paired_detector(stores, subject, embedding)
    for one in (detector, info):
        require_whole(stores, one)
    if embedding.weights_sha256 != info.weights_sha256:
        raise PromotionRefused(
            subject,
            f"the contract of {subject} names other weights than the version holds.",
            failed=("contract",),
            remedy="Register the version again.",
        )
    return Candidate(info, detector, _calibration(stores, info, subject, embedding))


def make_known(tx: Transaction, found: Candidate) -> tuple[int, int]:
    """Rows of a candidate's detector and embedder; returns their ids."""
    detector_id = models.upsert(tx, row_of(found.detector))
    return detector_id, models.upsert(tx, row_of(found.embedder, found.calibration, detector_id))


def _paired_detector(stores: Stores, subject: str, embedding: Contract) -> ModelVersionInfo:
    name = stores.settings.mlflow.detector
    for info in stores.registry.versions(name):
        if info.weights_sha256 == embedding.detector_sha256:
            return info
    raise PromotionRefused(
        subject,
        f"{subject} is paired with a detector of weights {embedding.detector_sha256[:12]}…, and "
        f"no version of {name} has them.",
        failed=("no such detector",),
        remedy=f"Register that detector as a version of {name}.",
    )


def require_whole(stores: Stores, info: ModelVersionInfo) -> None:
    """Raise `PromotionRefused` unless every file of a version is the registered one."""
    try:
        stores.registry.download(info)
    except (DigestMismatch, NotFound) as damage:
        subject = f"{info.name}/{info.version}"
        raise PromotionRefused(
            subject,
            f"the files of {subject} are damaged: {damage.message}.",
            failed=("damaged files",),
            remedy="Register the version again from the original files.",
        ) from damage


def _calibration(
    stores: Stores, info: ModelVersionInfo, subject: str, embedding: Contract
) -> dict[str, Any] | None:
    """The registered calibration, or None where the catalogue has a newer one of its own."""
    with stores.catalog.transaction() as tx:
        known = models.find(tx, info.name, info.version)
    if known is not None and known.calibration:
        return None
    document = stores.registry.calibration(info)
    if not document:
        raise PromotionRefused(
            subject,
            f"{subject} has no calibrated threshold, so nobody could be recognised with it.",
            failed=("no calibration",),
            remedy="Train it with `facecore train`, which calibrates, or register the version "
            "again with a calibration.json.",
        )
    try:
        calibration = Calibration.from_json(document)
        if calibration.contract != embedding.digest:
            raise ContractMismatch(embedding.digest, calibration.contract)
        threshold_at(calibration, VERIFICATION_FMR)
    except (ContractMismatch, UsageError) as wrong:
        raise PromotionRefused(
            subject,
            f"the calibration of {subject} cannot be used: {wrong.message.rstrip('.')}.",
            failed=("calibration",),
            remedy="Calibrate it anew, on more people, and register it again.",
        ) from wrong
    return document
