"""Real services for the tests, started when first asked for and ended with the session.

All of them are parts of one embedded platform in a temporary home, started by the same code
as `facecore up`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from facecore.config import DatabaseSettings, MlflowSettings, S3Settings
from facecore.local.platform import Platform

REPO = Path(__file__).parents[1]


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
