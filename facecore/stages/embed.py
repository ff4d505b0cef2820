"""Aligned crops → embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facecore.stages.halving import run_halving
from facecore.types import Contract, Embeddings, FaceCrops

# On a CPU, more crops than this at once only push activations out of the cache.
_CPU_CROPS_AT_ONCE = 8


class FaceEmbedder:
    """Turns crops into unit-length vectors that compare by cosine similarity.

    Args:
        model: network `[n, 3, 112, 112]` RGB 0..255 → `[n, contract.dimension]`; it is moved to
            `device` and `dtype`.
        contract: what the vectors depend on; it travels with them.
        device, dtype: where and in which precision it computes.
        batch_crops: crops per call of the network.
    """

    def __init__(
        self,
        model: nn.Module,
        contract: Contract,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        batch_crops: int = 64,
    ) -> None:
        self.contract = contract
        self._device = device or torch.device("cpu")
        self._model = model.to(self._device, dtype).eval()
        for parameter in self._model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._batch_crops = batch_crops
        if self._device.type == "cpu":
            self._batch_crops = min(batch_crops, _CPU_CROPS_AT_ONCE)

    @property
    def precision(self) -> str:
        """What it computes in: float32, bfloat16 or float16."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    @torch.inference_mode()
    def embed(self, crops: FaceCrops) -> Embeddings:
        """One vector per crop, in order."""
        batches = run_halving(crops.pixels, self._batch_crops, self._run)
        if not batches:
            return Embeddings(np.zeros((0, self.contract.dimension), np.float32), self.contract)
        return Embeddings(torch.cat(batches).numpy(), self.contract)

    def _run(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device, non_blocking=True)
        vectors: Tensor = self._model(batch.permute(0, 3, 1, 2))
        return vectors.float().cpu()
