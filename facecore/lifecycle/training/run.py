"""One training run, from a plan to the best weights: start it, or go on with it after a kill."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException

from facecore.lifecycle.training.checkpoint import SafetensorsCheckpoint
from facecore.lifecycle.training.environment import environment
from facecore.lifecycle.training.keeping import CurveLogger, RunKeeper
from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.preparation import Prepared, prepare
from facecore.lifecycle.training.requirements import check_plan
from facecore.lifecycle.training.run_folder import RunFolder, RunRecord
from facecore.lifecycle.training.teacher import Teacher
from facecore.lifecycle.training.tracking import NoTracker, Tracker
from facecore.zoo import registry
from facecore.zoo.device import resolve_device, use_threads

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The result of a run.

    Attributes:
        path, sha256: the weights with the best validation metric, safetensors.
        options: of the network; the file states them too.
        metric, metric_value, higher_is_better: which metric picked the epoch, and its value.
        metrics: all validation metrics of that epoch, and of the calibration if there was one.
        curves: metric → ((step, value), …).
        identities: names of the classes of the network's own classifier, in its order.
        began: the day of the run's first try, ISO.
        run_id: of the run in MLflow, if it was tracked.
    """

    path: Path
    sha256: str
    plan: TrainingPlan
    dataset: str
    options: dict[str, Any]
    metric: str
    metric_value: float
    higher_is_better: bool
    best_epoch: int
    metrics: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]
    began: str
    run_id: str | None
    identities: tuple[str, ...] = ()


def train(
    plan: TrainingPlan,
    snapshot: Snapshot,
    *,
    workdir: Path,
    teacher: Teacher | None = None,
    tracker: Tracker | None = None,
    tags: Mapping[str, str] | None = None,
    progress: bool = True,
) -> TrainedModel:
    """Train, or go on training: a folder that holds this run is continued after its last epoch,
    with the optimiser's state, and a finished one answers at once.

    Args:
        workdir: the run's folder; its name names the run.
        teacher: the embedder to learn from, for goals that do; the same in each try.
        tracker: where the run is recorded besides its folder.
        tags: recorded with the run, such as the code's version.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        NotFound, UsageError: the plan is not possible with this model, data or device.
        SnapshotDamaged: an object of the snapshot is missing or altered.
        TrainingDiverged: a loss became NaN or infinite.
        WeightsError: the folder's checkpoint is damaged or was altered.
    """
    check_plan(plan)
    device = resolve_device(plan.device)
    folder, tracker = RunFolder(workdir), tracker or NoTracker()
    record = folder.open(plan, snapshot.reference, teacher)
    if record.finished:
        return _result(folder, record)
    use_threads(plan.threads)
    checkpoint = None if record.checkpoint is None else folder.verified(record.checkpoint)
    if checkpoint is None:
        record.curves.clear()
    with tempfile.TemporaryDirectory(prefix="facecore-training-") as scratch, _quiet():
        seed_everything(plan.seed, verbose=False)
        prepared = prepare(plan, snapshot, scratch=Path(scratch), teacher=teacher)
        record.metric, record.options = prepared.module.metric, prepared.options
        record.identities = list(prepared.identities)
        record.higher_is_better = prepared.module.higher_is_better
        record.run_id = tracker.start(
            record.run_id,
            workdir.name,
            {**plan.model_dump(), "goals": plan.goal, "learning_rate": plan.rate},
            {
                **environment(device),
                "dataset": snapshot.reference,
                "teacher": teacher.name if teacher is not None else "",
                **(tags or {}),
            },
        )
        folder.write(record)
        with _recorded(tracker):
            record = _fit(plan, prepared, folder, record, tracker, checkpoint, device, progress)
            _finish(prepared.module, folder, record, tracker)
    # Only now: what the tracker could not take, a later try has to bring to it.
    record.finished = True
    folder.write(record)
    return _result(folder, record)


def _fit(
    plan: TrainingPlan,
    prepared: Prepared,
    folder: RunFolder,
    record: RunRecord,
    tracker: Tracker,
    checkpoint: Path | None,
    device: torch.device,
    progress: bool,
) -> RunRecord:
    """Train; returns the record as it is then."""
    callbacks: list[Callback] = [RunKeeper(folder, record, tracker, prepared.options)]
    shown = progress and sys.stderr.isatty()
    if shown:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=plan.devices,
        strategy=_strategy(plan),
        precision=_precision(plan.precision, device),
        max_epochs=plan.epochs,
        gradient_clip_val=plan.gradient_clip or None,
        callbacks=callbacks,
        logger=CurveLogger(record, tracker),
        plugins=[SafetensorsCheckpoint()],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the samplers share out batches themselves
        enable_progress_bar=shown,
        enable_model_summary=False,
        default_root_dir=folder.path,
    )
    if plan.devices > 1:
        folder.divergence()  # of an earlier try
        prepared.module.on_divergence = folder.note_divergence
    try:
        trainer.fit(prepared.module, prepared.batches, ckpt_path=checkpoint, weights_only=True)
    except ProcessRaisedException:  # of one device's process
        diverged = folder.divergence()
        if diverged is None:
            raise
        raise diverged from None
    if plan.devices == 1:
        return record
    written = folder.read()  # by the process of the first device
    assert written is not None  # noqa: S101 (it was there before)
    return written


def _finish(module: TrainingModule, folder: RunFolder, record: RunRecord, tracker: Tracker) -> None:
    """The best weights, calibrated where the model is, as the run's result; its curves whole."""
    assert record.best is not None and record.best_epoch is not None  # noqa: S101, PT018
    best = folder.verified(record.best)
    network = registry.load(record.plan.model, best, record.best.sha256)
    module.network.to("cpu").load_state_dict(network.state_dict())
    measured = module.finished()
    if measured:
        name = f"best-{record.best_epoch:04d}-calibrated.safetensors"
        registry.save(record.plan.model, module.network, folder.path / name, **record.options)
        record.best = folder.saved(name)
        record.metrics.update(measured)
    for name, value in {**record.metrics, "best_epoch": float(record.best_epoch)}.items():
        tracker.metric(f"best/{name.removeprefix('val/')}", value, record.epochs_done)
    tracker.complete(record.curves)


def _result(folder: RunFolder, record: RunRecord) -> TrainedModel:
    assert record.best is not None and record.best_epoch is not None  # noqa: S101, PT018
    assert record.metric_value is not None  # noqa: S101 (a finished run has one)
    return TrainedModel(
        path=folder.verified(record.best),
        sha256=record.best.sha256,
        plan=record.plan,
        dataset=record.dataset,
        options=record.options,
        metric=record.metric,
        metric_value=record.metric_value,
        higher_is_better=record.higher_is_better,
        best_epoch=record.best_epoch,
        metrics=record.metrics,
        curves=record.curves,
        began=record.began,
        run_id=record.run_id,
        identities=tuple(record.identities),
    )


def _strategy(plan: TrainingPlan) -> Any:
    """Lightning's word for it, or its object.

    The processes are spawned, not started with the same command line as this one: that may be a
    task of Airflow, or a command that does more than train.
    """
    if plan.devices == 1:
        return "auto"
    # A network's own classifier takes no part in some goals.
    return DDPStrategy(start_method="spawn", find_unused_parameters=True)


def _precision(name: str, device: torch.device) -> Any:
    """Lightning's word for it. On a CPU, automatic mixed precision is slower than fp32."""
    if name == "auto":
        if device.type == "cpu":
            return "32-true"
        name = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[name]


@contextmanager
def _recorded(tracker: Tracker) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | SystemExit)
        try:
            tracker.finish("KILLED" if killed else "FAILED")
        except Exception as second:  # the store that failed may be the one this is written to
            error.add_note(f"the end of the run could not be recorded: {second}")
        raise
    tracker.finish("FINISHED")


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advertisements and hints are not for the users of this platform."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
