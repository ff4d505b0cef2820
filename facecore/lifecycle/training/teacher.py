"""The model that another one learns from."""

from __future__ import annotations

from typing import Any

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
        contract: digest of what its vectors depend on.
        precision: of the run, see `TrainingPlan`: auto is float32 on a CPU, so that the same plan
            gives the same model, whichever is quicker at the time.
    """

    def __init__(
        self, network: nn.Module, name: str, contract: str = "", *, precision: str = "auto"
    ) -> None:
        self.name, self.contract = name, contract
        self.dimension = network_dimension(network)
        self._network, self._precision = network, precision
        self._backend: Backend | None = None
        self._workers = Workers()

    def __getstate__(self) -> dict[str, Any]:
        """For the processes of several devices: each lays it out for its own."""
        return {
            "name": self.name,
            "contract": self.contract,
            "network": self._network,
            "precision": self._precision,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, crops: Tensor) -> Tensor:
        """uint8 `[n, 3, 112, 112]` → float32 `[n, dimension]`, unit length, no gradient."""
        step = _CPU_CROPS_AT_ONCE if crops.device.type == "cpu" else len(crops)
        pictures = crops.permute(0, 2, 3, 1).contiguous()
        # What the run computes in is the student's business.
        with torch.autocast(crops.device.type, enabled=False):
            backend = self._on(crops.device)
            return torch.cat(self._workers.run(pictures, step, backend))

    def _on(self, device: torch.device) -> Backend:
        if self._backend is None or self._workers.device != device:
            exact = self._precision == "auto" and device.type == "cpu"
            dtype = resolve_precision("fp32" if exact else self._precision, device)
            example = (_CPU_CROPS_AT_ONCE, CROP_SIZE, CROP_SIZE, 3)
            self._workers = Workers(device, torch.get_num_threads())
            self._backend = make_backend(self._network, device, dtype, example)
        return self._backend
