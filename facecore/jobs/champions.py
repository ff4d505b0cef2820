"""The models in use: from the registry's alias to an extractor ready to run.

The registry decides (`models:/…@champion`), the catalogue must agree: vectors of a model that
was not activated there would be compared with nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.config import ExtractSettings
from facecore.errors import ConfigError
from facecore.jobs.stores import Stores
from facecore.lifecycle.thresholds import Calibration, OperatingThreshold, threshold_for_gallery
from facecore.stores.catalog import models
from facecore.stores.registry import WEIGHTS, ModelVersionInfo

if TYPE_CHECKING:
    from facecore.pipeline.extract import FaceExtractor


@dataclass(frozen=True, slots=True)
class Champions:
    """The detector and embedder in use, in the registry's and the catalogue's words."""

    detector: ModelVersionInfo
    embedder: ModelVersionInfo
    detector_row: models.ModelVersion
    embedder_row: models.ModelVersion

    @property
    def names(self) -> dict[str, str]:
        """Task → "name/version", for lineage."""
        return {
            "detect": f"{self.detector.name}/{self.detector.version}",
            "embed": f"{self.embedder.name}/{self.embedder.version}",
        }


def champions(stores: Stores) -> Champions:
    """Resolve the aliases and check them against the catalogue.

    Raises:
        NotFound: no champion is registered or none is active.
        ConfigError: the registry's champion is not the catalogue's active model.
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    detector = stores.registry.resolve(stores.settings.mlflow.detector)
    embedder = stores.registry.resolve(stores.settings.mlflow.embedder)
    with stores.catalog.transaction() as tx:
        rows = (models.active(tx, "detect"), models.active(tx, "embed"))
    for info, row in zip((detector, embedder), rows, strict=True):
        if (info.name, info.version) != (row.name, row.version):
            raise ConfigError(
                f"the registry's champion {info.name}/{info.version} is not active; the catalogue "
                f"works with {row.name}/{row.version}.",
                remedy="Point the alias back, or activate the new version by re-embedding.",
            )
    return Champions(detector, embedder, *rows)


def extractor(stores: Stores, chosen: Champions) -> FaceExtractor:
    """The extractor of these models, loaded once per process.

    Raises:
        DigestMismatch: the weights are not the registered ones.
        DeviceUnavailable: the device asked for is not there.
    """
    return _load(
        stores.registry.download(chosen.detector) / WEIGHTS,
        chosen.detector.weights_sha256,
        stores.registry.download(chosen.embedder) / WEIGHTS,
        chosen.embedder.weights_sha256,
        stores.settings.extract.model_dump_json(),
    )


def default_extractor(stores: Stores) -> FaceExtractor:
    """The extractor of the default pack, straight from its published weights: no registry.

    Raises:
        WeightsError: the weights cannot be had from any mirror.
    """
    from facecore.lifecycle.default_pack import DETECTOR, EMBEDDER
    from facecore.zoo.registry import prepare

    where = (stores.settings.cache, stores.settings.model_dir)
    detector, embedder = prepare(DETECTOR, *where), prepare(EMBEDDER, *where)
    return _load(
        detector.path,
        detector.sha256,
        embedder.path,
        embedder.sha256,
        stores.settings.extract.model_dump_json(),
    )


@lru_cache(maxsize=2)
def _load(
    detector: Path, detector_sha256: str, embedder: Path, embedder_sha256: str, settings: str
) -> FaceExtractor:
    from facecore.pipeline.load import load_extractor

    options: dict[str, Any] = ExtractSettings.model_validate_json(settings).model_dump()
    options["sides_px"] = options.pop("detect_sides_px")
    return load_extractor(detector, detector_sha256, embedder, embedder_sha256, **options)


def threshold_for(
    calibration: Mapping[str, Any], target_fpir: float, gallery_size: int
) -> OperatingThreshold:
    """The threshold of a calibrated model for a gallery of this size.

    Raises:
        ConfigError: the model has no calibration.
    """
    if not calibration:
        raise ConfigError(
            "the active embedder has no calibrated threshold.",
            remedy="Run `facecore evaluate calibrate`.",
        )
    return threshold_for_gallery(Calibration.from_json(calibration), target_fpir, gallery_size)
