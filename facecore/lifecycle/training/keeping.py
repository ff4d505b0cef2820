"""Lightning callback and logger that keep a run: checkpoint, best weights, curves, tracker."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.run_folder import RunFolder, RunRecord
from facecore.lifecycle.training.tracking import Tracker
from facecore.zoo import registry

log = logging.getLogger(__name__)


class CurveLogger(Logger):
    """What the modules log, into the run's record and to its tracker."""

    def __init__(self, record: RunRecord, tracker: Tracker) -> None:
        super().__init__()
        self._record, self._tracker = record, tracker

    @property
    def name(self) -> str:
        """Lightning names folders after it; no folder is made."""
        return "curves"

    @property
    def version(self) -> str:
        """See `name`."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The plan is recorded when the run starts."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Points of curves at a step."""
        for name, value in metrics.items():
            if name == "epoch":
                continue
            self._record.curves.setdefault(name, []).append((int(step or 0), float(value)))
            self._tracker.metric(name, float(value), int(step or 0))


class RunKeeper(Checkpoint):
    """After each epoch: the best weights if they are better, the whole state, then the record.

    A `Checkpoint` callback runs last, when everything of the epoch is known.
    """

    def __init__(
        self, folder: RunFolder, record: RunRecord, tracker: Tracker, options: dict[str, Any]
    ) -> None:
        self._folder, self._record, self._tracker = folder, record, tracker
        self._options = options

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what a later start needs."""
        assert isinstance(pl_module, TrainingModule)  # noqa: S101 (it is made for those)
        epoch = trainer.current_epoch
        checkpoint = f"checkpoint-{epoch:04d}.safetensors"
        trainer.save_checkpoint(self._folder.path / checkpoint)  # on all devices
        if not trainer.is_global_zero:
            return
        record = self._record
        value = float(trainer.callback_metrics[pl_module.metric])
        if not math.isfinite(value):
            raise pl_module.diverged(pl_module.metric, value)
        if self._is_better(value, pl_module.higher_is_better):
            name = f"best-{epoch:04d}.safetensors"
            self._save_weights(pl_module, self._folder.path / name)
            record.best, record.best_epoch = self._folder.saved(name), epoch
            record.metric_value = value
            record.metrics = {
                name: float(metric)
                for name, metric in trainer.callback_metrics.items()
                if name.startswith("val/")
            }
        record.checkpoint = self._folder.saved(checkpoint)
        record.epochs_done = epoch + 1
        self._folder.write(record)
        self._tracker.flush()
        log.info("epoch %d: %s %.4f", epoch, pl_module.metric, value)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Averages over the last epoch are known only now."""
        if trainer.is_global_zero:
            self._folder.write(self._record)
            self._tracker.flush()

    def _is_better(self, value: float, higher: bool) -> bool:
        # Of equals the later one: small validation splits soon reach the best possible value.
        best = self._record.metric_value
        return best is None or (value >= best if higher else value <= best)

    def _save_weights(self, module: TrainingModule, path: Path) -> None:
        registry.save(self._record.plan.model, module.network, path, **self._options)
