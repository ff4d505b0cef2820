"""A real Ray cluster: a first node without cores, and nodes that work."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from facecore.config import Settings
from tests.jobs.on_ray.parity import LANES

RAY = str(Path(sys.executable).with_name("ray"))
STARTED = "This command will now block forever"


class Cluster:
    """Nodes started by `ray start`, each a process of its own that can be killed."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        self.folder = folder
        # What every node gets, and what a command that uses the cluster needs.
        self.access = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            # On a busy machine importing Ray takes longer than it allows itself.
            "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "300",
            # The process that serves a client is forked from one that uses gRPC, whose own way of
            # surviving a fork crashes it (grpcio 1.85.1: a segmentation fault in event_engine).
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        }
        self._env = {**os.environ, **env, **self.access, "OMP_NUM_THREADS": "1"}
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._port, self._client_port = _free_port(), _free_port()

    @property
    def address(self) -> str:
        return f"ray://127.0.0.1:{self._client_port}"

    def start(self) -> None:
        """The first node; it has no core, so that nothing is computed on it."""
        self._run(
            "--head", f"--port={self._port}", f"--ray-client-server-port={self._client_port}",
            "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self.folder / 'ray'}",
        )  # fmt: skip
        _wait_for(self._client_port)

    def add_node(self, cpus: int) -> int:
        """Another node; returns its number."""
        self._run(f"--address=127.0.0.1:{self._port}", f"--num-cpus={cpus}")
        return len(self._nodes) - 1

    def kill(self, node: int) -> None:
        """As if the power failed: every process of the node at once."""
        process = psutil.Process(self._nodes[node].pid)
        for one in [process, *process.children(recursive=True)]:
            one.kill()
        self._nodes[node].wait()

    def stop(self) -> None:
        for node, process in reversed(list(enumerate(self._nodes))):
            if process.poll() is None:
                self.kill(node)

    def logs(self) -> str:
        """Everything Ray wrote down."""
        files = [path for path in self.folder.rglob("logs/**/*") if path.is_file()]
        return "\n".join(path.read_text("utf-8", errors="replace") for path in files)

    def _run(self, *options: str) -> None:
        """Start a node and wait until it is there. Ray gives it 30 s, too little on a busy
        machine, so it is started again where it gave up."""
        command = [RAY, "start", *options, "--node-ip-address=127.0.0.1", "--block"]
        command += [f"--object-store-memory={200 * 2**20}"]
        for attempt in range(5):
            path = self.folder / f"node-{len(self._nodes)}-{attempt}.log"
            with path.open("wb") as log:
                node = subprocess.Popen(
                    command, env=self._env, stdout=log, stderr=subprocess.STDOUT
                )
            while node.poll() is None and STARTED not in path.read_text("utf-8"):
                time.sleep(0.2)
            if node.poll() is None:
                self._nodes.append(node)
                return
        pytest.fail(f"a node did not start:\n{path.read_text('utf-8')}")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Ray's files; a short path, because its sockets lie there."""
    folder = Path(tempfile.mkdtemp(prefix="fcray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the Ray cluster did not start")


@pytest.fixture
def environment(job_settings: Settings) -> dict[str, str]:
    """The settings of these stores as environment variables, as a node or a command gets them."""
    database, s3, mlflow = job_settings.database, job_settings.s3, job_settings.mlflow
    return {
        "FACECORE_HOME": str(job_settings.home),
        "FACECORE_DATABASE__HOST": database.host,
        "FACECORE_DATABASE__PORT": str(database.port),
        "FACECORE_DATABASE__NAME": database.name,
        "FACECORE_DATABASE__USER": database.user,
        "FACECORE_DATABASE__PASSWORD": database.password.get_secret_value(),
        "FACECORE_S3__ENDPOINT": s3.endpoint,
        "FACECORE_S3__ACCESS_KEY": s3.access_key,
        "FACECORE_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "FACECORE_S3__BUCKET_PREFIX": s3.bucket_prefix,
        "FACECORE_MLFLOW__TRACKING_URI": mlflow.tracking_uri,
        "FACECORE_MLFLOW__USERNAME": mlflow.username,
        "FACECORE_MLFLOW__PASSWORD": mlflow.password.get_secret_value(),
        "FACECORE_EXTRACT__SHARD_SIZE": str(job_settings.extract.shard_size),
        "FACECORE_RAY__CPUS_PER_ACTOR": str(LANES),
    }
