"""A platform of their own for the tests that kill, stop and remove things."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import urllib3
from minio import Minio

from facecore.config import S3Settings
from facecore.local import launch
from facecore.local.platform import Platform

REPO = Path(__file__).parents[2]


class Look:
    """What these tests ask about a platform from outside."""

    @staticmethod
    def processes(platform: Platform) -> list[psutil.Process]:
        """The supervisor and every process below it."""
        pid = platform.status().supervisor_pid
        assert pid is not None
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    @staticmethod
    def alive(platform: Platform) -> list[psutil.Process]:
        """Processes that carry the platform's mark, supervised or not."""
        return list(launch.leftovers(str(platform.layout.home)))

    @classmethod
    def listening(cls, platform: Platform) -> dict[int, str]:
        """Port → address of every listening TCP socket."""
        found = {}
        for process in cls.processes(platform):
            with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
                for connection in process.net_connections(kind="inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        found[connection.laddr.port] = connection.laddr.ip
        return found

    @classmethod
    def arguments(cls, platform: Platform) -> str:
        """What `ps` shows to everyone."""
        lines = []
        for process in cls.processes(platform):
            with contextlib.suppress(psutil.NoSuchProcess):
                lines.append(" ".join(process.cmdline()))
        return "\n".join(lines)

    @staticmethod
    def s3(settings: S3Settings) -> Minio:
        """A plain client that gives up soon."""
        return Minio(
            settings.endpoint.removeprefix("http://"),
            access_key=settings.access_key,
            secret_key=settings.secret_key.get_secret_value(),
            secure=False,
            region=settings.region,
            http_client=urllib3.PoolManager(timeout=10, retries=False),
        )


@pytest.fixture(scope="session")
def look() -> type[Look]:
    return Look


@pytest.fixture(scope="package")
def own() -> Iterator[Platform]:
    """PostgreSQL and S3 are up; every test must leave it working."""
    folder = Path(tempfile.mkdtemp(prefix="facecore-own-"))
    folder.chmod(0o711)
    platform = Platform(folder / "home", REPO, standard_ports=False)
    try:
        platform.up(["postgres", "s3"])
        yield platform
    finally:
        platform.clean()
        shutil.rmtree(folder)
