"""SFace: face embedder, 112×112 RGB → 128 numbers.

Zhong, Deng, Hu, Zhao, Li, Wen: "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face
Recognition", IEEE TIP 2021. The published network is a MobileNet-v1-like stack (Howard et al.,
arXiv:1704.04861) with PReLU, 1.15 GFLOP and 9.6 million parameters, trained by its authors.
BatchNorm is folded into the convolutions and the final linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import WeightsError
from facecore.zoo.onnx_import import Layer
from facecore.zoo.registry import register_model

DIMENSION = 128
# (output channels, stride) of the depthwise-separable blocks after the 32-channel stem.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1),
    (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
_LAST_SIDE = 7
_EARLY_LAYERS = 8
_EARLY_CROPS_ON_CPU = 2


class _ConvPReLU(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.slope = nn.Parameter(torch.full((outputs,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(self.conv(x), self.slope)


def from_layers(layers: Sequence[Layer]) -> dict[str, npt.NDArray[np.float32]]:
    """State dict of `SFace` from the layers of `face_recognition_sface_2021dec`.

    Raises:
        WeightsError: the layers are not those of this network.
    """
    steps = 1 + 2 * len(_BLOCKS)
    if [layer.op for layer in layers] != ["conv", "prelu"] * steps + ["scale", "linear"]:
        raise WeightsError("these are not the layers of SFace.")
    state: dict[str, npt.NDArray[np.float64]] = {}
    for step in range(steps):
        conv, prelu = layers[2 * step], layers[2 * step + 1]
        state[f"trunk.{step}.conv.weight"] = conv.weight
        state[f"trunk.{step}.conv.bias"] = conv.bias
        state[f"trunk.{step}.slope"] = prelu.weight
    scale, linear = layers[-2:]
    # The last BatchNorm stands before the flatten; as an affine map it moves into the head.
    per_channel = linear.weight.reshape(DIMENSION, -1, _LAST_SIDE, _LAST_SIDE)
    weight = per_channel * scale.weight[None, :, None, None]
    state["head.weight"] = weight.transpose(0, 2, 3, 1).reshape(DIMENSION, -1)
    state["head.bias"] = linear.bias + np.einsum("ochw,c->o", per_channel, scale.bias)
    return {name: np.ascontiguousarray(v, np.float32) for name, v in state.items()}


@register_model(
    "sface",
    task="embed",
    licence="Apache-2.0",
    paper="Zhong et al., IEEE TIP 2021",
    input="RGB 0..255, 112 x 112, aligned to the ArcFace template",
    dimension=DIMENSION,
    convert=from_layers,
)
class SFace(nn.Module):
    """uint8 or float RGB crops 0..255 `[n, 3, 112, 112]` → float32 `[n, 128]` of unit length."""

    dimension = DIMENSION

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_ConvPReLU(3, 32, 3, 1, 1)]
        channels = 32
        for outputs, stride in _BLOCKS:
            layers.append(_ConvPReLU(channels, channels, 3, stride, channels))
            layers.append(_ConvPReLU(channels, outputs, 1, 1, 1))
            channels = outputs
        self.trunk = nn.Sequential(*layers)
        # Columns in height, width, channel order: flattening channels_last then costs nothing.
        self.head = nn.Linear(_LAST_SIDE * _LAST_SIDE * channels, DIMENSION)

    def forward(self, crops: Tensor) -> Tensor:
        # The first layers hold megabytes of activations per crop: on a CPU, two crops at a time
        # keep them in the cache. The later ones hold the weights: more crops share those.
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if crops.device.type == "cpu" and not tracing:
            parts = torch.split(crops, _EARLY_CROPS_ON_CPU)
            x = torch.cat([self._early(part) for part in parts])
        else:
            x = self._early(crops)
        for layer in islice(self.trunk, _EARLY_LAYERS, None):
            x = layer(x)
        x = self.head(x.permute(0, 2, 3, 1).flatten(1))
        return F.normalize(x.float(), dim=1)

    def _early(self, crops: Tensor) -> Tensor:
        """Down to 28×28 positions."""
        x = (crops.to(self.head.weight.dtype) - 127.5) * (1.0 / 128.0)
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in islice(self.trunk, _EARLY_LAYERS):
            x = layer(x)
        return x
