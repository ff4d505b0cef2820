"""Aligned crops → embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facecore.stages.workers import Workers, run_halving
from facecore.types import CROP_SIZE, Contract, Embeddings, FaceCrops
from facecore.zoo.backend import make_backend
from facecore.zoo.graph_store import GraphStore

# On a CPU, more crops than this at once gain nothing: their activations fall out of the cache.
_CPU_CROPS_AT_ONCE = 8


class FaceEmbedder:
    """Turns crops into unit-length vectors that compare by cosine similarity.

    Args:
        model: network `[n, 3, 112, 112]` RGB 0..255 → `[n, contract.dimension]`; it is copied to
            the device and `dtype`.
        contract: what the vectors depend on; it travels with them.
        workers: where and with how many threads it computes.
        dtype: in which precision.
        batch_crops: crops per call of the network.
        backend, kept: what computes; see `zoo.backend.make_backend`.
    """

    def __init__(
        self,
        model: nn.Module,
        contract: Contract,
        *,
        workers: Workers | None = None,
        dtype: torch.dtype = torch.float32,
        batch_crops: int = 64,
        backend: str = "auto",
        kept: GraphStore | None = None,
    ) -> None:
        self.contract = contract
        self._workers = workers or Workers()
        device = self._workers.device
        self._batch_crops = batch_crops
        if device.type == "cpu":
            self._batch_crops = min(batch_crops, _CPU_CROPS_AT_ONCE)
        example = (self._batch_crops, CROP_SIZE, CROP_SIZE, 3)
        self.backend = make_backend(
            model,
            device,
            dtype,
            example,
            wanted=backend,
            kept=kept,
        )

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.backend.dtype

    @property
    def precision(self) -> str:
        """What it computes in: float32, bfloat16 or float16."""
        return str(self.dtype).removeprefix("torch.")

    def embed(self, crops: FaceCrops) -> Embeddings:
        """One vector per crop, in order."""
        batches = self._workers.run(crops.pixels, self._batch_crops, self._run)
        if not batches:
            return Embeddings(np.zeros((0, self.contract.dimension), np.float32), self.contract)
        return Embeddings(torch.cat(batches).numpy(), self.contract)

    def embed_on_device(self, crops: Tensor) -> Tensor:
        """uint8 `[n, 112, 112, 3]` → float32 `[n, dimension]`, both on the network's device."""
        if not len(crops):
            return torch.zeros(0, self.contract.dimension, device=crops.device)
        size = self._batch_crops if crops.device.type == "cpu" else 8 * self._batch_crops
        return torch.cat(run_halving(crops, size, self.backend))

    def _run(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        return self.backend(torch.from_numpy(np.ascontiguousarray(pixels))).cpu()
