"""The installed command, against this session's services."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facecore.config import DatabaseSettings, S3Settings, Settings
from facecore.jobs.platform.setup import prepare_stores
from facecore.jobs.stores import Stores

Facecore = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = str(Path(sys.executable).with_name("facecore"))


@pytest.fixture
def facecore(tmp_path: Path) -> Facecore:
    """Run `facecore ARGS` with settings given as keyword arguments, in a home of its own."""

    def run(*args: str, **settings: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FACECORE_")}
        return subprocess.run(
            [COMMAND, *args],
            env={**clean, "FACECORE_HOME": str(tmp_path / "home"), **settings},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def ready(postgres: DatabaseSettings, s3: S3Settings, store_env: dict[str, str]) -> dict[str, str]:
    """Settings of a catalogue with tables and of buckets that exist."""
    prepare_stores(Stores(Settings(database=postgres, s3=s3)))
    return store_env
