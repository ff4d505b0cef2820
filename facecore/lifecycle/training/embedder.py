"""Training an embedder towards one or several goals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from facecore.lifecycle.training.augmentation import Mixing
from facecore.lifecycle.training.faces import FaceSplit
from facecore.lifecycle.training.goals.losses import EmbeddedBatch, make_goal
from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.teacher import Teacher
from facecore.zoo.registry import network_dimension

_VALIDATION_PAIRS = 3000
AUC, DISTANCE = "val/auc", "val/distill"


class EmbedderTraining(TrainingModule):
    """Views of crops → embeddings → the goals' losses.

    After each epoch the verification AUC of the validation split's identities is measured, and
    with a teacher how far the embeddings are from its own. The AUC picks the best epoch; where
    nobody's identity is known, the distance to the teacher does.

    Args:
        train: the training split; its identities are the classes of classification goals.
        validation: what is looked at after each epoch.
        teacher: needed by `distill`.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        network: nn.Module,
        train: FaceSplit,
        validation: FaceSplit,
        teacher: Teacher | None,
    ) -> None:
        super().__init__(plan, network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self._teacher = teacher if "distill" in plan.goals else None
        self._mixing = Mixing(plan.mixed) if plan.mixed else None
        self._classifies = hasattr(network, "classify")
        self.goals = nn.ModuleDict(
            {
                name: make_goal(
                    name,
                    plan,
                    dimension=network_dimension(network),
                    identities=len(train.identities),
                    teacher_dimension=None if teacher is None else teacher.dimension,
                    own_classifier=self._classifies,
                )
                for name in plan.goals
            }
        )
        left, right, same = validation.pairs(limit=_VALIDATION_PAIRS, seed=plan.seed)
        self._pairs = (torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(same))
        judged_by_identity = bool(same.any()) and not same.all()
        self.metric = AUC if judged_by_identity else DISTANCE
        self.higher_is_better = judged_by_identity
        # What the teacher says of the validation crops, which are the same in every epoch.
        self._expected: dict[int, Tensor] = {}
        self._embedded: list[Tensor] = []
        self._distances: list[Tensor] = []

    def losses(self, batch: Any) -> dict[str, Tensor]:
        crops, labels = batch
        if self._mixing is not None:
            crops = self._mixing(crops)
        seen = self._look(crops, labels, None if self._teacher is None else self._teacher(crops))
        # Networks compute in the run's precision, losses in float32.
        with torch.autocast(self.device.type, enabled=False):
            return {name: goal(seen) for name, goal in self.goals.items()}

    def _look(self, crops: Tensor, labels: Tensor, targets: Tensor | None) -> EmbeddedBatch:
        classify = getattr(self.network, "classify", None)
        return EmbeddedBatch(
            embed=lambda: self._in_precision(self.network, crops),
            labels=labels,
            logits=None if classify is None else lambda: self._in_precision(classify, crops),
            targets=targets,
        )

    def _in_precision(self, compute: Callable[[Tensor], Tensor], crops: Tensor) -> Tensor:
        with self.trainer.precision_plugin.forward_context():
            return compute(crops).float()

    def validation_step(self, batch: Any, index: int) -> None:
        crops, labels = batch
        if self._teacher is not None and index not in self._expected:
            self._expected[index] = self._teacher(crops)
        seen = self._look(crops, labels, self._expected.get(index))
        self._embedded.append(seen.embeddings.cpu())
        if seen.targets is not None:
            distance = self.goals["distill"].distance(seen)  # type: ignore[operator]
            self._distances.append(distance.cpu() * len(seen.labels))

    def on_validation_epoch_end(self) -> None:
        vectors = torch.cat(self._embedded)
        if self._distances:
            mean = torch.stack(self._distances).sum() / len(vectors)
            self.log(DISTANCE, mean, prog_bar=self.metric == DISTANCE)
        left, right, same = self._pairs
        if self.metric == AUC:
            scores = (vectors[left] * vectors[right]).sum(dim=1)
            # torchmetrics takes scores outside 0..1 for logits; their order is what counts.
            auc = binary_auroc((scores.clamp(-1, 1) + 1) / 2, same.long())
            self.log(AUC, auc, prog_bar=True)
        self._embedded.clear()
        self._distances.clear()
