"""Runs: which task, try, code and models made a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from facecore.errors import NotFound
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json, as_text

_ERROR_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run that starts. `id` is the same for the same task, map index and try."""

    id: str
    dag_id: str
    dag_run_id: str
    task_id: str
    try_number: int
    stage: str
    code_version: str
    models: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run; `state` is running, done or failed."""

    id: str
    dag_id: str
    dag_run_id: str
    task_id: str
    try_number: int
    stage: str
    code_version: str
    models: dict[str, str]
    params: dict[str, Any]
    state: str
    counts: dict[str, Any]
    error: str | None
    started_at: datetime
    finished_at: datetime | None


_COLUMNS = ", ".join(column.name for column in fields(Run))


def start(tx: Transaction, row: RunRow) -> None:
    """Record that a run starts; the same id again starts over."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO run (id, dag_id, dag_run_id, task_id, try_number, stage, code_version, "
            "models, params) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (id) DO UPDATE SET code_version = excluded.code_version, "
            "models = excluded.models, params = excluded.params, state = 'running', "
            "counts = '{}', error = NULL, started_at = now(), finished_at = NULL",
            [
                row.id, row.dag_id, row.dag_run_id, row.task_id, row.try_number, row.stage,
                row.code_version, as_json(row.models), as_json(row.params),
            ],
        )  # fmt: skip


def finish(
    tx: Transaction,
    run_id: str,
    state: Literal["done", "failed"],
    *,
    counts: Mapping[str, Any] | None = None,
    models: Mapping[str, str] | None = None,
    error: str | None = None,
) -> None:
    """Record how a run ended; `models` is added to what `start` knew. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE run SET state = %s, counts = %s, models = models || %s, error = %s, "
            "finished_at = clock_timestamp() WHERE id = %s",
            [
                state, as_json(counts or {}), as_json(models or {}),
                None if error is None else as_text(error)[:_ERROR_CHARACTERS], run_id,
            ],
        )  # fmt: skip
        if cursor.rowcount == 0:
            raise NotFound("run", run_id)


def close_lost(tx: Transaction, run_ids: Sequence[str]) -> int:
    """Runs that never said how they ended (their process was killed) → failed; how many."""
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE run SET state = 'failed', error = 'ended without a word; it was tried again', "
            "finished_at = clock_timestamp() WHERE id = ANY(%s) AND state = 'running'",
            [list(run_ids)],
        )
        return cursor.rowcount


def get(tx: Transaction, run_id: str) -> Run:
    """One run by id. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM run WHERE id = %s", [run_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("run", run_id)
    return Run(*row)


def latest(tx: Transaction, limit: int = 20, *, stage: str | None = None) -> list[Run]:
    """The most recently started runs, of one stage or of all, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM run WHERE %s::text IS NULL OR stage = %s "
            "ORDER BY started_at DESC, id LIMIT %s",
            [stage, stage, limit],
        )
        return [Run(*row) for row in cursor]
