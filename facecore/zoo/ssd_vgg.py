"""VGG-16 as SSD300's trunk (Liu et al., ECCV 2016), also narrower and with batch norm.

With `width=1` and no batch norm it computes what torchvision's `SSDFeatureExtractorVGG` does,
parameter by parameter (tested); that class has its channels fixed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError

SSD300_SIDE = 300
# Channels of VGG-16's 3×3 convolutions; "M" halves the sides, "C" does so rounding up.
_FIRST = (64, 64, "M", 128, 128, "M", 256, 256, 256, "C", 512, 512, 512)
_SECOND = ("M", 512, 512, 512)
_FC = 1024
# (reduced to, channels, stride, padding) of the additional feature maps.
_ADDITIONAL = ((256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
# Features of the first map are scaled to this length, because theirs differs from the others'.
# It is the length of a vector: with fewer channels a shorter one, for like values in each.
_LENGTH = 20.0


class VGGFeatures(nn.Module):
    """Images `[n, 3, 300, 300]` → six feature maps with 38, 19, 10, 5, 3 and 1 positions a side.

    Args:
        width: channels in parts of the original's, above 0; each number at least 8.
        batch_norm: normalise after every convolution.

    Attributes:
        out_channels: of each feature map (torchvision's SSD reads it).
    """

    def __init__(self, *, width: float = 1.0, batch_norm: bool = True) -> None:
        if width <= 0:
            raise ConfigError(f"option width must be above 0, got {width}.")
        super().__init__()
        self._batch_norm = batch_norm

        def wide(channels: int) -> int:
            return max(8, round(channels * width))

        layers, channels = self._plain(_FIRST, 3, wide)
        self.scale_weight = nn.Parameter(torch.full((channels,), _LENGTH * width**0.5))
        self.features = nn.Sequential(*layers)
        self.out_channels = [channels]
        layers, channels = self._plain(_SECOND, channels, wide)
        layers.append(nn.MaxPool2d(3, stride=1, padding=1))
        layers += self._convolution(channels, wide(_FC), 3, padding=6, dilation=6)
        layers += self._convolution(wide(_FC), wide(_FC), 1)
        channels = wide(_FC)
        blocks = [nn.Sequential(*layers)]
        self.out_channels.append(channels)
        for reduced, outputs, stride, padding in _ADDITIONAL:
            layers = self._convolution(channels, wide(reduced), 1)
            channels = wide(outputs)
            layers += self._convolution(wide(reduced), channels, 3, stride=stride, padding=padding)
            blocks.append(nn.Sequential(*layers))
            self.out_channels.append(channels)
        self.extra = nn.ModuleList(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.features(images)
        maps = [self.scale_weight.view(1, -1, 1, 1) * F.normalize(x)]
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return OrderedDict((str(index), features) for index, features in enumerate(maps))

    def _plain(
        self, plan: Sequence[int | str], inputs: int, wide: Callable[[int], int]
    ) -> tuple[list[nn.Module], int]:
        """Layers of one part of VGG-16, and the channels that come out."""
        layers: list[nn.Module] = []
        for step in plan:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=step == "C"))
                continue
            layers += self._convolution(inputs, wide(step), 3, padding=1)
            inputs = wide(step)
        return layers, inputs

    def _convolution(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> list[nn.Module]:
        bias = not self._batch_norm
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
        norm: list[nn.Module] = [nn.BatchNorm2d(outputs)] if self._batch_norm else []
        return [convolution, *norm, nn.ReLU(inplace=True)]
