"""A run's folder: what makes it resumable, in files that are always whole.

    run.json                      plan, dataset, MLflow run, newest checkpoint with its SHA-256
    checkpoint-<epoch>.safetensors   weights, optimiser and progress after that epoch
    best-<epoch>.safetensors      the weights to register

`run.json` is replaced in one step after the files it names were written, and files it does not
name are removed after that. A kill at any moment leaves a folder that can be continued.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from facecore.errors import ConfigError, NotFound, TrainingDiverged, WeightsError
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.stores.registry import sha256_of
from facecore.zoo.weights import write_atomically

if TYPE_CHECKING:
    from facecore.lifecycle.training.teacher import Teacher

_RECORD = "run.json"
_DIVERGED = "diverged.json"


_DIVERGENCE: Mapping[str, Callable[[str], Any]] = {
    "goal": str,
    "value": float,
    "epoch": int,
    "step": int,
    "learning_rate": float,
}


class SavedFile(BaseModel):
    """A file of the folder and the SHA-256 (hex) of its content."""

    name: str
    sha256: str


class RunRecord(BaseModel):
    """What is known of a run between two starts.

    Attributes:
        dataset: reference of the snapshot, with its digest.
        teacher: "name/version" of the embedder it learns from, from its first try to its last;
            `teacher_contract` is what that one's vectors depend on.
        began: the day of its first try, ISO.
        run_id: of the run in MLflow, once there is one.
        epochs_done: whole epochs in `checkpoint`.
        best: weights with the best `metric` so far.
        curves: metric → [[step, value], …].
        identities: names of the classes of the network's own classifier, in its order.
        finished: the run came to its end, and its tracker knows; `best` is the result.
    """

    plan: TrainingPlan
    dataset: str
    teacher: str = ""
    teacher_contract: str = ""
    began: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    run_id: str | None = None
    epochs_done: int = 0
    checkpoint: SavedFile | None = None
    best: SavedFile | None = None
    best_epoch: int | None = None
    metric: str = ""
    metric_value: float | None = None
    higher_is_better: bool = True
    metrics: dict[str, float] = Field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    identities: list[str] = Field(default_factory=list)
    finished: bool = False


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> RunRecord | None:
        """The record; None when the run was never started.

        Raises:
            WeightsError: the record is damaged.
        """
        try:
            text = (self.path / _RECORD).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return RunRecord.model_validate_json(text)
        except ValidationError as error:
            raise WeightsError(
                f"{self.path / _RECORD} is damaged: {error.errors()[0]['msg']}.",
                remedy=f"Delete {self.path} and start again.",
            ) from None

    def open(self, plan: TrainingPlan, dataset: str, teacher: Teacher | None = None) -> RunRecord:
        """The record of this plan on this data; a new one when the folder is empty.

        Raises:
            ConfigError: the folder holds another plan's, data set's or teacher's run.
        """
        record = self.read()
        name, contract = ("", "") if teacher is None else (teacher.name, teacher.contract)
        if record is None:
            record = RunRecord(plan=plan, dataset=dataset, teacher=name, teacher_contract=contract)
            self.write(record)
        elif record.plan != plan or record.dataset != dataset:
            raise ConfigError(
                f"{self.path} holds a run of another plan or data set.",
                remedy="Resume it with its own plan, or start a run of another name.",
            )
        elif name and (name, contract) != (record.teacher, record.teacher_contract):
            raise ConfigError(
                f"{self.path} holds a run that learns from {record.teacher or 'an unknown model'} "
                f"({record.teacher_contract[:12]}), not from {name} ({contract[:12]}).",
                remedy="Resume it with its own teacher, or start a run of another name.",
            )
        return record

    def write(self, record: RunRecord) -> None:
        """Replace the record, then remove the files that it no longer names."""
        write_atomically(self.path / _RECORD, record.model_dump_json(indent=1).encode())
        named = {file.name for file in (record.checkpoint, record.best) if file is not None}
        for path in self.path.glob("*.safetensors"):
            if path.name not in named:
                path.unlink()

    def note_divergence(self, error: TrainingDiverged) -> None:
        """Leave word where a process of one device gave up; `divergence` reads it in the process
        that waits for all of them.
        """
        said = {name: str(getattr(error, name)) for name in _DIVERGENCE}
        write_atomically(self.path / _DIVERGED, json.dumps(said).encode())

    def divergence(self) -> TrainingDiverged | None:
        """The word that was left, once."""
        try:
            said = json.loads((self.path / _DIVERGED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        (self.path / _DIVERGED).unlink()
        return TrainingDiverged(**{name: kind(said[name]) for name, kind in _DIVERGENCE.items()})

    def saved(self, name: str) -> SavedFile:
        """A file that was just written, with its digest."""
        return SavedFile(name=name, sha256=sha256_of(self.path / name))

    def verified(self, file: SavedFile) -> Path:
        """The path of a file whose content is what was written.

        Raises:
            WeightsError: it is missing or was altered.
        """
        path = self.path / file.name
        actual = sha256_of(path) if path.is_file() else None
        if actual != file.sha256:
            found = "is missing" if actual is None else f"was altered: its SHA-256 is {actual}"
            raise WeightsError(
                f"{path} {found}; {file.sha256} was written.",
                remedy=f"It is not used. Delete {self.path} and start again.",
            )
        return path


def known_runs(folder: Path) -> list[str]:
    """Names of the runs below `folder`, newest first."""
    records = sorted(folder.glob(f"*/{_RECORD}"), key=lambda p: p.stat().st_mtime, reverse=True)
    return [record.parent.name for record in records]


def find_run(folder: Path, name: str) -> tuple[RunFolder, RunRecord]:
    """The run of this name below `folder`, or the one with this MLflow run id.

    Raises:
        NotFound: there is none; the message lists the newest ones.
    """
    known = known_runs(folder)
    for candidate in [name] if name in known else known:
        found = RunFolder(folder / candidate)
        record = found.read()
        if record is not None and name in (candidate, record.run_id):
            return found, record
    listed = ", ".join(known[:10]) or "none"
    raise NotFound("training run", name, remedy=f"Runs below {folder}, newest first: {listed}.")
