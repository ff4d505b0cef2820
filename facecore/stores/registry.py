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
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facecore.config import MlflowSettings, home_dir
from facecore.errors import DigestMismatch, NotFound
from facecore.stores.mlflow_session import mlflow_session

logger = logging.getLogger(__name__)

EXPERIMENT = "facecore-models"
WEIGHTS = "weights.safetensors"
CONTRACT = "contract.json"
CALIBRATION = "calibration.json"
CARD = "MODEL_CARD.md"

_DIGEST_TAG = "facecore.digest"
_FILES_TAG = "facecore.files"
_CONTRACT_TAG = "facecore.contract"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """What is to be registered as one version.

    Attributes:
        files: artifact name → local file; must hold `WEIGHTS`, may hold `CALIBRATION` and
            more. These are the model: two packages with equal files are the same version.
        contract: what the outputs depend on, as JSON.
        python_model: the file that defines the pyfunc (ends in `mlflow.models.set_model`).
        signature: inputs and outputs in the dictionary form of MLflow's `ModelSignature`.
        description: the model card, Markdown.
        requirements: pip requirements of the pyfunc.
    """

    name: str
    files: Mapping[str, Path]
    contract: Mapping[str, Any]
    python_model: Path
    signature: Mapping[str, str]
    description: str
    requirements: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


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
            _ensure_model(client, package.name)
            found = _with_digest(client, package.name, digest)
            if found is None:
                found = _create(client, package, digests, digest)
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
                (_info(v) for v in found if _FILES_TAG in v.tags), key=lambda info: info.version
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
            for key in sorted(set(tags) - {_DIGEST_TAG, _FILES_TAG, _CONTRACT_TAG}):
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


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _experiment(client: Any) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(EXPERIMENT))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _with_digest(client: Any, name: str, digest: str) -> Any:
    found = client.search_model_versions(f"name='{name}' and tag.`{_DIGEST_TAG}`='{digest}'")
    ready = [v for v in found if v.status == "READY"]
    return min(ready, key=lambda v: int(v.version), default=None)


def _create(client: Any, package: ModelPackage, digests: Mapping[str, str], digest: str) -> Any:
    from mlflow.entities import Metric, Param

    tags = {
        **package.tags,
        _DIGEST_TAG: digest,
        _FILES_TAG: json.dumps(dict(digests)),
        _CONTRACT_TAG: json.dumps(dict(package.contract)),
    }
    experiment = _experiment(client)
    run = client.create_run(experiment, run_name=f"register {package.name}", tags=tags)
    run_id = run.info.run_id
    status = "FAILED"
    try:
        now = run.info.start_time
        client.log_batch(
            run_id,
            metrics=[Metric(k, float(v), now, 0) for k, v in package.metrics.items()],
            params=[Param(k, v) for k, v in package.params.items()],
        )
        model = client.create_logged_model(
            experiment,
            name=package.name,
            source_run_id=run_id,
            tags={_DIGEST_TAG: digest},
            params=dict(package.params),
            model_type="facecore",
        )
        with tempfile.TemporaryDirectory(prefix="facecore-package-") as scratch:
            saved = Path(scratch) / "model"
            _save(package, saved)
            client.log_model_artifacts(model.model_id, str(saved))
        client.finalize_logged_model(model.model_id, "READY")
        version = client.create_model_version(
            package.name,
            source=f"models:/{model.model_id}",
            run_id=run_id,
            model_id=model.model_id,
            tags=tags,
            description=package.description,
            await_creation_for=0,  # the files are there already
        )
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return version


def _save(package: ModelPackage, folder: Path) -> None:
    """Write the pyfunc with its artifacts. MLflow keeps each artifact under its file's name."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature

    with (
        tempfile.TemporaryDirectory(prefix="facecore-files-") as scratch,
        warnings.catch_warnings(),
    ):
        # MLflow would run the model on an example to infer the signature, which is given.
        warnings.filterwarnings("ignore", "(?s).*input example", UserWarning)
        renamed = {
            name: shutil.copyfile(path, Path(scratch) / name)
            for name, path in package.files.items()
        }
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(package.python_model),
            artifacts={name: str(path) for name, path in renamed.items()},
            signature=ModelSignature.from_dict(dict(package.signature)),
            pip_requirements=list(package.requirements),
        )
    (folder / CARD).write_text(package.description, encoding="utf-8")


def _download(client: Any, uri: str, path: str, into: Path) -> str:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
    return str(repository.download_artifacts(path, dst_path=str(into)))


def _info(version: Any) -> ModelVersionInfo:
    source = f"models:/{version.name}/{version.version}"
    if _FILES_TAG not in version.tags:
        raise NotFound(
            "facecore model",
            source,
            remedy="It exists in MLflow, but facecore did not register it.",
        )
    own = {_DIGEST_TAG, _FILES_TAG, _CONTRACT_TAG}
    return ModelVersionInfo(
        name=version.name,
        version=int(version.version),
        digest=version.tags[_DIGEST_TAG],
        files=json.loads(version.tags[_FILES_TAG]),
        contract=json.loads(version.tags[_CONTRACT_TAG]),
        tags={k: v for k, v in version.tags.items() if k not in own},
        run_id=version.run_id or None,
        source=source,
    )
