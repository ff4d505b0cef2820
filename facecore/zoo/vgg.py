"""VGG-16 as a face embedder: thirteen 3×3 convolutions with batch normalisation.

Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, configuration D; Ioffe, Szegedy 2015 for batch normalisation; Parkhi, Vedaldi, Zisserman:
"Deep Face Recognition", BMVC 2015 for the use on faces.

Two differences from the paper, both because a crop has 112 px a side and not 224: the last of
the five poolings is left out, so that the classifier sees 7×7 positions as in the paper, and
the three fully connected layers (124 million parameters) are one, which embeds.
"""

from __future__ import annotations

from torch import Tensor, nn

from facecore.zoo.embedder import Embedder, at_least, conv_norm, initialise, is_share, scaled
from facecore.zoo.registry import register_model

# Channels of the convolutions between poolings.
_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_LAST_SIDE = 7


@register_model(
    "vgg",
    task="embed",
    licence="Apache-2.0",
    paper="Simonyan, Zisserman, ICLR 2015",
    input="RGB 0..255, 112 x 112, aligned to the ArcFace template",
    dimension=128,
)
class VGG(Embedder):
    """VGG-16 embedder; see `Embedder` for input and output.

    Args:
        dimension: length of the embedding.
        width: factor on the numbers of channels (64 to 512). Time grows with its square:
            0.25 suits a CPU.
        dropout: share of the head's inputs dropped while training.
        batch_norm: normalise after each convolution; without it, as published, training needs
            a much lower learning rate.

    Raises:
        ConfigError: an option out of range.
    """

    def __init__(
        self,
        dimension: int = 128,
        width: float = 1.0,
        dropout: float = 0.5,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(dimension)
        at_least("width", width, 0.1)
        is_share("dropout", dropout)
        layers: list[nn.Module] = []
        channels = 3
        for index, group in enumerate(_GROUPS):
            if index > 0:
                layers.append(nn.MaxPool2d(2))
            for full in group:
                layers.append(conv_norm(channels, scaled(full, width), 3, norm=batch_norm))
                channels = scaled(full, width)
        self.trunk = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels * _LAST_SIDE * _LAST_SIDE, dimension, bias=False)
        self.norm = nn.BatchNorm1d(dimension)
        initialise(self)

    def features(self, x: Tensor) -> Tensor:
        # Height, width, channel order: flattening channels_last then costs nothing.
        x = self.trunk(x).permute(0, 2, 3, 1).flatten(1)
        y: Tensor = self.norm(self.head(self.dropout(x)))
        return y
