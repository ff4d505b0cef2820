"""The object store as the compose file starts it: the real server with the real entry script."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil
import pytest
from minio import Minio
from minio.error import S3Error

DEPLOY = Path(__file__).parents[2] / "deploy"
WEED = Path(sys.executable).with_name("weed")
KEYS = {
    "S3_ACCESS_KEY": "facecorekey",
    "S3_SECRET_KEY": "facecore-secret",
    "MLFLOW_S3_ACCESS_KEY": "mlflowkey",
    "MLFLOW_S3_SECRET_KEY": "mlflow-secret",
    "MLFLOW_BUCKET": "t-mlflow",
    "WEED_JWT_SIGNING_KEY": "volume-signing-key",
    "WEED_JWT_SIGNING_READ_KEY": "volume-signing-key",
    "WEED_JWT_FILER_SIGNING_KEY": "filer-signing-key",
    "WEED_JWT_FILER_SIGNING_READ_KEY": "filer-signing-key",
}


class Server(NamedTuple):
    pid: int
    s3: int
    s3_grpc: int
    filer: int
    run: Path

    def client(self, access: str | None, secret: str | None) -> Minio:
        return Minio(
            f"127.0.0.1:{self.s3}",
            access_key=access,
            secret_key=secret,
            secure=False,
            region="us-east-1",
        )


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def entrypoint(folder: Path, *arguments: str, **changes: str) -> tuple[list[str], dict[str, str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "WEED": str(WEED),
        "SEAWEEDFS_RUN": str(folder),
        **KEYS,
        **changes,
    }
    return ["/bin/sh", str(DEPLOY / "seaweedfs" / "entrypoint.sh"), *arguments], environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("seaweedfs")
    run, data = folder / "run", folder / "data"
    run.mkdir()
    data.mkdir()
    s3, s3_grpc, filer, *rest = free_ports(8)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    command, environment = entrypoint(
        run,
        *(f"-{name}={port}" for name, port in zip(names, rest, strict=False)),
        f"-filer.port={filer}",
        f"-filer.port.grpc={rest[4]}",
        f"-s3.port.grpc={s3_grpc}",
        SEAWEEDFS_DATA=str(data),
        SEAWEEDFS_PORT=str(s3),
        SEAWEEDFS_BIND="127.0.0.1",
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    started = Server(process.pid, s3, s3_grpc, filer, run)
    try:
        admin = started.client(KEYS["S3_ACCESS_KEY"], KEYS["S3_SECRET_KEY"])
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{s3}/healthz", timeout=5).close()
                admin.make_bucket("t-landing")
                break
            except (OSError, S3Error):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.3)
        admin.make_bucket("t-mlflow")
        admin.put_object("t-landing", "a face.jpg", io.BytesIO(b"pixels"), 6)
        yield started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_the_platform_reads_and_writes_every_bucket(server):
    platform = server.client("facecorekey", "facecore-secret")
    assert platform.get_object("t-landing", "a face.jpg").read() == b"pixels"
    assert {bucket.name for bucket in platform.list_buckets()} == {"t-landing", "t-mlflow"}


def test_mlflow_has_its_bucket_and_no_other(server):
    mlflow = server.client("mlflowkey", "mlflow-secret")
    mlflow.put_object("t-mlflow", "1/model", io.BytesIO(b"weights"), 7)
    assert mlflow.get_object("t-mlflow", "1/model").read() == b"weights"
    for forbidden in (
        lambda: mlflow.get_object("t-landing", "a face.jpg"),
        lambda: mlflow.put_object("t-landing", "x", io.BytesIO(b"x"), 1),
        lambda: list(mlflow.list_objects("t-landing")),
        lambda: mlflow.make_bucket("t-more"),
    ):
        with pytest.raises(S3Error) as refused:
            forbidden()
        assert refused.value.code == "AccessDenied"


@pytest.mark.parametrize(
    ("access", "secret", "code"),
    [
        (None, None, "AccessDenied"),
        ("facecorekey", "wrong", "SignatureDoesNotMatch"),
        ("nobody", "wrong", "InvalidAccessKeyId"),
    ],
)
def test_without_the_right_key_nothing_is_served(server, access, secret, code):
    with pytest.raises(S3Error) as refused:
        server.client(access, secret).get_object("t-landing", "a face.jpg")
    assert refused.value.code == code


def test_the_filer_serves_no_object(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            f"http://127.0.0.1:{server.filer}/buckets/t-landing/a%20face.jpg", timeout=5
        )
    assert refused.value.code == 404


def test_a_neighbour_cannot_make_itself_an_administrator(server):
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    # PutIdentityRequest: identity(name, credentials(access key, secret key), actions)
    credential = field(1, b"evil") + field(2, b"evil")
    request = field(1, field(1, b"evil") + field(2, credential) + field(3, b"Admin"))
    with grpc.insecure_channel(f"127.0.0.1:{server.s3_grpc}") as channel:
        call = channel.unary_unary("/messaging_pb.SeaweedS3IamCache/PutIdentity")
        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(S3Error):
        server.client("evil", "evil").list_buckets()


def test_only_the_s3_ports_follow_the_bind_address(server):
    listening = {
        connection.laddr.port: connection.laddr.ip
        for connection in psutil.Process(server.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {server.s3, server.s3_grpc, server.filer} <= set(listening)
    assert set(listening.values()) == {"127.0.0.1"}
    script = (DEPLOY / "seaweedfs" / "entrypoint.sh").read_text()
    assert "-ip.bind=127.0.0.1" in script, "master, volume server and filer"


def test_missing_buckets_are_not_made_and_full_ones_not_removed(server):
    platform = server.client("facecorekey", "facecore-secret")
    with pytest.raises(S3Error) as missing:
        platform.put_object("t-landnig", "x", io.BytesIO(b"x"), 1)
    assert missing.value.code == "NoSuchBucket"
    with pytest.raises(S3Error) as full:
        platform.remove_bucket("t-landing")
    assert full.value.code == "BucketNotEmpty"


def test_credentials_lie_in_one_private_file_and_in_no_command_line(server):
    (path,) = server.run.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    identities = {entry["name"]: entry for entry in json.loads(path.read_text())["identities"]}
    assert set(identities) == {"facecore", "mlflow"}
    assert "secret" not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_SECRET_KEY", 'quote"and,comma'),
        ("MLFLOW_S3_ACCESS_KEY", ""),
        ("MLFLOW_BUCKET", "a/b"),
        ("WEED_JWT_FILER_SIGNING_KEY", ""),
    ],
)
def test_an_unusable_value_stops_the_start_and_is_named(tmp_path, name, value):
    command, environment = entrypoint(tmp_path, **{name: value})
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert name in ended.stderr
    assert not value or value not in ended.stderr
