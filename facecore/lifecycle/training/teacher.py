"""The model that another one learns from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecore.stages.workers import Workers
from facecore.types import CROP_SIZE
from facecore.zoo.backend import Backend, make_backend
from facecore.zoo.device import resolve_precision
from facecore.zoo.registry import network_dimension

# On a CPU, the activations of more crops at once fall out of the cache.
_CPU_CROPS_AT_ONCE = 8


class Teacher:
    """A frozen embedder, made ready for the device of the crops it is given.

    Args:
        network: embedder of the zoo.
        name: what the record of a run calls it, such as "face-embedder/3".
        precision: of the run, see `TrainingPlan`: auto is float32 on a CPU, so that the same plan
            gives the same model, whichever is quicker at the time.
    """

    def __init__(self, network: nn.Module, name: str, *, precision: str = "auto") -> None:
        self.name = name
        self.dimension = network_dimension(network)
        self._network, self._precision = network, precision
        self._backend: Backend | None = None
        self._workers = Workers()

    def __call__(self, crops: Tensor) -> Tensor:
        """uint8 `[n, 3, 112, 112]` → float32 `[n, dimension]`, unit length, no gradient."""
        device = crops.device
        if self._backend is None or self._workers.device != device:
            exact = self._precision == "auto" and device.type == "cpu"
            dtype = resolve_precision("fp32" if exact else self._precision, device)
            example = (_CPU_CROPS_AT_ONCE, CROP_SIZE, CROP_SIZE, 3)
            threads = torch.get_num_threads()
            self._workers = Workers(device, threads)
            self._backend = make_backend(self._network, device, dtype, example, threads=threads)
        step = _CPU_CROPS_AT_ONCE if device.type == "cpu" else len(crops)
        pictures = crops.permute(0, 2, 3, 1).contiguous()
        return torch.cat(self._workers.run(pictures, step, self._embed))

    def _embed(self, pictures: Tensor) -> Tensor:
        assert self._backend is not None  # noqa: S101 (the only caller made it)
        # Threads of a pool have a state of their own for each of these.
        with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):
            return self._backend(pictures)
