"""The model that another one learns from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        self._placed: tuple[torch.device, nn.Module] | None = None

    @torch.no_grad()
    def __call__(self, crops: Tensor) -> Tensor:
        """uint8 `[n, 3, 112, 112]` → float32 `[n, dimension]`, unit length, no gradient."""
        device = crops.device
        if self._placed is None or self._placed[0] != device:
            dtype = resolve_precision(self._precision, device)
            example = (_CPU_CROPS_AT_ONCE, 3, CROP_SIZE, CROP_SIZE)
            self._placed = (device, place(self._network, device, dtype, example))
        network = self._placed[1]
        step = _CPU_CROPS_AT_ONCE if device.type == "cpu" else max(1, len(crops))
        with torch.autocast(device.type, enabled=False):
            return torch.cat([network(part).float() for part in torch.split(crops, step)])
