"""The model registry: MLflow.

A registered version is a pyfunc "model from code" whose artifacts are plain files: safetensors
and JSON, never a pickle. Its tags carry the SHA-256 of each file, so that what is downloaded
can be verified and what is cached is found again by digest without asking anyone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecore.config import MlflowSettings, home_dir
from facecore.errors import DigestMismatch, NotFound
from facecore.stores.mlflow_session import mlflow_session
from facecore.stores.model_package import (
    CALIBRATION,
    CONTRACT_TAG,
    DIGEST_TAG,
    FILES_TAG,
    WEIGHTS,
    ModelPackage,
    create_version,
    ensure_model,
)

__all__ = ["CALIBRATION", "WEIGHTS", "ModelPackage", "ModelVersionInfo", "Registry", "sha256_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelVersionInfo:
    """One version of a registered model.

    Attributes:
        files: artifact name → SHA-256.
        digest: SHA-256 over `files`; names the folder of the local cache.
        source: `models:/name/version`, which MLflow's own tools take.
    """

    name: str
    version: int
    digest: str
    files: Mapping[str, str]
    contract: Mapping[str, Any]
    tags: Mapping[str, str]
    run_id: str | None
    source: str

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the safetensors file."""
        return self.files[WEIGHTS]


class Registry:
    """Models by name, version and alias.

    Every method can raise `RegistryUnavailable` (with bounded waiting: see `mlflow_session`)
    and `CredentialsRejected`.

    Args:
        settings: where MLflow is.
        cache: folder for downloaded versions, `$FACECORE_HOME/cache/registry` by default.
    """

    def __init__(self, settings: MlflowSettings, cache: Path | None = None) -> None:
        self.settings = settings
        self.cache = cache or home_dir() / "cache" / "registry"

    def register(self, package: ModelPackage, *, alias: str | None = None) -> ModelVersionInfo:
        """Register a version, unless one with the same files exists; then return that.

        Safe to repeat after an interruption at any point: the version appears in one step,
        after its files. `alias` is set only while the model has no such alias, so that
        registering never undoes a promotion.
        """
        digests = {name: sha256_of(path) for name, path in sorted(package.files.items())}
        digest = _digest_of(digests)
        with mlflow_session(self.settings) as client:
            ensure_model(client, package.name)
            found = _with_digest(client, package.name, digest)
            if found is None:
                found = create_version(client, package, digests, digest)
                logger.info("registered %s version %s", package.name, found.version)
            if alias and alias not in client.get_registered_model(package.name).aliases:
                client.set_registered_model_alias(package.name, alias, found.version)
        return _info(found)

    def resolve(self, name: str, alias: str | None = None) -> ModelVersionInfo:
        """The version behind `models:/name@alias`; the alias of the settings by default.

        Raises:
            NotFound: there is no such model or alias, or it was not registered by facecore.
        """
        alias = alias or self.settings.alias
        missing = f"{name}@{alias}"
        with mlflow_session(self.settings, missing=missing) as client:
            return _info(client.get_model_version_by_alias(name, alias))

    def version(self, name: str, version: int) -> ModelVersionInfo:
        """One version by number.

        Raises:
            NotFound: there is no such version, or it was not registered by facecore.
        """
        with mlflow_session(self.settings, missing=f"{name}/{version}") as client:
            return _info(client.get_model_version(name, str(version)))

    def versions(self, name: str) -> list[ModelVersionInfo]:
        """All versions that facecore registered, oldest first; none if there is no such model."""
        with mlflow_session(self.settings) as client:
            found = client.search_model_versions(f"name='{name}'")
            return sorted(
                (_info(v) for v in found if FILES_TAG in v.tags), key=lambda info: info.version
            )

    def aliases(self, name: str) -> dict[str, int]:
        """Alias → version.

        Raises:
            NotFound: there is no such model.
        """
        with mlflow_session(self.settings, missing=name) as client:
            found = client.get_registered_model(name).aliases
            return {alias: int(version) for alias, version in found.items()}

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version.

        Raises:
            NotFound: there is no such model or version.
        """
        with mlflow_session(self.settings, missing=f"{name}/{version}") as client:
            client.set_registered_model_alias(name, alias, str(version))

    def tag(self, info: ModelVersionInfo, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a version; what facecore itself stored cannot be replaced."""
        with mlflow_session(self.settings, missing=info.source) as client:
            for key in sorted(set(tags) - {DIGEST_TAG, FILES_TAG, CONTRACT_TAG}):
                client.set_model_version_tag(info.name, str(info.version), key, tags[key])

    def download(self, info: ModelVersionInfo) -> Path:
        """A local folder with the version's files, each verified by its SHA-256.

        Without network access when the files are in the cache. Several processes may do this
        at once: each fetches into a folder of its own and one rename publishes it.

        Raises:
            DigestMismatch: the registry's file is not the one that was registered.
        """
        folder = self.cache / info.digest
        if folder.is_dir():
            if all(_is(folder / name, digest) for name, digest in info.files.items()):
                return folder
            logger.warning("cached model %s is damaged; fetching it again", folder)
            _remove(folder)
        self.cache.mkdir(parents=True, exist_ok=True)
        fetched = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self.cache))
        try:
            self._fetch(info, fetched)
            _publish(fetched, folder)
        finally:
            shutil.rmtree(fetched, ignore_errors=True)
        return folder

    def calibration(self, info: ModelVersionInfo) -> dict[str, Any] | None:
        """The calibration that was registered with a version, if any."""
        if CALIBRATION not in info.files:
            return None
        document = json.loads((self.download(info) / CALIBRATION).read_text(encoding="utf-8"))
        return dict(document)

    def pyfunc(self, info: ModelVersionInfo) -> Any:
        """The version as an MLflow pyfunc model (`predict(DataFrame)`); pickles are refused."""
        with mlflow_session(self.settings, missing=info.source) as client:
            import mlflow.pyfunc

            uri = client.get_model_version_download_uri(info.name, str(info.version))
            with tempfile.TemporaryDirectory(prefix="facecore-model-") as folder:
                return mlflow.pyfunc.load_model(_download(client, uri, "", Path(folder)))

    def _fetch(self, info: ModelVersionInfo, into: Path) -> None:
        with mlflow_session(self.settings, missing=info.source) as client:
            uri = client.get_model_version_download_uri(info.name, str(info.version))
            for name, expected in info.files.items():
                path = Path(_download(client, uri, f"artifacts/{name}", into))
                actual = sha256_of(path)
                if actual != expected:
                    raise DigestMismatch(f"{info.source}: {name}", expected, actual)
                path.replace(into / name)
        shutil.rmtree(into / "artifacts", ignore_errors=True)


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(digests: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def _publish(fetched: Path, folder: Path) -> None:
    try:
        fetched.rename(folder)
    except OSError:
        # Another process was first; what it published was verified the same way.
        if not folder.is_dir():
            raise


def _remove(folder: Path) -> None:
    """Take a folder away in one step, so that nobody sees half of it."""
    doomed = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
    try:
        folder.rename(doomed / folder.name)
    except FileNotFoundError:
        logger.info("%s was already removed", folder)
    shutil.rmtree(doomed, ignore_errors=True)


def _with_digest(client: Any, name: str, digest: str) -> Any:
    found = client.search_model_versions(f"name='{name}' and tag.`{DIGEST_TAG}`='{digest}'")
    ready = [v for v in found if v.status == "READY"]
    return min(ready, key=lambda v: int(v.version), default=None)


def _download(client: Any, uri: str, path: str, into: Path) -> str:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
    return str(repository.download_artifacts(path, dst_path=str(into)))


def _info(version: Any) -> ModelVersionInfo:
    source = f"models:/{version.name}/{version.version}"
    if FILES_TAG not in version.tags:
        raise NotFound(
            "facecore model",
            source,
            remedy="It exists in MLflow, but facecore did not register it.",
        )
    own = {DIGEST_TAG, FILES_TAG, CONTRACT_TAG}
    return ModelVersionInfo(
        name=version.name,
        version=int(version.version),
        digest=version.tags[DIGEST_TAG],
        files=json.loads(version.tags[FILES_TAG]),
        contract=json.loads(version.tags[CONTRACT_TAG]),
        tags={k: v for k, v in version.tags.items() if k not in own},
        run_id=version.run_id or None,
        source=source,
    )
