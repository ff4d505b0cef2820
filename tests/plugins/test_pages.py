"""The pages inside Airflow, served by Airflow's own api-server behind its login."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from facecore.config import DatabaseSettings, S3Settings, Settings
from facecore.jobs import report
from facecore.jobs.lineage import RunContext
from facecore.jobs.setup import prepare_stores
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0
DAY = "2001-05-02"  # the session shares one catalogue: no other test has images of this day


@pytest.fixture(scope="module")
def published(postgres: DatabaseSettings, s3: S3Settings) -> Stores:
    """Stores with one report."""
    stores = Stores(Settings(database=postgres, s3=s3))
    prepare_stores(stores)
    context = RunContext("test", "pages", "report")
    report.build(context, datetime(2001, 5, 3, 2, tzinfo=UTC), stores=stores)
    return stores


@pytest.fixture(scope="module")
def site(
    airflow_env: dict[str, str], published: Stores, platform: Platform
) -> Iterator[httpx.Client]:
    """Airflow's api-server with the plugin; a client that is not logged in."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = platform.layout.home / "api-server-test.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "-p", str(port)],
            env={
                **os.environ,
                **airflow_env,
                "PYTHONPATH": str(ROOT / "dags"),
                "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                _wait(client, server, log)
                yield client
        finally:
            server.terminate()
            server.wait()


def _wait(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if client.get("/api/v2/monitor/health").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(log.read_text()[-4000:])


@pytest.fixture(scope="module")
def viewer(site: httpx.Client, platform: Platform) -> dict[str, str]:
    """Header of a user who may only read."""
    endpoint = platform.endpoints()["airflow-viewer"]
    answer = site.post(
        "/auth/token",
        json={"username": endpoint.username, "password": endpoint.password.get_secret_value()},
    )
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.mark.parametrize(
    "path", ["/reports", f"/reports/activity/{DAY}_{DAY}.html", "/reports/x", "/reports/"]
)
def test_the_anonymous_see_nothing(site: httpx.Client, path: str) -> None:
    refused = site.get(f"/facecore{path}")
    assert refused.status_code == 401
    assert DAY not in refused.text
    sent = site.get(f"/facecore{path}", headers={"Accept": "text/html"})
    assert sent.status_code == 307
    assert sent.headers["location"].startswith("/api/v2/auth/login?next=")


def test_a_viewer_finds_and_opens_the_report(site: httpx.Client, viewer: dict[str, str]) -> None:
    listing = site.get("/facecore/reports", headers=viewer)
    assert listing.status_code == 200
    assert f'href="reports/activity/{DAY}_{DAY}.html"' in listing.text
    opened = site.get(f"/facecore/reports/activity/{DAY}_{DAY}.html", headers=viewer)
    assert opened.status_code == 200
    assert opened.headers["content-type"].startswith("text/html")
    assert "no images" in opened.text.lower()
    assert site.get(f"/facecore/reports/activity/{DAY}_{DAY}.json", headers=viewer).json()


def test_pages_are_private_and_load_nothing(site: httpx.Client, viewer: dict[str, str]) -> None:
    headers = site.get("/facecore/reports", headers=viewer).headers
    assert headers["cache-control"] == "private, no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "key", ["nothing.html", "%2e%2e/landing/secret.jpg", "activity/%2e%2e/%2e%2e/x", "%00"]
)
def test_other_keys_are_not_found(site: httpx.Client, viewer: dict[str, str], key: str) -> None:
    answer = site.get(f"/facecore/reports/{key}", headers=viewer)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text
