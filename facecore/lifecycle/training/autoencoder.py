"""Training the autoencoder: draw crops again, then learn what is ordinary."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.lifecycle.training.faces import FaceSplit
from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.types import Floats
from facecore.zoo.autoencoder import FaceAutoencoder

_CROPS_AT_ONCE = 256
# What ordinary crops are like needs no more of them than this; they are drawn by lot.
_REFERENCE = 20_000
_GREY_LEVELS = 128.0


class AutoencoderTraining(TrainingModule):
    """Views of crops → squared error of their reconstructions; that of validation picks the epoch.

    `finished` fits mean and covariance of the best network's features on the training crops
    (shrunk after Ledoit & Wolf) and keeps the distances of the validation crops, to which
    nothing was fitted.
    """

    metric = "val/error"
    higher_is_better = False

    def __init__(
        self, plan: TrainingPlan, network: nn.Module, train: FaceSplit, validation: FaceSplit
    ) -> None:
        super().__init__(plan, network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self._train, self._validation = train, validation
        self._errors: list[Tensor] = []

    def losses(self, batch: Any) -> dict[str, Tensor]:
        crops, _ = batch
        return {"reconstruct": F.mse_loss(self.network(crops), crops.float()) / _GREY_LEVELS**2}

    def validation_step(self, batch: Any, index: int) -> None:
        crops, _ = batch
        squared = (self.network(crops) - crops.float()).square().flatten(1).mean(dim=1)
        self._errors.append(squared.cpu())

    def on_validation_epoch_end(self) -> None:
        # Grey levels of 0..255: the root of the mean squared error over all pixels.
        self.log(self.metric, torch.cat(self._errors).mean().sqrt(), prog_bar=True)
        self._errors.clear()

    def finished(self) -> dict[str, float]:
        from sklearn.covariance import LedoitWolf

        network = self.network.cpu().eval()
        assert isinstance(network, FaceAutoencoder)  # noqa: S101 (the only one of its task)
        seen = _features(network, self._train, _REFERENCE, self.plan.seed)
        fitted = LedoitWolf().fit(seen)
        # W with WᵀW the precision; eigenvectors make it the same on every machine up to sign.
        values, vectors = np.linalg.eigh(fitted.precision_)
        whitening = (vectors * np.sqrt(np.clip(values, 0, None))).T
        network.set_reference(
            torch.from_numpy(seen),
            torch.from_numpy(fitted.location_).float(),
            torch.from_numpy(whitening).float(),
        )
        kept = torch.from_numpy(_features(network, self._validation, _REFERENCE, self.plan.seed))
        distances = network.distance(kept)
        network.calibrate(distances)
        return {
            "calibration/crops": float(len(distances)),
            "calibration/median": float(distances.median()),
            "calibration/shrinkage": float(fitted.shrinkage_),
        }


@torch.inference_mode()
def _features(network: FaceAutoencoder, split: FaceSplit, most: int, seed: int) -> Floats:
    """Features of at most so many crops of a split, drawn by lot, float32 `[n, features]`."""
    rows = np.arange(len(split))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    found = []
    for start in range(0, len(rows), _CROPS_AT_ONCE):
        crops = np.ascontiguousarray(split.crops[rows[start : start + _CROPS_AT_ONCE]])
        found.append(network.features(torch.from_numpy(crops).permute(0, 3, 1, 2))[0])
    features: Floats = torch.cat(found).numpy()
    return features
