"""FaceNet: Inception-ResNet-v1 with a short unit-length embedding.

Schroff, Kalenichenko, Philbin: "FaceNet: A Unified Embedding for Face Recognition and
Clustering", CVPR 2015, for what is learnt: squared Euclidean distances between embeddings on
the unit sphere are the measure of likeness (`squared_distance`). Szegedy, Ioffe, Vanhoucke,
Alemi: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", AAAI
2017 (arXiv:1602.07261), figures 10–15, for the network.

The paper's stem does not pad, for inputs of 299 px. Padded, a crop of 112 px meets the Inception
blocks with 14, 7 and 3 positions a side; unpadded, 11, 5 and 2 would be left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError
from facecore.zoo.embedder import Embedder, at_least, conv_norm, initialise, is_share, scaled
from facecore.zoo.registry import register_model

# Residuals are scaled down before they are added, or the early layers stop learning (section 3.3).
_SCALE_A, _SCALE_B, _SCALE_C = 0.17, 0.10, 0.20


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² of embeddings `[..., d]`: 0 (equal) to 4 (opposite); on unit vectors 2 − 2 cosine.

    The distance FaceNet is trained with and compared by.
    """
    return (a - b).square().sum(-1)


class _Residual(nn.Module):
    """Branches side by side, joined, brought back to the input's channels and added to it."""

    def __init__(
        self, channels: int, joined: int, scale: float, branches: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.up = nn.Conv2d(joined, channels, 1)  # linear and not normalised, as published
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(torch.cat([branch(x) for branch in self.branches], 1))
        return F.relu(x + self.scale * y)


class _Reduction(nn.Module):
    """Branches side by side and a max pooling; all halve height and width."""

    def __init__(self, padding: int, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.pool = nn.MaxPool2d(3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(branch(x) for branch in self.branches), self.pool(x)], 1)


def _stem(width: float) -> tuple[nn.Sequential, int]:
    a, b, c, d, e = (scaled(channels, width) for channels in (32, 64, 80, 192, 256))
    layers = nn.Sequential(
        conv_norm(3, a, 3, 2),
        conv_norm(a, a, 3),
        conv_norm(a, b, 3),
        nn.MaxPool2d(3, stride=2, padding=1),
        conv_norm(b, c, 1),
        conv_norm(c, d, 3),
        conv_norm(d, e, 3, 2),
    )
    return layers, e


def _block_a(channels: int, width: float) -> nn.Module:
    k = scaled(32, width)
    wide = nn.Sequential(conv_norm(channels, k, 1), conv_norm(k, k, 3))
    wider = nn.Sequential(conv_norm(channels, k, 1), conv_norm(k, k, 3), conv_norm(k, k, 3))
    return _Residual(channels, 3 * k, _SCALE_A, [conv_norm(channels, k, 1), wide, wider])


def _reduction_a(channels: int, width: float) -> tuple[nn.Module, int]:
    k, m, n = (scaled(outputs, width) for outputs in (192, 256, 384))
    deep = nn.Sequential(
        conv_norm(channels, k, 1), conv_norm(k, k, 3), conv_norm(k, m, 3, 2, padding=1)
    )
    branches = [conv_norm(channels, n, 3, 2, padding=1), deep]
    return _Reduction(1, branches), channels + n + m


def _block_b(channels: int, width: float) -> nn.Module:
    k = scaled(128, width)
    deep = nn.Sequential(
        conv_norm(channels, k, 1), conv_norm(k, k, (1, 7)), conv_norm(k, k, (7, 1))
    )
    return _Residual(channels, 2 * k, _SCALE_B, [conv_norm(channels, k, 1), deep])


def _reduction_b(channels: int, width: float) -> tuple[nn.Module, int]:
    k, m = scaled(256, width), scaled(384, width)
    branches = [
        nn.Sequential(conv_norm(channels, k, 1), conv_norm(k, m, 3, 2, padding=0)),
        nn.Sequential(conv_norm(channels, k, 1), conv_norm(k, k, 3, 2, padding=0)),
        nn.Sequential(
            conv_norm(channels, k, 1), conv_norm(k, k, 3), conv_norm(k, k, 3, 2, padding=0)
        ),
    ]
    return _Reduction(0, branches), channels + m + 2 * k


def _block_c(channels: int, width: float) -> nn.Module:
    k = scaled(192, width)
    deep = nn.Sequential(
        conv_norm(channels, k, 1), conv_norm(k, k, (1, 3)), conv_norm(k, k, (3, 1))
    )
    return _Residual(channels, 2 * k, _SCALE_C, [conv_norm(channels, k, 1), deep])


@register_model(
    "facenet",
    task="embed",
    licence="Apache-2.0",
    paper="Schroff et al., CVPR 2015; Szegedy et al., AAAI 2017",
    input="RGB 0..255, 112 x 112, aligned to the ArcFace template",
    dimension=128,
)
class FaceNet(Embedder):
    """Inception-ResNet-v1 embedder; see `Embedder` for input and output.

    Args:
        dimension: length of the embedding; 128 as in FaceNet, 512 is common.
        repeats: Inception-ResNet blocks A (14×14 positions), B (7×7) and C (3×3).
        width: factor on all numbers of channels.
        dropout: share of the head's inputs dropped while training.

    Raises:
        ConfigError: an option out of range.
    """

    def __init__(
        self,
        dimension: int = 128,
        repeats: tuple[int, ...] = (5, 10, 5),
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(dimension)
        at_least("width", width, 0.1)
        is_share("dropout", dropout)
        if len(repeats) != 3 or min(repeats) < 0:
            raise ConfigError(f"option repeats is {repeats}; it must be three numbers from 0.")
        stem, channels = _stem(width)
        layers: list[nn.Module] = [stem]
        layers += [_block_a(channels, width) for _ in range(repeats[0])]
        reduction, channels = _reduction_a(channels, width)
        layers.append(reduction)
        layers += [_block_b(channels, width) for _ in range(repeats[1])]
        reduction, channels = _reduction_b(channels, width)
        layers.append(reduction)
        layers += [_block_c(channels, width) for _ in range(repeats[2])]
        self.trunk = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, dimension, bias=False)
        self.norm = nn.BatchNorm1d(dimension)
        initialise(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.trunk(x).mean((2, 3))
        y: Tensor = self.norm(self.head(self.dropout(x)))
        return y
