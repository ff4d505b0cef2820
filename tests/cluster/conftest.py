"""A cluster as in production on one machine: Redis, Airflow with CeleryExecutor, its workers.

The parts that only exist in production run as production runs them: the settings of Airflow and
Celery are read out of docker-compose.yml, the files are those of `deploy/airflow`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml

from facecore.config import DatabaseSettings, ExtractSettings, MlflowSettings, S3Settings, Settings
from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.platform.setup import set_up
from facecore.jobs.stores import Stores
from facecore.local.airflow_client import AirflowClient
from facecore.local.platform import Platform
from facecore.local.ports import LOOPBACK, choose
from facecore.samples.sources import portraits

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_READY_S = 300.0
SHARD_SIZE = 512  # several for each worker
# Of docker-compose.yml: what decides how tasks are handed out, watched and taken back.
_DEPLOYED = re.compile(r"AIRFLOW__(CELERY\w*|SCHEDULER|WORKERS|CORE__EXECUTOR)(__|$)")


@dataclass
class Part:
    """A process of the cluster and everything below it."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]

    def tree(self) -> list[psutil.Process]:
        """It and its descendants, whatever process groups they made."""
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> list[psutil.Process]:
        """SIGKILL for the whole tree, as when the machine goes; returns what was killed."""
        if self.process.poll() is None:
            self.process.send_signal(19)  # SIGSTOP: it must not start another child meanwhile
        found = self.tree()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)
        psutil.wait_procs(found, timeout=30)
        return found

    def end(self) -> None:
        """SIGTERM, then SIGKILL for what is left."""
        left = self.tree()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)

    def require_alive(self) -> None:
        assert self.process.poll() is None, f"{self.name} ended:\n{self.tail()}"

    def tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-4000:]


class CeleryCluster:
    """Airflow's parts as processes of their own, started and killed one by one."""

    def __init__(self, folder: Path, environment: Mapping[str, str], password: str) -> None:
        self._folder = folder
        self.environment = dict(environment)
        self._password = password
        self.parts: dict[str, Part] = {}

    def start(self, name: str, *arguments: str) -> Part:
        """Start `airflow ARGUMENTS`."""
        log = self._folder / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                cwd=self._folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.parts[name] = Part(name, log, process)
        return self.parts[name]

    def start_worker(self, name: str) -> Part:
        """A Celery worker for both queues that runs one task at a time. It opens no port."""
        return self.start(
            name,
            *("celery", "worker", "--queues", "default,gpu", "--concurrency", "1"),
            *("--celery-hostname", f"{name}@%h", "--skip-serve-logs"),
        )

    def run(self, *arguments: str) -> None:
        """Run `airflow ARGUMENTS` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            cwd=self._folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

    def wait_until_ready(self, *workers: Part) -> None:
        """Scheduler and DAG processor report, the API answers tasks, workers take messages."""
        url = self.environment["AIRFLOW__API__BASE_URL"]

        def healthy() -> bool:
            for part in self.parts.values():
                part.require_alive()
            try:
                httpx.get(f"{url}/execution/health", timeout=30).raise_for_status()
                health = httpx.get(f"{url}/api/v2/monitor/health", timeout=30).json()
            except httpx.HTTPError:
                return False
            names = ("scheduler", "dag_processor")
            return all(health[name]["status"] == "healthy" for name in names)

        eventually(healthy, _READY_S)
        for worker in workers:
            eventually(lambda worker=worker: f"{worker.name}@" in worker.tail(), _READY_S)

    def client(self) -> AirflowClient:
        return AirflowClient(self.environment["AIRFLOW__API__BASE_URL"], "admin", self._password)

    def pause(self, dag: str, paused: bool) -> None:
        """Whether runs of a DAG start."""
        with self.client() as client:
            client._request("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": paused})

    def stop(self) -> None:
        for part in reversed(self.parts.values()):
            part.end()


def eventually(check: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="facecore-cluster-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def redis_url(folder: Path) -> Iterator[str]:
    """A Redis of this module with the settings of docker-compose.yml."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail(
            "redis-server was not found: this test runs Celery on a real broker. Install it, "
            "on Debian with `apt-get install redis-server`.",
            pytrace=False,
        )
    password, port = secrets.token_hex(16), choose({}, standard=False)["airflow"]
    configuration = folder / "redis.conf"
    configuration.write_text(
        f"bind {LOOPBACK}\nport {port}\nrequirepass {password}\ndir {folder}\n"
        "appendonly yes\nmaxmemory-policy noeviction\nsave ''\n"
    )
    configuration.chmod(0o600)
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
    try:
        yield f"redis://:{password}@{LOOPBACK}:{port}/0"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def make_stores(
    platform: Platform, s3: S3Settings, mlflow_server: MlflowSettings, downloads: Path
) -> Callable[[str], Stores]:
    """Stores of their own, set up, with the gallery portraits enrolled.

    float32: `auto` measures which precision is faster, and two processes may differ in that.
    """

    def make(name: str) -> Stores:
        platform.up(["postgres"])
        stores = Stores(
            Settings(
                home=downloads.parent,
                database=platform.create_database(f"{name}_{uuid4().hex[:8]}"),
                s3=s3.model_copy(update={"bucket_prefix": f"{name}{uuid4().hex[:8]}-"}),
                mlflow=mlflow_server,
                extract=ExtractSettings(precision="fp32", shard_size=SHARD_SIZE),
                model_dir=None,
            )
        )
        set_up(stores)
        gallery = [Picture(p.person, p.path) for p in portraits(downloads) if p.role == "gallery"]
        enrolled = enroll(RunContext("test", "enrol", "enroll"), gallery, stores=stores)
        assert [e.state for e in enrolled] == ["enrolled"] * len(gallery), enrolled
        return stores

    return make


@pytest.fixture(scope="module")
def celery(
    platform: Platform,
    folder: Path,
    redis_url: str,
    make_stores: Callable[[str], Stores],
) -> Iterator[tuple[CeleryCluster, Stores]]:
    """Airflow with CeleryExecutor on stores of its own; DAGs are paused, no worker runs yet."""
    stores = make_stores("celery")
    home = folder / "airflow"
    (home / "config").mkdir(parents=True)
    shutil.copy(DEPLOY / "airflow" / "airflow.cfg", home)
    shutil.copy(DEPLOY / "airflow" / "airflow_local_settings.py", home / "config")
    password = secrets.token_hex(16)
    (home / "passwords.json").write_text(json.dumps({"admin": password}))
    database = platform.create_database(f"airflow_{uuid4().hex[:8]}")
    connection = _url("postgresql+psycopg2", database)
    url = f"http://{LOOPBACK}:{choose({}, standard=False)['airflow']}"
    environment = {
        **os.environ,
        **{k: v for k, v in platform.airflow_environment().items() if not _DEPLOYED.match(k)},
        **_deployed_options(),
        **_settings_of(stores),
        "FACECORE_EXTRACT__THREADS": "1",  # two workers on two cores
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(folder / "logs-dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": connection,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{connection}",
        "AIRFLOW__CELERY__BROKER_URL": redis_url,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__PARALLELISM": "32",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__PORT": url.rpartition(":")[2],
        "AIRFLOW__API__BASE_URL": url,
    }
    cluster = CeleryCluster(folder, environment, password)
    try:
        cluster.run("db", "migrate")
        cluster.run("pools", "set", "gpu", "2", "one slot per worker that computes")
        for name, command in {
            "api-server": ("api-server",),
            "scheduler": ("scheduler", "-s"),
            "dag-processor": ("dag-processor",),
        }.items():
            cluster.start(name, *command)
        yield cluster, stores
    finally:
        cluster.stop()


def _deployed_options() -> dict[str, str]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    options = compose["x-airflow-env"].items()
    return {k: v for k, v in options if _DEPLOYED.match(k) and "${" not in v}


def _settings_of(stores: Stores) -> dict[str, str]:
    """The stores' settings for another process."""
    chosen = stores.settings
    found = {
        "FACECORE_HOME": str(chosen.home),
        "FACECORE_EXTRACT__PRECISION": "fp32",
        "FACECORE_EXTRACT__SHARD_SIZE": str(SHARD_SIZE),
    }
    for group in ("database", "s3", "mlflow"):
        for name, value in getattr(chosen, group).model_dump().items():
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            found[f"FACECORE_{group}__{name}".upper()] = text
    return found


def _url(scheme: str, database: DatabaseSettings) -> str:
    password = database.password.get_secret_value()
    return f"{scheme}://{database.user}:{password}@{database.host}:{database.port}/{database.name}"
