"""What the embedders that are trained here have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError, ShapeError

CROP_SIDE = 112
# Channel counts are multiples of this: what vector instructions and tensor cores work on.
_MULTIPLE = 8


class Embedder(nn.Module):
    """RGB crops 0..255 `[n, 3, 112, 112]`, any dtype → float32 `[n, dimension]` of unit length.

    A subclass defines `features`, and calls `initialise` when its layers are there. While
    training, a batch needs at least two crops (batch normalisation).
    """

    dimension: int

    def __init__(self, dimension: int) -> None:
        super().__init__()
        at_least("dimension", dimension, 2)
        self.dimension = dimension

    def features(self, x: Tensor) -> Tensor:
        """`[n, 3, 112, 112]` in about -1..1 → `[n, dimension]`, not normalised."""
        raise NotImplementedError

    def forward(self, crops: Tensor) -> Tensor:
        """Unit-length vectors; compare them by cosine, or by squared distance (2 - 2 cosine).

        Raises:
            ShapeError: not `[n, 3, 112, 112]`.
        """
        return F.normalize(self.features(self.standardise(crops)).float(), dim=1)

    def standardise(self, crops: Tensor) -> Tensor:
        """0..255 → about -1..1, in the network's dtype and channels_last."""
        if crops.ndim != 4 or crops.shape[1:] != (3, CROP_SIDE, CROP_SIDE):
            raise ShapeError("crops", f"[n, 3, {CROP_SIDE}, {CROP_SIDE}]", str(list(crops.shape)))
        dtype = next(self.parameters()).dtype
        x = (crops.to(dtype) - 127.5) * (1.0 / 128.0)
        return x.contiguous(memory_format=torch.channels_last)


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] | None = None,
    *,
    relu: bool = True,
    norm: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: `placement.place` makes one layer of them.

    Args:
        padding: None keeps height and width (at stride 1, odd kernels).
    """
    if padding is None:
        padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def initialise(network: nn.Module) -> None:
    """He et al. 2015 for convolutions, so that activations keep their size through ReLUs.

    Linear layers keep the variance of what comes in; biases start at zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def scaled(channels: int, width: float) -> int:
    """`channels · width` as a multiple of 8, at least 8."""
    return max(_MULTIPLE, round(channels * width / _MULTIPLE) * _MULTIPLE)


def at_least(option: str, value: float, least: float) -> None:
    """Refuse a number that is too small (or NaN).

    Raises:
        ConfigError: `value` is below `least`.
    """
    if not value >= least:
        raise ConfigError(f"option {option} is {value}; it must be at least {least}.")


def is_share(option: str, value: float) -> None:
    """Refuse what is not in 0 ≤ value < 1.

    Raises:
        ConfigError: it is not.
    """
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"option {option} is {value}; it must be from 0 to below 1.")
