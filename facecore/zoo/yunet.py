"""YuNet: face detector with five landmarks, 53 thousand parameters.

Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
2023. A small backbone of pointwise + depthwise convolutions, a feature pyramid with strides
8, 16 and 32, and anchor-free heads: one prediction per cell. The four heads of a level
(class, objectness, box, landmarks) have the same form, so they run as one convolution pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import WeightsError
from facecore.zoo.onnx_import import Layer
from facecore.zoo.placement import ConvReLU
from facecore.zoo.registry import register_model

STRIDES = (8, 16, 32)
MULTIPLE = 32  # height and width of the input must be divisible by this
CHANNELS = 16  # per cell: class, objectness, box (4), five landmarks (10)
_WIDTHS = ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), *[(64, 64)] * 6)
_POOL_AFTER = (0, 4, 6, 8)
_FEATURES_AFTER = (6, 8, 10)


class _Separable(nn.Module):
    """Pointwise then depthwise 3×3; YuNet has no activation between the two."""

    def __init__(self, inputs: int, outputs: int, last: type[nn.Conv2d] = ConvReLU) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.depthwise = last(outputs, outputs, 3, padding=1, groups=outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.depthwise(self.pointwise(x))
        return y


def from_layers(layers: Sequence[Layer]) -> dict[str, npt.NDArray[np.float32]]:
    """State dict of `YuNet` from the layers of `face_detection_yunet_2023mar`.

    Raises:
        WeightsError: the layers are not those of this network.
    """
    # In the file: the stem, 11 backbone pairs, 3 lateral pairs from coarse to fine, then four
    # kinds of head (class, box, objectness, landmarks), each with a pair for every level.
    pairs = [f"backbone.{i}" for i in range(len(_WIDTHS))] + [f"lateral.{i}" for i in (2, 1, 0)]
    first_head = 1 + 2 * len(pairs)
    heads = layers[first_head:]
    outputs = [len(head.bias) for head in heads]
    if (
        any(layer.op != "conv" for layer in layers)
        or outputs != [1] * 6 + [4] * 6 + [1] * 6 + [10] * 6
    ):
        raise WeightsError("these are not the layers of YuNet.")
    state = {"stem.weight": layers[0].weight[:, ::-1], "stem.bias": layers[0].bias}
    for index, layer in enumerate(layers[1:first_head]):
        name = f"{pairs[index // 2]}.{('pointwise', 'depthwise')[index % 2]}"
        state[f"{name}.weight"], state[f"{name}.bias"] = layer.weight, layer.bias
    for level in range(len(STRIDES)):
        for offset, part in enumerate(("pointwise", "depthwise")):
            chosen = [heads[6 * kind + 2 * level + offset] for kind in (0, 2, 1, 3)]
            name = f"heads.{level}.{part}"
            state[f"{name}.weight"] = np.concatenate([layer.weight for layer in chosen])
            state[f"{name}.bias"] = np.concatenate([layer.bias for layer in chosen])
    return {name: np.ascontiguousarray(v, np.float32) for name, v in state.items()}


@register_model(
    "yunet",
    task="detect",
    licence="MIT",
    paper="Wu et al., Machine Intelligence Research 2023",
    input="RGB 0..255, height and width multiples of 32",
    convert=from_layers,
)
class YuNet(nn.Module):
    """RGB 0..255 `[n, 3, h, w]` (uint8 or float) → float32 `[n, cells, 16]`, undecoded.

    `h` and `w` must be multiples of 32. Cells: those of stride 8, then 16, then 32, each row
    by row. Channels: class and objectness logits, box, landmarks; see `scores` and `decode`.
    The published network takes BGR; its first layer is imported reversed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvReLU(3, 16, 3, stride=2, padding=1)
        self.backbone = nn.ModuleList(_Separable(a, b) for a, b in _WIDTHS)
        self.lateral = nn.ModuleList(_Separable(64, 64) for _ in STRIDES)
        self.heads = nn.ModuleList(_Separable(64, CHANNELS, nn.Conv2d) for _ in STRIDES)

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(torch.float32).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        features: list[Tensor] = []
        for index, block in enumerate(self.backbone):
            x = block(x)
            if index in _FEATURES_AFTER:
                features.append(x)
            if index in _POOL_AFTER:
                x = F.max_pool2d(x, 2)
        above: Tensor | None = None
        levels: list[Tensor] = []
        for level in (2, 1, 0):
            y = features[level]
            if above is not None:
                y = y + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = self.lateral[level](y)
            # [n, 16, h, w] channels_last is [n, h * w, 16] already.
            levels.append(self.heads[level](above).permute(0, 2, 3, 1).flatten(1, 2))
        return torch.cat(levels[::-1], 1).float()


def scores(raw: Tensor) -> Tensor:
    """`[..., 16]` network output → `[...]` 0..1, geometric mean of class and objectness."""
    return (raw[..., 0].sigmoid() * raw[..., 1].sigmoid()).sqrt()


def decode(raw: Tensor, cells: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes `[m, 4]` (x1 y1 x2 y2) and landmarks `[m, 5, 2]` in pixels of the network's input.

    Args:
        raw: `[m, 16]`, chosen rows of the network's output.
        cells: int64 `[m]`, which cell each row is.
        height, width: of the network's input.
    """
    where = _cells(height, width, raw.device)[cells].to(raw.dtype)
    corner, stride_of = where[:, :2], where[:, 2:]
    centre = (raw[:, 2:4] + corner) * stride_of
    half = raw[:, 4:6].exp() * stride_of / 2
    landmarks = (raw[:, 6:].reshape(-1, 5, 2) + corner[:, None]) * stride_of[:, None]
    return torch.cat([centre - half, centre + half], 1), landmarks


@lru_cache(maxsize=256)
def _cells(height: int, width: int, device: torch.device) -> Tensor:
    """Column, row and stride of every cell: float32 `[cells, 3]`."""
    tables = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        table = np.stack([columns, rows, np.full_like(rows, stride)], -1)
        tables.append(table.reshape(-1, 3).astype(np.float32))
    return torch.from_numpy(np.concatenate(tables)).to(device)
