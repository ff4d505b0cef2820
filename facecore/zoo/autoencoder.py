"""A convolutional autoencoder of aligned faces: code, reconstruction, and how unusual a crop is.

Hinton & Salakhutdinov: "Reducing the Dimensionality of Data with Neural Networks", Science 2006;
upsampling by sub-pixel convolution after Shi et al., CVPR 2016.

What it was trained on it reconstructs well; what is no face, is covered or damaged it does not,
or its code lies where no face's code lies. Both are put together in one number: the Mahalanobis
distance of code and residuals from those of ordinary crops, times a power of the share of the
crop that is left unexplained. What counts is that number's place among those of ordinary crops
that were not trained on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError, ShapeError, WeightsError
from facecore.zoo.embedder import CROP_SIDE, at_least, conv_norm, initialise, scaled
from facecore.zoo.registry import register_model

_SMALLEST_CODE, _LARGEST_CODE = 32, 128
_START = 7  # positions a side, where the code is read off
_CELLS = 7  # residuals are averaged over so many cells a side, 16 px each
_LEAST_RESIDUAL = 1e-4
_LEAST_SPREAD = 1e-3
# Shares that hardly vary would otherwise count for everything.
_LARGEST_POWER = 4.0
#: Shares at which the distances of ordinary crops are kept; finer where they are large.
LEVELS = torch.cat([torch.linspace(0, 0.9, 91), torch.linspace(0.901, 0.999, 99), torch.ones(1)])


@register_model(
    "autoencoder",
    task="reconstruct",
    licence="Apache-2.0",
    paper="Hinton & Salakhutdinov, Science 2006; Shi et al., CVPR 2016",
    input="RGB crops 0..255, 112×112, aligned by five landmarks",
)
class FaceAutoencoder(nn.Module):
    """Crops `[n, 3, 112, 112]`, 0..255, any dtype → their reconstructions, float32, the same shape.

    Args:
        code: numbers a face is reduced to, 32..128.
        width: channels, as a multiple of the usual ones.

    Raises:
        ConfigError: an option out of range.
    """

    centre: Tensor
    whitening: Tensor
    unexplained: Tensor
    distances: Tensor
    calibrated_on: Tensor

    def __init__(self, code: int = 64, width: float = 1.0) -> None:
        super().__init__()
        if not _SMALLEST_CODE <= code <= _LARGEST_CODE:
            raise ConfigError(
                f"option code is {code}; it must be from {_SMALLEST_CODE} to {_LARGEST_CODE}."
            )
        at_least("width", width, 0.1)
        self.code = code
        low, middle, high = (scaled(channels, width) for channels in (32, 64, 128))
        self.encoder = nn.Sequential(
            conv_norm(3, low, 7, 4, 3),
            conv_norm(low, middle, 3, 2, 1),
            conv_norm(middle, high, 3, 2, 1),
            nn.Flatten(),
            nn.Linear(high * _START**2, code),
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, high * _START**2),
            nn.Unflatten(1, (high, _START, _START)),
            nn.ReLU(),
            conv_norm(high, 4 * middle, 3),
            nn.PixelShuffle(2),
            conv_norm(middle, 4 * low, 3),
            nn.PixelShuffle(2),
            nn.Conv2d(low, 3 * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )
        initialise(self)
        features = code + 2 * _CELLS**2 + 1
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("whitening", torch.eye(features))
        # Mean of the logarithm of the unexplained share, and the power it has in the distance.
        self.register_buffer("unexplained", torch.zeros(2))
        self.register_buffer("distances", torch.zeros(len(LEVELS)))
        self.register_buffer("calibrated_on", torch.zeros(1))

    def forward(self, crops: Tensor) -> Tensor:
        """Reconstructions, float32, about 0..255 (not clipped).

        Raises:
            ShapeError: not `[n, 3, 112, 112]`.
        """
        return self.decode(self.encode(crops))

    def encode(self, crops: Tensor) -> Tensor:
        """Codes float32 `[n, code]`."""
        if crops.ndim != 4 or crops.shape[1:] != (3, CROP_SIDE, CROP_SIDE):
            raise ShapeError("crops", f"[n, 3, {CROP_SIDE}, {CROP_SIDE}]", str(list(crops.shape)))
        codes: Tensor = self.encoder(_standardised(crops, self._dtype))
        return codes.float()

    def decode(self, codes: Tensor) -> Tensor:
        """Crops float32 `[n, 3, 112, 112]`, about 0..255, of codes `[n, code]`.

        Raises:
            ShapeError: codes of another length.
        """
        if codes.ndim != 2 or codes.shape[1] != self.code:
            raise ShapeError("codes", f"[n, {self.code}]", str(list(codes.shape)))
        pixels: Tensor = self.decoder(codes.to(self._dtype))
        return pixels.float() * 128.0 + 127.5

    def features(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """What a crop is judged by, float32 `[n, code + 99]`, and its error.

        The features are the code; the logarithm of the mean squared residual in each of 7×7
        cells; that of the crop's own variance there, without which what is smooth looks well
        drawn; and that of the share of the crop's variance that is left unexplained. The error
        `[n]` is the root of the mean squared residual, in grey levels.
        """
        codes = self.encode(crops)
        x = (crops.float() - 127.5) / 128.0
        residual = _cells((self.decode(codes) - 127.5) / 128.0 - x)
        contrast = _cells(x) - F.adaptive_avg_pool2d(x.mean(1, keepdim=True), _CELLS).square()
        spread = (x - x.mean(dim=(1, 2, 3), keepdim=True)).square().mean(dim=(1, 2, 3))
        squared = residual.flatten(1).mean(dim=1)
        unexplained = squared / (spread + _LEAST_SPREAD)
        logs = [residual.flatten(1), contrast.flatten(1), unexplained.unsqueeze(1)]
        logs = [part.clamp_min(_LEAST_RESIDUAL).log() for part in logs]
        return torch.cat([codes, *logs], dim=1), squared.sqrt() * 128.0

    def set_reference(self, features: Tensor, centre: Tensor, whitening: Tensor) -> None:
        """What ordinary crops are like.

        Args:
            features: `[crops, features]` that the others were fitted to.
            centre: `[features]`, their mean.
            whitening: `[features, features]`, W with WᵀW the inverse of their covariance.
        """
        self.centre.copy_(centre)
        self.whitening.copy_(whitening)
        self.unexplained.zero_()
        far = self.distance(features).clamp_min(_LEAST_RESIDUAL).log()
        share = features[:, -1]
        # Either says as much as the other: equal spread of their logarithms.
        power = far.std(correction=0) / share.std(correction=0).clamp_min(_LEAST_SPREAD)
        self.unexplained.copy_(torch.stack([share.mean(), power.clamp(max=_LARGEST_POWER)]))

    def calibrate(self, distances: Tensor) -> None:
        """Keep the distances `[crops]` of crops that nothing was fitted to."""
        self.calibrated_on.fill_(float(len(distances)))
        self.distances.copy_(torch.quantile(distances.double(), LEVELS.double()).float())

    def distance(self, features: Tensor) -> Tensor:
        """How far features are from those of ordinary crops, float32 `[n]`, ≥ 0."""
        whitened: Tensor = (features - self.centre) @ self.whitening.T
        usual, power = self.unexplained
        more = (power * (features[:, -1] - usual)).exp()
        distance: Tensor = torch.linalg.vector_norm(whitened, dim=1) * more
        return distance

    def rank(self, distance: Tensor) -> Tensor:
        """Share of ordinary crops that are nearer than `distance`, 0..1, float32 `[n]`.

        Beyond the farthest ordinary crop it is 1; it says nothing finer than one over the
        number of crops it was calibrated on.

        Raises:
            WeightsError: the model was never calibrated.
        """
        if not self.calibrated_on > 0:
            raise WeightsError(
                "this autoencoder was not calibrated, so it cannot say what is unusual.",
                remedy="Train it by `facecore train --model autoencoder --goal reconstruct`.",
            )
        known, levels = self.distances, LEVELS.to(distance.device)
        above = torch.searchsorted(known, distance.contiguous(), right=True)
        upper = above.clamp(1, len(known) - 1)
        low, high = known[upper - 1], known[upper]
        part = ((distance - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        share: Tensor = levels[upper - 1] + part * (levels[upper] - levels[upper - 1])
        return share

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def _cells(difference: Tensor) -> Tensor:
    """Mean square in each cell, over all colours, `[n, 1, 7, 7]`."""
    return F.adaptive_avg_pool2d(difference.square().mean(dim=1, keepdim=True), _CELLS)


def _standardised(crops: Tensor, dtype: torch.dtype) -> Tensor:
    x = (crops.to(dtype) - 127.5) * (1.0 / 128.0)
    return x.contiguous(memory_format=torch.channels_last)
