"""Airflow 3: api-server, scheduler, dag-processor and triggerer, LocalExecutor, one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import httpx
import psycopg2

from facecore.errors import PlatformError
from facecore.local.credentials import AIRFLOW_ROLES, Credentials
from facecore.local.layout import Layout, write_private
from facecore.local.ports import LOOPBACK
from facecore.local.programs import Program, inherited_environment
from facecore.local.supervision import ProcessInfo

# Process → command. Without `-s` scheduler and triggerer would open log servers on every
# interface; on one machine the api-server reads the log files itself.
COMMANDS = {
    "airflow-scheduler": ("scheduler", "-s"),
    "airflow-api-server": ("api-server",),
    "airflow-dag-processor": ("dag-processor",),
    "airflow-triggerer": ("triggerer", "-s"),
}
_HEARTBEATS = {
    "airflow-scheduler": ("scheduler", "latest_scheduler_heartbeat"),
    "airflow-dag-processor": ("dag_processor", "latest_dag_processor_heartbeat"),
    "airflow-triggerer": ("triggerer", "latest_triggerer_heartbeat"),
}
GPU_POOL = "gpu"
_LOCAL_SETTINGS = Path(__file__).with_name("airflow_local_settings.py")


class AirflowPart:
    """The four Airflow processes and their metadata database."""

    name = "airflow"

    def __init__(
        self,
        layout: Layout,
        credentials: Credentials,
        *,
        port: int,
        database: str,
        repo: Path,
        environment: Mapping[str, str],
    ) -> None:
        """`environment` is added to what the processes, and thus the tasks, see."""
        self.layout = layout
        self._credentials = credentials
        self._port = port
        self._database = database
        self._repo = repo
        self._extra = dict(environment)
        self.folder = layout.run / "airflow"

    def environment(self) -> dict[str, str]:
        """Airflow's configuration as environment variables. Holds secrets: never log it."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        log = self.layout.log / "airflow"
        options = {
            ("core", "executor"): "LocalExecutor",
            ("core", "parallelism"): str((cores or 1) + 2),
            ("core", "load_examples"): "False",
            ("core", "dags_are_paused_at_creation"): "False",
            ("core", "dags_folder"): str(self._repo / "dags"),
            ("core", "plugins_folder"): str(self._repo / "plugins"),
            ("core", "fernet_key"): self._credentials["airflow_fernet"],
            ("core", "mp_start_method"): "fork",  # tasks inherit the preloaded modules
            ("core", "execution_api_server_url"): f"{self.url}/execution/",
            ("core", "simple_auth_manager_users"): ",".join(
                f"{user}:{role}" for user, role in AIRFLOW_ROLES.items()
            ),
            ("core", "simple_auth_manager_passwords_file"): str(self.folder / "passwords.json"),
            ("database", "sql_alchemy_conn"): self._database,
            ("api", "host"): LOOPBACK,
            ("api", "port"): str(self._port),
            ("api", "base_url"): self.url,
            ("api", "workers"): "1",
            ("api", "secret_key"): self._credentials["airflow_api"],
            ("api_auth", "jwt_secret"): self._credentials["airflow_jwt"],
            ("logging", "base_log_folder"): str(log),
            ("logging", "dag_processor_child_process_log_directory"): str(log / "dag-processor"),
            ("logging", "colored_console_log"): "False",
            ("usage_data_collection", "enabled"): "False",
            # Between loops with nothing to do; 1 s by default, which a chain of short tasks feels.
            ("scheduler", "scheduler_idle_sleep_time"): "0.5",
            # A killed scheduler's tasks are given to the next one after this long.
            ("scheduler", "scheduler_health_check_threshold"): "20",
            ("scheduler", "orphaned_tasks_check_interval"): "10",
            # A killed task that nobody noticed is failed, and retried, after this long.
            ("scheduler", "task_instance_heartbeat_timeout"): "60",
            ("triggerer", "triggerer_health_check_threshold"): "30",
            ("workers", "execution_api_timeout"): "30",  # 5 s is short on a busy machine
            ("dag_processor", "refresh_interval"): "20",
            # Reading a DAG file again takes a second of a core; changed ones are read at once.
            ("dag_processor", "min_file_process_interval"): "300",
            ("dag_processor", "stale_dag_threshold"): "900",
            ("dag_processor", "parsing_processes"): "1",
            ("dag_processor", "print_stats_interval"): "600",
        }
        return {
            **{f"AIRFLOW__{a.upper()}__{b.upper()}": value for (a, b), value in options.items()},
            "AIRFLOW_HOME": str(self.folder),
            "PYTHONPATH": str(self._repo),
            "PYTHONUNBUFFERED": "1",
            "SCARF_ANALYTICS": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            **self._extra,
        }

    def programs(self) -> list[Program]:
        environment = self.environment()
        return [
            Program(
                name=name,
                argv=(sys.executable, "-m", "airflow", *command),
                cwd=self.folder,
                order=40,
                env=environment,
                # Short tasks may finish. A longer one is killed and done again after the start.
                stop_wait_s=15,
            )
            for name, command in COMMANDS.items()
        ]

    def prepare(self) -> None:
        """Write its folder, its users and the preload hook."""
        (self.folder / "config").mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.layout.log / "airflow").mkdir(mode=0o700, exist_ok=True)
        users = {user: self._credentials[f"airflow_{user}"] for user in AIRFLOW_ROLES}
        write_private(self.folder / "passwords.json", json.dumps(users))
        hook = _LOCAL_SETTINGS.read_text(encoding="utf-8")
        write_private(self.folder / "config" / "airflow_local_settings.py", hook)

    def migrate(self, remembered: str | None) -> str:
        """Bring the metadata database to this Airflow's schema.

        Args:
            remembered: what the last call returned; when it still holds, nothing is run, which
                saves several seconds.

        Raises:
            PlatformError: the migration failed.
        """
        from importlib.metadata import version

        wanted = version("apache-airflow")
        if remembered and remembered == f"{wanted} {self._revision()}":
            return remembered
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            env={**inherited_environment(), **self.environment()},
        )
        log = self.layout.log / "airflow-migrate.log"
        output = done.stdout + done.stderr
        for secret in self._credentials.secrets():
            output = output.replace(secret, "***")
        write_private(log, output)
        if done.returncode != 0:
            raise PlatformError(
                self.name, f"`airflow db migrate` failed:\n{output[-2000:]}\n", log=str(log)
            )
        return f"{wanted} {self._revision()}"

    def _revision(self) -> str:
        link = psycopg2.connect(self._database.replace("+psycopg2", ""), connect_timeout=10)
        try:
            with link.cursor() as cursor:
                cursor.execute("SELECT to_regclass('alembic_version')")
                row = cursor.fetchone()
                if row is None or row[0] is None:
                    return ""
                cursor.execute("SELECT version_num FROM alembic_version")
                return " ".join(sorted(str(found[0]) for found in cursor.fetchall()))
        finally:
            link.close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def check(self, processes: Callable[[], Mapping[str, ProcessInfo]]) -> str:
        """All four components, each with a heartbeat of the process that runs now.

        Raises `httpx.HTTPError` or `OSError` until it works.
        """
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as http:
            version = str(http.get("/api/v2/version").raise_for_status().json()["version"])
            # Tasks speak to this one, whose first answer takes seconds.
            http.get("/execution/health").raise_for_status()
            health = http.get("/api/v2/monitor/health").raise_for_status().json()
        if health["metadatabase"]["status"] != "healthy":
            raise ConnectionError("the metadata database is not healthy")
        running = processes()
        for process, (component, key) in _HEARTBEATS.items():
            seen = health[component].get(key)
            started = running[process].since if process in running else float("inf")
            # The heartbeat of a predecessor looks healthy for a while after its end.
            fresh = seen is not None and datetime.fromisoformat(seen).timestamp() > started
            if health[component]["status"] != "healthy" or not fresh:
                raise ConnectionError(f"{component} has not reported yet")
        return f"Airflow {version}, all components healthy"

    def ensure_pool(self) -> None:
        """The pool that lets one task at a time use the device."""
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as http:
            login = {"username": "admin", "password": self._credentials["airflow_admin"]}
            token = http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
            pool = {
                "name": GPU_POOL,
                "slots": 1,
                "include_deferred": False,
                "description": "Device work: one task at a time.",
            }
            answer = http.post(
                "/api/v2/pools", json=pool, headers={"Authorization": f"Bearer {token}"}
            )
            if answer.status_code != httpx.codes.CONFLICT:  # it exists, perhaps with more slots
                answer.raise_for_status()
