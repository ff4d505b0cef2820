"""The whole platform at once: Airflow's processes run a DAG, and nothing leaks."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from facecore.local.platform import Platform

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)

DAG = """
from airflow.sdk import dag, task

@dag(schedule=None, tags=["test"])
def probe():
    @task(pool="gpu")
    def look() -> dict:
        import os, sys
        heavy = ("torch", "torchvision", "mlflow", "great_expectations", "pandas")
        preloaded = {name: name in sys.modules for name in heavy}
        import torch
        from _shared.marker import MARKER
        return {
            "preloaded": preloaded,
            "cuda_initialised": torch.cuda.is_initialized(),
            "product": float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()),
            "home": os.environ["FACECORE_HOME"],
            "marker": MARKER,
        }
    look()

probe()
"""


@pytest.fixture(scope="module")
def full(look: Any) -> Iterator[Platform]:
    """Everything is up, on a checkout with one DAG and the real plugins."""
    folder = Path(tempfile.mkdtemp(prefix="facecore-full-"))
    folder.chmod(0o711)
    shared = folder / "repo" / "dags" / "_shared"
    shared.mkdir(parents=True)
    (folder / "repo" / "plugins").symlink_to(REPO / "plugins")
    (shared / "__init__.py").write_text("")
    (shared / "marker.py").write_text("MARKER = 'from _shared'\n")
    (shared.parent / "probe.py").write_text(DAG)
    platform = Platform(folder / "home", folder / "repo", standard_ports=False)
    try:
        platform.up()
        yield platform
    finally:
        platform.clean()
        assert look.alive(platform) == []
        shutil.rmtree(folder)


@contextlib.contextmanager
def session(platform: Platform, user: str) -> Iterator[httpx.Client]:
    """A client that is logged in as one of the users."""
    endpoint = platform.endpoints()[f"airflow-{user}"]
    with httpx.Client(base_url=endpoint.url, timeout=60, trust_env=False) as http:
        login = {"username": user, "password": endpoint.password.get_secret_value()}
        token = http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield http


def test_every_part_is_healthy_and_small(full: Platform) -> None:
    status = full.status()
    assert status.healthy, [(p.name, p.detail) for p in status.parts if not p.healthy]
    assert {p.name for p in status.parts[3].processes} == {
        "airflow-api-server",
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
    }
    assert all(part.version for part in status.parts)
    assert status.memory_bytes < 4 * 2**30


def test_a_task_runs_in_the_gpu_pool_with_everything_imported(full: Platform) -> None:
    with session(full, "admin") as http:
        pool = http.get("/api/v2/pools/gpu").raise_for_status().json()
        assert pool["slots"] == 1
        deadline = time.monotonic() + 120
        run = http.post("/api/v2/dags/probe/dagRuns", json={"logical_date": None})
        while run.status_code == 404 and time.monotonic() < deadline:  # not parsed yet
            time.sleep(1)
            run = http.post("/api/v2/dags/probe/dagRuns", json={"logical_date": None})
        at = f"/api/v2/dags/probe/dagRuns/{run.raise_for_status().json()['dag_run_id']}"
        while (state := http.get(at).json()["state"]) in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        logs = http.get(f"{at}/taskInstances/look/logs/1").text
        assert state == "success", logs
        answer = http.get(f"{at}/taskInstances/look/xcomEntries/return_value").json()["value"]
    answer = json.loads(answer) if isinstance(answer, str) else answer
    assert answer["preloaded"] == dict.fromkeys(answer["preloaded"], True)
    assert answer["cuda_initialised"] is False
    assert answer["product"] == 300.0**3
    assert answer["home"] == str(full.layout.home)
    assert answer["marker"] == "from _shared"


def test_roles_are_kept_apart_and_strangers_are_refused(full: Platform) -> None:
    with session(full, "viewer") as http:
        assert http.get("/api/v2/dags").status_code == 200
        run = http.post("/api/v2/dags/probe/dagRuns", json={"logical_date": None})
        assert run.status_code == 403
    with httpx.Client(base_url=full.endpoints()["airflow-admin"].url, trust_env=False) as http:
        for path in ("/api/v2/dags", "/api/v2/connections", "/api/v2/pools", "/api/v2/config"):
            assert http.get(path).status_code == 401, path
        task = "/execution/task-instances/00000000-0000-0000-0000-000000000000/run"
        assert http.patch(task, json={}).status_code in (401, 403)


def test_all_listen_on_loopback(full: Platform, look: Any) -> None:
    found = look.listening(full)
    assert set(found.values()) == {"127.0.0.1"}
    assert set(found) == set(full._started().ports.values())


def test_no_secret_in_a_process_list_or_a_log(full: Platform, look: Any) -> None:
    secrets = full._started().credentials.secrets()
    arguments = look.arguments(full)
    assert "weed" in arguments
    logs = {p: p.read_bytes() for p in full.layout.log.rglob("*") if p.is_file()}
    assert len(logs) > 8
    for secret in secrets:
        assert secret not in arguments
        assert not [path for path, text in logs.items() if secret.encode() in text]
