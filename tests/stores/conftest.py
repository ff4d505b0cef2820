"""A migrated catalogue, emptied before each test that asks for it; an S3 server that is full."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from facecore.config import DatabaseSettings, S3Settings
from facecore.errors import CredentialsRejected, ObjectStoreUnavailable
from facecore.stores.catalog import Catalog, migrate
from facecore.stores.objects import ObjectStore


@pytest.fixture(scope="session")
def migrated(postgres: DatabaseSettings) -> DatabaseSettings:
    """The database with the catalogue's tables."""
    migrate(postgres)
    return postgres


@pytest.fixture
def catalog(migrated: DatabaseSettings) -> Catalog:
    """A migrated catalogue without a row."""
    catalog = Catalog(migrated)
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(format('DROP TABLE %s', inhrelid::regclass), ';') "
            "FROM pg_inherits WHERE inhparent = 'embedding'::regclass AND "
            "inhrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r')"
        )
        (drop_partitions,) = cursor.fetchone()
        if drop_partitions:
            cursor.execute(drop_partitions)
        cursor.execute(
            "SELECT string_agg(format('facecore.%I', tablename), ', ') FROM pg_tables "
            "WHERE schemaname = 'facecore' AND tablename NOT IN ('schema_version', 'audit')"
        )
        (tables,) = cursor.fetchone()
        cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    return catalog


@pytest.fixture
def full_s3(tmp_path: Path) -> Iterator[S3Settings]:
    """A SeaweedFS with room for one megabyte."""
    (tmp_path / "data").mkdir()
    (tmp_path / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": "test",
                        "credentials": [{"accessKey": "test", "secretKey": "test-secret"}],
                        "actions": ["Admin"],
                    }
                ]
            }
        )
    )
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(8)]
        ports = [s.getsockname()[1] for s in sockets]
    listen = dict(
        zip(
            ["s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc",
             "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"],
            ports, strict=True,
        )
    )  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("weed")), "server", "-dir=data",
                "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3",
                "-s3.config=s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=1", "-volume.max=1",
                *(f"-{name}={port}" for name, port in listen.items()),
            ],
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        settings = S3Settings(
            endpoint=f"http://127.0.0.1:{ports[0]}",
            access_key="test",
            secret_key=SecretStr("test-secret"),
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                ObjectStore(settings).ensure_buckets()
                break
            except (ObjectStoreUnavailable, CredentialsRejected):
                if time.monotonic() > deadline or server.poll() is not None:
                    raise
                time.sleep(0.2)
        yield settings
    finally:
        server.kill()
        server.wait()
