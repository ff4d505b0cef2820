"""Five landmarks of a face from its box: what detectors without landmarks of their own carry.

A small network looks at the box with some context, warped to a square, and answers in box
coordinates. It is a submodule of each such detector, so one weights file holds both, and it
is trained with it: on the true boxes, moved a little, because found boxes are never exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from facecore.zoo.box_coding import expand

SIDE = 48  # px of the warped box
# Where landmarks lie in a face's box on average (YuNet's boxes of frontal faces); the network
# predicts the difference.
MEAN_FACE = ((0.28, 0.38), (0.72, 0.38), (0.5, 0.57), (0.32, 0.73), (0.69, 0.73))
_CONTEXT = 1.3
# How true boxes are moved for training: shift in parts of the side, change of size.
_SHIFT, _GROWTH = 0.1, 0.15
_VIEWS = 4
# Errors below this (parts of the box's side) count quadratically. The weight brings the
# error of a face of usual size to the order of the detectors' own losses.
_BETA, _WEIGHT = 0.02, 10.0
# Boxes warped at once: 48×48 of float32 and three channels are 28 KB each.
_BOXES_AT_ONCE = 512


class LandmarkHead(nn.Module):
    """Warped boxes RGB 0..1 `[n, 3, 48, 48]` → `[n, 5, 2]`, x and y from 0 to 1 across the box."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width)
        self.trunk = nn.Sequential(*(_block(a, b) for a, b in pairwise(widths)), nn.Flatten())
        self.hidden = nn.Linear(4 * width * (SIDE // 16) ** 2, 4 * width)
        self.points = nn.Linear(4 * width, 2 * len(MEAN_FACE))
        nn.init.normal_(self.points.weight, std=0.01)
        nn.init.zeros_(self.points.bias)
        self.register_buffer("mean_face", torch.tensor(MEAN_FACE), persistent=False)

    def forward(self, warped: Tensor) -> Tensor:
        x = F.relu(self.hidden(self.trunk((warped - 0.5) / 0.5)))
        points: Tensor = self.points(x).reshape(-1, len(MEAN_FACE), 2)
        mean = self.get_buffer("mean_face")
        return points + mean.to(points.dtype)

    def locate(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Landmarks `[n, 5, 2]` in pixels of `image` (RGB 0..1 `[3, h, w]`), for boxes `[n, 4]`."""
        if not len(boxes):
            return boxes.new_zeros(0, len(MEAN_FACE), 2)
        parts = [
            self(warp(image, part, SIDE, _CONTEXT)) for part in torch.split(boxes, _BOXES_AT_ONCE)
        ]
        corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        return corner + torch.cat(parts).to(boxes.dtype) * size

    def loss(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Smooth L1 distance of the predicted from the true landmarks, in box coordinates.

        Args:
            images: RGB 0..1 `[3, h, w]`.
            targets: for each image `boxes` `[n, 4]` and `landmarks` `[n, 5, 2]`, px. Points that
                are NaN are unknown and do not count.
        """
        warped, goals = [], []
        for image, target in zip(images, targets, strict=True):
            known = target["landmarks"].isfinite().flatten(1).any(1)
            boxes = moved(target["boxes"][known].repeat(_VIEWS, 1))
            landmarks = target["landmarks"][known].repeat(_VIEWS, 1, 1)
            warped.append(warp(image, boxes, SIDE, _CONTEXT))
            size = (boxes[:, 2:] - boxes[:, :2])[:, None]
            goals.append((landmarks - boxes[:, None, :2]) / size)
        pixels, goal = torch.cat(warped), torch.cat(goals)
        if not len(pixels):
            # No landmark is known in this batch: zero, and a gradient of zero everywhere, as
            # training on several devices needs one for each parameter.
            return torch.stack([p.sum() for p in self.parameters()]).sum() * 0.0
        points = self(pixels).float()
        counted = goal.isfinite()
        error = F.smooth_l1_loss(points[counted], goal[counted].float(), beta=_BETA)
        return error * _WEIGHT


def moved(boxes: Tensor) -> Tensor:
    """`[n, 4]` boxes moved and resized at random, as a detector's boxes miss the true ones."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    centre = centre + size * torch.empty_like(size).uniform_(-_SHIFT, _SHIFT)
    half = size / 2 * torch.empty_like(size).uniform_(1.0 - _GROWTH, 1.0 + _GROWTH)
    return torch.cat([centre - half, centre + half], 1)


def warp(image: Tensor, boxes: Tensor, side: int, context: float) -> Tensor:
    """Boxes of one image, each with context around it, warped to squares.

    Args:
        image: RGB 0..1 `[3, h, w]`, floating point.
        boxes: `[n, 4]` x1 y1 x2 y2, px.
        side: of the squares, px.
        context: how many times the box's sides is shown.

    Returns:
        `[n, 3, side, side]`. A pixel is the mean of what it covers, so large boxes do not
        alias; outside the image it is 0.5, the middle of the range.
    """
    rois = expand(boxes, context).to(image.dtype)
    pixels: Tensor = torchvision.ops.roi_align(
        image[None] - 0.5, [rois], (side, side), sampling_ratio=-1, aligned=True
    )
    return pixels + 0.5


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution that halves the sides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
