"""A registered version behind `mlflow models serve`, asked over HTTP."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest

from facecore.config import MlflowSettings
from facecore.lifecycle.default_pack import register_default_pack
from facecore.samples import sources
from facecore.stores.registry import Registry

pytestmark = pytest.mark.slow  # a server of its own, which imports torch and MLflow first
_START_S = 180.0


@pytest.fixture(scope="module")
def address(
    mlflow_server: MlflowSettings, downloads: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    one, folder = uuid4().hex[:8], tmp_path_factory.mktemp("served")
    names = {"detector": f"face-detector-{one}", "embedder": f"face-embedder-{one}"}
    settings = mlflow_server.model_copy(update=names)
    _, embedder = register_default_pack(Registry(settings, folder / "cache"), downloads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_TRACKING_USERNAME": settings.username,
        "MLFLOW_TRACKING_PASSWORD": settings.password.get_secret_value(),
    }
    command = [programs / "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", f"models:/{embedder.name}/{embedder.version}", "--port", str(port)]
    log = folder / "serve.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            list(map(str, command)), env=environment, cwd=folder, stdout=out, stderr=out
        ) as server,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, server, log)
            yield url
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/ping", timeout=5.0).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


def test_bytes_of_images_in_faces_out(address: str, downloads: Path) -> None:
    portrait = next(iter(sources.portraits(downloads))).path.read_bytes()
    rows = [[base64.b64encode(data).decode()] for data in (portrait, b"no picture")]
    answer = httpx.post(
        f"{address}/invocations",
        json={"dataframe_split": {"columns": ["image"], "data": rows}},
        timeout=60.0,
    )
    assert answer.status_code == 200, answer.text
    found, refused = answer.json()["predictions"]
    face = found["faces"][0]
    assert len(face["box"]) == 4
    assert np.array(face["landmarks"]).shape == (5, 2)
    assert np.linalg.norm(face["embedding"]) == pytest.approx(1.0, abs=1e-3)
    assert not found["error"]
    assert refused["faces"] == []
    assert refused["error"]
