"""What all training loops share: optimiser, schedule, logging, and stopping when it diverges."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from facecore.errors import TrainingDiverged
from facecore.lifecycle.training.optimizers import make_optimizer
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.sampling import seed_of
from facecore.lifecycle.training.schedulers import Schedule


class TrainingModule(LightningModule):
    """One network, trained towards the plan's goals.

    Subclasses say how a batch becomes losses and what is measured after each epoch.

    Attributes:
        network: what is saved in the end.
        metric: name of the validation metric that picks the best epoch.
        higher_is_better: its direction.
    """

    metric: str
    higher_is_better: bool

    def __init__(self, plan: TrainingPlan, network: nn.Module) -> None:
        super().__init__()
        self.plan = plan
        self.network = network.train()  # the zoo gives networks for inference
        self.schedule: Schedule | None = None
        # Told of what stops the run: with several devices, the error itself ends only the
        # process of one of them.
        self.on_divergence: Callable[[TrainingDiverged], None] | None = None

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Scalar losses by name; those named like a goal get the goal's weight."""

    @property
    def batch_length(self) -> int:
        """Pictures in a batch, for averages over an epoch."""
        return self.plan.batch_size

    def finished(self) -> dict[str, float]:
        """Called once on the best weights, after training; what it returns is recorded."""
        return {}

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.plan, [self])
        total = int(self.trainer.estimated_stepping_batches)
        self.schedule = Schedule(
            self.plan,
            total_steps=total,
            steps_per_epoch=max(1, total // self.plan.epochs),
            higher_is_better=self.higher_is_better,
        )
        scheduler = LambdaLR(optimizer, self.schedule)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        # Dropout and sampling inside networks draw from here; seeded by epoch, a resumed run
        # draws what the uninterrupted one would have drawn.
        torch.manual_seed(seed_of(self.plan.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: Any, index: int) -> Tensor:
        losses = self.losses(batch)
        for name, value in losses.items():
            if not torch.isfinite(value):
                raise self.diverged(name, float(value.detach()))
        goals: dict[str, float] = {str(name): weight for name, weight in self.plan.goals.items()}
        total = torch.stack([value * goals.get(n, 1.0) for n, value in losses.items()]).sum()
        self.log("learning_rate", self._rate(), batch_size=self.batch_length)
        self._log_loss("train/loss", total, prog_bar=True)
        if len(losses) > 1:
            for name, value in losses.items():
                self._log_loss(f"train/{name}", value)
        return total

    def on_train_epoch_end(self) -> None:
        if self.schedule is not None:
            value = float(self.trainer.callback_metrics[self.metric])
            # One device decides for all: statistics of batch normalisation differ between them.
            self.schedule.observe(float(self.trainer.strategy.broadcast(value)))

    def diverged(self, goal: str, value: float) -> TrainingDiverged:
        """The error that says where a loss or metric was not finite."""
        error = TrainingDiverged(
            goal=goal,
            value=value,
            epoch=self.current_epoch,
            step=self.global_step,
            learning_rate=self._rate(),
        )
        if self.on_divergence is not None:
            self.on_divergence(error)
        return error

    def _rate(self) -> float:
        return float(self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"])  # type: ignore[union-attr]

    def _log_loss(self, name: str, value: Tensor, **more: Any) -> None:
        self.log(name, value, on_step=True, on_epoch=True, batch_size=self.batch_length, **more)
