"""torchvision's detection networks as detectors of faces with landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.zoo.region_detector import RegionDetector, fitted

CLASSES = 2  # background, face


class TorchvisionDetector(RegionDetector):
    """A torchvision detection network of two classes, and a landmark head.

    Args:
        network: takes images 0..1 and targets as torchvision's detectors do.
        side: longer side (px) to which every image is resized.
        square: images are also padded (below, to the right) to a square, for networks that
            would distort them to one. Faces then have the same form in every image.
    """

    def __init__(self, network: nn.Module, *, side: int, square: bool) -> None:
        super().__init__()
        self.network = network
        self.side = side
        self._square = square
        # A fifth to a third faster on a CPU, also in training.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def regions(
        self, images: Sequence[Tensor], pixels: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        if not images:
            return []
        resized, scales = zip(*map(self._resized, pixels), strict=True)
        found = self.network(list(resized))
        return [
            (one["boxes"] / scale, one["scores"]) for one, scale in zip(found, scales, strict=True)
        ]

    def region_losses(
        self, images: Sequence[Tensor], pixels: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        resized, scales = zip(*map(self._resized, pixels), strict=True)
        targets = [
            {"boxes": own * scale, "labels": own.new_ones(len(own)).long()}
            for own, scale in zip(boxes, scales, strict=True)
        ]
        if len(resized) == 1:
            # Batch normalisation of a 1×1 feature map needs two values; the losses are means.
            resized, targets = resized * 2, targets * 2
        losses: dict[str, Tensor] = self.network(list(resized), targets)
        return losses

    def _resized(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pixels, scale = fitted(pixels, self.side)
        if self._square:
            below, right = (self.side - length for length in pixels.shape[1:])
            pixels = F.pad(pixels, (0, right, 0, below), value=0.5)
        return pixels, scale
