"""Model versions the catalogue's rows were made with; exactly one is active per task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from facecore.errors import ContractMismatch, NotFound
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json

Task = Literal["detect", "embed", "match", "reconstruct", "forecast"]


@dataclass(frozen=True, slots=True)
class ModelVersionRow:
    """A registered model to make known to the catalogue.

    Attributes:
        name, version: as in the MLflow registry.
        contract: `Contract.digest` for an embedder, and for a matcher of the vectors it compares;
            for others, what identifies their behaviour (their weights' digest).
        dimension: of the embedding; None exactly for all others.
        threshold: cosine similarity to accept a match; None until calibrated.
        target_fmr: the false-match rate it was calibrated for.
        calibration: the evidence (intervals, counts, data set).
        detector_version_id: of an embedder, the detector version whose faces it embeds.
    """

    task: Task
    name: str
    version: int
    contract: str
    weights_sha256: str
    dimension: int | None = None
    threshold: float | None = None
    target_fmr: float | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    detector_version_id: int | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model version; the fields of `ModelVersionRow` with id, state and time.

    `state` is candidate, active or retired.
    """

    id: int
    task: str
    name: str
    version: int
    contract: str
    weights_sha256: str
    dimension: int | None
    threshold: float | None
    target_fmr: float | None
    calibration: dict[str, Any]
    detector_version_id: int | None
    state: str
    created_at: datetime


_COLUMNS = ", ".join(column.name for column in fields(ModelVersion))


def upsert(tx: Transaction, row: ModelVersionRow) -> int:
    """Make a model version known; returns its id.

    Known already, only its calibration is renewed, and only where `row` has one; a detector
    version is added where none was known.

    Raises:
        ChangeRefused: the version is known with another digest, contract, task, dimension or
            detector.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO model_version AS m (task, name, version, contract, weights_sha256, "
            "dimension, threshold, target_fmr, calibration, detector_version_id) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (name, version) DO UPDATE SET task = excluded.task, "
            "contract = excluded.contract, weights_sha256 = excluded.weights_sha256, "
            "dimension = excluded.dimension, "
            "threshold = coalesce(excluded.threshold, m.threshold), "
            "target_fmr = coalesce(excluded.target_fmr, m.target_fmr), "
            "calibration = CASE WHEN excluded.threshold IS NULL THEN m.calibration "
            "                   ELSE excluded.calibration END, "
            "detector_version_id = coalesce(excluded.detector_version_id, m.detector_version_id) "
            "RETURNING id",
            [
                row.task, row.name, row.version, row.contract, row.weights_sha256, row.dimension,
                row.threshold, row.target_fmr, as_json(row.calibration), row.detector_version_id,
            ],
        )  # fmt: skip
        return int(_one(cursor.fetchone(), "model version", row.name)[0])


def set_calibration(
    tx: Transaction,
    model_version_id: int,
    threshold: float,
    target_fmr: float,
    calibration: Mapping[str, Any],
) -> None:
    """Store the calibrated threshold with its evidence.

    Raises:
        NotFound: no such version.
        ContractMismatch: the calibration was measured on vectors of another contract.
    """
    version = get(tx, model_version_id)
    if calibration.get("contract") != version.contract:
        raise ContractMismatch(version.contract, str(calibration.get("contract")))
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE model_version SET threshold = %s, target_fmr = %s, calibration = %s "
            "WHERE id = %s",
            [threshold, target_fmr, as_json(calibration), model_version_id],
        )


def set_active(tx: Transaction, model_version_id: int) -> None:
    """Make a version the active one of its task; the one before it retires. Raises `NotFound`."""
    version = get(tx, model_version_id)
    with tx.cursor() as cursor:
        # One activation of a task at a time; the unique index would refuse the second anyway.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"active {version.task}"]
        )
        cursor.execute(
            "UPDATE model_version SET state = 'retired' "
            "WHERE task = %s AND state = 'active' AND id <> %s",
            [version.task, model_version_id],
        )
        cursor.execute(
            "UPDATE model_version SET state = 'active' WHERE id = %s AND state <> 'active'",
            [model_version_id],
        )


def active(tx: Transaction, task: Task) -> ModelVersion:
    """The active version of a task.

    Raises:
        NotFound: none was activated yet.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM model_version WHERE task = %s AND state = 'active'", [task]
        )
        return ModelVersion(
            *_one(
                cursor.fetchone(),
                "active model for task",
                task,
                remedy="Register the default models first: `facecore models`.",
            )
        )


def get(tx: Transaction, model_version_id: int) -> ModelVersion:
    """One version by id. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM model_version WHERE id = %s", [model_version_id])
        return ModelVersion(*_one(cursor.fetchone(), "model version", str(model_version_id)))


def find(tx: Transaction, name: str, version: int) -> ModelVersion | None:
    """One version by its registry name and number, or None."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM model_version WHERE name = %s AND version = %s",
            [name, version],
        )
        row = cursor.fetchone()
    return None if row is None else ModelVersion(*row)


def every(tx: Transaction) -> list[ModelVersion]:
    """All versions the catalogue knows, by name and number."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM model_version ORDER BY name, version")
        return [ModelVersion(*row) for row in cursor]


def _one(row: tuple[Any, ...] | None, kind: str, name: str, *, remedy: str = "") -> tuple[Any, ...]:
    if row is None:
        raise NotFound(kind, name, remedy=remedy)
    return row
