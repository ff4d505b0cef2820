"""DeepFace: convolutions, three locally connected layers, and a classifier of identities.

Taigman, Yang, Ranzato, Wolf: "DeepFace: Closing the Gap to Human-Level Performance in Face
Verification", CVPR 2014. A face is aligned, so each place has its own meaning: the layers after
the first two learn other filters for each position (`LocallyConnected`). The last layer before
the softmax (F7 in the paper) embeds; the softmax identifies a closed set of people.

Differences from the paper: crops of 112 px aligned in the plane, not 152 px warped in 3D; batch
normalisation (option); the embedding is what F7 computes before its ReLU. After the ReLU a
crop could be all zeros, which has no direction to compare.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError
from facecore.zoo.embedder import (
    CROP_SIDE,
    Embedder,
    at_least,
    conv_norm,
    initialise,
    is_share,
    scaled,
)
from facecore.zoo.registry import register_model


class LocallyConnected(nn.Module):
    """A convolution whose filters differ from position to position, without padding.

    `[n, inputs, side, side]` → `[n, outputs, positions, positions]` with
    `positions = (side - kernel) // stride + 1`. One matrix product per position, all in one
    batched call.

    Attributes:
        weight: `[positions², kernel² · inputs, outputs]`, positions row by row; the filter's
            own order is row, column, channel.
        bias: `[positions², 1, outputs]`.
    """

    def __init__(self, inputs: int, outputs: int, side: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.positions = (side - kernel) // stride + 1
        fan_in = kernel * kernel * inputs
        places = self.positions**2
        self.weight = nn.Parameter(torch.empty(places, fan_in, outputs))
        self.bias = nn.Parameter(torch.zeros(places, 1, outputs))
        # He et al. 2015: activations keep their size through a ReLU.
        nn.init.normal_(self.weight, std=(2.0 / fan_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        n, side = x.shape[0], self.positions  # (len would be a constant in a traced network)
        k, s = self.kernel, self.stride
        # [n, rows, columns, channels, k, k], a view → [positions², n, k · k · channels]
        windows = x.permute(0, 2, 3, 1).unfold(1, k, s).unfold(2, k, s)
        windows = windows.permute(1, 2, 0, 4, 5, 3).reshape(side * side, n, self.weight.shape[1])
        y = torch.baddbmm(self.bias, windows, self.weight)
        return y.reshape(side, side, n, self.weight.shape[2]).permute(2, 3, 0, 1)


@register_model(
    "deepface",
    task="embed",
    licence="Apache-2.0",
    paper="Taigman et al., CVPR 2014",
    input="RGB 0..255, 112 x 112, aligned to the ArcFace template",
    dimension=512,
)
class DeepFace(Embedder):
    """Embedder and closed-set classifier; see `Embedder` for input and output of `forward`.

    Args:
        dimension: length of the embedding (4,096 in the paper).
        identities: number of people that `classify` tells apart; 0 for none.
        width: factor on the numbers of channels (32 and 16).
        dropout: share of the embedding dropped before the classifier while training, and of
            the inputs of the embedding layer.
        batch_norm: normalise after each layer; without it, as published, training needs a
            lower learning rate.

    Raises:
        ConfigError: an option out of range.
    """

    # Its locally connected layers are a batched matrix product for torch, and a slow gather for
    # other engines (8 against 14 ms a crop on one core).
    cpu_backend = "torch"

    def __init__(
        self,
        dimension: int = 512,
        identities: int = 0,
        width: float = 1.0,
        dropout: float = 0.5,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(dimension)
        at_least("width", width, 0.1)
        at_least("identities", identities, 0)
        is_share("dropout", dropout)
        wide, narrow = scaled(32, width), scaled(16, width)
        self.trunk = nn.Sequential(
            conv_norm(3, wide, 11, padding=0, norm=batch_norm),
            nn.MaxPool2d(3, stride=2, padding=1),
            conv_norm(wide, narrow, 9, padding=0, norm=batch_norm),
        )
        side = (CROP_SIDE - 10) // 2 - 8
        local: list[nn.Module] = []
        for kernel, stride in ((9, 1), (7, 2), (5, 1)):
            layer = LocallyConnected(narrow, narrow, side, kernel, stride)
            side = layer.positions
            local.append(layer)
            if batch_norm:
                local.append(nn.BatchNorm2d(narrow))
            local.append(nn.ReLU(inplace=True))
        self.local = nn.Sequential(*local)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(narrow * side * side, dimension, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(dimension) if batch_norm else nn.Identity()
        self.identities = nn.Linear(dimension, identities) if identities else None
        initialise(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.local(self.trunk(x)).flatten(1)
        y: Tensor = self.norm(self.head(self.dropout(x)))
        return y

    def classify(self, crops: Tensor) -> Tensor:
        """Logits `[n, identities]`, before the softmax, of crops as in `forward`.

        Raises:
            ConfigError: the network was made without identities.
        """
        if self.identities is None:
            raise ConfigError(
                "this deepface tells no identities apart.",
                remedy="Create it with option identities = number of people.",
            )
        hidden = F.relu(self.features(self.standardise(crops)))
        logits: Tensor = self.identities(self.dropout(hidden))
        return logits.float()
