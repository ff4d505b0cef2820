"""Identification among the people a network was trained on, by its softmax (a closed set).

DeepFace identifies so. It always names somebody of its training; whether a face belongs to any of
them, only a comparison of embeddings under a threshold can tell.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facecore.errors import WeightsError
from facecore.types import CROP_SIZE, FaceCrops, Floats
from facecore.zoo import registry

_CROPS_AT_ONCE = 64


class ClosedSet:
    """Crops → the likeliest people of the training.

    Args:
        network: with a method `classify`, crops → logits `[n, identities]`.
        names: of the identities, in the order of the logits.

    Raises:
        WeightsError: the network tells apart another number of people, or none.
    """

    def __init__(self, network: Any, names: tuple[str, ...]) -> None:
        if not hasattr(network, "classify"):
            raise WeightsError("the network tells nobody apart.")
        self.names = names
        self._network = network
        nobody = FaceCrops(np.full((1, CROP_SIZE, CROP_SIZE, 3), 127, np.uint8))
        known = self.probabilities(nobody).shape[1]
        if known != len(names):
            raise WeightsError(f"the network tells {known} people apart, {len(names)} are named.")

    @classmethod
    def load(cls, model: str, weights: Path, sha256: str, names: Path) -> ClosedSet:
        """Of a registered version's files.

        Raises:
            DigestMismatch, WeightsError: they are not the registered ones, or no classifier.
        """
        document = json.loads(names.read_text(encoding="utf-8"))
        return cls(registry.load(model, weights, sha256), tuple(document["names"]))

    @torch.inference_mode()
    def probabilities(self, crops: FaceCrops) -> Floats:
        """P(identity | crop): float32 `[n, identities]`, each row sums to 1."""
        pixels = torch.from_numpy(np.ascontiguousarray(crops.pixels)).permute(0, 3, 1, 2)
        parts = [
            self._network.classify(part).softmax(1) for part in torch.split(pixels, _CROPS_AT_ONCE)
        ]
        if not parts:
            return np.zeros((0, len(self.names)), np.float32)
        found: Floats = torch.cat(parts).numpy()
        return found

    def identify(self, crops: FaceCrops, *, top: int = 5) -> list[list[tuple[str, float]]]:
        """Per crop, names with probabilities, likeliest first."""
        return [
            [(self.names[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top]]
            for row in self.probabilities(crops)
        ]
