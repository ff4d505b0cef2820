"""Nothing leaves this machine, and nothing answers who has no credentials."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import minio.error
import psycopg2
import pytest

from facecore.config import MlflowSettings
from facecore.local.platform import Platform

MARK = b"these bytes are for us only"


@pytest.fixture(scope="module")
def stored(own: Platform, look: Any) -> Iterator[Platform]:
    """An object lies at /private-data/object."""
    client = look.s3(own.s3)
    client.make_bucket("private-data")
    client.put_object("private-data", "object", io.BytesIO(MARK), len(MARK))
    yield own
    client.remove_object("private-data", "object")
    client.remove_bucket("private-data")


def test_every_socket_is_on_loopback(own: Platform, look: Any) -> None:
    found = look.listening(own)
    assert set(found.values()) == {"127.0.0.1"}
    assert {own.database.port} <= set(found) <= set(own._started().ports.values())
    assert len(found) >= 9  # PostgreSQL and SeaweedFS's eight


PATHS = (
    "/",
    "/private-data/object",
    "/buckets/private-data/object",
    "/buckets/?pretty=y",
    "/dir/assign",
    "/dir/status",
    "/vol/list",
    "/status",
    "/1,01637037d6",
    "/metrics",
    "/debug/pprof/",
)


def test_no_port_serves_or_takes_anything_without_credentials(stored: Platform, look: Any) -> None:
    ports = set(look.listening(stored)) - {stored.database.port}
    for port in sorted(ports):
        for scheme in ("http", "https"):
            with httpx.Client(
                base_url=f"{scheme}://127.0.0.1:{port}",
                verify=False,  # noqa: S501
                timeout=5,
                trust_env=False,
            ) as http:
                for method, path in [
                    *(("GET", path) for path in PATHS),
                    ("PUT", "/private-data/intruder"),
                    ("POST", "/buckets/private-data/intruder"),
                    ("DELETE", "/buckets/private-data/object"),
                    ("POST", "/submit"),
                ]:
                    with contextlib.suppress(httpx.TransportError):  # refused before an answer
                        answer = http.request(
                            method, path, content=b"" if method == "GET" else b"x"
                        )
                        if path == "/status" and answer.status_code == 200:
                            assert answer.content == b""  # S3: "I am here", and nothing else
                            continue
                        assert answer.status_code in (400, 401, 403, 404, 405), (port, method, path)
                        assert MARK not in answer.content
                        assert b"fid" not in answer.content
    assert look.s3(stored.s3).get_object("private-data", "object").read() == MARK
    names = {o.object_name for o in look.s3(stored.s3).list_objects("private-data")}
    assert names == {"object"}


def test_internal_ports_hang_up_on_strangers(own: Platform) -> None:
    """gRPC among them: without the certificate there is no connection to speak over."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    ports = own._started().ports
    internal = {n: p for n, p in ports.items() if n not in ("s3", "postgres", "mlflow", "airflow")}
    assert len(internal) == 7
    for name, port in internal.items():
        answer = b""
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
            context.wrap_socket(raw) as secure,
        ):
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            answer = secure.recv(1024)
        assert answer == b"", name


def test_internal_unix_sockets_are_private(own: Platform) -> None:
    own_ports = {str(port) for port in own._started().ports.values()}
    sockets = [
        path
        for path in Path(tempfile.gettempdir()).glob("seaweedfs-*.sock")
        if own_ports & set(re.findall(r"\d+", path.name))
    ]
    assert sockets
    for path in (*sockets, *own.layout.run.rglob("*.sock")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_s3_refuses_a_wrong_key(own: Platform, look: Any) -> None:
    wrong = own.s3.model_copy(update={"secret_key": type(own.s3.secret_key)("wrong-secret")})
    with pytest.raises(minio.error.S3Error) as raised:
        look.s3(wrong).list_buckets()
    assert raised.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("password", ["", "wrong"])
@pytest.mark.parametrize("user", ["facecore", "airflow", "postgres"])
def test_postgres_refuses_a_wrong_password(own: Platform, user: str, password: str) -> None:
    dsn = {**own.database.dsn, "user": user, "password": password}
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(**dsn)


def test_postgres_roles_cannot_enter_each_others_databases(own: Platform) -> None:
    for name in ("airflow", "mlflow"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            psycopg2.connect(**{**own.database.dsn, "dbname": name})


def test_mlflow_wants_the_password_on_every_route(mlflow_server: MlflowSettings) -> None:
    right = (mlflow_server.username, mlflow_server.password.get_secret_value())
    search = "/api/2.0/mlflow/registered-models/search"
    artifact = "/api/2.0/mlflow-artifacts/artifacts/probe.txt"
    with httpx.Client(base_url=mlflow_server.tracking_uri, timeout=30, trust_env=False) as http:
        assert http.get("/health").status_code == 200
        for path in (
            "/",
            search,
            artifact,
            "/ajax-api/3.0/jobs",
            "/v1/traces",
            "/docs",
            "/openapi.json",
        ):
            for wrong in (None, ("facecore", "wrong"), ("", "")):
                answer = http.get(path, auth=wrong)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"].startswith("Basic")
        assert http.put(artifact, content=MARK).status_code == 401
        assert http.get(search, auth=right).status_code == 200


def test_mlflow_artifacts_go_through_it_into_s3(
    mlflow_server: MlflowSettings, platform: Platform, look: Any
) -> None:
    right = (mlflow_server.username, mlflow_server.password.get_secret_value())
    artifact = "/api/2.0/mlflow-artifacts/artifacts/folder/probe.txt"
    with httpx.Client(base_url=mlflow_server.tracking_uri, timeout=30, auth=right) as http:
        http.put(artifact, content=MARK).raise_for_status()
        assert http.get(artifact).content == MARK
    assert look.s3(platform.s3).get_object("mlflow", "folder/probe.txt").read() == MARK
