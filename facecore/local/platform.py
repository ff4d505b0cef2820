"""The whole platform on one machine: start, stop, look at, remove.

::

    platform = Platform(home=Path("var"), repo=Path("."))
    platform.up(on_progress=lambda part, message: print(part, message))
    platform.status().healthy
    platform.down()
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import SecretStr

from facecore.config import DatabaseSettings, MlflowSettings, S3Settings
from facecore.errors import PlatformError, StorageFull, UsageError
from facecore.local import ports
from facecore.local.layout import Layout, write_private
from facecore.local.stack import ALL, Progress, Stack, with_needs
from facecore.local.status import Endpoint, PlatformStatus

_IN_USE = b"address already in use"  # as every part's log says it
_LOOKED_AT_BYTES = 1 << 18  # some tries' worth of log
_LOCK_WAIT_S = 300.0
MIN_FREE_BYTES = 2 * 2**30


def _silent(part: str, message: str) -> None:
    pass


class Platform:
    """PostgreSQL, S3, MLflow and Airflow under one home, all on loopback.

    Args:
        home: folder for all state; see `facecore.local.layout`.
        repo: checkout whose `dags` and `plugins` Airflow runs.
        standard_ports: prefer 8080, 5000, 8333 and 5432 where they are free.
        min_free_bytes: `up` refuses to start with less space.
    """

    def __init__(
        self,
        home: Path,
        repo: Path,
        *,
        standard_ports: bool = True,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self.layout = Layout(home.absolute())
        self.repo = repo.absolute()
        self._standard_ports = standard_ports
        self._min_free_bytes = min_free_bytes

    # --- commands ---

    def up(self, parts: Iterable[str] = ALL, on_progress: Progress = _silent) -> None:
        """Start `parts` and what they need, and wait until each works. Repeating it is quick.

        Raises:
            PlatformError: a part does not start; names it, with the end of its log.
            StorageFull: too little free space to start safely.
            UsageError: an unknown part.
        """
        wanted = with_needs(parts)
        self._require_space()
        self.layout.create()
        with self._locked(on_progress):
            stack = self._stack()
            if stack.supervisor.running():
                self._write_environment(stack)
                stack.start(wanted, on_progress)
                return
            orphans = stack.supervisor.end_orphans(stack.postgres.data)
            if orphans:
                on_progress("platform", f"ended {orphans} processes of a killed platform")
            try:
                self._begin(wanted, on_progress)
            except PlatformError as error:
                if not _for_want_of_a_port(error):
                    raise
                on_progress("platform", "a port was taken meanwhile: starting again with others")
                self._stack().stop(on_progress)
                self._begin(wanted, on_progress)

    def down(self, on_progress: Progress = _silent) -> None:
        """Stop everything, in order, and whatever a killed platform left behind."""
        if not self.layout.state_file.exists():
            return
        with self._locked(on_progress):
            self._stack().stop(on_progress)

    def clean(self, on_progress: Progress = _silent) -> None:
        """Stop everything and remove the home with all data.

        Raises:
            UsageError: the folder was not made by this platform; nothing was touched.
        """
        if not self.layout.home.exists():
            return
        self.layout.require_ours()
        if self.repo.is_relative_to(self.layout.home):
            raise UsageError(f"{self.layout.home} holds the checkout; nothing was removed.")
        self.down(on_progress)
        on_progress("platform", f"removing {self.layout.home}")
        self.layout.remove()

    def status(self) -> PlatformStatus:
        """Look at every part now; starts nothing, and answers in a few seconds at most."""
        if not self.layout.state_file.exists():
            return PlatformStatus(str(self.layout.home), False, False, 0, None, ())
        return self._stack().status()

    # --- addresses ---

    def endpoints(self) -> dict[str, Endpoint]:
        """Where the parts are, by name; Airflow once per user.

        Raises:
            UsageError: the platform was never started here.
        """
        return self._started().endpoints()

    @property
    def database(self) -> DatabaseSettings:
        return self._started().postgres.settings()

    @property
    def s3(self) -> S3Settings:
        return self._started().objects.settings()

    @property
    def mlflow(self) -> MlflowSettings:
        return self._started().mlflow.settings()

    def create_database(self, name: str) -> DatabaseSettings:
        """Another database of the facecore role, with pgvector; needs a running server."""
        postgres = self._started().postgres
        postgres.create_database(name)
        return postgres.settings(name)

    def airflow_environment(self) -> dict[str, str]:
        """What an `airflow` command needs in its environment. Holds secrets: never log it."""
        return self._started().airflow.environment()

    def migrate_airflow(self) -> dict[str, str]:
        """Create Airflow's tables without starting Airflow; returns its environment.

        For commands and tests that run DAGs in their own process. Needs a running `postgres`.
        """
        stack = self._started()
        stack.airflow.prepare()
        stack.migrate_airflow()
        return stack.airflow.environment()

    # --- inside ---

    def _started(self) -> Stack:
        if not self.layout.state_file.exists():
            raise UsageError(f"no platform at {self.layout.home}.", remedy="Run `facecore up`.")
        return self._stack()

    def _begin(self, wanted: Iterable[str], on_progress: Progress) -> None:
        """Start the supervisor and the parts, on ports that are free now."""
        stack = self._stack(new_ports=True)
        stack.supervisor.start(stack.programs())
        self._write_environment(stack)
        stack.start(wanted, on_progress)

    def _stack(self, *, new_ports: bool = False) -> Stack:
        state = self.layout.load_state()
        if new_ports or "ports" not in state:
            state["ports"] = ports.choose(state.get("ports", {}), standard=self._standard_ports)
            self.layout.save_state(state)
        return Stack(self.layout, self.repo, state["ports"])

    def _require_space(self) -> None:
        existing = next(p for p in (self.layout.home, *self.layout.home.parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if free < self._min_free_bytes:
            raise StorageFull(
                str(existing),
                f"{free / 2**30:.1f} GiB are free at {existing}; "
                f"the platform needs {self._min_free_bytes / 2**30:.1f} GiB to start.",
                remedy="Free some space, or set FACECORE_HOME to another disk.",
            )

    @contextlib.contextmanager
    def _locked(self, on_progress: Progress) -> Iterator[None]:
        """One command at a time works on a home; the lock ends with its process."""
        self.layout.create()
        with (self.layout.run / "lock").open("a+") as file:
            deadline = time.monotonic() + _LOCK_WAIT_S
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PlatformError(
                            "platform", f"another command works on {self.layout.home}."
                        ) from None
                    if not told:
                        on_progress("platform", "waiting for another command to finish")
                        told = True
                    time.sleep(0.2)
            yield

    def _write_environment(self, stack: Stack) -> None:
        """facecore.env: how facecore's own commands and tasks find everything."""
        lines = ["# Written by `facecore up`; holds passwords."]
        for group, settings in (
            ("DATABASE", stack.postgres.settings()),
            ("S3", stack.objects.settings()),
            ("MLFLOW", stack.mlflow.settings()),
        ):
            for name, value in settings.model_dump(exclude_defaults=True).items():
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                lines.append(f"FACECORE_{group}__{name.upper()}={text}")
        write_private(self.layout.env_file, "\n".join(lines) + "\n")


def _for_want_of_a_port(error: PlatformError) -> bool:
    """Whether the part found its port taken: the next try's words may stand behind those."""
    if not error.log or not Path(error.log).exists():
        return False
    with Path(error.log).open("rb") as log:
        log.seek(max(0, log.seek(0, io.SEEK_END) - _LOOKED_AT_BYTES))
        return _IN_USE in log.read().lower()
