"""Aligned crops → embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facecore.stages.workers import Workers
from facecore.types import CROP_SIZE, Contract, Embeddings, FaceCrops
from facecore.zoo.placement import place

# On a CPU, the activations of more crops than this at once fall out of the cache, and are so
# large that the allocator returns and fetches their pages every time.
_CPU_CROPS_AT_ONCE = 4


class FaceEmbedder:
    """Turns crops into unit-length vectors that compare by cosine similarity.

    Args:
        model: network `[n, 3, 112, 112]` RGB 0..255 → `[n, contract.dimension]`; it is copied to
            the device and `dtype`.
        contract: what the vectors depend on; it travels with them.
        workers: where and with how many threads it computes.
        dtype: in which precision.
        batch_crops: crops per call of the network.
    """

    def __init__(
        self,
        model: nn.Module,
        contract: Contract,
        *,
        workers: Workers | None = None,
        dtype: torch.dtype = torch.float32,
        batch_crops: int = 64,
    ) -> None:
        self.contract = contract
        self._workers = workers or Workers()
        self._device = self._workers.device
        self.dtype = dtype
        example = (_CPU_CROPS_AT_ONCE, 3, CROP_SIZE, CROP_SIZE)
        self._model = place(model, self._device, dtype, example)
        self._batch_crops = batch_crops
        if self._device.type == "cpu":
            self._batch_crops = min(batch_crops, _CPU_CROPS_AT_ONCE)

    @property
    def precision(self) -> str:
        """What it computes in: float32, bfloat16 or float16."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    def embed(self, crops: FaceCrops) -> Embeddings:
        """One vector per crop, in order."""
        batches = self._workers.run(crops.pixels, self._batch_crops, self._run)
        if not batches:
            return Embeddings(np.zeros((0, self.contract.dimension), np.float32), self.contract)
        return Embeddings(torch.cat(batches).numpy(), self.contract)

    @torch.inference_mode()
    def _run(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device, non_blocking=True)
        vectors: Tensor = self._model(batch.permute(0, 3, 1, 2))
        return vectors.float().cpu()
