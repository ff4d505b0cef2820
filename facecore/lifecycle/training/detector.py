"""Training a detector by its own losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.detection import MeanAveragePrecision

from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan

AVERAGE_PRECISION = "val/ap50"


class DetectorTraining(TrainingModule):
    """Scenes → the detector's losses; AP@0.5 of the validation scenes picks the best epoch."""

    metric = AVERAGE_PRECISION
    higher_is_better = True

    def __init__(self, plan: TrainingPlan, network: nn.Module) -> None:
        super().__init__(plan, network)
        self._precision = MeanAveragePrecision(iou_thresholds=[0.5])

    def losses(self, batch: Any) -> dict[str, Tensor]:
        images, targets = batch
        losses: dict[str, Tensor] = self.network.losses(images, targets)  # type: ignore[operator]
        return losses

    def validation_step(self, batch: Any, index: int) -> None:
        images, targets = batch
        found = self.network.find(images)  # type: ignore[operator]
        predictions = [
            {
                "boxes": one["boxes"].float().cpu(),
                "scores": one["scores"].float().cpu(),
                "labels": torch.zeros(len(one["boxes"]), dtype=torch.long),
            }
            for one in found
        ]
        truths = [
            {
                "boxes": target["boxes"].cpu(),
                "labels": torch.zeros(len(target["boxes"]), dtype=torch.long),
            }
            for target in targets
        ]
        self._precision.update(predictions, truths)

    def on_validation_epoch_end(self) -> None:
        value = self._precision.compute()["map_50"]
        self._precision.reset()
        self.log(AVERAGE_PRECISION, value.clamp(min=0.0).float(), prog_bar=True)
