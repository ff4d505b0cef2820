"""The model that another one learns from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecore.stages.workers import Workers
from facecore.types import CROP_SIZE
from facecore.zoo.device import resolve_precision
from facecore.zoo.placement import place
from facecore.zoo.registry import network_dimension

# On a CPU, the activations of more crops at once fall out of the cache.
_CPU_CROPS_AT_ONCE = 4


class Teacher:
    """A frozen embedder, laid out for speed on the device of the crops it is given.

    Args:
        network: embedder of the zoo.
        name: what the record of a run calls it, such as "face-embedder/3".
        precision: see `zoo.device.resolve_precision`.
    """

    def __init__(self, network: nn.Module, name: str, *, precision: str = "auto") -> None:
        self.name = name
        self.dimension = network_dimension(network)
        self._network, self._precision = network, precision
        self._placed: nn.Module | None = None
        self._workers = Workers()

    def __call__(self, crops: Tensor) -> Tensor:
        """uint8 `[n, 3, 112, 112]` → float32 `[n, dimension]`, unit length, no gradient."""
        device = crops.device
        if self._placed is None or self._workers.device != device:
            dtype = resolve_precision(self._precision, device)
            example = (_CPU_CROPS_AT_ONCE, 3, CROP_SIZE, CROP_SIZE)
            self._placed = place(self._network, device, dtype, example)
            self._workers = Workers(device, torch.get_num_threads())
        step = _CPU_CROPS_AT_ONCE if device.type == "cpu" else len(crops)
        return torch.cat(self._workers.run(crops, step, self._embed))

    def _embed(self, crops: Tensor) -> Tensor:
        assert self._placed is not None  # noqa: S101 (the only caller placed it)
        # Threads of a pool have a state of their own for each of these.
        with torch.no_grad(), torch.autocast(crops.device.type, enabled=False):
            embeddings: Tensor = self._placed(crops)
        return embeddings.float()
