"""Training the matching head on pairs of a frozen embedder's embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from facecore.lifecycle.training.augmentation import Transform
from facecore.lifecycle.training.faces import FaceSplit, FaceViews
from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.sampling import Key, seed_of
from facecore.lifecycle.training.teacher import Teacher
from facecore.zoo.siamese import SiameseMatcher

_CROPS_AT_ONCE = 64

Pair = tuple[Tensor, Tensor, Tensor]


def embed_views(
    split: FaceSplit,
    teacher: Teacher,
    *,
    device: torch.device,
    seed: int,
    transform: Transform,
    views: int,
) -> Tensor:
    """Embeddings of several views of each crop: float32 `[n, views, d]`, on the CPU."""
    looks = FaceViews(split, transform)
    rows: list[Tensor] = []
    for start in range(0, len(split), _CROPS_AT_ONCE):
        stop = min(start + _CROPS_AT_ONCE, len(split))
        keys = [
            (row, seed_of(seed, row, view)) for row in range(start, stop) for view in range(views)
        ]
        pixels = torch.stack([looks[key][0] for key in keys]).to(device)
        rows.append(teacher(pixels).cpu().reshape(stop - start, views, -1))
    return torch.cat(rows)


class EmbeddingPairs(Dataset[Pair]):
    """(row, seed) → a pair with that row's face: one person and two people equally often."""

    def __init__(self, embeddings: Tensor, labels: npt.NDArray[np.int64]) -> None:
        self._embeddings = embeddings
        self._labels = labels
        self._others = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: Key) -> Pair:
        row, seed = key
        rng = np.random.default_rng(seed)
        own = self._others[self._labels[row]]
        same = len(own) > 1 and rng.random() < 0.5
        while True:
            other = int(rng.choice(own) if same else rng.integers(len(self._labels)))
            if other != row and (self._labels[other] == self._labels[row]) == same:
                break
        left, right = (int(v) for v in rng.integers(self._embeddings.shape[1], size=2))
        return (
            self._embeddings[row, left],
            self._embeddings[other, right],
            torch.tensor(float(same)),
        )


class FixedPairs(Dataset[Pair]):
    """The validation pairs, in order."""

    def __init__(
        self,
        embeddings: Tensor,
        pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]],
    ) -> None:
        left, right, same = pairs
        self.left, self.right = embeddings[left, 0], embeddings[right, 0]
        self.same = torch.from_numpy(same).float()

    def __len__(self) -> int:
        return len(self.same)

    def __getitem__(self, row: int) -> Pair:
        return self.left[row], self.right[row], self.same[row]


class MatcherTraining(TrainingModule):
    """Pairs → logits → binary cross entropy; the log-loss of validation pairs picks the epoch.

    `finished` calibrates the best head on the validation pairs, half of them genuine: its
    probability is that of a pair drawn so.
    """

    metric = "val/log_loss"
    higher_is_better = False

    def __init__(self, plan: TrainingPlan, network: nn.Module, validation: FixedPairs) -> None:
        super().__init__(plan, network)
        self._validation = validation
        self._logits: list[Tensor] = []

    def losses(self, batch: Any) -> dict[str, Tensor]:
        left, right, same = batch
        logits = self.network(left, right).float()
        return {"match": F.binary_cross_entropy_with_logits(logits, same)}

    def validation_step(self, batch: Any, index: int) -> None:
        left, right, _ = batch
        self._logits.append(self.network(left, right).float().cpu())

    def on_validation_epoch_end(self) -> None:
        logits, same = torch.cat(self._logits), self._validation.same
        self._logits.clear()
        self.log(self.metric, F.binary_cross_entropy_with_logits(logits, same), prog_bar=True)
        self.log("val/auc", binary_auroc(logits.sigmoid(), same.long()))
        cosine = (self._validation.left * self._validation.right).sum(dim=1)
        self.log("val/cosine_auc", binary_auroc((cosine.clamp(-1, 1) + 1) / 2, same.long()))

    def finished(self) -> dict[str, float]:
        network = self.network.cpu().eval()
        assert isinstance(network, SiameseMatcher)  # noqa: S101 (the only matcher so far)
        left, right = self._validation.left, self._validation.right
        same = self._validation.same
        with torch.no_grad():
            logits = network(left, right)
        network.calibrate(logits, same > 0.5)
        with torch.no_grad():
            probability = network.probability(left, right)
        slope, offset = (float(value) for value in network.calibration)
        return {
            "calibration/slope": slope,
            "calibration/offset": offset,
            "val/calibrated_log_loss": float(F.binary_cross_entropy(probability, same)),
            "val/calibration_error": float(
                binary_calibration_error(probability, same.long(), n_bins=10)
            ),
        }
