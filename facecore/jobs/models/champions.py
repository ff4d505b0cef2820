"""The models in use: from the catalogue's active versions to an extractor ready to run.

The registry's alias says which version is wanted; the catalogue says which one is in use, that
is, whose vectors are there to be compared with. Work goes by the catalogue; a promotion
(`jobs.promotion`) moves it to what is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from facecore.config import ExtractSettings
from facecore.errors import ConfigError, ContractMismatch, FacecoreError, ModelsChanged, NotFound
from facecore.jobs.stores import Stores
from facecore.lifecycle.thresholds import Calibration, OperatingThreshold, threshold_for_gallery
from facecore.stores.catalog.models import active, models
from facecore.stores.registry import WEIGHTS, ModelVersionInfo

if TYPE_CHECKING:
    from facecore.pipeline.extract import FaceExtractor

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_SWITCHES_SURVIVED = 10
_GRAPHS = "graphs"  # in the cache: networks as they were traced and checked


@dataclass(frozen=True, slots=True)
class Champions:
    """A detector and an embedder, in the registry's and the catalogue's words."""

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

    @property
    def ids(self) -> tuple[int, int]:
        """Of detector and embedder in the catalogue."""
        return self.detector_row.id, self.embedder_row.id


def champions(stores: Stores) -> Champions:
    """The pair in use.

    An alias of the registry that names another version changes nothing here; it is said once
    per process.

    Raises:
        NotFound: none is active, or the registry does not know the active version.
        ContractMismatch: the registry's version is not the one the catalogue knows.
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    with stores.catalog.transaction() as tx:
        pair = active.current(tx)
    found = versions(stores, pair.detector, pair.embedder)
    _tell_differences(stores, found)
    return found


def while_models_change(work: Callable[[], _Result]) -> _Result:
    """Do work that needs one pair of models from begin to end; again where it was switched.

    `work` resolves the pair itself and keeps nothing when it raises `ModelsChanged`. Loading a
    network can take longer than the time between two switches (a promotion and its rollback).
    """
    for _ in range(_SWITCHES_SURVIVED):
        try:
            return work()
        except ModelsChanged:
            logger.info("the models changed meanwhile; doing it again")
    return work()


def versions(
    stores: Stores, detector: models.ModelVersion, embedder: models.ModelVersion
) -> Champions:
    """The same pair in the registry's words. Raises as `champions` does."""
    infos = [_info(stores, row.name, row.version) for row in (detector, embedder)]
    for info, row in zip(infos, (detector, embedder), strict=True):
        if info.weights_sha256 != row.weights_sha256:
            raise ContractMismatch(row.weights_sha256, info.weights_sha256)
    return Champions(infos[0], infos[1], detector, embedder)


def pair_of(stores: Stores, name: str, version: int) -> Champions:
    """An embedder that is or was in use, with the detector whose faces it embeds.

    Raises:
        NotFound: the catalogue or the registry does not know the version, or its detector.
        ContractMismatch, RegistryUnavailable, CatalogUnavailable: as for `champions`.
    """
    with stores.catalog.transaction() as tx:
        embedder = models.find(tx, name, version)
        if embedder is None or embedder.detector_version_id is None:
            raise NotFound("embedder version", f"{name}/{version}")
        detector = models.get(tx, embedder.detector_version_id)
    return versions(stores, detector, embedder)


def differences(stores: Stores) -> list[str]:
    """One sentence for each alias that names another version than the one in use."""
    with stores.catalog.transaction() as tx:
        pair = active.current(tx)
    found = []
    for row in (pair.detector, pair.embedder):
        wanted = stores.registry.aliases(row.name).get(stores.settings.mlflow.alias)
        if wanted != row.version:
            names = f"version {wanted}" if wanted else "nothing"
            found.append(
                f"{row.name}@{stores.settings.mlflow.alias} names {names} in the registry; "
                f"version {row.version} is in use."
            )
    return found


def extractor(stores: Stores, chosen: Champions) -> FaceExtractor:
    """The extractor of these models, loaded once per process.

    Raises:
        DigestMismatch: the weights are not the registered ones.
        DeviceUnavailable: the device asked for is not there.
    """
    return extractor_of(stores, chosen.detector, chosen.embedder)


def extractor_of(
    stores: Stores, detector: ModelVersionInfo, embedder: ModelVersionInfo
) -> FaceExtractor:
    """The extractor of two registered versions, in use or not. Raises as `extractor` does."""
    return load(
        stores.registry.download(detector) / WEIGHTS,
        detector.weights_sha256,
        network_of(detector),
        stores.registry.download(embedder) / WEIGHTS,
        embedder.weights_sha256,
        network_of(embedder),
        stores.settings.extract.model_dump_json(),
        stores.settings.cache / _GRAPHS,
    )


def network_of(version: ModelVersionInfo) -> str:
    """The registered name of a detector's or embedder's network, such as yunet or sface."""
    embedding = version.contract.get("embedding")
    return str(version.contract["model"] if embedding is None else embedding["embedder"])


def default_extractor(stores: Stores) -> FaceExtractor:
    """The extractor of the default pack, straight from its published weights: no registry.

    Raises:
        WeightsError: the weights cannot be had from any mirror.
    """
    from facecore.lifecycle.default_pack import DETECTOR, EMBEDDER
    from facecore.zoo.registry import prepare

    where = (stores.settings.cache, stores.settings.model_dir)
    detector, embedder = prepare(DETECTOR, *where), prepare(EMBEDDER, *where)
    return load(
        detector.path,
        detector.sha256,
        DETECTOR,
        embedder.path,
        embedder.sha256,
        EMBEDDER,
        stores.settings.extract.model_dump_json(),
        stores.settings.cache / _GRAPHS,
    )


# Two: the pair in use, and the one that is being promoted beside it.
@lru_cache(maxsize=2)
def load(
    detector: Path,
    detector_sha256: str,
    detector_name: str,
    embedder: Path,
    embedder_sha256: str,
    embedder_name: str,
    settings: str,
    graphs: Path,
) -> FaceExtractor:
    """The extractor of two weights files, kept for the next call.

    Args:
        detector, embedder: the files; with what they must hash to and their networks' names.
        settings: `ExtractSettings` as JSON.
        graphs: folder of traced networks, see `pipeline.load.load_detector`.
    """
    from facecore.pipeline.load import load_extractor

    options: dict[str, Any] = ExtractSettings.model_validate_json(settings).model_dump()
    options["sides_px"] = options.pop("detect_sides_px")
    del options["shard_size"], options["shard_pixels"]  # of no concern to the networks
    return load_extractor(
        detector,
        detector_sha256,
        embedder,
        embedder_sha256,
        detector=detector_name,
        embedder=embedder_name,
        graphs=graphs,
        **options,
    )


# A version's files and contract never change, so that one answer serves a process for its life.
_INFOS: dict[tuple[str, str, int], ModelVersionInfo] = {}


def _info(stores: Stores, name: str, version: int) -> ModelVersionInfo:
    key = (stores.settings.mlflow.tracking_uri, name, version)
    if key not in _INFOS:
        _INFOS[key] = stores.registry.version(name, version)
    return _INFOS[key]


_TOLD: set[tuple[str, int, int]] = set()


def _tell_differences(stores: Stores, found: Champions) -> None:
    """Warn where the registry wants something else. Its absence is no reason not to work."""
    key = (stores.settings.mlflow.tracking_uri, found.detector.version, found.embedder.version)
    if key in _TOLD:
        return
    _TOLD.add(key)
    try:
        for sentence in differences(stores):
            logger.warning("%s", sentence)
    except FacecoreError as error:
        logger.warning("the registry's aliases could not be read: %s", error)


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
