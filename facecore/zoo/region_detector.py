"""What detectors that find boxes share: how images reach them, and landmarks in those boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from facecore.errors import ShapeError, UsageError
from facecore.zoo.landmark_head import LandmarkHead

# True boxes with a side under this many px are no faces anyone can learn from.
_SMALLEST_PX = 1.0


class RegionDetector(nn.Module, ABC):
    """A detector of boxes with a landmark head, all in one module and one weights file.

    A family implements `regions` and `region_losses`; `find` and `losses` are what others call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.landmarks = LandmarkHead()

    @abstractmethod
    def regions(
        self, images: Sequence[Tensor], pixels: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes `[n, 4]` (px of the image) and scores `[n]` of each image, best first.

        Args:
            images: uint8 RGB `[3, h, w]`, as they came.
            pixels: the same on the network's device, 0..1.
        """

    @abstractmethod
    def region_losses(
        self, images: Sequence[Tensor], pixels: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Scalar losses by name, with the true boxes `[n, 4]` of each image (px)."""

    def find(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Faces of each image, best score first.

        Args:
            images: uint8 RGB `[3, h, w]` of any size, on any device.

        Returns:
            For each image, on the network's device: `boxes` `[n, 4]` x1 y1 x2 y2 within the
            image and `landmarks` `[n, 5, 2]`, px; `scores` `[n]`, 0..1. All float32.

        Raises:
            ShapeError: an image is not uint8 `[3, h, w]`.
        """
        with torch.inference_mode(), _in_mode(self, training=False):
            pixels = self._scaled(images)
            regions = self.regions(images, pixels)
            return [self._faces(one, *own) for one, own in zip(pixels, regions, strict=True)]

    def losses(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Scalar losses by name; their sum is what training minimises.

        Args:
            images: uint8 RGB `[3, h, w]`.
            targets: for each image `boxes` `[n, 4]` x1 y1 x2 y2 and `landmarks` `[n, 5, 2]`, px,
                NaN where unknown. `n` may be 0.

        Raises:
            ShapeError: an image or target has another shape, or there is not one target each.
            UsageError: the module is in evaluation mode.
        """
        if not self.training:
            raise UsageError("losses need a detector in training mode.", remedy="Call .train().")
        if len(images) != len(targets):
            raise ShapeError("targets", f"{len(images)} (one per image)", str(len(targets)))
        pixels = self._scaled(images)
        usable = [_usable(*pair) for pair in zip(pixels, targets, strict=True)]
        losses = self.region_losses(images, pixels, [target["boxes"] for target in usable])
        return {**losses, "landmarks": self.landmarks.loss(pixels, usable)}

    def _faces(self, pixels: Tensor, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        boxes = within(boxes.float(), pixels)
        whole = torch.nonzero(_has_area(boxes))[:, 0]
        boxes = boxes[whole]
        landmarks = self.landmarks.locate(pixels, boxes)
        return {"boxes": boxes, "scores": scores[whole].float(), "landmarks": landmarks}

    def _scaled(self, images: Sequence[Tensor]) -> list[Tensor]:
        device = next(self.parameters()).device
        for image in images:
            if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
                raise ShapeError("image", "uint8 [3, h, w]", f"{image.dtype} {list(image.shape)}")
        return [image.to(device, non_blocking=True).float() / 255.0 for image in images]


def _usable(pixels: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boxes cut at the image's border, without those of which nothing is left."""
    boxes, landmarks = target["boxes"], target["landmarks"]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError("target boxes", "[n, 4]", str(list(boxes.shape)))
    if landmarks.shape != (len(boxes), 5, 2):
        raise ShapeError("target landmarks", f"[{len(boxes)}, 5, 2]", str(list(landmarks.shape)))
    boxes = within(boxes.to(pixels.device, torch.float32), pixels)
    whole = _has_area(boxes)
    return {
        "boxes": boxes[whole],
        "landmarks": landmarks.to(pixels.device, torch.float32)[whole],
    }


def within(boxes: Tensor, pixels: Tensor) -> Tensor:
    """`[n, 4]` boxes cut at the border of the image `[3, h, w]`."""
    height, width = pixels.shape[1:]
    cut: Tensor = torchvision.ops.clip_boxes_to_image(boxes, (height, width))
    return cut


def _has_area(boxes: Tensor) -> Tensor:
    return ((boxes[:, 2:] - boxes[:, :2]) >= _SMALLEST_PX).all(1)


@contextmanager
def _in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Training or evaluation mode for a while. Nothing is touched when it is the mode already,
    so that threads may share a network in evaluation mode.
    """
    before = module.training
    if before != training:
        module.train(training)
    try:
        yield
    finally:
        if before != training:
            module.train(before)


def fitted(pixels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """An image resized so that its longer side has `side` px, with antialiasing.

    Args:
        pixels: `[3, h, w]`, floating point.

    Returns:
        The resized image and its scale, `[4]`: a box times it is a box in the resized image.
    """
    height, width = pixels.shape[1:]
    scale = side / max(height, width)
    h, w = (max(1, round(length * scale)) for length in (height, width))
    if (h, w) != (height, width):
        reduced = F.interpolate(pixels[None], (h, w), mode="bilinear", antialias=True)
        pixels = reduced[0].clamp(0.0, 1.0)
    return pixels, torch.tensor([w / width, h / height], device=pixels.device).repeat(2)
