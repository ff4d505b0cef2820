"""Real services for the tests, started when first asked for and ended with the session.

All of them are parts of one embedded platform in a temporary home, started by the same code
as `facecore up`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest

from facecore.config import DatabaseSettings, MlflowSettings, S3Settings
from facecore.local.platform import Platform

if TYPE_CHECKING:
    from facecore.jobs.stores import Stores
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.datasets.splits import Split
    from facecore.lifecycle.packaging import Weights
    from facecore.stores.objects import ObjectStore
    from facecore.stores.registry import ModelVersionInfo

REPO = Path(__file__).parents[1]
StoreFaces = Callable[..., "Snapshot"]
RegisterRotated = Callable[..., "ModelVersionInfo"]


@pytest.fixture(scope="session")
def downloads(pytestconfig: pytest.Config) -> Path:
    """Downloads that survive a session. Its parent is a home whose `Settings.cache` this is."""
    assert pytestconfig.cache is not None
    return Path(pytestconfig.cache.mkdir("cache"))


@pytest.fixture(scope="session")
def platform_home() -> Iterator[Path]:
    """Home of the test platform, outside the checkout."""
    folder = Path(tempfile.mkdtemp(prefix="facecore-tests-"))
    folder.chmod(0o711)  # run by root, PostgreSQL's own user must pass through
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def platform(platform_home: Path) -> Iterator[Platform]:
    """The test platform, with nothing started yet: `platform.up(["s3"])`."""
    made = Platform(platform_home, REPO, standard_ports=False)
    yield made
    made.clean()


@pytest.fixture(scope="session")
def postgres(platform: Platform) -> DatabaseSettings:
    """An empty database of this session, with pgvector."""
    platform.up(["postgres"])
    return platform.create_database(f"test_{uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def s3(platform: Platform) -> S3Settings:
    """Object storage without any bucket of ours: the prefix is this session's."""
    platform.up(["s3"])
    return platform.s3.model_copy(update={"bucket_prefix": f"t{uuid4().hex[:8]}-"})


@pytest.fixture(scope="session")
def mlflow_server(platform: Platform) -> MlflowSettings:
    """A tracking server and registry; clients need the user and password given here."""
    platform.up(["mlflow"])
    return platform.mlflow


@pytest.fixture(scope="session")
def store_env(postgres: DatabaseSettings, s3: S3Settings) -> dict[str, str]:
    """This session's database and object storage as settings of a process."""
    return {
        "FACECORE_DATABASE__HOST": postgres.host,
        "FACECORE_DATABASE__PORT": str(postgres.port),
        "FACECORE_DATABASE__NAME": postgres.name,
        "FACECORE_DATABASE__USER": postgres.user,
        "FACECORE_DATABASE__PASSWORD": postgres.password.get_secret_value(),
        "FACECORE_S3__ENDPOINT": s3.endpoint,
        "FACECORE_S3__ACCESS_KEY": s3.access_key,
        "FACECORE_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "FACECORE_S3__BUCKET_PREFIX": s3.bucket_prefix,
    }


@pytest.fixture(scope="session")
def mlflow_env(mlflow_server: MlflowSettings) -> dict[str, str]:
    """This session's registry as settings of a process."""
    return {
        "FACECORE_MLFLOW__TRACKING_URI": mlflow_server.tracking_uri,
        "FACECORE_MLFLOW__USERNAME": mlflow_server.username,
        "FACECORE_MLFLOW__PASSWORD": mlflow_server.password.get_secret_value(),
    }


@pytest.fixture(scope="session")
def airflow_env(
    platform: Platform, store_env: dict[str, str], mlflow_env: dict[str, str]
) -> dict[str, str]:
    """Environment of a process that runs DAGs by `dag.test()`: Airflow's tables exist, and
    facecore's settings lead to this session's services. No Airflow process runs.
    """
    return {**platform.migrate_airflow(), **store_env, **mlflow_env}


@pytest.fixture(scope="session")
def register_rotated() -> RegisterRotated:
    """Challengers as good as the default embedder: its output rotated, so that every cosine is
    as before and every vector another.
    """
    return _register_rotated


def _register_rotated(
    stores: Stores,
    seed: int,
    detector: Weights | None = None,
    *,
    calibrated: bool = True,
) -> ModelVersionInfo:
    import torch

    from facecore.lifecycle import packaging
    from facecore.lifecycle.default_pack import default_calibration
    from facecore.zoo import registry as zoo

    cache = stores.settings.cache
    if detector is None:
        default = zoo.prepare("yunet", cache)
        detector = packaging.Weights("yunet", default.path, default.sha256)
    published = zoo.prepare("sface", cache)
    network = zoo.load("sface", published.path, published.sha256)
    random = torch.randn(128, 128, generator=torch.Generator().manual_seed(seed))
    rotation, _ = torch.linalg.qr(random)
    state = network.state_dict()
    state["head.weight"] = rotation @ state["head.weight"]
    state["head.bias"] = rotation @ state["head.bias"]
    network.load_state_dict(state)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rotated.safetensors"
        weights = packaging.Weights("sface", path, zoo.save("sface", network, path))
        contract = packaging.embedding_contract(weights, 128, detector.sha256)
        calibration = replace(default_calibration(), contract=contract.digest)
        return stores.registry.register(
            packaging.embedder_package(
                stores.settings.mlflow.embedder,
                weights,
                128,
                detector,
                calibration if calibrated else None,
                packaging.Evidence("# A challenger of the tests"),
                Path(name),
            )
        )


@pytest.fixture(scope="session")
def store_faces() -> StoreFaces:
    """Snapshots of made-up people, a colour pattern each, without anything to detect."""
    return _store_faces


def _store_faces(
    objects: ObjectStore,
    name: str,
    people: Mapping[Split, int],
    pictures: int = 4,
    *,
    labelled: bool = True,
    unnamed: int = 0,
) -> Snapshot:
    """`unnamed`: so many of each person's pictures have no identity."""
    from facecore.lifecycle.datasets.building import Destination, PackWriter, publish
    from facecore.lifecycle.datasets.manifest import Provenance, Rows

    rng = np.random.default_rng(7)
    rows = Rows("faces")
    destination = Destination(objects, name)
    with destination.spool() as spool:
        writer = PackWriter(spool, rows)
        for split, count in people.items():
            for person in range(count):
                pattern = rng.integers(0, 256, (7, 7, 3)).repeat(16, 0).repeat(16, 1)
                for picture in range(pictures):
                    noisy = pattern + rng.normal(0, 25, pattern.shape)
                    named = labelled and picture >= unnamed
                    identity = f"{split} {person}" if named else None
                    row = {
                        "source": name,
                        "image": f"{person}/{picture}",
                        "identity": identity,
                        "box": [0.0] * 4,
                        "landmarks": [0.0] * 10,
                    }
                    writer.add(split, np.clip(noisy, 0, 255).astype(np.uint8), row)
        writer.flush()
        source = {"kind": "made", "name": name, "pictures": pictures}
        return publish(destination, spool, rows.table(), Provenance("faces", source)).snapshot
