"""Who ran what: the run row every result points back to."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import facecore
from facecore.errors import FacecoreError
from facecore.stores.catalog import runs
from facecore.stores.catalog.connection import Catalog
from facecore.stores.catalog.work import shards


@dataclass(frozen=True, slots=True)
class RunContext:
    """The caller's identity: a DAG task's, or a command's (`dag_id="cli"`)."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1

    @property
    def run_id(self) -> str:
        """Key of the run row: the same for the same task, map index and try."""
        return self._id_of_try(self.try_number)

    @property
    def earlier_run_ids(self) -> list[str]:
        """Keys of the run rows of this task's earlier tries."""
        return [self._id_of_try(number) for number in range(1, self.try_number)]

    def _id_of_try(self, number: int) -> str:
        parts = (self.dag_id, self.dag_run_id, self.task_id, str(self.map_index), str(number))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@dataclass
class Run:
    """A run in progress: what it did so far, kept in the run row when it ends."""

    id: str
    counts: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def code_version() -> str:
    """The installed version, with the git revision when running from a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return facecore.__version__
    answer = subprocess.run(
        ["git", "-c", f"safe.directory={root}", "rev-parse", "--short", "HEAD"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    revision = answer.stdout.strip()
    return f"{facecore.__version__}+{revision}" if revision else facecore.__version__


@contextmanager
def recorded(
    catalog: Catalog, context: RunContext, stage: str, params: dict[str, Any] | None = None
) -> Iterator[Run]:
    """Record one run: started now, done with its counts, or failed with its error."""
    run = Run(context.run_id)
    with catalog.transaction() as tx:
        runs.close_lost(tx, context.earlier_run_ids)
        runs.start(
            tx,
            runs.RunRow(
                id=context.run_id,
                dag_id=context.dag_id,
                dag_run_id=context.dag_run_id,
                task_id=context.task_id,
                try_number=context.try_number,
                stage=stage,
                code_version=code_version(),
                params=params or {},
            ),
        )
    try:
        yield run
    except BaseException as error:
        _record_failure(catalog, run, error)
        raise
    with catalog.transaction() as tx:
        runs.finish(tx, run.id, "done", counts=run.counts, models=run.models)


def _record_failure(catalog: Catalog, run: Run, error: BaseException) -> None:
    try:
        with catalog.transaction() as tx:
            runs.finish(
                tx,
                run.id,
                "failed",
                counts=run.counts,
                models=run.models,
                error=f"{type(error).__name__}: {error}",
            )
    except FacecoreError as second:
        # The store that failed is the one the failure would be written to.
        error.add_note(f"this failure could not be recorded: {second}")


def command_context(command: str) -> RunContext:
    """Lineage of a command: every call is a run of its own."""
    return RunContext("cli", f"cli__{datetime.now(UTC).isoformat()}", command)


@contextmanager
def attempt(catalog: Catalog, shard_id: int) -> Iterator[None]:
    """One try at a shard: counted when it begins, marked failed when it raises."""
    shards.note_attempt(catalog, shard_id)
    with marked_when_failed(catalog, shard_id):
        yield


@contextmanager
def marked_when_failed(catalog: Catalog, shard_id: int) -> Iterator[None]:
    """A part of a try at a shard, which is marked failed when it raises."""
    try:
        yield
    except FacecoreError as error:
        try:
            shards.fail(catalog, shard_id, str(error))
        except FacecoreError as second:
            error.add_note(f"the shard could not be marked as failed: {second}")
        raise
