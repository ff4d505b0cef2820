"""Crops → how unusual they are and what is left of them in their codes, by an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from facecore.types import CROP_SIZE, Floats
from facecore.zoo.autoencoder import FaceAutoencoder

_CROPS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class JudgedCrops:
    """What an autoencoder says of crops, `[n]` each.

    Attributes:
        errors: root mean square of the residual, grey levels.
        distances: from ordinary crops.
        ranks: share of ordinary crops that are nearer, 0..1.
        codes: float32 `[n, code]`.
    """

    errors: Floats
    distances: Floats
    ranks: Floats
    codes: Floats


def judge(network: FaceAutoencoder, crops: npt.NDArray[np.uint8]) -> JudgedCrops:
    """Judge crops uint8 `[n, 112, 112, 3]`, 256 at a time.

    Raises:
        WeightsError: the network was never calibrated.
    """
    nothing = np.zeros(0, np.float32)
    parts = [(nothing, nothing, nothing, np.zeros((0, network.code), np.float32))]
    with torch.inference_mode():
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            pixels = np.ascontiguousarray(crops[start : start + _CROPS_AT_ONCE])
            features, error = network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            distance = network.distance(features)
            codes = features[:, : network.code].numpy()
            rank = network.rank(distance).numpy()
            parts.append((error.numpy(), distance.numpy(), rank, codes))
    return JudgedCrops(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def reconstructions(
    network: FaceAutoencoder, crops: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """What is left of crops in their codes, uint8 `[n, 112, 112, 3]`."""
    drawn = [np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)]
    with torch.inference_mode():
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            pixels = np.ascontiguousarray(crops[start : start + _CROPS_AT_ONCE])
            made = network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            drawn.append(made.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(drawn)
