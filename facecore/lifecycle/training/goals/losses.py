"""A goal by name → its loss: embeddings and labels in, one number out.

Losses and miners are pytorch-metric-learning's; `sface` is not among them, and its contrastive
loss is not the cited one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.lifecycle.training.goals.sface import SFaceLoss
from facecore.lifecycle.training.plan import GoalName, TrainingPlan


@dataclass(frozen=True)
class EmbeddedBatch:
    """What a loss may look at; what no loss asks for is not computed.

    Attributes:
        embed: gives float32 `[n, d]`, unit length.
        labels: int64 `[n]`, 0..identities-1; -1 where unknown.
        logits: the model's own classifier on the same crops, for models that have one.
        targets: the teacher's embeddings of the same crops, float32 `[n, t]`.
    """

    embed: Callable[[], Tensor]
    labels: Tensor
    logits: Callable[[], Tensor] | None = None
    targets: Tensor | None = None

    @cached_property
    def embeddings(self) -> Tensor:
        """What `embed` gives, once."""
        return self.embed()


class Triplet(nn.Module):
    """FaceNet (Schroff et al. 2015): max(0, ‖a−p‖² − ‖a−n‖² + margin) over semi-hard triplets.

    Where a batch has no semi-hard triplet left, it adds nothing to the loss.
    """

    def __init__(self, margin: float = 0.2) -> None:
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import TripletMarginMiner

        super().__init__()
        squared = LpDistance(p=2, power=2, normalize_embeddings=True)
        self.miner = TripletMarginMiner(margin, type_of_triplets="semihard", distance=squared)
        self.loss = TripletMarginLoss(margin, distance=squared)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        triplets = self.miner(batch.embeddings, batch.labels)
        value: Tensor = self.loss(batch.embeddings, batch.labels, triplets)
        return value


class Contrastive(nn.Module):
    """Hadsell et al. 2006, without their ½: ‖a−b‖² of genuine pairs, max(0, margin − ‖a−b‖)² of
    impostors.

    Of each kind the mean over the pairs that are not where they should be: a batch has many more
    impostors, most of them far apart already.
    """

    def __init__(self, margin: float = 1.0) -> None:
        from pytorch_metric_learning.distances import LpDistance

        super().__init__()
        self.margin = margin
        self.distance = LpDistance(p=2, normalize_embeddings=True)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        distance: Tensor = self.distance(batch.embeddings)
        same = batch.labels[:, None] == batch.labels
        itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
        genuine = distance[same & ~itself].square()
        impostors = F.relu(self.margin - distance[~same]).square()
        return _mean_of_nonzero(genuine) + _mean_of_nonzero(impostors)


class Softmax(nn.Module):
    """Cross entropy over identities: by the model's own classifier, else by a linear head.

    The head sees `scale` × the unit embedding; without it a softmax of unit vectors cannot
    become confident.
    """

    def __init__(
        self, dimension: int, identities: int, *, own_classifier: bool = False, scale: float = 16.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = None if own_classifier else nn.Linear(dimension, identities)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        if self.head is not None:
            logits = self.head(self.scale * batch.embeddings)
        else:
            assert batch.logits is not None  # noqa: S101 (the model has a classifier)
            logits = batch.logits()
        return F.cross_entropy(logits.float(), batch.labels)


class ArcFace(nn.Module):
    """Deng et al. 2019: softmax of `scale`·cos, the true identity's angle widened by `margin`.

    Args:
        margin: in radians.
    """

    def __init__(
        self, dimension: int, identities: int, margin: float = 0.5, scale: float = 32.0
    ) -> None:
        from pytorch_metric_learning.losses import ArcFaceLoss

        super().__init__()
        self.loss = ArcFaceLoss(
            identities, dimension, margin=float(torch.rad2deg(torch.tensor(margin))), scale=scale
        )

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        value: Tensor = self.loss(batch.embeddings, batch.labels)
        return value


class SFace(nn.Module):
    """`SFaceLoss` on a batch."""

    def __init__(self, dimension: int, identities: int, scale: float = 64.0) -> None:
        super().__init__()
        self.loss = SFaceLoss(dimension, identities, scale=scale)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        value: Tensor = self.loss(batch.embeddings, batch.labels)
        return value


class Distill(nn.Module):
    """The teacher's embeddings of the same views: how far from them, and which one is whose.

    `distance`, 1 − cosine of model and teacher, says where to go but hardly how to start: for
    long, the mean of all faces is the nearest answer to each of them. So the loss also asks
    which of the batch's faces a vector is: cross-entropy of its likeness to the teacher's
    vectors with the teacher's own likenesses, which also say who of the batch looks like whom.
    (Fang et al., "SEED: Self-supervised Distillation for Visual Representation", ICLR 2021,
    with the batch in the place of their queue.)

    Where the two have different lengths, a linear map learned beside the model leads from one
    to the other.
    """

    TEMPERATURE = 0.07
    WHOSE = 0.25  # weight of the cross-entropy

    def __init__(self, dimension: int, teacher_dimension: int) -> None:
        super().__init__()
        same = dimension == teacher_dimension
        self.project = nn.Identity() if same else nn.Linear(dimension, teacher_dimension)

    def distance(self, batch: EmbeddedBatch) -> Tensor:
        """Mean of 1 − cosine, 0 to 2."""
        assert batch.targets is not None  # noqa: S101 (the plan was checked for a teacher)
        return 1.0 - F.cosine_similarity(self.project(batch.embeddings), batch.targets).mean()

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        assert batch.targets is not None  # noqa: S101 (the plan was checked for a teacher)
        own = F.normalize(self.project(batch.embeddings))
        likeness = own @ batch.targets.T / self.TEMPERATURE
        expected = (batch.targets @ batch.targets.T / self.TEMPERATURE).softmax(1)
        return self.distance(batch) + self.WHOSE * F.cross_entropy(likeness, expected)


def _mean_of_nonzero(values: Tensor) -> Tensor:
    """0 where there are none."""
    return values.sum() / (values > 0).sum().clamp_min(1)


def make_goal(
    name: GoalName,
    plan: TrainingPlan,
    *,
    dimension: int,
    identities: int,
    teacher_dimension: int | None = None,
    own_classifier: bool = False,
) -> nn.Module:
    """The loss of one goal for embedders; forward takes an `EmbeddedBatch`.

    Args:
        dimension: of the model's embeddings.
        identities: of the training split.
        own_classifier: the model itself classifies (`EmbeddedBatch.logits`).
    """
    margin = {} if plan.margin is None else {"margin": plan.margin}
    scale = {} if plan.scale is None else {"scale": plan.scale}
    match name:
        case "triplet":
            return Triplet(**margin)
        case "contrastive":
            return Contrastive(**margin)
        case "softmax":
            return Softmax(dimension, identities, own_classifier=own_classifier, **scale)
        case "arcface":
            return ArcFace(dimension, identities, **margin, **scale)
        case "sface":
            return SFace(dimension, identities, **scale)
        case "distill":
            return Distill(dimension, teacher_dimension or dimension)
        case "match" | "detect" | "reconstruct" | "forecast":
            raise ValueError(f"goal {name} is not an embedder's")
